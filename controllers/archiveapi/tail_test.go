package archiveapi

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// last is what lastLines shall return.
func last(text string, lines int) string {
	all := strings.SplitAfter(text, "\n")
	if all[len(all)-1] == "" {
		all = all[:len(all)-1]
	}
	return strings.Join(all[max(0, len(all)-lines):], "")
}

func TestLastLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lengths := rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 7, kept / 3, kept - 1, kept, kept + 1, 3 * kept}), 0, 6).Draw(t, "lengths")
		var text strings.Builder
		for i, length := range lengths {
			text.WriteString(strings.Repeat(string(rune('a'+i)), length))
			if i < len(lengths)-1 || rapid.Bool().Draw(t, "ended") {
				text.WriteString("\n")
			}
		}
		lines := rapid.IntRange(0, len(lengths)+1).Draw(t, "lines")
		opened, closed := 0, 0
		log, err := lastLines(func() (io.ReadCloser, error) {
			opened++
			from := io.Reader(strings.NewReader(text.String()))
			if rapid.Bool().Draw(t, "halves") {
				from = iotest.DataErrReader(iotest.HalfReader(from))
			}
			return &counted{from, &closed}, nil
		}, int64(lines))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(log)
		if err != nil {
			t.Fatal(err)
		}
		_ = log.Close()
		if want := last(text.String(), lines); string(got) != want {
			t.Fatalf("got %d bytes, wanted %d", len(got), len(want))
		}
		if opened != closed {
			t.Fatalf("%d logs were opened, and %d closed", opened, closed)
		}
	})
}

// counted counts what is closed.
type counted struct {
	io.Reader
	closed *int
}

func (c *counted) Close() error {
	*c.closed++
	return nil
}

func TestTheMemoryOfATailIsBounded(t *testing.T) {
	var end ending
	line := append(bytes.Repeat([]byte("x"), 999), '\n')
	for range 10_000 {
		_, _ = end.Write(line)
	}
	if cap(end.text) > 4*kept {
		t.Errorf("it keeps %d bytes", cap(end.text))
	}
	if end.lines() != 10_000 {
		t.Errorf("it counted %d lines", end.lines())
	}
}
