package cli

import (
	"bufio"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/creack/pty"
)

func TestATerminalObeysNothingThatIsWritten(t *testing.T) {
	for _, test := range []struct {
		name, text, want string
	}{
		{"text", "a\tb 漢字 é 👩‍💻\n", "a\tb 漢字 é 👩‍💻\n"},
		{"the cursor is not moved", "a\x1b[1Ab\x1b[2Jc\x1b]0;title\a", "a^[[1Ab^[[2Jc^[]0;title^G"},
		{"nor by the one-character sequence", "a\u009b1A", "a<U+009B>1A"},
		{"nor by a byte that is no text", "a\x9b1A", `a\x9b1A`},
		{"backspace and delete", "a\b\x7f\x00", "a^H^?^@"},
		{"a line's start", "10%\r20%\r\nend\r\n", "10%\n20%\nend\n"},
		{"a text that runs backwards", "a\u202eb", "a<U+202E>b"},
		{"colours end with the line", "\x1b[31mred\nplain\n", "\x1b[31mred\x1b[0m\nplain\n"},
		{"a colour that never ends", "\x1b[1111111111111111111111111111111111111111111111111;", "^[[1111111111111111111111111111111111111111111111111;"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, size := range []int{len(test.text), 1} { // at once, and byte by byte
				terminal := &safeTerminal{colours: true}
				var got []byte
				for text := []byte(test.text); len(text) > 0; text = text[size:] {
					var shown []byte
					shown, terminal.begun = terminal.show(append(terminal.begun, text[:size]...))
					got = append(got, shown...)
				}
				if string(got) != test.want {
					t.Errorf("in parts of %d: got %q, want %q", size, got, test.want)
				}
			}
		})
	}
	without := &safeTerminal{}
	if shown, _ := without.show([]byte("\x1b[31mred\n")); string(shown) != "red\n" {
		t.Errorf("without colours: got %q", shown)
	}
}

func TestATerminalIsSafeHoweverItIsWrittenTo(t *testing.T) {
	read, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer tty.Close()
	lines := bufio.NewReader(read)
	for name, write := range map[string]func(io.Writer) (int64, error){
		"copy":   func(w io.Writer) (int64, error) { return io.Copy(w, strings.NewReader("\x1b[2J\n")) },
		"string": func(w io.Writer) (int64, error) { n, err := io.WriteString(w, "\x1b[2J\n"); return int64(n), err },
	} {
		if _, err := write(safe(tty)); err != nil {
			t.Fatal(err)
		}
		if line, err := lines.ReadString('\n'); line != "^[[2J\r\n" {
			t.Errorf("%s: the terminal gets %q %v", name, line, err)
		}
	}
	if out := safe(io.Discard); out != io.Discard {
		t.Error("what is no terminal gets something else")
	}
	file, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if out := safe(file); out != io.Writer(file) {
		t.Error("a file gets something else")
	}
}
