package e2e

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

var _ = Describe("Editing a run", func() {
	It("suspends it: its pods go, and once resumed it goes on where it was", func(ctx SpecContext) {
		r := start(ctx, "paused", `
			completions: 4
			parallelism: 2`,
			"index $(BATCHRUN_TASK_INDEX)", "sleep 15s from 2", "print done")
		r.eventually(ctx, func(g Gomega, b *v1alpha1.BatchRun) {
			g.Expect(b.Status.SucceededIndexes).To(Equal("0,1"))
			g.Expect(r.activePods(ctx)).To(HaveLen(2))
		})
		r.patch(`{"suspend":true}`)
		suspended := r.reachesPhase(ctx, v1alpha1.PhaseSuspended)
		Expect(condition(suspended, v1alpha1.ConditionSuspended).Status).To(Equal(metav1.ConditionTrue))
		suspended = r.eventually(ctx, func(g Gomega, b *v1alpha1.BatchRun) {
			g.Expect(r.activePods(ctx)).To(BeEmpty())
			g.Expect(b.Status.Active).To(BeZero())
		})
		Expect(suspended.Status.SucceededIndexes).To(Equal("0,1"))
		Expect(suspended.Status.Pending).To(BeEquivalentTo(2))
		r.consistently(ctx, 3*time.Second, func(g Gomega, b *v1alpha1.BatchRun) {
			g.Expect(b.Status.Phase).To(Equal(v1alpha1.PhaseSuspended))
			g.Expect(r.activePods(ctx)).To(BeEmpty())
		})

		By("resuming it")
		r.patch(`{"suspend":false}`)
		resumed := r.finishes(ctx, v1alpha1.PhaseSucceeded)
		Expect(resumed.Status.Completions).To(Equal("4/4"))
		Expect(states(resumed)[v1alpha1.ReasonCompleted]).To(Equal(4))
		Expect(resumed.Status.Failed).To(BeZero())
		Expect(condition(resumed, v1alpha1.ConditionSuspended).Status).NotTo(Equal(metav1.ConditionTrue))
		Expect(expectIndexes(ctx, r)).To(ConsistOf(0, 1, 2, 3), "no task succeeds twice")
	})

	It("keeps a run that is created suspended from starting", func(ctx SpecContext) {
		r := start(ctx, "later", "suspend: true", "print done")
		r.reachesPhase(ctx, v1alpha1.PhaseSuspended)
		r.consistently(ctx, 3*time.Second, func(g Gomega, _ *v1alpha1.BatchRun) { g.Expect(r.pods(ctx)).To(BeEmpty()) })
		r.patch(`{"suspend":false}`)
		r.finishes(ctx, v1alpha1.PhaseSucceeded)
	})

	It("cancels it for good: its pods go, its record stays", func(ctx SpecContext) {
		r := start(ctx, "cancelled", `
			completions: 3
			parallelism: 2
			backoffLimit: 0`,
			"exit 5 below 1 every 3", "sleep 10m")
		r.eventually(ctx, func(g Gomega, b *v1alpha1.BatchRun) {
			g.Expect(b.Status.FailedIndexes).To(Equal("0"))
			g.Expect(b.Status.Active).To(BeEquivalentTo(2))
		})
		r.patch(`{"cancel":true}`)
		cancelled := r.finishes(ctx, v1alpha1.PhaseCancelled)
		Expect(r.activePods(ctx)).To(BeEmpty())
		failed := condition(cancelled, v1alpha1.ConditionFailed)
		Expect(failed.Status).To(Equal(metav1.ConditionTrue))
		Expect(failed.Reason).To(Equal(v1alpha1.RunCancelled))
		Expect(cancelled.Status.FailedIndexes).To(HavePrefix("0"))
		Expect(cancelled.Status.Failures[0].LogTail).To(Equal("exiting with 5"))
		Expect(states(cancelled)[v1alpha1.ReasonError]).To(Equal(1))

		By("staying cancelled when it is taken back")
		r.patch(`{"cancel":false}`)
		r.consistently(ctx, 3*time.Second, func(g Gomega, b *v1alpha1.BatchRun) {
			g.Expect(b.Status.Phase).To(Equal(v1alpha1.PhaseCancelled))
			g.Expect(r.activePods(ctx)).To(BeEmpty())
		})
	})

	It("holds for attempts that start later", func(ctx SpecContext) {
		r := start(ctx, "edited", "retryPolicy: {backoff: {baseSeconds: 2}}", "print before", "sleep 12s", "exit 1")
		pod := r.runningPod(ctx)
		r.edit(`["print", "before", "then", "sleep", "12s", "then", "exit", "1"]`, `["print", "after"]`)
		Expect(r.activePods(ctx)).To(Equal([]string{pod}), "the edit came too late")
		edited := r.finishes(ctx, v1alpha1.PhaseSucceeded)

		Expect(edited.Status.Failures).To(HaveLen(1))
		Expect(edited.Status.Failures[0].Pod).To(Equal(pod), "the active attempt went on")
		Expect(edited.Status.Failures[0].Reason).To(Equal(v1alpha1.ReasonError))
		Expect(edited.Status.Failures[0].LogTail).To(Equal("before\nexiting with 1"))
		Expect(edited.Status.Successes[0].LogTail).To(Equal("after"))
	})

	It("runs nothing again once it has finished", func(ctx SpecContext) {
		r := start(ctx, "settled", "", "print before")
		finished := r.finishes(ctx, v1alpha1.PhaseSucceeded)
		r.edit("before", "after")
		r.eventually(ctx, func(g Gomega, b *v1alpha1.BatchRun) {
			g.Expect(b.Status.ObservedGeneration).To(Equal(b.Generation))
			g.Expect(b.Generation).To(BeNumerically(">", finished.Generation))
		})
		r.consistently(ctx, 5*time.Second, func(g Gomega, b *v1alpha1.BatchRun) {
			g.Expect(b.Status.Phase).To(Equal(v1alpha1.PhaseSucceeded))
			g.Expect(b.Status.CompletionTime).To(Equal(finished.Status.CompletionTime))
			g.Expect(r.jobs(ctx)).To(HaveLen(1))
			g.Expect(r.pods(ctx)).To(HaveLen(1))
		})
	})

	It("runs the tasks that it adds, and only these", func(ctx SpecContext) {
		r := start(ctx, "growing", "completions: 2", "index x")
		r.finishes(ctx, v1alpha1.PhaseSucceeded)
		r.edit("completions: 2", "completions: 4")
		r.eventually(ctx, func(g Gomega, b *v1alpha1.BatchRun) { g.Expect(b.Status.Completions).To(Equal("4/4")) })
		r.finishes(ctx, v1alpha1.PhaseSucceeded)
		Expect(r.pods(ctx)).To(HaveLen(4))
	})
})
