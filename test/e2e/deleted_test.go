package e2e

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

var _ = Describe("A pod that somebody deletes", func() {
	// held keeps the API server from dropping the pod before the operator has seen that it is deleted.
	const held = "e2e.batchrun.io/held"

	It("while it runs ends as Deleted, which does not count", func(ctx SpecContext) {
		r := start(ctx, "interrupted", oneMore, "sleep 3s", "print done")
		r.kubectl("delete", "pod", r.runningPod(ctx), "--wait=false")
		interrupted := r.finishes(ctx, v1alpha1.PhaseSucceeded)
		Expect(states(interrupted)).To(Equal(map[v1alpha1.Reason]int{v1alpha1.ReasonDeleted: 1, v1alpha1.ReasonCompleted: 1}))
	})

	It("as soon as it has failed has failed, even with the exit code of one that was told to end", func(ctx SpecContext) {
		r := start(ctx, "toolate", "backoffLimit: 0", "sleep 3s", "exit 143")
		name := r.runningPod(ctx)
		r.kubectl("patch", "pod", name, "-p", `{"metadata":{"finalizers":["`+held+`"]}}`)
		DeferCleanup(func() {
			r.kubectl("patch", "pod", name, "--type=json", "-p", `[{"op":"remove","path":"/metadata/finalizers"}]`)
		})
		Eventually(ctx, func(g Gomega) {
			pod := &r.pods(ctx)[0]
			g.Expect(pod.Status.Phase).To(Equal(corev1.PodFailed))
			g.Expect(k8s.Delete(ctx, pod)).To(Succeed())
		}).WithPolling(10 * time.Millisecond).Should(Succeed())
		failed := r.finishes(ctx, v1alpha1.PhaseFailed)
		Expect(states(failed)).To(Equal(map[v1alpha1.Reason]int{v1alpha1.ReasonError: 1}))
		Expect(failed.Status.Failures[0].ExitCode).To(HaveValue(BeEquivalentTo(143)))
	})
})
