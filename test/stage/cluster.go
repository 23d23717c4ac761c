package stage

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gexec"
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
	Ctx       = context.Background()
	Cfg       *rest.Config
	K8sClient client.Client
	Scheme    = runtime.NewScheme()
)

const (
	Root          = "../.."
	PropagateTime = 30 * time.Second
)

var (
	kubeconfig  string
	kubectlPath string
)

func init() {
	utilruntime.Must(clientgoscheme.AddToScheme(Scheme))
	utilruntime.Must(v1alpha1.AddToScheme(Scheme))
}

// SetUp finds the cluster of KUBECONFIG, or starts one of this name, and prepares it for the suite.
func SetUp(clusterName string) {
	GinkgoHelper()
	var cancel context.CancelFunc
	Ctx, cancel = context.WithCancel(context.Background())
	DeferCleanup(func() { cancel() })
	DeferCleanup(gexec.CleanupBuildArtifacts)

	kubeconfig = os.Getenv("KUBECONFIG")
	if kubeconfig == "" {
		kubeconfig = startCluster(clusterName)
	}
	kubectlPath = findKubectl()

	var err error
	Cfg, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	Expect(err).NotTo(HaveOccurred())
	Cfg.QPS = -1 // The API server is ours, and its own limits hold.
	K8sClient, err = client.New(Cfg, client.Options{Scheme: Scheme})
	Expect(err).NotTo(HaveOccurred())

	ctrl.SetLogger(GinkgoLogr)
	SetDefaultEventuallyTimeout(time.Minute)
	SetDefaultEventuallyPollingInterval(50 * time.Millisecond)
	installCRDs()
	installRoles()
	if ServesPolicies() {
		InstallPolicy()
	}
	NewNode(NodeName, "batchrun.io/test")
}

// startCluster returns the path of the new cluster's kubeconfig.
func startCluster(clusterName string) string {
	GinkgoHelper()
	DeferCleanup(func() { local.Run(Root, "down", "--name", clusterName) })
	local.Run(Root, "up", "--name", clusterName, "--node", "none")
	return local.Run(Root, "kubeconfig", "--name", clusterName)
}

// findKubectl prefers the one that was built with the cluster.
func findKubectl() string {
	GinkgoHelper()
	for _, folder := range []string{os.Getenv("BATCHRUN_KUBERNETES"), ""} {
		built, err := filepath.Abs(filepath.Join(Root, "hack", "local", ".local", "bin", folder, "kubectl"))
		Expect(err).NotTo(HaveOccurred())
		if _, err := os.Stat(built); err == nil {
			return built
		}
	}
	installed, err := exec.LookPath("kubectl")
	Expect(err).NotTo(HaveOccurred(), "the integration tests need kubectl")
	return installed
}

// installCRDs applies them as a user does, and waits until the API server both serves and validates them.
func installCRDs() {
	GinkgoHelper()
	out, err := Kubectl("", "apply", "-k", filepath.Join(Root, "config", "crd"))
	Expect(err).NotTo(HaveOccurred(), out)
	Eventually(func() error { // it fails while there are no conditions yet
		_, err := Kubectl("", "wait", "--for=condition=Established", "--timeout=30s", "crd/batchruns.batchrun.io")
		return err
	}, PropagateTime).Should(Succeed())
	Eventually(func() error {
		return K8sClient.List(Ctx, &v1alpha1.BatchRunList{})
	}, PropagateTime).Should(Succeed())
}

// installRoles applies the operator's service account and what it may do.
func installRoles() {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: operatorNamespace}}
	Expect(client.IgnoreAlreadyExists(K8sClient.Create(Ctx, namespace))).To(Succeed())
	out, err := Kubectl("", "apply", "-k", filepath.Join(Root, "config", "rbac"))
	Expect(err).NotTo(HaveOccurred(), out)
	out, err = Kubectl(mayLookForNoPolicy, "apply", "-f", "-")
	Expect(err).NotTo(HaveOccurred(), out)
}

// mayLookForNoPolicy lets an operator with Wire.NoPolicy ask for the one that it is shown instead.
const mayLookForNoPolicy = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: batchrun-test-no-policy}
rules:
- apiGroups: [admissionregistration.k8s.io]
  resources: [mutatingadmissionpolicies, mutatingadmissionpolicybindings]
  resourceNames: [` + noPolicy + `]
  verbs: [list, watch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: batchrun-test-no-policy}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: batchrun-test-no-policy}
subjects: [{kind: ServiceAccount, namespace: ` + operatorNamespace + `, name: batchrun-operator}]
`

// Kubeconfig is the path of the kubeconfig of the suite's cluster, for an admin.
func Kubeconfig() string { return kubeconfig }

// Kubectl returns what kubectl printed, on either output.
func Kubectl(stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(Ctx, kubectlPath, append([]string{"--kubeconfig", kubeconfig}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kubectl %s: %w", strings.Join(args, " "), err)
	}
	return out.String(), nil
}

// NewNamespace returns the name of a namespace that lives as long as the test.
func NewNamespace() string {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	Expect(K8sClient.Create(Ctx, namespace)).To(Succeed())
	DeferCleanup(func() {
		Expect(client.IgnoreNotFound(K8sClient.Delete(Ctx, namespace))).To(Succeed())
	})
	return namespace.Name
}
