// Package render writes runs and tasks for people to read. It knows no cluster, no clock and no terminal.
package render

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"charm.land/lipgloss/v2"
	"k8s.io/apimachinery/pkg/util/duration"
)

// wrapped breaks a text into lines of at most width columns, each behind the indent. Where width is 0 only the text's
// own line breaks count.
func wrapped(text, indent string, width int) []string {
	room := width - lipgloss.Width(indent)
	var all []string
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		line = Plain(strings.ReplaceAll(line, "\t", "    "))
		if width > 0 && lipgloss.Width(line) > room {
			line = unbroken.Replace(lipgloss.Wrap(hyphens.Replace(line), max(room, 1), " "))
		}
		for part := range strings.SplitSeq(line, "\n") {
			all = append(all, strings.TrimRight(indent+part, " "))
		}
	}
	return all
}

// No line is broken at a hyphen: names have them. A character for private use stands for them meanwhile.
var (
	hyphens  = strings.NewReplacer("-", "\uE000")
	unbroken = strings.NewReplacer("\uE000", "-")
)

// page gathers lines of at most width columns.
type page struct {
	text  strings.Builder
	width int
}

// String is the whole page.
func (p *page) String() string { return p.text.String() }

// write adds a line as it is.
func (p *page) write(line string) {
	_, _ = p.text.WriteString(line + "\n") // never fails
}

// line adds a text, and breaks it where it does not fit.
func (p *page) line(indent, format string, args ...any) {
	for _, line := range wrapped(fmt.Sprintf(format, args...), indent, p.width) {
		p.write(line)
	}
}

// labelWidth is how wide the first column of a page is.
const labelWidth = 13

// field adds a line with a label; a long text goes on below its beginning.
func (p *page) field(label, format string, args ...any) {
	indent := strings.Repeat(" ", labelWidth)
	for i, line := range wrapped(fmt.Sprintf(format, args...), indent, p.width) {
		if i == 0 {
			line = fmt.Sprintf("%-*s", labelWidth, label+":") + strings.TrimPrefix(line, indent)
		}
		p.write(strings.TrimRight(line, " "))
	}
}

func (p *page) blank() { p.write("") }

// table lays out rows below a header, each column as wide as its widest cell.
func table(rows [][]string) string {
	const gap = "   "
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			cell = Plain(cell)
			row[i] = cell
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], lipgloss.Width(cell))
		}
	}
	var out strings.Builder
	for _, row := range rows {
		cells := make([]string, 0, len(row))
		for i, cell := range row {
			cells = append(cells, cell+strings.Repeat(" ", widths[i]-lipgloss.Width(cell)))
		}
		out.WriteString(strings.TrimRight(strings.Join(cells, gap), " ") + "\n")
	}
	return out.String()
}

// ago is how long ago something was, as kubectl writes ages.
func ago(now, then time.Time) string {
	return duration.HumanDuration(max(now.Sub(then), 0)) + " ago" // clocks differ
}

// Plain shows the characters of a text that a terminal would obey or hide, such as ^[ for escape; all but line breaks.
func Plain(text string) string {
	if utf8.ValidString(text) && !strings.ContainsFunc(text, hidden) {
		return text
	}
	var plain strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && size == 1:
			_, _ = fmt.Fprintf(&plain, "\\x%02x", text[0])
		case !hidden(r):
			_, _ = plain.WriteString(text[:size])
		case r < utf8.RuneSelf:
			_, _ = fmt.Fprintf(&plain, "^%c", r^0x40) // as terminals themselves show what is typed
		default:
			_, _ = fmt.Fprintf(&plain, "<U+%04X>", r)
		}
		text = text[size:]
	}
	return plain.String()
}

// hidden is true for control characters and for marks that change the direction of a text.
func hidden(r rune) bool {
	return r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r))
}

// oneLine puts a text on one line.
func oneLine(text string) string {
	return strings.Join(strings.Fields(text), " ")
}

// plural is "1 task" or "2 tasks".
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
