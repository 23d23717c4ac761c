package integration

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

var _ = Describe("What active attempts say of their progress", func() {
	// A look is due once the run has been active for a minute.
	active := func(spec string) (*Stage, *Logs) {
		s := NewStage(Always(Runs))
		s.Create(spec)
		s.RunsPods(8)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Active).To(Equal(int32(8))) })
		return s, s.Logs.(*Logs)
	}
	shows := func(s *Stage, percent int, message string) {
		GinkgoHelper()
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) {
			g.Expect(run.Status.Progress).To(HaveLen(v1alpha1.MaxProgress))
			for i, said := range run.Status.Progress {
				g.Expect(fmt.Sprint(said.Index, said.Percent, said.Message)).To(Equal(fmt.Sprint(i, percent, message)))
				g.Expect(said.Pod).To(Equal(s.Kubelet.PodOf(i).Name))
			}
		})
	}

	It("is in the status, looked for once a minute, until they end", func() {
		s, logs := active(`completions: 8`)
		logs.Say("::batchrun progress=0.37 message=epoch 3\n")
		s.Reconcile(3)
		Expect(logs.Reads()).To(BeZero(), "before a minute is over")
		s.Forward(time.Minute)
		shows(s, 37, "epoch 3")

		logs.Say("::batchrun progress=50%\n")
		s.CaughtUp()
		s.Reconcile(3)
		Expect(logs.Reads()).To(Equal(v1alpha1.MaxProgress), "before the next minute is over")
		s.Forward(time.Minute)
		shows(s, 50, "")

		s.Kubelet.Turn(Always(Succeeds))
		Expect(s.Finishes(v1alpha1.PhaseSucceeded).Status.Progress).To(BeEmpty())
	})

	It("is looked for less and less often where they say nothing", func() {
		s, logs := active(`completions: 8`)
		for look, delay := range []time.Duration{1, 2, 4, 8, 16, 16} {
			s.Clock.Forward(delay*time.Minute - 20*time.Second)
			s.Reconcile(1)
			Expect(logs.Reads()).To(Equal(look*v1alpha1.MaxProgress), "before %d minutes", delay)
			s.Clock.Forward(20 * time.Second)
			s.Reconcile(1)
			Expect(logs.Reads()).To(Equal((look+1)*v1alpha1.MaxProgress), "after %d minutes", delay)
		}
		logs.Say("::batchrun progress=0.9\n")
		s.Forward(16 * time.Minute)
		shows(s, 90, "")
	})

	It("is not looked for where no log is to be kept", func() {
		s, logs := active("completions: 8\nlogs: {keep: None}")
		logs.Say("::batchrun progress=0.37\n")
		s.Clock.Forward(time.Hour)
		s.Reconcile(2)
		Expect(logs.Reads()).To(BeZero())
		Expect(s.Get().Status.Progress).To(BeEmpty())
	})
})
