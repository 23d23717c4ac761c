// Package progress reads off a log what a program says of its own progress.
package progress

import (
	"math"
	"strconv"
	"strings"

	"github.com/batchrun/batchrun/controllers/logtail"
)

// Mark stands in front of what a line says of the progress: "::batchrun progress=0.37 message=epoch 3".
const Mark = "::batchrun "

const (
	// maxLines and maxBytes bound the end of a log that is looked through.
	maxLines = 1000
	maxBytes = 64 << 10
	// maxMessage bounds a message, in bytes.
	maxMessage = 200
)

// Report is what a program says of its progress.
type Report struct {
	// Percent is how much is done, rounded down.
	Percent int
	Message string
}

// Last is the last report in the end of a log. A report is a line with Mark, then progress=, a number from 0 to 1 or a
// percentage such as 37%, then perhaps message= and the rest of the line. Lines that are none are passed over.
func Last(log []byte) (report Report, ok bool) {
	for text := logtail.Clean(log, maxLines, maxBytes); text != ""; {
		start := strings.LastIndexByte(text, '\n') + 1
		if report, ok = parse(text[start:]); ok {
			return report, true
		}
		text = text[:max(0, start-1)]
	}
	return Report{}, false
}

func parse(line string) (Report, bool) {
	_, said, found := strings.Cut(line, Mark)
	if !found {
		return Report{}, false
	}
	number, rest, _ := strings.Cut(strings.TrimSpace(said), " ")
	number, found = strings.CutPrefix(number, "progress=")
	if !found {
		return Report{}, false
	}
	scale := 100.0
	if percentage, ok := strings.CutSuffix(number, "%"); ok {
		number, scale = percentage, 1
	}
	part, err := strconv.ParseFloat(number, 64)
	percent := math.Floor(part*scale + 1e-9) // 0.29 is 29%, not 28%
	if err != nil || !(percent >= 0 && percent <= 100) {
		return Report{}, false
	}
	message, _ := strings.CutPrefix(strings.TrimSpace(rest), "message=")
	return Report{Percent: int(percent), Message: logtail.Cut(message, maxMessage)}, true
}
