package install

import (
	"encoding/json"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/batchrun/batchrun/test/local"
)

var _ = Describe("kustomize", Ordered, func() {
	It("installs an operator that runs pods", func() {
		newNamespace("kustomized")
		begin := time.Now()
		local.Run(root, "deploy", "--name", clusterName())
		installed := time.Since(begin)
		start("kustomized", "first", 1, 1, "10m")
		Eventually(func() []string { return runningPods("kustomized") }).Should(HaveLen(1))
		AddReportEntry("from building and applying to the operator ready", installed.Round(100*time.Millisecond).String())
		AddReportEntry("from building and applying to the first run's pod", time.Since(begin).Round(100*time.Millisecond).String())
	})

	// The API server takes config/default too, and its pods as Pod Security has them.
	It("fits Pod Security level restricted", func() {
		kubectl("apply", "--server-side", "--dry-run=server", "--force-conflicts", "-k", "config/default")
		out := kubectl("kustomize", "config/manager")
		newNamespace("restricted")
		kubectl("label", "namespace", "restricted", "pod-security.kubernetes.io/enforce=restricted")
		pod := podOf(out)
		Eventually(func() error { // the namespace's service account takes a moment
			_, err := try(pod, "kubectl", "create", "--dry-run=server", "-f", "-")
			return err
		}).Should(Succeed())
		namespaceGoes("restricted")
	})

	It("is removed with one command, and nothing blocks it", func() {
		kubectl("delete", "-k", "config/default", "--timeout=2m")
		namespaceGoes("kustomized")
	})
})

// podOf is a pod, for the namespace restricted, as the Deployment among the manifests makes it.
func podOf(manifests string) string {
	GinkgoHelper()
	for document := range strings.SplitSeq(manifests, "\n---\n") {
		var deployment appsv1.Deployment
		Expect(yaml.Unmarshal([]byte(document), &deployment)).To(Succeed())
		if deployment.Kind != "Deployment" {
			continue
		}
		pod := corev1.Pod{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
			ObjectMeta: metav1.ObjectMeta{Namespace: "restricted", Name: "operator"},
			Spec:       deployment.Spec.Template.Spec,
		}
		pod.Spec.ServiceAccountName = "default"
		pod.Spec.TopologySpreadConstraints = nil // matchLabelKeys are filled in from labels, which this pod lacks
		text, err := json.Marshal(pod)
		Expect(err).NotTo(HaveOccurred())
		return string(text)
	}
	Fail("there is no Deployment")
	return ""
}
