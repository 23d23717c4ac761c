package main

import (
	"os"
	"slices"
	"testing"
)

func TestMountsBelow(t *testing.T) {
	const mounts = `22 1 254:0 / / rw shared:1 - ext4 /dev/vda rw
30 22 0:26 / /c/a rw - tmpfs tmpfs rw
31 22 0:27 / /c/a/node\040x/m rw - tmpfs tmpfs rw
32 22 0:28 / /c/ab rw - tmpfs tmpfs rw

short line
`
	want := []string{"/c/a", "/c/a/node x/m"}
	if got := mountsBelow(mounts, "/c/a"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDownOfNothing(t *testing.T) {
	requireLinux(t)
	home := t.TempDir()
	for range 2 {
		if err := down(t.Context(), home, "never-made"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDownOfHalfACluster(t *testing.T) {
	requireLinux(t)
	c := testCluster(t, "half")
	if err := writeFile(c.path("cluster.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	startSleep(t, c, "etcd")
	if err := down(t.Context(), c.home, "half"); err != nil {
		t.Fatal(err)
	}
	if running, _ := c.processes(); len(running) != 0 {
		t.Errorf("still running: %v", running)
	}
	if _, err := os.Stat(c.dir); err == nil {
		t.Error("the folder is still there")
	}
}
