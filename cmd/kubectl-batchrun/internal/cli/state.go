package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// stateChange is a command that sets one field of a run.
type stateChange struct {
	use, short, long string
	field            string
	value            bool
	// already is what to say where there is nothing to change; "" where there is.
	already func(*v1alpha1.BatchRun) string
	// refusal is why it cannot be; "" where it can.
	refusal func(*v1alpha1.BatchRun) string
	done    func(*v1alpha1.BatchRun) string
}

func (p *plugin) suspendCommand() *cobra.Command {
	return p.stateCommand(stateChange{
		use: "suspend", short: "Stop the active tasks and start no others, until the run is resumed",
		long:  "Stop the active tasks and start no others, until the run is resumed. Tasks that succeeded stay succeeded.",
		field: "suspend", value: true,
		already: func(run *v1alpha1.BatchRun) string {
			return when(ptr.Deref(run.Spec.Suspend, false), "is suspended already")
		},
		refusal: endedAlready,
		done: func(run *v1alpha1.BatchRun) string {
			return fmt.Sprintf("suspended (%s stopped)", count(int(run.Status.Active), "active task"))
		},
	})
}

func (p *plugin) resumeCommand() *cobra.Command {
	return p.stateCommand(stateChange{
		use: "resume", short: "Let a suspended run go on",
		long:  "Let a suspended run go on. Tasks that were stopped run again; that does not count against them.",
		field: "suspend", value: false,
		already: func(run *v1alpha1.BatchRun) string {
			return when(!ptr.Deref(run.Spec.Suspend, false), "is not suspended")
		},
		done: func(*v1alpha1.BatchRun) string { return "resumed" },
	})
}

func (p *plugin) cancelCommand() *cobra.Command {
	return p.stateCommand(stateChange{
		use: "cancel", short: "Stop a run for good and keep its record",
		long:  "Stop a run for good and keep its record: its active tasks are stopped, and what succeeded stays.",
		field: "cancel", value: true,
		already: func(run *v1alpha1.BatchRun) string {
			return when(ptr.Deref(run.Spec.Cancel, false), "is cancelled already")
		},
		refusal: endedAlready,
		done: func(run *v1alpha1.BatchRun) string {
			return fmt.Sprintf("cancelled (%s stopped)", count(int(run.Status.Active), "active task"))
		},
	})
}

func when(holds bool, text string) string {
	if holds {
		return text
	}
	return ""
}

// endedAlready is why a finished run cannot be stopped.
func endedAlready(run *v1alpha1.BatchRun) string {
	return when(finished(run), fmt.Sprintf("is finished already: %s, %s", run.Status.Phase, run.Status.Completions))
}

func (p *plugin) stateCommand(s stateChange) *cobra.Command {
	return &cobra.Command{
		Use: s.use + " NAME...", Short: s.short, Long: s.long,
		Example: example("kubectl batchrun " + s.use + " train"),
		Args:    someRuns, ValidArgsFunction: p.completeRuns(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.each(args, func(c *cluster, name string) error { return p.changeState(cmd.Context(), c, name, s) })
		},
	}
}

func (p *plugin) changeState(ctx context.Context, c *cluster, name string, s stateChange) error {
	run, err := c.run(ctx, name)
	if err != nil {
		return err
	}
	if already := s.already(run); already != "" {
		return p.done(run, "%s", already)
	}
	if s.refusal != nil && s.refusal(run) != "" {
		return fmt.Errorf("run %s %s", name, s.refusal(run))
	}
	if err := p.change(ctx, c, run, s.field, s.value); err != nil {
		return err
	}
	return p.done(run, "%s", s.done(run))
}
