package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Every process of a cluster carries this variable in its environment:
// the cluster's folder, and the part. It is how processes are found again. A
// file with a process id could be missing (its writer killed) or name another
// process (after a reboot); the environment is always true.
const markerVariable = "BATCHRUN_LOCAL"

func (c *Cluster) marker(part string) string { return c.dir + "#" + part }

// service is a long-running process of a cluster.
type service struct {
	name string
	path string
	args []string
	attr *syscall.SysProcAttr
}

// start runs a service as a daemon that outlives this command.
func (c *Cluster) start(s service) error {
	log, err := os.OpenFile(c.logFile(s.name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(c.path("logs"), 0o755); err == nil {
			log, err = os.OpenFile(c.logFile(s.name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		}
	}
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(s.path, s.args...)
	cmd.Dir = c.dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = c.environment(s.name)
	cmd.SysProcAttr = s.attr
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	return cmd.Process.Release()
}

// environment is small, so that a cluster does not depend on who started it.
// Proxies are kept: images may have to be pulled through one.
func (c *Cluster) environment(part string) []string {
	env := []string{
		"PATH=" + binDir(c.home) + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + c.dir,
		markerVariable + "=" + c.marker(part),
	}
	for _, name := range []string{"HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy"} {
		if v, ok := os.LookupEnv(name); ok {
			if strings.EqualFold(name, "no_proxy") {
				v += ",127.0.0.1,localhost"
			}
			env = append(env, name+"="+v)
		}
	}
	return env
}

func (c *Cluster) logFile(part string) string { return c.path("logs", part+".log") }

// processes finds the running processes of the cluster by the part they are.
// It may overlook one that has just been started: for a moment during exec, and
// on a busy machine for a while, the environment in /proc is empty.
func (c *Cluster) processes() (map[string][]*os.Process, error) {
	return findProcesses("/proc", c.marker(""))
}

func findProcesses(proc, markerPrefix string) (map[string][]*os.Process, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, err
	}
	found := map[string][]*os.Process{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		environ := filepath.Join(proc, e.Name(), "environ")
		if _, ok := markedPart(environ, markerPrefix); !ok {
			continue
		}
		// The handle (a pidfd) stays with the process; that it is still the one
		// whose environment was read is checked through it once more.
		p, err := os.FindProcess(pid)
		if err != nil {
			continue
		}
		if part, ok := markedPart(environ, markerPrefix); ok && p.Signal(syscall.Signal(0)) == nil {
			found[part] = append(found[part], p)
		}
	}
	return found, nil
}

func markedPart(environFile, markerPrefix string) (part string, ok bool) {
	data, err := os.ReadFile(environFile)
	if err != nil {
		return "", false // ended, or another user's
	}
	for entry := range bytes.SplitSeq(data, []byte{0}) {
		if rest, found := strings.CutPrefix(string(entry), markerVariable+"="+markerPrefix); found {
			return rest, true
		}
	}
	return "", false
}

// kill ends every process of the cluster for which want is true, and waits
// until they are gone.
func (c *Cluster) kill(ctx context.Context, want func(part string) bool) error {
	deadline := time.Now().Add(20 * time.Second)
	for {
		running, err := c.processes()
		if err != nil {
			return err
		}
		var left []string
		for part, list := range running {
			if !want(part) {
				continue
			}
			left = append(left, part)
			for _, p := range list {
				_ = p.Kill() // it may have just ended
			}
		}
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("still running after being killed: %s", strings.Join(left, ", "))
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// logTail returns the end of a part's log, for an error message.
func (c *Cluster) logTail(part string) string {
	f, err := os.Open(c.logFile(part))
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > 8192 {
		if _, err := f.Seek(-8192, io.SeekEnd); err != nil {
			return ""
		}
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("The end of %s:\n%s", c.logFile(part), lastLines(string(data), 15))
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
