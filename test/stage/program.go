package stage

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gexec"
)

// module is the path of the project's Go module.
const module = "github.com/batchrun/batchrun"

// built are the paths of the programs that the suite has built, by their folders.
var built = map[string]string{}

// Build builds a program of a folder such as cmd/manager, and returns its path. It is gone when the suite is.
func Build(folder string) string {
	GinkgoHelper()
	if built[folder] == "" {
		built[folder] = BuildTool(module + "/" + folder)
	}
	return built[folder]
}

// BuildTool builds a program of any package; the flags of go build may name another go.mod.
func BuildTool(pkg string, flags ...string) string {
	GinkgoHelper()
	path, err := gexec.Build(pkg, flags...)
	Expect(err).NotTo(HaveOccurred())
	return path
}

// Program is a program that runs beside the tests: an operator, a server. Who starts it has to defer its End.
type Program struct{ *gexec.Session }

// StartProgram starts a program, with these environment variables besides the tests' own.
func StartProgram(path string, env []string, flags ...string) Program {
	GinkgoHelper()
	command := exec.CommandContext(context.Background(), path, flags...)
	command.Env = append(os.Environ(), env...)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // also when the tests are killed
	session, err := gexec.Start(command, nil, nil)
	Expect(err).NotTo(HaveOccurred())
	return Program{session}
}

// End kills it if it still runs. It may not have panicked. Where the spec has failed, the end of its log is reported.
func (p Program) End() {
	GinkgoHelper()
	Eventually(p.Kill()).Should(gexec.Exit())
	if CurrentSpecReport().Failed() {
		AddReportEntry("the end of the log of "+filepath.Base(p.Command.Path), p.Tail())
	}
	Expect(p.Log()).NotTo(ContainSubstring("panic"))
}

// Send sends it a signal; it has to be alive.
func (p Program) Send(s syscall.Signal) {
	GinkgoHelper()
	Expect(p.Alive()).To(BeTrue(), p.Tail)
	Expect(p.Command.Process.Signal(s)).To(Succeed())
}

// Alive is whether it has not ended.
func (p Program) Alive() bool { return p.ExitCode() == -1 }

// Log is all that it said.
func (p Program) Log() string { return string(p.Out.Contents()) + string(p.Err.Contents()) }

// Tail is the end of its log.
func (p Program) Tail() string {
	lines := strings.Split(p.Log(), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

// Memory reads a field of /proc/<pid>/status: VmRSS is the memory that it has, VmHWM the most that it had, in KiB.
func (p Program) Memory(field string) int {
	GinkgoHelper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Command.Process.Pid))
	Expect(err).NotTo(HaveOccurred())
	for line := range strings.SplitSeq(string(text), "\n") {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == field+":" {
			n, err := strconv.Atoi(fields[1])
			Expect(err).NotTo(HaveOccurred())
			return n
		}
	}
	Fail("no " + field + " in the status of the process")
	return 0
}
