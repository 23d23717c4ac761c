package e2e

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// oneChance is a run that no counted failure, and no wait for a backoff, would let succeed in time.
const oneChance = `
	backoffLimit: 0
	retryPolicy: {backoff: {baseSeconds: 3600, maxSeconds: 3600}}`

var _ = Describe("A disruption", func() {
	// The first attempt sleeps for ever, the second does not.
	steps := []string{"sleep 2s", "print still here", "sleep 10m"}

	It("by the Eviction API is retried at once and does not count", func(ctx SpecContext) {
		r := start(ctx, "evicted", oneChance, steps...)
		pod := r.runningPod(ctx)
		r.edit(`"then", "sleep", "10m"`, `"then", "print", "done"`) // for attempts to come
		Expect(clientset.CoreV1().Pods(r.Namespace).EvictV1(ctx, &policyv1.Eviction{
			ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: pod},
		})).To(Succeed())
		expectDisruption(r.finishes(ctx, v1alpha1.PhaseSucceeded), pod)
	})

	It("by draining the node is retried at once and does not count", Serial, func(ctx SpecContext) {
		r := start(ctx, "drained", oneChance, steps...)
		pod := r.runningPod(ctx)
		r.edit(`"then", "sleep", "10m"`, `"then", "print", "done"`)
		node := nodeOf(ctx, r.Namespace, pod)
		DeferCleanup(func() { kubectl("uncordon", node) })
		kubectl("drain", node, "--pod-selector="+v1alpha1.LabelRun+"="+r.Name, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s")

		By("waiting for a node that takes pods")
		drained := r.eventually(ctx, func(g Gomega, b *v1alpha1.BatchRun) {
			g.Expect(b.Status.Retries).To(BeEquivalentTo(1))
			g.Expect(r.activePods(ctx)).To(HaveLen(1), "the next attempt waits for a node")
		})
		Expect(drained.Status.Phase).To(Equal(v1alpha1.PhaseRunning))
		kubectl("uncordon", node)
		expectDisruption(r.finishes(ctx, v1alpha1.PhaseSucceeded), pod)
	})
})

func expectDisruption(finished *v1alpha1.BatchRun, pod string) {
	GinkgoHelper()
	Expect(states(finished)).To(Equal(map[v1alpha1.Reason]int{v1alpha1.ReasonEvicted: 1, v1alpha1.ReasonCompleted: 1}))
	Expect(finished.Status.Retries).To(BeEquivalentTo(1))
	Expect(finished.Status.Failures).To(HaveLen(1))
	failure := finished.Status.Failures[0]
	Expect(failure.Disruption).To(BeTrue())
	Expect(failure.Reason).To(Equal(v1alpha1.ReasonEvicted))
	Expect(failure.Pod).To(Equal(pod))
	Expect(failure.Message).To(ContainSubstring("Eviction API"))
}

func nodeOf(ctx SpecContext, namespace, pod string) string {
	GinkgoHelper()
	object, err := clientset.CoreV1().Pods(namespace).Get(ctx, pod, metav1.GetOptions{})
	Expect(err).NotTo(HaveOccurred())
	return object.Spec.NodeName
}
