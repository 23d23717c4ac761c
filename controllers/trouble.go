package controllers

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/plan"
	"github.com/batchrun/batchrun/controllers/queues"
)

// freshness is how old an Event may be that tells why something does not go on now: who writes them repeats them.
const freshness = 5 * time.Minute

// queueFreshness is that of Kueue, which tells once why a wave waits.
const queueFreshness = time.Hour

// observeQueue asks the cluster's Events why Kueue lets a wave wait: it tells in those of the Job's Workload, which the
// operator need not be able to read.
func (r *BatchRunReconciler) observeQueue(ctx context.Context, s *plan.Snapshot) error {
	now := r.Clock.Now()
	i := slices.IndexFunc(s.Waves, func(w plan.Wave) bool { return w.Queued() && !now.Before(w.Created.Add(plan.IdleAfter)) })
	if i < 0 {
		return nil
	}
	told, err := r.warnings.in(ctx, r.Live, s.Run.Namespace, now)
	if err != nil {
		return err
	}
	var last *warning
	for workload := range told.byObject {
		if w := told.last(workload, now.Add(-queueFreshness), func(event *warning) bool {
			return event.kind == "Workload" && queues.IsWorkloadOf(event.name, s.Waves[i].Name)
		}); w != nil && (last == nil || last.at.Before(w.at)) {
			last = w
		}
	}
	if last != nil {
		s.QueueSays = last.message
	}
	return nil
}

// observeTrouble asks the cluster's Events why a wave that should have pods has none, or why a node does not set up a
// pod: a quota, a missing volume. No status tells these. It asks for one wave.
func (r *BatchRunReconciler) observeTrouble(ctx context.Context, s *plan.Snapshot, cached *runPods) error {
	now := r.Clock.Now()
	i := slices.IndexFunc(s.Waves, func(w plan.Wave) bool {
		return w.Idle() && !now.Before(w.Created.Add(plan.IdleAfter)) ||
			!w.Starting.IsZero() && !now.Before(w.Starting.Add(plan.IdleAfter))
	})
	if s.Trouble.Reason != "" || i < 0 {
		return nil
	}
	told, err := r.warnings.in(ctx, r.Live, s.Run.Namespace, now)
	if err != nil {
		return err
	}
	if s.Waves[i].Idle() {
		s.Trouble = whyNoPods(&s.Waves[i], told, now)
	} else {
		s.Trouble, err = whyNotSetUp(ctx, &s.Waves[i], cached, told, now)
	}
	return err
}

func whyNoPods(w *plan.Wave, told warningsThen, now time.Time) plan.Trouble {
	last := told.last(w.UID, now.Add(-freshness), func(event *warning) bool { return event.reason == "FailedCreate" })
	if last == nil {
		return plan.Trouble{}
	}
	if w.Packed && strings.Contains(strings.ReplaceAll(last.message, w.Name, ""), v1alpha1.PolicyParameters) {
		w.Refused = true
		return plan.Trouble{}
	}
	// The name of the pod is another one each time.
	podName := regexp.MustCompile(regexp.QuoteMeta(w.Name) + `-\d+-[a-z0-9]{5}`)
	return plan.Trouble{Reason: v1alpha1.RunPodsNotCreated, Message: fmt.Sprintf(
		"the pods of Job %s cannot be created: %s", w.Name, podName.ReplaceAllString(last.message, w.Name+"-…"))}
}

func whyNotSetUp(ctx context.Context, w *plan.Wave, cached *runPods, told warningsThen, now time.Time) (plan.Trouble, error) {
	var oldest *corev1.Pod
	var oldestTask int
	if err := cached.each(ctx, w, podStarting, func(pod *corev1.Pod, task int) bool {
		oldest, oldestTask = pod, task
		return !startingSince(pod).Equal(w.Starting)
	}); err != nil || oldest == nil {
		return plan.Trouble{}, err
	}
	last := told.last(oldest.UID, now.Add(-freshness), func(event *warning) bool { return !event.at.Before(w.Starting) })
	if last == nil {
		return plan.Trouble{}, nil
	}
	return plan.Trouble{Reason: v1alpha1.RunStartFailing,
		Message: fmt.Sprintf("task %d (pod %s): %s: %s", oldestTask, oldest.Name, last.reason, last.message)}, nil
}
