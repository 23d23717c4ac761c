package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

// base is what the tables below change.
const base = `
apiVersion: batchrun.io/v1alpha1
kind: BatchRun
metadata: {name: run}
spec:
  template:
    spec:
      containers:
      - {name: main, image: example}
`

// changed returns base with a JSON merge patch, written as YAML.
func changed(patch string) string {
	GinkgoHelper()
	document, err := yaml.YAMLToJSON([]byte(base))
	Expect(err).NotTo(HaveOccurred())
	change, err := yaml.YAMLToJSON([]byte(patch))
	Expect(err).NotTo(HaveOccurred())
	merged, err := jsonpatch.MergePatch(document, change)
	Expect(err).NotTo(HaveOccurred())
	return string(merged)
}

// rules returns a patch with these retry rules.
func rules(items ...string) string {
	return fmt.Sprintf("spec: {retryPolicy: {rules: [%s]}}", strings.Join(items, ", "))
}

// container returns a patch with one container that has more fields than base.
func container(fields string) string {
	return fmt.Sprintf("spec: {template: {spec: {containers: [{name: main, image: example, %s}]}}}", fields)
}

func sample(name string) string {
	GinkgoHelper()
	content, err := os.ReadFile(filepath.Join(Root, "config", "samples", name))
	Expect(err).NotTo(HaveOccurred())
	return string(content)
}

// expectRefusal applies a document, and expects an error with these words and no object.
func expectRefusal(namespace, document string, words ...string) {
	GinkgoHelper()
	out, err := Kubectl(document, "apply", "--namespace", namespace, "-f", "-")
	Expect(err).To(HaveOccurred(), out)
	for _, word := range words {
		Expect(out).To(ContainSubstring(word))
	}
	runs := &v1alpha1.BatchRunList{}
	Expect(K8sClient.List(Ctx, runs, client.InNamespace(namespace))).To(Succeed())
	Expect(runs.Items).To(BeEmpty())
}

// expectAcceptance applies a document in either way, twice, and expects an object with just this spec.
func expectAcceptance(namespace, document string) {
	GinkgoHelper()
	written := &unstructured.Unstructured{}
	Expect(yaml.Unmarshal([]byte(document), written)).To(Succeed())

	for _, how := range applyWays {
		args := append([]string{"apply", "--namespace", namespace, "-f", "-"}, how...)
		out, err := Kubectl(document, args...)
		Expect(err).NotTo(HaveOccurred(), out)

		kept := get(namespace, written.GetName())
		expectSpec(kept, written)
		Expect(kept.Object["status"]).To(HaveKeyWithValue("observedGeneration", BeEquivalentTo(-1)), "the status of no operator")

		out, err = Kubectl(document, args...)
		Expect(err).NotTo(HaveOccurred(), out)
		Expect(get(namespace, written.GetName()).GetGeneration()).To(BeEquivalentTo(1), "applying it again changed it")

		Expect(K8sClient.Get(Ctx, client.ObjectKeyFromObject(kept), &v1alpha1.BatchRun{})).To(Succeed(), "the Go types do not fit")
		Expect(K8sClient.Delete(Ctx, kept)).To(Succeed())
	}
}

// applyWays are the arguments for client-side and for server-side apply.
var applyWays = [][]string{{}, {"--server-side"}}

func get(namespace, name string) *unstructured.Unstructured {
	GinkgoHelper()
	run := &unstructured.Unstructured{}
	run.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("BatchRun"))
	Expect(K8sClient.Get(Ctx, client.ObjectKey{Namespace: namespace, Name: name}, run)).To(Succeed())
	return run
}

func expectSpec(kept, written *unstructured.Unstructured) {
	GinkgoHelper()
	expected, err := yaml.Marshal(written.Object["spec"])
	Expect(err).NotTo(HaveOccurred())
	Expect(yaml.Marshal(kept.Object["spec"])).To(MatchYAML(expected))
}

var _ = Describe("kubectl apply of a BatchRun", func() {
	var namespace string

	BeforeEach(func() {
		namespace = NewNamespace()
	})

	DescribeTable("refuses, in words that name the field and the fix,",
		func(patch string, words ...string) { expectRefusal(namespace, changed(patch), words...) },

		Entry("an annotation that is the operator's", `spec: {template: {metadata: {annotations: {batchrun.io/parameters: x}}}}`,
			"spec.template.metadata.annotations", "Remove this annotation"),
		Entry("a scheduling gate that is the operator's", `spec: {template: {spec: {schedulingGates: [{name: batchrun.io/parameters}]}}}`,
			"spec.template.spec.schedulingGates[0].name", "Remove this scheduling gate"),

		// The name.
		Entry("a name of 53 characters", "metadata: {name: "+strings.Repeat("a", 53)+"}",
			"metadata.name", "at most 52 characters", "Jobs and pods append"),
		Entry("a name with dots", "metadata: {name: train.v2}",
			"metadata.name", "lower case letters, digits and '-'", "host names"),
		Entry("a name that starts with a digit and ends with a dash", "metadata: {name: 1-}",
			"metadata.name"),

		// The run.
		Entry("no spec", "spec: null", "spec", "Required value"),
		Entry("completions 0", "spec: {completions: 0}", "spec.completions", "greater than or equal to 1"),
		Entry("completions -1", "spec: {completions: -1}", "spec.completions", "greater than or equal to 1"),
		Entry("completions 100001", "spec: {completions: 100001}", "spec.completions", "less than or equal to 100000"),
		Entry("completions as text", `spec: {completions: "5"}`, "spec.completions", "must be of type integer"),
		Entry("parallelism 0", "spec: {parallelism: 0}", "spec.parallelism", "greater than or equal to 1"),
		Entry("parallelism 100001", "spec: {parallelism: 100001}", "spec.parallelism", "less than or equal to 100000"),
		Entry("a negative backoffLimit", "spec: {backoffLimit: -1}", "spec.backoffLimit", "greater than or equal to 0"),
		Entry("backoffLimit 101", "spec: {backoffLimit: 101}", "spec.backoffLimit", "less than or equal to 100"),
		Entry("a negative activeDeadlineSeconds", "spec: {activeDeadlineSeconds: -1}",
			"spec.activeDeadlineSeconds", "greater than or equal to 1"),
		Entry("activeDeadlineSeconds 0", "spec: {activeDeadlineSeconds: 0}",
			"spec.activeDeadlineSeconds", "greater than or equal to 1"),
		Entry("a negative ttlSecondsAfterFinished", "spec: {ttlSecondsAfterFinished: -1}",
			"spec.ttlSecondsAfterFinished", "greater than or equal to 0"),
		Entry("a negative recordTTLSecondsAfterFinished", "spec: {recordTTLSecondsAfterFinished: -1}",
			"spec.recordTTLSecondsAfterFinished", "greater than or equal to 0"),
		Entry("a record that goes before the pods",
			"spec: {ttlSecondsAfterFinished: 10, recordTTLSecondsAfterFinished: 9}",
			"spec.recordTTLSecondsAfterFinished", "not be smaller than ttlSecondsAfterFinished"),
		Entry("a record that goes before the pods' default", "spec: {recordTTLSecondsAfterFinished: 604799}",
			"spec.recordTTLSecondsAfterFinished", "default 604800"),
		Entry(`maxFailedTasks "abc"`, "spec: {maxFailedTasks: abc}",
			"spec.maxFailedTasks", "a number from 0 to 100000", `a share from "0%" to "100%"`),
		Entry(`maxFailedTasks "101%"`, "spec: {maxFailedTasks: 101%}", "spec.maxFailedTasks", `a share from "0%" to "100%"`),
		Entry(`maxFailedTasks "5", a number as text`, `spec: {maxFailedTasks: "5"}`, "spec.maxFailedTasks", "a number from 0"),
		Entry("maxFailedTasks -1", "spec: {maxFailedTasks: -1}", "spec.maxFailedTasks", "a number from 0 to 100000"),
		Entry("a misspelled field", "spec: {backofLimit: 4}", `unknown field "spec.backofLimit"`),
		Entry("a field of a Job that a run does not have", "spec: {backoffLimitPerIndex: 1}",
			`unknown field "spec.backoffLimitPerIndex"`),
		Entry("completionMode NonIndexed", "spec: {completionMode: NonIndexed}",
			"completionMode", `supported values: "Indexed"`),

		// The pod template.
		Entry("an empty template", "spec: {template: {spec: null}}", "spec.template.spec", "Required value"),
		Entry("restartPolicy OnFailure", "spec: {template: {spec: {restartPolicy: OnFailure}}}",
			"spec.template.spec.restartPolicy", "must be Never", "retries with a new pod", "Remove the field or set it to Never"),
		Entry("restartPolicy Always", "spec: {template: {spec: {restartPolicy: Always}}}",
			"spec.template.spec.restartPolicy", "must be Never"),
		Entry("no containers", "spec: {template: {spec: {containers: null}}}",
			"spec.template.spec.containers", "Required value"),
		Entry("an empty list of containers", "spec: {template: {spec: {containers: []}}}",
			"spec.template.spec.containers", "at least 1 items"),
		Entry("a container without a name", "spec: {template: {spec: {containers: [{image: example}]}}}",
			"spec.template.spec.containers[0].name", "Required value"),
		Entry("a container name in capitals", "spec: {template: {spec: {containers: [{name: Main, image: example}]}}}",
			"spec.template.spec.containers[0].name", "should match"),
		Entry("a container without an image", "spec: {template: {spec: {containers: [{name: main}]}}}",
			"spec.template.spec.containers[0].image", "Required value"),
		Entry("two containers of one name",
			"spec: {template: {spec: {containers: [{name: a, image: example}, {name: a, image: example}]}}}",
			"spec.template.spec.containers[1]", "Duplicate value"),
		Entry("an init container with the name of a container",
			"spec: {template: {spec: {initContainers: [{name: main, image: example}]}}}",
			"spec.template.spec.initContainers", "rename one of them"),
		Entry("a mount of a volume that is not there", container("volumeMounts: [{name: data, mountPath: /data}]"),
			"spec.template.spec.containers", "volumeMounts", "add the volume or correct the name"),
		Entry("a mount of a volume that is not there, in an init container",
			"spec: {template: {spec: {volumes: [{name: a, emptyDir: {}}], "+
				"initContainers: [{name: init, image: example, volumeMounts: [{name: b, mountPath: /b}]}]}}}",
			"spec.template.spec.initContainers", "volumeMounts", "add the volume or correct the name"),
		Entry("a request above its limit", container("resources: {requests: {cpu: 2}, limits: {cpu: 1500m}}"),
			"spec.template.spec.containers[0].resources.requests", "raise the limit or lower the request"),
		Entry("a negative limit", container("resources: {limits: {memory: -1Gi}}"),
			"spec.template.spec.containers[0].resources.limits[memory]", "must not be negative"),
		Entry("a negative request as number", container("resources: {requests: {cpu: -1}}"),
			"spec.template.spec.containers[0].resources.requests[cpu]", "must not be negative"),
		Entry("a quantity that is none", container("resources: {limits: {memory: lots}}"),
			"spec.template.spec.containers[0].resources.limits.memory", "should match"),
		Entry("a deadline of 0 for each attempt", "spec: {template: {spec: {activeDeadlineSeconds: 0}}}",
			"spec.template.spec.activeDeadlineSeconds", "greater than or equal to 1"),
		Entry("a negative deadline for each attempt", "spec: {template: {spec: {activeDeadlineSeconds: -5}}}",
			"spec.template.spec.activeDeadlineSeconds", "greater than or equal to 1"),
		Entry("a negative grace period", "spec: {template: {spec: {terminationGracePeriodSeconds: -1}}}",
			"spec.template.spec.terminationGracePeriodSeconds", "greater than or equal to 0"),
		Entry("ephemeral containers", "spec: {template: {spec: {ephemeralContainers: [{}]}}}",
			"spec.template.spec.ephemeralContainers", "at most 0 items"),
		Entry("the index of a Job instead of the task's", container(
			"env: [{name: I, valueFrom: {fieldRef: "+
				`{fieldPath: "metadata.annotations['batch.kubernetes.io/job-completion-index']"}}}]`),
			"env[0].valueFrom.fieldRef.fieldPath", "$BATCHRUN_TASK_INDEX"),
		Entry("the index of a Job in a file", "spec: {template: {spec: {volumes: [{name: v, downwardAPI: {items: [{path: i, fieldRef: "+
			`{fieldPath: "metadata.labels['batch.kubernetes.io/job-completion-index']"}}]}}]}}}`,
			"volumes[0].downwardAPI.items[0].fieldRef.fieldPath", "$BATCHRUN_TASK_INDEX"),
		Entry("the index of a Job in a projected file", "spec: {template: {spec: {volumes: [{name: v, projected: {sources: [{downwardAPI: {items: [{path: i, fieldRef: "+
			`{fieldPath: "metadata.annotations['batch.kubernetes.io/job-completion-index']"}}]}}]}}]}}}`,
			"sources[0].downwardAPI.items[0].fieldRef.fieldPath", "$BATCHRUN_TASK_INDEX"),
		Entry("the labels of another Job's pods", "spec: {template: {metadata: {labels: {controller-uid: a}}}}",
			"spec.template.metadata.labels", "Remove these labels"),
		Entry("a label that is none", "spec: {template: {metadata: {labels: {a: b c}}}}",
			"spec.template.metadata.labels.a", "should match"),
		Entry("a misspelled field of the pod", container("imagePullPolcy: Always"),
			`unknown field "spec.template.spec.containers[0].imagePullPolcy"`),

		// The retry policy.
		Entry("an empty retryPolicy", "spec: {retryPolicy: {}}", "spec.retryPolicy", "at least 1 properties"),
		Entry("a negative backoff", "spec: {retryPolicy: {backoff: {baseSeconds: -1}}}",
			"spec.retryPolicy.backoff.baseSeconds", "greater than or equal to 0"),
		Entry("a backoff of more than a day", "spec: {retryPolicy: {backoff: {maxSeconds: 86401}}}",
			"spec.retryPolicy.backoff.maxSeconds", "less than or equal to 86400"),
		Entry("a maximum below the base", "spec: {retryPolicy: {backoff: {maxSeconds: 5}}}",
			"spec.retryPolicy.backoff", "maxSeconds (default 360) must not be smaller than baseSeconds (default 10)"),
		Entry("a negative maxDisruptions", "spec: {retryPolicy: {maxDisruptions: -1}}",
			"spec.retryPolicy.maxDisruptions", "greater than or equal to 0"),
		Entry("an empty list of rules", rules(), "spec.retryPolicy.rules", "at least 1 items"),
		Entry("a rule without action", rules("{reasons: [Error]}"), "spec.retryPolicy.rules[0].action", "Required value"),
		Entry("an unknown action", rules("{reasons: [Error], action: Retry}"),
			"spec.retryPolicy.rules[0].action", `Unsupported value: "Retry"`, `"Count", "Ignore", "FailTask", "FailRun"`),
		Entry("an unknown reason", rules("{reasons: [OutOfMemory], action: Count}"),
			"spec.retryPolicy.rules[0].reasons[0]", `Unsupported value: "OutOfMemory"`, `"OOMKilled"`),
		Entry("a rule for Completed", rules("{reasons: [Completed], action: Count}"),
			"spec.retryPolicy.rules[0].reasons[0]", `Unsupported value: "Completed"`),
		Entry("a rule without reasons and exit codes", rules("{action: Count}"),
			"spec.retryPolicy.rules[0]", "exactly one of reasons and exitCodes"),
		Entry("a rule with reasons and exit codes",
			rules("{reasons: [Error], exitCodes: {operator: In, values: [1]}, action: Count}"),
			"spec.retryPolicy.rules[0]", "exactly one of reasons and exitCodes"),
		Entry("a rule with no reason in its list", rules("{reasons: [], action: Count}"),
			"spec.retryPolicy.rules[0].reasons", "at least 1 items"),
		Entry("a reason twice in one rule", rules("{reasons: [Error, Error], action: Count}"),
			"spec.retryPolicy.rules[0].reasons[1]", `Duplicate value: "Error"`),
		Entry("a reason in two rules",
			rules("{reasons: [OOMKilled, Error], action: Count}", "{reasons: [Evicted, Error], action: FailTask}"),
			"spec.retryPolicy.rules", "a reason must be listed by one rule only", "Remove it from one of them"),
		Entry("an exit code in two rules",
			rules("{exitCodes: {operator: In, values: [1, 2]}, action: Count}",
				"{exitCodes: {operator: In, values: [2, 3]}, action: FailTask}"),
			"spec.retryPolicy.rules", "an exit code must be listed by one rule", "Remove it from one of them"),
		Entry("two rules with NotIn",
			rules("{exitCodes: {operator: NotIn, values: [1]}, action: Count}",
				"{exitCodes: {operator: NotIn, values: [2]}, action: FailTask}"),
			"spec.retryPolicy.rules", "at most one rule may have exitCodes with operator NotIn"),
		Entry("In behind NotIn, which never matches",
			rules("{exitCodes: {operator: NotIn, values: [1]}, action: Count}",
				"{exitCodes: {operator: In, values: [2]}, action: FailTask}"),
			"spec.retryPolicy.rules", "put the rules with exitCodes and operator In before the one with operator NotIn"),
		Entry("exit codes behind reason Error, which never match",
			rules("{reasons: [Error], action: Count}", "{exitCodes: {operator: In, values: [2]}, action: FailTask}"),
			"spec.retryPolicy.rules", "put the rules with exitCodes before the one with reason Error"),
		Entry("exit code 0", rules("{exitCodes: {operator: In, values: [0]}, action: Count}"),
			"spec.retryPolicy.rules[0].exitCodes.values[0]", "greater than or equal to 1"),
		Entry("exit code 256", rules("{exitCodes: {operator: In, values: [256]}, action: Count}"),
			"spec.retryPolicy.rules[0].exitCodes.values[0]", "less than or equal to 255"),
		Entry("no exit codes", rules("{exitCodes: {operator: In, values: []}, action: Count}"),
			"spec.retryPolicy.rules[0].exitCodes.values", "at least 1 items"),
		Entry("an unknown operator", rules("{exitCodes: {operator: Is, values: [1]}, action: Count}"),
			"spec.retryPolicy.rules[0].exitCodes.operator", `Unsupported value: "Is"`, `"In", "NotIn"`),
		Entry("memory for another reason",
			rules("{reasons: [Error], action: Count, memory: {increasePercent: 50, max: 1Gi}}"),
			"spec.retryPolicy.rules[0].memory", "reasons: [OOMKilled]"),
		Entry("memory for attempts that are not counted",
			rules("{reasons: [OOMKilled], action: Ignore, memory: {increasePercent: 50, max: 1Gi}}"),
			"spec.retryPolicy.rules[0].memory", "action: Count"),
		Entry("memory that does not grow",
			rules("{reasons: [OOMKilled], action: Count, memory: {increasePercent: 0, max: 1Gi}}"),
			"spec.retryPolicy.rules[0].memory.increasePercent", "greater than or equal to 1"),
		Entry("no most memory", rules("{reasons: [OOMKilled], action: Count, memory: {increasePercent: 50}}"),
			"spec.retryPolicy.rules[0].memory.max", "Required value"),
		Entry("a negative most memory",
			rules("{reasons: [OOMKilled], action: Count, memory: {increasePercent: 50, max: -1Gi}}"),
			"spec.retryPolicy.rules[0].memory.max", "must be more than 0"),
		Entry("most memory below the limit",
			`spec: {retryPolicy: {rules: [{reasons: [OOMKilled], action: Count, memory: {increasePercent: 50, max: 1Gi}}]},
			template: {spec: {containers: [{name: main, image: example, resources: {limits: {memory: 1025Mi}}}]}}}`,
			"spec.retryPolicy.rules", "memory.max", "raise memory.max"),
		Entry("most memory below the request of the second container",
			`spec: {retryPolicy: {rules: [{reasons: [OOMKilled], action: Count, memory: {increasePercent: 50, max: 1Gi}}]},
			template: {spec: {containers: [{name: a, image: example},
			{name: main, image: example, resources: {requests: {memory: 2Gi}}}]}}}`,
			"spec.retryPolicy.rules", "memory.max", "raise memory.max"),
		Entry("most memory below the limit of an init container",
			`spec: {retryPolicy: {rules: [{reasons: [OOMKilled], action: Count, memory: {increasePercent: 50, max: 1Gi}}]},
			template: {spec: {initContainers: [{name: init, image: example, resources: {limits: {memory: 2Gi}}}]}}}`,
			"spec.retryPolicy.rules", "memory.max", "raise memory.max"),

		// Start and logs.
		Entry("an empty startup", "spec: {startup: {}}", "spec.startup", "at least 1 properties"),
		Entry("a negative deadline for images", "spec: {startup: {imagePullDeadlineSeconds: -1}}",
			"spec.startup.imagePullDeadlineSeconds", "greater than or equal to 1"),
		Entry("a deadline of 0 for a node", "spec: {startup: {unschedulableDeadlineSeconds: 0}}",
			"spec.startup.unschedulableDeadlineSeconds", "greater than or equal to 1"),
		Entry("an unknown choice of logs", "spec: {logs: {keep: Some}}",
			"spec.logs.keep", `Unsupported value: "Some"`, `"All", "Failed", "None"`),
		Entry("no log lines", "spec: {logs: {tailLines: 0}}", "spec.logs.tailLines", "greater than or equal to 1"),
		Entry("more log lines than the kubelet keeps", "spec: {logs: {tailLines: 81}}",
			"spec.logs.tailLines", "less than or equal to 80"),
		Entry("more of the log than the kubelet keeps", "spec: {logs: {tailBytes: 2049}}",
			"spec.logs.tailBytes", "less than or equal to 2048"),
	)

	DescribeTable("accepts, and leaves as it was written,",
		func(document func() string) { expectAcceptance(namespace, document()) },

		Entry("the sample pi", func() string { return sample("pi.yaml") }),
		Entry("the sample array", func() string { return sample("array.yaml") }),
		Entry("the sample retries", func() string { return sample("retries.yaml") }),
		Entry("the sample memory", func() string { return sample("memory.yaml") }),
		Entry("all fields at once", func() string { return changed(allFields) }),
		Entry("the least of each field", func() string { return changed(leastOfEach) }),
		Entry("the most of each field", func() string { return changed(mostOfEach) }),
		Entry("a name of 52 characters", func() string { return changed("metadata: {name: " + strings.Repeat("a", 52) + "}") }),
		Entry("maxFailedTasks as a number", func() string { return changed("spec: {maxFailedTasks: 7}") }),
		Entry("quantities as numbers", func() string {
			return changed(container("resources: {limits: {cpu: 1, memory: 1e9}, requests: {memory: 1000000}}"))
		}),
		Entry("In before NotIn before Error", func() string {
			return changed(rules("{exitCodes: {operator: In, values: [2]}, action: FailTask}",
				"{exitCodes: {operator: In, values: [3]}, action: FailRun}",
				"{exitCodes: {operator: NotIn, values: [2, 3, 4]}, action: Ignore}",
				"{reasons: [Error], action: Count}"))
		}),
		Entry("a pod of many parts", func() string { return changed(largePod) }),
		Entry("what kubectl create job writes", func() string {
			return changed(`
metadata: {creationTimestamp: null}
spec: {template: {metadata: {creationTimestamp: null},
  spec: {containers: [{name: main, image: example, resources: {}}], restartPolicy: Never}}}
status: {}`)
		}),
	)

	It("takes an edit of every field", func() {
		for _, patch := range []string{"{}", allFields, leastOfEach, mostOfEach} {
			out, err := Kubectl(changed(patch), "apply", "--namespace", namespace, "-f", "-")
			Expect(err).NotTo(HaveOccurred(), out)
		}
	})

	It("accepts a generated name", func() {
		out, err := Kubectl(changed("metadata: {name: null, generateName: run-}"), "create", "--namespace", namespace, "-f", "-")
		Expect(err).NotTo(HaveOccurred(), out)
	})
})

var _ = DescribeTable("kubectl explain tells of", func(field, text string) {
	out, err := Kubectl("", "explain", field)
	Expect(err).NotTo(HaveOccurred(), out)
	Expect(strings.Join(strings.Fields(out), " ")).To(ContainSubstring(text))
},
	Entry("the kind", "batchrun", "change apiVersion and kind, nothing else"),
	Entry("a field", "batchrun.spec.completions", "an array with the indexes 0 to completions-1"),
	Entry("a nested field", "br.spec.retryPolicy.rules.action", "Count: retry, counted against backoffLimit"),
	Entry("the status", "batchruns.status.failures.logTail", "The end of its log"),
	Entry("the pod", "batchrun.spec.template.spec", "see kubectl explain job.spec.template.spec"),
)

const allFields = `
spec:
  template:
    metadata: {labels: {app: example}, annotations: {note: example}}
    spec:
      restartPolicy: Never
      activeDeadlineSeconds: 60
      terminationGracePeriodSeconds: 0
      schedulingGates: [{name: example.com/gate}]
      initContainers: [{name: sidecar, image: example, restartPolicy: Always}]
      containers:
      - name: main
        image: example
        ports: [{containerPort: 80}, {containerPort: 80, protocol: UDP}]
        env:
        - {name: ONE, value: "1"}
        - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
        volumeMounts: [{name: scratch, mountPath: /scratch}]
        resources: {limits: {memory: 1Gi, nvidia.com/gpu: 1}, requests: {memory: 1024Mi, cpu: 500m}}
      volumes: [{name: scratch, emptyDir: {sizeLimit: 1Gi}}]
      imagePullSecrets: [{name: example}]
      tolerations: [{operator: Exists}]
  completions: 10
  parallelism: 5
  backoffLimit: 3
  activeDeadlineSeconds: 3600
  suspend: true
  ttlSecondsAfterFinished: 60
  recordTTLSecondsAfterFinished: 60
  cancel: false
  maxFailedTasks: 10%
  retryPolicy:
    backoff: {baseSeconds: 1, maxSeconds: 10}
    maxDisruptions: 5
    rules:
    - {reasons: [OOMKilled], action: Count, memory: {increasePercent: 50, max: 1Gi}}
    - {exitCodes: {operator: In, values: [2, 3]}, action: FailTask}
    - {reasons: [Evicted, Preempted, NodeLost, Deleted, Unknown], action: Ignore}
    - {reasons: [Error, DeadlineExceeded, ImagePullFailed, StartFailed, Unschedulable], action: FailRun}
  startup: {imagePullDeadlineSeconds: 60, unschedulableDeadlineSeconds: 60}
  logs: {keep: Failed, tailLines: 10, tailBytes: 1000}
  pilot: 1
  rerun: {token: "2", indexes: "3,7-9"}
`

const leastOfEach = `
spec:
  completions: 1
  parallelism: 1
  backoffLimit: 0
  activeDeadlineSeconds: 1
  ttlSecondsAfterFinished: 0
  recordTTLSecondsAfterFinished: 0
  maxFailedTasks: 0
  retryPolicy:
    backoff: {baseSeconds: 0, maxSeconds: 0}
    maxDisruptions: 0
    rules: [{exitCodes: {operator: NotIn, values: [1]}, action: Ignore}]
  startup: {imagePullDeadlineSeconds: 1, unschedulableDeadlineSeconds: 1}
  logs: {keep: None, tailLines: 1, tailBytes: 1}
  pilot: 0
  rerun: {token: a}
`

const mostOfEach = `
spec:
  completions: 100000
  parallelism: 100000
  backoffLimit: 100
  activeDeadlineSeconds: 2147483647
  ttlSecondsAfterFinished: 2147483647
  recordTTLSecondsAfterFinished: 2147483647
  maxFailedTasks: 100%
  retryPolicy:
    backoff: {baseSeconds: 86400, maxSeconds: 86400}
    maxDisruptions: 200
    rules: [{reasons: [OOMKilled], action: Count, memory: {increasePercent: 900, max: 64Ti}}]
  startup: {imagePullDeadlineSeconds: 2147483647, unschedulableDeadlineSeconds: 2147483647}
  logs: {keep: All, tailLines: 80, tailBytes: 2048}
  pilot: 100000
  rerun: {token: a token of 63 characters, which is the most that a token may be, indexes: 0-99999}
`

// largePod is about as large as a client-side apply can be, to see that the validation rules stay within their budget.
var largePod = func() string {
	list := func(n int, item string) string {
		items := make([]string, n)
		for i := range items {
			items[i] = fmt.Sprintf(item, i)
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	containers := make([]string, 64)
	for i := range containers {
		containers[i] = fmt.Sprintf("{name: c%d, image: example, env: %s, volumeMounts: %s}", i,
			list(20, "{name: E%d, valueFrom: {fieldRef: {fieldPath: metadata.name}}}"),
			list(20, "{name: v%[1]d, mountPath: /v%[1]d}"))
	}
	return fmt.Sprintf("spec: {template: {spec: {containers: [%s], volumes: %s}}}",
		strings.Join(containers, ", "), list(256, "{name: v%d, emptyDir: {}}"))
}()
