package progress

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTheLastReportOfALog(t *testing.T) {
	for name, test := range map[string]struct {
		log     string
		percent int
		message string
	}{
		"a number from 0 to 1":            {"::batchrun progress=0.37 message=epoch 3\n", 37, "epoch 3"},
		"a percentage":                    {"::batchrun progress=37.9%\n", 37, ""},
		"the last of several":             {"::batchrun progress=0.1\nx\n::batchrun progress=0.2\nother text\n", 20, ""},
		"behind what a logger writes":     {"12:00 INFO ::batchrun progress=1 message=done", 100, "done"},
		"nothing is done yet":             {"::batchrun progress=0", 0, ""},
		"it is not rounded up":            {"::batchrun progress=0.999", 99, ""},
		"nor is a part that binary lacks": {"::batchrun progress=0.29", 29, ""},
		"the last state of a bar":         {"::batchrun progress=0.1\r::batchrun progress=0.6\n", 60, ""},
		"colours are left out":            {"\x1b[32m::batchrun progress=0.5 message=\x1b[1mgreen\x1b[0m\n", 50, "green"},
		"what is none is passed over":     {"::batchrun progress=0.5\n::batchrun progress=soon\n::batchrun progress=2\n::batchrun progress=NaN\n::batchrun hello\n", 50, ""},
		"below 0 is none":                 {"::batchrun progress=0.5\n::batchrun progress=-0.1", 50, ""},
		"in the first line":               {"::batchrun progress=0.5\nend", 50, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got, ok := Last([]byte(test.log)); !ok || got != (Report{test.percent, test.message}) {
				t.Errorf("got %v, %v", got, ok)
			}
		})
	}
}

func TestALogWithoutReport(t *testing.T) {
	for _, log := range []string{"", "\n", "progress=0.5", "::batchrun", "::batchrun message=x", "::batchrun progress="} {
		if got, ok := Last([]byte(log)); ok {
			t.Errorf("%q: got %v", log, got)
		}
	}
}

func TestALongMessageIsCut(t *testing.T) {
	got, _ := Last([]byte("::batchrun progress=0.5 message=" + strings.Repeat("ä", maxMessage)))
	if len(got.Message) > maxMessage || !strings.HasSuffix(got.Message, "ä…") {
		t.Errorf("got %q", got.Message)
	}
}

func FuzzLast(f *testing.F) {
	f.Add([]byte("::batchrun progress=0.37 message=epoch 3\n"))
	f.Fuzz(func(t *testing.T, log []byte) {
		got, _ := Last(log)
		if got.Percent < 0 || got.Percent > 100 || len(got.Message) > maxMessage || !utf8.ValidString(got.Message) {
			t.Errorf("got %v", got)
		}
	})
}
