package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"
)

// NodeKind says who runs the pods of a cluster.
type NodeKind string

const (
	NodeReal NodeKind = "real"
	NodeFake NodeKind = "fake"
	NodeNone NodeKind = "none"
)

// String, Set and Type make a NodeKind a flag.
func (k *NodeKind) String() string { return string(*k) }
func (k *NodeKind) Type() string   { return "real|fake|none" }
func (k *NodeKind) Set(s string) error {
	switch v := NodeKind(s); v {
	case NodeReal, NodeFake, NodeNone:
		*k = v
		return nil
	}
	return errors.New("must be real, fake or none")
}

// Options are what the flags of `up` choose. They are kept with the cluster.
type Options struct {
	Node          NodeKind   `json:"node"`
	Nodes         int        `json:"nodes"`
	Kubernetes    Kubernetes `json:"kubernetes,omitempty"`
	DefaultLimits bool       `json:"defaultLimits"`
	EtcdFsync     bool       `json:"etcdFsync"`
	Audit         bool       `json:"audit"`
}

// Cluster is one cluster and the folder that holds all of it.
type Cluster struct {
	Name string `json:"name"`
	Options
	Ports  Ports  `json:"ports"`
	Subnet string `json:"subnet"`
	// OfflineImages is set when no image registry answered at the last `up`.
	OfflineImages bool `json:"offlineImages"`

	home string
	dir  string
}

var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$`)

// findHome returns the folder of this module, wherever in the repository the
// command was started.
func findHome() (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		for _, home := range []string{dir, filepath.Join(dir, "hack", "local")} {
			if _, err := os.Stat(filepath.Join(home, "parts", "kubernetes", "go.mod")); err == nil {
				return filepath.EvalSymlinks(home)
			}
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not inside the repository; run `go -C hack/local run . <command>` from its root", wd)
		}
	}
}

func binDir(home string) string { return filepath.Join(home, ".local", "bin") }

// newCluster describes the cluster of that name without looking at the disk.
func newCluster(home, name string) (*Cluster, error) {
	if !validName.MatchString(name) {
		return nil, fmt.Errorf("--name %q: must be 1 to 20 lower-case letters, digits and dashes, as node names are made from it", name)
	}
	return &Cluster{Name: name, home: home, dir: filepath.Join(home, ".local", "clusters", name)}, nil
}

// openCluster returns a cluster that `up` has made.
func openCluster(name string) (*Cluster, error) {
	home, err := findHome()
	if err != nil {
		return nil, err
	}
	c, err := newCluster(home, name)
	if err != nil {
		return nil, err
	}
	if err := c.load(); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no cluster %q; `local up --name %s` makes it", name, name)
	} else if err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Cluster) path(elem ...string) string {
	return filepath.Join(append([]string{c.dir}, elem...)...)
}

// bin is the path of a part.
func (c *Cluster) bin(name string) string {
	for _, p := range parts(c.Kubernetes) {
		if p.name == name {
			return p.path(c.home)
		}
	}
	return filepath.Join(binDir(c.home), name)
}

// id names the cluster among all clusters of all checkouts on the machine.
func (c *Cluster) id() string {
	sum := sha256.Sum256([]byte(c.dir))
	return "batchrun-" + c.Name + "-" + hex.EncodeToString(sum[:4])
}

func (c *Cluster) load() error {
	data, err := os.ReadFile(c.path("cluster.json"))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, c); err != nil {
		return fmt.Errorf("%s: %w", c.path("cluster.json"), err)
	}
	return nil
}

func (c *Cluster) save() error {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(c.path("cluster.json"), append(data, '\n'), 0o644)
}

// lock keeps two commands from working on the same cluster at the same time.
// The kernel frees it when the command ends, however it ends.
func (c *Cluster) lock() (unlock func(), err error) {
	return lockFile(filepath.Join(c.home, ".local", "locks", c.Name))
}

func lockFile(path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return func() { f.Close() }, nil
}

// writeFile replaces a file in one step, so that a killed command never leaves
// half of one.
func writeFile(path string, data []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, data, mode); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func clusterNames(home string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(home, ".local", "clusters"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && validName.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func list(ctx context.Context, out io.Writer) error {
	home, err := findHome()
	if err != nil {
		return err
	}
	names, err := clusterNames(home)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "NAME\tNODE\tKUBERNETES\tAPI PORT\tSTATE")
	for _, name := range names {
		c, err := newCluster(home, name)
		if err != nil {
			return err
		}
		if err := c.load(); err != nil {
			fmt.Fprintf(w, "%s\t\t\t\thalf made\n", name)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", name, c.Node, c.Kubernetes.version(), c.Ports.API, c.state(ctx))
	}
	return w.Flush()
}

// state says in a few words how a cluster is.
func (c *Cluster) state(ctx context.Context) string {
	var info unix.Stat_t
	if err := unix.Stat(c.dir, &info); err == nil && os.Geteuid() != 0 && int(info.Uid) != os.Geteuid() {
		return "of another user (try sudo)"
	}
	running, err := c.processes()
	if err != nil {
		return err.Error()
	}
	var dead []string
	for _, part := range c.services() {
		if len(running[part.name]) == 0 {
			dead = append(dead, part.name)
		}
	}
	if len(dead) == len(c.services()) {
		return "stopped"
	}
	if len(dead) > 0 {
		return "not running: " + strings.Join(dead, ", ")
	}
	api, err := c.apiClient()
	if err != nil {
		return err.Error()
	}
	if err := api.get(ctx, "/readyz", nil); err != nil {
		return "not ready: " + err.Error()
	}
	return "ready"
}
