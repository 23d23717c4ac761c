package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/render"
)

// The exit codes of wait.
const (
	exitFailed    = 1
	exitCancelled = 2
	exitOther     = 3
	exitTimedOut  = 124 // as of timeout(1)
)

func (p *plugin) waitCommand() *cobra.Command {
	var timeout time.Duration
	command := &cobra.Command{
		Use:   "wait NAME...",
		Short: "Wait until runs are finished; the exit code says how they ended",
		Long: "Wait until runs are finished; the exit code says how they ended:\n\n" +
			"      0  every run succeeded\n" +
			"      1  a run failed\n" +
			"      2  a run was cancelled, and none failed\n" +
			"    124  the timeout was over first\n" +
			"      3  anything else, such as a run that is not there or was deleted\n\n" +
			"It goes on when the connection to the cluster breaks.",
		Example: example("kubectl batchrun wait train --timeout 2h && ./evaluate.sh"),
		Args: func(cmd *cobra.Command, args []string) error {
			if err := someRuns(cmd, args); err != nil {
				return exitError{err, exitOther}
			}
			return nil
		},
		ValidArgsFunction: p.completeRuns(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.wait(cmd.Context(), args, timeout)
		},
	}
	command.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return exitError{err, exitOther} })
	command.Flags().DurationVar(&timeout, "timeout", 0, "Give up after this time, such as 30m or 2h. Default: never.")
	return command
}

func (p *plugin) wait(ctx context.Context, names []string, timeout time.Duration) error {
	c, err := p.cluster()
	if err != nil {
		return exitError{err, exitOther}
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	code := 0
	for _, name := range names {
		name = nameOf(name)
		var last *v1alpha1.BatchRun
		err := p.follow(ctx, c, name, p.noteLost, func(run *v1alpha1.BatchRun) bool {
			if suspended(run) && !suspended(last) {
				p.note("Run %s is suspended: it goes on once somebody resumes it.", name)
			}
			last = run
			return finished(run)
		})
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return exitError{timedOut(name, timeout, last), exitTimedOut}
		case err != nil:
			return exitError{err, exitOther}
		}
		_, _ = fmt.Fprintf(p.Out, "batchrun.batchrun.io/%s %s %s\n", name, last.Status.Phase, last.Status.Completions)
		switch {
		case last.Status.Phase == v1alpha1.PhaseFailed:
			code = exitFailed
		case last.Status.Phase == v1alpha1.PhaseCancelled && code == 0:
			code = exitCancelled
		}
	}
	if code != 0 {
		return exitError{errSilent, code}
	}
	return nil
}

func timedOut(name string, timeout time.Duration, last *v1alpha1.BatchRun) error {
	if last == nil {
		return fmt.Errorf("run %s: nothing was heard of it within %s", name, timeout)
	}
	return fmt.Errorf("not finished after %s: %s", timeout, render.Line(last, ""))
}

func suspended(run *v1alpha1.BatchRun) bool {
	return run != nil && ptr.Deref(run.Spec.Suspend, false)
}
