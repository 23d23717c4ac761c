package e2e

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/test/local"
)

var _ = Describe("A node", Serial, func() {
	// No counted failure lets these runs succeed.
	const spec = `
		completions: 3
		backoffLimit: 0
		retryPolicy: {backoff: {baseSeconds: 1}}`

	BeforeEach(func() {
		if env.Local == "" {
			Skip("it needs a node of hack/local, whose processes may be killed")
		}
	})

	for _, part := range []string{"kubelet", "containerd"} {
		It("whose "+part+" is killed goes on with its attempts", func(ctx SpecContext) {
			r := start(ctx, part, spec, "sleep 15s", "print done")
			r.allRun(ctx, 3)
			local.Kill(root, env.Local, part)
			finished := r.finishes(ctx, v1alpha1.PhaseSucceeded)
			Expect(states(finished)).To(Equal(map[v1alpha1.Reason]int{v1alpha1.ReasonCompleted: 3}))
			for _, success := range finished.Status.Successes {
				Expect(success.LogTail).To(Equal("done"))
			}
			local.Run(root, "up", "--name", env.Local) // until the node is ready again
		})
	}

	It("that loses power, and the operator with it: each attempt is told, and its task runs again", func(ctx SpecContext) {
		r := start(ctx, "power", spec, "sleep 15s", "print done")
		r.allRun(ctx, 3)
		local.Kill(root, env.Local, "node")
		local.Run(root, "up", "--name", env.Local)
		waitUntilAvailable()
		finished := r.finishes(ctx, v1alpha1.PhaseSucceeded)
		Expect(finished.Status.Succeeded).To(BeEquivalentTo(3))
		Expect(finished.Status.Failures).To(HaveLen(3))
		for _, failure := range finished.Status.Failures {
			Expect(failure.Reason).To(BeElementOf(v1alpha1.ReasonUnknown, v1alpha1.ReasonNodeLost))
			Expect(failure.ExitCode).To(BeNil())
		}
	})
})

// allRun waits until so many pods run, and the run knows. One that is still being started when its node fails may start
// late, or never.
func (r run) allRun(ctx SpecContext, n int) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		g.Expect(r.pods(ctx)).To(HaveLen(n))
		for _, pod := range r.pods(ctx) {
			g.Expect(pod.Status.Phase).To(Equal(corev1.PodRunning))
		}
		g.Expect(r.get(ctx).Status.Active).To(BeEquivalentTo(n))
	}).Should(Succeed())
}
