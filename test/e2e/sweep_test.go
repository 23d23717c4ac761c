package e2e

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// learning is a sweep of 12 tasks.
const learning = `
			parallelism: 6
			backoffLimit: 0
			parameters:
			  matrix:
			  - {name: LR, values: ["0.1", "0.03", "0.01"]}
			  - {name: SEED, range: {start: 1, end: 4}}`

// learningValues are what its tasks print, in the order of their indexes.
func learningValues() (values []string) {
	for _, lr := range []string{"0.1", "0.03", "0.01"} {
		for seed := range 4 {
			values = append(values, fmt.Sprintf("LR=%s SEED=%d\nlr is %[1]s\n", lr, seed+1))
		}
	}
	return values
}

// printed are the logs of the run's pods, by wave.
func (r run) printed(ctx SpecContext) (logs []string) {
	GinkgoHelper()
	for _, pod := range r.pods(ctx) {
		logs = append(logs, logOf(ctx, &pod))
	}
	return logs
}

var _ = Describe("A sweep", func() {
	It("of learning rates and seeds prints its parameters; a value that is appended runs alone", func(ctx SpecContext) {
		r := start(ctx, "learn", learning, "parameters LR SEED", "print lr is $(LR)")
		finished := r.finishes(ctx, v1alpha1.PhaseSucceeded)
		Expect(finished.Status.Completions).To(Equal("12/12"))
		Expect(condition(finished, v1alpha1.ConditionPacked).Reason).To(Equal(v1alpha1.PackedPolicyInstalled))
		Expect(r.printed(ctx)).To(ConsistOf(learningValues()))
		for _, success := range finished.Status.Successes {
			Expect(success.LogTail + "\n").To(Equal(learningValues()[success.Index]))
			Expect(success.Parameters).To(HaveLen(2))
		}

		By("appending a seed")
		r.edit("end: 4", "end: 5")
		r.eventually(ctx, func(g Gomega, b *v1alpha1.BatchRun) { g.Expect(b.Status.Completions).To(Equal("15/15")) })
		r.finishes(ctx, v1alpha1.PhaseSucceeded)
		Expect(r.printed(ctx)).To(ConsistOf(append(learningValues(),
			"LR=0.1 SEED=5\nlr is 0.1\n", "LR=0.03 SEED=5\nlr is 0.03\n", "LR=0.01 SEED=5\nlr is 0.01\n")))

		By("applying the same file again")
		Expect(r.apply()).To(ContainSubstring("unchanged"))
		r.consistently(ctx, 3*time.Second, func(g Gomega, _ *v1alpha1.BatchRun) { g.Expect(r.pods(ctx)).To(HaveLen(15)) })
	})

	It("runs the tasks that failed again, after the image was mended", func(ctx SpecContext) {
		r := start(ctx, "mended", learning+`
			startup: {imagePullDeadlineSeconds: 5}`, "parameters LR SEED", "exit 3 below 1000 every 5")
		failed := r.finishes(ctx, v1alpha1.PhaseFailed)
		Expect(failed.Status.FailedIndexes).To(Equal("0,5,10"))

		r.edit("exit\", \"3\", \"below\", \"1000\", \"every\", \"5\"", "print\", \"mended\"")
		r.edit("  template:", "  rerun: {token: after-the-fix}\n  template:")
		r.eventually(ctx, func(g Gomega, b *v1alpha1.BatchRun) { g.Expect(b.Status.Phase).To(Equal(v1alpha1.PhaseSucceeded)) })
		mended := r.finishes(ctx, v1alpha1.PhaseSucceeded)
		Expect(mended.Status.Reruns).To(HaveLen(1))
		Expect(mended.Status.Reruns[0].Indexes).To(Equal("0,5,10"))
		Expect(states(mended)).To(Equal(map[v1alpha1.Reason]int{v1alpha1.ReasonCompleted: 12, v1alpha1.ReasonError: 3}))
		Expect(r.pods(ctx)).To(HaveLen(15))
	})

	It("sends a pilot first, and nothing else where it fails", func(ctx SpecContext) {
		r := start(ctx, "pilot", learning+`
			pilot: 1`, "parameters LR SEED", "exit 7")
		failed := r.finishes(ctx, v1alpha1.PhaseFailed)
		Expect(condition(failed, v1alpha1.ConditionFailed).Reason).To(Equal(v1alpha1.RunPilotFailed))
		pods := r.pods(ctx)
		Expect(pods).To(HaveLen(1))
		Expect(pods[0].Status.Phase).To(Equal(corev1.PodFailed))
		Expect(failed.Status.Failures[0].Parameters).To(Equal(map[string]string{"LR": "0.1", "SEED": "1"}))
	})
})
