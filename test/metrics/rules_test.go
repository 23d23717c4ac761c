package metrics

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/yaml"

	. "github.com/batchrun/batchrun/test/stage"
)

// alert is a rule of config/prometheus/rules.yaml.
type alert struct {
	Alert       string
	Expr        string
	Annotations map[string]string
}

// writeRules writes the rules as Prometheus has them, without the object around them, and returns them.
func writeRules(folder string) []alert {
	GinkgoHelper()
	var object struct {
		Spec map[string]any
	}
	readYAML(&object, "config", "prometheus", "rules.yaml")
	text, err := yaml.Marshal(object.Spec)
	Expect(err).NotTo(HaveOccurred())
	Expect(os.WriteFile(filepath.Join(folder, "rules.yaml"), text, 0o600)).To(Succeed())

	var rules struct {
		Groups []struct{ Rules []alert }
	}
	Expect(yaml.Unmarshal(text, &rules)).To(Succeed())
	var alerts []alert
	for _, group := range rules.Groups {
		alerts = append(alerts, group.Rules...)
	}
	Expect(alerts).NotTo(BeEmpty())
	return alerts
}

var _ = Describe("The alerts", func() {
	It("fire when they should, and only then", func() {
		folder := GinkgoT().TempDir()
		writeRules(folder)
		tests := filepath.Join(folder, "rules_test.yaml")
		Expect(os.WriteFile(tests, read("config", "prometheus", "rules_test.yaml"), 0o600)).To(Succeed())
		out, err := exec.CommandContext(Ctx, built("promtool"), "test", "rules", tests).CombinedOutput()
		Expect(err).NotTo(HaveOccurred(), string(out))
	})

	It("have each a test where it fires, one where it does not, and a word on what to do", func() {
		var file struct {
			Tests []struct {
				AlertRuleTest []struct {
					Alertname string `json:"alertname"`
					ExpAlerts []any  `json:"exp_alerts"`
				} `json:"alert_rule_test"`
			}
		}
		readYAML(&file, "config", "prometheus", "rules_test.yaml")
		fires, quiet := map[string]bool{}, map[string]bool{} // quiet: in a test all through which it is
		for _, test := range file.Tests {
			fired := map[string]bool{}
			for _, t := range test.AlertRuleTest {
				fired[t.Alertname] = fired[t.Alertname] || len(t.ExpAlerts) > 0
			}
			for name, f := range fired {
				fires[name] = fires[name] || f
				quiet[name] = quiet[name] || !f
			}
		}
		docs := string(read("docs", "metrics.md"))
		for _, a := range writeRules(GinkgoT().TempDir()) {
			Expect(fires[a.Alert]).To(BeTrue(), "rules_test.yaml has no test where %s fires", a.Alert)
			Expect(quiet[a.Alert]).To(BeTrue(), "rules_test.yaml has no test where %s does not fire", a.Alert)
			Expect(a.Annotations["runbook_url"]).To(HaveSuffix("/docs/metrics.md#" + strings.ToLower(a.Alert)))
			Expect(docs).To(ContainSubstring("\n### "+a.Alert+"\n"), "docs/metrics.md does not say what to do")
		}
	})
})
