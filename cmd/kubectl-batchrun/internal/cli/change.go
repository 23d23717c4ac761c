package cli

import (
	"context"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// change merges a change into the spec of a run.
func (p *plugin) change(ctx context.Context, c *cluster, run *v1alpha1.BatchRun, spec map[string]any) error {
	p.warnOfGitOps(run)
	patch, err := json.Marshal(map[string]any{
		// An object of the same name that was created meanwhile is another run.
		"metadata": map[string]any{"uid": run.UID},
		"spec":     spec,
	})
	if err != nil {
		return err
	}
	changed := &v1alpha1.BatchRun{}
	changed.Namespace, changed.Name = run.Namespace, run.Name
	if err := c.Patch(ctx, changed, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(fieldManager)); err != nil {
		return c.explained(err, run.Name)
	}
	return nil
}

// gitOps are the marks that tools leave on what they apply from a repository.
var gitOps = []struct{ key, tool string }{
	{"argocd.argoproj.io/tracking-id", "Argo CD"},
	{"argocd.argoproj.io/instance", "Argo CD"},
	{"kustomize.toolkit.fluxcd.io/name", "Flux"},
	{"helm.toolkit.fluxcd.io/name", "Flux"},
}

// managedBy is the tool that applies the run from a repository, "" where there is none.
func managedBy(run *v1alpha1.BatchRun) string {
	for _, mark := range gitOps {
		if run.Labels[mark.key] != "" || run.Annotations[mark.key] != "" {
			return mark.tool
		}
	}
	return ""
}

// warnOfGitOps says that a change will not last where a tool puts back what is in its repository.
func (p *plugin) warnOfGitOps(run *v1alpha1.BatchRun) {
	if tool := managedBy(run); tool != "" {
		p.note("warning: %s applies run %s from a repository and will put back what stands there: make the change in the "+
			"repository instead", tool, run.Name)
	}
}

// done says what was done to a run.
func (p *plugin) done(run *v1alpha1.BatchRun, format string, args ...any) error {
	_, err := fmt.Fprintf(p.Out, "batchrun.batchrun.io/%s %s\n", run.Name, fmt.Sprintf(format, args...))
	return err
}

// count is "1 task" or "2 tasks".
func count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
