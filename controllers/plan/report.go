package plan

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/controllers/ledger"
	"github.com/batchrun/batchrun/controllers/logtail"
)

const (
	// maxIndexesBytes bounds succeededIndexes and failedIndexes each.
	maxIndexesBytes = 8 << 10
	// maxStatusBytes bounds the whole status, as JSON.
	maxStatusBytes = 96 << 10
	// maxLedgerBytes is how long the compact ledger may be before times in it become coarser, maxDueStep how coarse.
	maxLedgerBytes = 40 << 10
	maxDueStep     = 256
	// maxExecutions is how many executions of a task are told apart in a ledger that is too long.
	maxExecutions = 15
	// troubleAfter is for how long a pod may wait before the run speaks of it.
	troubleAfter = 10 * time.Second
	// stuckAfter is for how long a pod may be late in going away before the run speaks of it.
	stuckAfter = 30 * time.Second
	// leavingInterval is how often to look whether what was deleted is gone.
	leavingInterval = 5 * time.Second
	// settledAfter is how long after its end a run has no pod that the archive of logs has not seen.
	settledAfter = 5 * time.Second
	// unwatchedInterval is how often to look at a Job that no watch tells of.
	unwatchedInterval = 30 * time.Second
	// maxConditionBytes bounds the message of a condition, maxNoteBytes that of an Event: the API server takes no more.
	maxConditionBytes = 2 << 10
	maxNoteBytes      = 1 << 10
)

// report turns the ledger and what was observed into the counts, the phase and the conditions of the status.
func (p *planner) report() {
	s := &p.Status
	succeeded, failed := p.in(ledger.Succeeded), p.in(ledger.Failed)
	s.Tasks, s.Succeeded, s.Failed = int32(p.present.Len()), int32(succeeded.Len()), int32(failed.Len())
	s.SucceededIndexes, s.FailedIndexes = succeeded.Short(maxIndexesBytes), failed.Short(maxIndexesBytes)
	s.Active = min(p.activePods(), s.Tasks-s.Succeeded-s.Failed)
	s.Pending = s.Tasks - s.Succeeded - s.Failed - s.Active
	s.Completions = fmt.Sprintf("%d/%d", s.Succeeded, s.Tasks)
	s.Waves.Ledger = p.encode()
	s.ObservedGeneration = p.Run.Generation

	if p.suspended() && !p.finished() {
		s.StartTime = nil // as in a Job: the deadline starts anew
	}
	before := p.Run.Status.Phase
	s.Phase = p.phase()
	p.Urgent = s.Phase != before || p.finished()
	p.Awaited = p.awaited()
	p.keepProgress()
	p.keepArchived()
	p.warn()
	p.keepPacking()
	p.summarize()
	p.fit()
}

// keepProgress takes over what attempts say of themselves, while they are active.
func (p *planner) keepProgress() {
	p.Status.Progress = nil
	if p.finished() {
		return
	}
	for _, said := range p.Progress {
		if task := int(said.Index); task < len(p.ledger) && p.ledger[task].State == ledger.Active {
			p.Status.Progress = append(p.Status.Progress, said)
		}
	}
}

// keepArchived says how the archive of logs fares: once something goes wrong, and once all is stored.
func (p *planner) keepArchived() {
	a := p.Archived
	if a == nil {
		return
	}
	failing := ""
	if a.Failing != "" {
		failing = fmt.Sprintf("the logs of %s are not stored yet, which is tried again: %s", counted(a.Pending, "attempt"), a.Failing)
	}
	before := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionLogsArchived)
	switch settled := a.Pending == 0 && p.finished(); {
	case a.Incomplete > 0:
		message := fmt.Sprintf("the logs of %s are incomplete or lost, the last: %s", counted(a.Incomplete, "attempt"), a.Lacks)
		if failing != "" {
			message += "; " + failing
		}
		p.setCondition(v1alpha1.ConditionLogsArchived, false, v1alpha1.LogsIncomplete, message)
	case failing != "":
		p.setCondition(v1alpha1.ConditionLogsArchived, false, v1alpha1.LogsNotStored, failing)
	case before != nil && before.Reason == v1alpha1.LogsIncomplete: // as an earlier operator found
	case settled && p.now.Before(p.Status.CompletionTime.Add(settledAfter)):
		p.wake(p.Status.CompletionTime.Add(settledAfter))
	case settled:
		p.setCondition(v1alpha1.ConditionLogsArchived, true, v1alpha1.LogsStored, "all logs that could be read are archived")
	default:
		p.dropCondition(v1alpha1.ConditionLogsArchived)
	}
}

// awaited is true when something can start only once the status is written: another wave, or a task that is pending
// since now.
func (p *planner) awaited() bool {
	if p.Status.Waves.Next != p.Run.Status.Waves.Next {
		return true
	}
	for task := range p.ledger.In(ledger.Pending) {
		if task >= len(p.Ledger) || p.Ledger[task].State != ledger.Pending {
			return true
		}
	}
	return false
}

// encode returns the compact ledger. Where it is too long, because very many tasks wait for their retries, tasks that
// are due forget since when, and the others wait for up to a few minutes longer, so that many are due together. Where
// very many tasks were rerun very often, many reruns are told as some.
func (p *planner) encode() []byte {
	if slices.Equal(p.ledger, p.Ledger) {
		return p.Run.Status.Waves.Ledger
	}
	text := p.ledger.Encode()
	for step := uint32(1); len(text) > maxLedgerBytes && step <= maxDueStep; step *= 4 {
		for task := range p.ledger.In(ledger.Pending) {
			if t := &p.ledger[task]; !time.Unix(int64(t.Due), 0).After(p.now) {
				t.Due = 0
			} else {
				t.Due = (t.Due + step - 1) / step * step
			}
		}
		text = p.ledger.Encode()
	}
	for most := uint8(maxExecutions); len(text) > maxLedgerBytes && most > 0; most /= 4 {
		for task := range p.ledger {
			p.ledger[task].Execution = min(p.ledger[task].Execution, most)
		}
		text = p.ledger.Encode()
	}
	return text
}

// activePods is the number of pods of the open waves that have not ended.
func (p *planner) activePods() int32 {
	if p.finished() {
		return 0
	}
	open, sum := p.openWaves(), 0
	for i := range p.Waves {
		if open.Contains(p.Waves[i].Number) {
			sum += p.Waves[i].Active
		}
	}
	return int32(sum)
}

func (p *planner) phase() v1alpha1.Phase {
	failed := p.condition(v1alpha1.ConditionFailed)
	switch {
	case p.condition(v1alpha1.ConditionComplete) != nil:
		return v1alpha1.PhaseSucceeded
	case failed != nil && failed.Reason == v1alpha1.RunCancelled:
		return v1alpha1.PhaseCancelled
	case failed != nil:
		return v1alpha1.PhaseFailed
	case p.suspended():
		return v1alpha1.PhaseSuspended
	case p.Status.Waves.Next == 0:
		return v1alpha1.PhasePending
	case p.queued() != nil && !p.stopping():
		return v1alpha1.PhaseQueued
	}
	return v1alpha1.PhaseRunning
}

// summarize derives Suspended, Ready, Reconciling and Stalled from the rest, and an Event from what changed.
func (p *planner) summarize() {
	if p.Trouble.Retry > 0 {
		p.wake(p.now.Add(p.Trouble.Retry))
	}
	if p.suspended() && !p.finished() {
		p.setCondition(v1alpha1.ConditionSuspended, true, v1alpha1.RunSuspended, "spec.suspend is true")
	} else if p.condition(v1alpha1.ConditionSuspended) != nil {
		p.setCondition(v1alpha1.ConditionSuspended, false, v1alpha1.RunResumed, "the run is not suspended any more")
	}
	if p.Tasks == nil && !ptr.Deref(p.spec.Cancel, false) { // what the run is to be now cannot be followed, or not yet
		state := v1alpha1.ConditionReconciling
		if p.Trouble.Stalled {
			state = v1alpha1.ConditionStalled
		}
		p.conclude(false, state, p.Trouble.Reason, p.Trouble.Message)
		return
	}
	if complete := p.condition(v1alpha1.ConditionComplete); complete != nil {
		p.conclude(true, "", complete.Reason, complete.Message)
		return
	}
	if failed := p.condition(v1alpha1.ConditionFailed); failed != nil {
		p.conclude(false, v1alpha1.ConditionStalled, failed.Reason, failed.Message)
		return
	}
	if target := p.condition(v1alpha1.ConditionFailureTarget); target != nil {
		message := "stopping the active attempts: " + target.Message
		if reason, text := p.progress(); troubles[reason] {
			message += "; " + text
		}
		p.conclude(false, v1alpha1.ConditionReconciling, target.Reason, message)
		return
	}
	if p.Trouble.Stalled {
		p.conclude(false, v1alpha1.ConditionStalled, p.Trouble.Reason, p.Trouble.Message)
		return
	}
	if p.suspended() {
		p.conclude(false, "", v1alpha1.RunSuspended, "spec.suspend is true")
		return
	}
	reason, message := p.progress()
	p.conclude(false, v1alpha1.ConditionReconciling, reason, message)
}

// warn sets the condition SpecWarning.
func (p *planner) warn() {
	p.warnings = slices.Concat(p.warnings, p.hidden(), p.lowered(), p.unpassed())
	if len(p.warnings) == 0 {
		p.dropCondition(v1alpha1.ConditionSpecWarning)
		return
	}
	texts := make([]string, 0, len(p.warnings))
	for _, warning := range p.warnings {
		texts = append(texts, warning.Message)
	}
	before := p.condition(v1alpha1.ConditionSpecWarning)
	p.setCondition(v1alpha1.ConditionSpecWarning, true, p.warnings[0].Reason, strings.Join(texts, "; "))
	if now := p.condition(v1alpha1.ConditionSpecWarning); before == nil || *before != *now {
		p.event(true, now.Reason, now.Message)
	}
}

// conclude sets Ready, and of Reconciling and Stalled the given one only.
func (p *planner) conclude(ready bool, state, reason, message string) {
	old := meta.FindStatusCondition(p.Run.Status.Conditions, v1alpha1.ConditionReady)
	stalled := state == v1alpha1.ConditionStalled
	wasStalled := meta.IsStatusConditionTrue(p.Run.Status.Conditions, v1alpha1.ConditionStalled)
	p.setCondition(v1alpha1.ConditionReady, ready, reason, message)
	for _, conditionType := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
		if conditionType == state {
			p.setCondition(conditionType, true, reason, message)
		} else {
			p.dropCondition(conditionType)
		}
	}
	switch {
	case old == nil && reason == v1alpha1.RunProgressing, old != nil && old.Reason == reason && wasStalled == stalled:
	case reason == v1alpha1.RunWaitingForRetry: // the Event of the failure has told it
	case reason == v1alpha1.RunProgressing && old.Reason == v1alpha1.RunWaitingForRetry:
	default:
		p.event(stalled && reason != v1alpha1.RunCancelled || troubles[reason], reason, message)
	}
}

// troubles are the reasons of a run that wants to go on and cannot.
var troubles = map[string]bool{
	v1alpha1.RunUnschedulable: true, v1alpha1.RunImagePullFailing: true, v1alpha1.RunStartFailing: true,
	v1alpha1.RunPodsNotCreated: true, v1alpha1.RunNameTaken: true, v1alpha1.RunJobRefused: true,
	v1alpha1.RunPodNotEnding: true, v1alpha1.RunWaveUnreadable: true,
}

// waiting tells the trouble of a pod that waits.
var waiting = map[v1alpha1.Reason]string{
	v1alpha1.ReasonUnschedulable:   v1alpha1.RunUnschedulable,
	v1alpha1.ReasonImagePullFailed: v1alpha1.RunImagePullFailing,
	v1alpha1.ReasonStartFailed:     v1alpha1.RunStartFailing,
	v1alpha1.ReasonNodeLost:        v1alpha1.RunStartFailing,
}

// progress says how a run goes on, or what keeps it from going on.
func (p *planner) progress() (reason, message string) {
	if p.Trouble.Reason != "" {
		return p.Trouble.Reason, p.Trouble.Message
	}
	if len(p.Leaving) > 0 {
		p.wake(p.now.Add(leavingInterval))
		return v1alpha1.RunWaitingForPods, fmt.Sprintf("the Job of wave %d was deleted; its tasks run again once its pods have ended", p.Leaving[0])
	}
	open := p.openWaves()
	if reason, message := p.podsTrouble(open); reason != "" {
		return reason, message
	}
	if w := p.queued(); w != nil {
		return p.queueing(w)
	}
	if next, ok := p.nextRetry(); ok && open.Empty() {
		return v1alpha1.RunWaitingForRetry, "nothing is active; the next attempt is due at " + next.UTC().Format(time.RFC3339)
	}
	return v1alpha1.RunProgressing, "attempts are active or about to start"
}

// podsTrouble says what keeps pods of the open waves from going on; an empty reason where nothing has for long.
func (p *planner) podsTrouble(open indexset.Set) (reason, message string) {
	troubled := map[string]int{}
	for i := range p.Waves {
		w := &p.Waves[i]
		if !open.Contains(w.Number) {
			continue
		}
		p.wakeFor(w)
		for _, pod := range w.Pods {
			trouble, text, since := pod.trouble()
			blocks := trouble == v1alpha1.RunPodNotEnding && (w.Foreign || p.present.Contains(pod.Task)) // its task waits for it
			if trouble == "" || !blocks && !p.carriedBy(w, pod.Task) {
				continue
			}
			if p.now.Before(since) {
				p.wake(since)
				continue
			}
			troubled[trouble]++
			if reason == "" {
				reason, message = trouble, fmt.Sprintf("task %d (pod %s): %s", pod.Task, pod.Name, text)
			}
		}
	}
	if troubled[reason] > 1 {
		message += "; so do other pods"
	}
	return reason, message
}

// wakeFor asks for a look at a wave of which no event may tell.
func (p *planner) wakeFor(w *Wave) {
	p.wake(w.Created.Add(IdleAfter))
	if w.Idle() || !w.Starting.IsZero() {
		p.wake(later(w.Created.Add(IdleAfter), p.now.Add(IdleAfter/2)))
	}
	if w.Unwatched {
		p.wake(p.now.Add(unwatchedInterval))
	}
}

// trouble says what keeps a pod from going on, and since when the run speaks of it; an empty reason where nothing does.
func (pod *Pod) trouble() (reason, message string, since time.Time) {
	switch {
	case pod.Ended:
		return "", "", time.Time{}
	case !pod.Deleting.IsZero():
		return v1alpha1.RunPodNotEnding, fmt.Sprintf("it was to be gone, but node %s does not say that it has ended; "+
			"if the node is lost, delete it", pod.Node), pod.Deleting.Add(stuckAfter)
	}
	return waiting[pod.Waiting.Reason], pod.Waiting.Message, pod.Waiting.Since.Add(troubleAfter)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// nextRetry is when the first of the waiting tasks is due.
func (p *planner) nextRetry() (first time.Time, ok bool) {
	for task := range p.in(ledger.Pending).All() {
		due := time.Unix(int64(p.ledger[task].Due), 0)
		if !due.After(p.now) {
			return time.Time{}, false
		}
		p.wake(due)
		if !ok || due.Before(first) {
			first, ok = due, true
		}
	}
	return first, ok
}

func (p *planner) setCondition(conditionType string, status bool, reason, message string) {
	value := metav1.ConditionFalse
	if status {
		value = metav1.ConditionTrue
	}
	meta.SetStatusCondition(&p.Status.Conditions, metav1.Condition{
		Type: conditionType, Status: value, Reason: reason, Message: logtail.Cut(message, maxConditionBytes),
		ObservedGeneration: p.Run.Generation, LastTransitionTime: *stamp(p.now),
	})
}

func (p *planner) dropCondition(conditionType string) {
	meta.RemoveStatusCondition(&p.Status.Conditions, conditionType)
}

// fit cuts what is longest and oldest until the status is small enough: the log tails, messages and parameters of old
// failures.
func (p *planner) fit() {
	excess := p.size() - maxStatusBytes
	for i := range p.Status.Failures {
		for _, text := range []*string{&p.Status.Failures[i].LogTail, &p.Status.Failures[i].Message} {
			if excess <= 0 {
				return
			}
			if len(*text) > len(logtail.CutMark) {
				excess -= sizeOf(*text) - sizeOf(logtail.CutMark)
				*text = logtail.CutMark
			}
		}
		excess -= cutValues(p.Status.Failures[i].Parameters, excess)
	}
}

// cutValues cuts all values of parameters, if there is any excess, and returns how much smaller they are.
func cutValues(parameters map[string]string, excess int) (saved int) {
	if excess <= 0 || len(parameters) == 0 {
		return 0
	}
	before := sizeOf(parameters)
	for name := range parameters {
		parameters[name] = logtail.CutMark
	}
	return before - sizeOf(parameters)
}

// maxPodBytes bounds what the record of a success tells of its pod: two names of at most 253 bytes, and a time.
const maxPodBytes = 600

// size is that of the status as JSON, with what is still to be looked up: a log tail takes at most two bytes for each of
// its bytes.
func (p *planner) size() int {
	keep, _, tail := p.spec.LogTail()
	if keep != v1alpha1.KeepAll {
		tail = 0
	}
	return sizeOf(p.Status) + len(p.Samples)*(maxPodBytes+2*tail)
}

func sizeOf(value any) int {
	text, err := json.Marshal(value)
	if err != nil { // a status has nothing that JSON has not
		panic(err)
	}
	return len(text)
}
