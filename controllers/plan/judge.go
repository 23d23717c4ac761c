package plan

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/controllers/ledger"
)

// judge decides whether the run is finished, or has to stop. A run that has to stop carries the condition
// FailureTarget until its pods are gone, as a Job does, so that what they still achieve is recorded.
func (p *planner) judge() {
	tasks := p.present.Len()
	succeeded, failed := p.tally(ledger.Succeeded), p.tally(ledger.Failed)
	completed := fmt.Sprintf("%s succeeded", counted(tasks, "task"))
	if p.finished() {
		if p.condition(v1alpha1.ConditionComplete) != nil && succeeded == tasks { // tasks may have been taken out
			p.setCondition(v1alpha1.ConditionComplete, true, v1alpha1.RunCompleted, completed)
		}
		return
	}
	if succeeded == tasks && tasks > 0 {
		p.dropCondition(v1alpha1.ConditionFailureTarget)
		p.finish(v1alpha1.ConditionComplete, v1alpha1.RunCompleted, completed)
		return
	}
	if !p.stopping() {
		if reason, message := p.verdict(tasks, failed); reason != "" {
			p.setCondition(v1alpha1.ConditionFailureTarget, true, reason, message)
		}
	}
	if target := p.condition(v1alpha1.ConditionFailureTarget); target != nil {
		if p.stopped() || succeeded+failed == tasks && tasks > 0 {
			p.finish(v1alpha1.ConditionFailed, target.Reason, target.Message)
		}
		return
	}
	if succeeded+failed == tasks && tasks > 0 {
		p.finish(v1alpha1.ConditionFailed, v1alpha1.RunTasksFailed, p.lastFailure(failed, tasks))
	}
}

// verdict returns why the run has to stop; an empty reason where it has not.
func (p *planner) verdict(tasks, failed int) (reason, message string) {
	if ptr.Deref(p.spec.Cancel, false) {
		return v1alpha1.RunCancelled, "spec.cancel is true"
	}
	if p.failRun != "" {
		return v1alpha1.RunFailRunRule, p.failRun
	}
	if p.piloting() && !p.pilot().Intersect(p.in(ledger.Failed)).Empty() {
		return v1alpha1.RunPilotFailed, "a task of spec.pilot failed: " + p.lastFailure(failed, tasks)
	}
	if limit, ok := p.spec.FailedTaskLimit(tasks); ok && failed > limit {
		return v1alpha1.RunMaxFailedTasksExceeded, fmt.Sprintf("%s, spec.maxFailedTasks is %s",
			p.lastFailure(failed, tasks), p.spec.MaxFailedTasks.String())
	}
	if p.spec.ActiveDeadlineSeconds != nil && p.Status.StartTime != nil && !p.suspended() {
		deadline := p.Status.StartTime.Add(time.Duration(*p.spec.ActiveDeadlineSeconds) * time.Second)
		if !p.now.Before(deadline) {
			return v1alpha1.RunDeadlineExceeded, fmt.Sprintf("active for longer than spec.activeDeadlineSeconds: %d", *p.spec.ActiveDeadlineSeconds)
		}
		p.wake(deadline)
	}
	return "", ""
}

// lastFailure says how many tasks failed and how the last one did.
func (p *planner) lastFailure(failed, tasks int) string {
	text := fmt.Sprintf("%d of %s failed", failed, counted(tasks, "task"))
	for _, last := range slices.Backward(p.Status.Failures) {
		if int(last.Index) < len(p.ledger) && p.ledger[last.Index].State == ledger.Failed {
			return fmt.Sprintf("%s, the last one task %d after %s: %s", text, last.Index, counted(int(last.Attempt), "attempt"), describe(last))
		}
	}
	return text
}

func (p *planner) finish(conditionType, reason, message string) {
	p.Status.CompletionTime = stamp(p.now)
	p.setCondition(conditionType, true, reason, message)
	if p.Status.StartTime != nil {
		p.Status.Duration = max(0, p.Status.CompletionTime.Sub(p.Status.StartTime.Time)).String() // a clock may have been put back
	}
}

// stopping is true once the run is known to fail or was cancelled.
func (p *planner) stopping() bool { return p.condition(v1alpha1.ConditionFailureTarget) != nil }

// stopped is true when no wave can have active pods any more.
func (p *planner) stopped() bool {
	open := p.openWaves()
	var existing indexset.Builder
	for i := range p.Waves {
		if open.Contains(p.Waves[i].Number) && !p.Waves[i].Stopped {
			return false
		}
		existing.Add(p.Waves[i].Number)
	}
	return open.Minus(existing.Set()).Empty()
}

func (p *planner) suspended() bool { return ptr.Deref(p.spec.Suspend, false) }

// condition returns the condition of a type if it is true, else nil.
func (p *planner) condition(conditionType string) *conditionView {
	c := meta.FindStatusCondition(p.Status.Conditions, conditionType)
	if c == nil || c.Status != "True" {
		return nil
	}
	return &conditionView{Reason: c.Reason, Message: c.Message}
}

type conditionView struct{ Reason, Message string }

// counted is "1 task", "2 tasks".
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
