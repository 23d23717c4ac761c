package integration

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

var _ = Describe("A finished run", func() {
	It("loses its Jobs and pods after ttlSecondsAfterFinished, and keeps its record", func() {
		s := newStage(tasks{1: {exits(3, "broken")}}.script())
		s.create(`{completions: 3, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		before := s.finishes(v1alpha1.PhaseSucceeded)
		Expect(s.jobs()).To(HaveLen(2))

		s.forward((v1alpha1.DefaultTTLSecondsAfterFinished - 60) * time.Second)
		s.reconcile(3)
		Expect(s.jobs()).To(HaveLen(2))

		s.forward(time.Minute)
		after := s.eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.CleanupTime).NotTo(BeNil()) })
		Expect(s.jobs()).To(BeEmpty())
		Eventually(s.kubelet.all).Should(BeEmpty())
		after.Status.CleanupTime = nil
		after.Status.Waves = before.Status.Waves
		Expect(after.Status).To(Equal(before.Status))
		Eventually(s.events).Should(ContainElement(v1alpha1.RunCleanedUp))
	})

	It("goes itself after recordTTLSecondsAfterFinished", func() {
		s := newStage(always(succeeds))
		s.create(`{ttlSecondsAfterFinished: 60, recordTTLSecondsAfterFinished: 3600}`)
		s.finishes(v1alpha1.PhaseSucceeded)
		s.forward(time.Minute)
		s.eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.CleanupTime).NotTo(BeNil()) })
		s.forward(time.Hour)
		Eventually(func() bool {
			return apierrors.IsNotFound(k8sClient.Get(ctx, s.key(), &v1alpha1.BatchRun{}))
		}).Should(BeTrue())
	})

	It("whose template is edited runs nothing again", func() {
		s := newStage(always(succeeds))
		s.create(`{completions: 2}`)
		s.finishes(v1alpha1.PhaseSucceeded)
		s.patch(`template: {spec: {containers: [{name: main, image: other}]}}`)
		run := s.finishes(v1alpha1.PhaseSucceeded)
		Expect(run.Status.ObservedGeneration).To(Equal(int64(2)))
		s.reconcile(3)
		Expect(s.jobs()).To(HaveLen(1))
	})

	DescribeTable("costs no API writes",
		func(fates script, phase v1alpha1.Phase, cleaned bool) {
			s := newStage(fates)
			s.create(`{completions: 3, backoffLimit: 0, maxFailedTasks: 0}`)
			s.finishes(phase)
			s.runsPods(0)
			if cleaned {
				s.forward(v1alpha1.DefaultTTLSecondsAfterFinished * time.Second)
				s.eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.CleanupTime).NotTo(BeNil()) })
			}
			Eventually(func(g Gomega) { // the last Event may be on its way
				g.Expect(s.events()).To(ContainElement(Or(Equal(v1alpha1.RunCompleted), Equal(v1alpha1.RunMaxFailedTasksExceeded))))
				g.Expect(!cleaned || len(s.events()) > 2).To(BeTrue())
			}).Should(Succeed())
			s.caughtUp()
			settled, written := s.get(), s.operator.wire.written()

			s.reconcile(100)
			Expect(s.operator.wire.written()).To(Equal(written))
			Expect(s.get().ResourceVersion).To(Equal(settled.ResourceVersion))
		},
		Entry("after it succeeded", always(succeeds), v1alpha1.PhaseSucceeded, false),
		Entry("after it failed and was stopped", script(func(task, _ int) fate {
			if task == 1 {
				return exits(1, "")
			}
			return runs
		}), v1alpha1.PhaseFailed, false),
		Entry("after its Jobs and pods are gone", always(succeeds), v1alpha1.PhaseSucceeded, true),
	)
})

var _ = Describe("The operator touches only what its run controls", func() {
	It("objects with the run's labels are neither counted nor deleted", func() {
		s := newStage(tasks{0: {runs}}.script())
		run := s.create(`{ttlSecondsAfterFinished: 60}`)
		s.runsPods(1)
		labels := map[string]string{v1alpha1.LabelRun: run.Name, v1alpha1.LabelRunUID: string(run.UID), v1alpha1.LabelWave: "7"}
		jobs := []string{s.foreignJob(runName+"-7", labels).Name, s.foreignJob("other-1", labels).Name}
		pod := s.foreignPod(labels)
		s.reconcile(3)
		s.kubelet.turn(always(succeeds))
		run = s.finishes(v1alpha1.PhaseSucceeded)
		Expect(states(run)).To(Equal("Completed 1"))
		Expect(run.Status.Waves.Next).To(Equal(int32(1)))

		s.forward(time.Minute)
		s.eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.CleanupTime).NotTo(BeNil()) })
		s.reconcile(3)
		Expect(s.jobs()).To(HaveLen(2))
		for _, name := range jobs {
			Expect(s.jobs()[name].DeletionTimestamp).To(BeNil())
		}
		Expect(k8sClient.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
		Expect(pod.DeletionTimestamp).To(BeNil())
	})

	It("a new run of the same name does not take over the Jobs of the old one", func() {
		s := newStage(always(runs))
		old := s.create(`{completions: 2}`)
		s.runsPods(2)
		job := s.jobs()[runName+"-0"]
		job.Finalizers = append(job.Finalizers, "batchrun.io/test")
		Expect(k8sClient.Update(ctx, &job)).To(Succeed())
		Expect(k8sClient.Delete(ctx, old)).To(Succeed())

		s.kubelet.turn(always(succeeds))
		run := s.create(`{completions: 2}`)
		Expect(run.UID).NotTo(Equal(old.UID))
		Expect(s.shows(v1alpha1.RunNameTaken)).To(ContainSubstring("Job run-0 of an earlier run of this name is still going away"))
		Expect(s.get().Status.Succeeded).To(BeZero())
		Expect(s.jobs()[job.Name].UID).To(Equal(job.UID))

		Eventually(func() error {
			job := s.jobs()[job.Name]
			job.Finalizers = nil
			return client.IgnoreNotFound(k8sClient.Update(ctx, &job))
		}).Should(Succeed())
		run = s.finishes(v1alpha1.PhaseSucceeded)
		Expect(counts(run)).To(Equal([3]int32{2, 0, 0}))
		Expect(s.jobs()[job.Name].UID).NotTo(Equal(job.UID))
	})
})
