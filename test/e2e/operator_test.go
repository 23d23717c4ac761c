package e2e

import (
	"cmp"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

var _ = Describe("The operator", func() {
	It("that was killed in the middle comes to the same status as one that was not", Serial, func(ctx SpecContext) {
		const spec = `
			completions: 4
			retryPolicy: {backoff: {baseSeconds: 1, maxSeconds: 1}}`
		steps := []string{"index $(BATCHRUN_TASK_INDEX)", "sleep 3s", "exit 3 below 1 every 2", "print done"}
		undisturbed := start(ctx, "same", spec, steps...).finishes(ctx, v1alpha1.PhaseSucceeded)
		Expect(states(undisturbed)).To(Equal(map[v1alpha1.Reason]int{v1alpha1.ReasonCompleted: 4, v1alpha1.ReasonError: 2}))

		r := start(ctx, "same", spec, steps...)
		r.runningPod(ctx)
		DeferCleanup(func() { scaleOperator(1) })
		scaleOperator(0)
		Eventually(ctx, func(g Gomega) {
			job := r.jobs(ctx)[0]
			g.Expect(job.Status.Active).To(BeZero())
			g.Expect(job.Status.Succeeded+job.Status.Failed).To(BeEquivalentTo(4), "the Job finishes meanwhile")
		}).Should(Succeed())
		Expect(r.get(ctx).Status.CompletionTime).To(BeNil())
		scaleOperator(1)
		disturbed := r.finishes(ctx, v1alpha1.PhaseSucceeded)

		Expect(masked(disturbed)).To(Equal(masked(undisturbed)))
	})

	It("leaves a foreign Job in its way alone, says which one it is, and goes on once it is gone", func(ctx SpecContext) {
		namespace := newNamespace(ctx)
		foreign := &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "pi-0"},
			Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				RestartPolicy: corev1.RestartPolicyNever,
				Containers: []corev1.Container{{
					Name: "foreign", Image: env.TaskImage, ImagePullPolicy: corev1.PullIfNotPresent, Args: []string{"print", "foreign"}}},
			}}},
		}
		Expect(k8s.Create(ctx, foreign)).To(Succeed())
		key := client.ObjectKeyFromObject(foreign)
		Eventually(ctx, func(g Gomega) { // so that nobody else changes it any more
			g.Expect(k8s.Get(ctx, key, foreign)).To(Succeed())
			g.Expect(foreign.Status.CompletionTime).NotTo(BeNil())
		}).Should(Succeed())

		r := startIn(namespace, "pi", "", "print mine")
		r.eventually(ctx, func(g Gomega, b *v1alpha1.BatchRun) {
			stalled := condition(b, v1alpha1.ConditionStalled)
			g.Expect(stalled.Status).To(Equal(metav1.ConditionTrue))
			g.Expect(stalled.Reason).To(Equal(v1alpha1.RunNameTaken))
			g.Expect(stalled.Message).To(ContainSubstring("pi-0"))
			g.Expect(events(r)).To(ContainElement(And(HavePrefix("Warning NameTaken"), ContainSubstring("pi-0"))))
		})
		r.consistently(ctx, 12*time.Second, func(g Gomega, b *v1alpha1.BatchRun) {
			var now batchv1.Job
			g.Expect(k8s.Get(ctx, key, &now)).To(Succeed())
			g.Expect(now.ResourceVersion).To(Equal(foreign.ResourceVersion), "it was changed")
			g.Expect(condition(b, v1alpha1.ConditionStalled).Status).To(Equal(metav1.ConditionTrue))
		})

		r.kubectl("delete", "job", "pi-0")
		finished := r.finishes(ctx, v1alpha1.PhaseSucceeded)
		Expect(finished.Status.Successes[0].LogTail).To(Equal("mine"))
		Expect(condition(finished, v1alpha1.ConditionStalled)).To(BeZero())
		Expect(r.jobs(ctx)).To(HaveLen(1))
		Expect(metav1.IsControlledBy(&r.jobs(ctx)[0], finished)).To(BeTrue())
	})

	It("runs a task again that lost its Job, uncounted", func(ctx SpecContext) {
		r := start(ctx, "robbed", oneMore, "sleep 3s", "print done")
		r.runningPod(ctx)
		r.kubectl("delete", "job", "robbed-0")
		robbed := r.finishes(ctx, v1alpha1.PhaseSucceeded)
		Expect(states(robbed)).To(Equal(map[v1alpha1.Reason]int{v1alpha1.ReasonDeleted: 1, v1alpha1.ReasonCompleted: 1}))
	})
})

// oneMore is a run that no counted failure would let succeed.
const oneMore = `
	backoffLimit: 0
	retryPolicy: {backoff: {baseSeconds: 1}}`

// scaleOperator kills the operator, or starts it again, and waits until it is done.
func scaleOperator(replicas int) {
	GinkgoHelper()
	deployment := "deployment/" + operatorName
	if replicas == 0 {
		kubectl("-n", operatorNamespace, "scale", deployment, "--replicas=0")
		for _, pod := range operatorPods() {
			_, _ = tryKubectl("", "-n", operatorNamespace, "delete", "pod", pod.Name, "--grace-period=0", "--force")
		}
		Eventually(operatorPods).Should(BeEmpty())
		return
	}
	kubectl("-n", operatorNamespace, "scale", deployment, "--replicas=1")
	waitUntilAvailable()
}

// masked is the run's status without what differs from run to run: times, names of pods, and what the operator
// remembers for itself. Attempts that ended at about the same time come in any order.
func masked(batchRun *v1alpha1.BatchRun) v1alpha1.BatchRunStatus {
	status := *batchRun.Status.DeepCopy()
	status.StartTime, status.CompletionTime, status.Duration, status.Waves = nil, nil, "", v1alpha1.WavesStatus{}
	// Whether retries went out together, and so packed, is chance.
	meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionPacked)
	for i := range status.Conditions {
		status.Conditions[i].LastTransitionTime = metav1.Time{}
	}
	for _, attempts := range [][]v1alpha1.Attempt{status.Failures, status.Successes} {
		for i := range attempts {
			attempts[i].FinishedAt, attempts[i].Pod = nil, ""
		}
		slices.SortFunc(attempts, func(a, b v1alpha1.Attempt) int {
			return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.Attempt, b.Attempt))
		})
	}
	slices.SortFunc(status.PodStates, func(a, b v1alpha1.PodState) int { return cmp.Compare(a.State, b.State) })
	slices.SortFunc(status.Conditions, func(a, b metav1.Condition) int { return cmp.Compare(a.Type, b.Type) })
	return status
}
