// Package integration tests BatchRun against a control plane without nodes: a real API server, with the project's
// CustomResourceDefinition in it, a real controller manager, which runs the Jobs, and a real scheduler. The operator
// runs in the test's process, as its service account; a kubelet of the tests' own plays the pods.
//
// It uses the cluster that KUBECONFIG names; where it is not set, it starts one and stops it at the end.
package integration

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/test/local"
)

// What every test may use.
var (
	ctx       context.Context
	cfg       *rest.Config
	k8sClient client.Client
	scheme    = runtime.NewScheme()
)

const (
	root          = "../.."
	clusterName   = "integration"
	propagateTime = 30 * time.Second
)

var (
	kubeconfig  string
	kubectlPath string
)

func init() {
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
}

func TestIntegration(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "integration")
}

var _ = BeforeSuite(func() {
	var cancel context.CancelFunc
	ctx, cancel = context.WithCancel(context.Background())
	DeferCleanup(func() { cancel() })

	kubeconfig = os.Getenv("KUBECONFIG")
	if kubeconfig == "" {
		kubeconfig = startCluster()
	}
	kubectlPath = findKubectl()

	var err error
	cfg, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	Expect(err).NotTo(HaveOccurred())
	cfg.QPS = -1 // The API server is ours, and its own limits hold.
	k8sClient, err = client.New(cfg, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())

	ctrl.SetLogger(GinkgoLogr)
	SetDefaultEventuallyTimeout(time.Minute)
	SetDefaultEventuallyPollingInterval(50 * time.Millisecond)
	installCRDs()
	installRoles()
	installPolicy()
	registerNode()
})

// startCluster returns the path of the new cluster's kubeconfig.
func startCluster() string {
	GinkgoHelper()
	DeferCleanup(func() { local.Run(root, "down", "--name", clusterName) })
	local.Run(root, "up", "--name", clusterName, "--node", "none")
	return local.Run(root, "kubeconfig", "--name", clusterName)
}

// findKubectl prefers the one that was built with the cluster.
func findKubectl() string {
	GinkgoHelper()
	built, err := filepath.Abs(filepath.Join(root, "hack", "local", ".local", "bin", "kubectl"))
	Expect(err).NotTo(HaveOccurred())
	if _, err := os.Stat(built); err == nil {
		return built
	}
	installed, err := exec.LookPath("kubectl")
	Expect(err).NotTo(HaveOccurred(), "the integration tests need kubectl")
	return installed
}

// installCRDs applies them as a user does, and waits until the API server both serves and validates them.
func installCRDs() {
	GinkgoHelper()
	out, err := kubectl("", "apply", "-k", filepath.Join(root, "config", "crd"))
	Expect(err).NotTo(HaveOccurred(), out)
	Eventually(func() error { // it fails while there are no conditions yet
		_, err := kubectl("", "wait", "--for=condition=Established", "--timeout=30s", "crd/batchruns.batchrun.io")
		return err
	}, propagateTime).Should(Succeed())
	Eventually(func() error {
		return k8sClient.List(ctx, &v1alpha1.BatchRunList{})
	}, propagateTime).Should(Succeed())
}

// installRoles applies the operator's service account and what it may do.
func installRoles() {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: operatorNamespace}}
	Expect(client.IgnoreAlreadyExists(k8sClient.Create(ctx, namespace))).To(Succeed())
	out, err := kubectl("", "apply", "-k", filepath.Join(root, "config", "rbac"))
	Expect(err).NotTo(HaveOccurred(), out)
}

// kubectl returns what kubectl printed, on either output.
func kubectl(stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, kubectlPath, append([]string{"--kubeconfig", kubeconfig}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kubectl %s: %w", strings.Join(args, " "), err)
	}
	return out.String(), nil
}

// newNamespace returns the name of a namespace that lives as long as the test.
func newNamespace() string {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	Expect(k8sClient.Create(ctx, namespace)).To(Succeed())
	DeferCleanup(func() {
		Expect(client.IgnoreNotFound(k8sClient.Delete(ctx, namespace))).To(Succeed())
	})
	return namespace.Name
}
