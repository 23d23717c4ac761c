package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/render"
)

// lineInterval is how long there is at least between two lines of a run that is watched without a terminal.
const lineInterval = time.Second

func (p *plugin) watchCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "watch NAME",
		Short: "Follow a run until it is finished: progress, rate, estimated end, last failures",
		Long: "Follow a run until it is finished: progress, rate, estimated end, last failures.\n\n" +
			"A terminal is redrawn, and q ends it; otherwise there is a line for each change, one a second at most. The exit code " +
			"does not tell how the run ended: use wait for that.",
		Example: example("kubectl batchrun watch train"),
		Args:    oneRun, ValidArgsFunction: p.completeRuns(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.cluster()
			if err != nil {
				return err
			}
			if p.redraws() {
				return p.watchScreen(cmd.Context(), c, nameOf(args[0]))
			}
			return p.watchLines(cmd.Context(), c, nameOf(args[0]))
		},
	}
}

// watchLines writes a line for each change of the run's counts.
func (p *plugin) watchLines(ctx context.Context, c *cluster, name string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	versions := make(chan *v1alpha1.BatchRun)
	ended := make(chan error, 1)
	go func() {
		ended <- p.follow(ctx, c, name, p.noteLost, func(run *v1alpha1.BatchRun) bool {
			select {
			case versions <- run:
			case <-ctx.Done():
			}
			return finished(run)
		})
	}()
	var rate render.Rate
	var waiting *v1alpha1.BatchRun // the last version, if it is not written yet
	var pause <-chan time.Time
	last := ""
	write := func() {
		if waiting == nil {
			return
		}
		// What has changed tells whether there is a line to write; the pace alone changes all the time.
		if text := render.Line(waiting, ""); text != last {
			_, _ = fmt.Fprintf(p.Out, "%s  %s\n", p.now().Format(time.TimeOnly), render.Line(waiting, rate.Pace(waiting, p.now())))
			last, pause = text, p.clock.After(lineInterval)
		}
		waiting = nil
	}
	for {
		select {
		case run := <-versions:
			rate.Observe(p.now(), run)
			waiting = run
			if pause == nil {
				write()
			}
		case <-pause:
			pause = nil
			write()
		case err := <-ended:
			write()
			return err
		}
	}
}
