// Package rbac holds the operator's role, as the operator was built with it.
package rbac

import (
	_ "embed"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

//go:embed role.yaml
var role []byte

// Rules are what the operator has to be allowed to do.
func Rules() []rbacv1.PolicyRule {
	var parsed rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict(role, &parsed); err != nil { // it is generated, and built in
		panic(err)
	}
	return parsed.Rules
}
