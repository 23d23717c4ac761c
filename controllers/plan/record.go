package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/controllers/ledger"
	"github.com/batchrun/batchrun/controllers/logtail"
	"github.com/batchrun/batchrun/controllers/outcome"
)

// resize brings the ledger to the number of tasks in the spec. New tasks open a finished run again.
func (p *planner) resize() {
	before, tasks := len(p.ledger), p.spec.TaskCount()
	p.ledger = p.ledger.Resize(tasks)
	if before == 0 || tasks <= before || !p.finished() || ptr.Deref(p.spec.Cancel, false) {
		return
	}
	p.Status.CompletionTime, p.Status.CleanupTime, p.Status.StartTime, p.Status.Duration = nil, nil, nil, ""
	for _, conditionType := range []string{v1alpha1.ConditionComplete, v1alpha1.ConditionFailed, v1alpha1.ConditionFailureTarget} {
		p.dropCondition(conditionType)
	}
	p.event(false, v1alpha1.RunReopened, fmt.Sprintf("spec.completions was raised from %d to %d", before, tasks))
}

// adopt takes note of waves that were started since the status was written. Numbers in between belong to waves that
// were started too and are not seen yet.
func (p *planner) adopt() {
	open := p.openWaves()
	if p.Status.Waves.Next == 0 && len(p.Waves) > 0 {
		p.event(false, v1alpha1.RunStarted, fmt.Sprintf("%s, %d at once", counted(len(p.ledger), "task"), min(p.parallelism(), len(p.ledger))))
	}
	for i := range p.Waves {
		w := &p.Waves[i]
		if w.Number < int(p.Status.Waves.Next) {
			continue
		}
		open = open.Union(indexset.Interval(int(p.Status.Waves.Next), w.Number))
		p.Status.Waves.Next = int32(w.Number) + 1
		for task := range w.Tasks.All() {
			if task < len(p.ledger) && p.ledger[task].State == ledger.Pending {
				p.carry(task, w)
			}
		}
	}
	// Tasks that were taken out of spec.completions and put in again while a wave still carries them run on there.
	for i := range p.Waves {
		if !open.Contains(p.Waves[i].Number) {
			continue
		}
		for task := range p.Waves[i].unfinished().All() {
			if task < len(p.ledger) && p.ledger[task] == (ledger.Task{}) {
				p.carry(task, &p.Waves[i])
			}
		}
	}
	p.Status.Waves.Open = open.String()
	if p.Status.StartTime == nil && !open.Empty() && !p.finished() && !p.suspended() {
		p.Status.StartTime = p.time(p.now)
	}
}

// carry makes a task active in a wave.
func (p *planner) carry(task int, w *Wave) {
	t := &p.ledger[task]
	t.State, t.Due, t.Wave = ledger.Active, 0, uint32(w.Number)
}

// carriedBy is true while the wave carries the task's present attempt, and its end is not recorded.
func (p *planner) carriedBy(w *Wave, task int) bool {
	return task < len(p.ledger) && p.ledger[task].State == ledger.Active && p.ledger[task].Wave == uint32(w.Number)
}

// openWaves are the numbers of the waves that have tasks whose end is not recorded yet.
func (p *planner) openWaves() indexset.Set {
	open, err := indexset.Parse(p.Status.Waves.Open)
	if err != nil { // Nobody but the operator writes the status.
		return indexset.Interval(0, int(p.Status.Waves.Next)-1)
	}
	return open
}

// record takes over the ends of attempts from the open waves.
func (p *planner) record() {
	if p.finished() {
		return
	}
	failures := len(p.Status.Failures)
	reasons := map[v1alpha1.Reason]int{}
	open := p.openWaves()
	for i := range p.Waves {
		w := &p.Waves[i]
		if !open.Contains(w.Number) {
			continue
		}
		p.recordWave(w, reasons)
		if w.unfinished().Empty() {
			open = open.Minus(indexset.Of(w.Number))
		}
	}
	if gone := indexset.Of(p.Gone...); !gone.Empty() {
		for task := range p.ledger.In(ledger.Active) {
			if gone.Contains(int(p.ledger[task].Wave)) {
				p.fail(task, p.deleted(task, "the Job of its wave was deleted"), reasons)
			}
		}
		open = open.Minus(gone)
	}
	p.Status.Waves.Open = open.String()
	p.announceFailures(failures, reasons)
}

func (p *planner) recordWave(w *Wave, reasons map[v1alpha1.Reason]int) {
	pods := map[int]Pod{}
	for _, pod := range w.Pods {
		pods[pod.Task] = pod
	}
	for task := range w.Failed.All() {
		if !p.carriedBy(w, task) {
			continue
		}
		pod := pods[task]
		if !pod.Ended {
			pod = p.deleted(task, "its pod is gone")
		}
		p.fail(task, pod, reasons)
	}
	sampled := map[int]Pod{}
	for _, pod := range w.Successes {
		sampled[pod.Task] = pod
	}
	for task := range w.Succeeded.All() {
		switch {
		case p.carriedBy(w, task):
			p.succeed(task, sampled)
		case task >= len(p.ledger) || p.ledger[task].State != ledger.Pending:
		case p.ledger[task].Attempts() > 0: // its pod was given up at its start deadline and started all the same
			p.succeed(task, sampled)
		default: // it was taken out of spec.completions and put in again: its success may be counted already
			p.ledger[task].State = ledger.Succeeded
		}
	}
	if w.Finished != "" {
		for task := range w.unended().All() {
			if p.carriedBy(w, task) {
				p.fail(task, p.deleted(task, "the Job of its wave ended: "+w.Finished), reasons)
			}
		}
	}
	for _, pod := range w.Pods {
		if p.carriedBy(w, pod.Task) && !pod.Ended && pod.Deleting.IsZero() && !w.Suspended {
			p.checkStart(w, pod, reasons)
		}
	}
}

// deleted is the pod of an attempt of which nothing is left.
func (p *planner) deleted(task int, message string) Pod {
	return Pod{Task: task, Ended: true, Outcome: outcome.Outcome{
		Reason: v1alpha1.ReasonDeleted, FinishedAt: p.now, Message: message}}
}

func (p *planner) succeed(task int, sampled map[int]Pod) {
	attempt := p.ledger[task].Attempts() + 1
	p.ledger[task] = ledger.Task{State: ledger.Succeeded}
	p.count(v1alpha1.ReasonCompleted)
	pod, ok := sampled[task]
	if !ok || len(p.Status.Successes) >= v1alpha1.MaxSuccesses {
		return
	}
	p.Status.Successes = append(p.Status.Successes, p.attempt(pod, attempt))
	if keep, _, _ := p.spec.LogTail(); keep == v1alpha1.KeepAll {
		p.Tails = append(p.Tails, pod)
	}
}

// checkStart ends the attempt of a pod that waits for something that fails and has waited for longer than it may, or
// would not wait for it with the present template.
func (p *planner) checkStart(w *Wave, pod Pod, reasons map[v1alpha1.Reason]int) {
	limit, limited := p.spec.StartDeadline(), true
	switch pod.Waiting.Reason {
	case "":
		return
	case v1alpha1.ReasonUnschedulable:
		limit, limited = p.spec.UnschedulableDeadline()
	}
	if w.Outdated {
		pod.Outcome = outcome.Outcome{Reason: v1alpha1.ReasonDeleted, Disruption: true, FinishedAt: p.now,
			Message: "spec.template was edited while it could not start: " + pod.Waiting.Message}
		p.fail(pod.Task, pod, reasons)
		return
	}
	if !limited {
		return
	}
	deadline := pod.Waiting.Since.Add(limit)
	if p.now.Before(deadline) {
		p.wake(deadline)
		return
	}
	pod.Outcome = outcome.Outcome{
		Reason: pod.Waiting.Reason, FinishedAt: p.now,
		Message: fmt.Sprintf("not started after %s: %s", limit, pod.Waiting.Message),
	}
	p.fail(pod.Task, pod, reasons)
}

// count adds an ended attempt to podStates, which stay in the order of the reasons' first appearance.
func (p *planner) count(reason v1alpha1.Reason) {
	for i := range p.Status.PodStates {
		if p.Status.PodStates[i].State == reason {
			p.Status.PodStates[i].Count++
			return
		}
	}
	p.Status.PodStates = append(p.Status.PodStates, v1alpha1.PodState{State: reason, Count: 1})
}

func (p *planner) attempt(pod Pod, number int) v1alpha1.Attempt {
	record := v1alpha1.Attempt{
		Index: int32(pod.Task), Attempt: int32(number),
		Reason: pod.Outcome.Reason, Disruption: pod.Outcome.Disruption,
		ExitCode: pod.Outcome.ExitCode, Message: pod.Outcome.Message,
		Pod: pod.Name, Node: pod.Node,
	}
	if !pod.Outcome.FinishedAt.IsZero() {
		record.FinishedAt = p.time(pod.Outcome.FinishedAt)
	}
	return record
}

// announceFailures caps status.failures, cleans the log tails of the new ones, and emits one Event for all attempts that
// failed since the last look.
func (p *planner) announceFailures(before int, reasons map[v1alpha1.Reason]int) {
	added := p.Status.Failures[before:]
	if len(added) == 1 {
		p.event(true, v1alpha1.RunAttemptFailed, fmt.Sprintf("task %d, attempt %d: %s", added[0].Index, added[0].Attempt, describe(added[0])))
	} else if len(added) > 1 {
		counts := make([]string, 0, len(reasons))
		for _, state := range p.Status.PodStates {
			if n := reasons[state.State]; n > 0 {
				counts = append(counts, fmt.Sprintf("%s %d", state.State, n))
			}
		}
		p.event(true, v1alpha1.RunAttemptFailed, fmt.Sprintf("%d attempts failed: %s", len(added), strings.Join(counts, ", ")))
	}
	slices.SortStableFunc(added, func(a, b v1alpha1.Attempt) int {
		return ptr.Deref(a.FinishedAt, metav1.Time{}).Compare(ptr.Deref(b.FinishedAt, metav1.Time{}).Time)
	})
	if extra := len(p.Status.Failures) - v1alpha1.MaxFailures; extra > 0 {
		p.Status.Failures = slices.Clone(p.Status.Failures[extra:])
		before = max(0, before-extra)
	}
	keep, lines, bytes := p.spec.LogTail()
	if keep == v1alpha1.KeepNone {
		lines = 0
	}
	for i := range p.Status.Failures[before:] {
		tail := &p.Status.Failures[before+i].LogTail
		*tail = logtail.Clean([]byte(*tail), lines, bytes)
	}
}

// describe tells a failed attempt in words: "Error, exit code 3".
func describe(a v1alpha1.Attempt) string {
	text := string(a.Reason)
	if a.ExitCode != nil {
		text += ", exit code " + strconv.Itoa(int(*a.ExitCode))
	}
	if a.Message != "" {
		text += ": " + a.Message
	}
	return text
}

// time is t as the API server stores it, to the second.
func (p *planner) time(t time.Time) *metav1.Time {
	return ptr.To(metav1.NewTime(t).Rfc3339Copy())
}
