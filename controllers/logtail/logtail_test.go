package logtail

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	for name, test := range map[string]struct {
		log      string
		maxLines int
		maxBytes int
		want     string
	}{
		"an empty log is empty":                           {log: "", want: ""},
		"plain text stays, the newline at the end goes":   {log: "one\n\ttwo\n", want: "one\n\ttwo"},
		"empty lines at the end go, those within stay":    {log: "one\n\ntwo\n\n\n", want: "one\n\ntwo"},
		"the last lines are kept":                         {log: "one\ntwo\nthree\n", maxLines: 2, want: "two\nthree"},
		"the last bytes are kept":                         {log: "one\ntwo\nthree\n", maxBytes: 7, want: "o\nthree"},
		"nothing is kept of no lines":                     {log: "one", maxLines: -1, want: ""},
		"nothing is kept of no bytes":                     {log: "one", maxBytes: -1, want: ""},
		"a cut falls between characters":                  {log: "ääää", maxBytes: 5, want: "ää"},
		"Windows newlines become newlines":                {log: "one\r\ntwo\r\n", want: "one\ntwo"},
		"a progress bar shows its last state":             {log: "start\n 10%\r 50%\r100%\ndone\n", want: "start\n100%\ndone"},
		"a progress bar that breaks off shows its state":  {log: " 10%\r 50%\r", want: " 50%"},
		"a progress bar that clears its line, too":        {log: "10%\r\x1b[K20%\r\x1b[K", want: "20%"},
		"two carriage returns in a row overwrite nothing": {log: "one\r\r\ntwo", want: "one\ntwo"},
		"colors go":                                       {log: "\x1b[1;31mred\x1b[0m text", want: "red text"},
		"colors in the one-character form go":             {log: "\u009b31mred", want: "red"},
		"window titles and links go":                      {log: "\x1b]0;title\atext \x1b]8;;http://x\x1b\\link", want: "text link"},
		"character sets and resets go":                    {log: "\x1b(Btext\x1bc", want: "text"},
		"a color that breaks off takes no text along":     {log: "\x1b[31", want: ""},
		"a color that breaks off keeps the next line":     {log: "\x1b[31\nnext", want: "\nnext"},
		"a title that breaks off keeps the next line":     {log: "\x1b]0;title\nnext", want: "\nnext"},
		"an escape that starts a color keeps the color":   {log: "\x1b\x1b[31mred", want: "red"},
		"a title that a color breaks off":                 {log: "\x1b]0;title\x1b[31mred", want: "red"},
		"an escape at the end goes":                       {log: "text\x1b", want: "text"},
		"control characters go":                           {log: "a\x00b\x07c\x08d\x7fe\u0085f", want: "abcdef"},
		"half a character at the front goes":              {log: "\xa4hnlich ähnlich", want: "hnlich ähnlich"},
		"half a character at the end is marked":           {log: "ähnlich \xc3", want: "ähnlich \ufffd"},
		"bytes that are no text are marked once a run":    {log: "a\xff\xfe\xfdb\xffc", want: "a\ufffdb\ufffdc"},
		"a marked run ends with its line":                 {log: "a\xff\n\xffb", want: "a\ufffd\n\ufffdb"},
		"an overwritten mark goes":                        {log: "\xc3\xff\r\xffb", want: "\ufffdb"},
		"characters of any language stay":                 {log: "日本語 🙂\n", want: "日本語 🙂"},
		"what JSON escapes counts as long as it gets":     {log: strings.Repeat("<", 100), maxBytes: 90, want: strings.Repeat("<", 30)},
		"quotes and newlines may take twice their length": {log: strings.Repeat("\"\n", 45) + "e", maxBytes: 91, want: strings.Repeat("\"\n", 45) + "e"},
	} {
		t.Run(name, func(t *testing.T) {
			lines, size := test.maxLines, test.maxBytes
			if lines == 0 {
				lines = 80
			}
			if size == 0 {
				size = 2048
			}
			got := Clean([]byte(test.log), lines, size)
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			requireFit(t, got, lines, size)
		})
	}
}

func TestTheDigitsOfPiFit(t *testing.T) {
	pi := "3." + strings.Repeat("1415926535", 200)[1:]
	if len(pi) != 2001 {
		t.Fatalf("the test has %d digits", len(pi))
	}
	if got := Clean([]byte(pi+"\n"), 80, 2048); got != pi {
		t.Errorf("got %d bytes: %.20q…", len(got), got)
	}
}

func TestALongLineGivesItsEnd(t *testing.T) {
	log := []byte(strings.Repeat("ä", 4<<20) + "end")
	for _, cut := range []int{0, 1} {
		got := Clean(log[cut:], 80, 2048)
		if want := strings.Repeat("ä", 1022) + "end"; got != want {
			t.Errorf("got %d bytes: %.20q…", len(got), got)
		}
	}
}

func TestALongProgressBarGivesItsLastState(t *testing.T) {
	log := "start\n" + strings.Repeat("\x1b[32m###  \x1b[0m\r", 1<<18) + "###### done\n"
	if got := Clean([]byte(log), 80, 2048); got != "###### done" {
		t.Errorf("got %.80q", got)
	}
}

// requireFit fails unless the text keeps every promise of Clean.
func requireFit(t *testing.T, text string, maxLines, maxBytes int) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Fatalf("%q is no UTF-8", text)
	}
	if len(text) > max(maxBytes, 0) {
		t.Fatalf("%d bytes of at most %d", len(text), maxBytes)
	}
	if text == "" {
		return
	}
	if lines := strings.Count(text, "\n") + 1; lines > maxLines {
		t.Fatalf("%d lines of at most %d", lines, maxLines)
	}
	if strings.HasSuffix(text, "\n") {
		t.Fatalf("%q ends in a newline", text)
	}
	for _, r := range text {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			t.Fatalf("%q holds the control character %U", text, r)
		}
	}
	encoded, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	if len(encoded) > 2*maxBytes+2 {
		t.Fatalf("%d bytes of JSON for at most %d bytes of text", len(encoded), maxBytes)
	}
}

func FuzzClean(f *testing.F) {
	for _, log := range []string{
		"", "one\ntwo\n", "10%\r20%\r\n", "\x1b[31mred\x1b[0m", "\x1b]0;t\a", "\xa4\xff", "<&>\u2028\u2029\"\\\t", "\u009b1m",
		"\x1b", "\x1b]", "\ufeff\ufffd", "a\r\r\nb\rc", "\xf0\x9f\x99", "\x80\x80\x80\x80\x80",
	} {
		f.Add([]byte(log), 80, 2048)
		f.Add([]byte(log), 1, 5)
	}
	f.Fuzz(func(t *testing.T, log []byte, maxLines, maxBytes int) {
		maxLines, maxBytes = maxLines%200, maxBytes%5000
		before := string(log)
		text := Clean(log, maxLines, maxBytes)
		requireFit(t, text, maxLines, maxBytes)
		if string(log) != before {
			t.Fatal("the log was changed")
		}
		if again := Clean([]byte(text), maxLines, maxBytes); again != text {
			t.Fatalf("%q cleaned again is %q", text, again)
		}
		if less := Clean(log, maxLines, maxBytes/2); !strings.HasSuffix(text, less) {
			t.Fatalf("%q is not the end of %q", less, text)
		}
	})
}

func BenchmarkClean(b *testing.B) {
	for name, log := range map[string][]byte{
		"a tail as the kubelet keeps it": []byte(strings.Repeat("2026-01-02 step 17 loss 0.123\n", 68)),
		"a line of 1 MiB":                []byte(strings.Repeat("x", 1<<20)),
		"a line of 64 MiB":               []byte(strings.Repeat("x", 64<<20)),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Clean(log, 80, 2048)
			}
		})
	}
}
