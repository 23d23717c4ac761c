package controllers

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// pagedEvents answers lists with pages of two Events, and counts them.
type pagedEvents struct {
	client.Reader
	events []corev1.Event
	lists  int
	// before is called before each answer, where there is one.
	before func()
}

func (r *pagedEvents) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	if r.before != nil {
		r.before()
	}
	r.lists++
	asked := (&client.ListOptions{}).ApplyOptions(options)
	if asked.Limit != warningsAtOnce || asked.FieldSelector.String() != "type=Warning" {
		return fmt.Errorf("asked for %d with %s", asked.Limit, asked.FieldSelector)
	}
	from, _ := strconv.Atoi(asked.Continue)
	to := min(from+2, len(r.events))
	answer := list.(*corev1.EventList)
	*answer = corev1.EventList{Items: r.events[from:to]}
	if to < len(r.events) {
		answer.Continue = strconv.Itoa(to)
	}
	return nil
}

func warningOf(pod, reason, message string, at time.Time) corev1.Event {
	return corev1.Event{InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: pod, UID: types.UID(pod)},
		Reason: reason, Message: message, LastTimestamp: metav1.NewTime(at)}
}

func messageOf(told warningsThen, pod string, since time.Time) string {
	if w := told.last(regarded{kind: "Pod", name: pod, uid: types.UID(pod)}, since); w != nil {
		return w.message
	}
	return ""
}

// The API server reads all Events of a namespace for each list. A thousand runs whose pods wait must not make a thousand.
func TestWarningsAreListedOnceForAllRunsOfANamespace(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	reader := &pagedEvents{events: []corev1.Event{
		warningOf("a", "Failed", "second", now.Add(-time.Minute)),
		warningOf("a", "Failed", "third", now.Add(-time.Second)),
		warningOf("a", "Failed", "first", now.Add(-2*time.Minute)),
		warningOf("a", "BackOff", "before", now.Add(-2*time.Second)),
		warningOf("b", "Failed", "other", now.Add(-2*time.Minute)),
	}}
	var w warnings
	for range 1000 {
		told := w.in(t.Context(), reader, "team", now)
		if got := messageOf(told, "a", now.Add(-time.Minute)); got != "third" {
			t.Fatalf("the last warning is %q", got)
		}
		if got := messageOf(told, "b", now.Add(-time.Minute)); got != "" {
			t.Fatalf("a warning that is too old counts: %q", got)
		}
	}
	if reader.lists != 3 {
		t.Errorf("three pages of Events were asked for %d times", reader.lists)
	}
	for i, at := range []time.Time{now.Add(warningsInterval), now.Add(-time.Hour)} { // the clock was put back
		if w.in(t.Context(), reader, "team", at); reader.lists != 6+3*i {
			t.Errorf("at %s: %d pages", at, reader.lists)
		}
	}
}

func TestWarningsAreListedOneAtATime(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var w warnings
	reader := &pagedEvents{events: []corev1.Event{warningOf("a", "Failed", "old", now)}}
	w.in(t.Context(), reader, "team", now)
	later := now.Add(warningsInterval)
	other := &pagedEvents{events: []corev1.Event{warningOf("b", "Failed", "elsewhere", later)}}
	reader.events = []corev1.Event{warningOf("a", "Failed", "new", later)}
	reader.before = func() { // another run looks meanwhile, and one of another namespace
		if told := w.in(t.Context(), other, "team", later); messageOf(told, "a", now.Add(-freshness)) != "old" || other.lists > 0 {
			t.Errorf("meanwhile: %q, %d lists", messageOf(told, "a", now.Add(-freshness)), other.lists)
		}
		if told := w.in(t.Context(), other, "elsewhere", later); messageOf(told, "b", now) != "elsewhere" {
			t.Errorf("elsewhere: %v", told)
		}
	}
	if told := w.in(t.Context(), reader, "team", later); messageOf(told, "a", now) != "new" {
		t.Errorf("%q", messageOf(told, "a", now))
	}
	w.in(t.Context(), &pagedEvents{}, "new", later.Add(freshness))
	if len(w.byNamespace) != 1 {
		t.Errorf("what was said in %d namespaces is kept for ever", len(w.byNamespace)-1)
	}
}

// A run that is told nothing would say that all goes well.
func TestWarningsAreWaitedForWhereNothingIsKnown(t *testing.T) {
	now := time.Now()
	var w warnings
	reader := &pagedEvents{events: []corev1.Event{warningOf("a", "Failed", "told", now)}}
	asked := make(chan string)
	reader.before = func() {
		go func() { asked <- messageOf(w.in(t.Context(), reader, "team", now), "a", now.Add(-time.Minute)) }()
		if w.of("team", now).reading.TryLock() {
			t.Fatal("nobody lists")
		}
	}
	w.in(t.Context(), reader, "team", now)
	if got := <-asked; got != "told" || reader.lists != 1 {
		t.Errorf("who asked meanwhile was told %q, after %d lists", got, reader.lists)
	}
}

func TestWarningsOfAListThatFails(t *testing.T) {
	var w warnings
	now := time.Now()
	if told := w.in(t.Context(), brokenReader{}, "team", now); len(told.byObject) > 0 {
		t.Errorf("told %v", told)
	}
	reader := &pagedEvents{events: []corev1.Event{warningOf("a", "Failed", "told", now)}}
	if w.in(t.Context(), reader, "team", now); reader.lists > 0 {
		t.Error("it is tried again at once")
	}
	now = now.Add(warningsInterval)
	w.in(t.Context(), reader, "team", now)
	if told := w.in(t.Context(), brokenReader{}, "team", now.Add(warningsInterval)); messageOf(told, "a", now.Add(-time.Minute)) != "told" {
		t.Errorf("what was known is forgotten: %v", told)
	}
}

type brokenReader struct{ client.Reader }

func (brokenReader) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return context.DeadlineExceeded
}

// Whoever may create Events can create many.
func TestWarningsAreKeptThatTellSomething(t *testing.T) {
	now := time.Now()
	event := func(kind, reason string, age time.Duration) corev1.Event {
		e := warningOf("a", reason, strings.Repeat("x", 5000), now.Add(-age))
		e.InvolvedObject.Kind = kind
		return e
	}
	then := warningsThen{at: now, byObject: map[regarded][]warning{}}
	for _, e := range []corev1.Event{
		event("Job", "BackoffLimitExceeded", 0), event("Node", "Rebooted", 0), event("Pod", "FailedScheduling", 0),
		event("Job", "FailedCreate", freshness), event("Pod", "FailedMount", freshness), event("Workload", "Pending", queueFreshness),
	} {
		then.add(&e)
	}
	if len(then.byObject) > 0 {
		t.Errorf("kept %v", then.byObject)
	}
	for _, e := range []corev1.Event{event("Job", "FailedCreate", time.Minute), event("Workload", "Pending", freshness)} {
		then.add(&e)
	}
	for i := range 1000 {
		e := event("Pod", "Reason"+strconv.Itoa(i), time.Minute)
		then.add(&e)
	}
	if len(then.byObject) != 3 {
		t.Errorf("kept %v", then.byObject)
	}
	for object, told := range then.byObject {
		if len(told) > maxReasons || len(told[0].message) > maxWarningBytes {
			t.Errorf("kept %d reasons with %d bytes of %v", len(told), len(told[0].message), object)
		}
	}
}
