package main

import (
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// The node's first process runs in PID and mount namespaces of its own, as the
// first process of a machine would. What containerd, the kubelet and the
// containers mount or write to the usual places below /run and /var exists for
// them only, several nodes do not see each other, and when this process ends,
// the kernel ends all others and drops all mounts.

func nodeInitCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "node-init DIR REGISTRY-PORT",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			if os.Getpid() != 1 {
				return fmt.Errorf("node-init is started by `local up`, in a PID namespace of its own")
			}
			return nodeInit(args[0], args[1])
		},
	}
}

func nodeInit(dir, registryPort string) error {
	// Ignored, and not left alone: a killed terminal must not take the node along.
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT)
	if err := privateMounts(dir); err != nil {
		return fmt.Errorf("set up the node's mounts: %w", err)
	}
	// hack/local/.local/clusters/<name>
	home := filepath.Join(dir, "..", "..", "..")
	go func() {
		err := serveRegistry(imagesDir(home), "127.0.0.1:"+registryPort)
		log.Printf("the image registry has ended: %v", err)
	}()
	c, err := newCluster(home, filepath.Base(dir))
	if err != nil {
		return err
	}
	if err := c.load(); err != nil {
		return err
	}
	return supervise(c,
		c.service("containerd", "--config", c.path("node", "containerd.toml")),
		c.service("kubelet",
			"--config="+c.path("node", "kubelet.yaml"), "--kubeconfig="+c.path("pki", "kubelet.kubeconfig"),
			"--root-dir=/var/lib/kubelet", "--hostname-override="+c.Name,
			// Otherwise it refuses to run on a loopback address. See nodeReady.
			"--cloud-provider=external"),
	)
}

// privateMounts gives the node its own /run, /var/lib and /var/log, in which
// everything of the machine's is still there, its own /proc, and a disguise for
// settings of the kernel that a node would change for the whole machine.
func privateMounts(dir string) error {
	// Slave first: what the machine unmounts goes here too, but nothing goes back.
	// Shared then: pods may ask for mounts that propagate.
	for _, flag := range []uintptr{unix.MS_SLAVE, unix.MS_SHARED} {
		if err := unix.Mount("", "/", "", flag|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("change propagation: %w", err)
		}
	}
	for _, place := range []struct {
		top  string
		kept []string // folders that outlive the node, in the cluster's folder
	}{
		{top: "/run"},
		{top: "/var/lib", kept: []string{"kubelet", "containerd"}},
		{top: "/var/log", kept: []string{"pods"}},
	} {
		if err := coverFolder(place.top, filepath.Join(dir, "node"), place.kept); err != nil {
			return err
		}
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return disguiseSettings()
}

// coverFolder mounts an empty folder over top and puts into it all that was in
// top, except what is named in kept: that is taken from the folder store.
func coverFolder(top, store string, kept []string) error {
	entries, err := os.ReadDir(top)
	if err != nil {
		return err
	}
	// What is covered can still be reached through an open folder.
	old, err := unix.Open(top, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", top, err)
	}
	defer unix.Close(old)
	if err := unix.Mount("tmpfs", top, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount %s: %w", top, err)
	}
	own := map[string]bool{"containerd": true, "cni": true, "netns": true}
	for _, name := range kept {
		own[name] = true
		source := filepath.Join(store, name)
		if err := os.MkdirAll(source, 0o755); err != nil {
			return err
		}
		if err := bind(source, filepath.Join(top, name), os.ModeDir); err != nil {
			return err
		}
	}
	for _, e := range entries {
		if own[e.Name()] {
			continue
		}
		source := fmt.Sprintf("/proc/self/fd/%d/%s", old, e.Name())
		if err := bind(source, filepath.Join(top, e.Name()), e.Type()); err != nil {
			log.Printf("the node does not see %s: %v", filepath.Join(top, e.Name()), err)
		}
	}
	return nil
}

// bind makes source appear at target, which does not exist yet.
func bind(source, target string, kind os.FileMode) error {
	switch {
	case kind&os.ModeSymlink != 0:
		to, err := os.Readlink(source)
		if err != nil {
			return err
		}
		return os.Symlink(to, target)
	case kind.IsDir():
		if err := os.Mkdir(target, 0o755); err != nil {
			return err
		}
	default:
		if err := os.WriteFile(target, nil, 0o644); err != nil {
			return err
		}
	}
	return unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, "")
}

// disguiseSettings lets the kubelet and the ptp plugin find the settings they
// want, instead of changing them for the whole machine.
func disguiseSettings() error {
	for file, value := range map[string]string{
		"vm/overcommit_memory":      "1",
		"vm/panic_on_oom":           "0",
		"kernel/panic":              "10",
		"kernel/panic_on_oops":      "1",
		"kernel/keys/root_maxkeys":  "1000000",
		"kernel/keys/root_maxbytes": "25000000",
		"net/ipv4/ip_forward":       "1",
	} {
		target := filepath.Join("/proc/sys", file)
		if _, err := os.Stat(target); err != nil {
			continue
		}
		source := filepath.Join("/run/batchrun-sysctl", file)
		if err := os.MkdirAll(filepath.Dir(source), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(source, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("cover %s: %w", target, err)
		}
	}
	return nil
}

// supervise keeps both running, and reaps every process that ends, as is the
// duty of a first process.
func supervise(c *Cluster, containerd, kubelet service) error {
	var mu sync.Mutex
	running := map[int]service{}
	run := func(s service) {
		mu.Lock() // held until the pid is known, so that its end is not overlooked
		defer mu.Unlock()
		pid, err := c.spawn(s)
		if err != nil {
			log.Fatalf("start %s: %v", s.name, err)
		}
		running[pid] = s
	}
	run(containerd)
	go func() {
		// A kubelet that finds no containerd ends.
		for range 100 {
			if _, err := os.Stat("/run/containerd/containerd.sock"); err == nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		run(kubelet)
	}()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil { // no child at all: one is about to be started again
			time.Sleep(100 * time.Millisecond)
			continue
		}
		mu.Lock()
		s, known := running[pid]
		delete(running, pid)
		mu.Unlock()
		if known {
			log.Printf("%s has ended (exit code %d, signal %d); starting it again", s.name, status.ExitStatus(), status.Signal())
			time.AfterFunc(time.Second, func() { run(s) })
		}
	}
}

// spawn starts a service without os/exec, which would want to reap it itself.
func (c *Cluster) spawn(s service) (pid int, err error) {
	out, err := os.OpenFile(c.logFile(s.name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	return syscall.ForkExec(s.path, append([]string{s.path}, s.args...), &syscall.ProcAttr{
		Dir:   c.dir,
		Env:   c.environment(s.name),
		Files: []uintptr{null.Fd(), out.Fd(), out.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
}
