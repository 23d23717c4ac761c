package integration

import (
	"net/http"
	"sync/atomic"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

// oneOfEach has task 0 fail and task 1 succeed; others run until they are stopped, and succeed the next time.
func oneOfEach(task, attempt int) Fate {
	switch {
	case task == 0:
		return Exits(42, "")
	case task == 1 || attempt > 1:
		return Succeeds
	}
	return Runs
}

var _ = Describe("What a user deletes", func() {
	It("a pod: its task runs again, uncounted", func() {
		s := NewStage(First(Runs))
		s.Create(`{backoffLimit: 0, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		s.RunsPods(1)
		Expect(K8sClient.Delete(Ctx, s.Kubelet.PodOf(0))).To(Succeed())
		run := s.Finishes(v1alpha1.PhaseSucceeded)

		Expect(Counts(run)).To(Equal([3]int32{1, 0, 1}))
		Expect(States(run)).To(Equal("Deleted 1, Completed 1"))
		Expect(run.Status.Failures[0].Disruption).To(BeFalse())
	})

	It("a pod, through the Eviction API: a disruption, its task runs again at once", func() {
		s := NewStage(First(Runs))
		s.Create(`{backoffLimit: 0}`)
		s.RunsPods(1)
		Expect(K8sClient.SubResource("eviction").Create(Ctx, s.Kubelet.PodOf(0), &policyv1.Eviction{})).To(Succeed())
		run := s.Finishes(v1alpha1.PhaseSucceeded)

		Expect(Counts(run)).To(Equal([3]int32{1, 0, 1}))
		Expect(States(run)).To(Equal("Evicted 1, Completed 1"))
		Expect(run.Status.Failures[0].Disruption).To(BeTrue())
	})

	It("a wave's Job: recorded results stay, the other tasks run again, uncounted", func() {
		s := NewStage(oneOfEach)
		s.Create(`{completions: 4, backoffLimit: 0, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) {
			g.Expect(Counts(run)).To(Equal([3]int32{1, 1, 0}))
			g.Expect(run.Status.Active).To(Equal(int32(2)))
		})
		s.RunsPods(2)
		s.DeleteJob(RunName + "-0")
		run := s.Finishes(v1alpha1.PhaseFailed)

		Expect(Counts(run)).To(Equal([3]int32{3, 1, 2}))
		Expect(run.Status.FailedIndexes).To(Equal("0"))
		Expect(CountOf(&run.Status, v1alpha1.ReasonDeleted)).To(Equal(int32(2)))
		Expect(CountOf(&run.Status, v1alpha1.ReasonError)).To(Equal(int32(1)))
		Expect(s.Kubelet.Started()).To(Equal(map[int]int{0: 1, 1: 1, 2: 2, 3: 2}))
		Expect(s.Jobs()).NotTo(HaveKey(RunName + "-0"))
	})

	It("a wave's Job, before its results are recorded: those count that it told of", func() {
		var refuses atomic.Bool
		s := NewStageWith(Always(Runs), &Wire{Faults: func(r Request, _ int) *Fault {
			if refuses.Load() && r == RequestTo("patch", v1alpha1.GroupVersion.Group, "batchruns/status") {
				return &Fault{Code: http.StatusInternalServerError}
			}
			return nil
		}})
		s.Create(`{completions: 3, backoffLimit: 0, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		s.RunsPods(3)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Active).To(Equal(int32(3))) })
		refuses.Store(true)
		s.Kubelet.Turn(oneOfEach)
		Eventually(func(g Gomega) {
			job := s.Jobs()[RunName+"-0"]
			g.Expect(job.Status.CompletedIndexes).To(Equal("1"))
			g.Expect(job.Status.FailedIndexes).To(HaveValue(Equal("0")))
		}).Should(Succeed())
		s.DeleteJob(RunName + "-0")
		Eventually(s.Kubelet.All).Should(BeEmpty())
		refuses.Store(false)
		run := s.Finishes(v1alpha1.PhaseFailed)

		Expect(Counts(run)).To(Equal([3]int32{2, 1, 1}))
		Expect(CountOf(&run.Status, v1alpha1.ReasonError)).To(Equal(int32(1)))
		Expect(CountOf(&run.Status, v1alpha1.ReasonDeleted)).To(Equal(int32(1)))
		Expect(s.Kubelet.Started()).To(Equal(map[int]int{0: 1, 1: 1, 2: 2}))
	})

	It("a wave's Job, before its start is recorded and its pod was seen to fail: the failure is not forgotten", func() {
		var refuses atomic.Bool
		refuses.Store(true)
		s := NewStageWith(Tasks{0: {Exits(1, "")}}.Script(), &Wire{
			NoPolicy: true, // each task is a wave
			Faults: func(r Request, _ int) *Fault {
				if refuses.Load() && r == RequestTo("patch", v1alpha1.GroupVersion.Group, "batchruns/status") {
					return &Fault{Code: http.StatusInternalServerError}
				}
				return nil
			},
			View: &View{Misses: func(event watch.Event) bool {
				_, isPod := event.Object.(*corev1.Pod)
				return isPod
			}},
		})
		s.Create(`{parameters: {matrix: [{name: A, values: [u, v]}]}, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		Eventually(func(g Gomega) {
			g.Expect(s.Jobs()).To(HaveKey(RunName + "-1"))
			g.Expect(s.Jobs()[RunName+"-0"].Status.FailedIndexes).To(HaveValue(Equal("0")))
		}).Should(Succeed())
		s.DeleteJob(RunName + "-0")
		Eventually(s.Jobs).ShouldNot(HaveKey(RunName + "-0"))
		Expect(s.Jobs()).To(HaveLen(1))
		refuses.Store(false)
		s.Poke()
		run := s.Finishes(v1alpha1.PhaseSucceeded)

		Expect(Counts(run)).To(Equal([3]int32{2, 0, 1}))
		Expect(s.Kubelet.Started()).To(Equal(map[int]int{0: 2, 1: 1}))
		Expect(s.Jobs()).NotTo(HaveKey(RunName+"-0"), "its number is not given again")
	})

	It("a finished run's Jobs: nothing runs again", func() {
		s := NewStage(Tasks{0: {Exits(1, "")}}.Script())
		s.Create(`{completions: 3, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		before := s.Finishes(v1alpha1.PhaseSucceeded)
		for name := range s.Jobs() {
			s.DeleteJob(name)
		}
		Eventually(s.Jobs).Should(BeEmpty())
		s.Reconcile(3)
		Expect(s.Get().Status).To(Equal(before.Status))
		Expect(s.Jobs()).To(BeEmpty())
	})

	It("the run: its Jobs and pods go too", func() {
		s := NewStage(Always(Runs))
		run := s.Create(`{completions: 3}`)
		s.RunsPods(3)
		Expect(K8sClient.Delete(Ctx, run)).To(Succeed())
		Eventually(s.Jobs).Should(BeEmpty())
		Eventually(s.Kubelet.All).Should(BeEmpty())
	})
})
