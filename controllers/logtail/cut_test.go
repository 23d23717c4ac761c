package logtail

import (
	"strings"
	"testing"
)

func TestCut(t *testing.T) {
	for name, test := range map[string]struct {
		text  string
		limit int
		want  string
	}{
		"a shorter text stays":             {"abc", 4, "abc"},
		"a text of just the limit stays":   {"abcd", 4, "abcd"},
		"a longer one ends in the mark":    {"abcdef", 5, "ab…"},
		"no character is cut in half":      {"aäöü", 6, "aä…"},
		"a character may end at the mark":  {"äöüx", 5, "ä…"},
		"one in the way is left out whole": {"a🙂🙂", 6, "a…"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Cut(test.text, test.limit); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestTheBoundsOfEscapeSequences(t *testing.T) {
	for log, want := range map[string]int{
		"a":              0,
		"\x1b":           1,
		"\x1b(":          2, // breaks off
		"\x1b\x1fx":      1, // below the intermediate characters
		"\x1b 0x":        3, // the first of the intermediate and final ones
		"\x1b/~x":        3, // the last of them
		"\x1b\x7f":       1, // behind them
		"\x1b[":          2,
		"\x1b[\x1fm":     2,
		"\x1b[ @x":       4, // the first parameter and final character
		"\x1b[?~x":       4, // the last ones
		"\x1b[1\x7f":     3,
		"\x1b[1":         3,
		"\u009b1mx":      4,
		"\xc2":           0,
		"\xc2m":          0,
		"\x1b]t\x1b":     3, // what breaks it off is the next one's
		"\x1b]t\x1b\\x":  5,
		"\x1b]t\x1b[0m":  3,
		"\x1b]t\ax":      4,
		"\x1b]t\nx":      3,
		"\x1b]t\rx":      3,
		"\x1b]":          2,
		"\x1b]\a":        3,
		"\x1b]\x1b\\":    4,
		"\x1bPt\x1b\\x":  5,
		"\x1bXt\x1b\\x":  5,
		"\x1b^t\x1b\\x":  5,
		"\x1b_t\x1b\\x":  5,
		"\x1b]title off": 11,
	} {
		if got := escapeLen([]byte(log)); got != want {
			t.Errorf("%q: got %d, want %d", log, got, want)
		}
	}
}

func TestNothingIsKeptWithoutRoom(t *testing.T) {
	for _, room := range [][2]int{{0, 10}, {10, 0}, {-1, 10}, {10, -1}} {
		if got := Clean([]byte("text"), room[0], room[1]); got != "" {
			t.Errorf("%v: got %q", room, got)
		}
	}
}

func TestOneLineOfOneByteIsRoom(t *testing.T) {
	if got := Clean([]byte("text\n"), 1, 1); got != "t" {
		t.Errorf("got %q", got)
	}
}

// What is kept may be longer than the part of a log that is looked at for shorter ones.
func TestALongTailIsKeptWhole(t *testing.T) {
	log := []byte(strings.Repeat("x", 2*window))
	if got := Clean(log, 1, window+1); len(got) != window+1 {
		t.Errorf("got %d bytes, want %d", len(got), window+1)
	}
}
