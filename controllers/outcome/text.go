package outcome

import (
	"strings"
	"unicode"

	"github.com/batchrun/batchrun/controllers/logtail"
)

// maxMessage is how many bytes of a message are kept.
const maxMessage = 512

// limit makes a message fit for a status: no control characters, and cut between characters so that it fits, mark
// included.
func limit(message string) string {
	message = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r // bytes that are not UTF-8 come as U+FFFD
	}, message)
	return logtail.Cut(strings.TrimSpace(message), maxMessage)
}

// joined is "reason: message", or the reason alone.
func joined(reason, message string) string {
	if message == "" {
		return reason
	}
	return reason + ": " + message
}
