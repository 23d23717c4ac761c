package integration

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/plan"
)

// quota limits the stage's namespace, and waits until the limit holds.
func (s *stage) quota(name corev1.ResourceName, limit string) *corev1.ResourceQuota {
	GinkgoHelper()
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "limit"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{name: resource.MustParse(limit)}},
	}
	Expect(k8sClient.Create(ctx, quota)).To(Succeed())
	Eventually(func(g Gomega) {
		read := &corev1.ResourceQuota{}
		g.Expect(k8sClient.Get(ctx, client.ObjectKeyFromObject(quota), read)).To(Succeed())
		g.Expect(read.Status.Hard).To(HaveLen(1))
	}).Should(Succeed())
	return quota
}

// stalls waits until the run is stalled for this reason, and returns the message.
func (s *stage) stalls(reason string) string {
	GinkgoHelper()
	run := s.eventually(func(g Gomega, run *v1alpha1.BatchRun) {
		g.Expect(reasonOf(run, v1alpha1.ConditionReady)).To(Equal(reason))
		g.Expect(reasonOf(run, v1alpha1.ConditionStalled)).To(Equal(reason))
		g.Expect(meta.IsStatusConditionTrue(run.Status.Conditions, v1alpha1.ConditionStalled)).To(BeTrue())
	})
	return messageOf(run, v1alpha1.ConditionStalled)
}

var _ = Describe("A run that cannot go on says so, and goes on once it can:", func() {
	It("an image that cannot be pulled, until its deadline", func() {
		s := newStage(always(unpullable))
		s.create(`{completions: 2}`)
		s.runsNoPod(2)
		s.forward(30 * time.Second)
		Expect(s.shows(v1alpha1.RunImagePullFailing)).To(And(ContainSubstring("Back-off pulling image"), ContainSubstring("task ")))
		s.forward(v1alpha1.DefaultImagePullDeadlineSeconds * time.Second)
		run := s.finishes(v1alpha1.PhaseFailed)

		Expect(states(run)).To(Equal("ImagePullFailed 2"))
		Expect(counts(run)).To(Equal([3]int32{0, 2, 0}))
		Expect(run.Status.Failures[0].Message).To(ContainSubstring("Back-off pulling image"))
		s.runsPods(0)
	})

	It("a command that cannot be started fails its task at once", func() {
		s := newStage(always(unstartable))
		s.create(`{}`)
		run := s.finishes(v1alpha1.PhaseFailed)
		Expect(states(run)).To(Equal("StartFailed 1"))
		Expect(messageOf(run, v1alpha1.ConditionFailed)).To(ContainSubstring("executable file not found"))
	})

	It("no node fits: shown within a minute, by a condition and an Event, and waited for", func() {
		s := newStage(always(succeeds))
		s.create(`{template: {spec: {nodeSelector: {no: such}, containers: [{name: main}]}}}`)
		s.eventually(func(g Gomega, _ *v1alpha1.BatchRun) { g.Expect(s.kubelet.all()).To(HaveLen(1)) })
		s.clock.forward(50 * time.Second)
		Expect(s.shows(v1alpha1.RunUnschedulable)).To(ContainSubstring("nodes are available"))
		Eventually(s.events).Should(ContainElement(v1alpha1.RunUnschedulable))
		Expect(s.get().Status.Phase).To(Equal(v1alpha1.PhaseRunning))

		By("editing the template: what could not start is given up and starts anew")
		s.merge([]byte(`{"spec":{"template":{"spec":{"nodeSelector":null}}}}`))
		run := s.finishes(v1alpha1.PhaseSucceeded)
		Expect(states(run)).To(Equal("Deleted 1, Completed 1"))
	})

	It("no node fits until unschedulableDeadlineSeconds", func() {
		s := newStage(always(succeeds))
		s.create(`{startup: {unschedulableDeadlineSeconds: 3600}, template: {spec: {nodeSelector: {no: such}, containers: [{name: main}]}}}`)
		s.eventually(func(g Gomega, _ *v1alpha1.BatchRun) { g.Expect(s.kubelet.all()).To(HaveLen(1)) })
		s.forward(time.Minute)
		s.shows(v1alpha1.RunUnschedulable)
		s.forward(time.Hour)
		run := s.finishes(v1alpha1.PhaseFailed)
		Expect(states(run)).To(Equal("Unschedulable 1"))
	})

	It("a quota allows no pod", func() {
		s := newStage(always(succeeds))
		quota := s.quota(corev1.ResourcePods, "0")
		s.create(`{completions: 2}`)
		Eventually(s.jobs).Should(HaveLen(1))
		s.eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Phase).To(Equal(v1alpha1.PhaseRunning)) })
		s.forward(plan.IdleAfter)
		Expect(s.shows(v1alpha1.RunPodsNotCreated)).To(And(
			ContainSubstring("exceeded quota: limit, requested: pods=1, used: pods=0, limited: pods=0"), ContainSubstring("Job run-0")))
		Expect(k8sClient.Delete(ctx, quota)).To(Succeed())
		run := s.finishes(v1alpha1.PhaseSucceeded)
		Expect(counts(run)).To(Equal([3]int32{2, 0, 0}))
	})

	It("a quota allows no Job", func() {
		s := newStage(always(succeeds))
		quota := s.quota("count/jobs.batch", "0")
		s.create(`{}`)
		Expect(s.stalls(v1alpha1.RunJobRefused)).To(And(ContainSubstring("exceeded quota: limit"), ContainSubstring("Job run-0")))
		Eventually(s.events).Should(ContainElement(v1alpha1.RunJobRefused))
		Expect(k8sClient.Delete(ctx, quota)).To(Succeed())
		s.finishes(v1alpha1.PhaseSucceeded)
	})

	It("the API server refuses the template", func() {
		s := newStage(always(succeeds))
		s.create(`{template: {spec: {containers: [{name: main}], tolerations: [{key: gpu, operator: Exists, value: "1"}]}}}`)
		Expect(s.stalls(v1alpha1.RunJobRefused)).To(ContainSubstring("value must be empty when `operator` is 'Exists'"))
		s.patch(`template: {spec: {tolerations: null}}`)
		run := s.finishes(v1alpha1.PhaseSucceeded)
		Expect(meta.FindStatusCondition(run.Status.Conditions, v1alpha1.ConditionStalled)).To(BeNil())
	})

	It("a foreign Job has the name of its next one, and is left alone", func() {
		s := newStage(always(succeeds))
		foreign := s.foreignJob(runName+"-0", nil)
		s.create(`{}`)
		Expect(s.stalls(v1alpha1.RunNameTaken)).To(ContainSubstring("a Job run-0 exists that this run does not control"))
		found := s.jobs()
		Expect(found).To(HaveLen(1))
		Expect(found[foreign.Name].UID).To(Equal(foreign.UID))
		Expect(found[foreign.Name].Generation).To(Equal(foreign.Generation))

		s.deleteJob(foreign.Name)
		run := s.finishes(v1alpha1.PhaseSucceeded)
		Expect(metav1.IsControlledBy(ptr.To(s.jobs()[runName+"-0"]), run)).To(BeTrue())
	})
})

// runsNoPod waits until so many pods are on the node and none of them runs.
func (s *stage) runsNoPod(n int) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		g.Expect(s.kubelet.started()).To(HaveLen(n))
		g.Expect(s.kubelet.running()).To(BeEmpty())
	}).Should(Succeed())
}

// foreignJob creates a suspended Job that no run controls.
func (s *stage) foreignJob(name string, labels map[string]string) *batchv1.Job {
	GinkgoHelper()
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name, Labels: labels,
			Annotations: map[string]string{v1alpha1.AnnotationTasks: "0"}},
		Spec: batchv1.JobSpec{Suspend: ptr.To(true), Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "main", Image: "example"}}}}},
	}
	Expect(k8sClient.Create(ctx, job)).To(Succeed())
	return job
}

// foreignPod creates a pod that failed and that no run controls.
func (s *stage) foreignPod(labels map[string]string) *corev1.Pod {
	GinkgoHelper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "foreign", Labels: labels,
			Annotations: map[string]string{batchv1.JobCompletionIndexAnnotation: "0"}},
		Spec: corev1.PodSpec{NodeSelector: map[string]string{"no": "such"}, Containers: []corev1.Container{{Name: "main", Image: "example"}}},
	}
	Expect(k8sClient.Create(ctx, pod)).To(Succeed())
	failed := pod.DeepCopy()
	exits(1, "")(failed)
	Expect(k8sClient.Status().Patch(ctx, failed, client.MergeFrom(pod))).To(Succeed())
	return pod
}
