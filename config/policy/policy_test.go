package policy

import (
	"testing"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

func TestNames(t *testing.T) {
	policy, binding := Parameters(), ParametersBinding()
	for what, name := range map[string]string{
		"name of the policy": policy.Name, "name of the binding": binding.Name, "policy of the binding": binding.Spec.PolicyName,
	} {
		if name != v1alpha1.PolicyParameters {
			t.Errorf("%s: got %q, want %q", what, name, v1alpha1.PolicyParameters)
		}
	}
}
