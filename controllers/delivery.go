package controllers

import (
	"context"
	"fmt"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/config/policy"
	"github.com/batchrun/batchrun/controllers/plan"
)

// policyDelay is for how long a new or changed policy is not relied on: an API server takes it up within about a
// second, and there may be several.
const policyDelay = 10 * time.Second

// The fixes for a policy that is not as it should be. To apply it would leave what somebody added to a list.
const (
	installPolicy = "kubectl apply -k config/policy"
	replacePolicy = "kubectl replace -k config/policy"
)

// delivery tells how tasks can get their parameters: packed, where the policy that reads them from a table is in the
// cluster, or inlined, anywhere.
type delivery struct {
	// policies reads the policy and its binding. It is nil where the operator cannot.
	policies client.Reader
	// without says why it cannot.
	without string
}

// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=mutatingadmissionpolicies,resourceNames=batchrun-parameters,verbs=list;watch
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=mutatingadmissionpolicybindings,resourceNames=batchrun-parameters,verbs=list;watch

// setUp has the manager watch the policy and its binding, where the API server serves them; and, if the operator is
// namespaced, where it lets the operator read them.
//
// They have a cache of their own: the manager's cannot be told to watch but one object of a kind that the API server
// does not serve.
func (d *delivery) setUp(ctx context.Context, mgr ctrl.Manager, namespaced bool) error {
	kind := admissionregistrationv1.SchemeGroupVersion.WithKind("MutatingAdmissionPolicy")
	switch _, err := mgr.GetRESTMapper().RESTMapping(kind.GroupKind(), kind.Version); {
	case meta.IsNoMatchError(err):
		d.without = "this Kubernetes has no MutatingAdmissionPolicy (1.36 and later have; restart the operator after an upgrade)"
		ctrl.Log.Info("each task of a sweep has a Job of its own", "reason", d.without)
		return nil
	case err != nil:
		return fmt.Errorf("looking for %s: %w", kind, err)
	}
	objects := []client.Object{&admissionregistrationv1.MutatingAdmissionPolicy{}, &admissionregistrationv1.MutatingAdmissionPolicyBinding{}}
	if namespaced {
		if err := mayRead(ctx, mgr.GetAPIReader()); apierrors.IsForbidden(err) {
			d.without = fmt.Sprintf("the operator may not read the policy: see docs/install.md, and restart the operator once it may (%s)", err)
			ctrl.Log.Info("each task of a sweep has a Job of its own", "reason", d.without)
			return nil
		} else if err != nil {
			return err
		}
	}
	one := cache.ByObject{Field: fields.OneTermEqualSelector("metadata.name", v1alpha1.PolicyParameters)}
	policies, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
		ByObject: map[client.Object]cache.ByObject{objects[0]: one, objects[1]: one},
	})
	if err != nil {
		return fmt.Errorf("cache of policies: %w", err)
	}
	for _, object := range objects {
		if _, err := policies.GetInformer(ctx, object); err != nil {
			return fmt.Errorf("watching %T: %w", object, err)
		}
	}
	d.policies = policies
	return mgr.Add(policyCache{policies})
}

// mayRead fails where the API server does not let the operator read the policy and its binding.
func mayRead(ctx context.Context, live client.Reader) error {
	named := client.MatchingFields{"metadata.name": v1alpha1.PolicyParameters}
	for _, list := range []client.ObjectList{
		&admissionregistrationv1.MutatingAdmissionPolicyList{}, &admissionregistrationv1.MutatingAdmissionPolicyBindingList{},
	} {
		if err := live.List(ctx, list, named); err != nil {
			return fmt.Errorf("reading the policy: %w", err)
		}
	}
	return nil
}

// policyCache is a cache that the manager starts, and waits for, like its own.
type policyCache struct{ cache.Cache }

// GetCache implements what the manager knows a cache by.
func (c policyCache) GetCache() cache.Cache { return c.Cache }

// packing says whether the policy and its binding are in the cluster, and are those that belong to this operator.
func (d *delivery) packing(ctx context.Context, now time.Time) (plan.Packing, error) {
	if d.policies == nil {
		return missing(d.without), nil
	}
	key := client.ObjectKey{Name: v1alpha1.PolicyParameters}
	installed, binding := &admissionregistrationv1.MutatingAdmissionPolicy{}, &admissionregistrationv1.MutatingAdmissionPolicyBinding{}
	for _, object := range []client.Object{installed, binding} {
		if err := d.policies.Get(ctx, key, object); client.IgnoreNotFound(err) != nil {
			return plan.Packing{}, fmt.Errorf("reading %T %s: %w", object, key.Name, err)
		}
	}
	return packingOf(installed, binding, now), nil
}

// belonging are the specs of the policy and binding that belong to this operator.
var belonging = struct {
	policy  admissionregistrationv1.MutatingAdmissionPolicySpec
	binding admissionregistrationv1.MutatingAdmissionPolicyBindingSpec
}{policy.Parameters().Spec, policy.ParametersBinding().Spec}

// packingOf judges a policy and its binding. One without name is not there.
func packingOf(installed *admissionregistrationv1.MutatingAdmissionPolicy, binding *admissionregistrationv1.MutatingAdmissionPolicyBinding,
	now time.Time,
) plan.Packing {
	for _, p := range []struct {
		kind    string
		object  client.Object
		belongs bool
	}{
		{"MutatingAdmissionPolicy", installed, equality.Semantic.DeepEqual(installed.Spec, belonging.policy)},
		{"MutatingAdmissionPolicyBinding", binding, equality.Semantic.DeepEqual(binding.Spec, belonging.binding)},
	} {
		what := p.kind + " " + v1alpha1.PolicyParameters
		switch {
		case p.object.GetName() == "":
			return missing("there is no " + what + ": " + installPolicy)
		case p.object.GetDeletionTimestamp() != nil:
			return missing(what + " is being deleted: " + installPolicy)
		case !p.belongs:
			return plan.Packing{Reason: v1alpha1.PackedPolicyDiffers,
				Message: what + " is not the one of this version of the operator: " + replacePolicy}
		case now.Sub(changed(p.object)) < policyDelay:
			return missing(what + " was installed or changed just now")
		}
	}
	return plan.Packing{OK: true, Reason: v1alpha1.PackedPolicyInstalled,
		Message: "MutatingAdmissionPolicy " + v1alpha1.PolicyParameters + " gives each pod its parameters"}
}

func missing(message string) plan.Packing {
	return plan.Packing{Reason: v1alpha1.PackedPolicyMissing, Message: message}
}

// changed is when an object was created or changed last.
func changed(object client.Object) time.Time {
	last := object.GetCreationTimestamp().Time
	for _, entry := range object.GetManagedFields() {
		if entry.Time != nil && entry.Time.After(last) {
			last = entry.Time.Time
		}
	}
	return last
}
