package archive

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/archive"
	"github.com/batchrun/batchrun/controllers/archiveapi"
	. "github.com/batchrun/batchrun/test/stage"
)

const (
	group          = "/apis/archive.batchrun.io"
	certificate    = "batchrun-archive-certificate"
	apiServiceName = "v1alpha1.archive.batchrun.io"
)

// logs are an archive on the disk that can be broken.
type logs struct {
	*archive.Store

	broken atomic.Bool
	// read, if it is set, is every log.
	read func(ctx context.Context) io.ReadCloser
}

func newLogs() *logs {
	GinkgoHelper()
	store, err := archive.Open(Ctx, "file://"+GinkgoT().TempDir())
	Expect(err).NotTo(HaveOccurred())
	return &logs{Store: store}
}

// Attempts implements archiveapi.Logs.
func (l *logs) Attempts(ctx context.Context, run types.UID, task int) ([]archive.Attempt, error) {
	if l.broken.Load() {
		return nil, errors.New("no route to the bucket")
	}
	return l.Store.Attempts(ctx, run, task)
}

// Read implements archiveapi.Logs.
func (l *logs) Read(ctx context.Context, attempt archive.Attempt, container string) (io.ReadCloser, error) {
	if l.read != nil {
		return l.read(ctx), nil
	}
	return l.Store.Read(ctx, attempt, container)
}

// put stores the log of an attempt of a run.
func (l *logs) put(run *v1alpha1.BatchRun, task, number int, text string) {
	GinkgoHelper()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err := io.WriteString(w, text)
	Expect(errors.Join(err, w.Close())).To(Succeed())
	attempt := archive.Attempt{Namespace: run.Namespace, Run: run.Name, RunUID: run.UID, Task: task, Execution: 1, Number: number,
		Pod: fmt.Sprintf("pod-%d", number), PodUID: types.UID(fmt.Sprintf("uid-%d", number)),
		Containers: []archive.Container{{Name: "main", Bytes: int64(len(text))}}}
	Expect(l.Put(Ctx, attempt, func(string) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(packed.Bytes())), nil
	})).To(Succeed())
}

// replica serves logs as a replica of the operator does, with its rights, and returns where.
func replica(l archiveapi.Logs) string {
	GinkgoHelper()
	config := rest.CopyConfig(Cfg)
	config.Impersonate = rest.ImpersonationConfig{UserName: OperatorUser}
	mgr, err := ctrl.NewManager(config, ctrl.Options{Scheme: Scheme, Logger: GinkgoLogr,
		Metrics: metricsserver.Options{BindAddress: "0"}, HealthProbeBindAddress: "0"})
	Expect(err).NotTo(HaveOccurred())
	listener, err := (&net.ListenConfig{}).Listen(Ctx, "tcp", "127.0.0.1:0")
	Expect(err).NotTo(HaveOccurred())
	Expect(archiveapi.Add(mgr, l, listener)).To(Succeed())
	ctx, cancel := context.WithCancel(Ctx)
	stopped := make(chan struct{})
	go func() {
		defer GinkgoRecover()
		defer close(stopped)
		Expect(mgr.Start(ctx)).To(Succeed())
	}()
	DeferCleanup(func() {
		cancel()
		Eventually(stopped).Should(BeClosed())
	})
	return listener.Addr().String()
}

// manifests are what config/archive has, with a Service that leads to the address: no kube-proxy runs here.
func manifests(address string) string {
	GinkgoHelper()
	port := netip.MustParseAddrPort(address).Port()
	var documents []string
	for _, file := range []string{"api_service.yaml", "rbac.yaml", "log_viewer.yaml"} {
		text, err := os.ReadFile(filepath.Join(Root, "config", "archive", file))
		Expect(err).NotTo(HaveOccurred())
		documents = append(documents, strings.Split(string(text), "\n---\n")...)
	}
	for i, text := range documents {
		object := &unstructured.Unstructured{}
		Expect(yaml.Unmarshal([]byte(text), object)).To(Succeed(), text)
		switch object.GetKind() {
		case "Service":
			object.Object["spec"] = map[string]any{"type": "ExternalName", "externalName": "127.0.0.1"}
		case "APIService":
			Expect(unstructured.SetNestedField(object.Object, int64(port), "spec", "service", "port")).To(Succeed())
		}
		out, err := yaml.Marshal(object)
		Expect(err).NotTo(HaveOccurred())
		documents[i] = string(out)
	}
	return strings.Join(documents, "\n---\n")
}

// install installs the API at an address, and waits until it is available.
func install(address string) {
	GinkgoHelper()
	text := manifests(address)
	DeferCleanup(func() { // else the API server would go on asking
		out, err := Kubectl(text, "delete", "--ignore-not-found", "-f", "-")
		Expect(err).NotTo(HaveOccurred(), out)
	})
	out, err := Kubectl(text, "apply", "-f", "-")
	Expect(err).NotTo(HaveOccurred(), out)
	available()
}

// available waits until the API server finds the API available.
func available() {
	GinkgoHelper()
	out, err := Kubectl("", "wait", "--for=condition=Available", "--timeout=60s", "apiservice/"+apiServiceName)
	Expect(err).NotTo(HaveOccurred(), out)
}

// newRun makes a run that no operator looks at.
func newRun(namespace string) *v1alpha1.BatchRun {
	GinkgoHelper()
	run := &v1alpha1.BatchRun{}
	Expect(yaml.Unmarshal([]byte(`{spec: {completions: 10, template: {spec: {containers: [{name: main, image: example}]}}}}`), run)).To(Succeed())
	run.Namespace, run.Name = namespace, "train"
	Expect(K8sClient.Create(Ctx, run)).To(Succeed())
	return run
}

// allow gives a user one of Kubernetes' own roles in a namespace.
func allow(name, role, namespace string) {
	GinkgoHelper()
	Expect(K8sClient.Create(Ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}},
	})).To(Succeed())
}

// answer is what a request got.
type answer struct {
	Code int
	Text string
}

// as is an HTTP client of the API server for a user of the cluster.
func as(name string) *http.Client {
	GinkgoHelper()
	config := rest.CopyConfig(Cfg)
	config.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: []string{"system:authenticated"}}
	c, err := rest.HTTPClientFor(config)
	Expect(err).NotTo(HaveOccurred())
	return c
}

// get asks the API server for a path.
func get(c *http.Client, path string) answer {
	GinkgoHelper()
	response := request(c, Cfg.Host+path, nil)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	Expect(err).NotTo(HaveOccurred())
	return answer{response.StatusCode, string(text)}
}

func request(c *http.Client, url string, header http.Header) *http.Response {
	GinkgoHelper()
	r, err := http.NewRequestWithContext(Ctx, http.MethodGet, url, nil)
	Expect(err).NotTo(HaveOccurred())
	if header != nil {
		r.Header = header
	}
	response, err := c.Do(r)
	Expect(err).NotTo(HaveOccurred())
	return response
}

func logPath(namespace, run, query string) string {
	return fmt.Sprintf("%s/v1alpha1/namespaces/%s/batchruns/%s/log?%s", group, namespace, run, query)
}

// shown is the serial number of the certificate that a replica shows.
func shown(address string) string {
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: &tls.Config{InsecureSkipVerify: true}}
	conn, err := dialer.DialContext(Ctx, "tcp", address)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// secret is what the Secret of the certificate has.
func secret() map[string][]byte {
	GinkgoHelper()
	object := &corev1.Secret{}
	Expect(K8sClient.Get(Ctx, client.ObjectKey{Namespace: OperatorNamespace, Name: certificate}, object)).To(Succeed())
	return object.Data
}
