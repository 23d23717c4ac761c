package cli

import (
	"bytes"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/convert"
)

func (p *plugin) convertCommand() *cobra.Command {
	var files []string
	command := &cobra.Command{
		Use:   "convert -f FILE",
		Short: "Print the BatchRun that a Job would be",
		Long: "Print the BatchRun that a Job would be.\n\n" +
			"A batch/v1 Job, or the Job of a CronJob, becomes a BatchRun with the same order of fields and the same comments. " +
			"A comment stands wherever something had to be changed or left out. Other objects stay as they are.",
		Example: example("kubectl batchrun convert -f job.yaml > run.yaml", "kubectl get job train -o yaml | kubectl batchrun convert -f -"),
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return p.convert(files)
		},
	}
	addFiles(command, &files, "What to convert.")
	return command
}

func (p *plugin) convert(files []string) error {
	documents, err := p.read(files)
	if err != nil {
		return err
	}
	for i, document := range documents {
		result, err := convert.Document(document)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", document.File, document.Line+1, err)
		}
		if result.Note != "" {
			p.note("%s:%d: %s", document.File, document.Line+1, result.Note)
		}
		if i > 0 {
			_, _ = fmt.Fprintln(p.Out, "---")
		}
		if _, err := p.Out.Write(append(bytes.TrimLeft(bytes.TrimRight(result.Text, "\n"), "\n"), '\n')); err != nil {
			return err
		}
	}
	return nil
}
