package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/controllers/ledger"
	"github.com/batchrun/batchrun/controllers/outcome"
)

// sweep is a matrix, written as "LR=a,b SEED=1,2".
func sweep(text string) func(*spec) {
	return func(s *spec) {
		s.Completions, s.Parameters = nil, &v1alpha1.Parameters{}
		for field := range strings.FieldsSeq(text) {
			name, values, _ := strings.Cut(field, "=")
			s.Parameters.Matrix = append(s.Parameters.Matrix, v1alpha1.Parameter{Name: name, Values: strings.Split(values, ",")})
		}
	}
}

func array(n int32) func(*spec) {
	return func(s *spec) { s.Completions, s.Parameters = &n, nil }
}

func without(combinations ...v1alpha1.Combination) func(*spec) {
	return func(s *spec) { s.Parameters.Exclude = combinations }
}

func rerun(token string, scope v1alpha1.RerunScope) func(*spec) {
	return func(s *spec) { s.Rerun = &v1alpha1.Rerun{Token: token, Scope: &scope} }
}

func rerunOf(indexes string) func(*spec) {
	return func(s *spec) { s.Rerun = &v1alpha1.Rerun{Token: "1", Indexes: indexes} }
}

func pilot(n int32) func(*spec) { return func(s *spec) { s.Pilot = &n } }

// runs are the tasks with an active pod, ascending.
func (w *world) runs() string {
	var all []string
	for task := range 1000 {
		if _, pod := w.attempt(task); pod != nil {
			all = append(all, fmt.Sprint(task))
		}
	}
	return strings.Join(all, " ")
}

func TestSweep(t *testing.T) {
	t.Run("it goes out packed, as one wave whose table has the parameters' names", func(t *testing.T) {
		w := started(sweep("LR=a,b SEED=1,2,3"))
		expect(t, "Jobs", len(w.jobs), 1)
		expect(t, "running", w.runs(), "0 1 2 3 4 5")
		expect(t, "names", fmt.Sprint(w.jobs[0].wave.Parameters.Names), "[LR SEED]")
		expectText(t, w.jobs[0].wave.Table, "+0\nLR\t3\t0\ta\tb\nSEED\t1\t0\t1\t2\t3")
		expect(t, "condition", w.reason(v1alpha1.ConditionPacked), v1alpha1.PackedPolicyInstalled)
	})
	t.Run("where it cannot be packed each task has a Job of its own with the values in it", func(t *testing.T) {
		w := newWorld(sweep("LR=a,b SEED=1,2"))
		w.packing = Packing{Reason: v1alpha1.PackedPolicyMissing, Message: "none"}
		w.settle()
		expect(t, "Jobs", len(w.jobs), 4)
		expect(t, "tables", w.jobs[2].wave.Table, "")
		expect(t, "values", fmt.Sprint(w.jobs[2].wave.Parameters.Values), "[b 1]")
		expect(t, "conditions", w.conditions(), "Packed=False Ready=False Reconciling=True")
		expect(t, "reason", w.reason(v1alpha1.ConditionPacked), v1alpha1.PackedPolicyMissing)
	})
	t.Run("a wave of one task needs no policy", func(t *testing.T) {
		w := started(sweep("LR=a"))
		expect(t, "values", fmt.Sprint(w.jobs[0].wave.Parameters.Values), "[a]")
		expect(t, "table", w.jobs[0].wave.Table, "")
	})
	t.Run("the records of attempts tell the parameters", func(t *testing.T) {
		w := started(sweep("LR=a,b SEED=1,2"))
		w.fail(exitCode(1, w.now), 2)
		expect(t, "parameters", fmt.Sprint(w.status().Failures[0].Parameters), "map[LR:b SEED:1]")
		w.succeed(1)
		expect(t, "parameters", fmt.Sprint(w.status().Successes[0].Parameters), "map[LR:a SEED:2]")
	})
	t.Run("what excludes every combination is told, and nothing starts", func(t *testing.T) {
		w := newWorld(sweep("LR=a"), without(v1alpha1.Combination{"LR": "a"}))
		p := w.reconcile()
		expect(t, "acts", p.Acts(), false)
		expect(t, "conditions", w.conditions(), "Ready=False Stalled=True")
		expect(t, "phase", w.status().Phase, v1alpha1.PhasePending)
	})
	t.Run("an exclude that matches nothing is a warning", func(t *testing.T) {
		w := started(sweep("LR=a,b"), without(v1alpha1.Combination{"LR": "c"}))
		expect(t, "reason", w.reason(v1alpha1.ConditionSpecWarning), v1alpha1.WarningExcludeMatchesNothing)
		expectText(t, w.told(), "!"+v1alpha1.WarningExcludeMatchesNothing)
		expect(t, "running", w.runs(), "0 1")
		w.edit(sweep("LR=a,b"))
		w.settle()
		expect(t, "taken back", w.reason(v1alpha1.ConditionSpecWarning), "")
	})
}

func TestEditsOfASweep(t *testing.T) {
	t.Run("added values run as new tasks with new indexes, and nothing else runs", func(t *testing.T) {
		w := started(sweep("LR=a,b SEED=1,2"))
		w.succeed(0, 1, 2, 3)
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseSucceeded)
		w.edit(sweep("LR=a,c,b SEED=1,2"))
		w.settle()
		expect(t, "running", w.runs(), "4 5")
		expect(t, "first new row", fmt.Sprint(w.snapshot(w.fresh()).Tasks.Row(4).Values), "[c 1]")
		expect(t, "completions", w.status().Completions, "4/6")
		expectText(t, w.told(), v1alpha1.RunReopened)
		w.succeed(4, 5)
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseSucceeded)
		expectText(t, w.message("Complete"), "6 tasks succeeded")
		expectSettled(t, w)
	})
	t.Run("removed values stop and leave the counts; put back, what had succeeded counts again", func(t *testing.T) {
		w := started(sweep("LR=a,b,c"))
		w.succeed(1)
		w.edit(sweep("LR=a"))
		w.settle()
		expect(t, "running", w.runs(), "0")
		expect(t, "completions", w.status().Completions, "0/1")
		expect(t, "nothing is counted for it", w.state(v1alpha1.ReasonDeleted), 0)
		w.edit(sweep("LR=a,b,c"))
		w.settle()
		expect(t, "running", w.runs(), "0 2")
		expect(t, "completions", w.status().Completions, "1/3")
	})
	t.Run("what had succeeded and was taken out stays out while the spec does not tell the tasks", func(t *testing.T) {
		w := started(sweep("LR=a,b,c"))
		w.succeed(1)
		w.edit(sweep("LR=a,c"))
		w.settle()
		s := w.snapshot(w.fresh())
		s.Tasks = nil
		expect(t, "completions", Make(s, w.now).Status.Completions, "0/2")
	})
	t.Run("a finished run that cannot follow an edit yet says that it is to go on", func(t *testing.T) {
		w := started(sweep("LR=a"))
		w.succeed(0)
		expect(t, "conditions", w.conditions(), "Complete=True Ready=True")
		w.edit(sweep("LR=a,b"))
		s := w.snapshot(w.fresh())
		s.Tasks, s.Trouble = nil, Trouble{Reason: v1alpha1.RunJobRefused, Message: "the API server failed"}
		w.run.Status = Make(s, w.now).Status
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseSucceeded)
		expect(t, "conditions", w.conditions(), "Complete=True Ready=False Reconciling=True")
		expect(t, "why", w.message("Ready"), "the API server failed")
		w.settle()
		expect(t, "running", w.runs(), "1")
		expect(t, "conditions", w.conditions(), "Ready=False Reconciling=True")
	})
	t.Run("a run that failed for what is taken out now has succeeded", func(t *testing.T) {
		w := started(sweep("LR=a,b"), failures(0))
		w.succeed(0)
		w.fail(exitCode(1, w.now), 1)
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseFailed)
		w.edit(sweep("LR=a"))
		w.settle()
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseSucceeded)
		expect(t, "conditions", w.conditions(), "Complete=True Ready=True")
	})
	t.Run("a failed task that is taken out and put in again is tried again", func(t *testing.T) {
		w := started(sweep("LR=a,b"), failures(0))
		w.fail(exitCode(1, w.now), 1)
		w.edit(sweep("LR=a"))
		w.settle()
		w.edit(sweep("LR=a,b"))
		w.settle()
		expect(t, "running", w.runs(), "0 1")
	})
	t.Run("other orders of the same values change nothing", func(t *testing.T) {
		w := started(sweep("LR=a,b SEED=1,2"))
		w.edit(sweep("SEED=2,1 LR=b,a"))
		w.settle()
		expect(t, "Jobs", len(w.jobs), 1)
		expect(t, "running", w.runs(), "0 1 2 3")
		expect(t, "revisions", len(w.revisions), 1)
	})
	t.Run("an array that becomes a sweep, or the other way round, starts anew when the old pods are gone", func(t *testing.T) {
		w := started(array(3))
		w.succeed(0)
		w.edit(sweep("LR=a,b"))
		w.settle()
		expect(t, "completions", w.status().Completions, "0/2")
		expect(t, "running", w.runs(), "0 1")
		expect(t, "active in the array's Job", w.jobs[0].active(), 0)
		expect(t, "its results too", len(w.status().Successes)+len(w.status().PodStates), 0)
		w.succeed(0, 1)
		w.edit(array(2))
		w.settle()
		expect(t, "completions", w.status().Completions, "0/2")
		w.succeed(0, 1)
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseSucceeded)
	})
}

func TestRetriesArePacked(t *testing.T) {
	t.Run("scattered retries go out as one wave", func(t *testing.T) {
		w := started(tasks(10), backoff(10, 10))
		w.fail(exitCode(1, w.now), 3, 5, 8)
		w.after(10 * time.Second)
		expect(t, "Jobs", len(w.jobs), 2)
		expect(t, "tasks", w.jobs[1].tasks.String(), "3,5,8")
		expect(t, "table", w.jobs[1].wave.Table, "3,5,8")
	})
	t.Run("they come before tasks that have not started", func(t *testing.T) {
		w := started(tasks(20), atOnce(5), backoff(0, 0))
		w.fail(exitCode(1, w.now), 2)
		w.after(GatherInterval)
		expect(t, "running", w.runs(), "0 1 2 3 4")
	})
	t.Run("tasks whose memory grew go out apart from the others", func(t *testing.T) {
		w := started(tasks(4), backoff(0, 0), rules(v1alpha1.RetryRule{Reasons: []reason{v1alpha1.ReasonOOMKilled},
			Action: v1alpha1.ActionCount, Memory: &v1alpha1.MemoryGrowth{IncreasePercent: 50}}))
		w.end(1, failure(v1alpha1.ReasonOOMKilled))
		w.end(2, exitCode(1, w.now))
		w.end(3, failure(v1alpha1.ReasonOOMKilled))
		w.settle()
		expect(t, "without", fmt.Sprint(w.jobs[1].tasks, w.jobs[1].growth), "2 0")
		expect(t, "with more", fmt.Sprint(w.jobs[2].tasks, w.jobs[2].growth), "1,3 1")
	})
	t.Run("free places are gathered for a while", func(t *testing.T) {
		w := started(tasks(40), atOnce(10))
		w.succeed(0)
		expect(t, "running", w.active(), 9)
		w.after(GatherInterval)
		expect(t, "running", w.active(), 10)
		w.succeed(1, 2, 3)
		expect(t, "a quarter of all is filled at once", w.active(), 10)
	})
	t.Run("a wave that carries more than can start gets the places that come free", func(t *testing.T) {
		w := started(tasks(5000), atOnce(4))
		expect(t, "tasks", w.jobs[0].tasks.Len(), 10)
		for task := range 8 {
			w.succeed(task)
		}
		w.after(GatherInterval)
		expect(t, "running", w.active(), 4)
		expect(t, "Jobs", len(w.jobs), 2)
		expect(t, "at once in the second", w.jobs[1].parallelism, 2)
		w.succeed(8, 9)
		w.after(GatherInterval)
		expect(t, "at once in the second", w.jobs[1].parallelism, 4)
		expect(t, "Jobs", len(w.jobs), 2)
	})
}

func upTo(n int) []int { return slices.Collect(indexset.Interval(0, n-1).All()) }

func TestAWaveHasTasksToStartForAWhile(t *testing.T) {
	second := func(w *world) string {
		return fmt.Sprintf("%d at once of %d", w.jobs[1].parallelism, w.jobs[1].tasks.Len())
	}
	t.Run("at the pace at which attempts ended since the last step", func(t *testing.T) {
		w := started(tasks(4000), atOnce(100))
		w.now = w.now.Add(5 * time.Second)
		w.succeed(upTo(25)...)
		expect(t, "the second wave", second(w), "25 at once of 100")
	})
	t.Run("what ended before the last step does not count", func(t *testing.T) {
		w := started(tasks(4000), atOnce(100))
		w.lastStep = Step{At: w.now, Ended: 5}
		w.now = w.now.Add(5 * time.Second)
		w.succeed(upTo(25)...)
		expect(t, "the second wave", second(w), "25 at once of 80")
	})
	t.Run("places that an edit or a pilot set free are no pace", func(t *testing.T) {
		w := started(tasks(4000), atOnce(100), pilot(1))
		w.now = w.now.Add(2 * time.Second)
		w.succeed(0)
		expect(t, "the second wave", second(w), "100 at once of 100")
	})
	t.Run("without a memory of the last step, or with the clock put back, it has those that start at once", func(t *testing.T) {
		for _, last := range []Step{{}, {At: epoch.Add(time.Hour)}} {
			w := started(tasks(200), atOnce(100))
			w.now = epoch.Add(time.Minute)
			w.lastStep = last
			w.succeed(upTo(60)...)
			expect(t, "the second wave", second(w), "60 at once of 60")
		}
	})
}

func TestPilot(t *testing.T) {
	t.Run("the others start once it succeeded", func(t *testing.T) {
		w := started(sweep("LR=a,b,c,d"), pilot(2), backoff(0, 0))
		expect(t, "running", w.runs(), "0 1")
		w.succeed(1)
		expect(t, "running", w.runs(), "0")
		w.fail(exitCode(1, w.now), 0)
		expect(t, "running", w.runs(), "0")
		w.succeed(0)
		expect(t, "running", w.runs(), "2 3")
	})
	t.Run("a failed pilot fails the run before the others start", func(t *testing.T) {
		w := started(tasks(1000), pilot(1), failures(0))
		w.fail(exitCode(2, w.now), 0)
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseFailed)
		expect(t, "reason", w.reason("Failed"), v1alpha1.RunPilotFailed)
		expectText(t, w.message("Failed"), "spec.pilot", "Error, exit code 2")
		expectCounts(t, w, 0, 1, 0, 999)
		expectSettled(t, w)
	})
	t.Run("more than there are tasks is all of them", func(t *testing.T) {
		w := started(tasks(2), pilot(5))
		expect(t, "running", w.runs(), "0 1")
		w.succeed(0, 1)
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseSucceeded)
	})
	t.Run("tasks that are added once it succeeded start at once", func(t *testing.T) {
		w := started(tasks(1), pilot(1))
		w.succeed(0)
		w.edit(tasks(3))
		w.settle()
		expect(t, "running", w.runs(), "1 2")
	})
}

func TestRerun(t *testing.T) {
	failedRun := func(edits ...func(*spec)) *world {
		w := started(append(edits, tasks(4), failures(0))...)
		w.succeed(0, 2)
		w.fail(exitCode(1, w.now), 1, 3)
		return w
	}
	t.Run("Failed runs the failed tasks again, in their second execution", func(t *testing.T) {
		w := failedRun()
		w.after(time.Hour)
		w.edit(rerun("1", v1alpha1.RerunFailed))
		w.settle()
		expect(t, "running", w.runs(), "1 3")
		expectCounts(t, w, 2, 0, 2, 0)
		expect(t, "Jobs", len(w.jobs), 2)
		expect(t, "record", fmt.Sprint(w.status().Reruns[0].Tasks, " of ", w.status().Reruns[0].Indexes), "2 of 1,3")
		w.fail(exitCode(1, w.now), 1)
		w.succeed(3)
		last := w.status().Failures[2]
		expect(t, "index, execution, attempt", [3]int32{last.Index, last.Execution, last.Attempt}, [3]int32{1, 2, 1})
		expect(t, "earlier", w.status().Failures[0].Execution, 1)
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseFailed)
	})
	t.Run("a token acts once, also after other tokens", func(t *testing.T) {
		w := failedRun(rerun("old", v1alpha1.RerunAll))
		expect(t, "a token that was there from the start runs nothing again", w.status().Reruns[0].Tasks, 0)
		w.edit(rerun("1", v1alpha1.RerunFailed))
		w.settle()
		w.succeed(1, 3)
		for _, token := range []string{"1", "old"} {
			w.edit(rerun(token, v1alpha1.RerunAll))
			w.settle()
			expect(t, "phase", w.status().Phase, v1alpha1.PhaseSucceeded)
		}
		expectSettled(t, w)
	})
	t.Run("All runs every task again, with the samples of the new successes", func(t *testing.T) {
		w := failedRun()
		w.edit(rerun("1", v1alpha1.RerunAll))
		w.settle()
		expect(t, "running", w.runs(), "0 1 2 3")
		expect(t, "successes", len(w.status().Successes), 0)
		w.succeed(0, 1, 2, 3)
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseSucceeded)
		expect(t, "execution", w.status().Successes[0].Execution, 2)
		expect(t, "ended attempts", w.state(v1alpha1.ReasonCompleted), 6)
	})
	t.Run("indexes name the tasks", func(t *testing.T) {
		w := failedRun()
		w.edit(rerunOf("2-3"))
		w.settle()
		expect(t, "running", w.runs(), "2 3")
		expectCounts(t, w, 1, 1, 2, 0)
	})
	t.Run("indexes that the run does not have are told, and nothing is rerun until they are mended", func(t *testing.T) {
		w := failedRun()
		w.edit(rerunOf("3-4"))
		w.settle()
		expect(t, "running", w.runs(), "")
		expect(t, "reason", w.reason(v1alpha1.ConditionSpecWarning), v1alpha1.WarningRerunOutOfRange)
		expectText(t, w.message(v1alpha1.ConditionSpecWarning), "spec.rerun.indexes names 4", "0-3")
		w.edit(rerunOf("3"))
		w.settle()
		expect(t, "running", w.runs(), "3")
		expect(t, "taken back", w.reason(v1alpha1.ConditionSpecWarning), "")
	})
	t.Run("an active attempt is stopped and its task starts anew, uncounted", func(t *testing.T) {
		w := started(tasks(2))
		_, before := w.attempt(1)
		w.edit(rerunOf("1"))
		w.settle()
		_, after := w.attempt(1)
		expect(t, "another pod", after != nil && after.UID != before.UID, true)
		expect(t, "recorded", len(w.status().PodStates), 0)
		expect(t, "task", w.ledger()[1], ledger.Task{State: ledger.Active, Execution: 1, Wave: 2})
	})
	t.Run("what an attempt of the execution before achieves is not the rerun's", func(t *testing.T) {
		w := started(tasks(2))
		w.edit(rerunOf("1"))
		w.reconcile() // records that task 1 starts anew
		w.end(1, completed(w.now))
		w.settle()
		expect(t, "running", w.runs(), "0 1")
		expectCounts(t, w, 0, 0, 2, 0)
	})
	t.Run("tasks that were never started do not need it", func(t *testing.T) {
		w := started(tasks(8), atOnce(2))
		w.edit(rerun("1", v1alpha1.RerunAll))
		w.settle()
		expect(t, "tasks", w.status().Reruns[0].Tasks, 2)
	})
	t.Run("a run that is cancelled waits for that to be taken back", func(t *testing.T) {
		w := started(tasks(2))
		w.edit(cancelled)
		w.settle()
		w.edit(rerun("1", v1alpha1.RerunAll))
		w.settle()
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseCancelled)
		w.edit(func(s *spec) { s.Cancel = ptr.To(false) })
		w.settle()
		expect(t, "running", w.runs(), "0 1")
	})
	t.Run("the record of reruns is capped", func(t *testing.T) {
		w := started(tasks(1))
		w.succeed(0)
		for i := range v1alpha1.MaxReruns + 3 {
			w.edit(rerun(fmt.Sprint(i), v1alpha1.RerunAll))
			w.settle()
			w.succeed(0)
		}
		expect(t, "records", len(w.status().Reruns), v1alpha1.MaxReruns)
		expect(t, "execution", w.ledger()[0].Execution, uint8(v1alpha1.MaxReruns+3))
	})
}

func TestTemplateOfAStoppedRun(t *testing.T) {
	t.Run("a wave that was stopped does not go on with a template that was edited meanwhile", func(t *testing.T) {
		w := started(tasks(3))
		w.succeed(0)
		w.edit(suspended(true))
		w.settle()
		w.edit(suspended(false))
		w.jobs[0].outdated = true
		w.settle()
		expect(t, "running", w.runs(), "1 2")
		expect(t, "active in the old wave", w.jobs[0].active(), 0)
		expect(t, "recorded", len(w.status().PodStates), 1)
		w.succeed(1, 2)
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseSucceeded)
		expectSettled(t, w)
	})
}

func TestPolicyThatDoesNotWork(t *testing.T) {
	t.Run("pods without their parameters never run: the wave is deleted and each task gets a Job, uncounted", func(t *testing.T) {
		w := newWorld(sweep("LR=a,b,c"))
		w.noPolicy = true
		w.settle()
		expect(t, "the packed wave is gone", w.jobs[0] == nil, true)
		expect(t, "Jobs", len(w.jobs), 3)
		expect(t, "recorded", len(w.status().PodStates)+int(w.status().Retries), 0)
		expect(t, "reason", w.reason(v1alpha1.ConditionPacked), v1alpha1.PackedPolicyIneffective)
		expectText(t, w.told(), "!"+v1alpha1.PackedPolicyIneffective)
		w.succeed(0, 1, 2)
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseSucceeded)
	})
	t.Run("what had its parameters goes on", func(t *testing.T) {
		w := started(sweep("LR=a,b,c,d"))
		for _, task := range []int{1, 2} {
			_, pod := w.attempt(task)
			pod.Gated = true
		}
		w.settle()
		expect(t, "running", w.runs(), "0 1 2 3")
		expect(t, "in the packed wave", w.jobs[0].active(), 2)
		expect(t, "recorded", len(w.status().PodStates), 0)
		w.succeed(0, 1, 2, 3)
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseSucceeded)
	})
	t.Run("a wave whose pods cannot be created while the policy is not the right one goes out one by one", func(t *testing.T) {
		w := newWorld(sweep("LR=a,b"))
		w.reconcile()
		w.reconcile()
		w.jobs[0].trouble.Reason = v1alpha1.RunPodsNotCreated
		w.packing = Packing{Reason: v1alpha1.PackedPolicyDiffers, Message: "differs"}
		w.after(IdleAfter)
		expect(t, "Jobs", len(w.jobs), 2)
		expect(t, "recorded", len(w.status().PodStates), 0)
		expect(t, "reason", w.reason(v1alpha1.ConditionPacked), v1alpha1.PackedPolicyDiffers)
	})
	t.Run("a run that is opened again tries it again", func(t *testing.T) {
		w := newWorld(sweep("LR=a,b"))
		w.noPolicy = true
		w.settle()
		w.succeed(0, 1)
		w.noPolicy = false
		w.edit(rerun("1", v1alpha1.RerunAll))
		w.settle()
		expect(t, "reason", w.reason(v1alpha1.ConditionPacked), v1alpha1.PackedPolicyInstalled)
	})
	t.Run("a gated pod is not an attempt that waits for a node", func(t *testing.T) {
		w := started(sweep("LR=a,b"), starts(1, ptr.To[int32](1)))
		_, pod := w.attempt(0)
		pod.Gated, pod.Waiting = true, outcome.Waiting{}
		w.after(time.Hour)
		expect(t, "failed", w.status().Failed, 0)
	})
}

// rangeOf is a parameter of n values.
func rangeOf(name string, n int64) v1alpha1.Parameter {
	return v1alpha1.Parameter{Name: name, Range: &v1alpha1.Range{Start: 1, End: n}}
}
