package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// part is one program that is built from a pinned module.
type part struct {
	name       string
	module     string // folder below parts/
	pkg        string
	flags      []string
	libs       bool       // needs a C compiler, pkg-config and libseccomp
	kubernetes Kubernetes // whose module it is of, where that is an older one's
}

func versionFlags(version string) []string {
	v := strings.Split(version, ".")
	x := " -X k8s.io/component-base/version."
	return []string{"-ldflags", "-s -w" + x + "gitVersion=v" + version + x + "gitMajor=" + v[0] + x + "gitMinor=" + v[1]}
}

// parts lists every program in the order in which they are best built:
// kube-apiserver compiles most of what the others share.
func parts(kubernetes Kubernetes) []part {
	small := []string{"-ldflags", "-s -w"}
	containerd := append([]string{"-tags", "no_btrfs"}, small...)
	ofKubernetes := func(name, pkg string) part {
		return part{name: name, module: "kubernetes", pkg: pkg, flags: versionFlags(kubernetes.version()), kubernetes: kubernetes}
	}
	k8s := func(name string) part { return ofKubernetes(name, "k8s.io/kubernetes/cmd/"+name) }
	cd := func(name string) part {
		return part{name: name, module: "node", pkg: "github.com/containerd/containerd/v2/cmd/" + name, flags: containerd}
	}
	cni := func(kind, name string) part {
		return part{name: name, module: "node", pkg: "github.com/containernetworking/plugins/plugins/" + kind + "/" + name, flags: small}
	}
	prometheus := func(name string) part {
		return part{name: name, module: "prometheus", pkg: "github.com/prometheus/prometheus/cmd/" + name,
			flags: append([]string{"-tags", "remove_all_sd"}, small...)} // all without the clients of the clouds
	}
	return []part{
		k8s("kube-apiserver"), k8s("kube-controller-manager"), k8s("kube-scheduler"), k8s("kubectl"),
		ofKubernetes("etcd", "./etcd"),
		k8s("kubelet"),
		cd("containerd"), cd("containerd-shim-runc-v2"), cd("ctr"),
		{name: "runc", module: "node", pkg: "github.com/opencontainers/runc", flags: append([]string{"-tags", "seccomp"}, small...), libs: true},
		cni("ipam", "host-local"), cni("main", "loopback"), cni("main", "ptp"),
		{name: "kwok", module: "kwok", pkg: "sigs.k8s.io/kwok/cmd/kwok", flags: small},
		prometheus("prometheus"), prometheus("promtool"),
	}
}

func allParts() []string {
	var names []string
	for _, p := range parts("") {
		names = append(names, p.name)
	}
	return names
}

// partsFor names the parts that a kind of cluster needs.
func partsFor(kind NodeKind) []string {
	names := []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "etcd"}
	switch kind {
	case NodeReal:
		names = append(names, "kubelet", "containerd", "containerd-shim-runc-v2", "ctr", "runc", "host-local", "loopback", "ptp")
	case NodeFake:
		names = append(names, "kwok")
	}
	return names
}

// build makes those of the named parts whose pins or flags changed since they
// were last built.
func build(ctx context.Context, home string, kubernetes Kubernetes, names []string) error {
	if _, err := exec.LookPath("go"); err != nil {
		return errors.New("the go command is not in PATH (under sudo: `sudo env PATH=$PATH ...`)")
	}
	unlock, err := lockFile(filepath.Join(home, ".local", "locks", ".build"))
	if err != nil {
		return err
	}
	defer unlock()
	for _, n := range names {
		if !slices.Contains(allParts(), n) {
			return fmt.Errorf("no part is called %q; the parts are %s", n, strings.Join(allParts(), ", "))
		}
	}
	if err := kubernetes.prepare(ctx, home); err != nil {
		return err
	}
	var stale []part
	for _, p := range parts(kubernetes) {
		if !slices.Contains(names, p.name) {
			continue
		}
		want, err := p.stamp(home)
		if err != nil {
			return err
		}
		have, err := os.ReadFile(p.stampFile(home))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if _, err := os.Stat(p.path(home)); err != nil || string(have) != want {
			stale = append(stale, p)
		}
	}
	if len(stale) == 0 {
		return nil
	}
	announce(home, kubernetes, stale)
	for i, p := range stale {
		if err := p.build(ctx, home, fmt.Sprintf("[%d/%d]", i+1, len(stale))); err != nil {
			return err
		}
	}
	return giveTreeToSudoUser(binDir(home))
}

func announce(home string, kubernetes Kubernetes, stale []part) {
	if _, err := os.Stat(kubernetes.program(home, "kube-apiserver")); errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(os.Stderr, "Building Kubernetes %s from source. The first time this takes about 15 minutes on two cores\n"+
			"and 3 GB of disk; afterwards only what changed is built.\n", kubernetes.version())
	}
	fmt.Fprintf(os.Stderr, "Building %d parts into %s\n", len(stale), binDir(home))
}

// path is where the program is.
func (p part) path(home string) string { return p.kubernetes.program(home, p.name) }

func (p part) stampFile(home string) string {
	return filepath.Join(filepath.Dir(p.path(home)), ".stamps", p.name)
}

// folder is that of the Go module of which the part is built.
func (p part) folder(home string) string {
	if p.kubernetes != "" {
		return p.kubernetes.module(home)
	}
	return filepath.Join(home, "parts", p.module)
}

// stamp identifies what a part is built from.
func (p part) stamp(home string) (string, error) {
	h := sha256.New()
	files := []string{"go.mod", "go.sum"}
	if p.kubernetes != "" {
		files = nil // The release, which is in the flags, says it all; the go command adds to both files as it builds.
	}
	if strings.HasPrefix(p.pkg, "./") {
		files = append(files, filepath.Join(p.pkg, "main.go"))
	}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(p.folder(home), f))
		if err != nil {
			return "", err
		}
		h.Write(data)
	}
	fmt.Fprint(h, p.pkg, p.flags, runtime.Version(), runtime.GOARCH)
	return hex.EncodeToString(h.Sum(nil)), nil
}

// build compiles one part, showing how long it has been at it.
func (p part) build(ctx context.Context, home, position string) error {
	if p.libs {
		if err := ensureLibraries(ctx); err != nil {
			return err
		}
	}
	stamp, err := p.stamp(home)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(p.stampFile(home)), 0o755); err != nil {
		return err
	}
	args := append([]string{"build", "-o", p.path(home)}, p.flags...)
	if p.kubernetes != "" {
		args = append(args, "-mod=mod")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, p.pkg)...)
	cmd.Dir = p.folder(home)
	// The caller's own flags and workspace are about the caller's code.
	cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false", "GOWORK=off")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	done := showProgress(fmt.Sprintf("%s %s", position, p.name))
	err = cmd.Run()
	done(err)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("build %s: %w\n%s", p.name, err, lastLines(out.String(), 30))
	}
	return os.WriteFile(p.stampFile(home), []byte(stamp), 0o644)
}

// showProgress prints what is being done and for how long: in place on a
// terminal, a line a minute elsewhere.
func showProgress(what string) (done func(error)) {
	start := time.Now()
	terminal := isTerminal(os.Stderr)
	elapsed := func() time.Duration { return time.Since(start).Round(time.Second) }
	interval := time.Minute
	if terminal {
		interval = time.Second
		fmt.Fprintf(os.Stderr, "%s ...", what)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				if terminal {
					fmt.Fprintf(os.Stderr, "\r%s ... %s", what, elapsed())
				} else {
					fmt.Fprintf(os.Stderr, "%s ... %s so far\n", what, elapsed())
				}
			case <-stop:
				return
			}
		}
	}()
	return func(err error) {
		close(stop)
		<-stopped
		word := "done"
		if err != nil {
			word = "failed"
		}
		prefix := ""
		if terminal {
			prefix = "\r"
		}
		fmt.Fprintf(os.Stderr, "%s%s %s in %s\n", prefix, what, word, elapsed())
	}
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
