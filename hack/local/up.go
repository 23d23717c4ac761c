package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// up brings a cluster to the state that the options ask for. It looks at what
// is there before every step, so it also completes what a killed `up` began and
// restarts what has died since.
func up(ctx context.Context, name string, opts Options, given func(flag string) bool) error {
	start := time.Now()
	home, err := findHome()
	if err != nil {
		return err
	}
	c, err := newCluster(home, name)
	if err != nil {
		return err
	}
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.configure(opts, given); err != nil {
		return err
	}
	if err := checkHost(c.Node); err != nil {
		return err
	}
	if err := build(ctx, home, c.Kubernetes, partsFor(c.Node)); err != nil {
		return err
	}
	if err := c.prepare(); err != nil {
		return err
	}
	if err := c.startControlPlane(ctx); err != nil {
		return err
	}
	switch c.Node {
	case NodeReal:
		err = c.startNode(ctx)
	case NodeFake:
		err = c.startFakeNodes(ctx)
	}
	if err != nil {
		return err
	}
	if err := c.shareWithSudoUser(); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "Cluster %q is ready (%s, node: %s).\n", c.Name, time.Since(start).Round(100*time.Millisecond), c.Node)
	fmt.Printf("export KUBECONFIG=%s\n", c.path("kubeconfig"))
	return nil
}

// shareWithSudoUser lets the user who called sudo use the cluster, and make
// others without sudo.
func (c *Cluster) shareWithSudoUser() error {
	local := filepath.Join(c.home, ".local")
	if err := giveTreeToSudoUser(filepath.Join(local, "locks")); err != nil {
		return err
	}
	return giveToSudoUser(local, filepath.Join(local, "clusters"), c.path("kubeconfig"))
}

// configure takes the options of an existing cluster, whose processes were
// started with them, and refuses others.
func (c *Cluster) configure(opts Options, given func(flag string) bool) error {
	err := c.load()
	if errors.Is(err, fs.ErrNotExist) {
		if opts.Node == "" {
			opts.Node = NodeReal
		}
		c.Options = opts
		return nil
	}
	if err != nil {
		return err
	}
	want, changed := c.Options, []string{}
	set := func(flag string, differs bool, apply func()) {
		if given(flag) && differs {
			apply()
			changed = append(changed, "--"+flag)
		}
	}
	set("node", opts.Node != want.Node, func() { want.Node = opts.Node })
	set("nodes", opts.Nodes != want.Nodes, func() { want.Nodes = opts.Nodes })
	set("kubernetes", opts.Kubernetes != want.Kubernetes, func() { want.Kubernetes = opts.Kubernetes })
	set("default-limits", opts.DefaultLimits != want.DefaultLimits, func() { want.DefaultLimits = opts.DefaultLimits })
	set("etcd-fsync", opts.EtcdFsync != want.EtcdFsync, func() { want.EtcdFsync = opts.EtcdFsync })
	set("audit", opts.Audit != want.Audit, func() { want.Audit = opts.Audit })
	// More fake nodes need no restart.
	more := slices.Equal(changed, []string{"--nodes"}) && opts.Nodes > c.Nodes
	if len(changed) > 0 && !more {
		return fmt.Errorf("cluster %q (node: %s, Kubernetes: %s) was made with another %s; remove it first: local down --name %s",
			c.Name, c.Node, &c.Kubernetes, strings.Join(changed, ", "), c.Name)
	}
	c.Options = want
	return nil
}

// prepare writes everything that the processes read.
func (c *Cluster) prepare() error {
	running, err := c.processes()
	if err != nil {
		return err
	}
	if len(running) == 0 && !c.portsFree() {
		if err := c.assign(); err != nil {
			return err
		}
	}
	if err := c.save(); err != nil {
		return err
	}
	if err := c.makeCertificates(); err != nil {
		return err
	}
	return c.writeControlPlaneFiles()
}

// portsFree tells whether the ports of a stopped cluster can be used (again).
func (c *Cluster) portsFree() bool {
	if c.Ports == (Ports{}) {
		return false
	}
	for p := c.Ports.API; p < c.Ports.API+blockSize; p++ {
		if !portFree(p) {
			return false
		}
	}
	return true
}

func (c *Cluster) startControlPlane(ctx context.Context) error {
	// The first two wait for each other, the others do not wait.
	if err := c.ensure(c.etcd(), c.apiserver()); err != nil {
		return err
	}
	api, err := c.apiClient()
	if err != nil {
		return err
	}
	err = c.waitFor(ctx, "the API server", "kube-apiserver", []string{"etcd", "kube-apiserver"}, func() error {
		return api.get(ctx, "/readyz", nil)
	})
	if err != nil {
		return err
	}
	if err := c.ensure(c.controllerManager(), c.scheduler()); err != nil {
		return err
	}
	controllers := []string{"kube-controller-manager", "kube-scheduler"}
	return c.waitFor(ctx, "the default service account", "kube-controller-manager", controllers, func() error {
		return api.get(ctx, "/api/v1/namespaces/default/serviceaccounts/default", nil)
	})
}

// ensure starts those of the services that are not running.
func (c *Cluster) ensure(services ...service) error {
	running, err := c.processes()
	if err != nil {
		return err
	}
	for _, s := range services {
		if len(running[s.name]) > 0 {
			continue
		}
		if err := c.start(s); err != nil {
			return err
		}
	}
	return nil
}

// endedAfter is how long a part is missing before it counts as ended.
const endedAfter = 2 * time.Second

// waitFor asks until it gets no error. It gives up early when one of the parts
// that are needed has ended, and shows that part's log; in the end, that of the
// part which should have answered.
func (c *Cluster) waitFor(ctx context.Context, what, answerer string, needed []string, ask func() error) error {
	deadline := time.Now().Add(2 * time.Minute)
	missing := map[string]time.Time{} // since when
	for {
		err := ask()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		running, perr := c.processes()
		if perr != nil {
			return perr
		}
		for _, part := range needed {
			since, again := missing[part]
			switch {
			case len(running[part]) > 0:
				delete(missing, part)
			case !again:
				missing[part] = time.Now() // it may only have been overlooked, see processes
			case time.Since(since) > endedAfter:
				return fmt.Errorf("%s has ended.\n%s\n%s", part, c.logTail(part), c.startOver())
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waiting for %s: %w\n%s\n%s", what, err, c.logTail(answerer), c.startOver())
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

func (c *Cluster) startOver() string {
	return fmt.Sprintf("To start over: local down --name %s, then local up --name %[1]s", c.Name)
}
