package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gexec"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	. "github.com/batchrun/batchrun/test/stage"
)

// binary is the operator as a process of its own.
type binary struct {
	Program
	probes string
}

// probe is the status code with which it answers; 0 where it does not.
func (b *binary) probe(path string) int {
	request, err := http.NewRequestWithContext(Ctx, http.MethodGet, "http://"+b.probes+path, nil)
	Expect(err).NotTo(HaveOccurred())
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	defer func() { _ = response.Body.Close() }()
	return response.StatusCode
}

func (b *binary) isReady() {
	GinkgoHelper()
	Eventually(func() int { return b.probe("/readyz") }).Should(Equal(http.StatusOK), b.Log)
}

// isNotReady waits until it is not, says so in its log, and lives on.
func (b *binary) isNotReady(says string) {
	GinkgoHelper()
	Eventually(func() int { return b.probe("/readyz") }, 2*time.Minute).Should(Equal(http.StatusInternalServerError))
	Eventually(b.Log).Should(ContainSubstring(says))
	Expect(b.probe("/healthz")).To(Equal(http.StatusOK))
	Expect(b.Alive()).To(BeTrue())
}

// ends waits until it has ended, for a reason that the last line of its log tells.
func (b *binary) ends(says string) {
	GinkgoHelper()
	Eventually(b.Session).Should(gexec.Exit(1))
	lines := strings.Split(strings.TrimSpace(b.Log()), "\n")
	var last struct{ Msg, Error string }
	Expect(json.Unmarshal([]byte(lines[len(lines)-1]), &last)).To(Succeed(), lines[len(lines)-1])
	Expect(last.Msg).To(Equal("the operator stopped"))
	Expect(last.Error).To(ContainSubstring(says))
}

// switched is a connection to the API server on which a test lets some answers be others.
type switched struct {
	next    http.RoundTripper
	instead atomic.Pointer[func(*http.Request, http.RoundTripper) (*http.Response, error)]
}

// RoundTrip implements http.RoundTripper.
func (s *switched) RoundTrip(r *http.Request) (*http.Response, error) {
	if instead := s.instead.Load(); instead != nil {
		return (*instead)(r, s.next)
	}
	return s.next.RoundTrip(r)
}

// answer is a JSON body with a status code.
func answer(r *http.Request, code int, body string) *http.Response {
	return &http.Response{StatusCode: code, Request: r, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"Content-Type": {"application/json"}},
		ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body))}
}

// withoutBatchRuns is an API server that does not know them.
func withoutBatchRuns(r *http.Request, next http.RoundTripper) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Path, "/apis/batchrun.io") {
		return answer(r, http.StatusNotFound, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404,
			"message":"the server could not find the requested resource"}`), nil
	}
	return next.RoundTrip(r)
}

// withoutPolicies is an API server that has no MutatingAdmissionPolicy.
func withoutPolicies(r *http.Request, next http.RoundTripper) (*http.Response, error) {
	switch r.URL.Path {
	default:
		return next.RoundTrip(r)
	case "/apis": // asked as clients of old ask, it does not tell what is in a group
		r.Header.Set("Accept", "application/json")
		return next.RoundTrip(r)
	case "/apis/admissionregistration.k8s.io/v1":
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Del("Accept-Encoding")
	response, err := next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	var list metav1.APIResourceList
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
		return nil, err
	}
	list.APIResources = slices.DeleteFunc(list.APIResources, func(r metav1.APIResource) bool { return strings.HasPrefix(r.Name, "mutatingadmission") })
	body, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	return answer(r, http.StatusOK, string(body)), nil
}

// gone is an API server that does not answer.
func gone(*http.Request, http.RoundTripper) (*http.Response, error) { return nil, errors.New("gone") }

// expiredCertificate is a client certificate of the cluster's CA that has expired, and its key.
func expiredCertificate() (certificate, key []byte) {
	GinkgoHelper()
	pki := filepath.Join(Root, "hack", "local", ".local", "clusters", "integration", "pki")
	read := func(name string) []byte {
		content, err := os.ReadFile(filepath.Join(pki, name))
		if err != nil {
			Skip("the key of this cluster's CA is not to be had: " + err.Error())
		}
		block, _ := pem.Decode(content)
		Expect(block).NotTo(BeNil())
		return block.Bytes
	}
	authority, err := x509.ParseCertificate(read("ca.crt"))
	Expect(err).NotTo(HaveOccurred())
	authorityKey, err := x509.ParsePKCS8PrivateKey(read("ca.key"))
	Expect(err).NotTo(HaveOccurred())
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	signed, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(99), Subject: pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, authority, &own.PublicKey, authorityKey)
	Expect(err).NotTo(HaveOccurred())
	ownKey, err := x509.MarshalPKCS8PrivateKey(own)
	Expect(err).NotTo(HaveOccurred())
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: ownKey})
}

var _ = Describe("The operator's binary", Ordered, ContinueOnFailure, func() {
	var manager string

	BeforeAll(func() {
		manager = Build("cmd/manager")
	})

	// run starts it with a kubeconfig and flags, until the end of the test.
	run := func(kubeconfig string, flags ...string) *binary {
		GinkgoHelper()
		probes := FreeAddress()
		b := &binary{StartProgram(manager, []string{"KUBECONFIG=" + kubeconfig}, append([]string{"--health-probe-bind-address=" + probes}, flags...)...), probes}
		DeferCleanup(b.End)
		return b
	}
	// operator is a kubeconfig of the operator's service account, on a cluster, with an edit.
	operator := func(c *Cluster, edit func(*clientcmdapi.Config)) string {
		GinkgoHelper()
		path := filepath.Join(GinkgoT().TempDir(), "kubeconfig")
		c.OperatorKubeconfig(path)
		config, err := clientcmd.LoadFromFile(path)
		Expect(err).NotTo(HaveOccurred())
		edit(config)
		Expect(clientcmd.WriteToFile(*config, path)).To(Succeed())
		return path
	}
	as := func(*clientcmdapi.Config) {}
	// throughSwitch is the suite's cluster, and the connection to it.
	throughSwitch := func() (*Cluster, *switched) {
		GinkgoHelper()
		s := &switched{}
		return SuiteCluster().Through(func(next http.RoundTripper) http.RoundTripper {
			s.next = next
			return s
		}), s
	}
	// account is a service account of its own that may do what the operator may, its kubeconfig, and that it may.
	account := func() (*corev1.ServiceAccount, string, *rbacv1.ClusterRoleBinding) {
		GinkgoHelper()
		sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: OperatorNamespace, GenerateName: "test-operator-"}}
		Expect(K8sClient.Create(Ctx, sa)).To(Succeed())
		binding := &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: sa.Name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "batchrun-operator"},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: sa.Namespace, Name: sa.Name}},
		}
		Expect(K8sClient.Create(Ctx, binding)).To(Succeed())
		DeferCleanup(func() {
			Expect(client.IgnoreNotFound(K8sClient.Delete(Ctx, sa))).To(Succeed())
			Expect(client.IgnoreNotFound(K8sClient.Delete(Ctx, binding))).To(Succeed())
		})
		path := filepath.Join(GinkgoT().TempDir(), "kubeconfig")
		SuiteCluster().KubeconfigOf(sa.Name, path)
		return sa, path, binding
	}

	DescribeTable("ends and says which flag is wrong", func(says string, flags ...string) {
		run(operator(SuiteCluster(), as), flags...).ends(says)
	},
		Entry("one that there is not", "no-such-flag", "--no-such-flag"),
		Entry("no number", "kube-api-qps", "--kube-api-qps=fast"),
		Entry("a number that makes no sense", "--concurrency must be at least 1, is 0", "--concurrency=0"),
		Entry("no address", "--metrics-bind-address must be HOST:PORT or :PORT", "--metrics-bind-address=8443"),
		Entry("no namespace", `"Team_A" is no name of a namespace`, "--namespaces=Team_A"),
		Entry("no level of the log", "zap-log-level", "--zap-log-level=loud"),
		Entry("a value apart from its flag", `"true" is no flag`, "--leader-elect", "true"),
		Entry("no namespace for the lease", "needs --leader-election-namespace", "--leader-elect"),
	)

	It("ends where it starts without an API server, and says so", func() {
		run(operator(SuiteCluster(), func(c *clientcmdapi.Config) { c.Clusters["test"].Server = "https://" + FreeAddress() })).
			ends("the API server cannot be reached")
	})

	It("ends where the API server's certificate is of another CA, and says so", func() {
		certificate, _ := expiredCertificate()
		run(operator(SuiteCluster(), func(c *clientcmdapi.Config) {
			c.Clusters["test"].CertificateAuthority, c.Clusters["test"].CertificateAuthorityData = "", certificate
		})).ends("the API server's certificate has expired or is not of the CA")
	})

	It("ends where its own certificate has expired, and says so", func() {
		certificate, key := expiredCertificate()
		run(operator(SuiteCluster(), func(c *clientcmdapi.Config) {
			c.AuthInfos["operator"] = &clientcmdapi.AuthInfo{ClientCertificateData: certificate, ClientKeyData: key}
		})).ends("the API server does not accept the operator's")
	})

	It("ends where the CRD is not installed, and says so", func() {
		cluster, connection := throughSwitch()
		instead := withoutBatchRuns
		connection.instead.Store(&instead)
		run(operator(cluster, as)).ends("the CustomResourceDefinition batchruns.batchrun.io is not installed")
	})

	It("ends where it may not do what it has to, and says what", func() {
		_, path, binding := account()
		Expect(K8sClient.Delete(Ctx, binding)).To(Succeed())
		run(path).ends("the operator lacks rights")
	})

	It("is ready where the API server has no MutatingAdmissionPolicy, and tells what that means", func() {
		cluster, connection := throughSwitch()
		instead := withoutPolicies
		connection.instead.Store(&instead)
		b := run(operator(cluster, as))
		b.isReady()
		Expect(b.Log()).To(ContainSubstring("this Kubernetes has no MutatingAdmissionPolicy"))
	})

	It("is not ready while the API server does not answer or does not know BatchRuns, and is not restarted for it", func() {
		cluster, connection := throughSwitch()
		b := run(operator(cluster, as))
		b.isReady()
		unreachable := gone
		connection.instead.Store(&unreachable)
		b.isNotReady("the API server cannot be reached")
		connection.instead.Store(nil)
		b.isReady()
		unknown := withoutBatchRuns
		connection.instead.Store(&unknown)
		b.isNotReady("the CustomResourceDefinition batchruns.batchrun.io is not installed")
		connection.instead.Store(nil)
		b.isReady()
	})

	It("is not ready while it may not do what it has to, and says what", func() {
		_, path, binding := account()
		b := run(path)
		b.isReady()
		Expect(K8sClient.Delete(Ctx, binding)).To(Succeed())
		b.isNotReady("the operator lacks rights")
		binding.ResourceVersion, binding.UID = "", ""
		binding.RoleRef.Name = "batchrun-viewer" // it may read runs, and no more
		Expect(K8sClient.Create(Ctx, binding)).To(Succeed())
		b.isNotReady("the operator may not list events in all namespaces: apply its roles again")
		Expect(K8sClient.Delete(Ctx, binding)).To(Succeed())
		binding.ResourceVersion, binding.UID, binding.RoleRef.Name = "", "", "batchrun-operator"
		Expect(K8sClient.Create(Ctx, binding)).To(Succeed())
		b.isReady()
	})

	It("is not ready once its credentials are not accepted any more", func() {
		sa, path, _ := account()
		b := run(path)
		b.isReady()
		Expect(K8sClient.Delete(Ctx, sa)).To(Succeed())
		b.isNotReady("the API server does not accept the operator's credentials")
	})

	It("is ready where another replica is active, and not where none can be", func() {
		path := operator(SuiteCluster(), as)
		lost := run(path, "--leader-elect", "--leader-election-namespace=nowhere")
		active := run(path, "--leader-elect", "--leader-election-namespace="+OperatorNamespace)
		standby := run(path, "--leader-elect", "--leader-election-namespace="+OperatorNamespace)
		active.isReady()
		standby.isReady()
		lost.isNotReady("set --leader-election-namespace to a namespace that exists")
		leads := func(b *binary) bool { return strings.Contains(b.Log(), "Starting workers") }
		Eventually(func() bool { return leads(active) || leads(standby) }).Should(BeTrue())
		Expect(leads(active) && leads(standby)).To(BeFalse())
		Expect(leads(lost)).To(BeFalse())
	})
})
