// Package install installs, upgrades and removes the operator on a real node, by Helm and by kustomize.
//
// It starts a cluster of its own and takes it down again. With KUBECONFIG set to that of a cluster of hack/local, it uses
// that one, on which the operator must not be installed.
package install

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gexec"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/batchrun/batchrun/test/local"
)

const (
	root      = "../.."
	operator  = "batchrun-system"
	taskImage = "ghcr.io/batchrun/e2e-task:e2e"
	crd       = "crd/batchruns.batchrun.io"
	// within is how long anything may take on a busy machine.
	within = 3 * time.Minute
)

// apiPort is the port of the API server, and probePorts are two that nobody else uses: pods share the machine's network.
var (
	apiPort    int
	probePorts [2]int
)

func TestInstall(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(within)
	SetDefaultEventuallyPollingInterval(200 * time.Millisecond)
	RunSpecs(t, "install")
}

var _ = BeforeSuite(func() {
	bin, err := filepath.Abs(filepath.Join(root, "hack", "local", ".local", "bin"))
	Expect(err).NotTo(HaveOccurred())
	Expect(os.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))).To(Succeed())
	if os.Getenv("KUBECONFIG") == "" {
		const name = "install"
		local.Run(root, "down", "--name", name) // what a killed suite left
		DeferCleanup(func() { local.Run(root, "down", "--name", name) })
		local.Run(root, "up", "--name", name, "--node", "real")
		Expect(os.Setenv("KUBECONFIG", local.Run(root, "kubeconfig", "--name", name))).To(Succeed())
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	Expect(err).NotTo(HaveOccurred())
	server, err := url.Parse(config.Host)
	Expect(err).NotTo(HaveOccurred())
	apiPort, err = strconv.Atoi(server.Port())
	Expect(err).NotTo(HaveOccurred())
	probePorts = [2]int{apiPort + 8, apiPort + 9} // a local cluster has ten ports

	DeferCleanup(gexec.CleanupBuildArtifacts)
	makeImage("ghcr.io/batchrun/batchrun:v1", "github.com/batchrun/batchrun/cmd/manager")
	makeImage("ghcr.io/batchrun/batchrun:v2", "github.com/batchrun/batchrun/cmd/manager")
	makeImage(taskImage, "github.com/batchrun/batchrun/test/e2e/task")
})

// makeImage makes an image of a program, which the cluster's node can pull.
func makeImage(image, program string) {
	GinkgoHelper()
	// As hack/local builds it, so that it is compiled once only.
	binary, err := gexec.BuildWithEnvironment(program, []string{"CGO_ENABLED=0"}, "-tags=disable_grpc_modules", "-ldflags=-s -w")
	Expect(err).NotTo(HaveOccurred())
	local.Run(root, "image", image, "--binary", binary)
}

// clusterName is what hack/local knows the cluster by.
func clusterName() string { return filepath.Base(filepath.Dir(os.Getenv("KUBECONFIG"))) }

func try(stdin, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*within)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Stdin = root, strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", cmd, err, out)
	}
	return string(out), err
}

func kubectl(args ...string) string {
	GinkgoHelper()
	out, err := try("", "kubectl", args...)
	Expect(err).NotTo(HaveOccurred())
	return out
}

func apply(manifest string) {
	GinkgoHelper()
	_, err := try(manifest, "kubectl", "apply", "--server-side", "-f", "-")
	Expect(err).NotTo(HaveOccurred())
}

func helm(args ...string) string {
	GinkgoHelper()
	modfile, err := filepath.Abs(filepath.Join(root, "hack", "tools", "helm", "go.mod"))
	Expect(err).NotTo(HaveOccurred())
	out, err := try("", "go", append([]string{"tool", "-modfile=" + modfile, "helm"}, args...)...)
	Expect(err).NotTo(HaveOccurred())
	return out
}

// localValues fit the chart to the local cluster, which has no kube-proxy: the operator uses the node's network and listens
// on loopback only. Two operators that run at once, as in an upgrade, need ports of their own.
func localValues(tag string, probePort int) string {
	GinkgoHelper()
	values := fmt.Sprintf(`
image: {tag: %s}
replicas: 1
flags: {health-probe-bind-address: "127.0.0.1:%d"}
podSpec: {hostNetwork: true}
env:
- {name: KUBERNETES_SERVICE_HOST, value: 127.0.0.1}
- {name: KUBERNETES_SERVICE_PORT, value: "%d"}
metrics: {enabled: false}
`, tag, probePort, apiPort)
	file := filepath.Join(GinkgoT().TempDir(), "values.yaml")
	Expect(os.WriteFile(file, []byte(values), 0o600)).To(Succeed())
	return file
}

// start creates a run of n tasks, each of which takes so long.
func start(namespace, name string, n, parallelism int, sleep string) {
	GinkgoHelper()
	apply(fmt.Sprintf(`
apiVersion: batchrun.io/v1alpha1
kind: BatchRun
metadata: {name: %s, namespace: %s}
spec:
  completions: %d
  parallelism: %d
  template:
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: main, image: %s, imagePullPolicy: IfNotPresent, args: [sleep, "%s", then, print, done]}
`, name, namespace, n, parallelism, taskImage, sleep))
}

// status is a field of the status of a run.
func status(namespace, run, field string) string {
	GinkgoHelper()
	return kubectl("-n", namespace, "get", "batchrun", run, "-o", "jsonpath={.status."+field+"}")
}

// runningPods are the names of a run's pods that run.
func runningPods(namespace string) []string {
	GinkgoHelper()
	return strings.Fields(kubectl("-n", namespace, "get", "pods", "-l", "batchrun.io/run", "--field-selector=status.phase=Running",
		"-o", "jsonpath={.items[*].metadata.name}"))
}

func newNamespace(name string) {
	GinkgoHelper()
	kubectl("create", "namespace", name)
}

// namespaceGoes deletes a namespace, which nothing may block.
func namespaceGoes(name string) {
	GinkgoHelper()
	kubectl("delete", "namespace", name, "--timeout=90s")
}
