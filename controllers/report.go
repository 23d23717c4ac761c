package controllers

import (
	"context"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/logtail"
	"github.com/batchrun/batchrun/controllers/plan"
)

// report writes the plan's status if it says anything new, not too often, and then emits the plan's Events. The write holds only if
// nobody else wrote since the run was observed, so no attempt is ever counted twice.
func (r *BatchRunReconciler) report(ctx context.Context, run *v1alpha1.BatchRun, p *plan.Plan) (ctrl.Result, error) {
	now := r.Clock.Now()
	result := ctrl.Result{}
	if !p.WakeAt.IsZero() {
		result.RequeueAfter = max(p.WakeAt.Sub(now), time.Millisecond)
	}
	if equality.Semantic.DeepEqual(run.Status, p.Status) {
		return result, nil
	}
	key := client.ObjectKeyFromObject(run)
	if written, ok := r.writes.get(key, now); ok && !p.Urgent {
		next := written.Add(progressInterval)
		if p.Awaited {
			next = written.Add(statusInterval)
		}
		if now.Before(next) {
			return ctrl.Result{RequeueAfter: next.Sub(now)}, nil
		}
	}
	if err := r.seesAllWaves(ctx, run, p); err != nil {
		return ctrl.Result{}, err
	}
	if err := r.lookUpSamples(ctx, run, p); err != nil {
		return ctrl.Result{}, err
	}
	reported := run.DeepCopy()
	reported.Status = p.Status
	patch := client.MergeFromWithOptions(run, client.MergeFromWithOptimisticLock{})
	if err := r.Status().Patch(ctx, reported, patch); err != nil {
		if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
			return ctrl.Result{}, errStale
		}
		return ctrl.Result{}, fmt.Errorf("writing the status: %w", err)
	}
	r.writes.put(key, now, now)
	countWrite(&run.Status, &p.Status)
	for _, event := range p.Events {
		r.tell(reported, event)
	}
	return result, nil
}

// tell emits an Event. The recorder counts Events as one that differ in nothing but their notes, the version of what
// they regard included.
func (r *BatchRunReconciler) tell(run *v1alpha1.BatchRun, event plan.Event) {
	kind, action := corev1.EventTypeNormal, event.Reason
	if event.Warning {
		kind = corev1.EventTypeWarning
	}
	if event.Repeats != "" {
		run, action = run.DeepCopy(), event.Repeats
		run.ResourceVersion = ""
	}
	r.Recorder.Eventf(run, nil, kind, event.Reason, action, "%s", event.Note)
}

// seesAllWaves fails with errStale where the run is about to be finished without success and has a wave that the cache
// does not show: what that wave still achieves would not be recorded.
func (r *BatchRunReconciler) seesAllWaves(ctx context.Context, run *v1alpha1.BatchRun, p *plan.Plan) error {
	if p.Status.CompletionTime == nil || run.Status.CompletionTime != nil || p.Status.Phase == v1alpha1.PhaseSucceeded {
		return nil
	}
	var jobs batchv1.JobList
	ofRun := client.MatchingLabels{v1alpha1.LabelRunUID: string(run.UID)}
	if err := r.Live.List(ctx, &jobs, client.InNamespace(run.Namespace), ofRun); err != nil {
		return fmt.Errorf("looking for waves that were just started: %w", err)
	}
	if slices.ContainsFunc(jobs.Items, func(job batchv1.Job) bool {
		number, ok := waveNumber(run, job.Name)
		return ok && number >= int(p.Status.Waves.Next) && metav1.IsControlledBy(&job, run)
	}) {
		return errStale
	}
	return nil
}

// lookUpSamples has the successes that the plan added to the status tell what only their pods do: which they were, when
// they ended, and the ends of their logs. One whose pod is gone is left out; there is room for another then.
func (r *BatchRunReconciler) lookUpSamples(ctx context.Context, run *v1alpha1.BatchRun, p *plan.Plan) error {
	if len(p.Samples) == 0 {
		return nil
	}
	tasks := map[*plan.Wave][]int{}
	for _, sample := range p.Samples {
		tasks[sample.Wave] = append(tasks[sample.Wave], sample.Task)
	}
	found := map[plan.Sample]plan.Pod{}
	for wave := range tasks {
		if err := r.eachLivePod(ctx, run, wave, tasks[wave], func(pod *corev1.Pod, task int) {
			if pod.Status.Phase == corev1.PodSucceeded {
				found[plan.Sample{Wave: wave, Task: task}] = observePod(pod, task)
			}
		}); err != nil {
			return err
		}
	}
	first := len(p.Status.Successes) - len(p.Samples)
	added := p.Status.Successes[first:]
	var pods []plan.Pod
	p.Status.Successes = slices.Clone(p.Status.Successes[:first])
	for i, sample := range p.Samples {
		if pod, ok := found[sample]; ok {
			pod.Tell(&added[i])
			p.Status.Successes = append(p.Status.Successes, added[i])
			pods = append(pods, pod)
		}
	}
	if keep, _, _ := run.Spec.LogTail(); keep == v1alpha1.KeepAll {
		r.readTails(ctx, run, p.Status.Successes[first:], pods)
	}
	return nil
}

// readTails reads the ends of the logs of attempts' pods, all within logTimeout. A log that cannot be read is said to be
// so.
func (r *BatchRunReconciler) readTails(ctx context.Context, run *v1alpha1.BatchRun, records []v1alpha1.Attempt, pods []plan.Pod) {
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	_, lines, bytes := run.Spec.LogTail()
	workqueue.ParallelizeUntil(context.WithoutCancel(ctx), maxRequestsAtOnce, len(pods), func(i int) {
		log, err := r.Logs.Tail(ctx, run.Namespace, pods[i].Name, pods[i].Container, int64(lines))
		if err != nil {
			records[i].Message = "its log could not be read"
			ctrl.LoggerFrom(ctx).Info("log not read", "pod", pods[i].Name, "error", err.Error())
			return
		}
		records[i].LogTail = logtail.Clean(log, lines, bytes)
	})
}
