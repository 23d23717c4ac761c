// Package argocd holds what Argo CD has to know of a BatchRun: the manifest of this folder.
package argocd

import (
	_ "embed"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// Keys of the ConfigMap, as Argo CD wants them.
const (
	healthKey  = "resource.customizations.health.batchrun.io_BatchRun"
	actionsKey = "resource.customizations.actions.batchrun.io_BatchRun"
)

//go:embed argocd-cm.yaml
var manifest []byte

// Customization is what the ConfigMap says of a BatchRun.
type Customization struct {
	// Health is the Lua script that returns its health.
	Health string `json:"-"`
	// Discovery is the one that returns which actions there are.
	Discovery string `json:"discovery.lua"`
	// Definitions are the actions.
	Definitions []struct {
		Name   string `json:"name"`
		Action string `json:"action.lua"`
	} `json:"definitions"`
}

// Read reads the ConfigMap as Argo CD does.
func Read() (Customization, error) {
	var config corev1.ConfigMap
	if err := yaml.UnmarshalStrict(manifest, &config); err != nil {
		return Customization{}, fmt.Errorf("argocd-cm.yaml: %w", err)
	}
	c := Customization{Health: config.Data[healthKey]}
	if err := yaml.UnmarshalStrict([]byte(config.Data[actionsKey]), &c); err != nil {
		return Customization{}, fmt.Errorf("argocd-cm.yaml, %s: %w", actionsKey, err)
	}
	return c, nil
}
