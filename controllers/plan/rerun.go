package plan

import (
	"fmt"
	"math"
	"slices"

	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/controllers/ledger"
	"github.com/batchrun/batchrun/controllers/parameters"
)

// maxRerunIndexesBytes bounds the indexes in the record of one rerun.
const maxRerunIndexesBytes = 512

// rerun starts tasks anew where spec.rerun has a token that the run has not acted on. A run that is being stopped
// is left alone.
func (p *planner) rerun() {
	r := p.spec.Rerun
	if r == nil || p.Tasks == nil || p.stopping() && !p.finished() ||
		slices.ContainsFunc(p.Status.Reruns, func(done v1alpha1.RerunRecord) bool { return done.Token == r.Token }) {
		return
	}
	again, warning := p.rerunTasks(r)
	if warning == nil {
		warning = p.rerunInVain(again)
	}
	if warning != nil {
		p.warnings = append(p.warnings, *warning)
		return
	}
	for task := range again.All() {
		execution := p.ledger[task].Execution
		if execution < math.MaxUint8 {
			execution++
		}
		p.ledger[task] = ledger.Task{Execution: execution}
	}
	// What they did before is over: the samples of successes are of the present executions.
	p.Status.Successes = slices.DeleteFunc(p.Status.Successes, func(a v1alpha1.Attempt) bool { return again.Contains(int(a.Index)) })
	p.Samples = slices.DeleteFunc(p.Samples, func(s Sample) bool { return again.Contains(s.Task) })
	p.Status.Reruns = append(p.Status.Reruns, v1alpha1.RerunRecord{
		Token: r.Token, Time: *stamp(p.now), Tasks: int32(again.Len()), Indexes: again.Short(maxRerunIndexesBytes)})
	if extra := len(p.Status.Reruns) - v1alpha1.MaxReruns; extra > 0 {
		p.Status.Reruns = slices.Clone(p.Status.Reruns[extra:])
	}
	idle := again.Empty() && p.tally(ledger.Succeeded)+p.tally(ledger.Failed) == p.present.Len()
	if idle || len(p.Ledger) == 0 {
		return
	}
	if again.Empty() && p.finished() {
		p.reopen(fmt.Sprintf("spec.rerun.token %q: tasks that were stopped or never started go on", r.Token))
		return
	}
	text := fmt.Sprintf("spec.rerun.token %q: %s again: %s", r.Token, counted(again.Len(), "task"), again.Short(maxRerunIndexesBytes))
	if p.finished() {
		p.reopen(text)
	}
	p.event(false, v1alpha1.RunRerun, text)
}

// rerunInVain says why a run would not go on, or fail at once, with these tasks run again; nil where it would go on.
func (p *planner) rerunInVain(again indexset.Set) *parameters.Warning {
	left := p.in(ledger.Failed).Minus(again)
	limit, limited := p.spec.FailedTaskLimit(p.present.Len())
	var why string
	switch {
	case ptr.Deref(p.spec.Cancel, false):
		why = "spec.cancel is true; nothing was rerun: take it back"
	case limited && left.Len() > limit:
		why = fmt.Sprintf("spec.rerun would leave %s failed, and spec.maxFailedTasks is %s, so the run would fail at once; nothing "+
			"was rerun: raise maxFailedTasks, or rerun the failed tasks too", counted(left.Len(), "task"), p.spec.MaxFailedTasks.String())
	case p.piloting() && !p.pilot().Intersect(left).Empty():
		why = fmt.Sprintf("spec.rerun would leave failed tasks of spec.pilot, %s, so the run would fail at once; nothing was rerun: "+
			"rerun them too", p.pilot().Intersect(left).Short(maxRerunIndexesBytes))
	default:
		return nil
	}
	return &parameters.Warning{Reason: v1alpha1.WarningRerunWithoutEffect, Message: why}
}

// rerunTasks are the tasks that a rerun names, of those that have started at all.
func (p *planner) rerunTasks(r *v1alpha1.Rerun) (indexset.Set, *parameters.Warning) {
	started := p.present.Minus(p.untouched())
	switch {
	case len(p.Ledger) == 0: // a token that was there from the start
		return indexset.Set{}, nil
	case r.Indexes != "":
		named, err := indexset.Parse(r.Indexes)
		if err != nil {
			return indexset.Set{}, &parameters.Warning{Reason: v1alpha1.WarningRerunOutOfRange,
				Message: fmt.Sprintf("spec.rerun.indexes: %s; nothing was rerun", err)}
		}
		if unknown := named.Minus(p.present); !unknown.Empty() {
			return indexset.Set{}, &parameters.Warning{Reason: v1alpha1.WarningRerunOutOfRange,
				Message: fmt.Sprintf("spec.rerun.indexes names %s, which the run does not have (it has %s); nothing was rerun",
					unknown.Short(maxRerunIndexesBytes), p.present.Short(maxRerunIndexesBytes))}
		}
		return named.Intersect(started), nil
	case ptr.Deref(r.Scope, v1alpha1.RerunFailed) == v1alpha1.RerunAll:
		return started, nil
	}
	return p.in(ledger.Failed), nil
}

// untouched are the tasks that have had no attempt in their present execution.
func (p *planner) untouched() indexset.Set {
	var b indexset.Builder
	for task := range p.ledger.In(ledger.Pending) {
		if p.ledger[task].Attempts() == 0 {
			b.Add(task)
		}
	}
	return b.Set()
}
