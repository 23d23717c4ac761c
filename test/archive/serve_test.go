package archive

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing/iotest"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	. "github.com/batchrun/batchrun/test/stage"
)

var _ = Describe("The API of the archive", func() {
	It("is available, and known to kubectl, beside the runs themselves", func() {
		install(replica(newLogs()))
		out, err := Kubectl("", "api-versions")
		Expect(err).NotTo(HaveOccurred(), out)
		Expect(out).To(ContainSubstring("archive.batchrun.io/v1alpha1\n"))
		Expect(get(as("anybody"), group+"/v1alpha1").Text).To(ContainSubstring(`"name":"batchruns/log"`))
		Eventually(func() string { // the API server gathers what there is
			out, _ := Kubectl("", "get", "--raw", group+"/v1alpha1")
			return out
		}).Should(ContainSubstring("batchruns/log"))
		for _, command := range [][]string{{"api-resources"}, {"get", "batchruns", "--all-namespaces"}, {"get", "br", "--all-namespaces"}} {
			out, err = Kubectl("", command...)
			Expect(err).NotTo(HaveOccurred(), out)
			Expect(strings.ToLower(out)).NotTo(ContainSubstring("error"))
		}
	})

	It("shows a log to those only who may read it, in their own namespace", func() {
		l := newLogs()
		install(replica(l))
		namespace, other := NewNamespace(), NewNamespace()
		run := newRun(namespace)
		l.put(run, 7, 1, "the first attempt\n")
		l.put(run, 7, 2, "one\ntwo\nthree\n")
		allow("viewer", "view", namespace)
		allow("editor", "edit", namespace)
		allow("owner", "admin", namespace)
		allow("neighbour", "admin", other)

		path := logPath(namespace, "train", "task=7")
		for _, name := range []string{"viewer", "editor", "owner"} {
			Eventually(get).WithArguments(as(name), path).WithTimeout(PropagateTime).Should(Equal(answer{http.StatusOK, "one\ntwo\nthree\n"}), name)
		}
		Expect(get(as("viewer"), path+"&attempt=1").Text).To(Equal("the first attempt\n"))
		Expect(get(as("viewer"), path+"&tailLines=2").Text).To(Equal("two\nthree\n"))
		Expect(get(as("viewer"), path+"&sinceBytes=4&limitBytes=3").Text).To(Equal("two"))

		for _, name := range []string{"neighbour", "stranger"} {
			refused := get(as(name), path)
			Expect(refused.Code).To(Equal(http.StatusForbidden))
			Expect(refused.Text).To(And(ContainSubstring(`"kind":"Status"`), ContainSubstring(
				fmt.Sprintf(`User \"%s\" cannot get resource \"batchruns/log\" in API group \"archive.batchrun.io\" in the namespace \"%s\"`, name, namespace))))
		}
		Eventually(get).WithArguments(as("neighbour"), logPath(other, "train", "task=7")).Should( // theirs is none
			And(HaveField("Code", http.StatusNotFound), HaveField("Text", ContainSubstring(`batchruns.batchrun.io \"train\" not found`))))
		Expect(get(as("neighbour"), logPath(other, "..%2f..%2f"+namespace+"%2fbatchruns%2ftrain", "task=7")).Code).NotTo(Equal(http.StatusOK))

		for query, want := range map[string]answer{
			"task=7&attempt=9":     {http.StatusNotFound, "no log of attempt 9 of task 7 is archived; there are: 1,2"},
			"task=8":               {http.StatusNotFound, "no log of task 8 is archived; there are: none"},
			"task=7&container=x":   {http.StatusNotFound, `has no container \"x\"; there are: main`},
			"task=seven":           {http.StatusBadRequest, "task: must be a whole number of at least 0"},
			"task=7&tailines=1":    {http.StatusBadRequest, "tailines: there is no such parameter"},
			"task=7&tailLines=-1":  {http.StatusBadRequest, "tailLines: must be a whole number"},
			"task=7&limitBytes=-1": {http.StatusBadRequest, "limitBytes: must be a whole number"},
		} {
			Expect(get(as("viewer"), logPath(namespace, "train", query))).To(
				And(HaveField("Code", want.Code), HaveField("Text", ContainSubstring(want.Text))), query)
		}
		Expect(get(as("viewer"), logPath(namespace, "nothing", "task=7")).Code).To(Equal(http.StatusNotFound))

		By("having no logs of an earlier run of the name")
		Expect(K8sClient.Delete(Ctx, run)).To(Succeed())
		Expect(get(as("viewer"), path).Code).To(Equal(http.StatusNotFound))
		newRun(namespace)
		Expect(get(as("viewer"), path)).To(HaveField("Text", ContainSubstring("no log of task 7 is archived; there are: none")))
	})

	It("answers nobody but the API server", func() {
		l := newLogs()
		address := replica(l)
		install(address)
		run := newRun(NewNamespace())
		l.put(run, 0, 1, "secret\n")
		url := "https://" + address + logPath(run.Namespace, "train", "task=0")
		spoofed := http.Header{"X-Remote-User": {"admin"}, "X-Remote-Group": {"system:masters"}}

		direct := func(certificates ...tls.Certificate) *http.Client {
			return &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true,
				TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: certificates}}}
		}
		pki := filepath.Join(Root, "hack", "local", ".local", "clusters", "archive", "pki")
		pair := func(name string) tls.Certificate {
			certificate, err := tls.LoadX509KeyPair(filepath.Join(pki, name+".crt"), filepath.Join(pki, name+".key"))
			Expect(err).NotTo(HaveOccurred())
			return certificate
		}
		tls0, err := tls.X509KeyPair(secret()["ca.crt"], secret()["ca.key"])
		Expect(err).NotTo(HaveOccurred())
		for name, c := range map[string]*http.Client{
			"no certificate": direct(),
			"an admin's certificate, of the authority that the front proxy's is from, too": direct(pair("admin")),
			"a certificate of the API's own authority":                                     direct(tls0),
		} {
			for _, header := range []http.Header{{}, spoofed, {"Authorization": {"Bearer " + token()}}} {
				for _, path := range []string{url, "https://" + address + group + "/v1alpha1", "https://" + address + "/"} {
					response := request(c, path, header)
					text, err := io.ReadAll(response.Body)
					Expect(err).NotTo(HaveOccurred())
					Expect(response.Body.Close()).To(Succeed())
					Expect(response.StatusCode).To(Equal(http.StatusUnauthorized), "%s %v", name, header)
					Expect(string(text)).NotTo(ContainSubstring("secret"))
				}
			}
		}
		response := request(direct(pair("front-proxy")), url, spoofed)
		defer response.Body.Close()
		Expect(response.StatusCode).To(Equal(http.StatusOK), "this is what the API server does")
		stranger := request(direct(pair("front-proxy")), url, http.Header{"X-Remote-User": {"stranger"}})
		defer stranger.Body.Close()
		Expect(stranger.StatusCode).To(Equal(http.StatusForbidden))
	})

	It("ends a log that breaks off with an error", func() {
		l := newLogs()
		l.read = func(context.Context) io.ReadCloser {
			return io.NopCloser(io.MultiReader(io.LimitReader(&lines{length: 100}, 10<<20), iotest.ErrReader(errors.New("broken"))))
		}
		install(replica(l))
		run := newRun(NewNamespace())
		l.put(run, 0, 1, "")
		c, err := rest.HTTPClientFor(Cfg)
		Expect(err).NotTo(HaveOccurred())
		response := request(c, Cfg.Host+logPath(run.Namespace, "train", "task=0"), nil)
		defer response.Body.Close()
		Expect(response.StatusCode).To(Equal(http.StatusOK))
		n, err := io.Copy(io.Discard, response.Body)
		Expect(err).To(HaveOccurred())
		Expect(n).To(BeNumerically("<=", 10<<20))
	})

	It("streams a log of 512 MiB, and its last 100,000 lines, in little memory", func() {
		const length, line = 512 << 20, 1 << 10
		l := newLogs()
		l.read = func(context.Context) io.ReadCloser { return io.NopCloser(io.LimitReader(&lines{length: line}, length)) }
		install(replica(l))
		run := newRun(NewNamespace())
		l.put(run, 0, 1, "")
		for query, want := range map[string]int64{"task=0": length, "task=0&tailLines=100000": 100_000 * line} {
			c, err := rest.HTTPClientFor(Cfg)
			Expect(err).NotTo(HaveOccurred())
			response := request(c, Cfg.Host+logPath(run.Namespace, "train", query), nil)
			Expect(response.StatusCode).To(Equal(http.StatusOK))
			before, most, read := heap(), uint64(0), int64(0)
			for {
				n, err := io.CopyN(io.Discard, response.Body, 32<<20)
				most = max(most, heap())
				read += n
				if errors.Is(err, io.EOF) {
					break
				}
				Expect(err).NotTo(HaveOccurred())
			}
			Expect(response.Body.Close()).To(Succeed())
			Expect(read).To(Equal(want))
			Expect(most).To(BeNumerically("<", before+32<<20), query)
			AddReportEntry(query, fmt.Sprintf("%d MiB more memory at most", (int64(most)-int64(before))>>20))
		}
	})

	It("renews its certificate while it serves, in every replica, and comes back when the Secret is emptied", func() {
		l := newLogs()
		first, second := replica(l), replica(l)
		install(first)
		Eventually(func() string { return shown(second) }).Should(Equal(shown(first)))
		run := newRun(NewNamespace())
		l.put(run, 0, 1, "a log\n")
		path := logPath(run.Namespace, "train", "task=0")

		var failed atomic.Value
		reads := &atomic.Int64{}
		ctx, stop := context.WithCancel(Ctx)
		defer stop()
		done := make(chan struct{})
		go func() {
			defer GinkgoRecover()
			defer close(done)
			for ctx.Err() == nil {
				config := rest.CopyConfig(Cfg)
				config.Impersonate = rest.ImpersonationConfig{UserName: "reader", Groups: []string{"system:masters"}}
				c, err := rest.HTTPClientFor(config)
				Expect(err).NotTo(HaveOccurred())
				if got := get(c, path); got != (answer{http.StatusOK, "a log\n"}) {
					failed.CompareAndSwap(nil, got)
				}
				reads.Add(1)
			}
		}()

		before, certificates := secret(), shown(first)
		Expect(K8sClient.Patch(Ctx, theSecret(), client.RawPatch(types.JSONPatchType, []byte(`[{"op": "remove", "path": "/data/tls.crt"}]`)))).To(Succeed())
		Eventually(func() string { return shown(first) }).ShouldNot(Equal(certificates))
		Eventually(func() string { return shown(second) }).Should(Equal(shown(first)))
		Expect(secret()["ca.crt"]).To(Equal(before["ca.crt"]))
		since := reads.Load()
		Eventually(reads.Load).Should(BeNumerically(">", since+10))
		stop()
		<-done
		Expect(failed.Load()).To(BeNil(), "nobody noticed")

		Expect(K8sClient.Patch(Ctx, theSecret(), client.RawPatch(types.MergePatchType, []byte(`{"data": null}`)))).To(Succeed())
		Eventually(func() []byte { return secret()["ca.crt"] }).ShouldNot(Or(BeEmpty(), Equal(before["ca.crt"])))
		admin, err := rest.HTTPClientFor(Cfg)
		Expect(err).NotTo(HaveOccurred())
		Eventually(get).WithArguments(admin, path).Should(Equal(answer{http.StatusOK, "a log\n"}))
		Eventually(func() string { return shown(second) }).Should(Equal(shown(first)))
		available()
	})

	It("keeps certificate and authority when the manifests are applied again, in either way", func() {
		address := replica(newLogs())
		install(address)
		before := secret()
		for _, how := range [][]string{{"apply", "-f", "-"}, {"apply", "--server-side", "--force-conflicts", "-f", "-"}, {"apply", "-f", "-"}} {
			out, err := Kubectl(manifests(address), how...)
			Expect(err).NotTo(HaveOccurred(), out)
			Expect(secret()).To(Equal(before))
			out, err = Kubectl("", "get", "apiservice", apiServiceName, "-o", "jsonpath={.spec.caBundle}")
			Expect(err).NotTo(HaveOccurred(), out)
			Expect(out).NotTo(BeEmpty())
			out, err = Kubectl(manifests(address), "diff", "-f", "-")
			Expect(err).NotTo(HaveOccurred(), out)
		}
	})

	It("shows kubectl batchrun logs the archive's, and says why it cannot; a run does not care", func() {
		l := newLogs()
		s := NewStage(Tasks{1: {Exits(3, "the end of the log")}}.Script())
		s.Create(`{completions: 2, backoffLimit: 0}`)
		run := s.Finishes("Failed")
		l.put(run, 1, 1, "the start of the log\nthe end of the log\n")
		Expect(K8sClient.DeleteAllOf(Ctx, &batchv1.Job{}, client.InNamespace(s.Namespace), client.PropagationPolicy(metav1.DeletePropagationBackground))).To(Succeed())
		Expect(K8sClient.DeleteAllOf(Ctx, &corev1.Pod{}, client.InNamespace(s.Namespace))).To(Succeed())
		Eventually(func(g Gomega) {
			var list corev1.PodList
			g.Expect(K8sClient.List(Ctx, &list, client.InNamespace(s.Namespace))).To(Succeed())
			g.Expect(list.Items).To(BeEmpty())
		}).Should(Succeed())

		install(replica(l))
		program := Build("cmd/kubectl-batchrun")
		out, said := plugin(program, s.Namespace, "logs", "run", "--task", "1")
		Expect(out).To(Equal("the start of the log\nthe end of the log\n"))
		Expect(said).To(Equal("task 1, attempt 1: from the archive\n"))
		out, _ = plugin(program, s.Namespace, "logs", "run", "--task", "1", "--tail", "1")
		Expect(out).To(Equal("the end of the log\n"))

		l.broken.Store(true)
		out, said = plugin(program, s.Namespace, "logs", "run", "--task", "1")
		Expect(out).To(Equal("the end of the log\n"))
		Expect(said).To(And(ContainSubstring("the archive says: the archive of logs does not answer"), ContainSubstring("only the end")))

		By("pointing the API to where nobody listens")
		out, err := Kubectl("", "patch", "apiservice", apiServiceName, "--type=merge", "-p", `{"spec": {"service": {"port": 1}}}`)
		Expect(err).NotTo(HaveOccurred(), out)
		out, err = Kubectl("", "wait", "--for=condition=Available=False", "--timeout=60s", "apiservice/"+apiServiceName)
		Expect(err).NotTo(HaveOccurred(), out)
		out, said = plugin(program, s.Namespace, "logs", "run", "--task", "1")
		Expect(out).To(Equal("the end of the log\n"))
		Expect(said).To(And(ContainSubstring("the archive says: looking for the archive of logs: "), ContainSubstring("only the end")))
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: NewNamespace()}}
		Expect(K8sClient.Delete(Ctx, namespace)).To(Succeed())
		Eventually(func(g Gomega) { // so docs/logs.md warns of it
			g.Expect(K8sClient.Get(Ctx, client.ObjectKeyFromObject(namespace), namespace)).To(Succeed())
			g.Expect(namespace.Status.Conditions).To(ContainElement(And(HaveField("Type", corev1.NamespaceDeletionDiscoveryFailure),
				HaveField("Status", corev1.ConditionTrue), HaveField("Message", ContainSubstring("archive.batchrun.io")))))
		}).Should(Succeed())
		Expect(K8sClient.Delete(Ctx, s.Get())).To(Succeed())
		s.Create(`{completions: 3}`)
		s.Finishes("Succeeded")
	})
})

// lines is an endless log.
type lines struct {
	length, at int
}

// Read implements io.Reader.
func (l *lines) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
		if l.at++; l.at%l.length == 0 {
			p[i] = '\n'
		}
	}
	return len(p), nil
}

// heap is how much memory is in use.
func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapInuse
}

func theSecret() *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: OperatorNamespace, Name: certificate}}
}

// token is the token of an account with all rights.
func token() string {
	GinkgoHelper()
	out, err := Kubectl("", "create", "token", "batchrun-operator", "--namespace", OperatorNamespace)
	Expect(err).NotTo(HaveOccurred(), out)
	return strings.TrimSpace(out)
}

// plugin runs the kubectl plugin, and returns what it wrote.
func plugin(program, namespace string, args ...string) (out, said string) {
	GinkgoHelper()
	cmd := exec.CommandContext(Ctx, program, append([]string{"--kubeconfig", Kubeconfig(), "--namespace", namespace}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	Expect(cmd.Run()).To(Succeed(), stderr.String)
	return stdout.String(), stderr.String()
}
