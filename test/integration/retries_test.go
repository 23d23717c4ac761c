package integration

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

var _ = Describe("A failed attempt", func() {
	It("is recorded with its reason and retried, a disruption uncounted", func() {
		type expected struct {
			fate       Fate
			reason     v1alpha1.Reason
			disruption bool
			exitCode   *int32
			message    string
		}
		cases := []expected{
			{Exits(3, "no such file"), v1alpha1.ReasonError, false, ptr.To(int32(3)), ""},
			{OutOfMemory, v1alpha1.ReasonOOMKilled, false, ptr.To(int32(137)), ""},
			{Overused, v1alpha1.ReasonEvicted, false, ptr.To(int32(137)), "Usage of EmptyDir volume"},
			{Overdue, v1alpha1.ReasonDeadlineExceeded, false, ptr.To(int32(143)), "longer than the specified deadline"},
			{Preempted, v1alpha1.ReasonPreempted, true, ptr.To(int32(143)), "higher priority"},
			{NodeEvicted, v1alpha1.ReasonEvicted, true, ptr.To(int32(143)), "low on resource"},
			{NodeLost, v1alpha1.ReasonNodeLost, true, ptr.To(int32(143)), "NoExecute"},
		}
		s := NewStage(func(task, attempt int) Fate {
			if attempt > 1 {
				return Succeeds
			}
			return cases[task].fate
		})
		s.Create(fmt.Sprintf(`{completions: %d, backoffLimit: 1, retryPolicy: {backoff: {baseSeconds: 0}}}`, len(cases)))
		run := s.Finishes(v1alpha1.PhaseSucceeded)

		Expect(run.Status.Retries).To(BeEquivalentTo(len(cases)))
		Expect(run.Status.Failures).To(HaveLen(len(cases)))
		for _, failure := range run.Status.Failures {
			want := cases[failure.Index]
			Expect(failure.Reason).To(Equal(want.reason), "task %d", failure.Index)
			Expect(failure.Disruption).To(Equal(want.disruption), "task %d", failure.Index)
			Expect(failure.ExitCode).To(Equal(want.exitCode), "task %d", failure.Index)
			Expect(failure.Message).To(ContainSubstring(want.message), "task %d", failure.Index)
			Expect(failure.Attempt).To(Equal(int32(1)))
			Expect(failure.Node).To(Equal(NodeName))
			if failure.Index == 0 {
				Expect(failure.LogTail).To(Equal("no such file"))
			}
		}
		Expect(CountOf(&run.Status, v1alpha1.ReasonEvicted)).To(Equal(int32(2)))
		Expect(CountOf(&run.Status, v1alpha1.ReasonCompleted)).To(BeEquivalentTo(len(cases)))
	})

	It("is one of the last 20 that are kept, the newest last", func() {
		s := NewStage(First(Exits(1, "")))
		s.Create(`{completions: 25, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		run := s.Finishes(v1alpha1.PhaseSucceeded)

		Expect(Counts(run)).To(Equal([3]int32{25, 0, 25}))
		Expect(States(run)).To(ContainSubstring("Error 25"))
		Expect(run.Status.Failures).To(HaveLen(v1alpha1.MaxFailures))
		for i := range run.Status.Failures[1:] {
			before, after := run.Status.Failures[i].FinishedAt, run.Status.Failures[i+1].FinishedAt
			Expect(after.Before(before)).To(BeFalse(), "failure %d", i+1)
		}
	})

	It("is retried backoffLimit times, then the task is failed", func() {
		s := NewStage(Always(Exits(3, "broken")))
		s.Create(`{backoffLimit: 2, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		run := s.Finishes(v1alpha1.PhaseFailed)

		Expect(Counts(run)).To(Equal([3]int32{0, 1, 2}))
		Expect(s.Kubelet.Started()).To(Equal(map[int]int{0: 3}))
		Expect(ReasonOf(run, v1alpha1.ConditionFailed)).To(Equal(v1alpha1.RunTasksFailed))
		Expect(MessageOf(run, v1alpha1.ConditionFailed)).To(And(
			ContainSubstring("1 of 1 task failed"), ContainSubstring("3 attempts"), ContainSubstring("Error, exit code 3")))
		for i, failure := range run.Status.Failures {
			Expect(failure.Attempt).To(BeEquivalentTo(i + 1))
		}
	})

	It("is retried after its backoff, and the run says until when it waits", func() {
		s := NewStage(First(Exits(1, "")))
		s.Create(`{retryPolicy: {backoff: {baseSeconds: 3600, maxSeconds: 3600}}}`)
		Expect(s.Shows(v1alpha1.RunWaitingForRetry)).To(ContainSubstring("the next attempt is due at"))
		Expect(s.Jobs()).To(HaveLen(1))

		s.Forward(time.Hour + time.Second)
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(Counts(run)).To(Equal([3]int32{1, 0, 1}))
	})

	It("fails its task at once where a rule says FailTask, and the others go on", func() {
		s := NewStage(Tasks{1: {Exits(42, "")}, 2: {Exits(1, "")}}.Script())
		s.Create(`{completions: 4, retryPolicy: {backoff: {baseSeconds: 0},
			rules: [{exitCodes: {operator: In, values: [42]}, action: FailTask}]}}`)
		run := s.Finishes(v1alpha1.PhaseFailed)

		Expect(Counts(run)).To(Equal([3]int32{3, 1, 1}))
		Expect(run.Status.FailedIndexes).To(Equal("1"))
		Expect(run.Status.SucceededIndexes).To(Equal("0,2,3"))
		Expect(s.Kubelet.Started()).To(Equal(map[int]int{0: 1, 1: 1, 2: 2, 3: 1}))
	})

	It("fails the run at once where a rule says FailRun", func() {
		s := NewStage(func(task, _ int) Fate {
			if task == 1 {
				return Exits(42, "")
			}
			return Runs
		})
		s.Create(`{completions: 4, retryPolicy: {rules: [{exitCodes: {operator: In, values: [42]}, action: FailRun}]}}`)
		run := s.Finishes(v1alpha1.PhaseFailed)

		Expect(Counts(run)).To(Equal([3]int32{0, 1, 0}))
		Expect(ReasonOf(run, v1alpha1.ConditionFailed)).To(Equal(v1alpha1.RunFailRunRule))
		Expect(MessageOf(run, v1alpha1.ConditionFailed)).To(ContainSubstring("task 1: Error, exit code 42"))
		s.RunsPods(0)
	})

	It("fails the run when it is one more than maxFailedTasks", func() {
		s := NewStage(func(task, _ int) Fate {
			if task < 2 {
				return Exits(1, "")
			}
			return Runs
		})
		s.Create(`{completions: 10, backoffLimit: 0, maxFailedTasks: "10%"}`)
		run := s.Finishes(v1alpha1.PhaseFailed)

		Expect(Counts(run)).To(Equal([3]int32{0, 2, 0}))
		Expect(ReasonOf(run, v1alpha1.ConditionFailed)).To(Equal(v1alpha1.RunMaxFailedTasksExceeded))
		s.RunsPods(0)
	})

	It("that ran out of memory is followed by one with more, up to the rule's max", func() {
		s := NewStage(First(OutOfMemory, OutOfMemory))
		s.Create(`
template: {spec: {containers: [{name: main, resources: {limits: {memory: 100Mi}, requests: {memory: 50Mi, cpu: 50m}}}]}}
retryPolicy:
  backoff: {baseSeconds: 0}
  rules: [{reasons: [OOMKilled], action: Count, memory: {increasePercent: 100, max: 300Mi}}]
`)
		run := s.Finishes(v1alpha1.PhaseSucceeded)

		Expect(States(run)).To(Equal("OOMKilled 2, Completed 1"))
		jobs := s.Jobs()
		Expect(jobs).To(HaveLen(3))
		for wave, memory := range [][2]string{{"100Mi", "50Mi"}, {"200Mi", "100Mi"}, {"300Mi", "200Mi"}} {
			resources := jobs[fmt.Sprintf("%s-%d", RunName, wave)].Spec.Template.Spec.Containers[0].Resources
			Expect(resources.Limits.Memory().String()).To(Equal(memory[0]), "limit in wave %d", wave)
			Expect(resources.Requests.Memory().String()).To(Equal(memory[1]), "request in wave %d", wave)
			Expect(resources.Requests.Cpu().String()).To(Equal("50m"))
		}
	})

	It("does not count against backoffLimit when it was a disruption", func() {
		s := NewStage(First(NodeLost, Preempted, NodeEvicted))
		s.Create(`{backoffLimit: 0}`)
		run := s.Finishes(v1alpha1.PhaseSucceeded)

		Expect(Counts(run)).To(Equal([3]int32{1, 0, 3}))
		Expect(States(run)).To(Equal("NodeLost 1, Preempted 1, Evicted 1, Completed 1"))
	})

	It("fails its task when it is one more disruption than maxDisruptions", func() {
		s := NewStage(Always(Preempted))
		s.Create(`{retryPolicy: {maxDisruptions: 1}}`)
		run := s.Finishes(v1alpha1.PhaseFailed)

		Expect(Counts(run)).To(Equal([3]int32{0, 1, 1}))
		Expect(States(run)).To(Equal("Preempted 2"))
	})
})
