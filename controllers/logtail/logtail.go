// Package logtail turns the end of a container's log into text that fits into a status.
package logtail

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// window is how much of a log's end is looked at, at least: far more than is kept, because escape sequences and the
// earlier states of progress bars take most of some logs.
const window = 256 << 10

// Clean is the end of a log as plain text: at most maxLines lines and maxBytes bytes of valid UTF-8, without newlines
// at the end. Of a line that was overwritten after carriage returns, as progress bars do, the last state is kept.
// Escape sequences of terminals and control characters other than newline and tab are dropped, and so is the rest of a
// character that the log's start cuts in half; other bytes that are not UTF-8 become U+FFFD, one for each run of them.
//
// The text's JSON form has at most 2*maxBytes bytes and the two quotes: a text full of characters that JSON escapes is
// cut further. The time it takes does not depend on the length of the log.
func Clean(log []byte, maxLines, maxBytes int) string {
	if maxLines <= 0 || maxBytes <= 0 {
		return ""
	}
	if size := max(window, 4*maxBytes); len(log) > size {
		log = log[len(log)-size:]
	}
	return lastPart(plain(log), maxLines, maxBytes)
}

// plain is what a terminal would show of the log.
func plain(log []byte) []byte {
	log = skipHalfRune(log)
	text := make([]byte, 0, len(log))
	lineStart := 0      // where the current line starts in text
	overwrites := false // a carriage return came: the next character starts the line anew
	invalid := false    // the byte before was not UTF-8
	for len(log) > 0 {
		if n := escapeLen(log); n > 0 {
			log = log[n:]
			continue
		}
		r, size := utf8.DecodeRune(log)
		character := log[:size]
		log = log[size:]
		switch {
		case r == '\n':
			text = append(text, '\n')
			lineStart, overwrites, invalid = len(text), false, false
			continue
		case r == '\r':
			overwrites = true
			continue
		case r != '\t' && unicode.IsControl(r):
			continue
		}
		if overwrites {
			text, overwrites, invalid = text[:lineStart], false, false
		}
		wasInvalid := invalid
		invalid = r == utf8.RuneError && size == 1
		switch {
		case !invalid:
			text = append(text, character...)
		case !wasInvalid:
			text = utf8.AppendRune(text, utf8.RuneError)
		}
	}
	return bytes.TrimRight(text, "\n")
}

// skipHalfRune drops the rest of a character that was cut in half at the front.
func skipHalfRune(log []byte) []byte {
	for i := range min(utf8.UTFMax, len(log)) {
		if utf8.RuneStart(log[i]) {
			return log[i:]
		}
	}
	return log
}

// lastPart is the end of the text within all three limits: lines, bytes, and bytes of its JSON form.
func lastPart(text []byte, maxLines, maxBytes int) string {
	start, lines, jsonBytes := len(text), 1, 0
	for start > 0 {
		r, size := utf8.DecodeLastRune(text[:start])
		if r == '\n' {
			lines++
		}
		jsonBytes += jsonLen(r, size)
		if lines > maxLines || len(text)-start+size > maxBytes || jsonBytes > 2*maxBytes {
			break
		}
		start -= size
	}
	return string(text[start:])
}

// jsonLen is the length of a character in JSON as Go's encoder, and so the API server, writes it.
func jsonLen(r rune, size int) int {
	switch r {
	case '"', '\\', '\n', '\t':
		return 2
	case '<', '>', '&', '\u2028', '\u2029':
		return 6
	}
	return size
}
