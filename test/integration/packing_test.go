package integration

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// trustedAfter is how old the policy is when the operator relies on it.
const trustedAfter = 10 * time.Second

// trustPolicy waits until the operator relies on the policy.
func trustPolicy() {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		policy := &admissionregistrationv1.MutatingAdmissionPolicy{}
		g.Expect(k8sClient.Get(ctx, client.ObjectKey{Name: v1alpha1.PolicyParameters}, policy)).To(Succeed())
		binding := &admissionregistrationv1.MutatingAdmissionPolicyBinding{}
		g.Expect(k8sClient.Get(ctx, client.ObjectKey{Name: v1alpha1.PolicyParameters}, binding)).To(Succeed())
		g.Expect(time.Since(policy.CreationTimestamp.Time)).To(BeNumerically(">", trustedAfter+time.Second))
		g.Expect(time.Since(binding.CreationTimestamp.Time)).To(BeNumerically(">", trustedAfter+time.Second))
	}).Should(Succeed())
}

// removePolicy removes the policy until the end of the test.
func removePolicy() {
	GinkgoHelper()
	DeferCleanup(installPolicy)
	deletePolicy()
}

func deletePolicy() {
	GinkgoHelper()
	named := metav1.ObjectMeta{Name: v1alpha1.PolicyParameters}
	Expect(k8sClient.Delete(ctx, &admissionregistrationv1.MutatingAdmissionPolicyBinding{ObjectMeta: named})).To(Succeed())
	Expect(k8sClient.Delete(ctx, &admissionregistrationv1.MutatingAdmissionPolicy{ObjectMeta: named})).To(Succeed())
}

// breakPolicy changes the policy until the end of the test.
func breakPolicy(how func(*admissionregistrationv1.MutatingAdmissionPolicy)) {
	GinkgoHelper()
	DeferCleanup(func() {
		deletePolicy()
		installPolicy()
	})
	policy := &admissionregistrationv1.MutatingAdmissionPolicy{}
	Expect(k8sClient.Get(ctx, client.ObjectKey{Name: v1alpha1.PolicyParameters}, policy)).To(Succeed())
	how(policy)
	Expect(k8sClient.Update(ctx, policy)).To(Succeed())
}

// slowGrid is the sweep, three tasks at a time.
const slowGrid = grid + "parallelism: 3\n"

var _ = Describe("Packed delivery", func() {
	BeforeEach(trustPolicy)

	It("makes the same pods as a Job for each task", func() {
		packed := newStage(always(succeeds))
		packed.create(grid)
		packed.finishes(v1alpha1.PhaseSucceeded)
		Expect(packed.jobs()).To(HaveLen(1))

		removePolicy()
		inlined := newStage(always(succeeds))
		inlined.create(grid)
		run := inlined.finishes(v1alpha1.PhaseSucceeded)
		Expect(inlined.jobs()).To(HaveLen(6))
		Expect(reasonOf(run, v1alpha1.ConditionPacked)).To(Equal(v1alpha1.PackedPolicyMissing))
		Expect(messageOf(run, v1alpha1.ConditionPacked)).To(ContainSubstring("config/policy"))

		pods := packed.nameless()
		Expect(inlined.nameless()).To(Equal(pods))
		for task, pod := range pods {
			for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
				Expect(c.Env[:4]).To(Equal([]corev1.EnvVar{
					{Name: v1alpha1.EnvTaskIndex, Value: fmt.Sprint(task)}, {Name: v1alpha1.EnvCompletionIndex, Value: fmt.Sprint(task)},
					{Name: "LR", Value: []string{"0.1", "0.01"}[task/3]}, {Name: "SEED", Value: fmt.Sprint(task%3 + 1)},
				}), "the parameters come before the user's own variables, in %s too", c.Name)
			}
			Expect(pod.Spec.Containers[0].Env[4:]).To(Equal([]corev1.EnvVar{
				{Name: "OUT", Value: "out/$(LR)/$(BATCHRUN_TASK_INDEX)"}, {Name: "SEED", Value: "mine"}}))
			Expect(pod.Spec.Containers[0].Args).To(Equal([]string{"--seed=$(SEED)"}))
			Expect(pod.Spec.SchedulingGates).To(BeEmpty())
		}
	})

	It("leaves other people's scheduling gates alone", func() {
		s := newStage(always(succeeds))
		s.create(`{parameters: {items: [{A: x}, {A: z}]}, template: {spec: {schedulingGates: [{name: example.com/quota}]}}}`)
		s.eventually(func(g Gomega, _ *v1alpha1.BatchRun) {
			var list corev1.PodList
			g.Expect(k8sClient.List(ctx, &list, client.InNamespace(s.namespace), client.MatchingLabels{v1alpha1.LabelWave: "0"})).To(Succeed())
			g.Expect(list.Items).To(HaveLen(2))
			for _, pod := range list.Items {
				g.Expect(pod.Spec.SchedulingGates).To(Equal([]corev1.PodSchedulingGate{{Name: "example.com/quota"}}))
			}
		})
	})

	It("is given up when the policy is deleted: nothing runs without its parameters, and the run finishes", func() {
		s := newStage(always(runs))
		s.create(slowGrid)
		s.runsPods(3)
		removePolicy()
		s.kubelet.turn(always(succeeds))
		run := s.finishes(v1alpha1.PhaseSucceeded)
		Expect(counts(run)).To(Equal([3]int32{6, 0, 0}))
		Expect(states(run)).To(Equal("Completed 6"), "what was created without its parameters is no attempt")
		Expect(s.values("LR", "SEED")).To(Equal(gridValues))
		Expect(reasonOf(run, v1alpha1.ConditionPacked)).To(BeElementOf(v1alpha1.PackedPolicyMissing, v1alpha1.PackedPolicyIneffective))
	})

	It("is given up where the policy is there and does nothing", func() {
		s := newStage(always(runs))
		breakPolicy(func(policy *admissionregistrationv1.MutatingAdmissionPolicy) {
			policy.Spec.MatchConditions = append(policy.Spec.MatchConditions, admissionregistrationv1.MatchCondition{Name: "never", Expression: "false"})
		})
		s.create(grid)
		s.runsPods(6)
		s.kubelet.turn(always(succeeds))
		run := s.finishes(v1alpha1.PhaseSucceeded)
		Expect(states(run)).To(Equal("Completed 6"))
		Expect(s.values("LR", "SEED")).To(Equal(gridValues))
		Expect(reasonOf(run, v1alpha1.ConditionPacked)).To(BeElementOf(v1alpha1.PackedPolicyDiffers, v1alpha1.PackedPolicyIneffective))
	})

	It("is given up where the policy refuses every pod", func() {
		s := newStage(always(runs))
		s.create(slowGrid)
		s.runsPods(3)
		breakPolicy(func(policy *admissionregistrationv1.MutatingAdmissionPolicy) {
			policy.Spec.Variables = append(policy.Spec.Variables, admissionregistrationv1.Variable{Name: "broken", Expression: "int(object.metadata.generateName)"})
			policy.Spec.Mutations = append(policy.Spec.Mutations, admissionregistrationv1.Mutation{
				PatchType: admissionregistrationv1.PatchTypeJSONPatch,
				JSONPatch: &admissionregistrationv1.JSONPatch{Expression: `[JSONPatch{op: "test", path: "/kind", value: string(variables.broken)}]`}})
		})
		s.kubelet.turn(always(succeeds))
		run := s.finishes(v1alpha1.PhaseSucceeded)
		Expect(counts(run)).To(Equal([3]int32{6, 0, 0}))
		Expect(s.values("LR", "SEED")).To(Equal(gridValues))
	})
})
