package plan

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/controllers/ledger"
	"github.com/batchrun/batchrun/controllers/logtail"
	"github.com/batchrun/batchrun/controllers/outcome"
)

// adopt takes note of waves that were started since the status was written. Numbers in between belong to waves that
// were started too and are not seen yet.
func (p *planner) adopt() {
	open := p.openWaves()
	if p.Status.Waves.Next == 0 && len(p.Waves) > 0 {
		p.event(false, v1alpha1.RunStarted, fmt.Sprintf("%s, %d at once", counted(p.present.Len(), "task"), min(p.parallelism(), p.present.Len())))
	}
	for i := range p.Waves {
		w := &p.Waves[i]
		if w.Number < int(p.Status.Waves.Next) {
			continue
		}
		open = open.Union(indexset.Interval(int(p.Status.Waves.Next), w.Number))
		p.Status.Waves.Next = int32(w.Number) + 1
		if packing := p.packing(); w.Packed || !packing.OK && w.inlined() && p.present.Len() > 1 {
			p.tellPacking(packing)
		}
		for task := range w.Tasks.All() {
			if !w.Foreign && task < len(p.ledger) && p.ledger[task].State == ledger.Pending {
				t := &p.ledger[task]
				t.State, t.Due = ledger.Active, 0
				t.Enter(w.Number)
			}
		}
	}
	p.Status.Waves.Open = open.String()
	if p.Status.StartTime == nil && !open.Empty() && !p.finished() && !p.suspended() && p.queued() == nil {
		p.Status.StartTime = stamp(p.now)
	}
}

// carriedBy is true while the wave carries the task's present attempt, and its end is not recorded.
func (p *planner) carriedBy(w *Wave, task int) bool {
	return task < len(p.ledger) && p.ledger[task].State == ledger.Active && p.ledger[task].In(w.Number)
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
	var existing, ended indexset.Builder // p.Waves ascend
	for i := range p.Waves {
		w := &p.Waves[i]
		existing.Add(w.Number)
		if !open.Contains(w.Number) {
			continue
		}
		if !w.Foreign {
			p.recordWave(w, reasons)
		}
		if w.unfinished().Empty() || p.retired(w) {
			ended.Add(w.Number)
		}
	}
	known, gone := open.Union(existing.Set()), indexset.Of(p.Gone...)
	for task := range p.ledger.In(ledger.Active) {
		if wave := int(p.ledger[task].Wave) - 1; gone.Contains(wave) || !known.Contains(wave) {
			p.fail(task, p.deleted(task, "the Job of its wave ended: "+Deleted), reasons)
		}
	}
	open = open.Minus(ended.Set()).Minus(gone)
	p.Status.Waves.Open = open.String()
	p.announceFailures(failures, reasons)
	if n := len(p.renewed); n > 0 {
		p.event(false, v1alpha1.RunTemplateEdited, fmt.Sprintf("spec.template was edited: %s that could not start begin anew, the first: task %d: %s",
			counted(n, "attempt"), p.renewed[0].Task, p.renewed[0].Waiting.Message))
	}
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
	for task := range w.Succeeded.All() {
		switch {
		case task >= len(p.ledger) || !p.ledger[task].In(w.Number):
		case !p.ledger[task].Present(): // it counts should the task come back
			p.ledger[task] = ledger.Task{State: ledger.Withdrawn, Execution: p.ledger[task].Execution}
		default: // active, or pending: a pod that was given up may have started all the same
			p.succeed(w, task)
		}
	}
	if w.Finished != "" {
		for task := range w.unended().All() {
			if p.carriedBy(w, task) {
				p.fail(task, p.deleted(task, "the Job of its wave ended: "+w.Finished), reasons)
			}
		}
	}
	if w.Suspended && w.Stopped && !p.halted() && (w.Outdated || p.wanted(w) < w.unfinished().Len()) {
		p.retire(w)
	}
	p.undeliver(w)
	for _, pod := range w.Pods {
		if p.carriedBy(w, pod.Task) && !pod.Ended && pod.Deleting.IsZero() && !w.Suspended {
			p.checkStart(w, pod, reasons)
		}
	}
}

// retire puts the tasks of a stopped wave back: they go on with the present template, in another wave. Nothing is
// counted.
func (p *planner) retire(w *Wave) {
	for task := range w.unfinished().All() {
		if p.carriedBy(w, task) {
			p.putBack(task)
		}
	}
}

// putBack makes a task pending whose attempt never ran or was stopped by its user. Should it succeed in its wave all the
// same, it has succeeded.
func (p *planner) putBack(task int) {
	t := &p.ledger[task]
	t.State, t.Due = ledger.Pending, 0
}

// deleted is the pod of an attempt of which nothing is left.
func (p *planner) deleted(task int, message string) Pod {
	return Pod{Task: task, Ended: true, Outcome: outcome.Outcome{
		Reason: v1alpha1.ReasonDeleted, FinishedAt: p.now, Message: message}}
}

func (p *planner) succeed(w *Wave, task int) {
	attempt := p.ledger[task].Attempts() + 1
	p.ledger[task] = ledger.Task{State: ledger.Succeeded, Execution: p.ledger[task].Execution}
	p.count(v1alpha1.ReasonCompleted)
	if len(p.Status.Successes) >= v1alpha1.MaxSuccesses {
		return
	}
	pod := Pod{Task: task, Outcome: outcome.Outcome{Reason: v1alpha1.ReasonCompleted}}
	p.Status.Successes = append(p.Status.Successes, p.attempt(pod, attempt))
	p.Samples = append(p.Samples, Sample{Wave: w, Task: task})
}

// checkStart ends the attempt of a pod that waits for something that fails and has waited for longer than it may. Where
// the template was edited since, the attempt starts anew and nothing is counted: it never ran.
func (p *planner) checkStart(w *Wave, pod Pod, reasons map[v1alpha1.Reason]int) {
	limit, limited := p.spec.StartDeadline(), true
	switch pod.Waiting.Reason {
	case "":
		return
	case v1alpha1.ReasonUnschedulable:
		limit, limited = p.spec.UnschedulableDeadline()
		limited = limited && !pod.Waiting.Gated
	}
	if w.Outdated {
		p.putBack(pod.Task)
		p.renewed = append(p.renewed, pod)
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
		Reason: pod.Waiting.Reason, Disruption: pod.Waiting.Reason == v1alpha1.ReasonNodeLost, FinishedAt: p.now,
		Message: fmt.Sprintf("not started after %s: %s", limit, pod.Waiting.Message),
	}
	p.giveUp(w, pod, reasons)
}

// giveUp ends the attempt of a pod that has not started. It is remembered in which wave: the pod may start all the same
// before it is gone.
func (p *planner) giveUp(w *Wave, pod Pod, reasons map[v1alpha1.Reason]int) {
	p.fail(pod.Task, pod, reasons)
	if t := &p.ledger[pod.Task]; t.State == ledger.Pending {
		t.Enter(w.Number)
	}
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
		Execution: int32(p.ledger[pod.Task].Execution) + 1, Parameters: p.parametersOf(pod.Task),
	}
	pod.Tell(&record)
	return record
}

// Tell writes into an attempt's record what its pod says of it, but for the end of its log.
func (pod *Pod) Tell(record *v1alpha1.Attempt) {
	record.Reason, record.Disruption = pod.Outcome.Reason, pod.Outcome.Disruption
	record.ExitCode, record.Message = pod.Outcome.ExitCode, pod.Outcome.Message
	record.Pod, record.Node = pod.Name, pod.Node
	if !pod.Outcome.FinishedAt.IsZero() {
		record.FinishedAt = stamp(pod.Outcome.FinishedAt)
	}
}

// maxParametersBytes bounds the parameter values of one attempt in the status.
const maxParametersBytes = 512

// parametersOf are the values of a task's parameters; nil where it has none.
func (p *planner) parametersOf(task int) map[string]string {
	if p.Tasks == nil || !p.Status.Waves.Sweep {
		return nil
	}
	values := p.Tasks.Row(task).Map()
	for name, value := range values {
		values[name] = logtail.Cut(value, maxParametersBytes/len(values))
	}
	return values
}

// announceFailures caps status.failures, cleans the log tails of the new ones, and emits one Event for each reason that
// attempts failed for since the last look.
func (p *planner) announceFailures(before int, reasons map[v1alpha1.Reason]int) {
	added := p.Status.Failures[before:]
	for _, state := range p.Status.PodStates {
		n := reasons[state.State]
		if n == 0 {
			continue
		}
		first := added[slices.IndexFunc(added, func(a v1alpha1.Attempt) bool { return a.Reason == state.State })]
		note := fmt.Sprintf("task %d, attempt %d: %s", first.Index, first.Attempt, describe(first))
		if n > 1 {
			note = fmt.Sprintf("%d attempts failed, the first: %s", n, note)
		}
		p.event(true, v1alpha1.RunAttemptFailed, note)
		p.Events[len(p.Events)-1].Repeats = string(state.State)
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

// stamp is t as the API server stores it, to the second.
func stamp(t time.Time) *metav1.Time {
	return ptr.To(metav1.NewTime(t).Rfc3339Copy())
}
