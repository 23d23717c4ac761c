package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/record"
)

// maxFollowed is how many logs are followed at once.
const maxFollowed = 50

// logReader shows logs from wherever they are.
type logReader struct {
	*plugin

	options logsOptions
	pods    typedcorev1.PodInterface
	archive archive
	run     *record.Run
	looks   *looks
}

// one writes the log of an attempt, and follows its task if the flags say so.
func (r *logReader) one(ctx context.Context, attempt record.Attempt, out io.Writer) error {
	if o := &r.options; o.follow && o.execution == 0 && o.attempt == 0 && !o.previous && attempt.Number > 0 {
		return r.followTask(ctx, attempt, out)
	}
	return r.show(ctx, attempt, out)
}

// show writes the log of an attempt, and tells where it was.
func (r *logReader) show(ctx context.Context, attempt record.Attempt, out io.Writer) error {
	which := attempt.String() + ": "
	if attempt.Pod != nil {
		opened, err := r.live(ctx, attempt.Pod, which, out)
		if opened || ctx.Err() != nil {
			return err
		}
		r.note("%sthe log of pod %s cannot be read: %s", which, attempt.Pod.Name, err)
	}
	stream, err := r.archive.Open(ctx, logQuery{Namespace: r.run.Namespace, Run: r.run.Name,
		Task: attempt.Task, Execution: attempt.Execution, Attempt: attempt.Number, Container: r.options.container, TailLines: r.options.tail})
	if err == nil {
		defer stream.Close()
		r.note("%sfrom the archive", which)
		_, err = io.Copy(out, stream)
		return err
	}
	if attempt.Record == nil || attempt.Record.LogTail == "" {
		return noLog(r.run, attempt, err)
	}
	if !errors.Is(err, errNoArchive) {
		r.note("%sthe archive says: %s", which, err)
	}
	gone := ""
	if attempt.Pod == nil {
		gone = fmt.Sprintf(": its pod %s is gone", attempt.PodName())
	}
	r.note("%sonly the end, which the status of the run keeps%s", which, gone)
	_, err = io.WriteString(out, strings.TrimRight(lastLines(attempt.Record.LogTail, r.options.tail), "\n")+"\n")
	return err
}

// live writes the log of a pod that is there; opened is false if there was none to be had.
func (r *logReader) live(ctx context.Context, pod *corev1.Pod, which string, out io.Writer) (opened bool, err error) {
	podOptions := &corev1.PodLogOptions{Container: r.options.container, Follow: r.options.follow}
	if podOptions.Container == "" {
		podOptions.Container = defaultContainer(pod)
	}
	if r.options.tail >= 0 {
		podOptions.TailLines = ptr.To(r.options.tail)
	}
	stream, err := r.pods.GetLogs(pod.Name, podOptions).Stream(ctx)
	if err != nil {
		return false, err
	}
	defer stream.Close()
	r.note("%slog of pod %s", which, pod.Name)
	if _, err = io.Copy(out, stream); err != nil {
		err = fmt.Errorf("%sthe log of pod %s broke off: %w", which, pod.Name, err)
	}
	return true, err
}

// defaultContainer is the one whose log kubectl logs shows.
func defaultContainer(pod *corev1.Pod) string {
	if name := pod.Annotations["kubectl.kubernetes.io/default-container"]; name != "" {
		return name
	}
	return pod.Spec.Containers[0].Name
}

func lastLines(text string, n int64) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if n < 0 || int64(len(lines)) <= n {
		return text
	}
	return strings.Join(lines[int64(len(lines))-n:], "\n")
}

// showAll writes several logs with the task in front of each line, one after the other or, followed, side by side.
func (r *logReader) showAll(ctx context.Context, attempts []record.Attempt) error {
	var missing []error
	var mutex sync.Mutex
	one := func(attempt record.Attempt) {
		out := &prefixed{prefix: fmt.Sprintf("[task %d] ", attempt.Task), out: r.Out, mutex: &mutex}
		err := errors.Join(r.one(ctx, attempt, out), out.Flush())
		mutex.Lock()
		defer mutex.Unlock()
		missing = append(missing, err)
	}
	if !r.options.follow {
		for _, attempt := range attempts {
			one(attempt)
		}
		return errors.Join(missing...)
	}
	var group sync.WaitGroup
	for _, attempt := range attempts {
		group.Go(func() { one(attempt) })
	}
	group.Wait()
	return errors.Join(missing...)
}

// prefixed writes whole lines with a prefix, which do not mix with those of others.
type prefixed struct {
	prefix string
	out    io.Writer
	mutex  *sync.Mutex
	begun  bytes.Buffer
}

// Write implements io.Writer.
func (w *prefixed) Write(text []byte) (int, error) {
	w.begun.Write(text)
	for {
		line, rest, found := bytes.Cut(w.begun.Bytes(), []byte("\n"))
		if !found && w.begun.Len() < bufio.MaxScanTokenSize {
			return len(text), nil
		}
		if err := w.line(line); err != nil {
			return 0, err
		}
		w.begun.Next(w.begun.Len() - len(rest))
		if !found {
			return len(text), nil
		}
	}
}

// Flush writes a last line that has no end.
func (w *prefixed) Flush() error {
	if w.begun.Len() == 0 {
		return nil
	}
	return w.line(w.begun.Bytes())
}

func (w *prefixed) line(text []byte) error {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	_, err := fmt.Fprintf(w.out, "%s%s\n", w.prefix, text)
	return err
}
