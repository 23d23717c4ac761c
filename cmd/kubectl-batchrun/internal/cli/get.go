package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/diagnose"
	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/render"
)

func (p *plugin) getCommand() *cobra.Command {
	var output string
	var failures int
	command := &cobra.Command{
		Use:   "get NAME",
		Short: "Show a run: progress, what happened, and why the last attempts failed",
		Long: "Show a run: progress, what happened, and why the last attempts failed, with reason, exit code, node and the end " +
			"of the log.",
		Example:           example("kubectl batchrun get train", "kubectl batchrun get train -o yaml"),
		Args:              oneRun,
		ValidArgsFunction: p.completeRuns(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.get(cmd.Context(), nameOf(args[0]), output, failures)
		},
	}
	command.Flags().IntVar(&failures, "failures", 3, "How many of the last failed attempts to show, at most 20.")
	addOutput(command, &output, "json", "yaml", "name", "wide")
	return command
}

func (p *plugin) get(ctx context.Context, name, output string, failures int) error {
	c, err := p.cluster()
	if err != nil {
		return err
	}
	if output != "" && output != "wide" {
		printer, err := objectPrinter(output)
		if err != nil {
			return err
		}
		object := &unstructured.Unstructured{}
		object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("BatchRun"))
		if err := c.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: name}, object); err != nil {
			return c.explained(err, name)
		}
		return printer.PrintObj(object, p.Out)
	}
	run, err := c.run(ctx, name)
	if err != nil {
		return err
	}
	if output == "wide" {
		failures = v1alpha1.MaxFailures
	}
	_, err = fmt.Fprint(p.Out, render.Run(run, render.Options{Width: p.width(), Now: p.now(), Failures: failures}))
	return err
}

func (p *plugin) explainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "explain-failure NAME",
		Short: "Say why a run failed or does not go on, and what to do next",
		Long: "Say why a run failed or does not go on, and what to do next: the most likely cause first, with what was said of " +
			"it and the next step, such as how much memory to ask for.",
		Example:           example("kubectl batchrun explain-failure train"),
		Args:              oneRun,
		ValidArgsFunction: p.completeRuns(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.cluster()
			if err != nil {
				return err
			}
			run, err := c.run(cmd.Context(), nameOf(args[0]))
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(p.Out, render.Causes(run, diagnose.Run(run), p.width()))
			return err
		},
	}
}
