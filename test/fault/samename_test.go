package fault

import (
	"maps"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

// rounds is how often a run is deleted and made again.
const rounds = 3

// keptByTest keeps an object from going away.
const keptByTest = "batchrun.io/test"

// keepObject has an object stay when it is deleted.
func keepObject(object client.Object) {
	GinkgoHelper()
	Expect(retryConflicts(object, func() { controllerutil.AddFinalizer(object, keptByTest) })).To(Succeed())
}

// letGo lets an object go that keepObject has.
func letGo(object client.Object) {
	GinkgoHelper()
	Expect(client.IgnoreNotFound(retryConflicts(object, func() { controllerutil.RemoveFinalizer(object, keptByTest) }))).To(Succeed())
}

func retryConflicts(object client.Object, edit func()) error {
	for {
		if err := K8sClient.Get(Ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		edit()
		if err := K8sClient.Update(Ctx, object); !apierrors.IsConflict(err) {
			return err
		}
	}
}

// anew creates the run again as soon as its name is free.
func anew(s *Stage, spec string) *v1alpha1.BatchRun {
	GinkgoHelper()
	Eventually(func() bool {
		return apierrors.IsNotFound(K8sClient.Get(Ctx, s.Key(), &v1alpha1.BatchRun{}))
	}).Should(BeTrue())
	return s.Create(spec)
}

// waves are the Jobs that a run controls.
func waves(s *Stage, run *v1alpha1.BatchRun) []string {
	GinkgoHelper()
	var names []string
	for name, job := range s.Jobs() {
		if metav1.IsControlledBy(&job, run) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// podsOf are the pods of a Job.
func podsOf(s *Stage, job types.UID) []*corev1.Pod {
	return slices.DeleteFunc(s.Kubelet.All(), func(pod *corev1.Pod) bool {
		owner := metav1.GetControllerOf(pod)
		return owner == nil || owner.UID != job
	})
}

// allItsOwn expects that nothing but one attempt of each of two tasks is counted.
func allItsOwn(run *v1alpha1.BatchRun) {
	GinkgoHelper()
	text := func() string { return StatusText(run) }
	Expect(Counts(run)).To(Equal([3]int32{2, 0, 0}), text)
	Expect(States(run)).To(Equal("Completed 2"), text)
	Expect(run.Status.Failures).To(BeEmpty(), text)
	Expect(run.Status.Waves.Next).To(Equal(int32(1)), text)
}

var _ = Describe("A run that is deleted and made again with the same name, again and again,", func() {
	It("in the background, while pods of the old ones do not go away", func() {
		s := NewStage(Always(Runs))
		run := s.Create(`{completions: 2}`)
		var kept []*corev1.Pod
		for range rounds {
			s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Active).To(Equal(int32(2))) })
			job := s.Jobs()[RunName+"-0"]
			Expect(metav1.IsControlledBy(&job, run)).To(BeTrue())
			Eventually(func() int { return len(podsOf(s, job.UID)) }).Should(Equal(2))
			for _, pod := range podsOf(s, job.UID) {
				pod = pod.DeepCopy()
				keepObject(pod)
				kept = append(kept, pod)
			}
			Expect(K8sClient.Delete(Ctx, run)).To(Succeed())
			run = anew(s, `{completions: 2}`)
		}
		s.Kubelet.Turn(Always(Succeeds))
		allItsOwn(s.Finishes(v1alpha1.PhaseSucceeded))
		Expect(waves(s, run)).To(Equal([]string{RunName + "-0"}))
		Expect(s.Kubelet.All()).To(HaveLen(2 + len(kept)))

		By("the old pods going at last")
		settled := s.Get().Status
		for _, pod := range kept {
			letGo(pod)
		}
		Eventually(s.Kubelet.All).Should(HaveLen(2))
		s.Reconcile(3)
		Expect(s.Get().Status).To(Equal(settled))
	})

	It("in the foreground, while its Job does not go away: the old one does nothing more", func() {
		s := NewStage(Always(Runs))
		run := s.Create(`{completions: 2}`)
		for range rounds {
			s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Active).To(Equal(int32(2))) })
			job := s.Jobs()[RunName+"-0"]
			keepObject(&job)
			Expect(K8sClient.Delete(Ctx, run, client.PropagationPolicy(metav1.DeletePropagationForeground))).To(Succeed())
			Eventually(func() bool { return s.Jobs()[job.Name].DeletionTimestamp != nil && s.Kubelet.Unfinished() == 0 }).Should(BeTrue())
			written := s.Operator.Wire.Written()
			s.Patch(`completions: 5`) // as kubectl apply does that finds the old one
			s.CaughtUp()
			s.Reconcile(3)
			Expect(s.Operator.Wire.Written()).To(Equal(written))
			Expect(s.Jobs()).To(HaveLen(1))
			letGo(&job)
			run = anew(s, `{completions: 2}`)
		}
		s.Kubelet.Turn(Always(Succeeds))
		allItsOwn(s.Finishes(v1alpha1.PhaseSucceeded))
	})

	DescribeTable("as an orphaner: what the old ones left is named, left alone, and in the way until it is deleted:",
		func(spec, name string) {
			s := NewStage(Always(Runs))
			run := s.Create(spec)
			for round := range rounds {
				s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Active).To(Equal(int32(2))) })
				job := s.Jobs()[RunName+"-0"]
				Expect(K8sClient.Delete(Ctx, run, client.PropagationPolicy(metav1.DeletePropagationOrphan))).To(Succeed())
				run = anew(s, spec)
				Expect(s.Stalls(v1alpha1.RunNameTaken)).To(ContainSubstring(name))

				By("the orphaned pods ending, which is not the new run's affair")
				end := Succeeds
				if round == 1 {
					end = Exits(1, "old")
				}
				s.Kubelet.Turn(Always(end))
				Eventually(s.Kubelet.Unfinished).Should(BeZero())
				s.Reconcile(3)
				read := s.Get()
				Expect(Counts(read)).To(Equal([3]int32{}))
				Expect(read.Status.PodStates).To(BeEmpty())
				orphan := s.Jobs()[job.Name]
				Expect([]any{orphan.UID, orphan.DeletionTimestamp, orphan.OwnerReferences, ptr.Deref(orphan.Spec.Suspend, false)}).To(
					Equal([]any{job.UID, (*metav1.Time)(nil), []metav1.OwnerReference(nil), false}))

				s.Kubelet.Turn(Always(Runs))
				removeOrphans(s)
				Eventually(func() []string { return waves(s, run) }).Should(Equal([]string{RunName + "-0"}))
			}
			s.Kubelet.Turn(Always(Succeeds))
			allItsOwn(s.Finishes(v1alpha1.PhaseSucceeded))
		},
		Entry("the Job of an array", `{completions: 2}`, "Job run-0"),
		Entry("the ControllerRevision of a sweep", `{parameters: {items: [{A: u}, {A: v}]}}`, "ControllerRevision run-parameters-0"),
	)

	It("is not taken for the old one by an operator that has not seen it yet", func() {
		s := NewStage(Tasks{0: {Exits(1, "old")}}.Script())
		old := s.Create(`{retryPolicy: {backoff: {baseSeconds: 3600, maxSeconds: 3600}}}`)
		for range rounds {
			s.Shows(v1alpha1.RunWaitingForRetry)
			started := s.Kubelet.Started()[0]
			var run *v1alpha1.BatchRun
			s.WhileBehind(func() {
				Expect(K8sClient.Delete(Ctx, old)).To(Succeed())
				run = anew(s, `{retryPolicy: {backoff: {baseSeconds: 3600, maxSeconds: 3600}}}`)
				s.Clock.Forward(day)
				s.TryReconcile(5)
				Expect(s.Get().Status.ObservedGeneration).To(BeNumerically("<=", 0))
				Expect(s.Jobs()).NotTo(HaveKey(RunName + "-1"))
				s.Clock.Forward(-day)
			})
			s.Kubelet.Turn(func(int, int) Fate { return Exits(1, "new") })
			failed := s.Eventually(func(g Gomega, read *v1alpha1.BatchRun) {
				g.Expect(read.UID).To(Equal(run.UID))
				g.Expect(ReasonOf(read, v1alpha1.ConditionReady)).To(Equal(v1alpha1.RunWaitingForRetry))
			})
			Expect(States(failed)).To(Equal("Error 1"))
			Expect(failed.Status.Failures[0].LogTail).To(Equal("new"))
			Expect(s.Kubelet.Started()[0]).To(Equal(started + 1))
			old = run
		}
	})

	It("with old pods that bear the labels of the new one", func() {
		s := NewStage(Always(Runs))
		old := s.Create(`{}`)
		s.RunsPods(1)
		pod := s.Kubelet.All()[0].DeepCopy()
		keepObject(pod)
		s.Kubelet.Turn(Always(Exits(42, "old"))) // which the new run would show, if it took the pod for its own
		Eventually(s.Kubelet.Unfinished).Should(BeZero())
		Expect(K8sClient.Delete(Ctx, old)).To(Succeed())
		s.Kubelet.Turn(Always(Runs))
		anew(s, `{backoffLimit: 0, `+atOnce+`}`)
		run := s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Active).To(BeEquivalentTo(1)) })
		wave := s.Jobs()[RunName+"-0"]
		Expect(retryConflicts(pod, func() {
			maps.Copy(pod.Labels, map[string]string{
				v1alpha1.LabelRunUID: string(run.UID), v1alpha1.LabelWave: "0", batchv1.ControllerUidLabel: string(wave.UID),
				"controller-uid": string(wave.UID), batchv1.JobNameLabel: wave.Name, "job-name": wave.Name})
		})).To(Succeed())

		By("an attempt of the new one whose pod is gone when the operator looks for it")
		s.Operator.Kill()
		s.Kubelet.Turn(Always(Exits(3, "new")))
		Eventually(func() string { return ptr.Deref(s.Jobs()[wave.Name].Status.FailedIndexes, "") }).Should(Equal("0"))
		for _, failed := range podsOf(s, wave.UID) {
			Expect(K8sClient.Delete(Ctx, failed)).To(Succeed())
		}
		Eventually(func() []*corev1.Pod { return podsOf(s, wave.UID) }).Should(BeEmpty())
		s.Kubelet.Turn(Always(Succeeds))
		s.Restart()
		run = s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(States(run)).To(Equal("Deleted 1, Completed 1"))
		letGo(pod)
	})
})

// removeOrphans deletes all that an orphaned run left.
func removeOrphans(s *Stage) {
	GinkgoHelper()
	for _, kind := range []client.Object{&corev1.Pod{}, &batchv1.Job{}, &appsv1.ControllerRevision{}} {
		Expect(K8sClient.DeleteAllOf(Ctx, kind, client.InNamespace(s.Namespace),
			client.PropagationPolicy(metav1.DeletePropagationBackground))).To(Succeed())
	}
}
