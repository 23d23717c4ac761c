// Package flux holds the expressions by which Flux reads a BatchRun when it shall not wait for its end: the manifest of
// this folder.
package flux

import (
	_ "embed"
	"fmt"

	"github.com/fluxcd/pkg/apis/kustomize"
	"sigs.k8s.io/yaml"
)

//go:embed runs.yaml
var manifest []byte

// Read reads the expressions from the Kustomization.
func Read() (kustomize.HealthCheckExpressions, error) {
	var kustomization struct {
		Spec struct {
			HealthCheckExprs []kustomize.CustomHealthCheck `json:"healthCheckExprs"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(manifest, &kustomization); err != nil {
		return kustomize.HealthCheckExpressions{}, fmt.Errorf("runs.yaml: %w", err)
	}
	checks := kustomization.Spec.HealthCheckExprs
	if len(checks) != 1 || checks[0].APIVersion != "batchrun.io/v1alpha1" || checks[0].Kind != "BatchRun" {
		return kustomize.HealthCheckExpressions{}, fmt.Errorf("runs.yaml: want one health check, of BatchRuns; got %v", checks)
	}
	return checks[0].HealthCheckExpressions, nil
}
