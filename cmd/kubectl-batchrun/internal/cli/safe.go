package cli

import (
	"bytes"
	"io"
	"os"
	"regexp"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/render"
)

// safeTerminal is a terminal that obeys nothing of what is written to it, such as logs and messages of others: control
// characters are shown. Colours are let through, and end with the line.
type safeTerminal struct {
	file     *os.File // not embedded: its other ways to write are not safe
	colours  bool
	coloured bool
	begun    []byte // a character, or a colour, whose end has not come yet
}

// colour is the sequence that sets colours; begunColour is one that has not ended.
var (
	colour      = regexp.MustCompile(`^\x1b\[[0-9;:]*m`)
	begunColour = regexp.MustCompile(`^\x1b(\[[0-9;:]{0,32})?$`)
)

// safe makes terminals safe, and leaves other streams alone.
func safe(stream io.Writer) io.Writer {
	if file, ok := stream.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		return &safeTerminal{file: file, colours: os.Getenv("NO_COLOR") == ""}
	}
	return stream
}

// Write implements io.Writer.
func (t *safeTerminal) Write(text []byte) (int, error) {
	var shown []byte
	shown, t.begun = t.show(append(t.begun, text...))
	if _, err := t.file.Write(shown); err != nil {
		return 0, err
	}
	return len(text), nil
}

// show is what is written for a text; rest is the beginning of what is still to come.
func (t *safeTerminal) show(text []byte) (shown, rest []byte) {
	for len(text) > 0 && utf8.FullRune(text) && !begunColour.Match(text[:min(len(text), 40)]) {
		_, size := utf8.DecodeRune(text)
		switch found := colour.Find(text); {
		case found != nil:
			size = len(found)
			if t.colours {
				shown, t.coloured = append(shown, found...), true
			}
		case text[0] == '\n' && t.coloured:
			shown, t.coloured = append(shown, "\x1b[0m\n"...), false
		case text[0] == '\t':
			shown = append(shown, '\t')
		case bytes.HasPrefix(text, []byte("\r\n")):
		case text[0] == '\r' && len(text) == 1:
			return shown, bytes.Clone(text)
		case text[0] == '\r': // progress bars are drawn anew so
			shown = append(shown, '\n')
		default:
			shown = append(shown, render.Plain(string(text[:size]))...)
		}
		text = text[size:]
	}
	return shown, bytes.Clone(text)
}
