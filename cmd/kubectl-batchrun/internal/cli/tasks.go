package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/record"
	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/render"
	"github.com/batchrun/batchrun/controllers/indexset"
)

// tasksOptions are the flags of tasks.
type tasksOptions struct {
	failed          bool
	states, reasons []string
	indexes         string
	output          string
}

func (p *plugin) tasksCommand() *cobra.Command {
	var o tasksOptions
	command := &cobra.Command{
		Use:   "tasks NAME",
		Short: "List the tasks of a run, with their parameters and how the last attempt ended",
		Long: "List the tasks of a run, with their parameters as columns and how the last attempt ended.\n\n" +
			"The state of every task is exact. Reason, exit code, node and pod are known of tasks whose pods are still there, and " +
			"of the last 20 failed and the first 5 succeeded attempts.",
		Example: example("kubectl batchrun tasks sweep --failed", "kubectl batchrun tasks sweep --reason OOMKilled -o csv > killed.csv"),
		Args:    oneRun, ValidArgsFunction: p.completeRuns(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.tasks(cmd.Context(), nameOf(args[0]), o)
		},
	}
	flags := command.Flags()
	flags.BoolVar(&o.failed, "failed", false, "Only tasks that failed for good: short for --state Failed.")
	flags.StringSliceVar(&o.states, "state", nil, "Only tasks in these states: Pending, Active, Succeeded, Failed.")
	flags.StringSliceVar(&o.reasons, "reason", nil, "Only tasks whose last ended attempt ended for one of these reasons, such as OOMKilled.")
	flags.StringVar(&o.indexes, "tasks", "", "Only these tasks, such as 3,7-9.")
	addOutput(command, &o.output, "wide", "csv", "json")
	for flag, values := range map[string][]string{"state": texts(record.States), "reason": texts(record.Reasons)} {
		if err := command.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
			panic(err) // the flag is part of the build
		}
	}
	return command
}

func texts[T ~string](values []T) []string {
	all := make([]string, 0, len(values))
	for _, value := range values {
		all = append(all, string(value))
	}
	return all
}

func (o *tasksOptions) filter() (filter record.Filter, err error) {
	if o.failed {
		o.states = append(o.states, string(record.Failed))
	}
	if filter.States, err = record.ParseStates(o.states); err != nil {
		return filter, err
	}
	if filter.Reasons, err = record.ParseReasons(o.reasons); err != nil {
		return filter, err
	}
	if o.indexes != "" {
		set, err := indexset.Parse(o.indexes)
		if err != nil {
			return filter, fmt.Errorf("--tasks: %w", err)
		}
		filter.Indexes = &set
	}
	return filter, nil
}

func (p *plugin) tasks(ctx context.Context, name string, o tasksOptions) error {
	filter, err := o.filter()
	if err != nil {
		return err
	}
	c, err := p.cluster()
	if err != nil {
		return err
	}
	run, err := p.record(ctx, c, name)
	if err != nil {
		return err
	}
	tasks := filter.Of(run.Tasks())
	switch o.output {
	case "json":
		return render.TasksJSON(p.Out, tasks)
	case "csv":
		return render.TasksCSV(p.Out, tasks, run.ParameterNames())
	case "", "wide":
	default:
		return fmt.Errorf("there is no output format %q: choose of wide, csv, json", o.output)
	}
	if len(tasks) == 0 {
		p.note("No tasks found.")
		return nil
	}
	_, err = fmt.Fprint(p.Out, render.Tasks(tasks, run.ParameterNames(), o.output == "wide"))
	return err
}
