package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

// resources is a spec whose container has these resources.
func resources(requests, limits string, more ...string) string {
	spec := fmt.Sprintf("template: {spec: {containers: [{resources: {requests: {%s}, limits: {%s}}}]}}", requests, limits)
	return strings.Join(append([]string{spec}, more...), "\n")
}

// sample is the spec of one of config/samples.
func sample(name string) v1alpha1.BatchRunSpec {
	GinkgoHelper()
	text, err := os.ReadFile(filepath.Join(Root, "config", "samples", name))
	Expect(err).NotTo(HaveOccurred())
	var run v1alpha1.BatchRun
	Expect(yaml.UnmarshalStrict(text, &run)).To(Succeed())
	run.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever // the default of a run, not of a Job
	return run.Spec
}

var _ = Describe("The site's rules", func() {
	DescribeTable("judge requests and limits:",
		func(spec string, problems ...string) { expectProblems(specOf(spec), problems...) },

		Entry("equal ones", resources("cpu: 1, memory: 1Gi", "cpu: 1, memory: 1Gi")),
		Entry("limits alone, which are requests too", resources("", "cpu: 1, memory: 1Gi")),
		Entry("neither", resources("", ""), "template.spec.containers[0] (main0): has no request of cpu and memory: set resources.requests"),
		Entry("no cpu", resources("memory: 1Gi", "memory: 1Gi"), "(main0): has no request of cpu: set"),
		Entry("no memory", resources("cpu: 1", "cpu: 1"), "(main0): has no request of memory: set"),
		Entry("none in an init container", "template: {spec: {initContainers: [{resources: {limits: {}}}]}}",
			"template.spec.initContainers[0] (init0): has no request of cpu and memory"),
		Entry("none in a sidecar", "template: {spec: {initContainers: [{restartPolicy: Always, resources: {limits: {}}}]}}",
			"template.spec.initContainers[0] (init0): has no request of cpu and memory"),
		Entry("those of the pod", "template: {spec: {resources: "+good+", containers: [{resources: {limits: {}}}]}}"),
		Entry("a pod's limit far above its request",
			"template: {spec: {resources: {requests: {cpu: 1, memory: 1Gi}, limits: {cpu: 1, memory: 2Gi}}, containers: [{resources: {limits: {}}}]}}",
			"template.spec: the limit of memory (2Gi) is more than 20% above its request (1Gi)"),

		Entry("20% more cpu", resources("cpu: 1, memory: 1Gi", "cpu: 1200m, memory: 1Gi")),
		Entry("a little above 20% more cpu", resources("cpu: 1, memory: 1Gi", "cpu: 1201m, memory: 1Gi"),
			"(main0): the limit of cpu (1201m) is more than 20% above its request (1)"),
		Entry("20% more memory", resources("cpu: 1, memory: 1000Mi", "cpu: 1, memory: 1200Mi")),
		Entry("a little above 20% more memory", resources("cpu: 1, memory: 1000Mi", "cpu: 1, memory: 1201Mi"),
			"(main0): the limit of memory (1201Mi) is more than 20% above its request (1000Mi)"),
		Entry("20% more ephemeral storage", resources("cpu: 1, memory: 1Gi, ephemeral-storage: 10G", "cpu: 1, memory: 1Gi, ephemeral-storage: 12G")),
		Entry("more than 20% more ephemeral storage",
			resources("cpu: 1, memory: 1Gi, ephemeral-storage: 10G", "cpu: 1, memory: 1Gi, ephemeral-storage: 13G"),
			"(main0): the limit of ephemeral-storage (13G) is more than 20% above its request (10G)"),
		Entry("no limit of memory", resources("cpu: 1, memory: 1Gi", "cpu: 1"),
			"(main0): memory has a request (1Gi) and no limit: set resources.limits.memory"),
		Entry("no limits", resources("cpu: 1, memory: 1Gi", ""), "cpu has a request (1) and no limit", "memory has a request (1Gi) and no limit"),
		Entry("several problems", resources("cpu: 1, memory: 1Gi", "cpu: 2, memory: 2Gi"),
			"the limit of cpu (2) is more than 20%", "the limit of memory (2Gi) is more than 20%"),
		Entry("problems of two containers", "template: {spec: {containers: [{resources: {limits: {cpu: 1}}}, {resources: {limits: {memory: 1Gi}}}]}}",
			"(main0): has no request of memory", "(main1): has no request of cpu"),

		Entry("20% more, 100 tasks", resources("cpu: 1, memory: 1000Mi", "cpu: 1, memory: 1200Mi", "completions: 100")),
		Entry("more, 101 tasks", resources("cpu: 1, memory: 1000Mi", "cpu: 1, memory: 1001Mi", "completions: 101"),
			"(main0): the limit of memory (1001Mi) is not its request (1000Mi): with more than 100 tasks, here 101"),
		Entry("equal in other words, 101 tasks", resources("cpu: 1, memory: 1Gi", "cpu: 1000m, memory: 1024Mi", "completions: 101")),
		Entry("no limit, 101 tasks", resources("cpu: 1, memory: 1Gi", "cpu: 1", "completions: 101"), "memory has a request (1Gi) and no limit"),
		Entry("20% more, 100 combinations", resources("cpu: 1, memory: 1000Mi", "cpu: 1, memory: 1200Mi",
			"parameters: {matrix: [{name: A, range: {start: 1, end: 50}}, {name: B, values: [x, y]}]}")),
		Entry("more, 110 combinations", resources("cpu: 1, memory: 1000Mi", "cpu: 1, memory: 1200Mi",
			"parameters: {matrix: [{name: A, range: {start: 110, end: 1, step: -2}}, {name: B, values: [x, y]}]}"),
			"is not its request (1000Mi): with more than 100 tasks, here 110"),
		Entry("more, 100 combinations and one that is included", resources("cpu: 1, memory: 1000Mi", "cpu: 1, memory: 1200Mi",
			`parameters: {matrix: [{name: A, range: {start: 0, end: 99}}], include: [{A: "200"}]}`),
			"is not its request (1000Mi): with more than 100 tasks, here 101"),
		Entry("20% more, two items", resources("cpu: 1, memory: 1000Mi", "cpu: 1, memory: 1200Mi", "parameters: {items: [{A: x}, {A: y}]}")),
		Entry("more, 101 items", resources("cpu: 1, memory: 1000Mi", "cpu: 1, memory: 1200Mi",
			"parameters: {items: ["+strings.TrimSuffix(strings.Repeat("{A: x},", 101), ",")+"]}"),
			"is not its request (1000Mi): with more than 100 tasks, here 101"),
		Entry("16 parameters", resources("cpu: 1, memory: 1000Mi", "cpu: 1, memory: 1200Mi", "parallelism: 1", "parameters: {matrix: ["+
			"{name: A, values: [x]}, {name: B, values: [x]}, {name: C, values: [x]}, {name: D, values: [x]}, {name: E, values: [x]},"+
			"{name: F, values: [x]}, {name: G, values: [x]}, {name: H, values: [x]}, {name: I, values: [x]}, {name: J, values: [x]},"+
			"{name: K, values: [x]}, {name: L, values: [x]}, {name: M, values: [x]}, {name: N, values: [x]}, {name: O, values: [x]},"+
			"{name: P, range: {start: 1, end: 101}}]}"), "with more than 100 tasks, here 101"),
	)

	DescribeTable("judge parallelism:",
		func(spec string, problems ...string) { expectProblems(specOf(spec), problems...) },

		Entry("400", "{completions: 1000, parallelism: 400}"),
		Entry("401", "{completions: 1000, parallelism: 401}",
			"spec.…parallelism: 401 tasks may be active at once: set parallelism to at most 400"),
		Entry("none, for 400 tasks", "{completions: 400}"),
		Entry("none, for 401 tasks", "{completions: 401}", "spec.parallelism: 401 tasks may be active at once"),
		Entry("none, for 401 combinations", "parameters: {matrix: [{name: A, range: {start: 0, end: 400}}]}",
			"spec.parallelism: 401 tasks may be active at once"),
		Entry("1000, for few tasks", "{completions: 10, parallelism: 1000}"),
	)

	It("let pi run, with a warning", func() {
		expectProblems(sample("pi.yaml"), "the limit of cpu (1) is more than 20% above its request (50m)",
			"the limit of memory (200Mi) is more than 20% above its request (50Mi)")
	})

	Describe("by their examples", func() {
		gpus := func(n int, more string) v1alpha1.BatchRunSpec {
			r := fmt.Sprintf("cpu: 1, memory: 1Gi, nvidia.com/gpu: %d", n)
			return specOf(resources(r, r, more))
		}

		It("say nothing of GPUs and priority classes", func() {
			expectProblems(gpus(64, ""))
			expectProblems(specOf("template: {spec: {priorityClassName: urgent}}"))
		})

		It("limit the GPUs of a pod", func() {
			setFigures(map[string]string{"maxGPUsPerPod": "2"})
			expectProblems(gpus(2, ""))
			expectProblems(gpus(3, ""), "template.spec: has 3 GPUs: use at most 2 in a pod")
			three := gpus(2, "")
			three.Template.Spec.Containers = append(three.Template.Spec.Containers, gpus(1, "").Template.Spec.Containers...)
			three.Template.Spec.Containers[1].Name = "other"
			expectProblems(three, "template.spec: has 3 GPUs")
		})

		It("want a deadline where there are GPUs", func() {
			setFigures(map[string]string{"gpusNeedDeadline": "true"})
			expectProblems(gpus(1, ""), "template.spec: has GPUs and no deadline: set activeDeadlineSeconds")
			expectProblems(gpus(1, "activeDeadlineSeconds: 3600"))
			one := gpus(1, "")
			deadline := int64(3600)
			one.Template.Spec.ActiveDeadlineSeconds = &deadline
			expectProblems(one)
			expectProblems(specOf("{}"))
		})

		It("allow some priority classes", func() {
			setFigures(map[string]string{"priorityClasses": "low, opportunistic"})
			expectProblems(specOf("template: {spec: {priorityClassName: opportunistic}}"))
			expectProblems(specOf("{}"))
			expectProblems(specOf("template: {spec: {priorityClassName: urgent}}"),
				"template.spec.priorityClassName: urgent is not for batch work: use one of low, opportunistic, or none")
		})
	})

	It("tell ten problems, and how many there are", func() {
		spec := specOf("template: {spec: {containers: [{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}]}}")
		for i := range spec.Template.Spec.Containers {
			spec.Template.Spec.Containers[i].Command = []string{"sleep", "infinity"}
		}
		told := refusal(judged.Create(Ctx, run("", denied, spec)))
		Expect(told).To(HaveLen(11))
		Expect(told[10]).To(Equal("and 1 more"))
	})

	It("of the baseline let every sample pass, and no endless command", func() {
		install("baseline")
		DeferCleanup(func() {
			install("nrp")
			awaitFigures("")
		})
		patchFigures(nil)
		samples, err := filepath.Glob(filepath.Join(Root, "config", "samples", "*.yaml"))
		Expect(err).NotTo(HaveOccurred())
		for _, path := range samples {
			if name := filepath.Base(path); name != "kustomization.yaml" {
				By(name)
				expectProblems(sample(name))
			}
		}
		expectProblems(specOf(sleeper), endless)
		expectProblems(command("sleep", "1d"))
		expectProblems(command("sleep", "25h"), "sleeps for more than 86400 seconds")
		expectProblems(specOf("template: {spec: {containers: [{command: []}]}}"))
		expectProblems(specOf(resources("cpu: 1, memory: 1Gi", "memory: 4Gi", "completions: 1000")))
		expectProblems(specOf(resources("cpu: 1, memory: 1Gi", "memory: 5Gi")), "the limit of memory (5Gi) is more than 300% above")
		expectProblems(specOf(resources("memory: 1Gi", "memory: 1Gi")), "has no request of cpu")
		expectProblems(specOf("{completions: 1001}"), "1001 tasks may be active at once: set parallelism to at most 1000")
	})
})
