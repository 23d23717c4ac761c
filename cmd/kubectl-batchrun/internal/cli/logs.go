package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/record"
)

// logsOptions are the flags of logs.
type logsOptions struct {
	task        int
	failed, all bool
	execution   int
	attempt     int
	container   string
	follow      bool
	previous    bool
	tail        int64
}

func (p *plugin) logsCommand() *cobra.Command {
	o := logsOptions{task: -1, tail: -1}
	command := &cobra.Command{
		Use:   "logs NAME [--task INDEX | --failed | --all]",
		Short: "Show the logs of tasks, also when their pods are gone",
		Long: "Show the logs of tasks, also when their pods are gone.\n\n" +
			"The log of a pod that is still there comes first, then the archive of logs if the cluster has one, then the end of the " +
			"log that the status of the run keeps. Which of these it was is said on the error output. Without --task, --failed " +
			"or --all it is the run's only task. Of each task it is the last attempt since it was rerun, unless --execution, --attempt " +
			"or --previous say another. " +
			"-f waits until a task starts, and goes on with its next attempts until it has ended.",
		Example: example("kubectl batchrun logs train --task 7 -f", "kubectl batchrun logs train --failed --tail 20",
			"kubectl batchrun logs train --task 7 --attempt 1", "kubectl batchrun logs train --task 7 --execution 1"),
		Args: oneRun, ValidArgsFunction: p.completeRuns(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.logs(cmd.Context(), nameOf(args[0]), o)
		},
	}
	flags := command.Flags()
	flags.IntVar(&o.task, "task", o.task, "The task with this index.")
	flags.BoolVar(&o.failed, "failed", false, "All tasks that failed for good.")
	flags.BoolVar(&o.all, "all", false, "All tasks that have started.")
	flags.IntVar(&o.execution, "execution", 0, "An attempt of this execution: 1 before the task was rerun, 2 after its first rerun.")
	flags.IntVar(&o.attempt, "attempt", 0, "This attempt; the first is 1.")
	flags.BoolVar(&o.previous, "previous", false, "The attempt before the last one.")
	flags.StringVarP(&o.container, "container", "c", "", "This container; by default the one that kubectl logs shows.")
	flags.BoolVarP(&o.follow, "follow", "f", false, "Go on until the task has ended, or the attempt that --attempt or --previous say.")
	flags.Int64Var(&o.tail, "tail", o.tail, "Only so many lines of the end; -1 shows all there are.")
	command.MarkFlagsMutuallyExclusive("task", "failed", "all")
	command.MarkFlagsMutuallyExclusive("attempt", "previous")
	return command
}

func (p *plugin) logs(ctx context.Context, name string, o logsOptions) error {
	c, err := p.cluster()
	if err != nil {
		return err
	}
	run, err := p.record(ctx, c, name)
	if err != nil {
		return err
	}
	wanted, err := o.wanted(run)
	if err != nil {
		return err
	}
	if o.follow && len(wanted) > maxFollowed {
		return fmt.Errorf("-f follows %d tasks at most, and these are %d: choose some with --task", maxFollowed, len(wanted))
	}
	clientset, err := c.clientset()
	if err != nil {
		return err
	}
	r := &logReader{plugin: p, options: o, pods: clientset.CoreV1().Pods(run.Namespace), archive: p.archive(c), run: run,
		looks: &looks{plugin: p, cluster: c, name: name, uid: run.UID, last: map[string]look{}}}
	if len(wanted) == 1 {
		return r.one(ctx, wanted[0], p.Out)
	}
	return r.showAll(ctx, wanted)
}

// wanted are the attempts that the flags ask for, one of each task.
func (o *logsOptions) wanted(run *record.Run) ([]record.Attempt, error) {
	tasks, err := o.tasks(run)
	if err != nil {
		return nil, err
	}
	var attempts []record.Attempt
	var missing error
	for _, task := range tasks {
		attempt, err := o.pick(run, task)
		if err != nil {
			missing = err
			continue
		}
		attempts = append(attempts, attempt)
	}
	if len(attempts) == 0 {
		return nil, missing
	}
	return attempts, nil
}

// tasks are the tasks that the flags ask for.
func (o *logsOptions) tasks(run *record.Run) ([]record.Task, error) {
	all := run.Tasks()
	switch {
	case o.task >= 0:
		task, ok := run.Task(o.task)
		if !ok {
			return nil, noTask(run, o.task)
		}
		return []record.Task{task}, nil
	case o.failed:
		if all = (record.Filter{States: []record.State{record.Failed}}).Of(all); len(all) == 0 {
			return nil, fmt.Errorf("no task of run %s failed for good", run.Name)
		}
		return all, nil
	case o.all:
		started := all[:0]
		for _, task := range all {
			if task.State != record.Pending || task.Attempts > 0 {
				started = append(started, task)
			}
		}
		if len(started) == 0 {
			return nil, fmt.Errorf("no task of run %s has started", run.Name)
		}
		return started, nil
	case len(all) == 1:
		return all, nil
	}
	return nil, fmt.Errorf("run %s has %d tasks: choose with --task INDEX, --failed or --all", run.Name, len(all))
}

func noTask(run *record.Run, index int) error {
	return fmt.Errorf("run %s has no task %d: kubectl batchrun tasks %s lists them", run.Name, index, run.Name)
}

// pick is the attempt of a task that the flags ask for.
func (o *logsOptions) pick(run *record.Run, task record.Task) (record.Attempt, error) {
	picked := record.Attempt{Task: task.Index, Execution: task.Execution, Number: o.attempt}
	if o.execution > 0 {
		picked.Execution = o.execution
	}
	known := run.Attempts(task.Index, picked.Execution)
	last := 0
	if len(known) > 0 {
		last = known[len(known)-1].Number
	}
	if picked.Execution == task.Execution {
		last = task.Attempts
	}
	switch {
	case picked.Execution > task.Execution:
		return picked, fmt.Errorf("task %d is at its execution %d", task.Index, task.Execution)
	case picked.Number > 0:
	case last == 0 && picked.Execution == task.Execution && task.State == record.Pending:
		if !o.follow {
			return picked, fmt.Errorf("task %d has not started", task.Index)
		}
		picked.Number = 1
	case o.previous && last == 0:
		return picked, fmt.Errorf("nobody remembers how many attempts task %d had: say which with --attempt", task.Index)
	case o.previous && last == 1:
		return picked, fmt.Errorf("task %d has had one attempt only", task.Index)
	case o.previous:
		picked.Number = last - 1
	case last > 0 && len(known) > 0: // the very last one may not have its pod yet
		return known[len(known)-1], nil
	default:
		picked.Number = last
	}
	for _, attempt := range known {
		if attempt.Number == picked.Number {
			return attempt, nil
		}
	}
	return picked, nil // the archive may know it
}

// errNoLog is the error for an attempt whose log nobody has.
var errNoLog = errors.New("there is no log")

// noLog says that nobody has the log of an attempt, and what there is.
func noLog(run *record.Run, attempt record.Attempt, archived error) error {
	known := ""
	for _, other := range run.Attempts(attempt.Task, attempt.Execution) {
		known += " " + strconv.Itoa(other.Number)
	}
	if known == "" {
		known = " none"
	}
	why := "its pod is gone and the status does not keep it"
	switch {
	case attempt.Pod == nil:
	case attempt.Pod.Status.Phase == corev1.PodPending:
		why = fmt.Sprintf("its pod %s has not started: kubectl batchrun explain-failure %s may say why", attempt.Pod.Name, run.Name)
	default:
		why = fmt.Sprintf("that of its pod %s cannot be read, and the status does not keep it", attempt.Pod.Name)
	}
	err := fmt.Errorf("%s: %w; %s (attempts that are known:%s)", attempt, errNoLog, why, known)
	if archived != nil && !errors.Is(archived, errNoArchive) {
		err = fmt.Errorf("%w; the archive says: %w", err, archived)
	}
	return err
}
