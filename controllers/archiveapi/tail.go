package archiveapi

import (
	"bytes"
	"errors"
	"io"
)

// kept is how much of the end of a log is kept in memory while its last lines are looked for.
const kept = 256 << 10

// lastLines returns the last lines of a log, which it reads to the end. Where they are more than it keeps, it opens the
// log anew, and leaves out what stands in front of them: so its memory does not grow with them.
func lastLines(open func() (io.ReadCloser, error), lines int64) (io.ReadCloser, error) {
	if lines == 0 {
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	log, err := open()
	if err != nil {
		return nil, err
	}
	var end ending
	_, err = io.Copy(&end, log)
	if err = errors.Join(err, log.Close()); err != nil {
		return nil, err
	}
	if text, ok := end.last(lines); ok {
		return io.NopCloser(bytes.NewReader(text)), nil
	}
	if log, err = open(); err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{&withoutLines{from: log, lines: end.lines() - lines}, log}, nil
}

// ending keeps the end of what is written to it, and counts its lines.
type ending struct {
	text     []byte // at most twice as much as is kept
	length   int64
	newlines int64
}

// Write implements io.Writer.
func (e *ending) Write(p []byte) (int, error) {
	e.length += int64(len(p))
	e.newlines += int64(bytes.Count(p, []byte("\n")))
	last := p[max(0, len(p)-kept):]
	if len(e.text)+len(last) > 2*kept {
		e.text = append(e.text[:0], e.text[len(e.text)-kept:]...)
	}
	e.text = append(e.text, last...)
	return len(p), nil
}

// lines counts a last line that has no end, too.
func (e *ending) lines() int64 {
	if len(e.text) > 0 && e.text[len(e.text)-1] != '\n' {
		return e.newlines + 1
	}
	return e.newlines
}

// last returns the last lines; ok is false where more is needed than was kept.
func (e *ending) last(lines int64) (text []byte, ok bool) {
	at := len(bytes.TrimSuffix(e.text, []byte("\n")))
	for range lines {
		if at = bytes.LastIndexByte(e.text[:at], '\n'); at < 0 {
			return e.text, e.length == int64(len(e.text))
		}
	}
	return e.text[at+1:], true
}

// withoutLines reads what comes after a number of lines.
type withoutLines struct {
	from  io.Reader
	lines int64
}

// Read implements io.Reader.
func (w *withoutLines) Read(p []byte) (int, error) {
	for w.lines > 0 {
		n, err := w.from.Read(p)
		text := p[:n]
		for w.lines > 0 {
			_, rest, found := bytes.Cut(text, []byte("\n"))
			if text = rest; !found {
				break
			}
			w.lines--
		}
		if len(text) > 0 {
			return copy(p, text), err
		}
		if err != nil {
			return 0, err
		}
	}
	return w.from.Read(p)
}
