package stage

import (
	"context"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/test/local"
)

// OperatorNamespace is where the operator's service account is, and its lease.
const OperatorNamespace = operatorNamespace

// tokenSeconds is longer than any suite takes.
const tokenSeconds = 24 * 3600

// Cluster is a cluster for operators that run as processes of their own.
type Cluster struct {
	name   string
	config *rest.Config
	Client client.Client
}

// SuiteCluster is the one that SetUp prepared.
func SuiteCluster() *Cluster { return &Cluster{config: Cfg, Client: K8sClient} }

// StartCluster starts a cluster besides the suite's, whose parts may be killed. It is gone when the test is.
func StartCluster(name string, flags ...string) *Cluster {
	GinkgoHelper()
	DeferCleanup(func() { local.Run(Root, "down", "--name", name) })
	local.Run(Root, append([]string{"up", "--name", name}, flags...)...)
	path := local.Run(Root, "kubeconfig", "--name", name)
	c := &Cluster{name: name}
	var err error
	c.config, err = clientcmd.BuildConfigFromFlags("", path)
	Expect(err).NotTo(HaveOccurred())
	c.config.QPS = -1
	c.Client, err = client.New(c.config, client.Options{Scheme: Scheme})
	Expect(err).NotTo(HaveOccurred())

	Expect(c.Client.Create(Ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: operatorNamespace}})).To(Succeed())
	for _, folder := range []string{"crd", "rbac", "policy"} {
		out, err := Kubectl("", "--kubeconfig", path, "apply", "-k", filepath.Join(Root, "config", folder))
		Expect(err).NotTo(HaveOccurred(), out)
	}
	Eventually(func() error { return c.Client.List(Ctx, &v1alpha1.BatchRunList{}) }, PropagateTime).Should(Succeed())
	c.addNode()
	return c
}

// addNode makes a node that nobody keeps alive: its pods have to tolerate that it is lost.
func (c *Cluster) addNode() {
	GinkgoHelper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: NodeName, Labels: map[string]string{corev1.LabelHostname: NodeName}}}
	Expect(c.Client.Create(Ctx, node)).To(Succeed())
	big := node.DeepCopy()
	big.Status.Capacity = corev1.ResourceList{corev1.ResourcePods: resource.MustParse("10k")}
	big.Status.Allocatable = big.Status.Capacity
	Expect(c.Client.Status().Patch(Ctx, big, client.StrategicMergeFrom(node))).To(Succeed())
}

// Kill ends a part of the cluster at once.
func (c *Cluster) Kill(part string) {
	GinkgoHelper()
	local.Kill(Root, c.name, part)
}

// Mend starts what was killed, and waits until it answers.
func (c *Cluster) Mend() {
	GinkgoHelper()
	local.Run(Root, "up", "--name", c.name)
}

// OperatorKubeconfig writes a kubeconfig of the operator's service account.
func (c *Cluster) OperatorKubeconfig(path string) {
	GinkgoHelper()
	c.KubeconfigOf("batchrun-operator", path)
}

// KubeconfigOf writes a kubeconfig of a service account in the operator's namespace.
func (c *Cluster) KubeconfigOf(name, path string) {
	GinkgoHelper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: name}}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](tokenSeconds)}}
	Expect(c.Client.SubResource("token").Create(Ctx, account, request)).To(Succeed())
	file := clientcmdapi.NewConfig()
	file.Clusters["test"] = &clientcmdapi.Cluster{
		Server: c.config.Host, CertificateAuthority: c.config.CAFile, CertificateAuthorityData: c.config.CAData}
	file.AuthInfos["operator"] = &clientcmdapi.AuthInfo{Token: request.Status.Token}
	file.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "operator"}
	file.CurrentContext = "test"
	Expect(clientcmd.WriteToFile(*file, path)).To(Succeed())
}

// Scene is a stage whose operator runs elsewhere: a namespace with a kubelet, and a history that has to keep the
// invariants to the end.
type Scene struct {
	*Cluster
	Namespace string
	Kubelet   *Kubelet
	History   *History
}

// NewScene sets a scene whose pods follow the script.
func (c *Cluster) NewScene(s Script) *Scene {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	Expect(c.Client.Create(Ctx, namespace)).To(Succeed())
	ctx, cancel := context.WithCancel(Ctx)
	scene := &Scene{Cluster: c, Namespace: namespace.Name}
	scene.History = keepHistoryOn(ctx, c.config, namespace.Name)
	scene.Kubelet = startKubeletOn(ctx, c.config, namespace.Name, s)
	DeferCleanup(func() {
		cancel()
		Expect(client.IgnoreNotFound(c.Client.Delete(Ctx, namespace))).To(Succeed())
		Expect(scene.History.violations()).To(BeEmpty())
		Expect(scene.Kubelet.broken()).To(BeEmpty())
	})
	return scene
}

// Latest are the last versions of all runs, by their names.
func (h *History) Latest() map[string]*v1alpha1.BatchRun {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	latest := map[string]*v1alpha1.BatchRun{}
	for _, version := range h.versions {
		latest[version.Name] = version
	}
	return latest
}

// Statuses is how many versions had a status.
func (h *History) Statuses() int {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	n := 0
	for _, version := range h.versions {
		if version.Status.ObservedGeneration > 0 {
			n++
		}
	}
	return n
}
