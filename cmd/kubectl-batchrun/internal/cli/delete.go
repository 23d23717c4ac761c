package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/render"
)

func (p *plugin) deleteCommand() *cobra.Command {
	var yes bool
	command := &cobra.Command{
		Use:   "delete NAME...",
		Short: "Delete runs, with their Jobs, pods and record",
		Long: "Delete runs, with their Jobs, pods and record.\n\n" +
			"It says what goes away and asks first; --yes does not ask. To stop a run and keep its record, use cancel.",
		Example: example("kubectl batchrun delete train", "kubectl batchrun delete train --yes"),
		Args:    someRuns, ValidArgsFunction: p.completeRuns(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.each(args, func(c *cluster, name string) error { return p.delete(cmd.Context(), c, name, yes) })
		},
	}
	command.Flags().BoolVarP(&yes, "yes", "y", false, "Do not ask.")
	return command
}

func (p *plugin) delete(ctx context.Context, c *cluster, name string, yes bool) error {
	run, err := c.run(ctx, name)
	if err != nil {
		return err
	}
	p.note("%s", p.whatGoes(ctx, c, run))
	if tool := appliedBy(run); tool != "" {
		p.note("warning: %s applies it from a repository and will create it again: remove it there first", tool)
	}
	if !yes {
		if !p.asks() {
			return errors.New("nobody is there to confirm it: add --yes")
		}
		p.note("Delete it? Type yes:")
		answer, err := bufio.NewReader(p.In).ReadString('\n')
		if err != nil || strings.TrimSpace(answer) != "yes" {
			return errors.New("nothing was deleted")
		}
	}
	err = c.Delete(ctx, run, client.Preconditions{UID: &run.UID}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if err != nil {
		return c.explained(err, name)
	}
	return p.done(run, "deleted")
}

// whatGoes says what is deleted with a run.
func (p *plugin) whatGoes(ctx context.Context, c *cluster, run *v1alpha1.BatchRun) string {
	text := render.Line(run, "") + ". The run goes away with its record: counts, failures and log tails"
	jobs, pods := &metav1.PartialObjectMetadataList{}, &metav1.PartialObjectMetadataList{}
	jobs.SetGroupVersionKind(batchv1.SchemeGroupVersion.WithKind("JobList"))
	pods.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PodList"))
	ofRun := client.MatchingLabels{v1alpha1.LabelRunUID: string(run.UID)}
	if errors.Join(c.List(ctx, jobs, client.InNamespace(run.Namespace), ofRun), c.List(ctx, pods, client.InNamespace(run.Namespace), ofRun)) == nil {
		text += fmt.Sprintf("; and with it %s and %s", count(len(jobs.Items), "Job"), count(len(pods.Items), "pod"))
		if run.Status.Active > 0 {
			text += fmt.Sprintf(", %s among them", count(int(run.Status.Active), "active task"))
		}
	}
	return text + "."
}
