package controllers

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/logtail"
	"github.com/batchrun/batchrun/controllers/plan"
)

// report writes the plan's status if it says anything new, and then emits the plan's Events. The write holds only if
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
	if wait := r.writes.last(key).Add(statusInterval).Sub(now); wait > 0 && !p.Urgent {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	r.readTails(ctx, run, p)
	reported := run.DeepCopy()
	reported.Status = p.Status
	patch := client.MergeFromWithOptions(run, client.MergeFromWithOptimisticLock{})
	if err := r.Status().Patch(ctx, reported, patch); err != nil {
		if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
			return ctrl.Result{RequeueAfter: staleDelay}, nil
		}
		return ctrl.Result{}, fmt.Errorf("writing the status: %w", err)
	}
	r.writes.note(key, now)
	for _, event := range p.Events {
		kind := corev1.EventTypeNormal
		if event.Warning {
			kind = corev1.EventTypeWarning
		}
		r.Recorder.Eventf(reported, nil, kind, event.Reason, event.Reason, "%s", event.Note)
	}
	return result, nil
}

// readTails reads the ends of the logs of the successes that the plan added to the status. A log that cannot be read
// is said to be so; it never holds the run up.
func (r *BatchRunReconciler) readTails(ctx context.Context, run *v1alpha1.BatchRun, p *plan.Plan) {
	_, lines, bytes := run.Spec.LogTail()
	added := p.Status.Successes[len(p.Status.Successes)-len(p.Tails):]
	for i, pod := range p.Tails {
		log, err := r.Logs.Tail(ctx, run.Namespace, pod.Name, pod.Container, int64(lines))
		if err != nil {
			added[i].Message = "its log could not be read"
			ctrl.LoggerFrom(ctx).Info("log not read", "pod", pod.Name, "error", err.Error())
			continue
		}
		added[i].LogTail = logtail.Clean(log, lines, bytes)
	}
}

// writeTimes remembers when the status of each run was written last.
type writeTimes struct {
	mutex sync.Mutex
	times map[types.NamespacedName]time.Time
}

func (w *writeTimes) last(run types.NamespacedName) time.Time {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.times[run]
}

func (w *writeTimes) note(run types.NamespacedName, at time.Time) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.times == nil {
		w.times = map[types.NamespacedName]time.Time{}
	}
	w.times[run] = at
}

func (w *writeTimes) forget(run types.NamespacedName) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	delete(w.times, run)
}
