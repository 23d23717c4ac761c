package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/lint"
)

func (p *plugin) lintCommand() *cobra.Command {
	var files []string
	var siteRules string
	command := &cobra.Command{
		Use:   "lint -f FILE",
		Short: "Check the file of a BatchRun without a cluster",
		Long: "Check the file of a BatchRun without a cluster.\n\n" +
			"It finds what the API server would refuse, what would have no effect and what breaks site rules, with the line and " +
			"column of each, and how to mend it. The exit code is 1 if there is anything to mend. Site rules are those of the " +
			"profile baseline, nrp, or a file with your site's own figures (kubectl get configmap -n batchrun-system " +
			"batchrun-site-rules -o yaml), wherever your cluster has any; none leaves them out.",
		Example: example("kubectl batchrun lint -f run.yaml", "kubectl batchrun lint -f run.yaml --site-rules nrp",
			"kubectl batchrun convert -f job.yaml | kubectl batchrun lint -f -"),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.lint(cmd.Context(), files, siteRules)
		},
	}
	addFiles(command, &files, "What to check.")
	command.Flags().StringVar(&siteRules, "site-rules", "baseline",
		"The site rules to judge by: none, baseline, nrp, or a file with the ConfigMap of their figures.")
	return command
}

func (p *plugin) lint(ctx context.Context, files []string, siteRules string) error {
	documents, err := p.read(files)
	if err != nil {
		return err
	}
	var figures *corev1.ConfigMap
	if siteRules != "none" {
		if figures, err = lint.Figures(siteRules); err != nil {
			return fmt.Errorf("--site-rules: %w", err)
		}
	}
	linter, err := lint.New(figures)
	if err != nil {
		return err
	}
	runs, found := 0, 0
	for _, document := range documents {
		findings, ok := linter.Document(ctx, document)
		if !ok {
			what := strings.TrimSpace(document.Kind() + " " + document.Name())
			p.note("%s:%d: passed over, only BatchRuns are checked: %s", document.File, document.Line+1, cmp.Or(what, "an object without a kind"))
			continue
		}
		runs++
		found += len(findings)
		for _, finding := range findings {
			_, _ = fmt.Fprintln(p.Out, finding)
		}
	}
	switch {
	case found > 0:
		if figures != nil {
			p.note("Site rules are those of %s: --site-rules chooses others, or none.", siteRules)
		}
		return exitError{errSilent, exitFailure}
	case runs == 0:
		return errors.New("there is no BatchRun in what was read; convert makes one of a Job")
	case runs == 1:
		p.note("1 BatchRun, nothing to mend")
	default:
		p.note("%d BatchRuns, nothing to mend", runs)
	}
	return nil
}
