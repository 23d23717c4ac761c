package plan

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/ledger"
	"github.com/batchrun/batchrun/controllers/outcome"
)

// fail records a failed attempt of an active task and decides what becomes of the task.
func (p *planner) fail(task int, pod Pod, reasons map[v1alpha1.Reason]int) {
	reasons[pod.Outcome.Reason]++
	p.count(pod.Outcome.Reason)
	record := p.attempt(pod, p.ledger[task].Attempts()+1)
	record.LogTail = pod.Outcome.Tail // as it is: announceFailures cleans the few that are kept
	p.Status.Failures = append(p.Status.Failures, record)

	action, grow := decide(p.spec, pod.Outcome)
	t := p.ledger[task]
	again := false
	var delay time.Duration
	switch action {
	case v1alpha1.ActionCount:
		t.Failures++
		again, delay = int(t.Failures) <= p.spec.FailureLimit(), p.spec.BackoffAfter(int(t.Failures))
	case v1alpha1.ActionIgnore:
		t.Disruptions++
		again = int(t.Disruptions) <= p.spec.DisruptionLimit()
		if !pod.Outcome.Disruption { // a disruption is over once it is told; what is unknown may go on
			delay = p.spec.BackoffAfter(int(t.Disruptions))
		}
	case v1alpha1.ActionFailRun:
		p.failRun = fmt.Sprintf("task %d: %s, a rule of spec.retryPolicy says FailRun", task, describe(record))
	}
	if !again {
		p.ledger[task] = ledger.Task{State: ledger.Failed, Execution: t.Execution}
		return
	}
	p.Status.Retries++
	if grow && t.Growth < math.MaxUint8 {
		t.Growth++
	}
	t.State, t.Due, t.Wave = ledger.Pending, 0, 0
	if delay > 0 {
		t.Due = p.due(pod.Outcome.FinishedAt, delay)
	}
	p.ledger[task] = t
}

// due is the second in which an attempt may follow one that ended at end: after delay, and up to half of it later, at
// most retryBeat, so that attempts that are due about the same time go out in one wave. A node's clock may be off: the
// wait starts now at the latest.
func (p *planner) due(end time.Time, delay time.Duration) uint32 {
	if end.IsZero() || end.After(p.now) {
		end = p.now
	}
	beat := int64(max(min(delay/2, retryBeat).Truncate(time.Second), time.Second) / time.Second)
	due := end.Add(delay + time.Second - time.Nanosecond).Unix()
	return uint32((due + beat - 1) / beat * beat)
}

// retryBeat is the longest time for which an attempt that is due waits for others.
const retryBeat = 5 * time.Second

// decide returns what the first matching rule, or else the defaults, say of a failed attempt, and whether the next
// attempt gets more memory.
func decide(spec *v1alpha1.BatchRunSpec, o outcome.Outcome) (action v1alpha1.RetryAction, grow bool) {
	for _, rule := range spec.Rules() {
		if slices.Contains(rule.Reasons, o.Reason) || matchesExitCode(rule.ExitCodes, o) {
			return rule.Action, rule.Memory != nil
		}
	}
	if o.Disruption {
		return v1alpha1.ActionIgnore, false
	}
	switch o.Reason {
	case v1alpha1.ReasonDeleted, v1alpha1.ReasonUnknown, v1alpha1.ReasonPreempted, v1alpha1.ReasonNodeLost:
		return v1alpha1.ActionIgnore, false
	case v1alpha1.ReasonImagePullFailed, v1alpha1.ReasonStartFailed, v1alpha1.ReasonUnschedulable:
		return v1alpha1.ActionFailTask, false
	}
	return v1alpha1.ActionCount, false
}

func matchesExitCode(codes *v1alpha1.ExitCodes, o outcome.Outcome) bool {
	if codes == nil || o.Reason != v1alpha1.ReasonError || o.ExitCode == nil {
		return false
	}
	return slices.Contains(codes.Values, *o.ExitCode) == (codes.Operator == v1alpha1.ExitCodesIn)
}
