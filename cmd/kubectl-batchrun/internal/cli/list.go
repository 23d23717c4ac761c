package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// listOptions are the flags of list.
type listOptions struct {
	selector      string
	allNamespaces bool
	output        string
	noHeaders     bool
}

func (p *plugin) listCommand() *cobra.Command {
	var o listOptions
	command := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the runs",
		Long:    "List the runs, with the columns of kubectl get batchruns.",
		Example: example("kubectl batchrun list -A", "kubectl batchrun list -l team=vision -o wide"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.list(cmd.Context(), o)
		},
	}
	flags := command.Flags()
	flags.StringVarP(&o.selector, "selector", "l", "", "Only runs with these labels, such as team=vision.")
	flags.BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "The runs of all namespaces.")
	flags.BoolVar(&o.noHeaders, "no-headers", false, "Leave out the line with the names of the columns.")
	addOutput(command, &o.output, "wide", "json", "yaml", "name")
	return command
}

// addOutput adds the flag for the form of the output.
func addOutput(command *cobra.Command, output *string, formats ...string) {
	command.Flags().StringVarP(output, "output", "o", "", "Output format: "+strings.Join(formats, ", ")+".")
	err := command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	if err != nil { // the flag is part of the build
		panic(err)
	}
}

func (p *plugin) list(ctx context.Context, o listOptions) error {
	c, err := p.cluster()
	if err != nil {
		return err
	}
	if o.allNamespaces {
		c.namespace = metav1.NamespaceAll
	}
	if o.output == "" || o.output == "wide" {
		return p.printTable(ctx, c, o)
	}
	printer, err := objectPrinter(o.output)
	if err != nil {
		return err
	}
	selector, err := labels.Parse(o.selector)
	if err != nil {
		return err
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("BatchRunList"))
	if err := c.List(ctx, list, client.InNamespace(c.namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return c.explained(err, "")
	}
	list.SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind("List")) // as kubectl get does
	list.SetAPIVersion("v1")
	return printer.PrintObj(list, p.Out)
}

// objectPrinter prints objects as kubectl does.
func objectPrinter(output string) (printers.ResourcePrinter, error) {
	flags := genericclioptions.NewPrintFlags("").WithDefaultOutput(output)
	printer, err := flags.ToPrinter()
	if err != nil {
		return nil, err
	}
	return &printers.OmitManagedFieldsPrinter{Delegate: printer}, nil
}

// printTable prints the table that the API server makes of the runs.
func (p *plugin) printTable(ctx context.Context, c *cluster, o listOptions) error {
	config := rest.CopyConfig(c.config)
	config.APIPath, config.GroupVersion = "/apis", &v1alpha1.GroupVersion
	config.NegotiatedSerializer = serializer.WithoutConversionCodecFactory{CodecFactory: clientgoscheme.Codecs}
	api, err := rest.RESTClientFor(config)
	if err != nil {
		return err
	}
	table, err := c.tableOfRuns(ctx, api, o)
	if err != nil {
		return err
	}
	if len(table.Rows) == 0 {
		if o.allNamespaces {
			p.note("No runs found.")
		} else {
			p.note("No runs found in namespace %s.", c.namespace)
		}
		return nil
	}
	return printers.NewTablePrinter(printers.PrintOptions{
		NoHeaders: o.noHeaders, WithNamespace: o.allNamespaces, Wide: o.output == "wide",
	}).PrintObj(table, p.Out)
}

// tableOfRuns reads the table page by page, with no more of the runs themselves than their namespaces, where these are shown.
func (c *cluster) tableOfRuns(ctx context.Context, api rest.Interface, o listOptions) (*metav1.Table, error) {
	const accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
	include := metav1.IncludeNone
	if o.allNamespaces {
		include = metav1.IncludeMetadata
	}
	all := &metav1.Table{}
	for {
		options := &metav1.ListOptions{LabelSelector: o.selector, Limit: page, Continue: all.Continue}
		result := api.Get().NamespaceIfScoped(c.namespace, c.namespace != "").Resource("batchruns").
			VersionedParams(options, metav1.ParameterCodec).Param("includeObject", string(include)).SetHeader("Accept", accept).Do(ctx)
		if err := result.Error(); err != nil { // Raw would not read what the API server says of it
			return nil, c.explained(err, "")
		}
		text, err := result.Raw()
		if err != nil {
			return nil, err
		}
		part := &metav1.Table{}
		if err := json.Unmarshal(text, part); err != nil {
			return nil, fmt.Errorf("reading the table of runs: %w", err)
		}
		for _, row := range part.Rows {
			if o.allNamespaces { // the printer looks for it
				metadata := &metav1.PartialObjectMetadata{}
				if err := json.Unmarshal(row.Object.Raw, metadata); err != nil {
					return nil, fmt.Errorf("reading the table of runs: %w", err)
				}
				row.Object.Object = &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: metadata.Namespace}}
			}
			row.Object.Raw = nil
			all.Rows = append(all.Rows, row)
		}
		all.ColumnDefinitions, all.Continue = part.ColumnDefinitions, part.Continue
		if all.Continue == "" {
			return all, nil
		}
	}
}
