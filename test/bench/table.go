package main

import (
	"math"
	"strconv"
	"strings"
)

// table is the header of a table of Markdown, whose first three columns are those of a key.
type table []string

// rows is a table with rows.
type rows struct{ lines []string }

func (header table) new() *rows {
	t := &rows{}
	t.line(header)
	rule := make([]string, len(header))
	for i := range rule {
		rule[i] = "---"
	}
	t.line(rule)
	return t
}

func (t *rows) line(cells []string) { t.lines = append(t.lines, "| "+strings.Join(cells, " | ")+" |") }

// add adds a row.
func (t *rows) add(k key, cells ...string) {
	title := k.kind
	if named, err := kindNamed(k.kind); err == nil {
		title = named.title
	}
	t.line(append([]string{k.limits, thousands(k.tasks), title}, cells...))
}

// String is the table, or that there is none.
func (t *rows) String() string {
	if len(t.lines) == 2 {
		return "Not measured."
	}
	return strings.Join(t.lines, "\n")
}

// spread is a median and what the figures lie between.
func spread(s summary, digits int) string {
	switch s.Count {
	case 0:
		return ""
	case 1:
		return number(s.Median, digits)
	}
	return number(s.Median, digits) + " (" + number(s.Min, digits) + "–" + number(s.Max, digits) + ")"
}

// number has no minus in front of zero.
func number(figure float64, digits int) string {
	scale := math.Pow(10, float64(digits))
	return strconv.FormatFloat(math.Round(figure*scale)/scale+0, 'f', digits, 64)
}

// thousands has commas between groups of digits.
func thousands(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func mebibytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }

func gibibytes(bytes int64) float64 { return float64(bytes) / (1 << 30) }
