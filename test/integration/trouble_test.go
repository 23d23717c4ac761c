package integration

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/plan"
	. "github.com/batchrun/batchrun/test/stage"
)

var _ = Describe("A run that cannot go on says so, and goes on once it can:", func() {
	It("an image that cannot be pulled, until its deadline", func() {
		s := NewStage(Always(Unpullable))
		s.Create(`{completions: 2}`)
		s.RunsNoPod(2)
		s.Forward(30 * time.Second)
		Expect(s.Shows(v1alpha1.RunImagePullFailing)).To(And(ContainSubstring("Back-off pulling image"), ContainSubstring("task ")))
		s.Forward(v1alpha1.DefaultImagePullDeadlineSeconds * time.Second)
		run := s.Finishes(v1alpha1.PhaseFailed)

		Expect(States(run)).To(Equal("ImagePullFailed 2"))
		Expect(Counts(run)).To(Equal([3]int32{0, 2, 0}))
		Expect(run.Status.Failures[0].Message).To(ContainSubstring("Back-off pulling image"))
		s.RunsPods(0)
	})

	It("a pod whose node lost it before it started, which would stay pending for ever, is given up and does not count", func() {
		s := NewStage(First(Forsaken))
		s.Create(`{completions: 2, backoffLimit: 0}`)
		s.RunsNoPod(2)
		s.Forward(30 * time.Second)
		Expect(s.Shows(v1alpha1.RunStartFailing)).To(ContainSubstring("its node lost it before it was started"))
		s.Forward(v1alpha1.DefaultImagePullDeadlineSeconds * time.Second)
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(States(run)).To(Equal("NodeLost 2, Completed 2"))
		for _, failure := range run.Status.Failures {
			Expect(failure.Disruption).To(BeTrue())
		}
	})

	It("a command that cannot be started fails its task at once", func() {
		s := NewStage(Always(Unstartable))
		s.Create(`{}`)
		run := s.Finishes(v1alpha1.PhaseFailed)
		Expect(States(run)).To(Equal("StartFailed 1"))
		Expect(MessageOf(run, v1alpha1.ConditionFailed)).To(ContainSubstring("executable file not found"))
	})

	It("no node fits: shown within a minute, by a condition and an Event, and waited for", func() {
		s := NewStage(Always(Succeeds))
		s.Create(`{template: {spec: {nodeSelector: {no: such}, containers: [{name: main}]}}}`)
		s.Eventually(func(g Gomega, _ *v1alpha1.BatchRun) { g.Expect(s.Kubelet.All()).To(HaveLen(1)) })
		s.Clock.Forward(50 * time.Second)
		Expect(s.Shows(v1alpha1.RunUnschedulable)).To(ContainSubstring("nodes are available"))
		Eventually(s.Events).Should(ContainElement(v1alpha1.RunUnschedulable))
		Expect(s.Get().Status.Phase).To(Equal(v1alpha1.PhaseRunning))

		By("editing the template: what could not start is given up and starts anew")
		s.Merge([]byte(`{"spec":{"template":{"spec":{"nodeSelector":null}}}}`))
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(States(run)).To(Equal("Completed 1"))
		Expect(run.Status.Retries).To(BeZero())
		Eventually(s.Events).Should(ContainElement(v1alpha1.RunTemplateEdited))
	})

	It("no node fits until unschedulableDeadlineSeconds", func() {
		s := NewStage(Always(Succeeds))
		s.Create(`{startup: {unschedulableDeadlineSeconds: 3600}, template: {spec: {nodeSelector: {no: such}, containers: [{name: main}]}}}`)
		s.Eventually(func(g Gomega, _ *v1alpha1.BatchRun) { g.Expect(s.Kubelet.All()).To(HaveLen(1)) })
		s.Forward(time.Minute)
		s.Shows(v1alpha1.RunUnschedulable)
		s.Forward(time.Hour)
		run := s.Finishes(v1alpha1.PhaseFailed)
		Expect(States(run)).To(Equal("Unschedulable 1"))
	})

	It("a quota allows no pod", func() {
		s := NewStage(Always(Succeeds))
		quota := s.Quota(corev1.ResourcePods, "0")
		s.Create(`{completions: 2}`)
		Eventually(s.Jobs).Should(HaveLen(1))
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Phase).To(Equal(v1alpha1.PhaseRunning)) })
		s.Forward(plan.IdleAfter)
		Expect(s.Shows(v1alpha1.RunPodsNotCreated)).To(And(
			ContainSubstring("exceeded quota: limit, requested: pods=1, used: pods=0, limited: pods=0"), ContainSubstring("Job run-0")))
		Expect(K8sClient.Delete(Ctx, quota)).To(Succeed())
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(Counts(run)).To(Equal([3]int32{2, 0, 0}))
	})

	It("a quota allows no Job", func() {
		s := NewStage(Always(Succeeds))
		quota := s.Quota("count/jobs.batch", "0")
		s.Create(`{}`)
		Expect(s.Stalls(v1alpha1.RunJobRefused)).To(And(ContainSubstring("exceeded quota: limit"), ContainSubstring("Job run-0")))
		Eventually(s.Events).Should(ContainElement(v1alpha1.RunJobRefused))
		Expect(K8sClient.Delete(Ctx, quota)).To(Succeed())
		s.Finishes(v1alpha1.PhaseSucceeded)
	})

	It("the API server refuses the template", func() {
		s := NewStage(Always(Succeeds))
		s.Create(`{template: {spec: {containers: [{name: main}], tolerations: [{key: gpu, operator: Exists, value: "1"}]}}}`)
		Expect(s.Stalls(v1alpha1.RunJobRefused)).To(ContainSubstring("value must be empty when `operator` is 'Exists'"))
		s.Patch(`template: {spec: {tolerations: null}}`)
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(meta.FindStatusCondition(run.Status.Conditions, v1alpha1.ConditionStalled)).To(BeNil())
	})

	It("a foreign Job has the name of its next one, and is left alone", func() {
		s := NewStage(Always(Succeeds))
		foreign := s.ForeignJob(RunName+"-0", nil)
		s.Create(`{}`)
		Expect(s.Stalls(v1alpha1.RunNameTaken)).To(ContainSubstring("a Job run-0 exists that this run does not control"))
		found := s.Jobs()
		Expect(found).To(HaveLen(1))
		Expect(found[foreign.Name].UID).To(Equal(foreign.UID))
		Expect(found[foreign.Name].Generation).To(Equal(foreign.Generation))

		s.DeleteJob(foreign.Name)
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(metav1.IsControlledBy(ptr.To(s.Jobs()[RunName+"-0"]), run)).To(BeTrue())
	})
})
