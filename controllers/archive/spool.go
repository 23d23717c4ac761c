package archive

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// chunkSize is how much of a log is gathered before it is compressed and written.
	chunkSize = 64 << 10
	// fileSize is what any file of the spool is taken to have besides its contents.
	fileSize = 4 << 10
)

// errSpoolFull says that the spool has no room: what is in it has to be stored first.
var errSpoolFull = errors.New("the spool is full")

// spool is the directory in which logs wait for their pods to end and to be stored, each attempt in a folder of the UID
// of its pod. It never holds more than limit bytes.
type spool struct {
	directory string
	limit     int64

	mutex sync.Mutex
	used  int64
	freed chan struct{}
}

func newSpool(directory string, limit int64) (*spool, error) {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, fmt.Errorf("making the spool: %w", err)
	}
	return &spool{directory: directory, limit: limit, freed: make(chan struct{})}, nil
}

// take claims room for so many bytes.
func (s *spool) take(n int64) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.used+n > s.limit {
		return errSpoolFull
	}
	s.used += n
	return nil
}

// claim claims room that is in use already.
func (s *spool) claim(n int64) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.used += n
}

// give gives room back, and tells those who wait for it.
func (s *spool) give(n int64) {
	if n == 0 {
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.used -= n
	close(s.freed)
	s.freed = make(chan struct{})
}

// room is closed once there may be room.
func (s *spool) room() <-chan struct{} {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.freed
}

func (s *spool) bytes() int64 {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.used
}

// logFile is the log of a container in the spool: gzip members, each with the mark of its end in its header. So an
// operator that was killed leaves a log that the next one can go on with.
//
// A log of more than limit bytes loses its middle: part 0 has its first half, parts 1 and 2 take turns with the rest, so
// that together they hold the last quarter at least.
type logFile struct {
	spool *spool
	path  string
	limit int64

	mutex sync.Mutex
	chunk []byte
	at    mark
	// since is when the chunk was begun.
	since time.Time
	parts [3]part
	end   int
}

// part is a file with so many bytes of the log, in so many bytes.
type part struct{ Text, Size int64 }

// append adds to the log what ends at the mark. Where the spool is full nothing is added.
func (l *logFile) append(text []byte, at mark) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if len(l.chunk)+len(text) > chunkSize {
		if err := l.write(); err != nil {
			return err
		}
	}
	if len(l.chunk) == 0 {
		l.since = time.Now()
	}
	l.chunk = append(l.chunk, text...)
	at.Cut = l.at.Cut
	l.at = at
	return nil
}

// mark is up to where the log was read.
func (l *logFile) mark() mark {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.at
}

// flush writes what is gathered for longer than this.
func (l *logFile) flush(older time.Duration) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if time.Since(l.since) < older {
		return nil
	}
	return l.write()
}

// write writes what is gathered; the mutex is held.
func (l *logFile) write() error {
	if len(l.chunk) == 0 {
		return nil
	}
	if err := l.turn(); err != nil {
		return err
	}
	member := zipped(l.chunk, l.at)
	defer buffers.Put(member)
	size, p := int64(member.Len()), &l.parts[l.end]
	if p.Size == 0 {
		size += fileSize
	}
	if err := l.spool.take(size); err != nil {
		return err
	}
	if err := writeAt(l.file(l.end), member.Bytes(), p.Size); err != nil {
		l.spool.give(size)
		return fmt.Errorf("writing to the spool: %w", err)
	}
	p.Size += int64(member.Len())
	p.Text += int64(len(l.chunk))
	if l.chunk = l.chunk[:0]; cap(l.chunk) > chunkSize {
		l.chunk = nil
	}
	return nil
}

// turn goes on with the next part where this one is as long as it may be.
func (l *logFile) turn() error {
	most, next := l.limit/4, 3-l.end
	if l.end == 0 {
		most, next = l.limit/2, 1
	}
	if l.parts[l.end].Text == 0 || l.parts[l.end].Text+int64(len(l.chunk)) <= most {
		return nil
	}
	if old := l.parts[next]; old.Size > 0 {
		if err := os.Remove(l.file(next)); err != nil {
			return fmt.Errorf("cutting a log: %w", err)
		}
		l.spool.give(old.Size + fileSize)
		l.at.Cut += old.Text
		l.parts[next] = part{}
	}
	l.end = next
	return nil
}

func (l *logFile) file(part int) string { return fmt.Sprintf("%s.%d.gz", l.path, part) }

// order is that of the parts.
func (l *logFile) order() []int {
	if l.end == 1 {
		return []int{0, 2, 1}
	}
	return []int{0, 1, 2}
}

// notice stands where the middle of a log was left out.
func (l *logFile) notice() []byte {
	if l.at.Cut == 0 {
		return nil
	}
	return fmt.Appendf(nil, "\n[batchrun: %d bytes of the log are left out here]\n", l.at.Cut)
}

// size is how many bytes the log has.
func (l *logFile) size() int64 {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	text := int64(len(l.notice()))
	for _, p := range l.parts {
		text += p.Text
	}
	return text
}

// open reads the compressed log.
func (l *logFile) open() (io.ReadCloser, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	var files multiCloser
	var readers []io.Reader
	for i, n := range l.order() {
		if i == 1 && l.at.Cut > 0 {
			notice := zipped(l.notice(), mark{})
			readers = append(readers, bytes.NewReader(bytes.Clone(notice.Bytes())))
			buffers.Put(notice)
		}
		if l.parts[n].Size == 0 {
			continue
		}
		file, err := os.Open(l.file(n))
		if err != nil {
			return nil, errors.Join(err, files.Close())
		}
		files = append(files, file)
		readers = append(readers, io.LimitReader(file, l.parts[n].Size))
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(readers...), files}, nil
}

type multiCloser []io.Closer

func (m multiCloser) Close() error {
	var errs []error
	for _, c := range m {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// restore finds what is in the spool of a log, and claims its room. What was written in part only is left out.
func (l *logFile) restore() error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for n := range l.parts {
		p, at, err := scan(l.file(n))
		if err != nil {
			return err
		}
		if p.Size == 0 {
			continue
		}
		l.spool.claim(p.Size + fileSize)
		l.parts[n] = p
		if at.after(l.at) || l.at.Time.IsZero() {
			l.at, l.end = at, n
		}
	}
	if l.parts[2].Text > 0 && l.parts[1].Text == 0 && l.at.Cut == 0 { // it was killed as it made room
		return errors.New("it was too long, and how much of its middle is left out is not known")
	}
	return nil
}

// scan reads the whole members of a file.
func scan(path string) (p part, at mark, err error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return p, at, nil
	}
	if err != nil {
		return p, at, err
	}
	defer file.Close()
	counted := &countingReader{from: bufio.NewReader(file)}
	var reader gzip.Reader
	for {
		n, end, ok := readMember(&reader, counted)
		if !ok { // the end, or what was being written
			return p, at, nil
		}
		p.Text += n
		p.Size, at = counted.n, end
	}
}

// readMember reads the next member, and returns how long its text is, and the mark of its end.
func readMember(reader *gzip.Reader, from io.Reader) (n int64, at mark, ok bool) {
	if reader.Reset(from) != nil {
		return 0, at, false
	}
	reader.Multistream(false)
	n, err := io.Copy(io.Discard, reader)
	ok = err == nil && json.Unmarshal([]byte(reader.Comment), &at) == nil
	return n, at, ok
}

// countingReader reads no further than it is asked to, and counts.
type countingReader struct {
	from *bufio.Reader
	n    int64
}

func (c *countingReader) Read(into []byte) (int, error) {
	n, err := c.from.Read(into)
	c.n += int64(n)
	return n, err
}

func (c *countingReader) ReadByte() (byte, error) {
	b, err := c.from.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

// Compressing takes some 1 MB, so few do it at a time, and with what others have left.
var (
	compressors = make(chan struct{}, 4)
	writers     = sync.Pool{New: func() any {
		w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
		if err != nil { // the level is a constant
			panic(err)
		}
		return w
	}}
	buffers = sync.Pool{New: func() any { return &bytes.Buffer{} }}
)

// zipped is a gzip member of the text with the mark.
func zipped(text []byte, at mark) *bytes.Buffer {
	comment, err := json.Marshal(at)
	if err != nil { // a mark has nothing that JSON has not
		panic(err)
	}
	compressors <- struct{}{}
	defer func() { <-compressors }()
	w, out := writers.Get().(*gzip.Writer), buffers.Get().(*bytes.Buffer)
	defer writers.Put(w)
	out.Reset()
	w.Reset(out)
	w.Comment = string(comment)
	_, err = w.Write(text)
	if err == nil {
		err = w.Close()
	}
	if err != nil { // a bytes.Buffer takes everything
		panic(err)
	}
	return out
}

func writeAt(path string, data []byte, offset int64) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(data, offset)
	return errors.Join(err, file.Close())
}

// stateFile is the file in an attempt's folder that tells what it is.
const stateFile = "attempt.json"

// state is what the spool knows of an attempt. Sealed is true once there is nothing more to come; then Logs are those of
// the containers.
type state struct {
	Attempt Attempt
	Sealed  bool                  `json:",omitempty"`
	Logs    map[string]sealedFile `json:",omitempty"`
}

// sealedFile is what is known of the log of a container.
type sealedFile struct {
	Parts [3]part
	End   int   `json:",omitempty"`
	Cut   int64 `json:",omitempty"`
}

// seal is what is known of the log, which is complete.
func (l *logFile) seal() sealedFile {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return sealedFile{l.parts, l.end, l.at.Cut}
}

// room is what the folder of an attempt takes.
func (s *state) room() int64 {
	room := int64(fileSize)
	for _, log := range s.Logs {
		for _, p := range log.Parts {
			if p.Size > 0 {
				room += p.Size + fileSize
			}
		}
	}
	return room
}

// folder is the spool's of an attempt.
func (s *spool) folder(pod types.UID) string { return filepath.Join(s.directory, string(pod)) }

// log is the file of a container of an attempt, of which at most limit bytes are kept.
func (s *spool) log(pod types.UID, container string, limit int64) *logFile {
	return &logFile{spool: s, path: filepath.Join(s.folder(pod), container), limit: limit}
}

// sealed is the log of a container that is complete.
func (s *spool) sealed(pod types.UID, container string, known sealedFile) *logFile {
	log := s.log(pod, container, 0)
	log.parts, log.end, log.at.Cut = known.Parts, known.End, known.Cut
	return log
}

// save writes what is known of an attempt.
func (s *spool) save(known state) error {
	text, err := json.Marshal(known)
	if err != nil {
		return err
	}
	folder := s.folder(known.Attempt.PodUID)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	fresh := filepath.Join(folder, "."+stateFile)
	if err := os.WriteFile(fresh, text, 0o600); err != nil {
		return err
	}
	return os.Rename(fresh, filepath.Join(folder, stateFile))
}

// load reads what is known of an attempt.
func (s *spool) load(pod types.UID) (known state, err error) {
	text, err := os.ReadFile(filepath.Join(s.folder(pod), stateFile))
	if err == nil {
		err = json.Unmarshal(text, &known)
	}
	if err == nil && known.Attempt.PodUID != pod {
		err = fmt.Errorf("the spool has another attempt in the folder of pod %s", pod)
	}
	return known, err
}

// left lists the folders that an earlier operator left.
func (s *spool) left() ([]types.UID, error) {
	entries, err := os.ReadDir(s.directory)
	var pods []types.UID
	for _, entry := range entries {
		if entry.IsDir() && entry.Name() != "lost+found" {
			pods = append(pods, types.UID(entry.Name()))
		}
	}
	return pods, err
}

// remove deletes the folder of an attempt.
func (s *spool) remove(pod types.UID) error { return os.RemoveAll(s.folder(pod)) }
