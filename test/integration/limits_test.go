package integration

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

var _ = Describe("What the admin lets any run have", func() {
	It("a run of too many tasks says so, starts nothing, and runs once it has fewer", func() {
		s := NewStage(Always(Succeeds))
		s.Limits.MaxTasks = 3
		s.Restart()
		s.Create(`completions: 4`)
		Expect(s.Shows(v1alpha1.RunTooManyTasks)).To(ContainSubstring("4 tasks, of which this cluster's admin allows 3"))
		Expect(s.Jobs()).To(BeEmpty())
		s.Patch(`completions: 3`)
		Expect(Counts(s.Finishes(v1alpha1.PhaseSucceeded))).To(Equal([3]int32{3, 0, 0}))
	})

	It("a sweep that gets too many stays as it was", func() {
		s := NewStage(Always(Succeeds))
		s.Limits.MaxTasks = 3
		s.Restart()
		s.Create(`parameters: {matrix: [{name: A, values: [a, b, c]}]}`)
		s.Finishes(v1alpha1.PhaseSucceeded)
		s.Patch(`parameters: {matrix: [{name: A, values: [a, b, c, d]}]}`)
		s.Shows(v1alpha1.RunTooManyTasks)
		Expect(s.Get().Status.Completions).To(Equal("3/3"))
	})

	It("Jobs are kept no longer than the ceiling, and the run says so", func() {
		s := NewStage(Always(Succeeds))
		s.Limits.MaxTTL = time.Hour
		s.Restart()
		s.Create(`ttlSecondsAfterFinished: 7200`)
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(MessageOf(run, v1alpha1.ConditionSpecWarning)).To(ContainSubstring("ttlSecondsAfterFinished is 7200"))
		s.Forward(time.Hour + time.Minute)
		Eventually(s.Jobs).Should(BeEmpty())
	})
})
