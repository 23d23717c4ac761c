package integration

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

var _ = Describe("spec.parallelism", func() {
	It("holds over all waves: never more than 3 unfinished pods, although tasks fail", func() {
		s := NewStage(Tasks{0: {Exits(1, "")}, 1: {Exits(1, ""), OutOfMemory}, 2: {Preempted}, 5: {Exits(1, "")}, 8: {Exits(1, "")}}.Script())
		s.Create(`{completions: 9, parallelism: 3, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		run := s.Finishes(v1alpha1.PhaseSucceeded)

		Expect(Counts(run)).To(Equal([3]int32{9, 0, 6}))
		Expect(s.Kubelet.Most()).To(Equal(3))
		for _, version := range s.History.Of(RunName) {
			Expect(version.Status.Active).To(BeNumerically("<=", 3))
		}
	})

	It("can be raised and lowered: what is stopped runs again later, and is no failure", func() {
		s := NewStage(Always(Runs))
		s.Create(`{completions: 6, parallelism: 2, backoffLimit: 0}`)
		s.RunsPods(2)
		s.Patch(`parallelism: 5`)
		s.RunsPods(5)
		s.Patch(`parallelism: 1`)
		s.RunsPods(1)

		s.Kubelet.Turn(Always(Succeeds))
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(Counts(run)).To(Equal([3]int32{6, 0, 0}))
		Expect(s.Kubelet.Most()).To(Equal(5))
	})

	It("that is lowered below what retries have active stops some of them, uncounted", func() {
		s := NewStage(func(_, attempt int) Fate {
			if attempt == 1 {
				return Exits(1, "")
			}
			return Runs
		})
		s.Create(`{completions: 3, backoffLimit: 1, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) {
			g.Expect(run.Status.Retries).To(Equal(int32(3)))
			g.Expect(run.Status.Active).To(Equal(int32(3)))
		})
		s.RunsPods(3)
		s.Patch(`parallelism: 1`)
		s.RunsPods(1)

		s.Kubelet.Turn(First(Exits(1, "")))
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(Counts(run)).To(Equal([3]int32{3, 0, 3}))
	})
})
