package integration

import (
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

var _ = Describe("An operator whose cache is behind", func() {
	It("starts nothing that the user has cancelled meanwhile", func() {
		s := NewStage(First(Exits(1, "")))
		s.Create(`{retryPolicy: {backoff: {baseSeconds: 3600, maxSeconds: 3600}}}`)
		s.Shows(v1alpha1.RunWaitingForRetry)
		s.WhileBehind(func() {
			s.Patch(`cancel: true`)
			s.Clock.Forward(2 * time.Hour)
			s.Reconcile(3)
			Expect(s.Jobs()).To(HaveLen(1))
		})
		run := s.Finishes(v1alpha1.PhaseCancelled)
		Expect(Counts(run)).To(Equal([3]int32{0, 0, 1}))
		Expect(s.Kubelet.Started()).To(Equal(map[int]int{0: 1}))
	})

	It("reports nothing of a run that the user has changed meanwhile", func() {
		s := NewStage(Always(Runs))
		s.Create(`{completions: 2, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Active).To(Equal(int32(2))) })
		s.WhileBehind(func() {
			s.Patch(`suspend: true`)
			before := s.Get()
			s.Kubelet.Turn(First(Exits(1, "")))
			Eventually(func(g Gomega) { g.Expect(*s.Jobs()[RunName+"-0"].Status.FailedIndexes).To(Equal("0,1")) }).Should(Succeed())
			s.Clock.Forward(time.Minute) // past the interval of status writes
			s.Reconcile(3)
			Expect(s.Get().ResourceVersion).To(Equal(before.ResourceVersion))
		})
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) {
			g.Expect(run.Status.Phase).To(Equal(v1alpha1.PhaseSuspended))
			g.Expect(Counts(run)).To(Equal([3]int32{0, 0, 2}))
		})
		Expect(s.Jobs()).To(HaveLen(1))
		s.Patch(`suspend: false`)
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(Counts(run)).To(Equal([3]int32{2, 0, 2}))
	})

	It("looks again instead of counting an attempt twice", func() {
		s := NewStage(Always(Runs))
		s.Create(`{retryPolicy: {backoff: {baseSeconds: 3600, maxSeconds: 3600}}}`)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Active).To(Equal(int32(1))) })
		s.WhileBehind(func() {
			s.Kubelet.Turn(First(Exits(1, "")))
			recorded := s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Retries).To(Equal(int32(1))) })
			s.Clock.Forward(2 * time.Hour)
			s.Reconcile(3)
			Expect(s.Get().ResourceVersion).To(Equal(recorded.ResourceVersion))
			Expect(s.Jobs()).To(HaveLen(1))
		})
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(Counts(run)).To(Equal([3]int32{1, 0, 1}))
		Expect(s.Kubelet.Started()).To(Equal(map[int]int{0: 2}))
	})

	It("learns how an attempt ended whose pod is gone before it was seen to end", func() {
		var late atomic.Bool
		s := NewStageWith(Always(Runs), &Wire{View: &View{Late: func(object runtime.Object) time.Duration {
			if _, isPod := object.(*corev1.Pod); isPod && late.Load() {
				return 8 * time.Second
			}
			return 0
		}}})
		s.Create(`{backoffLimit: 0}`)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Active).To(Equal(int32(1))) })
		s.RunsPods(1)
		late.Store(true)
		failsAndIsDeleted(s)
	})

	It("learns how an attempt ended whose pod it has not seen at all", func() {
		s := NewStageWith(Always(Runs), &Wire{View: &View{Late: func(object runtime.Object) time.Duration {
			if _, isPod := object.(*corev1.Pod); isPod {
				return 2 * time.Second
			}
			return 0
		}}})
		s.Create(`{backoffLimit: 0}`)
		s.RunsPods(1)
		failsAndIsDeleted(s)
	})
})

// failsAndIsDeleted has the pod of task 0 fail and be deleted at once, and expects that its reason is known.
func failsAndIsDeleted(s *Stage) {
	GinkgoHelper()
	pod := s.Kubelet.PodOf(0)
	s.Kubelet.Turn(Always(Exits(42, "")))
	Eventually(func(g Gomega) {
		g.Expect(s.Jobs()[RunName+"-0"].Status.FailedIndexes).To(HaveValue(Equal("0")))
	}).Should(Succeed())
	Expect(client.IgnoreNotFound(K8sClient.Delete(Ctx, pod))).To(Succeed())
	Eventually(s.Kubelet.All).Should(BeEmpty())
	run := s.Finishes(v1alpha1.PhaseFailed)
	Expect(States(run)).To(Equal("Error 1"))
}
