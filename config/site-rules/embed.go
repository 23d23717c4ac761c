// Package siterules holds the site's rules and their profiles, as the programs were built with them.
package siterules

import _ "embed"

// Policy is the manifest of the ValidatingAdmissionPolicy that judges runs and Jobs.
//
//go:embed policy/policy.yaml
var Policy []byte

// Baseline is the manifest of the ConfigMap with the figures of the profile baseline.
//
//go:embed baseline/figures.yaml
var Baseline []byte

// NRP is the manifest of the ConfigMap with the figures of the profile nrp.
//
//go:embed nrp/figures.yaml
var NRP []byte
