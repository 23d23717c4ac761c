package plugin

import (
	"os/exec"
	"sync"

	"github.com/creack/pty"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

// terminal is a command on a terminal of its own.
type terminal struct {
	screen *gbytes.Buffer
	write  func(string)
	ended  <-chan int
}

// onTerminal starts a command on a terminal of this width.
func onTerminal(cmd *exec.Cmd, columns uint16) *terminal {
	GinkgoHelper()
	file, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 40, Cols: columns})
	Expect(err).NotTo(HaveOccurred())
	var once sync.Once
	shut := func() { once.Do(func() { _ = file.Close() }) }
	DeferCleanup(shut)
	t := &terminal{screen: gbytes.NewBuffer(), write: func(text string) {
		_, err := file.WriteString(text)
		Expect(err).NotTo(HaveOccurred())
	}}
	ended := make(chan int, 1)
	t.ended = ended
	read := make(chan struct{})
	go func() {
		defer close(read)
		part := make([]byte, 4096)
		for {
			n, err := file.Read(part)
			_, _ = t.screen.Write(part[:n])
			if err != nil {
				return
			}
		}
	}()
	go func() {
		_ = cmd.Wait() // the exit code says it
		<-read
		shut()
		ended <- cmd.ProcessState.ExitCode()
	}()
	return t
}

var _ = Describe("watch", func() {
	It("writes a line for each change until the run is finished", func() {
		s := NewStage(Always(Runs))
		f := newFront(s.Namespace)
		s.Create(`{completions: 3, parallelism: 3}`)
		s.RunsPods(3)
		cmd := f.command("kubectl-batchrun", "watch", "run")
		out := gbytes.NewBuffer()
		cmd.Stdout, cmd.Stderr = out, out
		Expect(cmd.Start()).To(Succeed())
		Eventually(out).Should(gbytes.Say(`\d\d:\d\d:\d\d  run Running: 0 of 3 tasks succeeded, 3 active\n`))
		s.Kubelet.Turn(Always(Succeeds))
		Expect(cmd.Wait()).To(Succeed())
		Expect(out).To(gbytes.Say(`  run Succeeded: 3 of 3 tasks succeeded`))
	})

	It("redraws a terminal until the run is finished", func() {
		s := NewStage(Always(Runs))
		f := newFront(s.Namespace)
		s.Create(`{completions: 3, parallelism: 3}`)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Active).To(BeEquivalentTo(3)) })
		t := onTerminal(f.command("kubectl-batchrun", "watch", "run"), 80)
		Eventually(t.screen).Should(gbytes.Say(`0 of 3 tasks succeeded, 3 active`))
		s.Kubelet.Turn(Always(Succeeds))
		Eventually(t.ended).Should(Receive(Equal(0)))
		Expect(t.screen).To(gbytes.Say(`100%`))
	})

	It("ends with q", func() {
		s := NewStage(Always(Runs))
		f := newFront(s.Namespace)
		s.Create(`{}`)
		s.RunsPods(1)
		t := onTerminal(f.command("kubectl-batchrun", "watch", "run"), 200)
		Eventually(t.screen).Should(gbytes.Say(`Running`))
		t.write("q")
		Eventually(t.ended).Should(Receive(Equal(0)))
	})

	It("tells of a run that is not there", func() {
		f := newFront(NewNamespace())
		Expect(f.run("watch", "run")).To(HaveField("Err", ContainSubstring(`there is no run "run"`)))
		t := onTerminal(f.command("kubectl-batchrun", "watch", "run"), 80)
		Eventually(t.ended).Should(Receive(Equal(1)))
		Expect(t.screen).To(gbytes.Say(`there is no run "run"`))
	})
})

var _ = Describe("wait", func() {
	It("goes on when the connection breaks", func() {
		s := NewStage(Always(Runs))
		f := newFront(s.Namespace)
		s.Create(`{}`)
		s.RunsPods(1)
		cmd := f.command("kubectl-batchrun", "wait", "run", "--timeout", "1m")
		out := gbytes.NewBuffer()
		cmd.Stdout, cmd.Stderr = out, out
		Expect(cmd.Start()).To(Succeed())
		Eventually(f.watched).Should(Equal(1))
		for watches := 2; watches < 4; watches++ {
			f.CloseClientConnections()
			Eventually(f.watched).Should(Equal(watches))
		}
		s.Kubelet.Turn(Always(Succeeds))
		Expect(cmd.Wait()).To(Succeed())
		Expect(out).To(gbytes.Say(`batchrun.batchrun.io/run Succeeded 1/1`))
	})

	It("ends with code 3 when the run is deleted", func() {
		s := NewStage(Always(Runs))
		f := newFront(s.Namespace)
		run := s.Create(`{}`)
		s.RunsPods(1)
		cmd := f.command("kubectl-batchrun", "wait", "run", "--timeout", "1m")
		out := gbytes.NewBuffer()
		cmd.Stdout, cmd.Stderr = out, out
		Expect(cmd.Start()).To(Succeed())
		Eventually(f.watched).Should(Equal(1))
		Expect(K8sClient.Delete(Ctx, run)).To(Succeed())
		Expect(cmd.Wait()).NotTo(Succeed())
		Expect(cmd.ProcessState.ExitCode()).To(Equal(3))
		Expect(out).To(gbytes.Say(`was deleted`))
	})
})

var _ = Describe("delete", func() {
	It("asks on a terminal", func() {
		s := NewStage(Always(Runs))
		f := newFront(s.Namespace)
		s.Create(`{}`)
		s.RunsPods(1)
		t := onTerminal(f.command("kubectl-batchrun", "delete", "run"), 80)
		Eventually(t.screen).Should(gbytes.Say(`Type yes:`))
		t.write("no\n")
		Eventually(t.ended).Should(Receive(Equal(1)))
		s.Get()
		t = onTerminal(f.command("kubectl-batchrun", "delete", "run"), 80)
		Eventually(t.screen).Should(gbytes.Say(`and with it 1 Job and 1 pod`))
		t.write("yes\n")
		Eventually(t.ended).Should(Receive(Equal(0)))
	})
})
