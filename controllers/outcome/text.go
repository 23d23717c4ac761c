package outcome

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxMessage is how many bytes of a message are kept.
	maxMessage = 512
	// cutMark ends a text that was cut.
	cutMark = "…"
)

// limit makes a message fit for a status: no control characters, and cut between characters so that it fits, mark
// included.
func limit(message string) string {
	message = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r // bytes that are not UTF-8 come as U+FFFD
	}, message)
	message = strings.TrimSpace(message)
	if len(message) <= maxMessage {
		return message
	}
	end := maxMessage - len(cutMark)
	for !utf8.RuneStart(message[end]) {
		end--
	}
	return message[:end] + cutMark
}

// joined is "reason: message", or the reason alone.
func joined(reason, message string) string {
	if message == "" {
		return reason
	}
	return reason + ": " + message
}
