package integration

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

// filled are the same variables once they have values.
func filled(task int, values ...string) []corev1.EnvVar {
	env := []corev1.EnvVar{{Name: v1alpha1.EnvTaskIndex, Value: strconv.Itoa(task)}, {Name: v1alpha1.EnvCompletionIndex, Value: strconv.Itoa(task)}}
	for _, value := range values {
		name, value, _ := strings.Cut(value, "=")
		env = append(env, corev1.EnvVar{Name: name, Value: value})
	}
	return env
}

// podsOfJob runs a Job of these pods and waits for so many of them; they are returned by position.
func podsOfJob(completions, parallelism int, template corev1.PodTemplateSpec) map[int]corev1.Pod {
	GinkgoHelper()
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: NewNamespace(), Name: "packed"},
		Spec: batchv1.JobSpec{
			CompletionMode: ptr.To(batchv1.IndexedCompletion),
			Completions:    ptr.To(int32(completions)), Parallelism: ptr.To(int32(parallelism)), Template: template,
		},
	}
	Expect(K8sClient.Create(Ctx, job)).To(Succeed())
	pods := map[int]corev1.Pod{}
	Eventually(func(g Gomega) {
		var list corev1.PodList
		g.Expect(K8sClient.List(Ctx, &list, client.InNamespace(job.Namespace))).To(Succeed())
		g.Expect(list.Items).To(HaveLen(parallelism))
		for _, pod := range list.Items {
			position, err := strconv.Atoi(pod.Annotations[batchv1.JobCompletionIndexAnnotation])
			g.Expect(err).NotTo(HaveOccurred())
			pods[position] = pod
		}
	}).Should(Succeed())
	Expect(pods).To(HaveLen(parallelism))
	return pods
}

// bigTable is as big as a table gets, in bytes, positions and parameters, with the variables of each position.
func bigTable() (table string, at func(position int) []corev1.EnvVar) {
	const positions, parameters, limit = 1000, 16, 16 << 10
	var indexes []string
	for i := range positions {
		indexes = append(indexes, strconv.Itoa(10*i))
	}
	lines := []string{strings.Join(indexes, ",")}
	columns := [][]string{nil}
	strides := []int{1, 2, 3, 5, 8, 13, 40, 100, 125, 200, 250, 333, 499, 500, 999, 1000}
	for p := range parameters {
		count := (positions+p)/strides[p] + 1
		var column []string
		for v := range count {
			column = append(column, strconv.Itoa((v*7+p)%10))
		}
		if p == parameters-1 { // fill it up
			missing := limit - len(strings.Join(lines, "\n")) - len("\nP15\t1000\t15") - count - len(strings.Join(column, ""))
			column[0] += strings.Repeat("x", missing)
		}
		columns = append(columns, column)
		lines = append(lines, fmt.Sprintf("P%d\t%d\t%d\t%s", p, strides[p], p, strings.Join(column, "\t")))
	}
	table = strings.Join(lines, "\n")
	Expect(table).To(HaveLen(limit))
	return table, func(position int) []corev1.EnvVar {
		var values []string
		for p := range parameters {
			column := columns[p+1]
			values = append(values, fmt.Sprintf("P%d=%s", p, column[(position+p)/strides[p]%len(column)]))
		}
		return filled(10*position, values...)
	}
}

var _ = Describe("The policy", func() {
	BeforeEach(NeedPolicies)

	It("is stored as it is in the operator", func() {
		Expect(PolicyInstalled()).To(BeTrue())
	})

	It("may be read by the operator, and no other may", func() {
		restConfig := rest.CopyConfig(Cfg)
		restConfig.Impersonate = rest.ImpersonationConfig{UserName: OperatorUser}
		operatorClient, err := client.New(restConfig, client.Options{Scheme: Scheme})
		Expect(err).NotTo(HaveOccurred())
		ours := client.MatchingFields{"metadata.name": v1alpha1.PolicyParameters}
		for _, list := range []client.ObjectList{
			&admissionregistrationv1.MutatingAdmissionPolicyList{}, &admissionregistrationv1.MutatingAdmissionPolicyBindingList{}} {
			Expect(operatorClient.List(Ctx, list, ours)).To(Succeed())
			Expect(operatorClient.List(Ctx, list)).To(Satisfy(apierrors.IsForbidden))
		}
	})

	It("gives each pod of a Job its index and its parameters, in every container", func() {
		template := PackedTemplate("+100\nLR\t3\t0\t0.1\t0.01\nSEED\t1\t0\ta\tb\tc")
		user := []corev1.EnvVar{
			{Name: "OUT", Value: "$(LR)/$(BATCHRUN_TASK_INDEX)"}, {Name: "SEED", Value: "mine-$(SEED)"}, {Name: "LR"},
			{Name: "POD", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.name"}}},
		}
		first := template.Spec.Containers[0]
		first.Env = append(first.Env, user...)
		first.Args = []string{"--lr=$(LR)"}
		second, initial := *first.DeepCopy(), *first.DeepCopy()
		second.Name, initial.Name = "second", "init"
		template.Spec.Containers, template.Spec.InitContainers = []corev1.Container{first, second}, []corev1.Container{initial}

		pods := podsOfJob(12, 12, template)
		lr := strings.Fields("0.1 0.1 0.1 0.01 0.01 0.01 0.1 0.1 0.1 0.01 0.01 0.01")
		seed := strings.Fields("a b c a b c a b c a b c")
		for position, pod := range pods {
			Expect(pod.Spec.Containers).To(HaveLen(2))
			Expect(pod.Spec.InitContainers).To(HaveLen(1))
			for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
				Expect(c.Env).To(Equal(append(filled(100+position, "LR="+lr[position], "SEED="+seed[position]), user...)))
				Expect(c.Args).To(Equal([]string{"--lr=$(LR)"}))
			}
			Expect(Gates(&pod)).To(Equal([]string{OtherGate}))
			Expect(pod.Annotations).To(Equal(map[string]string{batchv1.JobCompletionIndexAnnotation: strconv.Itoa(position), "note": "stays"}))
		}
	})

	DescribeTable("reads the table",
		func(position int, table string, want []corev1.EnvVar) {
			pod, err := Admitted(PackedPod(position, table))
			Expect(err).NotTo(HaveOccurred())
			Expect(pod.Spec.Containers[0].Env).To(Equal(want))
		},
		Entry("of an array", 7, "+30", filled(37)),
		Entry("of listed tasks", 2, "4,8,15,16", filled(15)),
		Entry("of one task", 0, "23", filled(23)),
		Entry("of listed tasks with parameters", 3, "4,8,15,16\nA\t2\t0\tx\ty", filled(16, "A=y")),
		Entry("with a stride", 5, "+0\nA\t4\t0\tx\ty\tz", filled(5, "A=y")),
		Entry("with a stride, around", 12, "+0\nA\t4\t0\tx\ty\tz", filled(12, "A=x")),
		Entry("with an offset", 1, "+0\nA\t4\t3\tx\ty\tz", filled(1, "A=y")),
		Entry("with an offset, around", 9, "+0\nA\t4\t3\tx\ty\tz", filled(9, "A=x")),
		Entry("with one value", 999, "+0\nA\t1\t0\tx", filled(999, "A=x")),
		Entry("with empty values", 1, "+0\nA\t1\t0\t\t\tx\nB\t1\t0\t", filled(1, "A=", "B=")),
		Entry("with odd values", 0, "+0\nA\t1\t0\t $(B) \"x\" 'y' \\n \\t {}\nB\t1\t0\t/~0/~1/%s,+5\nC\t1\t0\tnaïve 漢字 🙂\nD\t1\t0\t-1",
			filled(0, `A= $(B) "x" 'y' \n \t {}`, "B=/~0/~1/%s,+5", "C=naïve 漢字 🙂", "D=-1")),
	)

	It("finds the placeholders behind the variables of others", func() {
		pod := PackedPod(1, "+0\nA\t1\t0\tx\ty")
		others := []corev1.EnvVar{{Name: "PROXY", Value: "p"}, {Name: "A", Value: "other"},
			{Name: "NODE", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "spec.nodeName"}}}}
		c := &pod.Spec.Containers[0]
		c.Env = slices.Concat(others, c.Env[:1], others[:1], c.Env[1:])
		pod, err := Admitted(pod)
		Expect(err).NotTo(HaveOccurred())
		want := filled(1, "A=y")
		Expect(pod.Spec.Containers[0].Env).To(Equal(slices.Concat(others, want[:1], others[:1], want[1:])))
	})

	It("leaves no gate where only its own was there", func() {
		pod := PackedPod(0, "+0")
		pod.Spec.SchedulingGates = pod.Spec.SchedulingGates[1:]
		pod, err := Admitted(pod)
		Expect(err).NotTo(HaveOccurred())
		Expect(pod.Spec.SchedulingGates).To(BeEmpty())
		Expect(pod.Status.Conditions).To(BeEmpty(), "a pod with gates would be SchedulingGated")
	})

	It("reads the biggest table for a pod of many containers", func() {
		table, at := bigTable()
		template := PackedTemplate(table)
		for i := range 20 {
			template.Spec.Containers[0].Env = append(template.Spec.Containers[0].Env, corev1.EnvVar{Name: fmt.Sprintf("USER_%d", i), Value: "x"})
		}
		user := template.Spec.Containers[0].Env[18:]
		for i := range 11 {
			c := *template.Spec.Containers[0].DeepCopy()
			c.Name = fmt.Sprintf("c%d", i)
			if i < 2 {
				template.Spec.InitContainers = append(template.Spec.InitContainers, c)
			} else {
				template.Spec.Containers = append(template.Spec.Containers, c)
			}
		}
		for position, pod := range podsOfJob(1000, 3, template) {
			for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
				Expect(c.Env).To(Equal(append(at(position), user...)))
			}
		}
		for _, position := range []int{1, 499, 500, 998, 999} {
			pod := PackedPod(position, table)
			pod.Spec = template.Spec
			pod, err := Admitted(pod)
			Expect(err).NotTo(HaveOccurred())
			Expect(pod.Spec.Containers[9].Env).To(Equal(append(at(position), user...)))
		}
	})

	DescribeTable("refuses a pod",
		func(message string, edit func(*corev1.Pod)) {
			pod := PackedPod(1, "3,5\nA\t1\t0\tx\ty")
			pod.Spec.InitContainers = []corev1.Container{*pod.Spec.Containers[0].DeepCopy()}
			pod.Spec.InitContainers[0].Name = "init"
			_, err := Admitted(pod)
			Expect(err).NotTo(HaveOccurred())
			edit(pod)
			_, err = Admitted(pod)
			Expect(err).To(MatchError(ContainSubstring(message)))
		},
		Entry("without placeholder in a container", "no placeholder /spec/containers/0/env/A", func(p *corev1.Pod) {
			p.Spec.Containers[0].Env = Placeholders("B")
		}),
		Entry("without placeholder in an init container", "no placeholder /spec/initContainers/0/env/JOB_COMPLETION_INDEX", func(p *corev1.Pod) {
			p.Spec.InitContainers[0].Env = slices.Delete(p.Spec.InitContainers[0].Env, 1, 2)
		}),
		Entry("with a container without variables", "no placeholder /spec/containers/1/env/BATCHRUN_TASK_INDEX", func(p *corev1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "sidecar", Image: "example"})
		}),
		Entry("whose placeholder has a value", "no placeholder /spec/containers/0/env/A", func(p *corev1.Pod) {
			p.Spec.Containers[0].Env[2].Value = "other"
		}),
		Entry("without completion index", "no such key: batch.kubernetes.io/job-completion-index", func(p *corev1.Pod) {
			delete(p.Annotations, batchv1.JobCompletionIndexAnnotation)
		}),
		Entry("whose completion index is no number", `"position" fails to evaluate: type conversion error`, func(p *corev1.Pod) {
			p.Annotations[batchv1.JobCompletionIndexAnnotation] = "one"
		}),
		Entry("whose completion index is negative", `"position" fails to evaluate: type conversion error`, func(p *corev1.Pod) {
			p.Annotations[batchv1.JobCompletionIndexAnnotation] = "-1"
		}),
		Entry("behind the end of the table", "index out of bounds: 2", func(p *corev1.Pod) {
			p.Annotations[batchv1.JobCompletionIndexAnnotation] = "2"
		}),
		Entry("with an empty table", "", func(p *corev1.Pod) { p.Annotations[v1alpha1.AnnotationParameters] = "" }),
		Entry("with a parameter without values", "", func(p *corev1.Pod) { p.Annotations[v1alpha1.AnnotationParameters] = "+0\nA\t1\t0" }),
		Entry("with a table that ends in a newline", "", func(p *corev1.Pod) { p.Annotations[v1alpha1.AnnotationParameters] += "\n" }),
	)

	DescribeTable("leaves other pods alone",
		func(edit func(*corev1.Pod)) {
			pod := PackedPod(1, "+0\nA\t1\t0\tx")
			edit(pod)
			same, err := Admitted(pod)
			Expect(err).NotTo(HaveOccurred())
			Expect(same.Spec.Containers[0].Env).To(Equal(pod.Spec.Containers[0].Env))
			Expect(same.Annotations).To(Equal(pod.Annotations))
			Expect(Gates(same)).To(Equal(Gates(pod)))
		},
		Entry("those of no run", func(p *corev1.Pod) { p.Labels = nil }),
		Entry("those without table", func(p *corev1.Pod) { delete(p.Annotations, v1alpha1.AnnotationParameters) }),
		Entry("those without annotations", func(p *corev1.Pod) { p.Annotations = nil }),
	)

	It("holds pods back while it is not there", func() {
		removePolicy()
		table := "+0\nA\t1\t0\tx\ty"
		Eventually(func(g Gomega) {
			pod, err := Admitted(PackedPod(0, table))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(Gates(pod)).To(ContainElement(v1alpha1.GateParameters))
		}, PropagateTime).Should(Succeed())
		for _, pod := range podsOfJob(2, 2, PackedTemplate(table)) {
			Expect(Gates(&pod)).To(Equal([]string{OtherGate, v1alpha1.GateParameters}))
			Expect(pod.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationParameters, table))
			Expect(pod.Spec.Containers[0].Env).To(Equal(Placeholders("A")))
		}
	})
})
