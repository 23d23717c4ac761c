package plan

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/controllers/outcome"
)

func mostFailed(n int32) func(*spec) {
	return func(s *spec) { s.MaxFailedTasks = ptr.To(intstr.FromInt32(n)) }
}

func anyNumberFailed(s *spec) { s.MaxFailedTasks = nil }

// TestMoments: edits and changes at the worst moment.
func TestMoments(t *testing.T) {
	t.Run("a wave that has no pods yet is not refused because the policy was touched", func(t *testing.T) {
		w := newWorld(sweep("LR=a,b"))
		w.reconcile()
		w.reconcile()
		w.packing = Packing{Reason: v1alpha1.PackedPolicyMissing, Message: "changed just now"}
		w.reconcile()
		w.sync()
		w.end(0, completed(w.now))
		w.settle()
		expect(t, "running", w.runs(), "1")
		expect(t, "completions", w.status().Completions, "1/2")
	})
	t.Run("what was put back and succeeds all the same has succeeded", func(t *testing.T) {
		w := started(sweep("LR=a,b"))
		_, pod := w.attempt(0)
		pod.Gated = true
		w.reconcile() // puts task 0 back
		pod.Gated = false
		w.end(0, completed(w.now))
		w.settle()
		expect(t, "running", w.runs(), "1")
		expect(t, "completions", w.status().Completions, "1/2")
	})
	t.Run("an array made a sweep and an array again starts no task whose old pod is still there", func(t *testing.T) {
		w := newWorld(array(3))
		w.reconcile()
		w.sync()
		w.edit(sweep("LR=a,b"))
		w.reconcile()
		w.edit(array(3))
		p := Make(w.snapshot(w.fresh()), w.now)
		expect(t, "starts", len(p.Start), 0)
		w.settle()
		expect(t, "running", w.runs(), "0 1 2")
	})
	t.Run("an array made a sweep that has no tasks goes on as it was, also when it is mended", func(t *testing.T) {
		w := started(array(3))
		w.succeed(0)
		w.edit(sweep("LR=a"), without(v1alpha1.Combination{"LR": "a"}))
		w.settle()
		expect(t, "running", w.runs(), "1 2")
		expect(t, "completions", w.status().Completions, "1/3")
		w.edit(array(3))
		w.settle()
		w.succeed(1, 2)
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseSucceeded)
	})
	t.Run("a pod that does not end holds back its own task only", func(t *testing.T) {
		w := newWorld(sweep("LR=a,b,c,d,e,f"), atOnce(3))
		w.packing = Packing{}
		w.settle()
		w.edit(rerunOf("0"))
		w.reconcile()
		p := w.reconcile() // stops the old attempt of task 0
		expect(t, "deletes Jobs that may have pods", len(p.DeleteJobs), 0)
		w.end(1, completed(w.now))
		w.end(2, completed(w.now))
		w.settle()
		expect(t, "active", w.active(), 3)
	})
	t.Run("pods that are being stopped take their share of parallelism", func(t *testing.T) {
		wave := Wave{Tasks: indexset.Interval(0, 9), Parallelism: 1, Active: 1, Terminating: 3}
		expect(t, "share", wave.share(), 4)
	})
	t.Run("the places of pods that are not wanted any more are filled once they are gone", func(t *testing.T) {
		w := started(tasks(2000), atOnce(2)) // four tasks a wave
		for task := range 3 {
			w.succeed(task)
		}
		expect(t, "running", w.runs(), "3 4")
		expect(t, "of wave 1 at once", w.jobs[1].parallelism, 1)
		w.edit(rerunOf("3"))
		w.reconcile()
		s := w.snapshot(w.fresh())
		s.Waves[0].Active, s.Waves[0].Terminating = 0, 1
		for _, a := range Make(s, w.now.Add(time.Minute)).Adjust {
			if a.Wave.Number == 1 && a.Parallelism > 1 {
				t.Errorf("%d at once in wave 1, and a pod of wave 0 is still going away", a.Parallelism)
			}
		}
	})
	t.Run("a wave that lost one of the tasks it has still to start goes on with the others", func(t *testing.T) {
		w := newWorld(tasks(10), atOnce(2))
		w.packing = Packing{}
		w.settle()
		w.edit(tasks(9))
		w.settle()
		w.end(0, completed(w.now))
		w.reconcile() // before the Job controller has filled the place
		w.settle()
		expect(t, "running", w.runs(), "1 2")
		for task := 1; task < 9; task++ {
			w.succeed(task)
		}
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseSucceeded)
		expect(t, "Jobs", len(w.jobs), 1)
	})
	t.Run("a rerun that leaves a failed task of the pilot keeps its token, and the success", func(t *testing.T) {
		w := started(tasks(4), pilot(2), failures(0))
		w.succeed(0)
		w.fail(exitCode(1, w.now), 1)
		w.edit(rerunOf("0"))
		w.settle()
		expect(t, "reason", w.reason(v1alpha1.ConditionSpecWarning), v1alpha1.WarningRerunWithoutEffect)
		expectText(t, w.message(v1alpha1.ConditionSpecWarning), "failed tasks of spec.pilot, 1,")
		expectCounts(t, w, 1, 1, 0, 2)
		w.edit(rerunOf("0-1"))
		w.settle()
		expect(t, "running", w.runs(), "0 1")
	})
	t.Run("a rerun of a cancelled run says that cancel holds it", func(t *testing.T) {
		w := started(tasks(2))
		w.edit(cancelled)
		w.settle()
		w.edit(rerun("1", v1alpha1.RerunAll))
		w.settle()
		expectText(t, w.message(v1alpha1.ConditionSpecWarning), "spec.cancel is true")
		expect(t, "records", len(w.status().Reruns), 0)
	})
	t.Run("a run that is complete since its failed tasks were taken out keeps its start", func(t *testing.T) {
		w := started(sweep("LR=a,b"), failures(0))
		w.succeed(0)
		w.fail(exitCode(1, w.now), 1)
		w.edit(sweep("LR=a"))
		w.after(time.Minute)
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseSucceeded)
		expect(t, "duration", w.status().Duration, "1m0s")
	})
	t.Run("the deadline of a run that was made another one starts anew", func(t *testing.T) {
		w := started(tasks(2), deadline100())
		w.now = w.now.Add(90 * time.Second)
		w.edit(sweep("LR=a,b"))
		w.settle()
		w.after(50 * time.Second)
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseRunning)
		w.after(60 * time.Second)
		expect(t, "reason", w.reason(v1alpha1.ConditionFailed), v1alpha1.RunDeadlineExceeded)
	})
	t.Run("a task that waits for a pod that does not end says so", func(t *testing.T) {
		w := started(tasks(1))
		w.edit(rerunOf("0"))
		w.reconcile()
		s := w.snapshot(w.fresh())
		s.Waves[0].Pods[0].Deleting = w.now.Add(-time.Hour)
		s.Waves[0].Suspended, s.Waves[0].Terminating, s.Waves[0].Stopped = true, 1, false
		p := Make(s, w.now)
		expect(t, "starts", len(p.Start), 0)
		expect(t, "reason", conditionOf(p, v1alpha1.ConditionReady).Reason, v1alpha1.RunPodNotEnding)
	})
	t.Run("a run that is being stopped says which pod does not end", func(t *testing.T) {
		w := started(tasks(2))
		w.edit(cancelled)
		w.reconcile()
		s := w.snapshot(w.fresh())
		s.Waves[0].Suspended, s.Waves[0].Stopped, s.Waves[0].Terminating = true, false, 1
		s.Waves[0].Pods = []Pod{{Task: 0, Name: "r-0-0", Node: "n1", Deleting: w.now.Add(-time.Hour)}}
		ready := conditionOf(Make(s, w.now), v1alpha1.ConditionReady)
		expect(t, "reason", ready.Reason, v1alpha1.RunCancelled)
		expectText(t, ready.Message, "stopping the active attempts", "node n1 does not say that it has ended")
	})
	t.Run("a pod that somebody's gate holds is told, and has no deadline", func(t *testing.T) {
		w := started(starts(60, ptr.To[int32](120)))
		_, pod := w.attempt(0)
		pod.Waiting = outcome.Waiting{Reason: v1alpha1.ReasonUnschedulable, Message: "held by the scheduling gates a", Since: w.now, Gated: true}
		w.after(time.Hour)
		expect(t, "reason", w.reason("Ready"), v1alpha1.RunUnschedulable)
		expectText(t, w.message("Ready"), "scheduling gates a")
		expect(t, "active", w.active(), 1)
	})
	t.Run("a variable that hides a parameter is told", func(t *testing.T) {
		env := func(name, value string) func(*spec) {
			return func(s *spec) {
				s.Template.Spec.Containers = []corev1.Container{{Name: "main", Env: []corev1.EnvVar{{Name: name, Value: value}}}}
			}
		}
		w := started(sweep("LR=a,b"), env("LR", "0.5"))
		expect(t, "reason", w.reason(v1alpha1.ConditionSpecWarning), v1alpha1.WarningParameterHidden)
		expectText(t, w.message(v1alpha1.ConditionSpecWarning), `container "main" sets LR itself`)
		w.edit(env("LR", "lr-$(LR)"))
		w.settle()
		expect(t, "one that refers to it", w.reason(v1alpha1.ConditionSpecWarning), "")
	})
	t.Run("a rerun does not go on with the template that failed", func(t *testing.T) {
		w := started(tasks(4), failures(0), mostFailed(0))
		w.fail(exitCode(1, w.now), 0)
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseFailed)
		w.jobs[0].outdated = true
		w.edit(rerun("1", v1alpha1.RerunFailed))
		w.settle()
		expect(t, "active in the old Job", w.jobs[0].active(), 0)
		expect(t, "running", w.runs(), "0 1 2 3")
	})
	t.Run("tasks that are added while the run is being stopped run", func(t *testing.T) {
		for what, edit := range map[string]func(*spec){"more tasks": tasks(6), "a sweep": sweep("LR=a,b")} {
			w := started(tasks(3), failures(0), mostFailed(0))
			w.end(0, exitCode(1, w.now))
			w.sync()
			w.reconcile()
			expect(t, "stopping", w.reason(v1alpha1.ConditionFailureTarget), v1alpha1.RunMaxFailedTasksExceeded)
			w.edit(edit, anyNumberFailed)
			w.settle()
			expect(t, what+": phase", w.status().Phase, v1alpha1.PhaseRunning)
			expect(t, what+": running", w.active() > 0, true)
		}
	})
	t.Run("tasks that are added while cancel is set run once it is taken back", func(t *testing.T) {
		w := started(tasks(2))
		w.succeed(0, 1)
		w.edit(tasks(4), cancelled)
		w.settle()
		w.edit(func(s *spec) { s.Cancel = nil })
		w.settle()
		expect(t, "running", w.runs(), "2 3")
	})
	t.Run("a rerun that could only fail again keeps its token, and says why", func(t *testing.T) {
		w := started(tasks(4), failures(0), mostFailed(1))
		w.fail(exitCode(1, w.now), 0, 1, 2)
		w.edit(rerunOf("2"))
		w.settle()
		expect(t, "reason", w.reason(v1alpha1.ConditionSpecWarning), v1alpha1.WarningRerunWithoutEffect)
		expect(t, "records", len(w.status().Reruns), 0)
		w.edit(anyNumberFailed)
		w.settle()
		expect(t, "running", w.runs(), "2 3")
	})
	t.Run("a rerun lets tasks go on that were stopped or never started", func(t *testing.T) {
		w := started(tasks(6), atOnce(2), deadline100())
		w.succeed(0, 1)
		w.after(200 * time.Second)
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseFailed)
		w.edit(rerun("1", v1alpha1.RerunFailed), func(s *spec) { s.ActiveDeadlineSeconds = nil })
		w.settle()
		expect(t, "running", w.runs(), "2 3")
	})
	t.Run("an edit of the pilot stops nothing that runs", func(t *testing.T) {
		w := started(sweep("LR=a,b,c"), pilot(1), failures(0))
		w.succeed(0)
		w.fail(exitCode(1, w.now), 1)
		w.edit(sweep("LR=b,c"))
		w.settle()
		expect(t, "running", w.runs(), "2")
	})
	t.Run("a value that is taken out and put in again before its pod is gone is not counted as deleted", func(t *testing.T) {
		w := started(sweep("LR=a,b"), disruptions(0))
		w.edit(sweep("LR=a"))
		w.reconcile()
		w.edit(sweep("LR=a,b"))
		w.settle()
		expect(t, "running", w.runs(), "0 1")
		expect(t, "recorded", len(w.status().PodStates), 0)
	})
	t.Run("a policy that did not work is tried again after a while", func(t *testing.T) {
		w := newWorld(sweep("LR=a,b,c,d"), atOnce(2))
		w.noPolicy = true
		w.settle()
		expect(t, "reason", w.reason(v1alpha1.ConditionPacked), v1alpha1.PackedPolicyIneffective)
		w.noPolicy = false
		w.after(distrust)
		w.succeed(0, 1)
		expect(t, "reason", w.reason(v1alpha1.ConditionPacked), v1alpha1.PackedPolicyInstalled)
	})
	t.Run("a task whose wave nobody knows any more runs again", func(t *testing.T) {
		w := started(tasks(2))
		w.deleteJob(0)
		run := w.run.DeepCopy()
		run.Status.Waves.Open = ""
		w.put(run)
		w.settle()
		w.after(time.Minute)
		expect(t, "running", w.runs(), "0 1")
	})
	t.Run("nothing is started under a name that a Job has which cannot be read", func(t *testing.T) {
		w := newWorld(tasks(2))
		s := w.snapshot(w.fresh())
		s.Unreadable = []Wave{{Number: 0}}
		expect(t, "starts", len(Make(s, w.now).Start), 0)
	})
}

func conditionOf(p *Plan, conditionType string) metav1.Condition {
	return *meta.FindStatusCondition(p.Status.Conditions, conditionType)
}
