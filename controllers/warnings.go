package controllers

import (
	"context"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/controllers/logtail"
)

const (
	// warningsInterval is the least time between two looks at the Events of a namespace.
	warningsInterval = 10 * time.Second
	// warningsTimeout bounds one look. A run waits for it at most once: what is not known then is left unsaid.
	warningsTimeout = 10 * time.Second
	// warningsAtOnce is how many Events the API server answers with at once.
	warningsAtOnce = 500
	// maxReasons bounds the reasons that are kept for an object, maxWarningBytes what is said of each.
	maxReasons      = 20
	maxWarningBytes = 1024
)

// warnings are the latest Warnings among the Events of namespaces. The API server has no index of Events: each list costs
// it all that the namespace has. So one list does for all runs of a namespace, and there is one at a time.
type warnings struct {
	mutex       sync.Mutex
	byNamespace map[string]*warningsOf
}

// warningsOf are the Warnings of one namespace.
type warningsOf struct {
	// reading is held while they are listed.
	reading sync.Mutex

	mutex  sync.Mutex
	latest warningsThen
}

// warningsThen are the Warnings of a namespace as of a time: of each object the latest of each reason.
type warningsThen struct {
	at       time.Time
	byObject map[regarded][]warning
}

// regarded is the object that an Event is about.
type regarded struct {
	kind, name string
	uid        types.UID
}

// warning is what an Event says of an object.
type warning struct {
	reason, message string
	at              time.Time
}

// in returns the Warnings of a namespace as of the last warningsInterval. While they are listed anew they may be older.
// Where they cannot be listed they are what was known before: not to know why a run waits must not keep it from going on.
func (w *warnings) in(ctx context.Context, live client.Reader, namespace string, now time.Time) warningsThen {
	of := w.of(namespace, now)
	known := of.get()
	switch {
	case known.recent(now):
		return known
	case known.at.IsZero():
		of.reading.Lock()
	case !of.reading.TryLock():
		return known
	}
	defer of.reading.Unlock()
	if known = of.get(); known.recent(now) { // it was listed meanwhile
		return known
	}
	then, err := listWarnings(ctx, live, namespace, now)
	if err != nil {
		ctrl.LoggerFrom(ctx).Info("Events not read", "namespace", namespace, "error", err.Error())
		then.byObject = known.byObject
	}
	of.put(then)
	return then
}

// of also drops the namespaces of which nobody has asked for long.
func (w *warnings) of(namespace string, now time.Time) *warningsOf {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if of, ok := w.byNamespace[namespace]; ok {
		return of
	}
	kept := map[string]*warningsOf{namespace: {}}
	for other, of := range w.byNamespace {
		if at := of.get().at; at.IsZero() || now.Sub(at) < freshness {
			kept[other] = of
		}
	}
	w.byNamespace = kept
	return kept[namespace]
}

func (w *warningsOf) get() warningsThen {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.latest
}

func (w *warningsOf) put(then warningsThen) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.latest = then
}

// listWarnings asks the API server.
func listWarnings(ctx context.Context, live client.Reader, namespace string, now time.Time) (warningsThen, error) {
	ctx, cancel := context.WithTimeout(ctx, warningsTimeout)
	defer cancel()
	then := warningsThen{at: now, byObject: map[regarded][]warning{}}
	var page corev1.EventList
	for more := true; more; more = page.Continue != "" {
		if err := live.List(ctx, &page, client.InNamespace(namespace), client.Limit(warningsAtOnce), client.Continue(page.Continue),
			client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("type", corev1.EventTypeWarning)}); err != nil {
			return then, err
		}
		for i := range page.Items {
			then.add(&page.Items[i])
		}
	}
	return then, nil
}

// recent is true for what was listed less than warningsInterval ago; not if the clock was put back since.
func (t *warningsThen) recent(now time.Time) bool {
	age := now.Sub(t.at)
	return age >= 0 && age < warningsInterval
}

// add keeps what a run may be told of: why a Job has no pods, why a pod is not set up, why Kueue lets a Job wait.
func (t *warningsThen) add(event *corev1.Event) {
	on := event.InvolvedObject
	oldest := freshness
	switch {
	case on.Kind == "Job" && event.Reason == failedCreate, on.Kind == "Pod" && event.Reason != failedScheduling:
	case on.Kind == kueueWorkload:
		oldest = queueFreshness
	default:
		return
	}
	added := warning{reason: event.Reason, message: logtail.Cut(event.Message, maxWarningBytes), at: eventTime(event)}
	if t.at.Sub(added.at) >= oldest {
		return
	}
	of := regarded{kind: on.Kind, name: on.Name, uid: on.UID}
	told := t.byObject[of]
	i := slices.IndexFunc(told, func(w warning) bool { return w.reason == added.reason })
	switch {
	case i >= 0 && told[i].at.Before(added.at):
		told[i] = added
	case i < 0 && len(told) < maxReasons:
		t.byObject[of] = append(told, added)
	}
}

// last is the latest Warning about an object after since; nil where there is none.
func (t *warningsThen) last(object regarded, since time.Time) *warning {
	var last *warning
	for i := range t.byObject[object] {
		if w := &t.byObject[object][i]; w.at.After(since) {
			last, since = w, w.at
		}
	}
	return last
}

// eventTime is when an Event was last seen; which field tells depends on who wrote it.
func eventTime(event *corev1.Event) time.Time {
	latest := event.CreationTimestamp.Time
	times := []time.Time{event.EventTime.Time, event.LastTimestamp.Time}
	if event.Series != nil {
		times = append(times, event.Series.LastObservedTime.Time)
	}
	for _, t := range times {
		if t.After(latest) {
			latest = t
		}
	}
	return latest
}
