package integration

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

var _ = Describe("What a user deletes", func() {
	It("a pod: its task runs again, uncounted", func() {
		s := newStage(first(runs))
		s.create(`{backoffLimit: 0, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		s.runsPods(1)
		Expect(k8sClient.Delete(ctx, s.kubelet.podOf(0))).To(Succeed())
		run := s.finishes(v1alpha1.PhaseSucceeded)

		Expect(counts(run)).To(Equal([3]int32{1, 0, 1}))
		Expect(states(run)).To(Equal("Deleted 1, Completed 1"))
		Expect(run.Status.Failures[0].Disruption).To(BeFalse())
	})

	It("a pod, through the Eviction API: a disruption, its task runs again at once", func() {
		s := newStage(first(runs))
		s.create(`{backoffLimit: 0}`)
		s.runsPods(1)
		Expect(k8sClient.SubResource("eviction").Create(ctx, s.kubelet.podOf(0), &policyv1.Eviction{})).To(Succeed())
		run := s.finishes(v1alpha1.PhaseSucceeded)

		Expect(counts(run)).To(Equal([3]int32{1, 0, 1}))
		Expect(states(run)).To(Equal("Evicted 1, Completed 1"))
		Expect(run.Status.Failures[0].Disruption).To(BeTrue())
	})

	It("a wave's Job: recorded results stay, the other tasks run again, uncounted", func() {
		s := newStage(func(task, attempt int) fate {
			switch {
			case task == 0:
				return exits(42, "")
			case task == 1 || attempt > 1:
				return succeeds
			}
			return runs
		})
		s.create(`{completions: 4, backoffLimit: 0, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		s.eventually(func(g Gomega, run *v1alpha1.BatchRun) {
			g.Expect(counts(run)).To(Equal([3]int32{1, 1, 0}))
			g.Expect(run.Status.Active).To(Equal(int32(2)))
		})
		s.runsPods(2)
		s.deleteJob(runName + "-0")
		run := s.finishes(v1alpha1.PhaseFailed)

		Expect(counts(run)).To(Equal([3]int32{3, 1, 2}))
		Expect(run.Status.FailedIndexes).To(Equal("0"))
		Expect(countOf(&run.Status, v1alpha1.ReasonDeleted)).To(Equal(int32(2)))
		Expect(countOf(&run.Status, v1alpha1.ReasonError)).To(Equal(int32(1)))
		Expect(s.kubelet.started()).To(Equal(map[int]int{0: 1, 1: 1, 2: 2, 3: 2}))
		Expect(s.jobs()).NotTo(HaveKey(runName + "-0"))
	})

	It("a finished run's Jobs: nothing runs again", func() {
		s := newStage(tasks{0: {exits(1, "")}}.script())
		s.create(`{completions: 3, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		before := s.finishes(v1alpha1.PhaseSucceeded)
		for name := range s.jobs() {
			s.deleteJob(name)
		}
		Eventually(s.jobs).Should(BeEmpty())
		s.reconcile(3)
		Expect(s.get().Status).To(Equal(before.Status))
		Expect(s.jobs()).To(BeEmpty())
	})

	It("the run: its Jobs and pods go too", func() {
		s := newStage(always(runs))
		run := s.create(`{completions: 3}`)
		s.runsPods(3)
		Expect(k8sClient.Delete(ctx, run)).To(Succeed())
		Eventually(s.jobs).Should(BeEmpty())
		Eventually(s.kubelet.all).Should(BeEmpty())
	})
})

// deleteJob deletes a Job as kubectl does.
func (s *stage) deleteJob(name string) {
	GinkgoHelper()
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}}
	Expect(k8sClient.Delete(ctx, job, client.PropagationPolicy(metav1.DeletePropagationBackground))).To(Succeed())
}
