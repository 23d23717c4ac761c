// Package policy has the site rules of config/site-rules judge runs and Jobs, in a control plane without nodes, in every
// mode.
package policy

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	. "github.com/batchrun/batchrun/test/stage"
)

func TestPolicy(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "policy")
}

const (
	siteRules = "batchrun-site-rules"
	modeLabel = "batchrun.io/site-rules"
)

// The namespaces of the suite, one a mode.
var unlabelled, audited, denied, exempt string

// The client of the suite, and the warnings that it has got.
var (
	judged   client.Client
	warnings warningList
)

type warningList []string

func (w *warningList) HandleWarningHeader(_ int, _, text string) { *w = append(*w, text) }

var _ = BeforeSuite(func() {
	SetUp("policy")
	skipBefore("1.35")
	install("nrp")
	install("jobs")
	DeferCleanup(func() {
		for _, folder := range []string{"jobs", "nrp"} {
			out, err := Kubectl("", "delete", "--ignore-not-found", "-k", rulesFolder(folder))
			Expect(err).NotTo(HaveOccurred(), out)
		}
	})

	restConfig := rest.CopyConfig(Cfg)
	restConfig.WarningHandler = &warnings
	var err error
	judged, err = client.New(restConfig, client.Options{Scheme: Scheme})
	Expect(err).NotTo(HaveOccurred())

	unlabelled, audited, denied, exempt = newNamespace(""), newNamespace("audit"), newNamespace("deny"), newNamespace("exempt")
	Eventually(func(g Gomega) {
		for _, bad := range []client.Object{run("", denied, specOf(sleeper)), jobOf(denied, specOf(sleeper))} {
			g.Expect(judged.Create(Ctx, bad, client.DryRunAll)).NotTo(Succeed())
		}
		for _, bad := range []client.Object{run("", unlabelled, specOf(sleeper)), jobOf(unlabelled, specOf(sleeper))} {
			warnings = nil
			g.Expect(judged.Create(Ctx, bad, client.DryRunAll)).To(Succeed())
			g.Expect(warnings).To(HaveLen(1))
		}
		before := violations()
		g.Expect(judged.Create(Ctx, run("", audited, specOf(sleeper)), client.DryRunAll)).To(Succeed())
		auditable = violations()
		g.Expect(auditable).To(Equal(before + 1))
	}, PropagateTime).Should(Succeed())
})

// skipBefore skips the suite where Kubernetes is older than the rules need, and expects that it refuses them then.
func skipBefore(oldest string) {
	GinkgoHelper()
	clientset, err := kubernetes.NewForConfig(Cfg)
	Expect(err).NotTo(HaveOccurred())
	server, err := clientset.Discovery().ServerVersion()
	Expect(err).NotTo(HaveOccurred())
	if version.MustParseGeneric(server.GitVersion).AtLeast(version.MustParseGeneric(oldest)) {
		return
	}
	out, err := Kubectl("", "apply", "--server-side", "--dry-run=server", "-k", rulesFolder("nrp"))
	Expect(err).To(HaveOccurred())
	Expect(out).To(ContainSubstring("undeclared reference to 'flatten'"))
	Skip("the site rules need Kubernetes " + oldest)
}

// Once for all, because the API server takes long for its metrics.
var _ = AfterSuite(func() {
	Expect(violations()).To(Equal(auditable), "violations that were counted for the audit log")
})

func rulesFolder(name string) string { return filepath.Join(Root, "config", "site-rules", name) }

func install(folder string) {
	GinkgoHelper()
	out, err := Kubectl("", "apply", "--server-side", "--force-conflicts", "-k", rulesFolder(folder))
	Expect(err).NotTo(HaveOccurred(), out)
}

// newNamespace makes a namespace with this mode for as long as the suite, or the spec, runs.
func newNamespace(mode string) string {
	GinkgoHelper()
	name := NewNamespace()
	if mode != "" {
		setMode(name, mode)
	}
	return name
}

func setMode(namespace, mode string) {
	GinkgoHelper()
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, modeLabel, mode)
	object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	Expect(K8sClient.Patch(Ctx, object, client.RawPatch(types.MergePatchType, []byte(patch)))).To(Succeed())
}

// setFigures changes figures of the rules as long as the spec runs, and waits until they hold.
func setFigures(figures map[string]string) {
	GinkgoHelper()
	patchFigures(figures)
	DeferCleanup(func() {
		install("nrp")
		awaitFigures("")
	})
}

// patchFigures also sets a text that shows which figures a refusal follows.
func patchFigures(figures map[string]string) {
	GinkgoHelper()
	token := fmt.Sprintf("figures of %d", time.Now().UnixNano())
	config := &corev1.ConfigMap{}
	Expect(K8sClient.Get(Ctx, client.ObjectKey{Namespace: OperatorNamespace, Name: siteRules}, config)).To(Succeed())
	for name, value := range figures {
		Expect(config.Data).To(HaveKey(name), "no such figure")
		config.Data[name] = value
	}
	config.Data["help"] = token
	Expect(K8sClient.Update(Ctx, config)).To(Succeed())
	awaitFigures(token)
}

func awaitFigures(help string) {
	GinkgoHelper()
	spec := specOf(sleeper)
	spec.Template.Spec.Containers[0].Resources = corev1.ResourceRequirements{}
	Eventually(func(g Gomega) {
		err := judged.Create(Ctx, run("", denied, spec), client.DryRunAll)
		g.Expect(err).To(HaveOccurred())
		if help == "" {
			g.Expect(err.Error()).NotTo(ContainSubstring("figures of"))
		} else {
			g.Expect(err.Error()).To(ContainSubstring(help))
		}
	}, PropagateTime).Should(Succeed())
}
