package controllers

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/plan"
	"github.com/batchrun/batchrun/controllers/queues"
)

// freshness is how old an Event may be that tells why something does not go on now: who writes them repeats them.
const freshness = 5 * time.Minute

// observeQueue asks the cluster's Events why Kueue lets a wave wait: it tells in those of the Job's Workload, which the
// operator need not be able to read.
func (r *BatchRunReconciler) observeQueue(ctx context.Context, s *plan.Snapshot) error {
	now := r.Clock.Now()
	i := slices.IndexFunc(s.Waves, func(w plan.Wave) bool { return w.Queued() && !now.Before(w.Created.Add(plan.IdleAfter)) })
	if i < 0 {
		return nil
	}
	key := client.ObjectKeyFromObject(s.Run)
	answer, ok := r.queueing.get(key, now)
	if !ok {
		event, err := r.lastWarning(ctx, s.Run.Namespace, fields.Set{"involvedObject.kind": "Workload"}, time.Hour,
			func(event *corev1.Event) bool { return queues.IsWorkloadOf(event.InvolvedObject.Name, s.Waves[i].Name) })
		if err != nil {
			return err
		}
		if event != nil {
			answer = event.Message
		}
		r.queueing.put(key, answer, now)
	}
	s.QueueSays = answer
	return nil
}

// observeTrouble asks the cluster's Events why a wave that should have pods has none, or why a node does not set up a
// pod: a quota, a missing volume. No status tells these. It asks for one wave, at most once in troubleInterval.
func (r *BatchRunReconciler) observeTrouble(ctx context.Context, s *plan.Snapshot, cached *runPods) error {
	now := r.Clock.Now()
	i := slices.IndexFunc(s.Waves, func(w plan.Wave) bool {
		return w.Idle() && !now.Before(w.Created.Add(plan.IdleAfter)) ||
			!w.Starting.IsZero() && !now.Before(w.Starting.Add(plan.IdleAfter))
	})
	if s.Trouble.Reason != "" || i < 0 {
		return nil
	}
	key := client.ObjectKeyFromObject(s.Run)
	if answer, ok := r.troubles.get(key, now); ok {
		s.Trouble = answer
		return nil
	}
	var err error
	if s.Waves[i].Idle() {
		s.Trouble, err = r.whyNoPods(ctx, s.Run, &s.Waves[i])
	} else {
		s.Trouble, err = r.whyNotSetUp(ctx, s.Run, &s.Waves[i], cached)
	}
	if err == nil && !s.Waves[i].Refused {
		r.troubles.put(key, s.Trouble, now)
	}
	return err
}

func (r *BatchRunReconciler) whyNoPods(ctx context.Context, run *v1alpha1.BatchRun, w *plan.Wave) (plan.Trouble, error) {
	event, err := r.lastWarning(ctx, run.Namespace, fields.Set{"involvedObject.uid": string(w.UID), "reason": "FailedCreate"}, freshness, nil)
	if err != nil || event == nil {
		return plan.Trouble{}, err
	}
	if w.Packed && strings.Contains(strings.ReplaceAll(event.Message, w.Name, ""), v1alpha1.PolicyParameters) {
		w.Refused = true
		return plan.Trouble{}, nil
	}
	// The name of the pod is another one each time.
	podName := regexp.MustCompile(regexp.QuoteMeta(w.Name) + `-\d+-[a-z0-9]{5}`)
	return plan.Trouble{Reason: v1alpha1.RunPodsNotCreated, Message: fmt.Sprintf(
		"the pods of Job %s cannot be created: %s", w.Name, podName.ReplaceAllString(event.Message, w.Name+"-…"))}, nil
}

func (r *BatchRunReconciler) whyNotSetUp(
	ctx context.Context, run *v1alpha1.BatchRun, w *plan.Wave, cached *runPods,
) (plan.Trouble, error) {
	var oldest *corev1.Pod
	var oldestTask int
	if err := cached.each(ctx, w, podStarting, func(pod *corev1.Pod, task int) bool {
		oldest, oldestTask = pod, task
		return !startingSince(pod).Equal(w.Starting)
	}); err != nil || oldest == nil {
		return plan.Trouble{}, err
	}
	event, err := r.lastWarning(ctx, run.Namespace, fields.Set{"involvedObject.uid": string(oldest.UID)}, freshness, nil)
	if err != nil || event == nil || eventTime(event).Before(w.Starting) {
		return plan.Trouble{}, err
	}
	return plan.Trouble{Reason: v1alpha1.RunStartFailing,
		Message: fmt.Sprintf("task %d (pod %s): %s: %s", oldestTask, oldest.Name, event.Reason, event.Message)}, nil
}

// lastWarning is the latest Warning among the Events that the fields and the function, if any, select; nil where there is
// none as fresh.
func (r *BatchRunReconciler) lastWarning(ctx context.Context, namespace string, selected fields.Set, fresh time.Duration,
	selects func(*corev1.Event) bool,
) (*corev1.Event, error) {
	selected["type"] = corev1.EventTypeWarning
	var list corev1.EventList
	if err := r.Live.List(ctx, &list, client.InNamespace(namespace), client.MatchingFieldsSelector{Selector: selected.AsSelector()}); err != nil {
		return nil, fmt.Errorf("looking up Events: %w", err)
	}
	var last *corev1.Event
	lastTime := r.Clock.Now().Add(-fresh)
	for i := range list.Items {
		if selects != nil && !selects(&list.Items[i]) {
			continue
		}
		if t := eventTime(&list.Items[i]); t.After(lastTime) {
			last, lastTime = &list.Items[i], t
		}
	}
	return last, nil
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
