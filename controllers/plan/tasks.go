package plan

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/controllers/ledger"
	"github.com/batchrun/batchrun/controllers/parameters"
)

// Has is true when the task is one of the run's, as the spec is now.
func (s *Snapshot) Has(task int) bool {
	if s.Tasks == nil {
		return task < len(s.Ledger) && s.Ledger[task].Present()
	}
	return s.Tasks.Present().Contains(task)
}

// Replaced is true when an array was made of a sweep or the other way round: no task is what it was.
func Replaced(run *v1alpha1.BatchRun) bool {
	return len(run.Status.Waves.Ledger) > 0 && run.Status.Waves.Sweep != (run.Spec.Parameters != nil)
}

// Sweep is true when the run's tasks have parameters. Where the spec does not tell the tasks, they are what they were.
// The ledger of a run that was Replaced is dropped once the new tasks are known.
func (s *Snapshot) Sweep() bool {
	if Replaced(s.Run) {
		if s.Tasks == nil || s.Tasks.New() > 0 {
			return s.Run.Status.Waves.Sweep
		}
		s.Ledger = nil
	}
	return s.Run.Spec.Parameters != nil
}

// retask brings the ledger to the tasks that the spec has. New ones open a finished run again.
func (p *planner) retask() {
	if p.Tasks == nil {
		p.keepTasks()
		return
	}
	p.present = p.Tasks.Present()
	p.Status.Waves.Sweep = p.spec.Parameters != nil
	if Replaced(p.Run) {
		s := &p.Status
		s.PodStates, s.Failures, s.Successes, s.Retries, s.StartTime = nil, nil, nil, 0, nil
	}
	before := len(p.ledger)
	p.ledger = p.ledger.Grow(p.Tasks.Len())
	added := 0
	for task := range p.ledger {
		t, present := &p.ledger[task], p.present.Contains(task)
		switch {
		case present && (task >= before || t.State == ledger.Removed):
			t.State = ledger.Pending
			added++
		case present && t.State == ledger.Withdrawn:
			t.State = ledger.Succeeded
		case !present && t.State == ledger.Succeeded:
			t.State = ledger.Withdrawn
		case !present && t.State != ledger.Withdrawn: // its wave is remembered: should it succeed there, it has succeeded
			*t = ledger.Task{State: ledger.Removed, Execution: t.Execution, Wave: t.Wave}
		}
	}
	p.warnings = p.Tasks.Warnings()
	switch {
	case ptr.Deref(p.spec.Cancel, false):
	case !p.finished() && added > 0:
		p.dropCondition(v1alpha1.ConditionFailureTarget) // judge sets it again where it still holds
	case !p.finished():
	case added > 0:
		p.reopen(fmt.Sprintf("the spec has %s more", counted(added, "task")))
	case p.condition(v1alpha1.ConditionComplete) != nil && p.tally(ledger.Succeeded) < p.present.Len():
		p.reopen("there are tasks that have not succeeded")
	case p.condition(v1alpha1.ConditionFailed) != nil && p.tally(ledger.Succeeded) == p.present.Len():
		started := p.Status.StartTime
		p.reopen("the tasks that had not succeeded were taken out of the spec")
		p.Status.StartTime = started // nothing starts: judge finishes it
	}
}

// keepTasks leaves the tasks as they were: what the spec says of them cannot be followed.
func (p *planner) keepTasks() {
	var b indexset.Builder
	for task, t := range p.ledger {
		if t.Present() {
			b.Add(task)
		}
	}
	p.present = b.Set()
}

// reopen makes a finished run go on.
func (p *planner) reopen(why string) {
	p.Status.CompletionTime, p.Status.CleanupTime, p.Status.StartTime, p.Status.Duration = nil, nil, nil, ""
	for _, conditionType := range []string{v1alpha1.ConditionComplete, v1alpha1.ConditionFailed,
		v1alpha1.ConditionFailureTarget, v1alpha1.ConditionPacked} {
		p.dropCondition(conditionType)
	}
	p.event(false, v1alpha1.RunReopened, why)
}

// in lists the run's tasks in a state.
func (p *planner) in(state ledger.State) indexset.Set {
	var b indexset.Builder
	for task := range p.ledger.In(state) {
		if p.present.Contains(task) {
			b.Add(task)
		}
	}
	return b.Set()
}

func (p *planner) tally(state ledger.State) int { return p.in(state).Len() }

// piloting is true while no task has started but those of the pilot. Once others have, there is nothing to hold back.
func (p *planner) piloting() bool {
	pilot := p.pilot()
	return !pilot.Empty() && p.present.Minus(pilot).Minus(p.untouched()).Empty()
}

// pilot are the tasks that have to succeed before the others start.
func (p *planner) pilot() indexset.Set {
	return p.present.First(int(ptr.Deref(p.spec.Pilot, 0)))
}

// hidden warns of containers that set a variable of a parameter's name to something else: theirs is the one that counts.
func (p *planner) hidden() []parameters.Warning {
	if p.spec.Parameters == nil || p.Tasks == nil || p.present.Empty() {
		return nil
	}
	names := p.Tasks.Row(p.present.At(0)).Names
	pod := p.spec.Template.Spec
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		for _, v := range c.Env {
			if slices.Contains(names, v.Name) && !strings.Contains(v.Value, "$("+v.Name+")") {
				return []parameters.Warning{{Reason: v1alpha1.WarningParameterHidden, Message: fmt.Sprintf(
					"container %q sets %s itself, so it does not see the parameter %[2]s: remove it from the env of spec.template, "+
						"or rename the parameter", c.Name, v.Name)}}
			}
		}
	}
	return nil
}
