package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func testCluster(t *testing.T, name string) *Cluster {
	t.Helper()
	c, err := newCluster(t.TempDir(), name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return c
}

func requireLinux(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/proc/self/environ"); err != nil {
		t.Skip("needs /proc")
	}
}

func startSleep(t *testing.T, c *Cluster, part string) {
	t.Helper()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip("needs the command sleep")
	}
	if err := c.start(service{name: part, path: sleep, args: []string{"60"}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.kill(context.Background(), func(string) bool { return true }) })
}

func TestProcessesAreFoundByTheirCluster(t *testing.T) {
	requireLinux(t)
	a := testCluster(t, "a")
	// Its folder's name begins with the other's.
	ab := &Cluster{Name: "ab", home: a.home, dir: a.dir + "b"}
	if err := os.MkdirAll(ab.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	startSleep(t, a, "etcd")
	startSleep(t, a, "kubelet")
	startSleep(t, ab, "etcd")

	running, err := a.processes()
	if err != nil || len(running) != 2 || len(running["etcd"]) != 1 || len(running["kubelet"]) != 1 {
		t.Fatalf("processes of a: %v, %v", running, err)
	}
	if err := a.kill(t.Context(), func(part string) bool { return part == "etcd" }); err != nil {
		t.Fatal(err)
	}
	if running, _ = a.processes(); len(running) != 1 || len(running["kubelet"]) != 1 {
		t.Errorf("after killing etcd of a: %v", running)
	}
	if running, _ = ab.processes(); len(running["etcd"]) != 1 {
		t.Errorf("the other cluster's etcd is gone: %v", running)
	}
}

func TestProcessesOfOthersAreNotOurs(t *testing.T) {
	proc := t.TempDir()
	for pid, environ := range map[string]string{
		"101": "PATH=/bin\x00",
		"102": "X_BATCHRUN_LOCAL=/c#etcd\x00",
		"103": "BATCHRUN_LOCAL=/other#etcd\x00",
	} {
		if err := os.MkdirAll(filepath.Join(proc, pid), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, pid, "environ"), []byte(environ), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := findProcesses(proc, "/c#"); err != nil || len(found) != 0 {
		t.Errorf("found %v, %v", found, err)
	}
}

func TestWaitForShowsTheLogOfWhatHasEnded(t *testing.T) {
	requireLinux(t)
	c := testCluster(t, "a")
	if err := writeFile(c.logFile("etcd"), []byte("bad flag\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	err := c.waitFor(t.Context(), "the API server", "kube-apiserver", []string{"etcd"}, func() error { return errors.New("no answer") })
	if err == nil || !strings.Contains(err.Error(), "etcd has ended") || !strings.Contains(err.Error(), "bad flag") {
		t.Errorf("got %v", err)
	}
	if time.Since(start) > 10*time.Second {
		t.Error("it waited for what could no longer come")
	}
}

func TestWaitForBearsWithWhatIsNotSeenYet(t *testing.T) {
	requireLinux(t)
	c := testCluster(t, "a")
	looks := 0
	err := c.waitFor(t.Context(), "the API server", "kube-apiserver", []string{"etcd"}, func() error {
		if looks++; looks == 3 {
			startSleep(t, c, "etcd")
		}
		if looks < 5 {
			return errors.New("no answer")
		}
		return nil
	})
	if err != nil {
		t.Errorf("got %v", err)
	}
}
