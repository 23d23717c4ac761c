package controllers

import (
	"bytes"
	"io"
	"runtime"
	"testing"

	"github.com/batchrun/batchrun/controllers/logtail"
)

// A line of 1 GB costs the operator no more memory than a few times what it keeps of it.
func TestALineOf1GBIsReadInBoundedMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	end, err := readEnd(io.LimitReader(endless{}, 1<<30), maxTailBytes)
	runtime.ReadMemStats(&after)
	if err != nil || len(end) != maxTailBytes {
		t.Fatalf("%d bytes, %v", len(end), err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("reading it took %d bytes of memory", used)
	}
	if tail := logtail.Clean(end, 80, 2048); len(tail) != 2048 {
		t.Errorf("%d bytes are kept of it", len(tail))
	}
}

// endless is a line without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	copy(p, line)
	return min(len(p), len(line)), nil
}

var line = bytes.Repeat([]byte("x"), 64<<10)
