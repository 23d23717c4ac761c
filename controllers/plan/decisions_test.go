package plan

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/controllers/ledger"
	"github.com/batchrun/batchrun/controllers/outcome"
	"github.com/batchrun/batchrun/controllers/parameters"
)

// planning is a planner in the middle of an array of so many tasks, of which the first waves are recorded.
func planning(n, next int, stored ledger.Ledger) *planner {
	run := &v1alpha1.BatchRun{ObjectMeta: metav1.ObjectMeta{Name: "r", UID: "run"}}
	run.Spec.Completions = ptr.To(int32(n))
	run.Status.Waves.Next, run.Status.Waves.Open = int32(next), indexset.Interval(0, next-1).String()
	p := &planner{
		Snapshot: Snapshot{Run: run, Ledger: stored, Tasks: parameters.ArrayTable(n), Limits: Limits{MaxParallelism: 10}},
		now:      epoch, spec: &run.Spec, ledger: append(ledger.Ledger{}, stored...), present: indexset.Interval(0, n-1),
	}
	p.Status = *run.Status.DeepCopy()
	return p
}

func activeIn(wave int) ledger.Task {
	t := ledger.Task{State: ledger.Active}
	t.Enter(wave)
	return t
}

func TestAWaveIsIdleUnlessAnythingIsWithIt(t *testing.T) {
	for name, test := range map[string]struct {
		edit func(*Wave)
		want bool
	}{
		"it has no pod and should":  {func(*Wave) {}, true},
		"it has a pod":              {func(w *Wave) { w.Active = 1 }, false},
		"a pod of it is going away": {func(w *Wave) { w.Terminating = 1 }, false},
		"it is suspended":           {func(w *Wave) { w.Suspended = true }, false},
		"it is going away":          {func(w *Wave) { w.Deleting = true }, false},
		"it was stopped":            {func(w *Wave) { w.Stopped = true }, false},
		"it may have no pod":        {func(w *Wave) { w.Parallelism = 0 }, false},
		"it has ended":              {func(w *Wave) { w.Finished = "Failed" }, false},
		"nothing is left to run":    {func(w *Wave) { w.Succeeded = w.Tasks }, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := Wave{Tasks: indexset.Of(0, 1), Parallelism: 1}
			test.edit(&w)
			expect(t, "idle", w.Idle(), test.want)
		})
	}
}

func TestAWaveOfOneTaskIsInlinedWhereItsPositionDoesNotTellTheTask(t *testing.T) {
	for name, test := range map[string]struct {
		wave Wave
		want bool
	}{
		"task 0 of an array":     {Wave{Tasks: indexset.Of(0)}, false},
		"another one":            {Wave{Tasks: indexset.Of(1)}, true},
		"task 0 of a sweep":      {Wave{Tasks: indexset.Of(0), Sweep: true}, true},
		"several tasks":          {Wave{Tasks: indexset.Of(1, 2)}, false},
		"several tasks, a sweep": {Wave{Tasks: indexset.Of(0, 1), Sweep: true}, false},
	} {
		t.Run(name, func(t *testing.T) { expect(t, "inlined", test.wave.inlined(), test.want) })
	}
}

func TestTheEndOfAnAttemptIsUnrecordedWhileTheLedgerHasItActiveInItsWave(t *testing.T) {
	p := planning(3, 2, ledger.Ledger{activeIn(1), {State: ledger.Succeeded}})
	for name, test := range map[string]struct {
		wave, task int
		want       bool
	}{
		"it is active there":              {1, 0, true},
		"it is active in another wave":    {0, 0, false},
		"it has ended":                    {1, 1, false},
		"the ledger does not have it":     {1, 2, false},
		"the wave itself is not noted":    {2, 1, true},
		"a later wave is not, either":     {3, 2, true},
		"it is not even one of the run's": {2, 9, true},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, "unrecorded", p.Unrecorded(&Wave{Number: test.wave}, test.task), test.want)
		})
	}
}

func TestAWaveIsDoomedOnceNothingOfItCounts(t *testing.T) {
	put := ledger.Task{} // a task that was put back
	for name, test := range map[string]struct {
		wave Wave
		want bool
	}{
		"all its tasks were put back":         {Wave{Tasks: indexset.Of(0)}, true},
		"one is active":                       {Wave{Tasks: indexset.Of(0, 1)}, false},
		"one failed before":                   {Wave{Tasks: indexset.Of(0, 2)}, false},
		"one failed for good":                 {Wave{Tasks: indexset.Of(0, 3)}, false},
		"one succeeded in it":                 {Wave{Tasks: indexset.Of(0, 4), Succeeded: indexset.Of(4)}, false},
		"one failed in it":                    {Wave{Tasks: indexset.Of(0, 4), Failed: indexset.Of(4)}, false},
		"another kind of run's":               {Wave{Tasks: indexset.Of(1), Foreign: true}, true},
		"another kind's, and one succeeded":   {Wave{Tasks: indexset.Of(1, 4), Foreign: true, Succeeded: indexset.Of(4)}, true},
		"it has ended":                        {Wave{Tasks: indexset.Of(0), Finished: "Failed"}, false},
		"it is not recorded":                  {Wave{Number: 1, Tasks: indexset.Of(0)}, false},
		"not recorded, another kind of run's": {Wave{Number: 1, Tasks: indexset.Of(0), Foreign: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := planning(5, 1, ledger.Ledger{put, activeIn(0), {Failures: 1}, {State: ledger.Failed}, {State: ledger.Succeeded}})
			expect(t, "doomed", p.doomed(&test.wave), test.want)
		})
	}
}

func TestTasksBehindOneThatIsNotDueStart(t *testing.T) {
	p := planning(3, 0, ledger.Ledger{{Failures: 1, Due: uint32(epoch.Unix()) + 9}, {Failures: 1, Due: uint32(epoch.Unix())}, {}})
	retries, fresh := p.startable()
	if len(retries) != 1 || retries[0] != 1 || len(fresh) != 1 || fresh[0] != 2 {
		t.Errorf("got %v and %v", retries, fresh)
	}
	expect(t, "wakes", p.WakeAt, epoch.Add(9*time.Second).Local())
}

func TestANewRunIsNotReplaced(t *testing.T) {
	run := &v1alpha1.BatchRun{}
	run.Spec.Parameters = &v1alpha1.Parameters{}
	expect(t, "without a ledger", Replaced(run), false)
	run.Status.Waves.Ledger = ledger.Ledger{{}}.Encode()
	expect(t, "an array that became a sweep", Replaced(run), true)
	run.Status.Waves.Sweep = true
	expect(t, "a sweep", Replaced(run), false)
}

func TestOpenWavesThatCannotBeReadAreAll(t *testing.T) {
	p := planning(3, 2, nil)
	p.Status.Waves.Open = "garbage"
	expect(t, "open", p.openWaves().String(), "0,1")
}

func TestAFailureOfATaskThatIsNoMoreIsNotTheLast(t *testing.T) {
	p := planning(2, 1, ledger.Ledger{{State: ledger.Failed}, {}})
	p.Status.Failures = []v1alpha1.Attempt{{Index: 0, Attempt: 1, Reason: "Error"}, {Index: 1, Reason: "Error"}, {Index: 2, Reason: "Error"}}
	expect(t, "text", p.lastFailure(1, 2), "1 of 2 tasks failed, the last one task 0 after 1 attempt: Error")
}

func TestSuccessesAreSampledUpToTheirMost(t *testing.T) {
	for name, test := range map[string]struct{ before, after int }{
		"there is room":    {v1alpha1.MaxSuccesses - 1, v1alpha1.MaxSuccesses},
		"there is no room": {v1alpha1.MaxSuccesses, v1alpha1.MaxSuccesses},
	} {
		t.Run(name, func(t *testing.T) {
			p := planning(2, 1, ledger.Ledger{{State: ledger.Active, Failures: 2, Disruptions: 1}, activeIn(0)})
			p.Status.Successes = make([]v1alpha1.Attempt, test.before)
			wave := &Wave{}
			p.succeed(wave, 0)
			expect(t, "successes", len(p.Status.Successes), test.after)
			expect(t, "samples", len(p.Samples), test.after-test.before)
			if last := p.Status.Successes[test.after-1]; test.after > test.before {
				expect(t, "attempt", last.Attempt, 4)
				expect(t, "reason", last.Reason, v1alpha1.ReasonCompleted)
				expect(t, "sample", p.Samples[0], Sample{Wave: wave, Task: 0})
			}
			expect(t, "room for the pods and the tails, of which each takes twice its bytes",
				p.size()-sizeOf(p.Status), (maxPodBytes+2*2048)*(test.after-test.before))
		})
	}
}

func TestParametersAreThoseOfASweepWhoseTasksAreKnown(t *testing.T) {
	p := planning(1, 0, nil)
	expect(t, "of an array", len(p.parametersOf(0)), 0)
	p.Tasks, p.Status.Waves.Sweep = nil, true
	expect(t, "of a sweep that cannot be followed", len(p.parametersOf(0)), 0)
}

func TestJobsAreAllGoneBeforeARunIsCleanedUp(t *testing.T) {
	p := planning(1, 1, ledger.Ledger{{State: ledger.Succeeded}})
	p.spec.TTLSecondsAfterFinished = ptr.To[int32](0)
	p.Run.Status.CompletionTime = stamp(epoch)
	p.Status.CompletionTime = stamp(epoch)
	p.Waves, p.Unreadable = []Wave{{Number: 0}}, []Wave{{Number: 1}}
	p.clean()
	expect(t, "Jobs to delete", len(p.DeleteJobs), 2)
	expect(t, "cleaned up", p.Status.CleanupTime != nil, false)
}

func TestAGivenUpAttemptIsRememberedByItsWave(t *testing.T) {
	w := started(tasks(2), atOnce(2), starts(30, nil), rules(onReason(v1alpha1.ActionCount, v1alpha1.ReasonImagePullFailed)))
	w.wait(1, v1alpha1.ReasonImagePullFailed, "no such image")
	w.after(31 * time.Second)
	expect(t, "state", w.ledger()[1].State, ledger.Pending)
	expect(t, "its wave", w.ledger()[1].In(0), true)
}

func TestACompleteRunTellsItsPresentTasks(t *testing.T) {
	w := started(tasks(3), atOnce(3))
	w.succeed(0, 1, 2)
	w.edit(tasks(2))
	w.settle()
	expect(t, "message", w.message(v1alpha1.ConditionComplete), "2 tasks succeeded")
}

func TestARunOfOneTaskNeedsNoPolicy(t *testing.T) {
	w := newWorld(sweep("A=x"))
	w.packing = Packing{Reason: v1alpha1.PackedPolicyMissing}
	w.settle()
	expect(t, "Packed", w.reason(v1alpha1.ConditionPacked), "")
}

func TestWhatKeepsARunFromGoingOn(t *testing.T) {
	waits := func(task int, since time.Time) Pod {
		return Pod{Task: task, Name: "p", Waiting: outcome.Waiting{Reason: v1alpha1.ReasonUnschedulable, Message: "no node", Since: since}}
	}
	long, short := epoch.Add(-time.Minute), epoch.Add(-time.Second)
	first := "task 1 (pod p): no node"
	for name, test := range map[string]struct {
		edit            func(*planner)
		reason, message string
	}{
		"nothing":                        {func(*planner) {}, v1alpha1.RunProgressing, "attempts are active or about to start"},
		"a pod that waits":               {func(p *planner) { p.Waves[0].Pods = []Pod{waits(1, long)} }, v1alpha1.RunUnschedulable, first},
		"two of them":                    {func(p *planner) { p.Waves[0].Pods = []Pod{waits(1, long), waits(2, long)} }, v1alpha1.RunUnschedulable, first + "; so do other pods"},
		"not a pod that waits shortly":   {func(p *planner) { p.Waves[0].Pods = []Pod{waits(2, short), waits(1, long)} }, v1alpha1.RunUnschedulable, first},
		"not one whose attempt ended":    {func(p *planner) { p.Waves[0].Pods = []Pod{waits(0, long), waits(1, long)} }, v1alpha1.RunUnschedulable, first},
		"not one of a wave that ended":   {func(p *planner) { p.Status.Waves.Open = "1"; p.Waves[0].Pods = []Pod{waits(1, long)} }, v1alpha1.RunProgressing, "attempts are active or about to start"},
		"the wave behind one that ended": {func(p *planner) { p.Waves = []Wave{{Number: 7}, p.Waves[0]}; p.Waves[1].Pods = []Pod{waits(1, long)} }, v1alpha1.RunUnschedulable, first},
		"a retry that is due later, and nothing active": {func(p *planner) { p.Status.Waves.Open = "" }, v1alpha1.RunWaitingForRetry,
			"nothing is active; the next attempt is due at 2026-01-02T03:05:05Z"},
		"a pod that does not end": {func(p *planner) { p.Waves[0].Pods = []Pod{{Task: 0, Name: "p", Node: "n", Deleting: long}} }, v1alpha1.RunPodNotEnding,
			"task 0 (pod p): it was to be gone, but node n does not say that it has ended; if the node is lost, delete it"},
		"not one of a task that was taken out": {func(p *planner) { p.Waves[0].Pods = []Pod{{Task: 9, Name: "p", Deleting: long}} },
			v1alpha1.RunProgressing, "attempts are active or about to start"},
		"one of another kind of run's, though": {func(p *planner) {
			p.Waves[0].Foreign = true
			p.Waves[0].Pods = []Pod{{Task: 9, Name: "p", Node: "n", Deleting: long}}
		},
			v1alpha1.RunPodNotEnding, "task 9 (pod p): it was to be gone, but node n does not say that it has ended; if the node is lost, delete it"},
	} {
		t.Run(name, func(t *testing.T) {
			p := planning(3, 1, ledger.Ledger{{Failures: 1, Due: uint32(epoch.Unix()) + 60}, activeIn(0), activeIn(0)})
			p.Waves = []Wave{{Number: 0, Tasks: indexset.Of(0, 1, 2), Parallelism: 3, Active: 2, Created: long}}
			test.edit(p)
			reason, message := p.progress()
			expect(t, "reason", reason, test.reason)
			expect(t, "message", message, test.message)
		})
	}
}

func TestThePodsOfAWaveThatWaitsAreLookedForAgain(t *testing.T) {
	for name, test := range map[string]struct {
		edit func(*Wave)
		want time.Duration
	}{
		"a wave with pods":                    {func(*Wave) {}, 0},
		"a wave without":                      {func(w *Wave) { w.Active = 0 }, IdleAfter / 2},
		"a wave whose pod creates containers": {func(w *Wave) { w.Starting = epoch }, IdleAfter / 2},
		"a wave that no watch tells of":       {func(w *Wave) { w.Unwatched = true }, unwatchedInterval},
	} {
		t.Run(name, func(t *testing.T) {
			p := planning(1, 1, ledger.Ledger{activeIn(0)})
			p.Waves = []Wave{{Tasks: indexset.Of(0), Parallelism: 1, Active: 1, Created: epoch.Add(-time.Hour)}}
			test.edit(&p.Waves[0])
			p.progress()
			want := time.Time{}
			if test.want > 0 {
				want = epoch.Add(test.want)
			}
			expect(t, "wakes", p.WakeAt, want)
		})
	}
}

func TestAStatusIsUrgentWhenThePhaseChangesOrTheRunHasEnded(t *testing.T) {
	w := newWorld(tasks(2), atOnce(2))
	w.reconcile()
	expect(t, "the run starts", w.reconcile().Urgent, true)
	expect(t, "it goes on", w.settle().Urgent, false)
	w.succeed(0, 1)
	expect(t, "it has ended", w.settle().Urgent, true)
}

func TestAStatusIsAwaitedWhenATaskIsPendingSinceNow(t *testing.T) {
	p := planning(2, 1, ledger.Ledger{{State: ledger.Active}, {}})
	expect(t, "a task that was pending before", p.awaited(), false)
	p.ledger[0].State = ledger.Pending
	expect(t, "a retry", p.awaited(), true)
	p.ledger[0].State = ledger.Active
	p.ledger = p.ledger.Grow(3)
	expect(t, "a new task", p.awaited(), true)
}

func TestTheRunsTasksAreThoseOfItsLedgerWhereTheSpecDoesNotTell(t *testing.T) {
	p := planning(3, 0, ledger.Ledger{{}, {State: ledger.Removed}, {State: ledger.Withdrawn}})
	for task, want := range []bool{true, true, true, false} {
		expect(t, "told", p.Has(task), want)
	}
	p.Tasks = nil
	for task, want := range []bool{true, false, false, false} {
		expect(t, "not told", p.Has(task), want)
	}
}

func TestPodsThatMayGoOnAreCounted(t *testing.T) {
	p := planning(4, 1, ledger.Ledger{activeIn(0), activeIn(0), activeIn(0), {State: ledger.Failed}})
	w := Wave{Tasks: indexset.Of(0, 1, 2, 3), Pods: []Pod{{Task: 0}, {Task: 1, Ended: true}, {Task: 2, Deleting: epoch}, {Task: 3}}}
	expect(t, "pods", p.wantedPods(&w), 1)
}

func TestTasksWaitForRoomInWavesThatGoOn(t *testing.T) {
	for name, test := range map[string]struct {
		edit func(*Wave)
		want int
	}{
		"it goes on":         {func(*Wave) {}, 2},
		"it is suspended":    {func(w *Wave) { w.Suspended = true }, 0},
		"it is going away":   {func(w *Wave) { w.Deleting = true }, 0},
		"it has enough room": {func(w *Wave) { w.Parallelism = 9 }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := planning(3, 1, ledger.Ledger{activeIn(0), activeIn(0), activeIn(0)})
			p.Waves = []Wave{{Tasks: indexset.Of(0, 1, 2), Parallelism: 1}}
			test.edit(&p.Waves[0])
			expect(t, "queued", p.backlog(), test.want)
		})
	}
}

func TestASuspendedWaveResumesForATaskThatItCarries(t *testing.T) {
	p := planning(2, 2, ledger.Ledger{{Failures: 1}, activeIn(1)})
	expect(t, "a wave whose task was put back", p.resumes(&Wave{Number: 0, Tasks: indexset.Of(0), Suspended: true}), false)
	expect(t, "a wave of an active task", p.resumes(&Wave{Number: 1, Tasks: indexset.Of(1), Suspended: true}), true)
	expect(t, "a wave of an earlier template", p.resumes(&Wave{Number: 1, Tasks: indexset.Of(1), Suspended: true, Outdated: true}), false)
}

func TestPodsOfWavesBehindADoomedOneAreTakenAway(t *testing.T) {
	p := planning(3, 2, ledger.Ledger{activeIn(0), {State: ledger.Failed}, activeIn(1)})
	p.Waves = []Wave{{Number: 5, Tasks: indexset.Of(2)}, {Number: 0, Tasks: indexset.Of(0), Foreign: true},
		{Number: 1, Tasks: indexset.Of(1, 2), Pods: []Pod{{Task: 1, Name: "unwanted"}, {Task: 2, Name: "wanted"}}}}
	p.dropPods()
	if len(p.DeletePods) != 1 || p.DeletePods[0].Name != "unwanted" || len(p.DeleteJobs) != 0 {
		t.Errorf("got %v and %v", p.DeletePods, p.DeleteJobs)
	}
}

func TestAStoppedRunIsOverOnceAllItsTasksHaveEnded(t *testing.T) {
	for name, test := range map[string]struct {
		last ledger.State
		want bool
	}{
		"the last task failed":  {ledger.Failed, true},
		"the last task goes on": {ledger.Active, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := planning(2, 1, ledger.Ledger{{State: ledger.Succeeded}, {State: test.last}})
			p.setCondition(v1alpha1.ConditionFailureTarget, true, v1alpha1.RunTasksFailed, "too many tasks failed")
			p.Waves = []Wave{{Number: 0, Tasks: indexset.Of(0, 1)}} // its Job has not stopped yet
			p.judge()
			expect(t, "over", p.finished(), test.want)
		})
	}
}

func TestAWaveOfAQueueKeepsItsPlacesWhileItHasPods(t *testing.T) {
	for name, test := range map[string]struct{ active, terminating, places int }{
		"it has none":                {0, 0, 2},
		"one goes on":                {1, 0, 0},
		"one goes away, one goes on": {1, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := planning(2, 1, ledger.Ledger{activeIn(0), activeIn(0)})
			w := Wave{Tasks: indexset.Of(0, 1), Parallelism: 2, Queue: "a queue", Outdated: true, Active: test.active, Terminating: test.terminating}
			expect(t, "places given back", p.holdQueued(&w, 0), test.places)
		})
	}
}

func TestWhatAQueueIsToGiveBackIsNotInExcess(t *testing.T) {
	for name, test := range map[string]struct {
		edit func(*Wave)
		want int
	}{
		"it goes on":                          {func(*Wave) {}, 2},
		"it is deleted":                       {func(w *Wave) { w.Deleting = true }, 0},
		"it is deleted, and is of no queue":   {func(w *Wave) { w.Deleting, w.Queue = true, "" }, 2},
		"the tasks that it has run elsewhere": {func(w *Wave) { w.Number = 1 }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := planning(4, 2, ledger.Ledger{activeIn(0), activeIn(0), activeIn(0), activeIn(0)})
			p.spec.Parallelism = ptr.To[int32](2)
			p.Waves = []Wave{{Tasks: indexset.Of(0, 1), Parallelism: 2}, {Tasks: indexset.Of(2, 3), Parallelism: 2, Queue: "a queue"}}
			test.edit(&p.Waves[1])
			expect(t, "excess", p.excess(), test.want)
		})
	}
}

func TestATaskOfAWaveThatTheRunDoesNotHaveIsNotAdopted(t *testing.T) {
	p := planning(2, 0, ledger.Ledger{{}, {}})
	p.Waves = []Wave{{Tasks: indexset.Of(1, 2)}}
	p.adopt()
	expect(t, "task 1", p.ledger[1].State, ledger.Active)
	expect(t, "tasks", len(p.ledger), 2)
}

func TestTheParametersOfAnAttemptShareTheirBytes(t *testing.T) {
	long := strings.Repeat("x", maxParametersBytes)
	w := started(sweep("A=" + long + " B=" + long))
	p := planning(1, 0, ledger.Ledger{{}})
	p.Tasks, p.Status.Waves.Sweep = w.snapshot(w.fresh()).Tasks, true
	sum := 0
	for _, value := range p.parametersOf(0) {
		sum += len(value)
	}
	expect(t, "bytes of a long value", sum > maxParametersBytes/2 && sum <= maxParametersBytes, true)
}

func TestPodsBeyondTheUnfinishedTasksAreNotActive(t *testing.T) {
	p := planning(4, 1, ledger.Ledger{{State: ledger.Succeeded}, {State: ledger.Failed}, activeIn(0), {}})
	p.Waves = []Wave{{Tasks: indexset.Of(0, 1, 2, 3), Active: 4, Parallelism: 4}}
	p.report()
	expect(t, "active", p.Status.Active, 2)
	expect(t, "pending", p.Status.Pending, 0)
}

func TestASpecWarningIsToldOnce(t *testing.T) {
	p := planning(1, 0, nil)
	warn := func(message string) int {
		p.Events, p.warnings = nil, []parameters.Warning{{Reason: v1alpha1.WarningRerunOutOfRange, Message: message}}
		p.warn()
		return len(p.Events)
	}
	expect(t, "events of the first one", warn("a"), 1)
	expect(t, "of the same again", warn("a"), 0)
	expect(t, "of another one", warn("b"), 1)
}

func TestCountsStayAtTheirMost(t *testing.T) {
	p := planning(1, 1, ledger.Ledger{{State: ledger.Failed, Execution: math.MaxUint8}})
	p.spec.Rerun = &v1alpha1.Rerun{Token: "1"}
	p.rerun()
	expect(t, "executions", p.ledger[0], ledger.Task{Execution: math.MaxUint8})

	p = planning(1, 1, ledger.Ledger{{State: ledger.Active, Growth: math.MaxUint8}})
	p.spec.RetryPolicy = &v1alpha1.RetryPolicy{Rules: []v1alpha1.RetryRule{{
		Reasons: []v1alpha1.Reason{v1alpha1.ReasonOOMKilled}, Action: v1alpha1.ActionCount, Memory: &v1alpha1.MemoryGrowth{IncreasePercent: 50}}}}
	p.fail(0, Pod{Outcome: failure(v1alpha1.ReasonOOMKilled)}, map[reason]int{})
	expect(t, "times that the memory grew", p.ledger[0].Growth, math.MaxUint8)
}

func TestRetriesAndFirstAttemptsStartTogether(t *testing.T) {
	p := planning(2, 1, ledger.Ledger{{Failures: 1}, {}})
	p.start()
	expect(t, "waves", len(p.Start), 2)
}

func TestRoomIsForTheHighestWavesFirst(t *testing.T) {
	active := ledger.Ledger{activeIn(0), activeIn(0), activeIn(0), activeIn(1), activeIn(1), activeIn(1)}
	for name, test := range map[string]struct {
		edit func(*planner)
		// want is the parallelism of both waves.
		want [2]int
	}{
		"some is left for both":                       {func(*planner) {}, [2]int{2, 3}},
		"a pod of a Job that is gone takes some":      {func(p *planner) { p.Leaving, p.ledger = []int{7}, append(p.ledger, activeIn(7)) }, [2]int{1, 3}},
		"a new wave takes some":                       {func(p *planner) { p.Start = []NewWave{{Parallelism: 2}} }, [2]int{1, 2}},
		"pods that are not wanted any more take some": {func(p *planner) { p.Waves[0].Active = 2 }, [2]int{1, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			p := planning(6, 2, active)
			p.spec.Parallelism = ptr.To[int32](5)
			p.Waves = []Wave{{Number: 0, Tasks: indexset.Of(0, 1, 2), Parallelism: 1}, {Number: 1, Tasks: indexset.Of(3, 4, 5), Parallelism: 1}}
			test.edit(p)
			p.hold()
			got := [2]int{p.Waves[0].Parallelism, p.Waves[1].Parallelism}
			for _, adjustment := range p.Adjust {
				got[adjustment.Wave.Number] = adjustment.Parallelism
			}
			expect(t, "parallelism", got, test.want)
		})
	}
}

func TestWavesThatStartAtOnceShareTheRoom(t *testing.T) {
	const n, atOnce = 100, 50
	items := make([]v1alpha1.Combination, n) // so long that not many fit into a wave
	for i := range items {
		items[i] = v1alpha1.Combination{"A": strconv.Itoa(i) + strings.Repeat("x", 1000)}
	}
	sweep := &v1alpha1.Parameters{Items: items}
	table, err := parameters.NewTable([]*v1alpha1.Parameters{sweep}, sweep)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ ended, carried int }{
		"they carry what starts at once": {0, atOnce},
		"and what starts soon":           {atOnce, 64},
	} {
		t.Run(name, func(t *testing.T) {
			p := planning(n, 0, make(ledger.Ledger, n))
			p.Tasks, p.Status.Waves.Sweep, p.Packing, p.MaxParallelism = table, true, Packing{OK: true}, atOnce
			p.LastStep.At = epoch.Add(-Lookahead)
			p.Status.PodStates = []v1alpha1.PodState{{State: v1alpha1.ReasonCompleted, Count: int32(test.ended)}}
			p.start()
			sum, carried := 0, 0
			for _, wave := range p.Start {
				sum += wave.Parallelism
				carried += wave.Tasks.Len()
			}
			expect(t, "several waves", len(p.Start) > 1, true)
			expect(t, "at once", sum, atOnce)
			expect(t, "carried", carried, test.carried)
		})
	}
}

func TestAWaveIsNarrowedWhereItWouldStartWhatItIsNotTo(t *testing.T) {
	for name, test := range map[string]struct {
		active, terminating int
		// want is the parallelism that it gets, and whether it is suspended; none where it stays.
		want []Adjustment
	}{
		"it has no pod":                      {0, 0, []Adjustment{{Parallelism: 1, Suspend: true}}},
		"it has a pod, and one goes away":    {1, 1, []Adjustment{{Parallelism: 1}}},
		"it has a pod for each of its tasks": {2, 1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := planning(3, 1, ledger.Ledger{activeIn(0), {State: ledger.Failed}, activeIn(0)})
			p.Waves = []Wave{{Tasks: indexset.Of(0, 1, 2), Parallelism: 3, Active: test.active, Terminating: test.terminating, Pods: []Pod{{Task: 0}}}}
			p.hold()
			expect(t, "adjustments", len(p.Adjust), len(test.want))
			for i := range min(len(p.Adjust), len(test.want)) {
				expect(t, "parallelism", p.Adjust[i].Parallelism, test.want[i].Parallelism)
				expect(t, "suspended", p.Adjust[i].Suspend, test.want[i].Suspend)
			}
		})
	}
}

func TestAWaveOfAQueueWithoutTasksIsDeletedWithItsPods(t *testing.T) {
	for name, test := range map[string]struct {
		state ledger.State
		want  int
	}{
		"it has another task": {ledger.Active, 1},
		"it has none":         {ledger.Failed, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := planning(2, 1, ledger.Ledger{{State: ledger.Failed}, {State: test.state, Wave: activeIn(0).Wave}})
			p.Waves = []Wave{{Tasks: indexset.Of(0, 1), Queue: "a queue", Pods: []Pod{{Task: 0}}}}
			p.dropPods()
			expect(t, "pods to delete", len(p.DeletePods), test.want)
		})
	}
}
