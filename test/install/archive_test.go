package install

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/batchrun/batchrun/test/stage"
)

const (
	// tasks is as many as the node can hold; every tenth is evicted once.
	tasks   = 100
	evicted = 10
	// spoken is how many lines a task says before it goes on to the next step.
	spoken = 500
	// patience is how long so many pods may take on a busy machine.
	patience = 10 * time.Minute
)

// says is what an attempt says in a step.
func says(task int) string {
	var lines strings.Builder
	for i := range spoken {
		fmt.Fprintf(&lines, "task %d, line %d\n", task, i)
	}
	return lines.String()
}

var _ = Describe("An archive of logs", Ordered, func() {
	var program string

	BeforeAll(func() {
		program = Build("cmd/kubectl-batchrun")
		server, api := StartS3(BuildS3()), FreeAddress()
		newNamespace(operator)
		kubectl("-n", operator, "create", "secret", "generic", "batchrun-archive",
			"--from-literal=AWS_ACCESS_KEY_ID="+S3User, "--from-literal=AWS_SECRET_ACCESS_KEY="+S3Secret)
		helm("install", "batchrun", chart, "-n", operator, "--wait", "-f", localValues("v1", probePorts[0]),
			"--set-string", "logArchive.url="+S3URL(server.Address), "--set-string", "flags.log-archive-bind-address="+api)
		DeferCleanup(func() {
			helm("uninstall", "batchrun", "-n", operator, "--wait")
			kubectl("delete", crd)
			namespaceGoes(operator)
		})
		// No kube-proxy leads from the Service to the operator, which uses the node's network.
		kubectl("-n", operator, "patch", "service", "batchrun-archive", "--type=merge", "-p",
			`{"spec": {"type": "ExternalName", "externalName": "127.0.0.1", "clusterIP": null, "clusterIPs": null}}`)
		_, port, _ := strings.Cut(api, ":")
		kubectl("patch", "apiservice", "v1alpha1.archive.batchrun.io", "--type=merge", "-p",
			fmt.Sprintf(`{"spec": {"service": {"port": %s}}}`, port))
		kubectl("wait", "--for=condition=Available", "--timeout=90s", "apiservice/v1alpha1.archive.batchrun.io")
	})

	It("has everything that 100 tasks said, of which 10% were evicted, after every pod is gone", func() {
		newNamespace("logs")
		DeferCleanup(namespaceGoes, "logs")
		apply(fmt.Sprintf(`
apiVersion: batchrun.io/v1alpha1
kind: BatchRun
metadata: {name: said, namespace: logs}
spec:
  completions: %d
  parallelism: %d # all in the first wave
  retryPolicy: {backoff: {baseSeconds: 0}}
  template:
    spec:
      containers:
      - name: main
        image: %s
        imagePullPolicy: IfNotPresent
        args: [lines, "%d", then, sleep, 10m, every, "%d", below, "1", then, lines, "%d"]
        env: [{name: WAVE, valueFrom: {fieldRef: {fieldPath: "metadata.labels['batchrun.io/wave']"}}}]
`, tasks, tasks, taskImage, spoken, tasks/evicted, spoken))
		done := map[string]bool{}
		Eventually(func(g Gomega) {
			for pod := range strings.FieldsSeq(kubectl("-n", "logs", "get", "pods", "-l", "batchrun.io/wave=0", "--field-selector=status.phase=Running",
				"-o", `jsonpath={range .items[*]}{.metadata.name}/{.metadata.labels['batch\.kubernetes\.io/job-completion-index']} {end}`)) {
				name, index, _ := strings.Cut(pod, "/")
				task, err := strconv.Atoi(index)
				g.Expect(err).NotTo(HaveOccurred())
				if task%(tasks/evicted) == 0 && !done[name] && said("logs", name) == says(task) {
					evict("logs", name)
					done[name] = true
				}
			}
			g.Expect(done).To(HaveLen(evicted))
		}).WithTimeout(patience).Should(Succeed())
		Eventually(func() string { return status("logs", "said", "phase") }).WithTimeout(patience).Should(Equal("Succeeded"))
		var states []struct {
			State string
			Count int
		}
		Expect(json.Unmarshal([]byte(status("logs", "said", "podStates")), &states)).To(Succeed())
		Expect(states).To(ConsistOf(HaveField("State", "Completed"), HaveField("State", "Evicted")))
		Expect(states).To(ConsistOf(HaveField("Count", tasks), HaveField("Count", evicted)))
		kubectl("-n", "logs", "wait", "batchrun/said", "--for=condition=LogsArchived", "--timeout=2m")
		kubectl("-n", "logs", "delete", "pods", "--all", "--timeout=2m")

		for task := range tasks {
			last := 1
			if task%(tasks/evicted) == 0 {
				last = 2
				Expect(archived(program, task, 1)).To(Equal(says(task)+"told to stop\nexiting with 143\n"), "task %d", task)
			}
			Expect(archived(program, task, last)).To(Equal(says(task)+says(task)), "task %d", task)
		}
	})
})

// said is the log of a pod so far.
func said(namespace, pod string) string {
	GinkgoHelper()
	return kubectl("-n", namespace, "logs", pod)
}

// evict evicts a pod as a node that is drained does.
func evict(namespace, pod string) {
	GinkgoHelper()
	eviction, err := json.Marshal(map[string]any{"apiVersion": "policy/v1", "kind": "Eviction",
		"metadata": map[string]string{"namespace": namespace, "name": pod}})
	Expect(err).NotTo(HaveOccurred())
	file := filepath.Join(GinkgoT().TempDir(), "eviction.json")
	Expect(os.WriteFile(file, eviction, 0o600)).To(Succeed())
	kubectl("create", "--raw", fmt.Sprintf("/api/v1/namespaces/%s/pods/%s/eviction", namespace, pod), "-f", file)
}

// archived is what kubectl batchrun logs shows of an attempt.
func archived(plugin string, task, attempt int) string {
	GinkgoHelper()
	out, err := try("", plugin, "-n", "logs", "logs", "said", "--task", strconv.Itoa(task), "--attempt", strconv.Itoa(attempt))
	Expect(err).NotTo(HaveOccurred())
	source, text, _ := strings.Cut(out, "\n")
	Expect(source).To(ContainSubstring("from the archive"))
	return text
}
