package integration

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

var _ = Describe("An operator that was killed goes on where it was:", func() {
	It("killed while pods end and their Jobs are deleted: nothing is lost that was recorded", func() {
		s := NewStage(half)
		s.Create(`{completions: 4, backoffLimit: 0, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Succeeded).To(Equal(int32(2))) })
		s.Operator.Kill()
		s.DeleteJob(RunName + "-0")
		s.RunsPods(0)
		s.Kubelet.Turn(Always(Succeeds))
		s.Restart()
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(Counts(run)).To(Equal([3]int32{4, 0, 2}))
		Expect(s.Kubelet.Started()).To(Equal(map[int]int{0: 1, 1: 2, 2: 1, 3: 2}))
	})

	It("away while Jobs finish", func() {
		s := NewStage(Always(Runs))
		s.Create(`{completions: 3}`)
		s.RunsPods(3)
		s.Operator.Kill()
		s.Kubelet.Turn(Always(Succeeds))
		s.RunsPods(0)
		s.Restart()
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(Counts(run)).To(Equal([3]int32{3, 0, 0}))
		Expect(run.Status.Successes).To(HaveLen(3))
	})
})
