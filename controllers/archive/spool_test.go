package archive

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func readAll(g Gomega, l *logFile) string {
	file, err := l.open()
	g.Expect(err).NotTo(HaveOccurred())
	defer file.Close()
	reader, err := gzip.NewReader(file)
	if errors.Is(err, io.EOF) {
		return ""
	}
	g.Expect(err).NotTo(HaveOccurred())
	text, err := io.ReadAll(reader)
	g.Expect(err).NotTo(HaveOccurred())
	return string(text)
}

func testSpool(t *testing.T, limit int64) *spool {
	t.Helper()
	s, err := newSpool(t.TempDir(), limit)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.folder("pod"), 0o700); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestALogInTheSpool(t *testing.T) {
	g := NewWithT(t)
	s := testSpool(t, 10<<20)
	l := s.log("pod", "main", 1<<20)
	var want strings.Builder
	start := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for i := range 5000 {
		line := fmt.Sprintf("line %d\n", i)
		want.WriteString(line)
		g.Expect(l.append([]byte(line), mark{Time: start.Add(time.Duration(i)), Lines: 1})).To(Succeed())
	}
	g.Expect(l.flush(0)).To(Succeed())
	g.Expect(readAll(g, l)).To(Equal(want.String()))
	g.Expect(l.size()).To(BeEquivalentTo(want.Len()))

	// An operator that was killed while it wrote.
	file, err := os.OpenFile(l.file(0), os.O_WRONLY|os.O_APPEND, 0)
	g.Expect(err).NotTo(HaveOccurred())
	member := zipped([]byte("torn"), mark{})
	_, err = file.Write(member.Bytes()[:member.Len()-3])
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(file.Close()).To(Succeed())
	next := s.log("pod", "main", 1<<20)
	g.Expect(next.restore()).To(Succeed())
	g.Expect(next.mark()).To(Equal(l.mark()))
	g.Expect(next.append([]byte("the end"), mark{Time: start.Add(time.Hour)})).To(Succeed())
	g.Expect(next.flush(0)).To(Succeed())
	g.Expect(readAll(g, next)).To(Equal(want.String() + "the end"))
	sealed := s.sealed("pod", "main", next.seal())
	g.Expect(readAll(g, sealed)).To(Equal(want.String() + "the end"))
}

func TestALongLogLosesItsMiddle(t *testing.T) {
	g := NewWithT(t)
	s := testSpool(t, 100<<20)
	const limit = 1 << 20
	l := s.log("pod", "main", limit)
	line := func(i int) string { return fmt.Sprintf("%08d %s\n", i, strings.Repeat("x", 90)) }
	const lines = 50_000
	for i := range lines {
		g.Expect(l.append([]byte(line(i)), mark{Time: time.Unix(int64(i), 0)})).To(Succeed())
	}
	g.Expect(l.flush(0)).To(Succeed())
	restored := s.log("pod", "main", limit)
	g.Expect(restored.restore()).To(Succeed())
	for _, log := range []*logFile{l, restored} {
		text := readAll(g, log)
		g.Expect(log.size()).To(BeEquivalentTo(len(text)))
		g.Expect(log.size()).To(And(BeNumerically("<", limit+100), BeNumerically(">", 3*limit/4-2*chunkSize)))
		first, last, found := strings.Cut(text, string(log.notice()))
		g.Expect(found).To(BeTrue())
		g.Expect(first).To(HavePrefix(line(0)))
		g.Expect(last).To(HaveSuffix(line(lines - 1)))
		g.Expect(len(first) + len(last) + int(log.at.Cut)).To(Equal(lines * len(line(0))))
	}
}

func TestAFullSpoolTakesNothing(t *testing.T) {
	g := NewWithT(t)
	s := testSpool(t, 2*fileSize)
	l := s.log("pod", "main", 1<<30)
	noise := bytes.Repeat([]byte("0123456789"), 1000)
	var err error
	written := 0
	for range 1000 {
		if err = l.append(noise, mark{Time: time.Unix(int64(written), 0)}); err != nil {
			break
		}
		written++
		for i := range noise {
			noise[i] ^= byte(i * written * 31)
		}
	}
	g.Expect(err).To(MatchError(errSpoolFull))
	g.Expect(s.bytes()).To(BeNumerically("<=", 2*fileSize))
	room := s.room()
	s.mutex.Lock()
	s.limit = 10 << 20
	s.mutex.Unlock()
	s.claim(1)
	s.give(1)
	g.Eventually(room).Should(BeClosed())
	g.Expect(l.flush(0)).To(Succeed())
	g.Expect(readAll(g, l)).To(HaveLen(written * len(noise)))
}
