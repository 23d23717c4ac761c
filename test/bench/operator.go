package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// stopTimeout is longer than the operator gives its reconciles to end.
const stopTimeout = 30 * time.Second

// benchDir holds what this program writes, where git ignores it.
var benchDir = filepath.Join(localDir, "bench")

// buildOperator builds the operator of the checkout.
func buildOperator(ctx context.Context) (path, revision string, err error) {
	path = filepath.Join(benchDir, "manager")
	// As .ko.yaml has the image built: what is mapped of the binary is part of the memory.
	cmd := exec.CommandContext(ctx, "go", "build", "-tags=disable_grpc_modules", "-ldflags=-s -w", "-o", path, "./cmd/manager")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", "", fmt.Errorf("building the operator: %w\n%s", err, bytes.TrimSpace(out))
	}
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--exclude=*", "--abbrev=12", "--dirty= with changes").Output()
	if err != nil {
		return path, "unknown", nil //nolint:nilerr // the sources need not come from git
	}
	return path, strings.TrimSpace(string(out)), nil
}

// operator is a running operator.
type operator struct {
	pid    int
	cancel context.CancelFunc
	// ended is closed when the process has ended.
	ended chan struct{}
	log   string
}

// startOperator runs the operator as its service account, with the defaults of its flags but for the probes, which
// would take a port.
func (s *session) startOperator(ctx context.Context) error {
	config, err := s.operatorKubeconfig(ctx)
	if err != nil {
		return err
	}
	o := &operator{ended: make(chan struct{}), log: filepath.Join(benchDir, "operator.log")}
	log, err := os.OpenFile(o.log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	// A round that is interrupted does not stop it; the session does.
	ctx, o.cancel = context.WithCancel(context.WithoutCancel(ctx))
	cmd := exec.CommandContext(ctx, s.binary, "--health-probe-bind-address=0")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+config)
	cmd.Stdout, cmd.Stderr = log, log
	detach(cmd)
	if err := cmd.Start(); err != nil {
		o.cancel()
		return fmt.Errorf("starting the operator: %w", err)
	}
	o.pid = cmd.Process.Pid
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(o.ended)
	}()
	s.operator = o
	return nil
}

// operatorKubeconfig writes a kubeconfig of the operator's service account.
func (s *session) operatorKubeconfig(ctx context.Context) (string, error) {
	config, err := tokenConfig(ctx, s.cluster.client, s.cluster.config, operatorNamespace, operatorAccount)
	if err != nil {
		return "", err
	}
	file := clientcmdapi.NewConfig()
	file.Clusters["bench"] = &clientcmdapi.Cluster{
		Server: config.Host, CertificateAuthority: config.CAFile, CertificateAuthorityData: config.CAData}
	file.AuthInfos["operator"] = &clientcmdapi.AuthInfo{Token: config.BearerToken}
	file.Contexts["bench"] = &clientcmdapi.Context{Cluster: "bench", AuthInfo: "operator"}
	file.CurrentContext = "bench"
	path := filepath.Join(benchDir, "operator.kubeconfig")
	return path, clientcmd.WriteToFile(*file, path)
}

// stopOperator stops the operator, if it runs, and waits until it has ended.
func (s *session) stopOperator() {
	if s.operator == nil {
		return
	}
	s.operator.cancel()
	<-s.operator.ended
	s.operator = nil
}

// watchOver calls cancel when the operator ends before the context does.
func (o *operator) watchOver(ctx context.Context, cancel context.CancelCauseFunc) {
	select {
	case <-ctx.Done():
	case <-o.ended:
		cancel(fmt.Errorf("the operator ended, see %s", o.log))
	}
}

// usage is what a process has used since it started: processor time in seconds, and the most memory at a time in bytes.
type usage struct {
	cpu  float64
	peak int64
}

// usage is nothing where there is no operator.
func (o *operator) usage() (u usage, err error) {
	if o == nil {
		return u, nil
	}
	if u.cpu, err = cpuSeconds(strconv.Itoa(o.pid)); err != nil {
		return u, err
	}
	u.peak, err = kilobytes(fmt.Sprintf("/proc/%d/status", o.pid), "VmHWM:")
	return u, err
}

// detach keeps a terminal's interrupt from a command: this program decides when it ends. It ends with this program, and
// so do the processes that it started.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout
}
