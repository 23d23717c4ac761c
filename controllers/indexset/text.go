package indexset

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// cutMark ends a text that was cut.
const cutMark = "…"

// maxQuoted is how many bytes of a malformed text an error repeats.
const maxQuoted = 100

// Parse reads a set from its text form, such as "1,3-5,7"; "" is the empty set. Indexes must be ascending, must not
// repeat, and must fit into the 32 bits that a Job has for them.
func Parse(text string) (Set, error) {
	var set Set
	if text == "" {
		return set, nil
	}
	set.ranges = make([]span, 0, strings.Count(text, ",")+1)
	last := -1
	for part := range strings.SplitSeq(text, ",") {
		r, err := parseRange(part)
		if err == nil && r.First <= last {
			err = fmt.Errorf("%d comes after %d, but indexes must be ascending and must not repeat", r.First, last)
		}
		if err != nil {
			return Set{}, fmt.Errorf("indexes %s: %w", quote(text), err)
		}
		set.join(r.First, r.Last)
		last = r.Last
	}
	return set, nil
}

// parseRange reads "3" or "3-5".
func parseRange(text string) (Range, error) {
	firstText, lastText, isRange := strings.Cut(text, "-")
	first, ok := parseIndex(firstText)
	last := first
	if ok && isRange {
		last, ok = parseIndex(lastText)
	}
	if !ok {
		return Range{}, fmt.Errorf("%s is neither an index such as 3 nor a range such as 3-5", quote(text))
	}
	if last < first {
		return Range{}, fmt.Errorf("range %s ends below its start", quote(text))
	}
	return Range{First: first, Last: last}, nil
}

// parseIndex reads decimal digits, and no sign.
func parseIndex(text string) (int, bool) {
	if text == "" || text[0] < '0' || text[0] > '9' {
		return 0, false
	}
	index, err := strconv.Atoi(text)
	return index, err == nil && index <= math.MaxInt32
}

// quote is the text in quotes, cut if it is long: the text of 100,000 indexes would not fit into a status or an Event.
func quote(text string) string {
	if len(text) > maxQuoted {
		return strconv.Quote(text[:maxQuoted]) + cutMark
	}
	return strconv.Quote(text)
}

// String is the text form as the Job controller writes it: "1,3-5,7". Two neighbors are written "3,4", not "3-4".
func (s Set) String() string {
	return string(s.appendText(nil, math.MaxInt))
}

// Short is the text form in at most limit bytes. Where it had to be cut, it was cut after a comma and ends in "…".
func (s Set) Short(limit int) string {
	text := s.appendText(nil, limit)
	if len(text) <= limit {
		return string(text)
	}
	room := limit - len(cutMark)
	if room < 0 {
		return ""
	}
	kept := bytes.LastIndexByte(text[:room], ',') + 1
	return string(text[:kept]) + cutMark
}

// appendText appends the text form of the set, and stops with the range that makes it longer than enough bytes.
func (s Set) appendText(text []byte, enough int) []byte {
	for i, r := range s.ranges {
		if i > 0 {
			text = append(text, ',')
		}
		text = strconv.AppendInt(text, int64(r.First), 10)
		if r.Last > r.First {
			separator := byte('-')
			if r.Last == r.First+1 {
				separator = ','
			}
			text = append(text, separator)
			text = strconv.AppendInt(text, int64(r.Last), 10)
		}
		if len(text) > enough {
			break
		}
	}
	return text
}
