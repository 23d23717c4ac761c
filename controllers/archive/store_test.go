package archive

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"gocloud.dev/blob/memblob"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

func members(texts ...string) func(string) (io.ReadCloser, error) {
	var out bytes.Buffer
	for _, text := range texts { // each a member of its own
		w := gzip.NewWriter(&out)
		_, _ = w.Write([]byte(text)) // a bytes.Buffer takes everything
		_ = w.Close()
	}
	return func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(out.Bytes())), nil }
}

func attempt(execution, number int, pod string, start time.Time) Attempt {
	return Attempt{Namespace: "ns", Run: "train", RunUID: "uid", Task: 7, Execution: execution, Number: number,
		Pod: pod, PodUID: types.UID("uid of " + pod), EndTime: ptr.To(metav1.NewTime(start)),
		Containers: []Container{{Name: "main", Bytes: int64(len("log of\x00" + pod))}, {Name: "empty"}}}
}

func stores(t *testing.T) map[string]*Store {
	t.Helper()
	directory := filepath.Join(t.TempDir(), "made", "by it")
	file, err := Open(t.Context(), "file://"+directory)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]*Store{"memory": NewStore(memblob.OpenBucket(nil)), "file": file}
}

func TestStore(t *testing.T) {
	for name, store := range stores(t) {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			ctx := t.Context()
			start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
			a, b, c := attempt(1, 2, "b", start), attempt(1, 1, "a", start), attempt(2, 1, "c", start)
			twin := attempt(1, 2, "twin", start.Add(time.Second))
			g.Expect(store.Claim(ctx, "uid", Owner{Cluster: "x", Namespace: "ns", Run: "train"})).To(Succeed())
			for _, one := range []Attempt{a, b, c, twin} {
				g.Expect(store.Put(ctx, one, func(container string) (io.ReadCloser, error) {
					if container == "empty" {
						return members()(container)
					}
					return members("log of\x00", one.Pod)(container)
				})).To(Succeed())
			}
			other := attempt(1, 1, "other", start)
			other.Task = 70
			g.Expect(store.Put(ctx, other, members())).To(Succeed())

			listed, err := store.Attempts(ctx, "uid", 7)
			g.Expect(err).NotTo(HaveOccurred())
			var pods []string
			for _, one := range listed {
				pods = append(pods, one.Pod)
				log, err := store.Read(ctx, one, "")
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(io.ReadAll(log)).To(Equal([]byte("log of\x00" + one.Pod)))
				g.Expect(log.Close()).To(Succeed())
			}
			g.Expect(pods).To(Equal([]string{"a", "b", "twin", "c"}))
			log, err := store.Read(ctx, listed[0], "empty")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(io.ReadAll(log)).To(BeEmpty())
			g.Expect(log.Close()).To(Succeed())
			_, err = store.Read(ctx, listed[0], "../main")
			g.Expect(err).To(MatchError(ErrNotFound))
			g.Expect(store.Attempts(ctx, "uid", 8)).To(BeEmpty())
			g.Expect(store.Has(ctx, a)).To(BeTrue())
			g.Expect(store.Pods(ctx, "uid")).To(HaveLen(5))
			g.Expect(store.Pods(ctx, "uid")).To(HaveKey(a.PodUID))

			g.Expect(store.Runs(ctx)).To(ConsistOf(a.RunUID))
			g.Expect(store.Owner(ctx, "uid")).To(Equal(Owner{Cluster: "x", Namespace: "ns", Run: "train"}))
			_, err = store.Owner(ctx, "ui")
			g.Expect(err).To(MatchError(ErrNotFound))
			g.Expect(store.DeleteRun(ctx, "ui")).To(Succeed())
			g.Expect(store.Has(ctx, a)).To(BeTrue())
			g.Expect(store.DeleteRun(ctx, "uid")).To(Succeed())
			g.Expect(store.Runs(ctx)).To(BeEmpty())
			g.Expect(store.Has(ctx, a)).To(BeFalse())
		})
	}
}

func TestWhatIsNotWholeIsNotListed(t *testing.T) {
	for name, store := range stores(t) {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			a := attempt(1, 1, "a", time.Now())
			g.Expect(store.Put(t.Context(), a, func(container string) (io.ReadCloser, error) {
				if container == "empty" {
					return nil, os.ErrNotExist
				}
				return members("text")(container)
			})).To(MatchError(os.ErrNotExist))
			g.Expect(store.Attempts(t.Context(), "uid", 7)).To(BeEmpty())
			g.Expect(store.DeleteRun(t.Context(), "uid")).To(Succeed())
			g.Expect(store.Runs(t.Context())).To(BeEmpty())
		})
	}
}

func TestALogThatLacksItsEndIsNotReadAsWhole(t *testing.T) {
	for name, store := range stores(t) {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			a := attempt(1, 1, "a", time.Now())
			a.Containers = []Container{{Name: "short", Bytes: 9}, {Name: "gone", Bytes: 9}}
			g.Expect(store.Put(t.Context(), a, func(container string) (io.ReadCloser, error) {
				if container == "gone" {
					return members()(container)
				}
				return members("12345", "678")(container) // as cut between two members
			})).To(Succeed())
			log, err := store.Read(t.Context(), a, "short")
			g.Expect(err).NotTo(HaveOccurred())
			text, err := io.ReadAll(log)
			g.Expect(err).To(MatchError(io.ErrUnexpectedEOF))
			g.Expect(string(text)).To(Equal("12345678"))
			g.Expect(log.Close()).To(Succeed())
			_, err = store.Read(t.Context(), a, "gone")
			g.Expect(err).To(HaveOccurred())
		})
	}
}
