package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestProcessorTimeIsUserAndSystemTime(t *testing.T) {
	stat := "42 (a) name (1) S 1 42 42 0 -1 4194560 100 0 0 0 150 25 7 7 20 0 9 0 1 1 1"
	if got, err := parseCPU(stat); err != nil || got != 1.75 {
		t.Errorf("got %v, %v, want 1.75", got, err)
	}
	for name, text := range map[string]string{"nothing": "", "cut": "42 (a) S 1", "no numbers": "1 (a) S 1 2 3 4 5 6 7 8 9 10 x y"} {
		if _, err := parseCPU(text); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestMemoryIsReadByItsName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "status")
	if err := os.WriteFile(path, []byte("Name:\tmanager\nVmPeak:\t 9 kB\nVmHWM:\t 2048 kB\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := kilobytes(path, "VmHWM:"); err != nil || got != 2<<20 {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := kilobytes(path, "VmRSS:"); err == nil {
		t.Error("a name that is not there is no error")
	}
}

func TestPartsAreFoundByTheirMark(t *testing.T) {
	mark := "BATCHRUN_LOCAL=/somewhere/hack/local/.local/clusters/bench#etcd"
	for environ, want := range map[string]string{
		"HOME=/\x00" + mark + "\x00PATH=/bin\x00": "etcd", mark: "etcd", "HOME=/": "", "": "", "X" + mark: "",
		"BATCHRUN_LOCAL=/somewhere/hack/local/.local/clusters/bench-defaults#etcd": "",
	} {
		if got := markedPart(environ, "bench"); got != want {
			t.Errorf("%q: got %q, want %q", environ, got, want)
		}
	}
}
