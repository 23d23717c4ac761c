package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// down removes a cluster, whatever is left of it. The node goes first, and
// takes everything with it: it is the first process of a PID namespace, so
// the kernel kills all containers and shims with it, and its mounts and network
// namespaces exist in its mount namespace only.
func down(ctx context.Context, home, name string) error {
	c, err := newCluster(home, name)
	if err != nil {
		return err
	}
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	_, err = os.Stat(c.dir)
	existed := err == nil
	if existed {
		// Half a cluster may have no description; the rest of this needs none.
		if err := c.load(); err != nil && !errors.Is(err, os.ErrNotExist) {
			fmt.Fprintln(os.Stderr, "Warning:", err)
		}
	}
	if err := c.kill(ctx, func(part string) bool { return part == "node" }); err != nil {
		return err
	}
	if err := c.kill(ctx, func(string) bool { return true }); err != nil {
		return err
	}
	if err := removeCgroups(ctx, c.id()); err != nil {
		return err
	}
	if err := c.waitForRoutes(ctx); err != nil {
		return err
	}
	if err := noMountsBelow(c.dir); err != nil {
		return err
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return err
	}
	if existed {
		fmt.Fprintf(os.Stderr, "Cluster %q is gone.\n", name)
	}
	return nil
}

// waitForRoutes waits until the kernel has removed the pods' network
// interfaces, which it does a moment after the network namespaces are gone.
func (c *Cluster) waitForRoutes(ctx context.Context) error {
	if c.Subnet == "" {
		return nil
	}
	for range 100 {
		if !overlapsRoutes(c.Subnet, machineRoutes()) {
			return nil
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("routes to the pods' subnet %s are still there (see `ip route`)", c.Subnet)
}

// noMountsBelow guards the removal of the cluster's folder: nothing that is
// mounted there may be deleted by mistake.
func noMountsBelow(dir string) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if below := mountsBelow(string(mounts), dir); len(below) > 0 {
		return fmt.Errorf("something is mounted in the cluster's folder; unmount it first: %s", strings.Join(below, ", "))
	}
	return nil
}

// mountsBelow returns the mount points at or below dir.
func mountsBelow(mountinfo, dir string) []string {
	// The kernel writes these characters as octal numbers.
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var below []string
	for line := range strings.SplitSeq(mountinfo, "\n") {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		if point := unescape.Replace(f[4]); point == dir || strings.HasPrefix(point, dir+"/") {
			below = append(below, point)
		}
	}
	return below
}
