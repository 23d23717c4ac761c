package integration

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

// half lets the even tasks succeed and keeps the odd ones running.
func half(task, _ int) Fate {
	if task%2 == 0 {
		return Succeeds
	}
	return Runs
}

var _ = Describe("A run", func() {
	It("that is suspended stops its pods, and resumed goes on where it was", func() {
		s := NewStage(half)
		s.Create(`{completions: 6, backoffLimit: 0}`)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Succeeded).To(Equal(int32(3))) })
		s.RunsPods(3)

		s.Patch(`suspend: true`)
		s.RunsPods(0)
		run := s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) {
			g.Expect(run.Status.Phase).To(Equal(v1alpha1.PhaseSuspended))
			g.Expect(run.Status.Pending).To(Equal(int32(3)))
		})
		Expect(meta.IsStatusConditionTrue(run.Status.Conditions, v1alpha1.ConditionSuspended)).To(BeTrue())
		Expect(run.Status.StartTime).To(BeNil())
		Expect(Counts(run)).To(Equal([3]int32{3, 0, 0}))

		s.Kubelet.Turn(Always(Succeeds))
		s.Patch(`suspend: false`)
		run = s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(Counts(run)).To(Equal([3]int32{6, 0, 0}))
		Expect(meta.IsStatusConditionFalse(run.Status.Conditions, v1alpha1.ConditionSuspended)).To(BeTrue())
		Expect(s.Kubelet.Started()).To(Equal(map[int]int{0: 1, 1: 2, 2: 1, 3: 2, 4: 1, 5: 2}))
	})

	It("that is created suspended starts nothing until it is resumed", func() {
		s := NewStage(Always(Succeeds))
		s.Create(`{suspend: true}`)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Phase).To(Equal(v1alpha1.PhaseSuspended)) })
		s.Reconcile(3)
		Expect(s.Jobs()).To(BeEmpty())
		s.Patch(`suspend: false`)
		s.Finishes(v1alpha1.PhaseSucceeded)
	})

	It("that is cancelled stops its pods and keeps its record, for good", func() {
		s := NewStage(half)
		s.Create(`{completions: 4}`)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Succeeded).To(Equal(int32(2))) })
		s.Patch(`cancel: true`)
		run := s.Finishes(v1alpha1.PhaseCancelled)

		Expect(Counts(run)).To(Equal([3]int32{2, 0, 0}))
		Expect(run.Status.SucceededIndexes).To(Equal("0,2"))
		Expect(ReasonOf(run, v1alpha1.ConditionFailed)).To(Equal(v1alpha1.RunCancelled))
		s.RunsPods(0)

		s.Patch(`cancel: false`)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) {
			g.Expect(run.Status.ObservedGeneration).To(Equal(run.Generation))
		})
		Expect(s.Get().Status.Phase).To(Equal(v1alpha1.PhaseCancelled))
	})

	It("that is active for longer than activeDeadlineSeconds fails", func() {
		s := NewStage(half)
		s.Create(`{completions: 4, activeDeadlineSeconds: 3600}`)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Succeeded).To(Equal(int32(2))) })
		s.Forward(time.Hour)
		run := s.Finishes(v1alpha1.PhaseFailed)

		Expect(ReasonOf(run, v1alpha1.ConditionFailed)).To(Equal(v1alpha1.RunDeadlineExceeded))
		Expect(Counts(run)).To(Equal([3]int32{2, 0, 0}))
		s.RunsPods(0)
	})

	It("that has finished is opened again by more completions, and only these run", func() {
		s := NewStage(Always(Succeeds))
		s.Create(`{completions: 2}`)
		s.Finishes(v1alpha1.PhaseSucceeded)
		s.Patch(`completions: 4`)
		run := s.Finishes(v1alpha1.PhaseSucceeded)

		Expect(Counts(run)).To(Equal([3]int32{4, 0, 0}))
		Expect(s.Kubelet.Started()).To(Equal(map[int]int{0: 1, 1: 1, 2: 1, 3: 1}))
	})

	It("with fewer completions stops and forgets the tasks above", func() {
		s := NewStage(half)
		s.Create(`{completions: 6}`)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Succeeded).To(Equal(int32(3))) })
		s.Patch(`completions: 3`)
		run := s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Tasks).To(Equal(int32(3))) })
		Expect(run.Status.Succeeded).To(Equal(int32(2)))
		s.RunsPods(1)
		s.Kubelet.Turn(Always(Succeeds))
		run = s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(Counts(run)).To(Equal([3]int32{3, 0, 0}))
	})
})
