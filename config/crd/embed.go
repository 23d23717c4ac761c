// Package crd holds the CustomResourceDefinition of BatchRun, as the programs were built with it.
package crd

import _ "embed"

// BatchRuns is the manifest of the CustomResourceDefinition.
//
//go:embed bases/batchrun.io_batchruns.yaml
var BatchRuns []byte
