package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/record"
	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/render"
)

// lookInterval is how often is looked whether a task's next attempt has started.
const lookInterval = 2 * time.Second

// followTask shows the log of an attempt, and then of those that follow it, until the task has ended.
func (r *logReader) followTask(ctx context.Context, attempt record.Attempt, out io.Writer) error {
	shown := 0
	if attempt.Record != nil || attempt.Pod != nil && attempt.Pod.Status.Phase != corev1.PodPending {
		if err := r.showOrNote(ctx, attempt, out); err != nil {
			return err
		}
		shown = attempt.Number
	}
	said := ""
	for {
		run, err := r.looks.run(ctx, "")
		if err != nil {
			return err
		}
		task, ok := run.Task(attempt.Task)
		switch {
		case !ok || task.State == record.Succeeded || task.State == record.Failed || finished(run.BatchRun):
			return endOf(run, attempt.Task, shown)
		case task.State == record.Active && task.Attempts > shown:
			if run, err = r.looks.run(ctx, run.Job(attempt.Task)); err != nil {
				return err
			}
			if next, ok := startedAfter(run, task, shown); ok {
				if err := r.showOrNote(ctx, next, out); err != nil {
					return err
				}
				shown = next.Number
				continue
			}
		}
		text := fmt.Sprintf("task %d: waiting for attempt %d to start; the run is %s", attempt.Task, shown+1, render.Phase(run.BatchRun))
		if text != said && (task.State == record.Pending || task.Attempts > shown) { // else it has not been counted yet
			r.note("%s", text)
			said = text
		}
		if err := r.pause(ctx, lookInterval); err != nil {
			return err
		}
	}
}

// endOf is the error for a task that ended before any log of it was shown.
func endOf(run *record.Run, task, shown int) error {
	if shown > 0 {
		return nil
	}
	return fmt.Errorf("task %d has not run: the run is %s", task, render.Phase(run.BatchRun))
}

// showOrNote writes the log of an attempt. That there is none does not keep from the next attempt's.
func (r *logReader) showOrNote(ctx context.Context, attempt record.Attempt, out io.Writer) error {
	err := r.show(ctx, attempt, out)
	if errors.Is(err, errNoLog) {
		r.note("%s", err)
		return nil
	}
	return err
}

// startedAfter is the last attempt of a task if it has started and comes after that of a number.
func startedAfter(run *record.Run, task record.Task, number int) (record.Attempt, bool) {
	known := run.Attempts(task.Index, task.Execution)
	if len(known) == 0 {
		return record.Attempt{}, false
	}
	last := known[len(known)-1]
	return last, last.Number > number && last.Pod != nil && last.Pod.Status.Phase != corev1.PodPending
}

// looks are the last looks at a run, which those who follow tasks of it share.
type looks struct {
	plugin  *plugin
	cluster *cluster
	name    string
	uid     types.UID

	mutex sync.Mutex
	last  map[string]look
}

type look struct {
	run  *record.Run
	time time.Time
}

// run is the run with the pods of one of its Jobs, "" for none, as it was a moment ago.
func (l *looks) run(ctx context.Context, job string) (*record.Run, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if last, ok := l.last[job]; ok && l.plugin.clock.Since(last.time) < lookInterval/2 {
		return last.run, nil
	}
	run, err := l.cluster.run(ctx, l.name)
	if err != nil {
		return nil, err
	}
	if run.UID != l.uid {
		return nil, fmt.Errorf("run %q %w", l.name, errReplaced)
	}
	var pods []corev1.Pod
	if job != "" {
		if pods, err = l.cluster.pods(ctx, run, job); err != nil {
			return nil, err
		}
	}
	seen, err := record.New(run, nil, pods)
	if err != nil {
		return nil, err
	}
	l.last[job] = look{seen, l.plugin.now()}
	return seen, nil
}
