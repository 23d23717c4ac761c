// Package policy holds the admission policy that gives the pods of packed waves their parameters: the manifests of this
// folder, as the operator was built with them.
package policy

import (
	_ "embed"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/yaml"
)

var (
	//go:embed parameters.yaml
	parameters []byte
	//go:embed parameters_binding.yaml
	parametersBinding []byte
)

// Parameters returns the policy.
func Parameters() *admissionregistrationv1.MutatingAdmissionPolicy {
	return parse[admissionregistrationv1.MutatingAdmissionPolicy](parameters)
}

// ParametersBinding returns the binding that puts the policy to work.
func ParametersBinding() *admissionregistrationv1.MutatingAdmissionPolicyBinding {
	return parse[admissionregistrationv1.MutatingAdmissionPolicyBinding](parametersBinding)
}

func parse[T any](manifest []byte) *T {
	object := new(T)
	if err := yaml.UnmarshalStrict(manifest, object); err != nil { // it is part of the build, and tested
		panic(fmt.Errorf("manifest of the operator: %w", err))
	}
	return object
}
