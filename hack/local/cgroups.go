package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const cgroupMount = "/sys/fs/cgroup"

// cgroupHierarchies lists the roots in which a group must be made: one with
// cgroup v2, one for each controller with v1.
func cgroupHierarchies() ([]string, error) {
	if _, err := os.Stat(filepath.Join(cgroupMount, "cgroup.controllers")); err == nil {
		return []string{cgroupMount}, nil
	}
	entries, err := os.ReadDir(cgroupMount)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var roots []string
	for _, e := range entries {
		root := filepath.Join(cgroupMount, e.Name())
		// Links (cpu -> cpu,cpuacct) lead to folders that are listed too.
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err == nil {
				roots = append(roots, root)
			}
		}
	}
	return roots, err
}

// makeCgroups makes the group under which the kubelet of a cluster makes those
// of its pods.
func makeCgroups(group string) error {
	roots, err := cgroupHierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		dir := filepath.Join(root, group)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make a cgroup for the node: %w", err)
		}
		// v1: a new group has no processors and no memory nodes until told.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if value, err := os.ReadFile(filepath.Join(root, file)); err == nil && root != cgroupMount {
				if err := os.WriteFile(filepath.Join(dir, file), value, 0); err != nil {
					return err
				}
			}
		}
		if root == cgroupMount {
			if err := delegate(root, dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// delegate turns on (v2) every controller that there is in both groups.
func delegate(dirs ...string) error {
	for _, dir := range dirs {
		controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
		if err != nil {
			return err
		}
		for name := range strings.FieldsSeq(string(controllers)) {
			// A controller that refuses is one that the kubelet does without, or names itself.
			_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+name), 0)
		}
	}
	return nil
}

// removeCgroups removes a cluster's groups. What was in them has been killed,
// but the kernel may take a moment to notice.
func removeCgroups(ctx context.Context, group string) error {
	roots, err := cgroupHierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		dir := filepath.Join(root, group)
		for attempt := 0; ; attempt++ {
			err := removeTree(dir)
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				break
			}
			if !errors.Is(err, syscall.EBUSY) || attempt > 100 {
				return fmt.Errorf("remove cgroup: %w", err)
			}
			if err := sleep(ctx, 50*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeTree removes folders only, deepest first: the files of a cgroup cannot
// be removed, and go with it.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return syscall.Rmdir(dir)
}
