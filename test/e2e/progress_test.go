package e2e

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

var _ = Describe("What attempts say of their progress", func() {
	It("is in the status about a minute later", func(ctx SpecContext) {
		r := start(ctx, "progress", `completions: 2`, "print ::batchrun progress=0.37 message=epoch 3", "sleep 10m")
		r.eventually(ctx, func(g Gomega, b *v1alpha1.BatchRun) {
			g.Expect(b.Status.Progress).To(HaveLen(2))
			for i, said := range b.Status.Progress {
				g.Expect(said.Index).To(BeEquivalentTo(i))
				g.Expect(said.Percent).To(BeEquivalentTo(37))
				g.Expect(said.Message).To(Equal("epoch 3"))
			}
		})
		r.patch(`{"cancel":true}`)
		Expect(r.finishes(ctx, v1alpha1.PhaseCancelled).Status.Progress).To(BeEmpty())
	})
})
