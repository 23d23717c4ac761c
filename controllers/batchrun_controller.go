// Package controllers holds the reconciler of BatchRuns: observe, plan, apply, report, one file each.
package controllers

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/plan"
)

const (
	// statusInterval is the least time between two status writes of a run that goes on, where something waits for what is
	// written; progressInterval where nothing does.
	statusInterval   = time.Second
	progressInterval = 5 * time.Second
	// eventDelay gathers the events of a run's Jobs and pods into one reconcile. Each wave that goes on costs a reconcile some
	// time, so each adds waveDelay, up to maxEventDelay.
	eventDelay    = 200 * time.Millisecond
	waveDelay     = time.Millisecond
	maxEventDelay = time.Second
	// staleDelay is when to look again after the cache turned out to be behind the API server, maxStaleDelay after it did
	// so again and again. Usually the cache catches up before, and tells.
	staleDelay    = time.Second
	maxStaleDelay = 30 * time.Second
	// blockedDelay is when to try again to create a Job that was in somebody's way or was refused.
	blockedDelay = 10 * time.Second
	// reconciliationTimeout bounds one reconcile.
	reconciliationTimeout = time.Minute
)

// errStale says that the cache is behind the API server: nothing may be done on what it shows.
var errStale = errors.New("the cache is behind the API server")

// BatchRunReconciler brings each BatchRun from what it is to what its spec says.
type BatchRunReconciler struct {
	// Client reads from the cache and writes to the API server.
	client.Client
	// Live reads from the API server.
	Live client.Reader
	// Logs reads the logs of pods.
	Logs LogReader
	// Archive tells of the archive of logs; nil where there is none.
	Archive LogArchive
	// Recorder emits Events.
	Recorder events.EventRecorder
	// Clock tells the time.
	Clock clock.PassiveClock
	// Limits are what any run can have.
	Limits plan.Limits
	// Namespaced is true where the operator has no rights outside of the namespaces that it watches. It reads the policy
	// only if it may.
	Namespaced bool

	vanished *vanishedPods
	// goneJobs has the last state of Jobs that went away, by their run's UID and their name.
	goneJobs *lru.Cache
	// adjusted has the generation of each Job as of the operator's last change to it.
	adjusted *lru.Cache
	// delivery tells whether waves can be packed.
	delivery delivery
	// writes has when the status of a run was written last.
	writes memory[time.Time]
	// warnings are what the Events of the runs' namespaces said.
	warnings warnings
	// steps has the last step of each run.
	steps memory[plan.Step]
	// waves has how many waves of a run went on as of the last reconcile.
	waves memory[int]
	// looks has when the logs of a run were asked for progress last.
	looks memory[look]
	// unseen has, for each run, since when which of its pods and Jobs are gone without a word of how they ended.
	unseen memory[map[gone]time.Time]
	// behind has for how long to wait for the cache, by run.
	behind *flowcontrol.Backoff
	// tables has the tables of the tasks of runs, by their UIDs.
	tables *lru.Cache
}

// LogArchive is the archive of logs, as far as runs speak of it.
type LogArchive interface {
	// State tells how the logs of a run fare; nil where nothing is known of them. It waits for nothing.
	State(run types.UID) *plan.Archived
	// Changes tells of runs with something new to say of their logs.
	Changes() <-chan event.TypedGenericEvent[*v1alpha1.BatchRun]
}

// +kubebuilder:rbac:groups=batchrun.io,resources=batchruns,verbs=get;list;watch;delete
// +kubebuilder:rbac:groups=batchrun.io,resources=batchruns/status,verbs=patch
// +kubebuilder:rbac:groups=batchrun.io,resources=batchruns/finalizers,verbs=update
// +kubebuilder:rbac:groups=batch,resources=jobs,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=apps,resources=controllerrevisions,verbs=get;list;watch;create
// +kubebuilder:rbac:groups="",resources=pods,verbs=list;watch;delete
// +kubebuilder:rbac:groups="",resources=pods/log,verbs=get
// +kubebuilder:rbac:groups="",resources=events,verbs=list
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconcile observes a run, plans, applies the plan and reports.
func (r *BatchRunReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	ctx, span := otel.Tracer("batchrun").Start(ctx, "Reconcile", trace.WithAttributes(
		attribute.String("k8s.namespace.name", req.Namespace), attribute.String("batchrun.name", req.Name)))
	defer span.End()
	run := &v1alpha1.BatchRun{}
	if err := r.Get(ctx, req.NamespacedName, run); err != nil {
		r.forget(req.NamespacedName)
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !run.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // the garbage collector takes the Jobs and pods
	}
	result, err := r.reconcile(ctx, run)
	if errors.Is(err, errStale) {
		r.behind.Next(req.String(), r.Clock.Now())
		return ctrl.Result{RequeueAfter: r.behind.Get(req.String())}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	r.behind.Reset(req.String())
	return result, nil
}

// reconcile fails with errStale where the cache has to catch up first.
func (r *BatchRunReconciler) reconcile(ctx context.Context, run *v1alpha1.BatchRun) (ctrl.Result, error) {
	snapshot, err := r.observe(ctx, run)
	if err != nil {
		return ctrl.Result{}, err
	}
	if snapshot.Tasks != nil && snapshot.Tasks.New() > 0 {
		trouble, err := r.recordParameters(ctx, snapshot)
		if trouble == nil {
			return ctrl.Result{RequeueAfter: staleDelay}, err
		}
		snapshot.Tasks, snapshot.Trouble = nil, *trouble
	}
	p := plan.Make(*snapshot, r.Clock.Now())
	trouble, err := r.apply(ctx, run, p)
	if errors.Is(err, errStale) || p.DeleteRun && err == nil {
		return ctrl.Result{}, errStale
	}
	if err == nil && trouble == nil && len(p.Start) > 0 && run.Status.Waves.Next == 0 {
		return ctrl.Result{RequeueAfter: staleDelay}, nil // a run that starts is reported once its first wave is observed
	}
	if trouble != nil {
		snapshot.Trouble = *trouble
		p = plan.Make(*snapshot, r.Clock.Now())
	}
	// What was learnt is reported even if not everything could be done.
	result, reportErr := r.report(ctx, run, p)
	if err != nil && errors.Is(reportErr, errStale) {
		return ctrl.Result{}, err
	}
	return result, errors.Join(err, reportErr)
}

// forget drops what is remembered of a run that is gone.
func (r *BatchRunReconciler) forget(run client.ObjectKey) {
	r.writes.forget(run)
	r.steps.forget(run)
	r.waves.forget(run)
	r.looks.forget(run)
	r.unseen.forget(run)
	r.behind.DeleteEntry(run.String())
}
