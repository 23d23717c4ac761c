package archive

import (
	"bytes"
	"slices"
	"time"
)

const (
	// maxStamp is longer than any timestamp that a kubelet writes.
	maxStamp = 40
	// maxRemark bounds what is kept of a kubelet's remark.
	maxRemark = 256
)

// mark is up to where a log was read. Its lines are not quite in the order of their times: a runtime takes the time of a
// line before it waits for its turn to write it.
type mark struct {
	// Time is the latest time that any line has, Lines is how many whole lines were read whose time is not before since,
	// and Rest how many bytes of one more.
	Time  time.Time
	Lines int   `json:",omitempty"`
	Rest  int64 `json:",omitempty"`
	// Cut is how many bytes were left out by then.
	Cut int64 `json:",omitempty"`
}

// disorder is how much earlier than one before it the time of a line may be.
const disorder = 500 * time.Millisecond

// since is from when on the log is read again, to be read on. Kubelets are asked for whole seconds.
func (m mark) since() time.Time { return m.Time.Add(-disorder).Truncate(time.Second) }

func (m mark) after(other mark) bool {
	if d := m.Time.Compare(other.Time); d != 0 {
		return d > 0
	}
	if m.Lines != other.Lines {
		return m.Lines > other.Lines
	}
	return m.Rest > other.Rest
}

// lines takes the timestamps off a log that a kubelet writes with them, and leaves out what was read before: so a log
// can be read on from any mark. What begins with no timestamp is no line of the log, but a remark of the kubelet: that
// it cannot read the log, for example.
type lines struct {
	// at is up to where the log was read.
	at mark
	// resuming is true until something comes that was not read before; seen is how many lines came again. gap is true
	// where what came was not what was read before: the kubelet has rotated the log away meanwhile.
	resuming bool
	seen     int
	gap      bool
	// time is that of the present line, recent are the numbers of lines of the last seconds.
	time   time.Time
	recent []second

	// stamp is the beginning of a line, up to its first space.
	stamp []byte
	// within is what the line is whose stamp is complete.
	within line
	// skip is how many bytes of the line were read before.
	skip   int64
	remark []byte
	out    []byte
}

// second is a second that a log has so many lines of.
type second struct {
	unix  int64
	lines int
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
	p.time, p.within, p.skip = at, lineNew, 0
	if p.resuming {
		later := at.After(p.at.Time)
		switch {
		case !later && p.seen < p.at.Lines:
			p.within = lineOld
			return
		case !later && p.at.Rest > 0:
			p.resuming, p.skip = false, p.at.Rest
			return
		}
		p.resuming, p.gap = false, p.seen < p.at.Lines || p.at.Rest > 0
	}
	p.at.Rest = 0
	if at.After(p.at.Time) {
		p.at.Time = at
		p.recount()
	}
}

// end ends the present line.
func (p *lines) end() {
	unix := p.time.Unix()
	if i := slices.IndexFunc(p.recent, func(s second) bool { return s.unix == unix }); i >= 0 {
		p.recent[i].lines++
	} else {
		p.recent = append(p.recent, second{unix, 1})
	}
	switch p.within {
	case lineOld:
		p.seen++
	case lineNew:
		p.at.Rest = 0
		p.recount()
	}
}

// recount counts the lines that come again when the log is read on.
func (p *lines) recount() {
	since := p.at.since().Unix()
	p.recent = slices.DeleteFunc(p.recent, func(s second) bool { return s.unix < since })
	p.at.Lines = 0
	for _, s := range p.recent {
		p.at.Lines += s.lines
	}
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
	}
	if ends && p.within != lineRemark {
		p.end()
	}
}

// say takes the beginning of a remark.
func (p *lines) say(text []byte) {
	p.within = lineRemark
	p.add(text, false)
}
