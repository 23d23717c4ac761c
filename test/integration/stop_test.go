package integration

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// half lets the even tasks succeed and keeps the odd ones running.
func half(task, _ int) fate {
	if task%2 == 0 {
		return succeeds
	}
	return runs
}

var _ = Describe("A run", func() {
	It("that is suspended stops its pods, and resumed goes on where it was", func() {
		s := newStage(half)
		s.create(`{completions: 6, backoffLimit: 0}`)
		s.eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Succeeded).To(Equal(int32(3))) })
		s.runsPods(3)

		s.patch(`suspend: true`)
		s.runsPods(0)
		run := s.eventually(func(g Gomega, run *v1alpha1.BatchRun) {
			g.Expect(run.Status.Phase).To(Equal(v1alpha1.PhaseSuspended))
			g.Expect(run.Status.Pending).To(Equal(int32(3)))
		})
		Expect(meta.IsStatusConditionTrue(run.Status.Conditions, v1alpha1.ConditionSuspended)).To(BeTrue())
		Expect(run.Status.StartTime).To(BeNil())
		Expect(counts(run)).To(Equal([3]int32{3, 0, 0}))

		s.kubelet.turn(always(succeeds))
		s.patch(`suspend: false`)
		run = s.finishes(v1alpha1.PhaseSucceeded)
		Expect(counts(run)).To(Equal([3]int32{6, 0, 0}))
		Expect(meta.IsStatusConditionFalse(run.Status.Conditions, v1alpha1.ConditionSuspended)).To(BeTrue())
		Expect(s.kubelet.started()).To(Equal(map[int]int{0: 1, 1: 2, 2: 1, 3: 2, 4: 1, 5: 2}))
	})

	It("that is created suspended starts nothing until it is resumed", func() {
		s := newStage(always(succeeds))
		s.create(`{suspend: true}`)
		s.eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Phase).To(Equal(v1alpha1.PhaseSuspended)) })
		s.reconcile(3)
		Expect(s.jobs()).To(BeEmpty())
		s.patch(`suspend: false`)
		s.finishes(v1alpha1.PhaseSucceeded)
	})

	It("that is cancelled stops its pods and keeps its record, for good", func() {
		s := newStage(half)
		s.create(`{completions: 4}`)
		s.eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Succeeded).To(Equal(int32(2))) })
		s.patch(`cancel: true`)
		run := s.finishes(v1alpha1.PhaseCancelled)

		Expect(counts(run)).To(Equal([3]int32{2, 0, 0}))
		Expect(run.Status.SucceededIndexes).To(Equal("0,2"))
		Expect(reasonOf(run, v1alpha1.ConditionFailed)).To(Equal(v1alpha1.RunCancelled))
		s.runsPods(0)

		s.patch(`cancel: false`)
		s.eventually(func(g Gomega, run *v1alpha1.BatchRun) {
			g.Expect(run.Status.ObservedGeneration).To(Equal(run.Generation))
		})
		Expect(s.get().Status.Phase).To(Equal(v1alpha1.PhaseCancelled))
	})

	It("that is active for longer than activeDeadlineSeconds fails", func() {
		s := newStage(half)
		s.create(`{completions: 4, activeDeadlineSeconds: 3600}`)
		s.eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Succeeded).To(Equal(int32(2))) })
		s.forward(time.Hour)
		run := s.finishes(v1alpha1.PhaseFailed)

		Expect(reasonOf(run, v1alpha1.ConditionFailed)).To(Equal(v1alpha1.RunDeadlineExceeded))
		Expect(counts(run)).To(Equal([3]int32{2, 0, 0}))
		s.runsPods(0)
	})

	It("that has finished is opened again by more completions, and only these run", func() {
		s := newStage(always(succeeds))
		s.create(`{completions: 2}`)
		s.finishes(v1alpha1.PhaseSucceeded)
		s.patch(`completions: 4`)
		run := s.finishes(v1alpha1.PhaseSucceeded)

		Expect(counts(run)).To(Equal([3]int32{4, 0, 0}))
		Expect(s.kubelet.started()).To(Equal(map[int]int{0: 1, 1: 1, 2: 1, 3: 1}))
	})

	It("with fewer completions stops and forgets the tasks above", func() {
		s := newStage(half)
		s.create(`{completions: 6}`)
		s.eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Succeeded).To(Equal(int32(3))) })
		s.patch(`completions: 3`)
		run := s.eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Tasks).To(Equal(int32(3))) })
		Expect(run.Status.Succeeded).To(Equal(int32(2)))
		s.runsPods(1)
		s.kubelet.turn(always(succeeds))
		run = s.finishes(v1alpha1.PhaseSucceeded)
		Expect(counts(run)).To(Equal([3]int32{3, 0, 0}))
	})
})
