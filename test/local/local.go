// Package local runs hack/local, the local Kubernetes, for the tests.
package local

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

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

// Kill ends a part of a cluster of the checkout at root at once, such as "etcd" or "kubelet"; "node" is the whole node,
// which loses its power. It waits until no process of it is left, though a new one may have taken its place.
func Kill(root, cluster, part string) {
	ginkgo.GinkgoHelper()
	var pids []int
	gomega.Eventually(func() []int {
		pids = processes(root, cluster, part)
		return pids
	}).Should(gomega.HaveLen(1), part)
	gomega.Expect(syscall.Kill(pids[0], syscall.SIGKILL)).To(gomega.Succeed())
	gomega.Eventually(func() []int { return processes(root, cluster, part) }).ShouldNot(gomega.ContainElement(pids[0]))
}

// processes are the ids of the processes of a part. hack/local marks them in their environment, which what they start
// inherits: the program tells these apart.
func processes(root, cluster, part string) []int {
	ginkgo.GinkgoHelper()
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	marker, err := filepath.Abs(filepath.Join(root, "hack", "local", ".local", "clusters", cluster))
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	var pids []int
	for _, path := range environs {
		environ, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(environ)+"\x00", "BATCHRUN_LOCAL="+marker+"#"+part+"\x00") {
			continue // ended, or another user's
		}
		program, err := os.Readlink(filepath.Join(filepath.Dir(path), "exe"))
		if name := filepath.Base(program); err != nil || name != part && name != "init" {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		pids = append(pids, pid)
	}
	return pids
}
