package integration

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

var _ = Describe("A finished run", func() {
	It("loses its Jobs and pods after ttlSecondsAfterFinished, and keeps its record", func() {
		s := NewStage(Tasks{1: {Exits(3, "broken")}}.Script())
		s.Create(`{completions: 3, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		before := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(s.Jobs()).To(HaveLen(2))

		s.Forward((v1alpha1.DefaultTTLSecondsAfterFinished - 60) * time.Second)
		s.Reconcile(3)
		Expect(s.Jobs()).To(HaveLen(2))

		s.Forward(time.Minute)
		after := s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.CleanupTime).NotTo(BeNil()) })
		Expect(s.Jobs()).To(BeEmpty())
		Eventually(s.Kubelet.All).Should(BeEmpty())
		after.Status.CleanupTime = nil
		after.Status.Waves = before.Status.Waves
		Expect(after.Status).To(Equal(before.Status))
		Eventually(s.Events).Should(ContainElement(v1alpha1.RunCleanedUp))
	})

	It("goes itself after recordTTLSecondsAfterFinished", func() {
		s := NewStage(Always(Succeeds))
		s.Create(`{ttlSecondsAfterFinished: 60, recordTTLSecondsAfterFinished: 3600}`)
		s.Finishes(v1alpha1.PhaseSucceeded)
		s.Forward(time.Minute)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.CleanupTime).NotTo(BeNil()) })
		s.Forward(time.Hour)
		Eventually(func() bool {
			return apierrors.IsNotFound(K8sClient.Get(Ctx, s.Key(), &v1alpha1.BatchRun{}))
		}).Should(BeTrue())
	})

	It("whose template is edited runs nothing again", func() {
		s := NewStage(Always(Succeeds))
		s.Create(`{completions: 2}`)
		s.Finishes(v1alpha1.PhaseSucceeded)
		s.Patch(`template: {spec: {containers: [{name: main, image: other}]}}`)
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(run.Status.ObservedGeneration).To(Equal(int64(2)))
		s.Reconcile(3)
		Expect(s.Jobs()).To(HaveLen(1))
	})

	DescribeTable("costs no API writes",
		func(fates Script, phase v1alpha1.Phase, cleaned bool) {
			s := NewStage(fates)
			s.Create(`{completions: 3, backoffLimit: 0, maxFailedTasks: 0}`)
			s.Finishes(phase)
			s.RunsPods(0)
			if cleaned {
				s.Forward(v1alpha1.DefaultTTLSecondsAfterFinished * time.Second)
				s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.CleanupTime).NotTo(BeNil()) })
			}
			Eventually(func(g Gomega) { // the last Event may be on its way
				g.Expect(s.Events()).To(ContainElement(Or(Equal(v1alpha1.RunCompleted), Equal(v1alpha1.RunMaxFailedTasksExceeded))))
				g.Expect(!cleaned || len(s.Events()) > 2).To(BeTrue())
			}).Should(Succeed())
			s.CaughtUp()
			settled, written := s.Get(), s.Operator.Wire.Written()

			s.Reconcile(100)
			Expect(s.Operator.Wire.Written()).To(Equal(written))
			Expect(s.Get().ResourceVersion).To(Equal(settled.ResourceVersion))
		},
		Entry("after it succeeded", Always(Succeeds), v1alpha1.PhaseSucceeded, false),
		Entry("after it failed and was stopped", Script(func(task, _ int) Fate {
			if task == 1 {
				return Exits(1, "")
			}
			return Runs
		}), v1alpha1.PhaseFailed, false),
		Entry("after its Jobs and pods are gone", Always(Succeeds), v1alpha1.PhaseSucceeded, true),
	)
})

var _ = Describe("The operator touches only what its run controls", func() {
	It("objects with the run's labels are neither counted nor deleted", func() {
		s := NewStage(Tasks{0: {Runs}}.Script())
		run := s.Create(`{ttlSecondsAfterFinished: 60}`)
		s.RunsPods(1)
		labels := map[string]string{v1alpha1.LabelRun: run.Name, v1alpha1.LabelRunUID: string(run.UID), v1alpha1.LabelWave: "7"}
		jobs := []string{s.ForeignJob(RunName+"-7", labels).Name, s.ForeignJob("other-1", labels).Name}
		pod := s.ForeignPod(labels)
		s.Reconcile(3)
		s.Kubelet.Turn(Always(Succeeds))
		run = s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(States(run)).To(Equal("Completed 1"))
		Expect(run.Status.Waves.Next).To(Equal(int32(1)))

		s.Forward(time.Minute)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.CleanupTime).NotTo(BeNil()) })
		s.Reconcile(3)
		Expect(s.Jobs()).To(HaveLen(2))
		for _, name := range jobs {
			Expect(s.Jobs()[name].DeletionTimestamp).To(BeNil())
		}
		Expect(K8sClient.Get(Ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
		Expect(pod.DeletionTimestamp).To(BeNil())
	})

	It("a new run of the same name does not take over the Jobs of the old one", func() {
		s := NewStage(Always(Runs))
		old := s.Create(`{completions: 2}`)
		s.RunsPods(2)
		job := s.Jobs()[RunName+"-0"]
		job.Finalizers = append(job.Finalizers, "batchrun.io/test")
		Expect(K8sClient.Update(Ctx, &job)).To(Succeed())
		Expect(K8sClient.Delete(Ctx, old)).To(Succeed())

		s.Kubelet.Turn(Always(Succeeds))
		run := s.Create(`{completions: 2}`)
		Expect(run.UID).NotTo(Equal(old.UID))
		Expect(s.Shows(v1alpha1.RunNameTaken)).To(ContainSubstring("Job run-0 of an earlier run of this name is still going away"))
		Expect(s.Get().Status.Succeeded).To(BeZero())
		Expect(s.Jobs()[job.Name].UID).To(Equal(job.UID))

		Eventually(func() error {
			job := s.Jobs()[job.Name]
			job.Finalizers = nil
			return client.IgnoreNotFound(K8sClient.Update(Ctx, &job))
		}).Should(Succeed())
		run = s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(Counts(run)).To(Equal([3]int32{2, 0, 0}))
		Expect(s.Jobs()[job.Name].UID).NotTo(Equal(job.UID))
	})
})
