package metrics

import (
	"encoding/json"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

// rateInterval stands for Grafana's variable, which it makes of the scrape interval.
const rateInterval = "2m"

// panel is one of the dashboard.
type panel struct {
	Type    string
	Title   string
	Targets []struct{ Expr string }
}

func panels() []panel {
	GinkgoHelper()
	var dashboard struct{ Panels []panel }
	Expect(json.Unmarshal(read("config", "grafana", "batchrun.json"), &dashboard)).To(Succeed())
	var found []panel
	for _, p := range dashboard.Panels {
		if p.Type != "row" {
			found = append(found, p)
		}
	}
	Expect(found).NotTo(BeEmpty())
	return found
}

// tokenOf makes a service account and returns a token of it.
func tokenOf(name string) string {
	GinkgoHelper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: OperatorNamespace, Name: name}}
	Expect(K8sClient.Create(Ctx, account)).To(Succeed())
	DeferCleanup(func() { Expect(K8sClient.Delete(Ctx, account)).To(Succeed()) })
	request := &authenticationv1.TokenRequest{}
	Expect(K8sClient.SubResource("token").Create(Ctx, account, request)).To(Succeed())
	return request.Status.Token
}

// readerToken is the token of a service account that may read the metrics, as docs/metrics.md says.
func readerToken() string {
	GinkgoHelper()
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "test-metrics-reader"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "batchrun-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: OperatorNamespace, Name: "prometheus"}},
	}
	Expect(client.IgnoreAlreadyExists(K8sClient.Create(Ctx, binding))).To(Succeed())
	DeferCleanup(func() { Expect(K8sClient.Delete(Ctx, binding)).To(Succeed()) })
	return tokenOf("prometheus")
}

// startOperator starts the operator's binary, and returns the address of its metrics.
func startOperator(flags ...string) string {
	GinkgoHelper()
	address, kubeconfig := FreeAddress(), filepath.Join(GinkgoT().TempDir(), "kubeconfig")
	SuiteCluster().OperatorKubeconfig(kubeconfig)
	start(address, Build("cmd/manager"), []string{"KUBECONFIG=" + kubeconfig},
		append(flags, "--health-probe-bind-address=0", "--metrics-bind-address="+address)...)
	return address
}

// play plays a run whose pods follow the script.
func play(script Script, spec string) (scene *Scene, name string) {
	GinkgoHelper()
	scene, name = SuiteCluster().NewScene(script), "run"
	run := &v1alpha1.BatchRun{ObjectMeta: metav1.ObjectMeta{Namespace: scene.Namespace, Name: name}}
	Expect(yaml.UnmarshalStrict([]byte(spec), &run.Spec)).To(Succeed())
	run.Spec.Template.Spec = corev1.PodSpec{
		Containers:   []corev1.Container{{Name: "main", Image: "example"}},
		NodeSelector: map[string]string{corev1.LabelHostname: NodeName},
	}
	Expect(K8sClient.Create(Ctx, run)).To(Succeed())
	return scene, name
}

var _ = Describe("The metrics of an operator", Ordered, ContinueOnFailure, func() {
	var address, token string
	var p *prometheus
	var played []*Scene
	traces := &collector{}

	BeforeAll(func() {
		address, token = startOperator("--tracing-endpoint="+traces.listen(), "--tracing-samples-per-million=1000000"), readerToken()
		p = startPrometheus(address, token)
		// Counters that begin at 1 would have no increase: Prometheus has to have seen them at 0.
		Eventually(func() ([]sample, error) { return p.query("batchrun_attempts_total == 0") }).ShouldNot(BeEmpty())
		quick := `retryPolicy: {backoff: {baseSeconds: 0}}, logs: {keep: None}`
		failing, name := play(Tasks{
			0: {Exits(3, "broken")}, 1: {OutOfMemory}, 2: {Overused}, 3: {Preempted}, 4: {NodeLost}, 5: {Overdue},
			6: {Unstartable}, 7: {Unpullable},
		}.Script(), `{completions: 9, startup: {imagePullDeadlineSeconds: 5}, `+quick+`}`)
		succeeding, _ := play(Always(Succeeds), `{completions: 3, `+quick+`}`)
		going, _ := play(Always(Runs), `{completions: 2, `+quick+`}`)
		played = []*Scene{failing, succeeding, going}
		for scene, phase := range map[*Scene]v1alpha1.Phase{
			failing: v1alpha1.PhaseFailed, succeeding: v1alpha1.PhaseSucceeded, going: v1alpha1.PhaseRunning,
		} {
			Eventually(func(g Gomega) {
				run := scene.History.Latest()[name]
				g.Expect(run).NotTo(BeNil())
				g.Expect(run.Status.Phase).To(Equal(phase), func() string { return StatusText(run) })
			}).Should(Succeed())
		}
	})

	It("are for those whom Kubernetes allows to read them", func() {
		code := func(token string) int {
			code, _, err := get("https://"+address+"/metrics", token)
			Expect(err).NotTo(HaveOccurred())
			return code
		}
		Expect(code("")).To(Equal(http.StatusUnauthorized))
		Expect(code("nonsense")).To(BeNumerically(">=", http.StatusBadRequest))
		Expect(code(tokenOf("nobody"))).To(Equal(http.StatusForbidden))
		Expect(code(token)).To(Equal(http.StatusOK))
	})

	It("count attempts by the reason why they ended", func() {
		for reason, n := range map[v1alpha1.Reason]string{
			v1alpha1.ReasonCompleted: "10", v1alpha1.ReasonError: "1", v1alpha1.ReasonOOMKilled: "1", v1alpha1.ReasonEvicted: "1",
			v1alpha1.ReasonPreempted: "1", v1alpha1.ReasonNodeLost: "1", v1alpha1.ReasonDeadlineExceeded: "1",
			v1alpha1.ReasonStartFailed: "1", v1alpha1.ReasonImagePullFailed: "1", v1alpha1.ReasonUnknown: "0",
		} {
			Eventually(func() ([]sample, error) {
				return p.query(`batchrun_attempts_total{reason="` + string(reason) + `"} == ` + n)
			}).Should(HaveLen(1), "%s", reason)
		}
	})

	It("fill every panel of the dashboard", func() {
		for _, panel := range panels() {
			Expect(panel.Targets).NotTo(BeEmpty(), panel.Title)
			for _, target := range panel.Targets {
				query := strings.ReplaceAll(target.Expr, "$__rate_interval", rateInterval)
				Eventually(func() ([]sample, error) { return p.query(query) }).ShouldNot(BeEmpty(), "%s: %s", panel.Title, query)
			}
		}
	})

	It("are what the alerts read, and no alert fires", func() {
		for _, a := range p.alerts {
			selectors, err := p.selectors(a.Expr)
			Expect(err).NotTo(HaveOccurred())
			Expect(selectors).NotTo(BeEmpty(), a.Alert)
			for _, selector := range selectors {
				Expect(p.query(selector)).NotTo(BeEmpty(), "%s: %s", a.Alert, selector)
			}
		}
		var rules struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError, State string }
			}
		}
		Eventually(func(g Gomega) {
			g.Expect(p.ask(&rules, "rules", url.Values{"type": {"alert"}})).To(Succeed())
			g.Expect(rules.Groups).To(HaveLen(1))
			g.Expect(rules.Groups[0].Rules).To(HaveLen(len(p.alerts)))
			for _, rule := range rules.Groups[0].Rules {
				g.Expect(rule.Health).To(Equal("ok"), "%s: %s", rule.Name, rule.LastError)
				g.Expect(rule.State).To(Equal("inactive"), rule.Name)
			}
		}).Should(Succeed())
	})

	It("come with traces, if wanted: of reconciles, and in them of the requests", func() {
		Eventually(func(g Gomega) {
			names, inReconciles := traces.received()
			g.Expect(names).To(HaveKey("Reconcile"))
			g.Expect(inReconciles).To(HaveKey("HTTP PATCH"))
		}).Should(Succeed())
	})

	It("answer the queries of the docs", func() {
		_, rest, found := strings.Cut(string(read("docs", "metrics.md")), "\nUseful queries:\n\n")
		Expect(found).To(BeTrue())
		block, _, _ := strings.Cut(rest, "\n\n")
		for query := range strings.SplitSeq(block, "\n") {
			Eventually(func() ([]sample, error) { return p.query(query) }).ShouldNot(BeEmpty(), query)
		}
	})

	It("are those that the docs tell of, and name no object", func() {
		documented := map[string]bool{}
		for _, row := range regexp.MustCompile("(?m)^\\| `(batchrun_[a-z_]+)`").FindAllStringSubmatch(string(read("docs", "metrics.md")), -1) {
			if !strings.HasPrefix(row[1], "batchrun_archive_") { // an operator without an archive has none of these
				documented[row[1]] = true
			}
		}
		_, body, err := get("https://"+address+"/metrics", token)
		Expect(err).NotTo(HaveOccurred())
		served := map[string]bool{}
		for _, line := range regexp.MustCompile(`(?m)^# TYPE (batchrun_[a-z_]+)`).FindAllStringSubmatch(string(body), -1) {
			served[line[1]] = true
		}
		Expect(served).NotTo(BeEmpty())
		Expect(served).To(Equal(documented))
		for _, scene := range played {
			Expect(string(body)).NotTo(ContainSubstring(scene.Namespace))
		}
		series, err := p.query(`{__name__=~"batchrun_.+"}`)
		Expect(err).NotTo(HaveOccurred())
		for _, s := range series {
			for label := range s.Metric {
				Expect(label).To(BeElementOf("__name__", "job", "instance", "reason", "phase", "state", "le"), "%v", s.Metric)
			}
		}
	})
})

var _ = Describe("The ServiceMonitor", func() {
	It("selects the Service, whose port is that of the metrics", func() {
		var monitor struct {
			Metadata metav1.ObjectMeta
			Spec     struct {
				Selector  metav1.LabelSelector
				Endpoints []struct{ Port, Scheme string }
			}
		}
		readYAML(&monitor, "config", "prometheus", "service_monitor.yaml")
		var service corev1.Service
		readYAML(&service, "config", "default", "metrics_service.yaml")
		Expect(service.Name).To(Equal(job), "the name of the job, which the dashboard has")
		Expect(monitor.Metadata.Namespace).To(Equal(service.Namespace))
		Expect(monitor.Spec.Endpoints).To(HaveLen(1))
		Expect(monitor.Spec.Endpoints[0].Scheme).To(Equal("https"))
		for name, value := range monitor.Spec.Selector.MatchLabels {
			Expect(service.Labels).To(HaveKeyWithValue(name, value))
		}
		Expect(service.Spec.Ports).To(HaveLen(1))
		Expect(service.Spec.Ports[0].Name).To(Equal(monitor.Spec.Endpoints[0].Port))
	})
})
