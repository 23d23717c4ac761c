package integration

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

var _ = Describe("An operator whose cache is behind", func() {
	It("starts nothing that the user has cancelled meanwhile", func() {
		s := newStage(first(exits(1, "")))
		s.create(`{retryPolicy: {backoff: {baseSeconds: 3600, maxSeconds: 3600}}}`)
		s.shows(v1alpha1.RunWaitingForRetry)
		s.whileBehind(func() {
			s.patch(`cancel: true`)
			s.clock.forward(2 * time.Hour)
			s.reconcile(3)
			Expect(s.jobs()).To(HaveLen(1))
		})
		run := s.finishes(v1alpha1.PhaseCancelled)
		Expect(counts(run)).To(Equal([3]int32{0, 0, 1}))
		Expect(s.kubelet.started()).To(Equal(map[int]int{0: 1}))
	})

	It("reports nothing of a run that the user has changed meanwhile", func() {
		s := newStage(always(runs))
		s.create(`{completions: 2, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		s.eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Active).To(Equal(int32(2))) })
		s.whileBehind(func() {
			s.patch(`suspend: true`)
			before := s.get()
			s.kubelet.turn(first(exits(1, "")))
			Eventually(func(g Gomega) { g.Expect(*s.jobs()[runName+"-0"].Status.FailedIndexes).To(Equal("0,1")) }).Should(Succeed())
			s.clock.forward(time.Minute) // past the interval of status writes
			s.reconcile(3)
			Expect(s.get().ResourceVersion).To(Equal(before.ResourceVersion))
		})
		s.eventually(func(g Gomega, run *v1alpha1.BatchRun) {
			g.Expect(run.Status.Phase).To(Equal(v1alpha1.PhaseSuspended))
			g.Expect(counts(run)).To(Equal([3]int32{0, 0, 2}))
		})
		Expect(s.jobs()).To(HaveLen(1))
		s.patch(`suspend: false`)
		run := s.finishes(v1alpha1.PhaseSucceeded)
		Expect(counts(run)).To(Equal([3]int32{2, 0, 2}))
	})

	It("looks again instead of counting an attempt twice", func() {
		s := newStage(always(runs))
		s.create(`{retryPolicy: {backoff: {baseSeconds: 3600, maxSeconds: 3600}}}`)
		s.eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Active).To(Equal(int32(1))) })
		s.whileBehind(func() {
			s.kubelet.turn(first(exits(1, "")))
			recorded := s.eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Retries).To(Equal(int32(1))) })
			s.clock.forward(2 * time.Hour)
			s.reconcile(3)
			Expect(s.get().ResourceVersion).To(Equal(recorded.ResourceVersion))
			Expect(s.jobs()).To(HaveLen(1))
		})
		run := s.finishes(v1alpha1.PhaseSucceeded)
		Expect(counts(run)).To(Equal([3]int32{1, 0, 1}))
		Expect(s.kubelet.started()).To(Equal(map[int]int{0: 2}))
	})
})

// whileBehind does something of which the operator's cache of runs learns afterwards only.
func (s *stage) whileBehind(do func()) {
	GinkgoHelper()
	s.caughtUp()
	s.operator.wire.held.Lock()
	defer s.operator.wire.held.Unlock()
	do()
}
