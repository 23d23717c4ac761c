package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// completionTimeout is how long a shell waits for the cluster.
const completionTimeout = 5 * time.Second

// completeFlags completes the flags of kubectl that name something.
func (p *plugin) completeFlags(root *cobra.Command) {
	for name, complete := range map[string]func(context.Context) []string{
		"namespace": p.namespaceNames,
		"context":   func(context.Context) []string { return p.kubeconfigNames("context") },
		"cluster":   func(context.Context) []string { return p.kubeconfigNames("cluster") },
		"user":      func(context.Context) []string { return p.kubeconfigNames("user") },
	} {
		err := root.RegisterFlagCompletionFunc(name, func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
			return beginning(complete(cmd.Context()), begun), cobra.ShellCompDirectiveNoFileComp
		})
		if err != nil { // kubectl's flags are part of the build
			panic(err)
		}
	}
}

// completeRuns completes the names of runs, up to as many as a command takes; 0 is any number.
func (p *plugin) completeRuns(most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if most > 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return beginning(p.runNames(cmd.Context()), begun), cobra.ShellCompDirectiveNoFileComp
	}
}

func (p *plugin) runNames(ctx context.Context) []string {
	c, err := p.cluster()
	if err != nil {
		return nil
	}
	return names(ctx, c, v1alpha1.GroupVersion.String(), "BatchRun", client.InNamespace(c.namespace))
}

func (p *plugin) namespaceNames(ctx context.Context) []string {
	c, err := p.cluster()
	if err != nil {
		return nil
	}
	return names(ctx, c, corev1.SchemeGroupVersion.String(), "Namespace")
}

// names lists the names of objects; a cluster that does not answer has none.
func names(ctx context.Context, c *cluster, apiVersion, kind string, options ...client.ListOption) []string {
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	list := &metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: apiVersion, Kind: kind + "List"}}
	if err := c.List(ctx, list, options...); err != nil {
		return nil
	}
	all := make([]string, 0, len(list.Items))
	for i := range list.Items {
		all = append(all, list.Items[i].Name)
	}
	return all
}

// kubeconfigNames are the names of the kubeconfig's contexts, clusters or users.
func (p *plugin) kubeconfigNames(what string) []string {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = *p.flags.KubeConfig
	config, err := rules.Load()
	if err != nil {
		return nil
	}
	var all []string
	switch what {
	case "context":
		for name := range config.Contexts {
			all = append(all, name)
		}
	case "cluster":
		for name := range config.Clusters {
			all = append(all, name)
		}
	case "user":
		for name := range config.AuthInfos {
			all = append(all, name)
		}
	}
	return all
}

func beginning(all []string, begun string) []string {
	var fitting []string
	for _, name := range all {
		if strings.HasPrefix(name, begun) {
			fitting = append(fitting, name)
		}
	}
	return fitting
}
