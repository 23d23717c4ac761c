package archive

import (
	"bytes"
	"time"
)

const (
	// maxStamp is longer than any timestamp that a kubelet writes.
	maxStamp = 40
	// maxRemark bounds what is kept of a kubelet's remark.
	maxRemark = 256
)

// lines takes the timestamps off a log that a kubelet writes with them, and leaves out what was read before: so a log
// can be read on from any mark. What begins with no timestamp is no line of the log, but a remark of the kubelet: that
// it cannot read the log, for example.
type lines struct {
	// at is up to where the log was read.
	at mark
	// resuming is true until something comes that was not read before; seen is how many lines of the mark's time came
	// again.
	resuming bool
	seen     int

	// stamp is the beginning of a line, up to its first space.
	stamp []byte
	// within is what the line is whose stamp is complete.
	within line
	// skip is how many bytes of the line were read before.
	skip   int64
	remark []byte
	out    []byte
}

type line int

const (
	lineBegins line = iota
	lineNew
	lineOld
	lineRemark
)

func newLines(at mark) *lines { return &lines{at: at, resuming: !at.Time.IsZero()} }

// feed returns what is new of the log in the text, which holds until the next call.
func (p *lines) feed(text []byte) []byte {
	p.out = p.out[:0]
	for len(text) > 0 {
		if p.within == lineBegins {
			text = p.begin(text)
			continue
		}
		end := bytes.IndexByte(text, '\n') + 1
		rest, ends := text, end > 0
		if ends {
			rest = text[:end]
		}
		text = text[len(rest):]
		p.add(rest, ends)
		if ends {
			p.within, p.stamp = lineBegins, p.stamp[:0]
		}
	}
	return p.out
}

// close takes what is left of a stream that has ended.
func (p *lines) close() {
	if p.within == lineBegins && len(p.stamp) > 0 {
		p.say(p.stamp)
	}
}

// begin reads the timestamp of a line, and returns the rest of the text.
func (p *lines) begin(text []byte) []byte {
	space := bytes.IndexAny(text[:min(len(text), maxStamp-len(p.stamp))], " \n")
	if space < 0 {
		taken := min(len(text), maxStamp-len(p.stamp))
		p.stamp = append(p.stamp, text[:taken]...)
		if len(p.stamp) == maxStamp {
			p.say(p.stamp)
		}
		return text[taken:]
	}
	p.stamp = append(p.stamp, text[:space]...)
	at, err := time.Parse(time.RFC3339Nano, string(p.stamp))
	if err != nil || text[space] == '\n' {
		p.say(p.stamp)
		return text[space:]
	}
	p.start(at)
	return text[space+1:]
}

// start begins the line of this time.
func (p *lines) start(at time.Time) {
	p.within, p.skip = lineNew, 0
	if p.resuming {
		switch {
		case at.Before(p.at.Time), at.Equal(p.at.Time) && p.seen < p.at.Lines:
			if p.within = lineOld; at.Equal(p.at.Time) {
				p.seen++
			}
			return
		case at.Equal(p.at.Time) && p.at.Rest > 0:
			p.resuming, p.skip = false, p.at.Rest
			return
		}
		p.resuming = false
	}
	if !at.Equal(p.at.Time) {
		p.at.Time, p.at.Lines = at, 0
	}
	p.at.Rest = 0
}

// add takes text of the present line, which may end with it.
func (p *lines) add(text []byte, ends bool) {
	switch p.within {
	case lineRemark:
		if room := maxRemark - len(p.remark); room > 0 {
			p.remark = append(p.remark, text[:min(room, len(text))]...)
		}
	case lineNew:
		old := min(p.skip, int64(len(text)))
		p.skip -= old
		text = text[old:]
		p.out = append(p.out, text...)
		p.at.Rest += int64(len(text))
		if ends {
			p.at.Lines, p.at.Rest = p.at.Lines+1, 0
		}
	}
}

// say takes the beginning of a remark.
func (p *lines) say(text []byte) {
	p.within = lineRemark
	p.add(text, false)
}
