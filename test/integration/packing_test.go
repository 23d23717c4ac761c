package integration

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

// removePolicy removes the policy until the end of the test.
func removePolicy() {
	GinkgoHelper()
	DeferCleanup(InstallPolicy)
	deletePolicy()
}

func deletePolicy() {
	GinkgoHelper()
	named := metav1.ObjectMeta{Name: v1alpha1.PolicyParameters}
	Expect(K8sClient.Delete(Ctx, &admissionregistrationv1.MutatingAdmissionPolicyBinding{ObjectMeta: named})).To(Succeed())
	Expect(K8sClient.Delete(Ctx, &admissionregistrationv1.MutatingAdmissionPolicy{ObjectMeta: named})).To(Succeed())
}

// breakPolicy changes the policy until the end of the test.
func breakPolicy(how func(*admissionregistrationv1.MutatingAdmissionPolicy)) {
	GinkgoHelper()
	DeferCleanup(func() {
		deletePolicy()
		InstallPolicy()
	})
	policy := &admissionregistrationv1.MutatingAdmissionPolicy{}
	Expect(K8sClient.Get(Ctx, client.ObjectKey{Name: v1alpha1.PolicyParameters}, policy)).To(Succeed())
	how(policy)
	Expect(K8sClient.Update(Ctx, policy)).To(Succeed())
}

// slowGrid is the sweep, three tasks at a time.
const slowGrid = grid + "parallelism: 3\n"

var _ = Describe("Packed delivery", func() {
	BeforeEach(NeedPolicies)
	BeforeEach(TrustPolicy)

	It("makes the same pods as a Job for each task", func() {
		packed := NewStage(Always(Succeeds))
		packed.Create(grid)
		packed.Finishes(v1alpha1.PhaseSucceeded)
		Expect(packed.Jobs()).To(HaveLen(1))

		removePolicy()
		inlined := NewStage(Always(Succeeds))
		inlined.Create(grid)
		run := inlined.Finishes(v1alpha1.PhaseSucceeded)
		Expect(inlined.Jobs()).To(HaveLen(6))
		Expect(ReasonOf(run, v1alpha1.ConditionPacked)).To(Equal(v1alpha1.PackedPolicyMissing))
		Expect(MessageOf(run, v1alpha1.ConditionPacked)).To(ContainSubstring("config/policy"))

		pods := packed.Nameless()
		Expect(inlined.Nameless()).To(Equal(pods))
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
		s := NewStage(Always(Succeeds))
		s.Create(`{parameters: {items: [{A: x}, {A: z}]}, template: {spec: {schedulingGates: [{name: example.com/quota}]}}}`)
		s.Eventually(func(g Gomega, _ *v1alpha1.BatchRun) {
			var list corev1.PodList
			g.Expect(K8sClient.List(Ctx, &list, client.InNamespace(s.Namespace), client.MatchingLabels{v1alpha1.LabelWave: "0"})).To(Succeed())
			g.Expect(list.Items).To(HaveLen(2))
			for _, pod := range list.Items {
				g.Expect(pod.Spec.SchedulingGates).To(Equal([]corev1.PodSchedulingGate{{Name: "example.com/quota"}}))
			}
		})
	})

	It("is given up when the policy is deleted: nothing runs without its parameters, and the run finishes", func() {
		s := NewStage(Always(Runs))
		s.Create(slowGrid)
		s.RunsPods(3)
		removePolicy()
		s.Kubelet.Turn(Always(Succeeds))
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(Counts(run)).To(Equal([3]int32{6, 0, 0}))
		Expect(States(run)).To(Equal("Completed 6"), "what was created without its parameters is no attempt")
		Expect(s.Values("LR", "SEED")).To(Equal(gridValues))
		Expect(ReasonOf(run, v1alpha1.ConditionPacked)).To(BeElementOf(v1alpha1.PackedPolicyMissing, v1alpha1.PackedPolicyIneffective))
	})

	It("is given up where the policy is there and does nothing", func() {
		s := NewStage(Always(Runs))
		breakPolicy(func(policy *admissionregistrationv1.MutatingAdmissionPolicy) {
			policy.Spec.MatchConditions = append(policy.Spec.MatchConditions, admissionregistrationv1.MatchCondition{Name: "never", Expression: "false"})
		})
		s.Create(grid)
		s.RunsPods(6)
		s.Kubelet.Turn(Always(Succeeds))
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(States(run)).To(Equal("Completed 6"))
		Expect(s.Values("LR", "SEED")).To(Equal(gridValues))
		Expect(ReasonOf(run, v1alpha1.ConditionPacked)).To(BeElementOf(v1alpha1.PackedPolicyDiffers, v1alpha1.PackedPolicyIneffective))
	})

	It("is given up where the policy refuses every pod", func() {
		s := NewStage(Always(Runs))
		s.Create(slowGrid)
		s.RunsPods(3)
		breakPolicy(func(policy *admissionregistrationv1.MutatingAdmissionPolicy) {
			policy.Spec.Variables = append(policy.Spec.Variables, admissionregistrationv1.Variable{Name: "broken", Expression: "int(object.metadata.generateName)"})
			policy.Spec.Mutations = append(policy.Spec.Mutations, admissionregistrationv1.Mutation{
				PatchType: admissionregistrationv1.PatchTypeJSONPatch,
				JSONPatch: &admissionregistrationv1.JSONPatch{Expression: `[JSONPatch{op: "test", path: "/kind", value: string(variables.broken)}]`}})
		})
		s.Kubelet.Turn(Always(Succeeds))
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(Counts(run)).To(Equal([3]int32{6, 0, 0}))
		Expect(s.Values("LR", "SEED")).To(Equal(gridValues))
	})
})
