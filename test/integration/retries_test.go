package integration

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

var _ = Describe("A failed attempt", func() {
	It("is recorded with its reason and retried, a disruption uncounted", func() {
		type expected struct {
			fate       fate
			reason     v1alpha1.Reason
			disruption bool
			exitCode   *int32
			message    string
		}
		cases := []expected{
			{exits(3, "no such file"), v1alpha1.ReasonError, false, ptr.To(int32(3)), ""},
			{outOfMemory, v1alpha1.ReasonOOMKilled, false, ptr.To(int32(137)), ""},
			{overused, v1alpha1.ReasonEvicted, false, ptr.To(int32(137)), "Usage of EmptyDir volume"},
			{overdue, v1alpha1.ReasonDeadlineExceeded, false, ptr.To(int32(143)), "longer than the specified deadline"},
			{preempted, v1alpha1.ReasonPreempted, true, ptr.To(int32(143)), "higher priority"},
			{nodeEvicted, v1alpha1.ReasonEvicted, true, ptr.To(int32(143)), "low on resource"},
			{nodeLost, v1alpha1.ReasonNodeLost, true, ptr.To(int32(143)), "NoExecute"},
		}
		s := newStage(func(task, attempt int) fate {
			if attempt > 1 {
				return succeeds
			}
			return cases[task].fate
		})
		s.create(fmt.Sprintf(`{completions: %d, backoffLimit: 1, retryPolicy: {backoff: {baseSeconds: 0}}}`, len(cases)))
		run := s.finishes(v1alpha1.PhaseSucceeded)

		Expect(run.Status.Retries).To(BeEquivalentTo(len(cases)))
		Expect(run.Status.Failures).To(HaveLen(len(cases)))
		for _, failure := range run.Status.Failures {
			want := cases[failure.Index]
			Expect(failure.Reason).To(Equal(want.reason), "task %d", failure.Index)
			Expect(failure.Disruption).To(Equal(want.disruption), "task %d", failure.Index)
			Expect(failure.ExitCode).To(Equal(want.exitCode), "task %d", failure.Index)
			Expect(failure.Message).To(ContainSubstring(want.message), "task %d", failure.Index)
			Expect(failure.Attempt).To(Equal(int32(1)))
			Expect(failure.Node).To(Equal(nodeName))
			if failure.Index == 0 {
				Expect(failure.LogTail).To(Equal("no such file"))
			}
		}
		Expect(countOf(&run.Status, v1alpha1.ReasonEvicted)).To(Equal(int32(2)))
		Expect(countOf(&run.Status, v1alpha1.ReasonCompleted)).To(BeEquivalentTo(len(cases)))
	})

	It("is one of the last 20 that are kept, the newest last", func() {
		s := newStage(first(exits(1, "")))
		s.create(`{completions: 25, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		run := s.finishes(v1alpha1.PhaseSucceeded)

		Expect(counts(run)).To(Equal([3]int32{25, 0, 25}))
		Expect(states(run)).To(ContainSubstring("Error 25"))
		Expect(run.Status.Failures).To(HaveLen(v1alpha1.MaxFailures))
		for i := range run.Status.Failures[1:] {
			before, after := run.Status.Failures[i].FinishedAt, run.Status.Failures[i+1].FinishedAt
			Expect(after.Before(before)).To(BeFalse(), "failure %d", i+1)
		}
	})

	It("is retried backoffLimit times, then the task is failed", func() {
		s := newStage(always(exits(3, "broken")))
		s.create(`{backoffLimit: 2, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		run := s.finishes(v1alpha1.PhaseFailed)

		Expect(counts(run)).To(Equal([3]int32{0, 1, 2}))
		Expect(s.kubelet.started()).To(Equal(map[int]int{0: 3}))
		Expect(reasonOf(run, v1alpha1.ConditionFailed)).To(Equal(v1alpha1.RunTasksFailed))
		Expect(messageOf(run, v1alpha1.ConditionFailed)).To(And(
			ContainSubstring("1 of 1 task failed"), ContainSubstring("3 attempts"), ContainSubstring("Error, exit code 3")))
		for i, failure := range run.Status.Failures {
			Expect(failure.Attempt).To(BeEquivalentTo(i + 1))
		}
	})

	It("is retried after its backoff, and the run says until when it waits", func() {
		s := newStage(first(exits(1, "")))
		s.create(`{retryPolicy: {backoff: {baseSeconds: 3600, maxSeconds: 3600}}}`)
		Expect(s.shows(v1alpha1.RunWaitingForRetry)).To(ContainSubstring("the next attempt is due at"))
		Expect(s.jobs()).To(HaveLen(1))

		s.forward(time.Hour + time.Second)
		run := s.finishes(v1alpha1.PhaseSucceeded)
		Expect(counts(run)).To(Equal([3]int32{1, 0, 1}))
	})

	It("fails its task at once where a rule says FailTask, and the others go on", func() {
		s := newStage(tasks{1: {exits(42, "")}, 2: {exits(1, "")}}.script())
		s.create(`{completions: 4, retryPolicy: {backoff: {baseSeconds: 0},
			rules: [{exitCodes: {operator: In, values: [42]}, action: FailTask}]}}`)
		run := s.finishes(v1alpha1.PhaseFailed)

		Expect(counts(run)).To(Equal([3]int32{3, 1, 1}))
		Expect(run.Status.FailedIndexes).To(Equal("1"))
		Expect(run.Status.SucceededIndexes).To(Equal("0,2,3"))
		Expect(s.kubelet.started()).To(Equal(map[int]int{0: 1, 1: 1, 2: 2, 3: 1}))
	})

	It("fails the run at once where a rule says FailRun", func() {
		s := newStage(func(task, _ int) fate {
			if task == 1 {
				return exits(42, "")
			}
			return runs
		})
		s.create(`{completions: 4, retryPolicy: {rules: [{exitCodes: {operator: In, values: [42]}, action: FailRun}]}}`)
		run := s.finishes(v1alpha1.PhaseFailed)

		Expect(counts(run)).To(Equal([3]int32{0, 1, 0}))
		Expect(reasonOf(run, v1alpha1.ConditionFailed)).To(Equal(v1alpha1.RunFailRunRule))
		Expect(messageOf(run, v1alpha1.ConditionFailed)).To(ContainSubstring("task 1: Error, exit code 42"))
		s.runsPods(0)
	})

	It("fails the run when it is one more than maxFailedTasks", func() {
		s := newStage(func(task, _ int) fate {
			if task < 2 {
				return exits(1, "")
			}
			return runs
		})
		s.create(`{completions: 10, backoffLimit: 0, maxFailedTasks: "10%"}`)
		run := s.finishes(v1alpha1.PhaseFailed)

		Expect(counts(run)).To(Equal([3]int32{0, 2, 0}))
		Expect(reasonOf(run, v1alpha1.ConditionFailed)).To(Equal(v1alpha1.RunMaxFailedTasksExceeded))
		s.runsPods(0)
	})

	It("that ran out of memory is followed by one with more, up to the rule's max", func() {
		s := newStage(first(outOfMemory, outOfMemory))
		s.create(`
template: {spec: {containers: [{name: main, resources: {limits: {memory: 100Mi}, requests: {memory: 50Mi, cpu: 50m}}}]}}
retryPolicy:
  backoff: {baseSeconds: 0}
  rules: [{reasons: [OOMKilled], action: Count, memory: {increasePercent: 100, max: 300Mi}}]
`)
		run := s.finishes(v1alpha1.PhaseSucceeded)

		Expect(states(run)).To(Equal("OOMKilled 2, Completed 1"))
		jobs := s.jobs()
		Expect(jobs).To(HaveLen(3))
		for wave, memory := range [][2]string{{"100Mi", "50Mi"}, {"200Mi", "100Mi"}, {"300Mi", "200Mi"}} {
			resources := jobs[fmt.Sprintf("%s-%d", runName, wave)].Spec.Template.Spec.Containers[0].Resources
			Expect(resources.Limits.Memory().String()).To(Equal(memory[0]), "limit in wave %d", wave)
			Expect(resources.Requests.Memory().String()).To(Equal(memory[1]), "request in wave %d", wave)
			Expect(resources.Requests.Cpu().String()).To(Equal("50m"))
		}
	})

	It("does not count against backoffLimit when it was a disruption", func() {
		s := newStage(first(nodeLost, preempted, nodeEvicted))
		s.create(`{backoffLimit: 0}`)
		run := s.finishes(v1alpha1.PhaseSucceeded)

		Expect(counts(run)).To(Equal([3]int32{1, 0, 3}))
		Expect(states(run)).To(Equal("NodeLost 1, Preempted 1, Evicted 1, Completed 1"))
	})

	It("fails its task when it is one more disruption than maxDisruptions", func() {
		s := newStage(always(preempted))
		s.create(`{retryPolicy: {maxDisruptions: 1}}`)
		run := s.finishes(v1alpha1.PhaseFailed)

		Expect(counts(run)).To(Equal([3]int32{0, 1, 1}))
		Expect(states(run)).To(Equal("Preempted 2"))
	})
})
