package archive

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// stamped is a log as a kubelet writes it with timestamps, without those lines that are older than since.
func stamped(rows [][]byte, times []time.Time, since time.Time) []byte {
	var out bytes.Buffer
	for i, row := range rows {
		if times[i].Before(since) {
			continue
		}
		out.WriteString(times[i].Format("2006-01-02T15:04:05.000000000Z07:00 "))
		out.Write(row)
	}
	return out.Bytes()
}

// However a log comes in pieces, and wherever its stream breaks, what is read is the log: nothing twice, nothing left out.
func TestALogIsReadOnWhereItBroke(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		var rows [][]byte
		var times []time.Time
		for range rapid.IntRange(0, 40).Draw(t, "lines") {
			at = at.Add(rapid.SampledFrom([]time.Duration{0, 0, time.Nanosecond, time.Millisecond, time.Second}).Draw(t, "pause"))
			early := rapid.SampledFrom([]time.Duration{0, 0, time.Nanosecond, time.Millisecond, disorder}).Draw(t, "early")
			row := rapid.SliceOfN(rapid.ByteMax(255), 0, 30).Draw(t, "row")
			rows = append(rows, append(bytes.ReplaceAll(row, []byte("\n"), []byte(" ")), '\n'))
			times = append(times, at.Add(-early))
		}
		if n := len(rows); n > 0 && rapid.Bool().Draw(t, "unfinished") {
			rows[n-1] = rows[n-1][:len(rows[n-1])-1]
		}
		var got []byte
		var reached mark
		for broken := true; broken; {
			text := stamped(rows, times, reached.since())
			end := len(text)
			if broken = rapid.Bool().Draw(t, "broken"); broken {
				end = rapid.IntRange(0, end).Draw(t, "at")
			}
			p := newLines(reached)
			for from := 0; from < end; {
				to := from + rapid.IntRange(1, end-from).Draw(t, "piece")
				got = append(got, p.feed(text[from:to])...)
				from = to
			}
			reached = p.at
			if p.gap {
				t.Fatal("nothing was rotated away")
			}
			if len(p.remark) > 0 {
				t.Fatalf("taken for a remark: %q", p.remark)
			}
		}
		if want := bytes.Join(rows, nil); !bytes.Equal(got, want) {
			t.Fatalf("wanted %q, got %q", want, got)
		}
	})
}

// A kubelet shows only the last of the files that it rotates.
func TestWhatWasRotatedAwayIsNoticed(t *testing.T) {
	var rows [][]byte
	var times []time.Time
	for i := range 22 {
		rows = append(rows, fmt.Appendf(nil, "line %d\n", i))
		times = append(times, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(i)*100*time.Millisecond))
	}
	first := newLines(mark{})
	first.feed(stamped(rows[:20], times[:20], time.Time{}))
	for name, test := range map[string]struct {
		from, to int
		want     string
		gap      bool
	}{
		"nothing":                  {0, 22, "line 20\nline 21\n", false},
		"what was read":            {20, 22, "line 20\nline 21\n", true},
		"some of what was not":     {21, 22, "line 21\n", true},
		"nothing, and nothing new": {0, 20, "", false},
	} {
		p := newLines(first.at)
		got := string(p.feed(stamped(rows[test.from:test.to], times[test.from:test.to], first.at.since())))
		if got != test.want || p.gap != test.gap {
			t.Errorf("%s was rotated away: got %q, gap %v", name, got, p.gap)
		}
	}
}

func TestARemarkOfTheKubeletIsNoLine(t *testing.T) {
	for _, remark := range []string{
		"unable to retrieve container logs for containerd://0123456789abcdef0123456789abcdef0123456789abcdef",
		"failed to create fsnotify watcher: too many open files", "short", "one\ntwo words",
	} {
		p := newLines(mark{})
		got := string(p.feed([]byte("2026-01-02T03:04:05.000000006Z a line\n" + remark)))
		p.close()
		if got != "a line\n" {
			t.Errorf("the log is %q", got)
		}
		if string(bytes.ReplaceAll(p.remark, []byte("\n"), nil)) != string(bytes.ReplaceAll([]byte(remark), []byte("\n"), nil)) {
			t.Errorf("the remark is %q, wanted %q", p.remark, remark)
		}
	}
}

func BenchmarkLines(b *testing.B) {
	var text []byte
	for i := range 1000 {
		text = fmt.Appendf(text, "2026-01-02T03:04:05.%09dZ line %d of a log that says something of some length\n", i, i)
	}
	b.SetBytes(int64(len(text)))
	p := newLines(mark{})
	for b.Loop() {
		p.feed(text)
	}
}
