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
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/plan"
)

// blocker is what only somebody else can take out of a run's way.
type blocker struct{ reason, message string }

// apply does what the plan says, but for the status. Each step may be repeated and the rest left to the next
// reconcile: names and UIDs make it idempotent.
func (r *BatchRunReconciler) apply(ctx context.Context, run *v1alpha1.BatchRun, p *plan.Plan) (*blocker, error) {
	if !p.Acts() {
		return nil, nil
	}
	if err := r.mustBeCurrent(ctx, run); err != nil {
		return nil, err
	}
	if p.DeleteRun {
		return nil, r.remove(ctx, &v1alpha1.BatchRun{ObjectMeta: objectKey(run, run.Name)},
			client.Preconditions{UID: &run.UID, ResourceVersion: &run.ResourceVersion})
	}
	for _, adjustment := range p.Adjust {
		if err := r.adjust(ctx, run, adjustment); err != nil {
			return nil, err
		}
	}
	for _, pod := range p.DeletePods {
		if err := r.remove(ctx, &corev1.Pod{ObjectMeta: objectKey(run, pod.Name)}, client.Preconditions{UID: &pod.UID}); err != nil {
			return nil, err
		}
	}
	for _, w := range p.DeleteJobs {
		if err := r.remove(ctx, &batchv1.Job{ObjectMeta: objectKey(run, w.Name)}, client.Preconditions{UID: &w.UID}); err != nil {
			return nil, err
		}
	}
	for _, wave := range p.Start {
		if blocked, err := r.start(ctx, run, wave); blocked != nil || err != nil {
			return blocked, err
		}
	}
	return nil, nil
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
func (r *BatchRunReconciler) start(ctx context.Context, run *v1alpha1.BatchRun, wave plan.NewWave) (*blocker, error) {
	job := waveJob(run, wave)
	err := r.Create(ctx, job)
	switch {
	case err == nil:
		return nil, nil
	case apierrors.IsAlreadyExists(err):
		return r.standsInTheWay(ctx, run, job.Name)
	case apierrors.IsInvalid(err), apierrors.IsForbidden(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		return &blocker{v1alpha1.RunJobRefused, fmt.Sprintf("the API server refused Job %s: %s", job.Name, err)}, nil
	}
	return nil, fmt.Errorf("creating Job %s: %w", job.Name, err)
}

// standsInTheWay tells whose the Job of that name is: the run's own, which the cache does not show yet, or a foreign
// one, which is left alone.
func (r *BatchRunReconciler) standsInTheWay(ctx context.Context, run *v1alpha1.BatchRun, name string) (*blocker, error) {
	job := &batchv1.Job{}
	if err := r.Live.Get(ctx, client.ObjectKey{Namespace: run.Namespace, Name: name}, job); err != nil {
		return nil, client.IgnoreNotFound(err) // gone meanwhile: the next reconcile tries again
	}
	if metav1.IsControlledBy(job, run) {
		return nil, nil
	}
	return &blocker{v1alpha1.RunNameTaken, fmt.Sprintf(
		"a Job %s exists that this run does not control; the run needs the name and goes on once that Job is deleted or renamed", name)}, nil
}

// adjust changes whether the Job of a wave is suspended, and how many pods it may have.
func (r *BatchRunReconciler) adjust(ctx context.Context, run *v1alpha1.BatchRun, a plan.Adjustment) error {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": a.Wave.UID}, // a precondition: another Job of this name is a conflict
		"spec":     map[string]any{"suspend": a.Suspend, "parallelism": a.Parallelism},
	})
	if err != nil {
		return err
	}
	job := &batchv1.Job{ObjectMeta: objectKey(run, a.Wave.Name)}
	if err := r.Patch(ctx, job, client.RawPatch(types.MergePatchType, patch)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("adjusting Job %s: %w", a.Wave.Name, err)
	}
	return nil
}

func (r *BatchRunReconciler) remove(ctx context.Context, object client.Object, preconditions client.Preconditions) error {
	err := r.Delete(ctx, object, preconditions, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if apierrors.IsConflict(err) {
		return errStale // another object bears the name now
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting %T %s: %w", object, object.GetName(), err)
	}
	return nil
}
