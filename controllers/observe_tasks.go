package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/parameters"
	"github.com/batchrun/batchrun/controllers/plan"
)

// The tasks of a sweep are known by their parameter values, and the spec tells only the present ones. So each version
// of spec.parameters that brings new tasks is kept in a ControllerRevision, as other controllers keep what their objects
// were: read in order, the revisions tell which task has which index.

// maxTables bounds the tables that are remembered, one for each run: some KB for a matrix, as much as the spec for items.
const maxTables = 1000

// rememberedTable is the table of a run, and the spec and the number of revisions that it was made of.
type rememberedTable struct {
	table      *parameters.Table
	generation int64
	revisions  int
}

// observeTasks adds the run's tasks to the snapshot, or what keeps them from being known.
func (r *BatchRunReconciler) observeTasks(ctx context.Context, s *plan.Snapshot) error {
	run := s.Run
	if run.Spec.Parameters == nil {
		setTasks(s, parameters.ArrayTable(run.Spec.TaskCount()))
		return nil
	}
	revisions, err := r.listRevisions(ctx, r.Client, run, client.MatchingFields{revisionsByRun: string(run.UID)})
	if err != nil {
		return err
	}
	table, err := r.table(run, revisions)
	if err == nil && table.Len() < len(s.Ledger) && !plan.Replaced(run) {
		err = fmt.Errorf("%d of %d tasks are in no ControllerRevision", len(s.Ledger)-table.Len(), len(s.Ledger))
	}
	switch {
	case err == nil:
		setTasks(s, table)
	case errors.Is(err, parameters.ErrNoTasks):
		s.Trouble = plan.Trouble{Reason: v1alpha1.RunNoTasks, Stalled: true,
			Message: "spec.parameters leaves no task: exclude fewer combinations"}
	case errors.Is(err, parameters.ErrTooManyTasks), errors.Is(err, parameters.ErrMalformed): // an older definition let it pass
		s.Trouble = plan.Trouble{Reason: v1alpha1.RunTooManyTasks, Stalled: true, Message: "spec.parameters: " + err.Error()}
	default:
		return r.revisionsLost(ctx, s, len(revisions), err)
	}
	return nil
}

// setTasks adds the table of the run's tasks to the snapshot, unless they are too many.
func setTasks(s *plan.Snapshot, table *parameters.Table) {
	if trouble, is := s.TooManyTasks(table.Present().Len() + table.New()); is {
		s.Trouble = trouble
		return
	}
	s.Tasks = table
}

// revisionsLost makes sure that it is not only the cache that lacks what tells the tasks.
func (r *BatchRunReconciler) revisionsLost(ctx context.Context, s *plan.Snapshot, cached int, cause error) error {
	live, err := r.listRevisions(ctx, r.Live, s.Run, client.MatchingLabels{v1alpha1.LabelRunUID: string(s.Run.UID)})
	if err != nil {
		return err
	}
	if table, err := r.table(s.Run, live); len(live) != cached && err == nil && table.Len() >= len(s.Ledger) {
		return errStale
	}
	s.Trouble = plan.Trouble{Reason: v1alpha1.RunParametersLost, Stalled: true, Message: fmt.Sprintf("which task has which "+
		"parameter values is kept in the ControllerRevisions with the label %s=%s: %s; put back what was deleted, or "+
		"create a new run", v1alpha1.LabelRunUID, s.Run.UID, cause)}
	return nil
}

// listRevisions returns the revisions of the run's parameters, in order.
func (r *BatchRunReconciler) listRevisions(
	ctx context.Context, reader client.Reader, run *v1alpha1.BatchRun, ofRun client.ListOption,
) ([]appsv1.ControllerRevision, error) {
	var list appsv1.ControllerRevisionList
	if err := reader.List(ctx, &list, client.InNamespace(run.Namespace), ofRun, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing the ControllerRevisions of the run: %w", err)
	}
	return parameters.Revisions(run, list.Items), nil
}

// table makes the table of the run's tasks, or remembers it.
func (r *BatchRunReconciler) table(run *v1alpha1.BatchRun, revisions []appsv1.ControllerRevision) (*parameters.Table, error) {
	if found, ok := r.tables.Get(run.UID); ok {
		if last := found.(rememberedTable); last.generation == run.Generation && last.revisions == len(revisions) {
			return last.table, nil
		}
	}
	table, err := parameters.TableOf(run, revisions)
	if err != nil {
		return nil, err
	}
	r.tables.Add(run.UID, rememberedTable{table, run.Generation, len(revisions)})
	return table, nil
}

// recordParameters keeps spec.parameters as the run's next revision. Its name is a lock, as that of a wave is.
func (r *BatchRunReconciler) recordParameters(ctx context.Context, s *plan.Snapshot) (*plan.Trouble, error) {
	run := s.Run
	if err := r.mustBeCurrent(ctx, run); err != nil {
		return nil, err
	}
	number := s.Tasks.Revisions()
	text, err := json.Marshal(run.Spec.Parameters)
	if err != nil {
		return nil, err
	}
	revision := &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       run.Namespace,
			Name:            parameters.RevisionName(run, number),
			Labels:          map[string]string{v1alpha1.LabelRun: run.Name, v1alpha1.LabelRunUID: string(run.UID)},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(run, v1alpha1.GroupVersion.WithKind("BatchRun"))},
		},
		Data:     runtime.RawExtension{Raw: text},
		Revision: int64(number),
	}
	err = r.Create(ctx, revision)
	if apierrors.IsAlreadyExists(err) {
		return r.standsInTheWay(ctx, run, &appsv1.ControllerRevision{}, revision.Name)
	}
	return refused(err, "creating ControllerRevision", revision.Name)
}
