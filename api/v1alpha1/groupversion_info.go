// Package v1alpha1 holds the BatchRun API, group batchrun.io, version v1alpha1.
//
// +kubebuilder:object:generate=true
// +kubebuilder:ac:generate=true
// +groupName=batchrun.io
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// GroupVersion is the API group and version of this package's types.
	GroupVersion = schema.GroupVersion{Group: "batchrun.io", Version: "v1alpha1"}

	// SchemeGroupVersion is GroupVersion under the name that the generated apply configurations expect.
	SchemeGroupVersion = GroupVersion

	// SchemeBuilder collects the functions that add this package's types to a scheme.
	SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

	// AddToScheme adds this package's types to a scheme.
	AddToScheme = SchemeBuilder.AddToScheme
)

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &BatchRun{}, &BatchRunList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
