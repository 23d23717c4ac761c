// Package plugin tests the kubectl plugin as a program against a real API server, a real controller manager and the real
// operator; a kubelet of the tests' own plays the pods.
package plugin

import (
	"os/exec"
	"path/filepath"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/batchrun/batchrun/test/stage"
)

func TestPlugin(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "plugin")
}

// bin is the folder with the program, as make plugin leaves it.
var bin string

var _ = BeforeSuite(func() {
	SetUp("plugin")
	bin = filepath.Dir(Build("cmd/kubectl-batchrun"))
	for link, target := range map[string]string{"kubectl-br": "kubectl-batchrun", "kubectl_complete-br": "kubectl_complete-batchrun"} {
		Expect(exec.CommandContext(Ctx, "ln", "-s", target, filepath.Join(bin, link)).Run()).To(Succeed())
	}
	Expect(exec.CommandContext(Ctx, "cp", filepath.Join(Root, "cmd", "kubectl-batchrun", "kubectl_complete-batchrun"), bin).Run()).To(Succeed())
})
