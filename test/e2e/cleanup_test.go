package e2e

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

var _ = Describe("A finished run", func() {
	It("loses its Jobs and pods after ttlSecondsAfterFinished and keeps its record, which applying the file again leaves as it is", func(ctx SpecContext) {
		r := start(ctx, "tidy", `
			ttlSecondsAfterFinished: 5
			retryPolicy: {backoff: {baseSeconds: 0}}`,
			"print hello", "exit 3 below 1")
		finished := r.finishes(ctx, v1alpha1.PhaseSucceeded)
		Expect(r.jobs(ctx)).To(HaveLen(2))
		Expect(r.pods(ctx)).To(HaveLen(2))

		cleaned := r.eventually(ctx, func(g Gomega, b *v1alpha1.BatchRun) {
			g.Expect(b.Status.CleanupTime).NotTo(BeNil())
			g.Expect(r.jobs(ctx)).To(BeEmpty())
			g.Expect(r.pods(ctx)).To(BeEmpty())
		})
		Expect(cleaned.Status.CleanupTime.Sub(cleaned.Status.CompletionTime.Time)).To(And(
			BeNumerically(">=", 5*time.Second), BeNumerically("<", 30*time.Second)))
		record := cleaned.Status.DeepCopy()
		record.CleanupTime = nil
		Expect(*record).To(Equal(finished.Status))
		Expect(record.Failures[0].LogTail).To(Equal("hello\nexiting with 3"))
		Expect(record.Successes[0].LogTail).To(Equal("hello"))

		By("applying the same file again")
		Expect(r.apply()).To(ContainSubstring("unchanged"))
		r.consistently(ctx, 5*time.Second, func(g Gomega, b *v1alpha1.BatchRun) {
			g.Expect(b.ResourceVersion).To(Equal(cleaned.ResourceVersion))
			g.Expect(r.jobs(ctx)).To(BeEmpty())
		})
		Expect(kubectlIn(r.file, "diff", "-n", r.Namespace, "-f", "-")).To(BeEmpty())
	})

	It("goes too, after recordTTLSecondsAfterFinished", func(ctx SpecContext) {
		r := start(ctx, "volatile", `
			ttlSecondsAfterFinished: 0
			recordTTLSecondsAfterFinished: 5`, "print hello")
		finished := r.finishes(ctx, v1alpha1.PhaseSucceeded)
		Eventually(ctx, func() bool {
			return apierrors.IsNotFound(k8s.Get(ctx, r.ObjectKey, &v1alpha1.BatchRun{}))
		}).Should(BeTrue())
		Expect(time.Since(finished.Status.CompletionTime.Time)).To(BeNumerically(">=", 5*time.Second))
		Eventually(ctx, func(g Gomega) {
			g.Expect(r.jobs(ctx)).To(BeEmpty())
			g.Expect(r.pods(ctx)).To(BeEmpty())
		}).Should(Succeed())
	})
})
