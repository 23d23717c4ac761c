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

// What Events are about and say.
const (
	// failedCreate is the reason where the Job controller cannot create a pod.
	failedCreate = "FailedCreate"
	// failedScheduling is that where no node takes a pod. Its condition tells that too.
	failedScheduling = "FailedScheduling"
	// kueueWorkload is what a Job is to Kueue.
	kueueWorkload = "Workload"
)

// observeQueue asks the cluster's Events why Kueue lets a wave wait: it tells in those of the Job's Workload, which the
// operator need not be able to read.
func (r *BatchRunReconciler) observeQueue(ctx context.Context, s *plan.Snapshot) {
	now := r.Clock.Now()
	i := slices.IndexFunc(s.Waves, func(w plan.Wave) bool { return w.Queued() && !now.Before(w.Created.Add(plan.IdleAfter)) })
	if i < 0 {
		return
	}
	told, since := r.warnings.in(ctx, r.Live, s.Run.Namespace, now), now.Add(-queueFreshness)
	for workload := range told.byObject {
		if workload.kind != kueueWorkload || !queues.IsWorkloadOf(workload.name, s.Waves[i].Name) {
			continue
		}
		if last := told.last(workload, since); last != nil {
			s.QueueSays, since = last.message, last.at
		}
	}
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
	told := r.warnings.in(ctx, r.Live, s.Run.Namespace, now)
	if s.Waves[i].Idle() {
		s.Trouble = whyNoPods(&s.Waves[i], told, now)
		return nil
	}
	var err error
	s.Trouble, err = whyNotSetUp(ctx, &s.Waves[i], cached, told, now)
	return err
}

func whyNoPods(w *plan.Wave, told warningsThen, now time.Time) plan.Trouble {
	last := told.last(regarded{kind: "Job", name: w.Name, uid: w.UID}, now.Add(-freshness))
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
	last := told.last(regarded{kind: "Pod", name: oldest.Name, uid: oldest.UID}, now.Add(-freshness))
	if last == nil || last.at.Before(w.Starting) {
		return plan.Trouble{}, nil
	}
	return plan.Trouble{Reason: v1alpha1.RunStartFailing,
		Message: fmt.Sprintf("task %d (pod %s): %s: %s", oldestTask, oldest.Name, last.reason, last.message)}, nil
}
