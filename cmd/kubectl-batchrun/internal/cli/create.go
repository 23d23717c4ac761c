package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/convert"
	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/manifest"
)

func (p *plugin) createCommand() *cobra.Command {
	var files []string
	var dryRun string
	printFlags := genericclioptions.NewPrintFlags("created")
	command := &cobra.Command{
		Use:   "create -f FILE",
		Short: "Start a run from the file of a BatchRun or a Job",
		Long: "Start a run from the file of a BatchRun or a Job.\n\n" +
			"A BatchRun is created as it is; a batch/v1 Job, or the Job of a CronJob, is converted first: convert shows how. " +
			"Other objects of the file are created too.",
		Example: example("kubectl batchrun create -f job.yaml", "kubectl batchrun create -f run.yaml --dry-run"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch dryRun {
			case "none":
			case "client", "server":
				if err := printFlags.Complete("%s (" + dryRun + " dry run)"); err != nil {
					return err
				}
			default:
				return fmt.Errorf("--dry-run: there is no %q: choose of none, client, server", dryRun)
			}
			return p.create(cmd.Context(), files, dryRun, printFlags)
		},
	}
	addFiles(command, &files, "What to create.")
	command.Flags().StringVar(&dryRun, "dry-run", "none", "Create nothing: server lets the API server check everything, client only shows it. "+
		"Alone it means server.")
	command.Flags().Lookup("dry-run").NoOptDefVal = "server"
	printFlags.AddFlags(command)
	return command
}

func (p *plugin) create(ctx context.Context, files []string, dryRun string, printFlags *genericclioptions.PrintFlags) error {
	documents, err := p.read(files)
	if err != nil {
		return err
	}
	objects := make([]*unstructured.Unstructured, 0, len(documents))
	for _, document := range documents { // all are read before any is created
		object, err := p.object(document)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", document.File, document.Line+1, err)
		}
		objects = append(objects, object)
	}
	printer, err := printFlags.ToPrinter()
	if err != nil {
		return err
	}
	if dryRun == "client" {
		for _, object := range objects {
			if err := printer.PrintObj(object, p.Out); err != nil {
				return err
			}
		}
		return nil
	}
	c, err := p.cluster()
	if err != nil {
		return err
	}
	options := []client.CreateOption{client.FieldOwner(fieldManager), client.FieldValidation(metav1.FieldValidationStrict)}
	if dryRun == "server" {
		options = append(options, client.DryRunAll)
	}
	for _, object := range objects {
		if err := c.place(object); err != nil {
			return err
		}
		err := c.Create(ctx, object, options...)
		switch {
		case apierrors.IsAlreadyExists(err):
			return fmt.Errorf("%w; to change it, edit the file and kubectl apply it: a run takes edits, and nothing has to be deleted", err)
		case err != nil:
			return c.explained(err, object.GetName())
		}
		if err := printer.PrintObj(object, p.Out); err != nil {
			return err
		}
	}
	return nil
}

// object is what a document becomes in the cluster.
func (p *plugin) object(document *manifest.Document) (*unstructured.Unstructured, error) {
	result, err := convert.Document(document)
	if err != nil {
		return nil, err
	}
	if !result.Converted {
		return &unstructured.Unstructured{Object: document.Object}, nil
	}
	if result.Note != "" {
		p.note("%s", result.Note)
	}
	p.note("%s %s becomes a BatchRun: convert shows what differs", document.Kind(), document.Name())
	converted := manifest.Parse(document.File, result.Text)[0]
	if converted.Err != nil {
		return nil, converted.Err
	}
	return &unstructured.Unstructured{Object: converted.Object}, nil
}

// place puts an object that names no namespace into that of the command line.
func (c *cluster) place(object client.Object) error {
	namespaced, err := c.IsObjectNamespaced(object)
	if err != nil {
		return c.explained(err, object.GetName())
	}
	if namespaced && object.GetNamespace() == "" {
		object.SetNamespace(c.namespace)
	}
	return nil
}
