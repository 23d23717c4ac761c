package stage

import (
	"path/filepath"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/config/policy"
)

// OtherGate is a scheduling gate that is not the operator's. It also keeps pods off the nodes.
const OtherGate = "example.com/other"

// ServesPolicies is true where the API server has MutatingAdmissionPolicies, as Kubernetes 1.36 and later have. Elsewhere
// each task of a sweep has a Job of its own.
func ServesPolicies() bool {
	GinkgoHelper()
	kind := admissionregistrationv1.SchemeGroupVersion.WithKind("MutatingAdmissionPolicy")
	_, err := K8sClient.RESTMapper().RESTMapping(kind.GroupKind(), kind.Version)
	if !meta.IsNoMatchError(err) {
		Expect(err).NotTo(HaveOccurred())
	}
	return err == nil
}

// NeedPolicies skips a spec that is about such policies where there are none.
func NeedPolicies() {
	GinkgoHelper()
	if !ServesPolicies() {
		Skip("this Kubernetes has no MutatingAdmissionPolicy")
	}
}

// InstallPolicy installs the policy that gives pods their parameters, if it is not there as it should be, and waits until
// the API server acts on it.
func InstallPolicy() {
	GinkgoHelper()
	folder := filepath.Join(Root, "config", "policy")
	if !PolicyInstalled() {
		out, err := Kubectl("", "delete", "--ignore-not-found", "-k", folder)
		Expect(err).NotTo(HaveOccurred(), out)
		out, err = Kubectl("", "apply", "-k", folder)
		Expect(err).NotTo(HaveOccurred(), out)
	}
	Eventually(func(g Gomega) {
		pod, err := Admitted(PackedPod(0, "+0"))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(Gates(pod)).To(Equal([]string{OtherGate}))
	}, PropagateTime).Should(Succeed())
}

// PolicyInstalled is true while the cluster has policy and binding as the operator has them.
func PolicyInstalled() bool {
	GinkgoHelper()
	key := client.ObjectKey{Name: v1alpha1.PolicyParameters}
	stored, binding := &admissionregistrationv1.MutatingAdmissionPolicy{}, &admissionregistrationv1.MutatingAdmissionPolicyBinding{}
	Expect(client.IgnoreNotFound(K8sClient.Get(Ctx, key, stored))).To(Succeed())
	Expect(client.IgnoreNotFound(K8sClient.Get(Ctx, key, binding))).To(Succeed())
	return equality.Semantic.DeepEqual(stored.Spec, policy.Parameters().Spec) &&
		equality.Semantic.DeepEqual(binding.Spec, policy.ParametersBinding().Spec)
}

// Placeholders are the variables that the operator puts in front of the user's, for these parameters.
func Placeholders(parameters ...string) []corev1.EnvVar {
	env := []corev1.EnvVar{{Name: v1alpha1.EnvTaskIndex}, {Name: v1alpha1.EnvCompletionIndex}}
	for _, name := range parameters {
		env = append(env, corev1.EnvVar{Name: name})
	}
	return env
}

// PackedTemplate is the pod template of a packed wave with one container.
func PackedTemplate(table string) corev1.PodTemplateSpec {
	var parameters []string
	for _, line := range strings.Split(table, "\n")[1:] {
		name, _, _ := strings.Cut(line, "\t")
		parameters = append(parameters, name)
	}
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{
			Labels:      map[string]string{v1alpha1.LabelRunUID: "a-run"},
			Annotations: map[string]string{v1alpha1.AnnotationParameters: table, "note": "stays"},
		},
		Spec: corev1.PodSpec{
			RestartPolicy:   corev1.RestartPolicyNever,
			SchedulingGates: []corev1.PodSchedulingGate{{Name: OtherGate}, {Name: v1alpha1.GateParameters}},
			Containers:      []corev1.Container{{Name: "main", Image: "example", Env: Placeholders(parameters...)}},
		},
	}
}

// PackedPod is the pod at a position of such a wave.
func PackedPod(position int, table string) *corev1.Pod {
	template := PackedTemplate(table)
	pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	pod.Namespace, pod.GenerateName = metav1.NamespaceDefault, "packed-"
	pod.Annotations[batchv1.JobCompletionIndexAnnotation] = strconv.Itoa(position)
	return pod
}

// Admitted is what the API server would make of a pod.
func Admitted(pod *corev1.Pod) (*corev1.Pod, error) {
	pod = pod.DeepCopy()
	err := K8sClient.Create(Ctx, pod, client.DryRunAll)
	return pod, err
}

func Gates(pod *corev1.Pod) []string {
	var names []string
	for _, gate := range pod.Spec.SchedulingGates {
		names = append(names, gate.Name)
	}
	return names
}

// trustedAfter is how old the policy is when the operator relies on it.
const trustedAfter = 10 * time.Second

// TrustPolicy waits until the operator relies on the policy, if there can be one.
func TrustPolicy() {
	GinkgoHelper()
	if !ServesPolicies() {
		return
	}
	Eventually(func(g Gomega) {
		policy := &admissionregistrationv1.MutatingAdmissionPolicy{}
		g.Expect(K8sClient.Get(Ctx, client.ObjectKey{Name: v1alpha1.PolicyParameters}, policy)).To(Succeed())
		binding := &admissionregistrationv1.MutatingAdmissionPolicyBinding{}
		g.Expect(K8sClient.Get(Ctx, client.ObjectKey{Name: v1alpha1.PolicyParameters}, binding)).To(Succeed())
		g.Expect(time.Since(policy.CreationTimestamp.Time)).To(BeNumerically(">", trustedAfter+time.Second))
		g.Expect(time.Since(binding.CreationTimestamp.Time)).To(BeNumerically(">", trustedAfter+time.Second))
	}).Should(Succeed())
}
