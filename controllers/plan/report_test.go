package plan

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/controllers/ledger"
	"github.com/batchrun/batchrun/controllers/outcome"
)

func TestConditions(t *testing.T) {
	for _, test := range []struct {
		state      string
		run        func() *world
		conditions string
		kstatus    string
		phase      v1alpha1.Phase
		reason     string
	}{
		{"running", func() *world { return started(tasks(2)) },
			"Ready=False Reconciling=True", "InProgress", v1alpha1.PhaseRunning, v1alpha1.RunProgressing},
		{"waiting for a retry", func() *world { w := started(); w.fail(exitCode(1, w.now), 0); return w },
			"Ready=False Reconciling=True", "InProgress", v1alpha1.PhaseRunning, v1alpha1.RunWaitingForRetry},
		{"succeeded", func() *world { w := started(); w.succeed(0); return w },
			"Complete=True Ready=True", "Current", v1alpha1.PhaseSucceeded, v1alpha1.RunCompleted},
		{"failed", func() *world { w := started(failures(0)); w.fail(exitCode(1, w.now), 0); return w },
			"Failed=True Ready=False Stalled=True", "Failed", v1alpha1.PhaseFailed, v1alpha1.RunTasksFailed},
		{"stopped by a rule", func() *world {
			w := started(tasks(2), rules(onReason(v1alpha1.ActionFailRun, v1alpha1.ReasonError)))
			w.fail(exitCode(1, w.now), 0)
			return w
		}, "Failed=True FailureTarget=True Ready=False Stalled=True", "Failed", v1alpha1.PhaseFailed, v1alpha1.RunFailRunRule},
		{"suspended", func() *world { return started(suspended(true)) },
			"Ready=False Suspended=True", "InProgress", v1alpha1.PhaseSuspended, v1alpha1.RunSuspended},
		{"resumed", func() *world { w := started(suspended(true)); w.edit(suspended(false)); w.settle(); return w },
			"Ready=False Reconciling=True Suspended=False", "InProgress", v1alpha1.PhaseRunning, v1alpha1.RunProgressing},
		{"pods that cannot be created", func() *world {
			w := newWorld()
			w.reconcile()
			w.jobs[0].trouble = Trouble{Reason: v1alpha1.RunPodsNotCreated, Message: "exceeded quota"}
			w.settle()
			return w
		}, "Ready=False Reconciling=True", "InProgress", v1alpha1.PhaseRunning, v1alpha1.RunPodsNotCreated},
		{"a name that is taken", func() *world {
			w := newWorld()
			w.foreign[0] = true
			w.settle()
			return w
		}, "Ready=False Stalled=True", "Failed", v1alpha1.PhasePending, v1alpha1.RunNameTaken},
	} {
		t.Run(test.state, func(t *testing.T) {
			w := test.run()
			expect(t, "conditions", w.conditions(), test.conditions)
			expect(t, "kstatus", w.kstatus(), test.kstatus)
			expect(t, "phase", w.status().Phase, test.phase)
			expect(t, "reason", w.reason("Ready"), test.reason)
			for _, c := range w.status().Conditions {
				expect(t, "observedGeneration of "+c.Type, c.ObservedGeneration, w.run.Generation)
				expect(t, c.Type+" has a message", c.Message != "", true)
			}
			expectSettled(t, w)
		})
	}
	t.Run("an edit that changes nothing is noted in observedGeneration", func(t *testing.T) {
		w := started()
		w.succeed(0)
		w.edit(failures(9))
		expect(t, "kstatus", w.kstatus(), "InProgress")
		w.settle()
		expect(t, "kstatus", w.kstatus(), "Current")
	})
	t.Run("several pods that wait are told as one and the others", func(t *testing.T) {
		w := started(tasks(3))
		for task := range 3 {
			w.wait(task, v1alpha1.ReasonUnschedulable, "no node")
		}
		w.after(time.Minute)
		expectText(t, w.message("Ready"), "task 0 (pod r-0-0): no node; so do other pods")
	})
}

func TestEvents(t *testing.T) {
	for _, test := range []struct {
		rule string
		run  func(w *world)
		want string
	}{
		{"a run that succeeds", func(w *world) { w.succeed(0, 1) }, "Started Completed"},
		{"a failed attempt is told, its retry is not", func(w *world) {
			w.fail(exitCode(1, w.now), 0)
			w.after(time.Minute)
			w.succeed(0, 1)
		}, "Started !AttemptFailed Completed"},
		{"attempts that fail together are one Event", func(w *world) { w.fail(exitCode(1, w.now), 0, 1) }, "Started !AttemptFailed"},
		{"suspended and resumed", func(w *world) {
			w.edit(suspended(true))
			w.settle()
			w.edit(suspended(false))
			w.settle()
		}, "Started Suspended Progressing"},
		{"cancelled: that it stops, and that it has stopped", func(w *world) {
			w.edit(cancelled)
			w.settle()
		}, "Started Cancelled Cancelled"},
		{"failed", func(w *world) {
			w.edit(failures(0))
			w.fail(exitCode(1, w.now), 0)
			w.fail(exitCode(1, w.now), 1)
		}, "Started !AttemptFailed !AttemptFailed !TasksFailed"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			w := started(tasks(2))
			test.run(w)
			expect(t, "Events", w.told(), test.want)
		})
	}
	t.Run("the words of one failure and of several", func(t *testing.T) {
		w := started(tasks(4))
		w.fail(outcome.Outcome{Reason: v1alpha1.ReasonEvicted, Message: "the node was low on memory"}, 3)
		w.end(0, exitCode(1, w.now))
		w.end(1, exitCode(2, w.now))
		w.fail(failure(v1alpha1.ReasonOOMKilled), 2)
		expect(t, "one", w.events[1].Note, "task 3, attempt 1: Evicted: the node was low on memory")
		expect(t, "several of a reason", w.events[2].Note, "2 attempts failed, the first: task 0, attempt 1: Error, exit code 1")
		expect(t, "one of another", w.events[3].Note, "task 2, attempt 1: OOMKilled")
	})
	t.Run("an Event is as long as the API server takes at most", func(t *testing.T) {
		w := newWorld()
		w.reconcile()
		w.jobs[0].trouble = Trouble{Reason: v1alpha1.RunPodsNotCreated, Message: strings.Repeat("ü", 5000)}
		w.settle()
		last := w.events[len(w.events)-1].Note
		expect(t, "cut", len(last) <= 1024 && strings.HasSuffix(last, "…"), true)
		expect(t, "condition cut", len(w.message("Ready")) <= 2048, true)
	})
}

func TestTrouble(t *testing.T) {
	t.Run("a taken name stalls the run, which goes on once the name is free", func(t *testing.T) {
		w := newWorld(tasks(2))
		w.foreign[0] = true
		s := w.snapshot(w.fresh())
		s.Trouble = inTheWay
		p := Make(s, w.now)
		expect(t, "next look", p.WakeAt, w.now.Add(10*time.Second))
		w.settle()
		expect(t, "reason", w.reason("Stalled"), v1alpha1.RunNameTaken)
		expectCounts(t, w, 0, 0, 0, 2)
		delete(w.foreign, 0)
		w.settle()
		expect(t, "conditions", w.conditions(), "Ready=False Reconciling=True")
		expectCounts(t, w, 0, 0, 2, 0)
	})
	t.Run("a run that stays blocked writes nothing more and tells nothing more", func(t *testing.T) {
		w := newWorld()
		w.foreign[0] = true
		w.settle()
		writes := w.run.ResourceVersion
		for range 3 {
			w.after(10 * time.Second)
		}
		expect(t, "version", w.run.ResourceVersion, writes)
		expect(t, "Events", w.told(), "!NameTaken")
	})
	t.Run("what was learnt meanwhile is recorded", func(t *testing.T) {
		w := started(tasks(2), backoff(0, 0))
		w.foreign[1] = true
		w.fail(exitCode(1, w.now), 0)
		w.succeed(1)
		expect(t, "reason", w.reason("Stalled"), v1alpha1.RunNameTaken)
		expectCounts(t, w, 1, 0, 0, 1)
	})
}

func TestRecord(t *testing.T) {
	t.Run("the record of an attempt", func(t *testing.T) {
		w := started(tasks(2))
		o := exitCode(3, w.now)
		o.Message, o.Tail = "container \"a\" failed", "line 1\nline 2\n"
		w.fail(o, 1)
		got := w.status().Failures[0]
		expect(t, "index, attempt", [2]int32{got.Index, got.Attempt}, [2]int32{1, 1})
		expect(t, "text", fmt.Sprint(got.Reason, *got.ExitCode, got.Message, got.Pod, got.Node), `Error3container "a" failedr-0-1n1`)
		expect(t, "end", got.FinishedAt.UTC(), w.now)
		expect(t, "tail", got.LogTail, "line 1\nline 2")
		w.after(10 * time.Second)
		w.fail(disruption(v1alpha1.ReasonEvicted), 1)
		got = w.status().Failures[1]
		expect(t, "attempt", got.Attempt, 2)
		expect(t, "disruption", got.Disruption, true)
	})
	t.Run("logs.keep None keeps no tails", func(t *testing.T) {
		none := v1alpha1.KeepNone
		w := started(func(s *spec) { s.Logs = &v1alpha1.LogPolicy{Keep: &none} })
		o := exitCode(3, w.now)
		o.Tail = "secret"
		w.fail(o, 0)
		expect(t, "tail", w.status().Failures[0].LogTail, "")
	})
	t.Run("the status has room for tails of successes with logs.keep All only", func(t *testing.T) {
		for keep, want := range map[v1alpha1.LogKeep]int{v1alpha1.KeepAll: 2 * 2048, v1alpha1.KeepFailed: 0, v1alpha1.KeepNone: 0} {
			w := started(func(s *spec) { s.Logs = &v1alpha1.LogPolicy{Keep: &keep} })
			w.end(0, completed(w.now))
			w.sync()
			p := w.reconcile()
			expect(t, string(keep)+": samples", len(p.Samples), 1)
			s := &planner{spec: &w.run.Spec, Plan: *p}
			expect(t, string(keep)+": room", s.size()-sizeOf(p.Status), maxPodBytes+want)
			expect(t, string(keep)+": successes", len(w.status().Successes), 1)
		}
	})
	t.Run("the last 20 failures and the first 5 successes are kept, all are counted", func(t *testing.T) {
		w := started(tasks(60), failures(0))
		for i := range 30 {
			w.now = w.now.Add(time.Second)
			w.fail(exitCode(1, w.now), i)
			w.succeed(30 + i)
		}
		s := w.status()
		expect(t, "failures", fmt.Sprint(len(s.Failures), s.Failures[0].Index, s.Failures[19].Index), "20 10 29")
		expect(t, "successes", fmt.Sprint(len(s.Successes), s.Successes[0].Index, s.Successes[4].Index), "5 30 34")
		expect(t, "counts", [2]int{w.state(v1alpha1.ReasonError), w.state(v1alpha1.ReasonCompleted)}, [2]int{30, 30})
		expect(t, "indexes", s.SucceededIndexes+" "+s.FailedIndexes, "30-59 0-29")
	})
	t.Run("failures that are seen together are in the order of their ends", func(t *testing.T) {
		w := started(tasks(2))
		w.end(0, exitCode(1, w.now.Add(5*time.Second)))
		w.end(1, exitCode(1, w.now))
		w.after(10 * time.Second)
		expect(t, "last", w.status().Failures[1].Index, 0)
	})
}

// TestStatusSize: hostile texts and 100,000 tasks in the worst order keep within 100 KiB.
func TestProgress(t *testing.T) {
	said := []v1alpha1.TaskProgress{{Index: 1, Percent: 30, Pod: "a"}, {Index: 2, Percent: 40, Pod: "b"}, {Index: 7, Percent: 1, Pod: "c"}}
	look := func(w *world) *Plan {
		s := w.snapshot(w.fresh())
		s.Progress, s.NextLook = said, w.now.Add(time.Minute)
		return Make(s, w.now)
	}
	t.Run("what active attempts say is kept, and looked for again", func(t *testing.T) {
		w := started(tasks(3))
		w.succeed(2)
		p := look(w)
		expect(t, "progress", fmt.Sprint(p.Status.Progress), fmt.Sprint(said[:1]))
		expect(t, "looks again", p.WakeAt, w.now.Add(IdleAfter))
		w.now = w.now.Add(time.Hour)
		expect(t, "looks again", look(w).WakeAt, w.now.Add(time.Minute))
	})
	t.Run("nothing of it is left once the run has finished", func(t *testing.T) {
		w := started(tasks(3))
		w.succeed(0, 1, 2)
		expect(t, "progress", len(look(w).Status.Progress), 0)
	})
	t.Run("the attempt after it says its own", func(t *testing.T) {
		w := started(tasks(3))
		w.fail(exitCode(1, w.now), 1)
		expect(t, "progress", fmt.Sprint(look(w).Status.Progress), fmt.Sprint(said[1:2]))
	})
}

func TestStatusSize(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const n = 100_000
	hostile := strings.Repeat("\x01<\u2028\xff\"\n", 2000)
	for _, test := range []struct {
		rule    string
		message string
		ends    func(task int) *outcome.Outcome
	}{
		{"every second task failed", strings.Repeat("m", 512), func(task int) *outcome.Outcome {
			if task%2 == 0 {
				return nil
			}
			return &outcome.Outcome{Reason: v1alpha1.ReasonError, FinishedAt: epoch}
		}},
		{"all failed, with texts that JSON makes six times as long", strings.Repeat("<", 512), func(int) *outcome.Outcome {
			return &outcome.Outcome{Reason: v1alpha1.ReasonError, FinishedAt: epoch}
		}},
		{"all failed in a random order within the day that ends now", "m", func(int) *outcome.Outcome {
			return &outcome.Outcome{Reason: v1alpha1.ReasonError, FinishedAt: epoch.Add(time.Duration(random.IntN(86400)) * time.Second)}
		}},
		{"all failed in a random order just now", "m", func(int) *outcome.Outcome {
			return &outcome.Outcome{Reason: v1alpha1.ReasonError, FinishedAt: epoch.Add(86400*time.Second - time.Duration(random.IntN(360))*time.Second)}
		}},
		{"all failed one after the other within a day", "m", func(task int) *outcome.Outcome {
			return &outcome.Outcome{Reason: v1alpha1.ReasonError, FinishedAt: epoch.Add(time.Duration(task) * time.Second)}
		}},
	} {
		for kind, tasks := range map[string]func(*spec){"array": tasks(n), "sweep": longSweep(n)} {
			t.Run(test.rule+", "+kind, func(t *testing.T) {
				w := newWorld(tasks, atOnce(n), backoff(360, 86400))
				w.record(w.fresh(), w.snapshot(w.fresh()))
				w.now = epoch.Add(24 * time.Hour)
				wave := Wave{Name: "r-0", UID: "u", Tasks: indexset.Interval(0, n-1), Parallelism: n}
				var succeeded, failed indexset.Builder
				for task := range n {
					pod := Pod{Task: task, Name: strings.Repeat("p", 63), Node: strings.Repeat("n", 63), Ended: true}
					if end := test.ends(task); end != nil {
						failed.Add(task)
						end.Message, end.Tail = test.message, hostile
						pod.Outcome = *end
						wave.Pods = append(wave.Pods, pod)
					} else {
						succeeded.Add(task)
					}
				}
				wave.Succeeded, wave.Failed = succeeded.Set(), failed.Set()
				s := w.snapshot(w.fresh())
				s.Waves, s.MaxParallelism = []Wave{wave}, n
				p := Make(s, w.now)
				for i := range p.Samples {
					success := &p.Status.Successes[len(p.Status.Successes)-1-i]
					pod := Pod{Name: strings.Repeat("p", 253), Node: strings.Repeat("n", 253), Outcome: completed(w.now)}
					pod.Tell(success)
					success.LogTail = strings.Repeat("\"", v1alpha1.DefaultTailBytes)
				}
				text, err := json.Marshal(p.Status)
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%d bytes, ledger %d", len(text), len(p.Status.Waves.Ledger))
				expect(t, "at most 100 KiB", len(text) <= 100<<10, true)
				expect(t, "succeeded", int(p.Status.Succeeded), wave.Succeeded.Len())
				stored, err := ledger.Decode(p.Status.Waves.Ledger)
				if err != nil {
					t.Fatal(err)
				}
				expect(t, "the ledger is exact", stored[n-1].Failures, 1)
			})
		}
	}
}

// longSweep is a sweep of n tasks with as many and as long parameters as there can be.
func longSweep(n int64) func(*spec) {
	return func(s *spec) {
		s.Parameters = &v1alpha1.Parameters{Matrix: []v1alpha1.Parameter{rangeOf("SEED", n)}}
		for i := range 15 {
			s.Parameters.Matrix = append(s.Parameters.Matrix, v1alpha1.Parameter{
				Name: fmt.Sprintf("%s%02d", strings.Repeat("N", 61), i), Values: []string{strings.Repeat("<", 1024)}})
			s.Parameters.Exclude = append(s.Parameters.Exclude, v1alpha1.Combination{"SEED": fmt.Sprint(-i) + strings.Repeat("<", 1000)})
		}
	}
}
