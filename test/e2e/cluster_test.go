package e2e

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/test/local"
)

const (
	root        = "../.."
	clusterName = "e2e"

	taskImage = "ghcr.io/batchrun/e2e-task:e2e"

	operatorNamespace = "batchrun-system"
	operatorName      = "batchrun-operator"
)

// started is true where this process started the cluster.
var started bool

// preferBuiltTools puts the tools that were built with the local cluster in front of the machine's own.
func preferBuiltTools() {
	GinkgoHelper()
	built, err := filepath.Abs(filepath.Join(root, "hack", "local", ".local", "bin"))
	Expect(err).NotTo(HaveOccurred())
	Expect(os.Setenv("PATH", built+string(os.PathListSeparator)+os.Getenv("PATH"))).To(Succeed())
}

func startCluster() environment {
	GinkgoHelper()
	local.Run(root, "down", "--name", clusterName) // what a killed suite left
	started = true
	local.Run(root, "up", "--name", clusterName, "--node", "real", "--audit")
	return environment{Kubeconfig: local.Run(root, "kubeconfig", "--name", clusterName), TaskImage: taskImage, Local: clusterName}
}

func stopCluster() {
	GinkgoHelper()
	endSuite()
	if started {
		local.Run(root, "down", "--name", clusterName)
	}
}

func useCluster() environment {
	GinkgoHelper()
	kubeconfig := os.Getenv("KUBECONFIG")
	Expect(kubeconfig).NotTo(BeEmpty(), "E2E_USE_EXISTING_CLUSTER=true needs KUBECONFIG")
	e := environment{Kubeconfig: kubeconfig, TaskImage: cmp.Or(os.Getenv("E2E_TASK_IMAGE"), taskImage)}
	clusters, err := filepath.Abs(filepath.Join(root, "hack", "local", ".local", "clusters"))
	Expect(err).NotTo(HaveOccurred())
	if folder := filepath.Dir(kubeconfig); filepath.Dir(folder) == clusters {
		e.Local = filepath.Base(folder)
	}
	return e
}

// localFile is the path of a file of the local cluster.
func localFile(path ...string) string {
	return filepath.Join(append([]string{filepath.Dir(env.Kubeconfig)}, path...)...)
}

// buildAndDeploy builds the operator and the images that the specs run, and puts them into the local cluster.
func buildAndDeploy() {
	GinkgoHelper()
	local.Run(root, "deploy", "--name", env.Local)
	binary := filepath.Join(GinkgoT().TempDir(), "task")
	build := exec.CommandContext(suiteContext, "go", "build", "-o", binary, "./test/e2e/task")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), "%s: %s", build, out)
	local.Run(root, "image", taskImage, "--binary", binary, "--name", env.Local)
	local.Run(root, "image", "perl")
}

// waitUntilAvailable waits for the operator as a user does.
func waitUntilAvailable() {
	GinkgoHelper()
	kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd/batchruns.batchrun.io")
	kubectl("-n", operatorNamespace, "rollout", "status", "deployment/"+operatorName, "--timeout=180s")
	kubectl("-n", operatorNamespace, "wait", "--for=condition=Available", "--timeout=180s", "deployment/"+operatorName)
}

func operatorPods() []corev1.Pod {
	GinkgoHelper()
	var deployment appsv1.Deployment
	Expect(k8s.Get(suiteContext, client.ObjectKey{Namespace: operatorNamespace, Name: operatorName}, &deployment)).To(Succeed())
	var pods corev1.PodList
	Expect(k8s.List(suiteContext, &pods, client.InNamespace(operatorNamespace),
		client.MatchingLabels(deployment.Spec.Selector.MatchLabels))).To(Succeed())
	return pods.Items
}

// kubectl returns what kubectl printed; it has to succeed.
func kubectl(args ...string) string {
	GinkgoHelper()
	return kubectlIn("", args...)
}

func kubectlIn(stdin string, args ...string) string {
	GinkgoHelper()
	out, err := tryKubectl(stdin, args...)
	Expect(err).NotTo(HaveOccurred(), out)
	return out
}

// tryKubectl returns what kubectl printed, on either output.
func tryKubectl(stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(suiteContext, 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "kubectl", args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kubectl %s: %w", strings.Join(args, " "), err)
	}
	return out.String(), nil
}
