package controllers

import (
	"context"
	"fmt"
	"strconv"
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

func warningOf(object types.UID, reason, message string, at time.Time) corev1.Event {
	return corev1.Event{InvolvedObject: corev1.ObjectReference{UID: object}, Reason: reason, Message: message, LastTimestamp: metav1.NewTime(at)}
}

func messageOf(told warningsThen, object types.UID, since time.Time) string {
	if w := told.last(object, since, func(*warning) bool { return true }); w != nil {
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
		warningOf("a", "Failed", "first", now.Add(-time.Hour)),
		warningOf("a", "BackOff", "before", now.Add(-2*time.Second)),
		warningOf("b", "Failed", "other", now.Add(-10*time.Minute)),
	}}
	var w warnings
	for range 1000 {
		told, err := w.in(t.Context(), reader, "team", now)
		if err != nil {
			t.Fatal(err)
		}
		if got := messageOf(told, "a", now.Add(-freshness)); got != "third" {
			t.Fatalf("the last warning is %q", got)
		}
		if got := messageOf(told, "b", now.Add(-freshness)); got != "" {
			t.Fatalf("a warning that is too old counts: %q", got)
		}
	}
	if reader.lists != 3 {
		t.Errorf("three pages of Events were asked for %d times", reader.lists)
	}
	for i, at := range []time.Time{now.Add(warningsInterval), now.Add(-time.Hour)} { // the clock was put back
		if _, err := w.in(t.Context(), reader, "team", at); err != nil || reader.lists != 6+3*i {
			t.Errorf("at %s: %d pages, %v", at, reader.lists, err)
		}
	}
}

func TestWarningsAreListedOneAtATime(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var w warnings
	reader := &pagedEvents{events: []corev1.Event{warningOf("a", "Failed", "old", now)}}
	if _, err := w.in(t.Context(), reader, "team", now); err != nil {
		t.Fatal(err)
	}
	later := now.Add(warningsInterval)
	other := &pagedEvents{}
	reader.events = []corev1.Event{warningOf("a", "Failed", "new", later)}
	reader.before = func() { // another run looks meanwhile, and another one of another namespace
		if told, err := w.in(t.Context(), other, "team", later); err != nil || messageOf(told, "a", now.Add(-freshness)) != "old" {
			t.Errorf("meanwhile: %q, %v", messageOf(told, "a", now.Add(-freshness)), err)
		}
		if told, err := w.in(t.Context(), other, "elsewhere", later); err != nil || len(told.byObject) > 0 {
			t.Errorf("elsewhere: %v, %v", told, err)
		}
	}
	told, err := w.in(t.Context(), reader, "team", later)
	if err != nil || messageOf(told, "a", now) != "new" || other.lists > 0 {
		t.Errorf("%q, %v; %d lists meanwhile", messageOf(told, "a", now), err, other.lists)
	}
	for namespace := range w.byNamespace {
		if _, err := w.in(t.Context(), &pagedEvents{}, "elsewhere", later.Add(freshness)); err != nil {
			t.Fatal(err)
		}
		if _, kept := w.byNamespace[namespace]; kept {
			t.Errorf("what was said in %s is kept for ever", namespace)
		}
	}
}

func TestWarningsOfAListThatFailsAreNotTaken(t *testing.T) {
	var w warnings
	now := time.Now()
	if _, err := w.in(t.Context(), brokenReader{}, "team", now); err == nil {
		t.Error("the error is lost")
	}
	if told, err := w.in(t.Context(), &pagedEvents{events: []corev1.Event{warningOf("a", "Failed", "told", now)}}, "team", now); err != nil ||
		messageOf(told, "a", now.Add(-time.Second)) != "told" {
		t.Errorf("after an error: %v, %v", told, err)
	}
}

type brokenReader struct{ client.Reader }

func (brokenReader) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return context.DeadlineExceeded
}
