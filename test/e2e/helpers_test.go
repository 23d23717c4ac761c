package e2e

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// newNamespace returns the name of a namespace that lives as long as the spec.
func newNamespace(ctx SpecContext) string {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}}
	Expect(k8s.Create(ctx, namespace)).To(Succeed())
	AddReportEntry(namespaceEntry, namespace.Name, ReportEntryVisibilityNever)
	DeferCleanup(func(ctx SpecContext) {
		Expect(client.IgnoreNotFound(k8s.Delete(ctx, namespace))).To(Succeed())
	})
	return namespace.Name
}

// run is a BatchRun of a spec.
type run struct {
	client.ObjectKey
	// file is what the user applied.
	file string
}

// manifest is the YAML of a BatchRun: its spec as written, with a pod that runs the steps of test/e2e/task.
// Lines of the spec that begin with "container:" or "pod:" go into the container or the pod's spec.
func manifest(name, spec string, steps ...string) string {
	args := strings.Split(strings.Join(steps, " then "), " ")
	for i, arg := range args {
		args[i] = strconv.Quote(arg)
	}
	sections := map[string]*strings.Builder{"": {}, "container:": {}, "pod:": {}}
	for line := range strings.Lines(strings.TrimSpace(spec)) {
		line = strings.TrimRight(line, "\n")
		text := strings.TrimSpace(line)
		for prefix, indent := range map[string]string{"container:": "        ", "pod:": "      "} {
			if rest, ok := strings.CutPrefix(text, prefix); ok {
				fmt.Fprintf(sections[prefix], "%s%s\n", indent, strings.TrimSpace(rest))
				text = ""
			}
		}
		if text != "" {
			fmt.Fprintf(sections[""], "  %s\n", strings.ReplaceAll(line, "\t", ""))
		}
	}
	return fmt.Sprintf(`apiVersion: batchrun.io/v1alpha1
kind: BatchRun
metadata:
  name: %s
spec:
%s  template:
    spec:
%s      containers:
      - name: task
        image: %s
        imagePullPolicy: IfNotPresent
        args: [%s]
        env: [{name: WAVE, valueFrom: {fieldRef: {fieldPath: "metadata.labels['batchrun.io/wave']"}}}]
%s`, name, sections[""], sections["pod:"], env.TaskImage, strings.Join(args, ", "), sections["container:"])
}

// start applies the manifest of a run in a namespace of its own.
func start(ctx SpecContext, name, spec string, steps ...string) run {
	GinkgoHelper()
	return startIn(newNamespace(ctx), name, spec, steps...)
}

func startIn(namespace, name, spec string, steps ...string) run {
	GinkgoHelper()
	r := run{client.ObjectKey{Namespace: namespace, Name: name}, manifest(name, spec, steps...)}
	r.apply()
	return r
}

// apply applies the run's file and returns what kubectl says.
func (r run) apply() string {
	GinkgoHelper()
	return kubectlIn(r.file, "apply", "-n", r.Namespace, "-f", "-")
}

// kubectl runs kubectl in the run's namespace.
func (r run) kubectl(args ...string) string {
	GinkgoHelper()
	return kubectl(append([]string{"-n", r.Namespace}, args...)...)
}

// get reads the run from the API server.
func (r run) get(ctx SpecContext) *v1alpha1.BatchRun {
	GinkgoHelper()
	var batchRun v1alpha1.BatchRun
	Expect(k8s.Get(ctx, r.ObjectKey, &batchRun)).To(Succeed())
	return &batchRun
}

// eventually waits until a check of the run passes, and returns the run as it was then.
func (r run) eventually(ctx SpecContext, check func(Gomega, *v1alpha1.BatchRun)) *v1alpha1.BatchRun {
	GinkgoHelper()
	var batchRun *v1alpha1.BatchRun
	Eventually(ctx, func(g Gomega) {
		batchRun = &v1alpha1.BatchRun{}
		g.Expect(k8s.Get(ctx, r.ObjectKey, batchRun)).To(Succeed())
		check(g, batchRun)
	}).Should(Succeed(), func() string { return "the run was:\n" + statusText(batchRun) })
	return batchRun
}

// consistently makes sure that a check of the run passes for a time.
func (r run) consistently(ctx SpecContext, duration time.Duration, check func(Gomega, *v1alpha1.BatchRun)) {
	GinkgoHelper()
	var batchRun *v1alpha1.BatchRun
	Consistently(ctx, func(g Gomega) {
		batchRun = &v1alpha1.BatchRun{}
		g.Expect(k8s.Get(ctx, r.ObjectKey, batchRun)).To(Succeed())
		check(g, batchRun)
	}, duration).Should(Succeed(), func() string { return "the run was:\n" + statusText(batchRun) })
}

// finishes waits until the run has finished, and expects it in the phase.
func (r run) finishes(ctx SpecContext, phase v1alpha1.Phase) *v1alpha1.BatchRun {
	GinkgoHelper()
	batchRun := r.eventually(ctx, func(g Gomega, b *v1alpha1.BatchRun) {
		g.Expect(b.Status.CompletionTime).NotTo(BeNil(), "it has not finished")
	})
	Expect(batchRun.Status.Phase).To(Equal(phase), func() string { return statusText(batchRun) })
	Expect(batchRun.Status.ObservedGeneration).To(Equal(batchRun.Generation))
	Expect(batchRun.Status.Active).To(BeZero())
	for _, condition := range batchRun.Status.Conditions {
		Expect(condition.ObservedGeneration).To(Equal(batchRun.Generation), condition.Type)
	}
	return batchRun
}

// reachesPhase waits until the run is in the phase.
func (r run) reachesPhase(ctx SpecContext, phase v1alpha1.Phase) *v1alpha1.BatchRun {
	GinkgoHelper()
	return r.eventually(ctx, func(g Gomega, b *v1alpha1.BatchRun) { g.Expect(b.Status.Phase).To(Equal(phase)) })
}

// jobs are the run's Jobs, by wave.
func (r run) jobs(ctx SpecContext) []batchv1.Job {
	GinkgoHelper()
	var list batchv1.JobList
	Expect(k8s.List(ctx, &list, r.inNamespace()...)).To(Succeed())
	slices.SortFunc(list.Items, func(a, b batchv1.Job) int { return wave(&a) - wave(&b) })
	return list.Items
}

// pods are the run's pods, by wave and completion index.
func (r run) pods(ctx SpecContext) []corev1.Pod {
	GinkgoHelper()
	var list corev1.PodList
	Expect(k8s.List(ctx, &list, r.inNamespace()...)).To(Succeed())
	slices.SortFunc(list.Items, func(a, b corev1.Pod) int {
		return cmp.Or(wave(&a)-wave(&b), completionIndex(&a)-completionIndex(&b))
	})
	return list.Items
}

func (r run) inNamespace() []client.ListOption {
	return []client.ListOption{client.InNamespace(r.Namespace), client.MatchingLabels{v1alpha1.LabelRun: r.Name}}
}

// activePods are those that have not ended.
func (r run) activePods(ctx SpecContext) []string {
	GinkgoHelper()
	var names []string
	for _, pod := range r.pods(ctx) {
		if active(&pod) {
			names = append(names, pod.Name)
		}
	}
	return names
}

// runningPod waits until a pod of the run runs, and returns its name.
func (r run) runningPod(ctx SpecContext) string {
	GinkgoHelper()
	var name string
	Eventually(ctx, func(g Gomega) {
		for _, pod := range r.pods(ctx) {
			if pod.Status.Phase == corev1.PodRunning {
				name = pod.Name
			}
		}
		g.Expect(name).NotTo(BeEmpty(), "no pod runs")
	}).Should(Succeed())
	return name
}

// edit replaces text in the run's file and applies it.
func (r *run) edit(old, replacement string) {
	GinkgoHelper()
	Expect(r.file).To(ContainSubstring(old))
	r.file = strings.ReplaceAll(r.file, old, replacement)
	Expect(r.apply()).To(ContainSubstring("configured"))
}

// patch merges a change into the run's spec.
func (r run) patch(spec string) {
	GinkgoHelper()
	r.kubectl("patch", "batchrun", r.Name, "--type=merge", "-p", `{"spec":`+spec+`}`)
}

func active(pod *corev1.Pod) bool {
	return pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}

func wave(object client.Object) int {
	GinkgoHelper()
	number, err := strconv.Atoi(object.GetLabels()[v1alpha1.LabelWave])
	Expect(err).NotTo(HaveOccurred())
	return number
}

func completionIndex(pod *corev1.Pod) int {
	GinkgoHelper()
	index, err := strconv.Atoi(pod.Annotations[batchv1.JobCompletionIndexAnnotation])
	Expect(err).NotTo(HaveOccurred())
	return index
}

// states are the run's podStates as a map.
func states(batchRun *v1alpha1.BatchRun) map[v1alpha1.Reason]int {
	counts := map[v1alpha1.Reason]int{}
	for _, state := range batchRun.Status.PodStates {
		counts[state.State] = int(state.Count)
	}
	return counts
}

// condition is the run's condition of that type; an empty one where there is none.
func condition(batchRun *v1alpha1.BatchRun, kind string) metav1.Condition {
	if c := meta.FindStatusCondition(batchRun.Status.Conditions, kind); c != nil {
		return *c
	}
	return metav1.Condition{}
}

func statusText(batchRun *v1alpha1.BatchRun) string {
	text, err := yaml.Marshal(batchRun.Status)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
