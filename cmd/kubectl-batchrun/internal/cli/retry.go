package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/record"
	"github.com/batchrun/batchrun/controllers/indexset"
)

func (p *plugin) retryCommand() *cobra.Command {
	var all bool
	var tasks string
	command := &cobra.Command{
		Use:   "retry NAME",
		Short: "Run tasks again: those that failed, or all, or some",
		Long: "Run tasks again: those that failed, or all, or some.\n\n" +
			"They start as new, with the present template and limits: what failed before does not count. It sets spec.rerun with a " +
			"token of its own.",
		Example: example("kubectl batchrun retry train", "kubectl batchrun retry train --tasks 3,7-9"),
		Args:    oneRun, ValidArgsFunction: p.completeRuns(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.retry(cmd.Context(), nameOf(args[0]), all, tasks)
		},
	}
	command.Flags().BoolVar(&all, "all", false, "All tasks that have started, also those that succeeded.")
	command.Flags().StringVar(&tasks, "tasks", "", "These tasks, such as 3,7-9.")
	command.MarkFlagsMutuallyExclusive("all", "tasks")
	return command
}

func (p *plugin) retry(ctx context.Context, name string, all bool, tasks string) error {
	indexes, err := indexset.Parse(tasks)
	if err != nil {
		return fmt.Errorf("--tasks: %w", err)
	}
	c, err := p.cluster()
	if err != nil {
		return err
	}
	run, err := c.run(ctx, name)
	if err != nil {
		return err
	}
	known, err := record.New(run, nil, nil)
	if err != nil {
		return err
	}
	for index := range indexes.All() {
		if _, ok := known.Task(index); !ok && run.Status.Phase != "" {
			return noTask(known, index)
		}
	}
	scope, what := any(v1alpha1.RerunFailed), count(int(run.Status.Failed), "failed task")
	switch {
	case ptr.Deref(run.Spec.Cancel, false):
		return fmt.Errorf("run %s is cancelled, and spec.cancel holds it: kubectl patch batchrun %s -n %s --type merge -p "+
			`'{"spec":{"cancel":false}}', and then retry`, name, name, run.Namespace)
	case tasks != "":
		scope, what = nil, "tasks "+tasks
	case all:
		scope, what = v1alpha1.RerunAll, "all tasks"
	case run.Status.Failed == 0:
		return fmt.Errorf("no task of run %s failed for good (%s): --all or --tasks run others again", name, run.Status.Completions)
	}
	rerun := map[string]any{
		"token": "kubectl-" + p.now().UTC().Format("20060102T150405.000Z0700"), "scope": scope, "indexes": nil}
	if tasks != "" {
		rerun["indexes"] = tasks
	}
	if err := p.change(ctx, c, run, "rerun", rerun); err != nil {
		return err
	}
	if ptr.Deref(run.Spec.Suspend, false) {
		p.note("The run is suspended: they start once it is resumed.")
	}
	if limit := run.Spec.ActiveDeadlineSeconds; limit != nil && run.Status.Phase == v1alpha1.PhaseFailed {
		p.note("activeDeadlineSeconds gives them %s.", time.Duration(*limit)*time.Second)
	}
	return p.done(run, "runs %s again", what)
}
