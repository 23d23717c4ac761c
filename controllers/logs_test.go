package controllers

import (
	"errors"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReadEnd(t *testing.T) {
	long := strings.Repeat("a", 100_000) + "the end"
	cases := []struct {
		name, log string
		limit     int
		want      string
	}{
		{"an empty log", "", 10, ""},
		{"a short log is kept whole", "short", 10, "short"},
		{"a log of just the limit is kept whole", "0123456789", 10, "0123456789"},
		{"of a longer log the end", "0123456789abc", 10, "3456789abc"},
		{"of a log of many chunks the end", long, 7, "the end"},
		{"a large limit", long, 200_000, long},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, reader := range []struct {
				name string
				end  func() ([]byte, error)
			}{
				{"at once", func() ([]byte, error) { return readEnd(strings.NewReader(c.log), c.limit) }},
				{"with its end", func() ([]byte, error) { return readEnd(iotest.DataErrReader(strings.NewReader(c.log)), c.limit) }},
				{"byte by byte", func() ([]byte, error) { return readEnd(iotest.OneByteReader(strings.NewReader(c.log)), c.limit) }},
			} {
				got, err := reader.end()
				if err != nil || string(got) != c.want {
					t.Errorf("%s: got %d bytes, error %v, want %d bytes", reader.name, len(got), err, len(c.want))
				}
			}
		})
	}
}

func TestReadEndTellsThatTheLogBroke(t *testing.T) {
	broken := errors.New("broken")
	if _, err := readEnd(iotest.ErrReader(broken), 10); !errors.Is(err, broken) {
		t.Errorf("got error %v, want %v", err, broken)
	}
}
