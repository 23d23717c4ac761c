package fault

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

// present are the versions that a cache which is filled now starts from.
func present(s *Stage) map[string]string {
	GinkgoHelper()
	versions := map[string]string{}
	for kind, list := range map[client.Object]client.ObjectList{
		&v1alpha1.BatchRun{}: &v1alpha1.BatchRunList{}, &batchv1.Job{}: &batchv1.JobList{},
		&corev1.Pod{}: &corev1.PodList{}, &appsv1.ControllerRevision{}: &appsv1.ControllerRevisionList{},
	} {
		Expect(K8sClient.List(Ctx, list, client.InNamespace(s.Namespace))).To(Succeed())
		versions[fmt.Sprintf("%T", kind)] = list.GetResourceVersion()
	}
	return versions
}

// inThePast starts a new operator whose cache shows what was, and has it look at the run again and again. What it wrote
// until it sees the present is returned, but for a status, which bounces off as it is one of an old version.
func inThePast(s *Stage, past map[string]string) (written []Request) {
	GinkgoHelper()
	view := &View{Past: past}
	s.RestartWith(&Wire{View: view})
	s.TryReconcile(10)
	for r := range s.Operator.Wire.Counts() {
		if r.Writes() && r != RequestTo("patch", v1alpha1.GroupVersion.Group, "batchruns/status") {
			written = append(written, r)
		}
	}
	view.Thaw()
	return written
}

var _ = Describe("A new operator whose cache is stuck in the past", func() {
	BeforeEach(TrustPolicy)

	It("does not start a wave again that has ended since", func() {
		s := NewStage(Always(Succeeds))
		s.Operator.Kill()
		s.Create(`{completions: 4}`)
		past := present(s)
		s.Restart()
		s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(inThePast(s, past)).To(BeEmpty())
		s.CaughtUp()
		s.Reconcile(3)
		Expect(s.Jobs()).To(HaveLen(1))
		Expect(s.Kubelet.Started()).To(Equal(map[int]int{0: 1, 1: 1, 2: 1, 3: 1}))
	})

	It("does not retry a failure again that was retried since", func() {
		s := NewStage(Tasks{0: {Exits(1, "once")}}.Script())
		s.Create(`{retryPolicy: {backoff: {baseSeconds: 3600, maxSeconds: 3600}}}`)
		s.Shows(v1alpha1.RunWaitingForRetry)
		past := present(s)
		s.Forward(day)
		s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(inThePast(s, past)).To(BeEmpty())
		s.CaughtUp()
		s.Reconcile(3)
		Expect(s.Kubelet.Started()).To(Equal(map[int]int{0: 2}))
		Expect(Counts(s.Get())).To(Equal([3]int32{1, 0, 1}))
	})

	It("does not clean up a run that was opened again since", func() {
		s := NewStage(Always(Succeeds))
		s.Create(`{completions: 2, ttlSecondsAfterFinished: 3600}`)
		s.Finishes(v1alpha1.PhaseSucceeded)
		past := present(s)
		s.Kubelet.Turn(Always(Runs))
		s.Patch(`completions: 3`)
		s.RunsPods(1)
		s.Clock.Forward(day)
		Expect(inThePast(s, past)).To(BeEmpty())
		Expect(s.Kubelet.Running()).To(HaveLen(1))
		s.Kubelet.Turn(Always(Succeeds))
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(Counts(run)).To(Equal([3]int32{3, 0, 0}))
	})

	It("does not stop a run that was resumed since, nor delete the record of one that is to stay", func() {
		s := NewStage(evenSucceed)
		s.Create(`{completions: 4, suspend: true, ttlSecondsAfterFinished: 3600, recordTTLSecondsAfterFinished: 3600}`)
		reach(s, suspended)
		past := present(s)
		s.Patch(`suspend: false, recordTTLSecondsAfterFinished: null`)
		reach(s, half(2))
		s.Clock.Forward(day)
		Expect(inThePast(s, past)).To(BeEmpty())
		Expect(s.Kubelet.Running()).To(HaveLen(2))
		s.Kubelet.Turn(Always(Succeeds))
		Expect(Counts(s.Finishes(v1alpha1.PhaseSucceeded))).To(Equal([3]int32{4, 0, 0}))
	})

	It("counts nothing twice where only the runs are of the past", func() {
		s := NewStage(Tasks{0: {Exits(1, "once")}, 2: {Preempted}}.Script())
		s.Create(`{completions: 4, retryPolicy: {backoff: {baseSeconds: 3600, maxSeconds: 3600}}}`)
		s.Shows(v1alpha1.RunWaitingForRetry)
		past := present(s)
		s.Forward(day)
		s.Finishes(v1alpha1.PhaseSucceeded)
		before := s.Record()
		for kind := range past {
			if kind != "*v1alpha1.BatchRun" {
				delete(past, kind)
			}
		}
		Expect(inThePast(s, past)).To(BeEmpty())
		s.CaughtUp()
		s.Reconcile(3)
		Expect(s.Record()).To(Equal(before))
	})
})

var _ = Describe("A Job that is created, finished and deleted between two looks of the operator", func() {
	It("is Deleted in the record, and its tasks run again: nothing is lost without a word", func() {
		s := NewStage(First(Runs))
		s.Create(`{completions: 3, backoffLimit: 0, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		s.RunsPods(3)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Active).To(BeEquivalentTo(3)) })
		s.Operator.Kill()
		s.Kubelet.Turn(Always(Succeeds))
		s.RunsPods(0)
		Eventually(func(g Gomega) { g.Expect(s.Jobs()[RunName+"-0"].Status.Succeeded).To(BeEquivalentTo(3)) }).Should(Succeed())
		s.DeleteJob(RunName + "-0")
		Eventually(s.Jobs).Should(BeEmpty())
		s.Restart()
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(Counts(run)).To(Equal([3]int32{3, 0, 3}))
		Expect(States(run)).To(Equal("Deleted 3, Completed 3"))
	})

	It("which nobody had seen yet, too", func() {
		s := NewStage(Always(Succeeds))
		s.Operator.Kill()
		s.RestartWith(&Wire{Faults: func(r Request, _ int) *Fault { // dies as soon as the Job is created
			if r == RequestTo("create", batchv1.GroupName, "jobs") {
				return &Fault{Done: true, Dies: true}
			}
			return nil
		}})
		s.Create(`{completions: 3, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		Eventually(func(g Gomega) { g.Expect(s.Jobs()[RunName+"-0"].Status.Succeeded).To(BeEquivalentTo(3)) }).Should(Succeed())
		s.DeleteJob(RunName + "-0")
		Eventually(s.Jobs).Should(BeEmpty())
		s.Restart()
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(run.Status.Succeeded).To(BeEquivalentTo(3))
	})
})
