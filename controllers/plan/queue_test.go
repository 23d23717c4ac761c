package plan

import (
	"strings"
	"testing"
	"time"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// queuedWorld is a world whose first wave waits in a queue.
func queuedWorld(edits ...func(*spec)) *world {
	w := newWorld(edits...)
	w.queue = true
	w.settle()
	return w
}

// admit lets all Jobs of the queue run, with at most so many pods each, and settles.
func (w *world) admit(parallelism int) {
	for _, job := range w.jobs {
		job.suspended, job.parallelism = false, min(job.parallelism, parallelism)
	}
	w.settle()
}

func TestARunWaitsForItsQueue(t *testing.T) {
	w := queuedWorld(tasks(4), deadline100())
	expect(t, "phase", w.status().Phase, v1alpha1.PhaseQueued)
	expect(t, "reason", w.reason(v1alpha1.ConditionReconciling), v1alpha1.RunQueued)
	expect(t, "conditions", w.conditions(), "Ready=False Reconciling=True")
	w.after(1000 * time.Second)
	expect(t, "started while it waits", w.status().StartTime == nil, true)
	expect(t, "pods", w.active(), 0)

	w.admit(1000)
	expect(t, "phase", w.status().Phase, v1alpha1.PhaseRunning)
	expect(t, "pods", w.active(), 4)
	w.succeed(0, 1, 2, 3)
	expect(t, "phase", w.status().Phase, v1alpha1.PhaseSucceeded)
}

func TestAQueueTellsWhyARunWaits(t *testing.T) {
	w := queuedWorld(tasks(1))
	s := w.snapshot(w.fresh())
	s.QueueSays = "insufficient quota"
	p := Make(s, w.now)
	for _, c := range p.Status.Conditions {
		if c.Type == v1alpha1.ConditionReady && !strings.HasSuffix(c.Message, "waits for the queue q: insufficient quota") {
			t.Errorf("got %q", c.Message)
		}
	}
}

func TestParallelismThatAQueueLoweredStays(t *testing.T) {
	w := queuedWorld(tasks(6), atOnce(4))
	w.admit(2)
	w.succeed(0)
	expect(t, "parallelism", w.jobs[0].parallelism, 2)
	expect(t, "a wave of what has room waits too", len(w.jobs) == 2 && w.jobs[1].suspended && w.jobs[1].parallelism == 2, true)
}

func TestWhatAQueueGivesBackIsNotTooMuch(t *testing.T) {
	w := queuedWorld(tasks(8), atOnce(4))
	w.admit(2)
	w.admit(2)
	expect(t, "pods", w.active(), 4)
	w.jobs[0].suspended, w.jobs[0].parallelism = true, 4 // evicted
	w.settle()
	sum := 0
	for _, job := range w.jobs {
		sum += min(job.parallelism, job.unfinished())
	}
	expect(t, "pods that the Jobs can have", sum, 4)
	expect(t, "retries", w.status().Retries, 0)
}

func TestAnEvictionByTheQueueCountsNothing(t *testing.T) {
	w := queuedWorld(tasks(3), failures(0))
	w.admit(1000)
	started := w.status().StartTime
	w.succeed(0)
	w.jobs[0].suspended = true
	w.settle()
	expect(t, "phase", w.status().Phase, v1alpha1.PhaseQueued)
	expect(t, "started", w.status().StartTime.Equal(started), true)
	w.admit(1000)
	w.succeed(1, 2)
	expect(t, "phase", w.status().Phase, v1alpha1.PhaseSucceeded)
	expect(t, "retries", w.status().Retries, 0)
	expect(t, "waves", w.status().Waves.Next, 1)
}

// What a queue could resume is deleted, once the record has its tasks as pending.
func TestAStoppedRunLeavesTheQueue(t *testing.T) {
	for name, admitted := range map[string]bool{"it waits": false, "it runs": true} {
		for edit, stop := range map[string]func(*spec){"suspend": suspended(true), "cancel": cancelled} {
			t.Run(name+", "+edit, func(t *testing.T) {
				w := queuedWorld(tasks(3), failures(0))
				if admitted {
					w.admit(1000)
				}
				w.edit(stop)
				p := w.reconcile()
				expect(t, "deleted before it is recorded", len(p.DeleteJobs), 0)
				w.settle()
				expect(t, "Jobs", len(w.jobs), 0)
				expect(t, "pending", w.status().Pending, 3)
				expect(t, "retries", w.status().Retries, 0)
				expect(t, "deleted attempts", w.state(v1alpha1.ReasonDeleted), 0)
				if edit == "cancel" {
					expect(t, "phase", w.status().Phase, v1alpha1.PhaseCancelled)
					return
				}
				expect(t, "phase", w.status().Phase, v1alpha1.PhaseSuspended)
				w.edit(suspended(false))
				w.settle()
				expect(t, "phase", w.status().Phase, v1alpha1.PhaseQueued)
				w.admit(1000)
				w.succeed(0, 1, 2)
				expect(t, "phase", w.status().Phase, v1alpha1.PhaseSucceeded)
			})
		}
	}
}

func TestAWaveThatWaitsFollowsTheSpec(t *testing.T) {
	for name, test := range map[string]struct {
		edit        func(w *world)
		parallelism int
	}{
		"another template or queue": {func(w *world) { w.jobs[0].outdated = true; w.edit() }, 6},
		"less parallelism":          {func(w *world) { w.edit(atOnce(2)) }, 2},
		"fewer tasks":               {func(w *world) { w.edit(tasks(5)) }, 5},
	} {
		t.Run(name, func(t *testing.T) {
			w := queuedWorld(tasks(6), atOnce(6))
			test.edit(w)
			w.settle()
			expect(t, "Jobs", len(w.jobs), 1)
			if job := w.jobs[1]; job == nil || job.parallelism != test.parallelism {
				t.Errorf("got %+v", job)
			}
			expect(t, "retries", w.status().Retries, 0)
		})
	}
}
