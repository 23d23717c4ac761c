package integration

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

var _ = Describe("An array", func() {
	It("runs each task once, with its own index, in one Job", func() {
		s := NewStage(Always(Succeeds))
		s.Create(`completions: 60`)
		run := s.Finishes(v1alpha1.PhaseSucceeded)

		Expect(Counts(run)).To(Equal([3]int32{60, 0, 0}))
		Expect(run.Status.Completions).To(Equal("60/60"))
		Expect(run.Status.SucceededIndexes).To(Equal("0-59"))
		Expect(run.Status.FailedIndexes).To(BeEmpty())
		Expect(States(run)).To(Equal("Completed 60"))
		Expect(meta.IsStatusConditionTrue(run.Status.Conditions, v1alpha1.ConditionComplete)).To(BeTrue())
		Expect(meta.IsStatusConditionTrue(run.Status.Conditions, v1alpha1.ConditionReady)).To(BeTrue())
		Expect(s.Jobs()).To(HaveLen(1))
		started := s.Kubelet.Started()
		Expect(started).To(HaveLen(60))
		for task, pods := range started {
			Expect(task).To(BeNumerically("<", 60))
			Expect(pods).To(Equal(1))
		}
		Eventually(s.Events).Should(Equal([]string{"Completed", "Started"}))
	})

	It("keeps the first five successes with the ends of their logs", func() {
		s := NewStage(Always(Succeeds))
		s.Create(`completions: 8`)
		run := s.Finishes(v1alpha1.PhaseSucceeded)

		Expect(run.Status.Successes).To(HaveLen(v1alpha1.MaxSuccesses))
		for _, success := range run.Status.Successes {
			Expect(success.LogTail).To(Equal("the end of main in "+success.Pod), "task %d", success.Index)
			Expect(success.Attempt).To(Equal(int32(1)))
			Expect(success.Node).To(Equal(NodeName))
			Expect(success.FinishedAt).NotTo(BeNil())
		}
	})

	It("says of a log that it could not be read, and goes on", func() {
		s := NewStage(Always(Succeeds))
		s.Logs = nil // the node has no kubelet that could be asked
		s.Restart()
		s.Create(`{}`)
		run := s.Finishes(v1alpha1.PhaseSucceeded)

		Expect(run.Status.Successes).To(HaveLen(1))
		Expect(run.Status.Successes[0].Message).To(Equal("its log could not be read"))
	})
})
