package controllers

import (
	"cmp"
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/plan"
	"github.com/batchrun/batchrun/controllers/progress"
)

const (
	// lookDelay is the time between two looks at the logs of a run's active attempts. Where they say nothing it is doubled,
	// up to maxLookDelay.
	lookDelay    = time.Minute
	maxLookDelay = 16 * time.Minute
	// lookTimeout bounds one look. A node that does not answer must not hold up other runs.
	lookTimeout = 2 * time.Second
	// lookLines is how many lines at the end of a log are read.
	lookLines = 200
)

// look is when the logs of a run were asked for progress, and when they will be again.
type look struct {
	delay time.Duration
	next  time.Time
}

// observeProgress reads what the first active attempts say of themselves, if it is time to.
func (r *BatchRunReconciler) observeProgress(ctx context.Context, s *plan.Snapshot, cached *runPods) error {
	s.Progress = s.Run.Status.Progress
	started := s.Run.Status.StartTime
	keep, _, _ := s.Run.Spec.LogTail()
	if started == nil || s.Run.Status.CompletionTime != nil || s.Run.Status.Active == 0 || keep == v1alpha1.KeepNone {
		return nil
	}
	key, now := client.ObjectKeyFromObject(s.Run), r.Clock.Now()
	last, known := r.looks.get(key, now)
	if !known {
		last = look{delay: lookDelay, next: started.Add(lookDelay)}
	}
	if now.Before(last.next) {
		s.LookAgain(last.next)
		return nil
	}
	pods, err := talkers(ctx, s, cached)
	if err != nil {
		return err
	}
	s.Progress = r.ask(ctx, s.Run.Namespace, pods)
	delay := lookDelay
	if len(s.Progress) == 0 {
		delay = min(2*last.delay, maxLookDelay)
	}
	next := now.Add(delay)
	s.LookAgain(next)
	r.looks.put(key, look{delay, next}, now)
	return nil
}

// talkers are the running pods of the tasks with the lowest indexes, as many as the status has room for.
func talkers(ctx context.Context, s *plan.Snapshot, cached *runPods) ([]plan.Pod, error) {
	var pods []plan.Pod
	for i := range s.Waves {
		w := &s.Waves[i]
		if err := cached.each(ctx, w, podOther, func(pod *corev1.Pod, task int) bool {
			if pod.Status.Phase == corev1.PodRunning && s.Unrecorded(w, task) {
				pods = append(pods, plan.Pod{Task: task, Name: pod.Name, Container: logContainer(pod)})
			}
			return true
		}); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(pods, func(a, b plan.Pod) int { return cmp.Compare(a.Task, b.Task) })
	return pods[:min(len(pods), v1alpha1.MaxProgress)], nil
}

// ask reads what pods say of their progress. Those that say nothing, or whose logs cannot be read, are left out.
func (r *BatchRunReconciler) ask(ctx context.Context, namespace string, pods []plan.Pod) []v1alpha1.TaskProgress {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	said := make([]*v1alpha1.TaskProgress, len(pods))
	workqueue.ParallelizeUntil(ctx, len(pods), len(pods), func(i int) {
		log, err := r.Logs.Tail(ctx, namespace, pods[i].Name, pods[i].Container, lookLines)
		if err != nil {
			return
		}
		if last, ok := progress.Last(log); ok {
			said[i] = &v1alpha1.TaskProgress{
				Index: int32(pods[i].Task), Percent: int32(last.Percent), Message: last.Message, Pod: pods[i].Name}
		}
	})
	var all []v1alpha1.TaskProgress
	for _, one := range said {
		if one != nil {
			all = append(all, *one)
		}
	}
	return all
}
