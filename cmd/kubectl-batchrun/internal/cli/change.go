package cli

import (
	"context"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// change sets one field of a run's spec, and touches no other.
func (p *plugin) change(ctx context.Context, c *cluster, run *v1alpha1.BatchRun, field string, value any) error {
	switch tool := ownerOf(run, field); {
	case tool != "":
		p.note("warning: %s applies spec.%s of run %s from a repository and will set it back: make the change there instead",
			tool, field, run.Name)
	case appliedBy(run) != "":
		p.note("%s applies run %s from a repository, which does not set spec.%s: this stays until it does", appliedBy(run), run.Name, field)
	}
	patch, err := json.Marshal(map[string]any{
		// An object of the same name that was created meanwhile is another run.
		"metadata": map[string]any{"uid": run.UID},
		"spec":     map[string]any{field: value},
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

// gitOpsMarks are the labels and annotations that tools leave on what they apply from a repository.
var gitOpsMarks = []struct{ key, tool string }{
	{"argocd.argoproj.io/tracking-id", "Argo CD"},
	{"argocd.argoproj.io/instance", "Argo CD"},
	{"kustomize.toolkit.fluxcd.io/name", "Flux"},
	{"helm.toolkit.fluxcd.io/name", "Flux"},
}

// gitOpsManagers are the names that these tools write fields by.
var gitOpsManagers = map[string]string{
	"argocd-controller": "Argo CD", "argocd-application-controller": "Argo CD",
	"kustomize-controller": "Flux", "helm-controller": "Flux",
}

// appliedBy is the tool that applies the run from a repository, "" where there is none.
func appliedBy(run *v1alpha1.BatchRun) string {
	for _, mark := range gitOpsMarks {
		if run.Labels[mark.key] != "" || run.Annotations[mark.key] != "" {
			return mark.tool
		}
	}
	for _, entry := range run.ManagedFields {
		if tool := gitOpsManagers[entry.Manager]; tool != "" {
			return tool
		}
	}
	return ""
}

// ownerOf is the tool that applies this field of the spec from a repository, "" where there is none.
func ownerOf(run *v1alpha1.BatchRun, field string) string {
	for _, entry := range run.ManagedFields {
		var owned struct {
			Spec map[string]any `json:"f:spec"`
		}
		tool := gitOpsManagers[entry.Manager]
		if tool == "" || entry.FieldsV1 == nil || json.Unmarshal(entry.FieldsV1.GetRawBytes(), &owned) != nil {
			continue
		}
		if _, ok := owned.Spec["f:"+field]; ok {
			return tool
		}
	}
	return ""
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
