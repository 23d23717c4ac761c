package integration

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

var _ = Describe("spec.parallelism", func() {
	It("holds over all waves: never more than 3 unfinished pods, although tasks fail", func() {
		s := newStage(tasks{0: {exits(1, "")}, 1: {exits(1, ""), outOfMemory}, 2: {preempted}, 5: {exits(1, "")}, 8: {exits(1, "")}}.script())
		s.create(`{completions: 9, parallelism: 3, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		run := s.finishes(v1alpha1.PhaseSucceeded)

		Expect(counts(run)).To(Equal([3]int32{9, 0, 6}))
		Expect(s.kubelet.most()).To(Equal(3))
		for _, version := range s.history.of(runName) {
			Expect(version.Status.Active).To(BeNumerically("<=", 3))
		}
	})

	It("can be raised and lowered: what is stopped runs again later, and is no failure", func() {
		s := newStage(always(runs))
		s.create(`{completions: 6, parallelism: 2, backoffLimit: 0}`)
		s.runsPods(2)
		s.patch(`parallelism: 5`)
		s.runsPods(5)
		s.patch(`parallelism: 1`)
		s.runsPods(1)

		s.kubelet.turn(always(succeeds))
		run := s.finishes(v1alpha1.PhaseSucceeded)
		Expect(counts(run)).To(Equal([3]int32{6, 0, 0}))
		Expect(s.kubelet.most()).To(Equal(5))
	})

	It("that is lowered below what retries have active stops some of them, uncounted", func() {
		s := newStage(func(_, attempt int) fate {
			if attempt == 1 {
				return exits(1, "")
			}
			return runs
		})
		s.create(`{completions: 3, backoffLimit: 1, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		s.eventually(func(g Gomega, run *v1alpha1.BatchRun) {
			g.Expect(run.Status.Retries).To(Equal(int32(3)))
			g.Expect(run.Status.Active).To(Equal(int32(3)))
		})
		s.runsPods(3)
		s.patch(`parallelism: 1`)
		s.runsPods(1)

		s.kubelet.turn(first(exits(1, "")))
		run := s.finishes(v1alpha1.PhaseSucceeded)
		Expect(counts(run)).To(Equal([3]int32{3, 0, 3}))
	})
})
