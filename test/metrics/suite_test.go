// Package metrics checks alerts and dashboard with Prometheus' own programs: promtool runs the tests of the alerts, and
// a Prometheus scrapes an operator whose runs fail in every way. It runs against a control plane without nodes, as
// test/integration does.
package metrics

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/yaml"

	"github.com/batchrun/batchrun/test/local"
	. "github.com/batchrun/batchrun/test/stage"
)

func TestMetrics(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "metrics")
}

var _ = BeforeSuite(func() {
	local.Run(Root, "build", "prometheus", "promtool")
	SetUp("metrics")
	SetDefaultEventuallyPollingInterval(time.Second)
})

// built is the path of a program of hack/local.
func built(name string) string {
	GinkgoHelper()
	path, err := filepath.Abs(filepath.Join(Root, "hack", "local", ".local", "bin", name))
	Expect(err).NotTo(HaveOccurred())
	return path
}

func read(path ...string) []byte {
	GinkgoHelper()
	data, err := os.ReadFile(filepath.Join(append([]string{Root}, path...)...))
	Expect(err).NotTo(HaveOccurred())
	return data
}

func readYAML(into any, path ...string) {
	GinkgoHelper()
	Expect(yaml.Unmarshal(read(path...), into)).To(Succeed())
}
