package plan

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/controllers/ledger"
)

func TestFirstWave(t *testing.T) {
	waves := func(w *world) string {
		var all []string
		for _, wave := range Make(w.snapshot(w.fresh()), w.now).Start {
			all = append(all, fmt.Sprintf("%d: %s at once of %s", wave.Number, counted(wave.Parallelism, "task"), wave.Tasks))
		}
		return strings.Join(all, "; ")
	}
	t.Run("it carries the tasks that start at once", func(t *testing.T) {
		expect(t, "waves", waves(newWorld(tasks(500), atOnce(20))), "0: 20 tasks at once of 0-19")
	})
	t.Run("in a run of many tasks and few at once it carries more, so that the run has few waves", func(t *testing.T) {
		expect(t, "waves", waves(newWorld(tasks(100_000), atOnce(20))), "0: 20 tasks at once of 0-199")
	})
	t.Run("a wave is no larger than a Job can well be", func(t *testing.T) {
		w := newWorld(tasks(2500))
		w.limits.MaxParallelism = 5000
		expect(t, "waves", waves(w), "0: 1000 tasks at once of 0-999; 1: 1000 tasks at once of 1000-1999; 2: 500 tasks at once of 2000-2499")
	})
	t.Run("where tasks cannot be packed, wave 0 carries every task of an array", func(t *testing.T) {
		w := newWorld(tasks(2500), atOnce(20))
		w.packing = Packing{}
		expect(t, "waves", waves(w), "0: 20 tasks at once of 0-2499")
	})
	t.Run("the operator's ceiling is the default parallelism", func(t *testing.T) {
		w := newWorld(tasks(900))
		w.limits.MaxParallelism = 800
		expect(t, "parallelism", Make(w.snapshot(w.fresh()), w.now).Start[0].Parallelism, w.limits.MaxParallelism)
	})
	t.Run("the operator's ceiling bounds spec.parallelism", func(t *testing.T) {
		w := newWorld(tasks(900), atOnce(900))
		w.limits.MaxParallelism = 800
		expect(t, "parallelism", Make(w.snapshot(w.fresh()), w.now).Start[0].Parallelism, w.limits.MaxParallelism)
	})
	t.Run("a run that is suspended from the start starts nothing", func(t *testing.T) {
		w := started(tasks(3), suspended(true))
		expect(t, "Jobs", len(w.jobs), 0)
		expectCounts(t, w, 0, 0, 0, 3)
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseSuspended)
	})
}

func TestRecordBeforeAct(t *testing.T) {
	t.Run("a task whose failure is not in the stored ledger is not started", func(t *testing.T) {
		w := started(backoff(0, 0))
		w.end(0, exitCode(1, w.now))
		w.sync()
		p := w.reconcile()
		expect(t, "starts before the failure is stored", len(p.Start), 0)
		expect(t, "recorded", w.state(v1alpha1.ReasonError), 1)
		expect(t, "starts after it is", len(w.reconcile().Start), 1)
	})
	t.Run("a failure whose record was lost is recorded again, once", func(t *testing.T) {
		w := started(backoff(0, 0))
		w.end(0, exitCode(1, w.now))
		w.sync()
		for range 3 { // crashes before the status write
			v := w.fresh()
			w.act(v, Make(w.snapshot(v), w.now), 0)
		}
		w.settle()
		expect(t, "recorded", w.state(v1alpha1.ReasonError), 1)
	})
	t.Run("a status that somebody else wrote in between is not overwritten", func(t *testing.T) {
		w := started(backoff(0, 0))
		w.end(0, exitCode(1, w.now))
		w.sync()
		v := w.fresh()
		p := Make(w.snapshot(v), w.now)
		w.settle()
		expect(t, "written", w.store(v, p), false)
		expect(t, "recorded", w.state(v1alpha1.ReasonError), 1)
	})
	t.Run("pods of a wave that is not recorded are never deleted", func(t *testing.T) {
		w := newWorld(tasks(2), starts(1, nil))
		w.reconcile()
		w.sync()
		w.wait(0, v1alpha1.ReasonImagePullFailed, "no such image")
		w.now = w.now.Add(time.Hour)
		expect(t, "deletes", len(w.reconcile().DeletePods), 0)
		expect(t, "deletes once it is recorded", len(w.reconcile().DeletePods), 1)
	})
}

func TestTemplateEdited(t *testing.T) {
	t.Run("an attempt that could not start starts anew at once, uncounted, whatever rules and limits say", func(t *testing.T) {
		w := started(tasks(3), disruptions(0), rules(onReason(v1alpha1.ActionFailRun, v1alpha1.ReasonDeleted)))
		w.wait(0, v1alpha1.ReasonImagePullFailed, "no such image")
		w.wait(1, v1alpha1.ReasonImagePullFailed, "no such image")
		w.jobs[0].outdated = true
		w.settle()
		expect(t, "task 0", w.ledger()[0], ledger.Task{State: ledger.Active, Wave: 2})
		expect(t, "task 2", w.ledger()[2], ledger.Task{State: ledger.Active, Wave: 1})
		expect(t, "recorded", len(w.status().PodStates)+int(w.status().Retries), 0)
		expect(t, "Events", w.told(), "Started TemplateEdited")
		expectText(t, w.events[1].Note, "2 attempts that could not start begin anew, the first: task 0: no such image")
	})
	t.Run("one that starts after all, before its pod is gone, keeps its success", func(t *testing.T) {
		w := started(tasks(1))
		w.wait(0, v1alpha1.ReasonImagePullFailed, "no such image")
		w.jobs[0].outdated = true
		w.reconcile()
		w.end(0, completed(w.now))
		w.settle()
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseSucceeded)
		expect(t, "waves", w.status().Waves.Next, 1)
	})
	t.Run("a suspended wave whose pods are still going away is not resumed with the old template", func(t *testing.T) {
		w := started(tasks(2))
		w.edit(suspended(true))
		w.settle()
		w.edit(suspended(false))
		s := w.snapshot(w.fresh())
		s.Waves[0].Outdated, s.Waves[0].Stopped, s.Waves[0].Terminating = true, false, 2
		expect(t, "adjustments", len(Make(s, w.now).Adjust), 0)
		expect(t, "starts", len(Make(s, w.now).Start), 0)
	})
	t.Run("a wave whose pods cannot be created is given up, and its tasks start with the new template", func(t *testing.T) {
		w := newWorld(tasks(2))
		w.reconcile()
		w.jobs[0].trouble = Trouble{Reason: v1alpha1.RunPodsNotCreated, Message: "the priority is wrong"}
		w.settle()
		expect(t, "running", w.runs(), "")
		w.jobs[0].outdated = true
		w.edit()
		w.settle()
		expect(t, "running", w.runs(), "0 1")
		expect(t, "recorded", len(w.status().PodStates), 0)
		w.succeed(0, 1)
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseSucceeded)
		expectSettled(t, w)
	})
	t.Run("an attempt that runs goes on", func(t *testing.T) {
		w := started(tasks(1))
		w.jobs[0].outdated = true
		w.settle()
		expect(t, "waves", w.status().Waves.Next, 1)
	})
}

func TestAdoption(t *testing.T) {
	t.Run("a wave that was created before a crash is adopted, not created again", func(t *testing.T) {
		w := newWorld(tasks(3))
		w.reconcile()
		expect(t, "status before", len(w.status().Waves.Ledger), 0)
		w.settle()
		expect(t, "Jobs", len(w.jobs), 1)
		expect(t, "next", w.status().Waves.Next, 1)
		expect(t, "open", w.status().Waves.Open, "0")
	})
	t.Run("what ended in a wave before it was adopted is recorded", func(t *testing.T) {
		w := newWorld(tasks(3))
		w.reconcile()
		w.sync()
		w.end(0, completed(w.now))
		w.end(1, exitCode(1, w.now))
		w.settle()
		expectCounts(t, w, 1, 0, 1, 1)
	})
	t.Run("a gap in the numbers is a wave that was deleted before it was seen", func(t *testing.T) {
		w := started(tasks(4), backoff(0, 0))
		w.packing = Packing{}
		for _, task := range []int{1, 2, 3} {
			w.end(task, exitCode(1, w.now))
		}
		w.sync()
		w.reconcile() // records
		w.reconcile() // creates waves 1, 2, 3
		w.deleteJob(2)
		expect(t, "starts before the others are recorded", len(w.reconcile().Start), 0)
		p := w.reconcile()
		expect(t, "starts", len(p.Start), 1)
		expect(t, "the number after the highest", p.Start[0].Number, 4)
		w.settle()
		expectCounts(t, w, 0, 0, 4, 0)
		expect(t, "nothing ended with it", w.state(v1alpha1.ReasonDeleted), 0)
		expect(t, "open", w.status().Waves.Open, "0,1,3,4")
	})
	t.Run("a wave that the cache does not show yet is not started twice", func(t *testing.T) {
		w := started(tasks(2), backoff(0, 0))
		w.end(0, exitCode(1, w.now))
		w.sync()
		w.reconcile()
		old := w.fresh()
		w.reconcile()
		w.act(old, Make(w.snapshot(old), w.now), 100)
		expect(t, "Jobs", len(w.jobs), 2)
	})
}

func TestParallelism(t *testing.T) {
	t.Run("it holds for all waves together", func(t *testing.T) {
		w := started(tasks(6), atOnce(3), backoff(0, 0))
		for i := range 40 {
			expect(t, "more than parallelism", w.active() > 3, false)
			for task := range 6 {
				if _, pod := w.attempt(task); pod == nil {
					continue
				}
				if i < 3 {
					w.end(task, exitCode(1, w.now))
				} else {
					w.end(task, completed(w.now))
				}
				break
			}
			w.settle()
		}
		expect(t, "completions", w.status().Completions, "6/6")
	})
	t.Run("retries come before tasks that never ran", func(t *testing.T) {
		w := started(tasks(3), atOnce(3), backoff(10, 10))
		w.fail(exitCode(1, w.now), 2)
		w.edit(tasks(6))
		w.now = w.now.Add(10 * time.Second)
		p := w.reconcile()
		expect(t, "starts", fmt.Sprint(len(p.Start), p.Start[0].Tasks), fmt.Sprint(1, indexset.Of(2)))
		expect(t, "the others wait", w.settle() != nil && w.active() == 3, true)
	})
	t.Run("lowered, it takes from the lowest wave first: the others carry retries", func(t *testing.T) {
		w := started(tasks(4), atOnce(4), backoff(0, 0))
		w.fail(exitCode(1, w.now), 0)
		w.edit(atOnce(2))
		w.settle()
		expect(t, "active", w.active(), 2)
		expect(t, "of the retry", w.jobs[1].active(), 1)
		expect(t, "nothing is counted", w.state(v1alpha1.ReasonDeleted), 0)
	})
	t.Run("waves that were lowered to nothing get room before the waves below", func(t *testing.T) {
		w := started(tasks(4), atOnce(4), backoff(0, 0))
		w.packing = Packing{}
		w.fail(exitCode(1, w.now), 1, 2)
		w.edit(atOnce(1))
		w.settle()
		expect(t, "active", [3]int{w.jobs[0].active(), w.jobs[1].active(), w.jobs[2].active()}, [3]int{0, 0, 1})
		w.succeed(2)
		expect(t, "active", [3]int{w.jobs[0].active(), w.jobs[1].active(), w.jobs[2].active()}, [3]int{0, 1, 0})
	})
	t.Run("raised, it is used at once", func(t *testing.T) {
		w := started(tasks(10), atOnce(2))
		w.edit(atOnce(7))
		w.settle()
		expect(t, "active", w.active(), 7)
	})
	t.Run("a plan starts a bounded number of waves, and the next one goes on", func(t *testing.T) {
		w := started(tasks(MaxStartsAtOnce+41), backoff(0, 0))
		w.packing = Packing{}
		for task := range MaxStartsAtOnce + 40 {
			w.end(task+1, exitCode(1, w.now))
		}
		w.sync()
		w.reconcile()
		expect(t, "starts", len(w.reconcile().Start), MaxStartsAtOnce)
		w.settle()
		expect(t, "active", w.active(), MaxStartsAtOnce+41)
	})
}

func TestCompletions(t *testing.T) {
	t.Run("raised on a running run, the new tasks run", func(t *testing.T) {
		w := started(tasks(2))
		w.succeed(0)
		w.edit(tasks(4))
		w.settle()
		expectCounts(t, w, 1, 0, 3, 0)
		w.succeed(1, 2, 3)
		expect(t, "completions", w.status().Completions, "4/4")
		expect(t, "podStates", w.state(v1alpha1.ReasonCompleted), 4)
	})
	t.Run("raised on a succeeded run, it opens again and runs the new tasks only", func(t *testing.T) {
		w := started(tasks(2))
		w.succeed(0, 1)
		w.after(time.Hour)
		w.edit(tasks(3))
		w.settle()
		expect(t, "conditions", w.conditions(), "Ready=False Reconciling=True")
		expect(t, "open again", w.status().CompletionTime == nil && w.status().Duration == "", true)
		expect(t, "start time", w.status().StartTime.UTC(), w.now)
		expectCounts(t, w, 2, 0, 1, 0)
		w.succeed(2)
		expect(t, "completions", w.status().Completions, "3/3")
		expectText(t, w.told(), v1alpha1.RunReopened)
	})
	t.Run("raised on a failed run, failed tasks stay failed", func(t *testing.T) {
		w := started(tasks(2), failures(0))
		w.succeed(0)
		w.fail(exitCode(1, w.now), 1)
		w.edit(tasks(3))
		w.settle()
		expectCounts(t, w, 1, 1, 1, 0)
		w.succeed(2)
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseFailed)
		expectSettled(t, w)
	})
	t.Run("raised after a run was stopped halfway, what was stopped goes on", func(t *testing.T) {
		for _, rule := range []string{"before the clean-up", "after the clean-up"} {
			w := started(tasks(4), atOnce(2), ttl(60), rules(onReason(v1alpha1.ActionFailRun, v1alpha1.ReasonError)))
			w.fail(exitCode(1, w.now), 0)
			if rule == "after the clean-up" {
				w.after(time.Hour)
				expect(t, "Jobs", len(w.jobs), 0)
			}
			w.edit(tasks(5))
			w.settle()
			for range 2 {
				for task := range 5 {
					if _, pod := w.attempt(task); pod != nil {
						w.succeed(task)
					}
				}
			}
			expectCounts(t, w, 4, 1, 0, 0)
			expect(t, rule+": deleted", w.state(v1alpha1.ReasonDeleted), 0)
			expectSettled(t, w)
		}
	})
	t.Run("raised on a cancelled run, it stays cancelled", func(t *testing.T) {
		w := started(tasks(2))
		w.edit(cancelled)
		w.settle()
		w.edit(tasks(3))
		w.settle()
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseCancelled)
		expectCounts(t, w, 0, 0, 0, 3)
	})
	t.Run("lowered, the tasks above are stopped and no longer counted", func(t *testing.T) {
		w := started(tasks(4))
		w.succeed(0, 3)
		w.edit(tasks(2))
		w.settle()
		expectCounts(t, w, 1, 0, 1, 0)
		expect(t, "active pods", w.active(), 1)
		w.succeed(1)
		expect(t, "completions", w.status().Completions, "2/2")
		expectSettled(t, w)
	})
	t.Run("lowered below the failed tasks, the run succeeds", func(t *testing.T) {
		w := started(tasks(3), failures(0))
		w.fail(exitCode(1, w.now), 2)
		w.edit(tasks(2))
		w.settle()
		w.succeed(0, 1)
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseSucceeded)
	})
	t.Run("lowered and raised again while a wave carries the tasks, none runs twice", func(t *testing.T) {
		w := newWorld(tasks(4), atOnce(1))
		w.packing = Packing{}
		w.settle()
		w.edit(tasks(2))
		w.settle()
		w.edit(tasks(4))
		w.settle()
		for task := range 4 {
			w.succeed(task)
		}
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseSucceeded)
		expect(t, "ended attempts", w.state(v1alpha1.ReasonCompleted), 4)
	})
}

func TestJobDeletedBySomebodyElse(t *testing.T) {
	t.Run("recorded results stay, the other tasks run again, uncounted", func(t *testing.T) {
		w := started(tasks(4), failures(0))
		w.succeed(0)
		w.fail(exitCode(1, w.now), 1)
		w.deleteJob(0)
		w.settle()
		expectCounts(t, w, 1, 1, 0, 2)
		expect(t, "deleted", w.state(v1alpha1.ReasonDeleted), 2)
		w.after(10 * time.Second)
		expectCounts(t, w, 1, 1, 2, 0)
		w.succeed(2, 3)
		expectCounts(t, w, 3, 1, 0, 0)
	})
	t.Run("while the Job is still going away nothing is recorded and nothing changed", func(t *testing.T) {
		w := started(tasks(2), atOnce(1))
		w.jobs[0].deleting = true
		w.edit(atOnce(2))
		p := w.settle()
		expect(t, "acts", p.Acts(), false)
		expect(t, "deleted", w.state(v1alpha1.ReasonDeleted), 0)
	})
	t.Run("the failure before the one in the deleted Job is not counted again", func(t *testing.T) {
		w := started(tasks(2), backoff(0, 0))
		w.fail(exitCode(1, w.now), 0)
		w.deleteJob(1)
		w.settle()
		expect(t, "Error and Deleted", [2]int{w.state(v1alpha1.ReasonError), w.state(v1alpha1.ReasonDeleted)}, [2]int{1, 1})
		expect(t, "counted failures", w.ledger()[0], ledger.Task{State: ledger.Active, Failures: 1, Disruptions: 1, Wave: 3})
	})
	t.Run("a failure that is new is counted though another Job is gone", func(t *testing.T) {
		w := started(tasks(2), backoff(0, 0))
		w.fail(exitCode(1, w.now), 0)
		w.end(1, exitCode(1, w.now))
		w.sync()
		w.deleteJob(1)
		w.settle()
		expect(t, "Error and Deleted", [2]int{w.state(v1alpha1.ReasonError), w.state(v1alpha1.ReasonDeleted)}, [2]int{2, 1})
	})
	t.Run("while its pods are still going away, their tasks wait, and take their share of parallelism", func(t *testing.T) {
		w := started(tasks(3), atOnce(2))
		w.deleteJob(0)
		s := w.snapshot(w.fresh())
		s.Gone, s.Leaving = nil, []int{0}
		p := Make(s, w.now)
		expect(t, "acts", p.Acts(), false)
		expect(t, "recorded", len(p.Status.PodStates), 0)
		expect(t, "open", p.Status.Waves.Open, "0")
	})
	t.Run("a Job that somebody made end early gives its tasks back, uncounted", func(t *testing.T) {
		w := started(tasks(2), failures(0))
		s := w.snapshot(w.fresh())
		s.Waves[0].Finished, s.Waves[0].Stopped, s.Waves[0].Active = "DeadlineExceeded", true, 0
		p := Make(s, w.now)
		expect(t, "failed, pending", [2]int32{p.Status.Failed, p.Status.Pending}, [2]int32{0, 2})
		expect(t, "open", p.Status.Waves.Open, "")
		expectText(t, p.Status.Failures[0].Message, "DeadlineExceeded")
	})
	t.Run("a pod that is gone before its end was seen was deleted", func(t *testing.T) {
		w := started()
		_, pod := w.attempt(0)
		w.deletePod(pod.UID)
		w.settle()
		expect(t, "deleted", w.state(v1alpha1.ReasonDeleted), 1)
		expect(t, "counted failures", w.ledger()[0].Failures, 0)
	})
	t.Run("an old view of a pod whose failure the Job counted is not its outcome", func(t *testing.T) {
		w := started()
		_, pod := w.attempt(0)
		w.wait(0, v1alpha1.ReasonImagePullFailed, "no such image")
		v := w.fresh()
		w.deletePod(pod.UID)
		v.jobs[0].failed[0] = true
		w.store(v, Make(w.snapshot(v), w.now))
		expect(t, "deleted", w.state(v1alpha1.ReasonDeleted), 1)
	})
}
