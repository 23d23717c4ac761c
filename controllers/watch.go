package controllers

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/lru"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/plan"
)

// maxGoneJobs bounds the memory for Jobs that went away, a few KB each.
const maxGoneJobs = 1000

// maxAdjusted bounds the Jobs whose generations are remembered, some bytes each: those that the cache may be behind of.
const maxAdjusted = 5000

// A look that failed is taken again after retryBase, and each time later up to retryMax: where the API server was away for
// long, runs go on soon after it is back. controller-runtime's own limit is a quarter of an hour.
const (
	retryBase = 5 * time.Millisecond
	retryMax  = 30 * time.Second
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// SetupWithManager registers the reconciler and what it watches: runs, their Jobs and their pods.
func (r *BatchRunReconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager, concurrency int) error {
	if err := indexCache(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	if err := r.delivery.setUp(ctx, mgr, r.Namespaced); err != nil {
		return err
	}
	r.vanished, r.adjusted, r.goneJobs = newVanishedPods(), lru.New(maxAdjusted), lru.New(maxGoneJobs)
	r.writes.lifetime, r.steps.lifetime, r.waves.lifetime = progressInterval, plan.Lookahead, maxEventDelay+statusInterval
	r.looks.lifetime = 2 * maxLookDelay
	r.unseen.lifetime = time.Hour
	r.tables = lru.New(maxTables)
	r.behind = flowcontrol.NewBackOff(staleDelay, maxStaleDelay)
	of := ctrl.NewControllerManagedBy(mgr)
	if r.Archive != nil {
		of.WatchesRawSource(source.Channel(r.Archive.Changes(), &handler.TypedEnqueueRequestForObject[*v1alpha1.BatchRun]{}))
	}
	return of.
		For(&v1alpha1.BatchRun{}).
		Watches(&batchv1.Job{}, r.jobHandler()).
		Watches(&appsv1.ControllerRevision{}, r.ownedHandler()).
		Watches(&corev1.Pod{}, r.podHandler(), builder.WithPredicates(worthALook())).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: concurrency,
			ReconciliationTimeout:   reconciliationTimeout,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](retryBase, retryMax),
		}).
		Complete(r)
}

// enqueueRun asks for a look at the run that a Job or pod belongs to, soon: what happens to many pods at once is
// gathered into one reconcile. The label is a hint only; the reconciler goes by owner references and UIDs.
func (r *BatchRunReconciler) enqueueRun(object client.Object, q queue) {
	if name := object.GetLabels()[v1alpha1.LabelRun]; name != "" {
		run := types.NamespacedName{Namespace: object.GetNamespace(), Name: name}
		waves, _ := r.waves.get(run, r.Clock.Now())
		q.AddAfter(reconcile.Request{NamespacedName: run}, min(eventDelay+time.Duration(waves)*waveDelay, maxEventDelay))
	}
}

// ownedHandler is for objects of a run: its Jobs, and the revisions of its parameters.
func (r *BatchRunReconciler) ownedHandler() handler.Funcs {
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { r.enqueueRun(e.Object, q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) { r.enqueueRun(e.ObjectNew, q) },
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { r.enqueueRun(e.Object, q) },
	}
}

// jobHandler also remembers the last state of Jobs that go away: it may tell of attempts whose end is not recorded.
func (r *BatchRunReconciler) jobHandler() handler.EventHandler {
	funcs := r.ownedHandler()
	funcs.DeleteFunc = func(_ context.Context, e event.DeleteEvent, q queue) {
		if owner := metav1.GetControllerOf(e.Object); owner != nil {
			r.goneJobs.Add(gone{owner.UID, e.Object.GetName()}, e.Object)
		}
		r.enqueueRun(e.Object, q)
	}
	return funcs
}

// podHandler also remembers the last state of pods that go away.
func (r *BatchRunReconciler) podHandler() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { r.enqueueRun(e.Object, q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) { r.enqueueRun(e.ObjectNew, q) },
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) {
			if pod, ok := e.Object.(*corev1.Pod); ok {
				r.vanished.put(pod)
			}
			if noteworthy(e.Object) { // of others, which have succeeded or were deleted, their Jobs tell
				r.enqueueRun(e.Object, q)
			}
		},
	}
}

// worthALook lets those events of pods pass that a Job's status does not tell of: a pod fails, or waits for something
// that fails, or is gone.
func worthALook() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc:  func(e event.CreateEvent) bool { return noteworthy(e.Object) },
		UpdateFunc:  func(e event.UpdateEvent) bool { return noteworthy(e.ObjectOld) || noteworthy(e.ObjectNew) },
		DeleteFunc:  func(event.DeleteEvent) bool { return true },
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

func noteworthy(object client.Object) bool {
	pod, ok := object.(*corev1.Pod)
	return ok && classOf(pod) == podNoteworthy
}
