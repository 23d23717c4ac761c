// Package local runs hack/local, the local Kubernetes, for the tests.
package local

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
)

// Run runs a command of hack/local in the checkout at root, shows its progress, and returns the last line that it
// printed. The spec fails if the command does.
func Run(root string, args ...string) string {
	ginkgo.GinkgoHelper()
	cmd := exec.CommandContext(context.Background(), "go", append([]string{"-C", filepath.Join(root, "hack", "local"), "run", "."}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	gomega.Expect(err).NotTo(gomega.HaveOccurred(), "%s", cmd)
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}
