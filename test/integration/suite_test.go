// Package integration tests BatchRun against a control plane without nodes: a real API server, with the project's
// CustomResourceDefinition in it, a real controller manager, which runs the Jobs, and a real scheduler. The operator
// runs in the test's process, as its service account; a kubelet of the tests' own plays the pods.
package integration

import (
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/batchrun/batchrun/test/stage"
)

func TestIntegration(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "integration")
}

var _ = BeforeSuite(func() { SetUp("integration") })
