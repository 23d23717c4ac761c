package controllers

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// warningsInterval is the least time between two looks at the Events of a namespace.
	warningsInterval = 10 * time.Second
	// warningsAtOnce is how many Events the API server answers with at once.
	warningsAtOnce = 500
)

// warnings are the latest Warnings among the Events of namespaces. The API server has no index of Events: each list costs
// it all that the namespace has. So one list does for all runs of a namespace, and there is one at a time.
type warnings struct {
	reading sync.Mutex

	mutex       sync.Mutex
	byNamespace map[string]warningsThen
}

// warningsThen are the Warnings of a namespace as of a time, by the UID of what they regard: the latest of each reason.
type warningsThen struct {
	at       time.Time
	byObject map[types.UID][]warning
}

// warning is what an Event says of an object.
type warning struct {
	kind, name, reason, message string
	at                          time.Time
}

// in returns the Warnings of a namespace as of the last warningsInterval. While another list is under way they may be
// older, or none.
func (w *warnings) in(ctx context.Context, live client.Reader, namespace string, now time.Time) (warningsThen, error) {
	then := w.get(namespace)
	if age := now.Sub(then.at); 0 <= age && age < warningsInterval || !w.reading.TryLock() {
		return then, nil
	}
	defer w.reading.Unlock()
	then = warningsThen{at: now, byObject: map[types.UID][]warning{}}
	var list corev1.EventList
	for more := true; more; more = list.Continue != "" {
		if err := live.List(ctx, &list, client.InNamespace(namespace), client.Limit(warningsAtOnce), client.Continue(list.Continue),
			client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("type", corev1.EventTypeWarning)}); err != nil {
			return warningsThen{}, fmt.Errorf("looking up Events: %w", err)
		}
		for i := range list.Items {
			then.add(&list.Items[i])
		}
	}
	w.put(namespace, then)
	return then, nil
}

func (w *warnings) get(namespace string) warningsThen {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.byNamespace[namespace]
}

// put also drops what is too old to tell anything.
func (w *warnings) put(namespace string, then warningsThen) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	kept := map[string]warningsThen{namespace: then}
	for other, old := range w.byNamespace {
		if other != namespace && then.at.Sub(old.at) < freshness {
			kept[other] = old
		}
	}
	w.byNamespace = kept
}

func (t warningsThen) add(event *corev1.Event) {
	added := warning{kind: event.InvolvedObject.Kind, name: event.InvolvedObject.Name,
		reason: event.Reason, message: event.Message, at: eventTime(event)}
	ofObject := t.byObject[event.InvolvedObject.UID]
	for i := range ofObject {
		if ofObject[i].name == added.name && ofObject[i].reason == added.reason { // not everybody gives UIDs
			if ofObject[i].at.Before(added.at) {
				ofObject[i] = added
			}
			return
		}
	}
	t.byObject[event.InvolvedObject.UID] = append(ofObject, added)
}

// last is the latest Warning about an object after since that is selected; nil where there is none.
func (t warningsThen) last(object types.UID, since time.Time, selects func(*warning) bool) *warning {
	var last *warning
	for i := range t.byObject[object] {
		w := &t.byObject[object][i]
		if w.at.After(since) && selects(w) {
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
