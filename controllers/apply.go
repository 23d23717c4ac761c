package controllers

import (
	"context"
	"encoding/json"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/plan"
)

// apply does what the plan says, but for the status. Each step may be repeated and the rest left to the next
// reconcile: names and UIDs make it idempotent.
func (r *BatchRunReconciler) apply(ctx context.Context, run *v1alpha1.BatchRun, p *plan.Plan) (*plan.Trouble, error) {
	if !p.Acts() {
		return nil, nil
	}
	if err := r.mustBeCurrent(ctx, run); err != nil {
		return nil, err
	}
	if p.DeleteRun {
		return nil, r.remove(ctx, &v1alpha1.BatchRun{ObjectMeta: objectKey(run, run.Name)}, metav1.DeletePropagationBackground,
			client.Preconditions{UID: &run.UID, ResourceVersion: &run.ResourceVersion})
	}
	for _, adjustment := range p.Adjust {
		if trouble, err := r.adjust(ctx, run, adjustment); trouble != nil || err != nil {
			return trouble, err
		}
	}
	if trouble, err := atOnce(ctx, p.DeletePods, func(pod plan.Pod) (*plan.Trouble, error) {
		return nil, r.remove(ctx, &corev1.Pod{ObjectMeta: objectKey(run, pod.Name)}, metav1.DeletePropagationBackground,
			client.Preconditions{UID: &pod.UID})
	}); trouble != nil || err != nil {
		return trouble, err
	}
	for _, w := range p.DeleteJobs {
		propagation := metav1.DeletePropagationBackground
		if !w.Stopped { // it stays until its pods are gone, so that those count that have ended, and none runs elsewhere
			propagation = metav1.DeletePropagationForeground
		}
		if err := r.remove(ctx, &batchv1.Job{ObjectMeta: objectKey(run, w.Name)}, propagation, client.Preconditions{UID: &w.UID}); err != nil {
			return nil, err
		}
	}
	if len(p.Start) == 0 {
		return nil, nil
	}
	// What is wrong with the first is likely to be wrong with all.
	if trouble, err := r.start(ctx, run, p.Start[0]); trouble != nil || err != nil {
		return trouble, err
	}
	return atOnce(ctx, p.Start[1:], func(wave plan.NewWave) (*plan.Trouble, error) { return r.start(ctx, run, wave) })
}

// maxRequestsAtOnce bounds the requests that one reconcile has under way.
const maxRequestsAtOnce = 16

// atOnce does something for each of the items, some at once, and returns what went wrong with the first of those with
// which anything did.
func atOnce[T any](ctx context.Context, items []T, do func(T) (*plan.Trouble, error)) (*plan.Trouble, error) {
	troubles, errs := make([]*plan.Trouble, len(items)), make([]error, len(items))
	workqueue.ParallelizeUntil(ctx, maxRequestsAtOnce, len(items), func(i int) { troubles[i], errs[i] = do(items[i]) })
	for i := range items {
		if troubles[i] != nil || errs[i] != nil {
			return troubles[i], errs[i]
		}
	}
	return nil, ctx.Err()
}

// objectKey names an object in the run's namespace.
func objectKey(run *v1alpha1.BatchRun, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: run.Namespace, Name: name}
}

// mustBeCurrent fails with errStale where the API server's run is another one than the observed. The cache may be
// behind; what a plan does must not rest on the past.
func (r *BatchRunReconciler) mustBeCurrent(ctx context.Context, run *v1alpha1.BatchRun) error {
	live := &v1alpha1.BatchRun{}
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(run), live); err != nil {
		if apierrors.IsNotFound(err) {
			return errStale
		}
		return fmt.Errorf("reading the run from the API server: %w", err)
	}
	if live.UID != run.UID || live.ResourceVersion != run.ResourceVersion {
		return errStale
	}
	return nil
}

// start creates the Job of a wave.
func (r *BatchRunReconciler) start(ctx context.Context, run *v1alpha1.BatchRun, wave plan.NewWave) (*plan.Trouble, error) {
	job := waveJob(run, wave)
	err := r.Create(ctx, job)
	if apierrors.IsAlreadyExists(err) {
		return r.standsInTheWay(ctx, run, &batchv1.Job{}, job.Name)
	}
	if err == nil {
		r.stepped(run)
	}
	return refused(err, "creating Job", job.Name)
}

// stepped remembers that a wave was started, or given more room.
func (r *BatchRunReconciler) stepped(run *v1alpha1.BatchRun) {
	now := r.Clock.Now()
	r.steps.put(client.ObjectKeyFromObject(run), plan.Step{At: now, Ended: plan.Ended(&run.Status)}, now)
}

// refused turns the API server's refusal of a Job into a trouble of the run; other errors pass. A server error, such as
// an admission webhook that does not answer, may be over soon: the run does not stall for it.
func refused(err error, doing, name string) (*plan.Trouble, error) {
	switch {
	case err == nil:
		return nil, nil
	case apierrors.IsInvalid(err), apierrors.IsForbidden(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		return &plan.Trouble{Reason: v1alpha1.RunJobRefused, Stalled: true, Retry: blockedDelay,
			Message: fmt.Sprintf("%s %s: the API server refused it: %s", doing, name, err)}, nil
	case apierrors.IsInternalError(err):
		return &plan.Trouble{Reason: v1alpha1.RunJobRefused, Retry: blockedDelay,
			Message: fmt.Sprintf("%s %s: the API server failed: %s", doing, name, err)}, nil
	}
	return nil, fmt.Errorf("%s %s: %w", doing, name, err)
}

// standsInTheWay tells whose the object of that name is, a Job or a ControllerRevision: the run's own, which the cache
// does not show yet, or a foreign one, which is left alone.
func (r *BatchRunReconciler) standsInTheWay(
	ctx context.Context, run *v1alpha1.BatchRun, object client.Object, name string,
) (*plan.Trouble, error) {
	kind := "Job"
	if _, ok := object.(*batchv1.Job); !ok {
		kind = "ControllerRevision"
	}
	if err := r.Live.Get(ctx, client.ObjectKey{Namespace: run.Namespace, Name: name}, object); apierrors.IsNotFound(err) {
		return nil, errStale // gone meanwhile
	} else if err != nil {
		return nil, fmt.Errorf("looking up %s %s: %w", kind, name, err)
	}
	owner := metav1.GetControllerOf(object)
	switch {
	case metav1.IsControlledBy(object, run) && object.GetLabels()[v1alpha1.LabelRunUID] == "":
		return &plan.Trouble{Reason: v1alpha1.RunNameTaken, Stalled: true, Retry: blockedDelay, Message: fmt.Sprintf(
			"%s %s is the run's own and has lost its label %s=%s: put it back, or delete the %[1]s", kind, name, v1alpha1.LabelRunUID, run.UID)}, nil
	case metav1.IsControlledBy(object, run):
		return nil, errStale // what is to be started beyond it must not rest on a cache that lacks it
	case object.GetDeletionTimestamp() != nil, owner != nil && owner.Kind == "BatchRun" && owner.Name == run.Name:
		return &plan.Trouble{Reason: v1alpha1.RunNameTaken, Retry: blockedDelay,
			Message: fmt.Sprintf("%s %s of an earlier run of this name is still going away", kind, name)}, nil
	}
	return &plan.Trouble{Reason: v1alpha1.RunNameTaken, Stalled: true, Retry: blockedDelay, Message: fmt.Sprintf(
		"a %s %s exists that this run does not control; the run needs the name and goes on once that %[1]s is deleted", kind, name)}, nil
}

// adjust changes whether the Job of a wave is suspended, and how many pods it may have: only what is to be different, as
// others may suspend it meanwhile. That the operator suspended it is noted on it.
func (r *BatchRunReconciler) adjust(ctx context.Context, run *v1alpha1.BatchRun, a plan.Adjustment) (*plan.Trouble, error) {
	metadata := map[string]any{"uid": a.Wave.UID} // a precondition: another Job of this name is a conflict
	spec := map[string]any{}
	if a.Parallelism != a.Wave.Parallelism {
		spec["parallelism"] = a.Parallelism
	}
	if a.Suspend != a.Wave.Suspended {
		spec["suspend"] = a.Suspend
		metadata["annotations"] = map[string]any{v1alpha1.AnnotationSuspended: nil}
		if a.Suspend {
			metadata["annotations"] = map[string]any{v1alpha1.AnnotationSuspended: "true"}
		}
	}
	patch, err := json.Marshal(map[string]any{"metadata": metadata, "spec": spec})
	if err != nil {
		return nil, err
	}
	job := &batchv1.Job{ObjectMeta: objectKey(run, a.Wave.Name)}
	err = r.Patch(ctx, job, client.RawPatch(types.MergePatchType, patch))
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil, errStale
	}
	if err == nil {
		r.adjusted.Add(job.UID, job.Generation)
	}
	if err == nil && a.Parallelism > a.Wave.Parallelism {
		r.stepped(run)
	}
	return refused(err, "adjusting Job", a.Wave.Name)
}

func (r *BatchRunReconciler) remove(ctx context.Context, object client.Object, propagation metav1.DeletionPropagation,
	preconditions client.Preconditions,
) error {
	err := r.Delete(ctx, object, preconditions, client.PropagationPolicy(propagation))
	if apierrors.IsConflict(err) {
		return errStale // another object bears the name now
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting %T %s: %w", object, object.GetName(), err)
	}
	return nil
}
