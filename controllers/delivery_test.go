package controllers

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/config/policy"
)

// policies has a policy and its binding, or fails.
type policies struct {
	client.Reader
	policy  *admissionregistrationv1.MutatingAdmissionPolicy
	binding *admissionregistrationv1.MutatingAdmissionPolicyBinding
	err     error
}

func (p *policies) Get(_ context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	if p.err != nil {
		return p.err
	}
	switch o := object.(type) {
	case *admissionregistrationv1.MutatingAdmissionPolicy:
		if p.policy != nil && p.policy.Name == key.Name {
			*o = *p.policy
			return nil
		}
	case *admissionregistrationv1.MutatingAdmissionPolicyBinding:
		if p.binding != nil && p.binding.Name == key.Name {
			*o = *p.binding
			return nil
		}
	}
	return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
}

func TestPacking(t *testing.T) {
	now := podTime.Time
	hourAgo, secondsAgo := metav1.NewTime(now.Add(-time.Hour)), metav1.NewTime(now.Add(-policyDelay+time.Second))
	cases := map[string]struct {
		edit    func(*policies)
		reason  string
		message string
	}{
		"installed": {func(*policies) {}, v1alpha1.PackedPolicyInstalled, ""},
		"installed with other labels": {func(p *policies) { p.policy.Labels = map[string]string{"team": "x"} },
			v1alpha1.PackedPolicyInstalled, ""},
		"no policy":  {func(p *policies) { p.policy = nil }, v1alpha1.PackedPolicyMissing, installPolicy},
		"no binding": {func(p *policies) { p.binding = nil }, v1alpha1.PackedPolicyMissing, installPolicy},
		"a policy that is being deleted": {func(p *policies) { p.policy.DeletionTimestamp = &hourAgo },
			v1alpha1.PackedPolicyMissing, "deleted"},
		"a binding that is being deleted": {func(p *policies) { p.binding.DeletionTimestamp = &hourAgo },
			v1alpha1.PackedPolicyMissing, "deleted"},
		"another policy": {func(p *policies) { p.policy.Spec.FailurePolicy = ptr.To(admissionregistrationv1.Ignore) },
			v1alpha1.PackedPolicyDiffers, replacePolicy},
		"another expression": {func(p *policies) { p.policy.Spec.Variables[0].Expression += " " },
			v1alpha1.PackedPolicyDiffers, replacePolicy},
		"a binding to some pods": {func(p *policies) { p.binding.Spec.MatchResources = &admissionregistrationv1.MatchResources{} },
			v1alpha1.PackedPolicyDiffers, replacePolicy},
		"a new policy":  {func(p *policies) { p.policy.CreationTimestamp = secondsAgo }, v1alpha1.PackedPolicyMissing, "just now"},
		"a new binding": {func(p *policies) { p.binding.CreationTimestamp = secondsAgo }, v1alpha1.PackedPolicyMissing, "just now"},
		"a policy that was changed": {func(p *policies) {
			p.policy.ManagedFields = []metav1.ManagedFieldsEntry{{Time: &secondsAgo}, {Time: &hourAgo}}
		},
			v1alpha1.PackedPolicyMissing, "just now"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p := &policies{policy: policy.Parameters(), binding: policy.ParametersBinding()}
			p.policy.CreationTimestamp, p.binding.CreationTimestamp = hourAgo, hourAgo
			c.edit(p)
			got, err := (&delivery{policies: p}).packing(t.Context(), now)
			if err != nil {
				t.Fatal(err)
			}
			if got.Reason != c.reason || got.OK != (c.reason == v1alpha1.PackedPolicyInstalled) {
				t.Errorf("got %+v, want reason %s", got, c.reason)
			}
			if !strings.Contains(got.Message, c.message) || !strings.Contains(got.Message, v1alpha1.PolicyParameters) {
				t.Errorf("message: got %q, want %q in it", got.Message, c.message)
			}
		})
	}
}

// mapped is a manager of an API server that serves these kinds.
type mapped struct {
	ctrl.Manager
	kinds meta.RESTMapper
	live  client.Reader
}

func (m mapped) GetRESTMapper() meta.RESTMapper { return m.kinds }
func (m mapped) GetAPIReader() client.Reader    { return m.live }

func TestPackingBeforeKubernetes136(t *testing.T) {
	d := &delivery{}
	if err := d.setUp(t.Context(), mapped{kinds: meta.NewDefaultRESTMapper(nil)}, false); err != nil {
		t.Fatal(err)
	}
	got, err := d.packing(t.Context(), podTime.Time)
	if err != nil || got.OK || got.Reason != v1alpha1.PackedPolicyMissing || !strings.Contains(got.Message, "1.36") {
		t.Errorf("got %+v, %v", got, err)
	}
}

// forbidding lets nobody list anything, or fails otherwise.
type forbidding struct {
	client.Reader
	err error
}

func (f forbidding) List(_ context.Context, _ client.ObjectList, _ ...client.ListOption) error {
	return f.err
}

func TestPackingOfANamespacedOperatorWithoutRights(t *testing.T) {
	kinds := meta.NewDefaultRESTMapper(nil)
	kinds.Add(admissionregistrationv1.SchemeGroupVersion.WithKind("MutatingAdmissionPolicy"), meta.RESTScopeRoot)
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "mutatingadmissionpolicies"}, "", errors.New("no right"))
	d := &delivery{}
	if err := d.setUp(t.Context(), mapped{kinds: kinds, live: forbidding{err: forbidden}}, true); err != nil {
		t.Fatal(err)
	}
	got, err := d.packing(t.Context(), podTime.Time)
	if err != nil || got.OK || got.Reason != v1alpha1.PackedPolicyMissing || !strings.Contains(got.Message, "may not read") {
		t.Errorf("got %+v, %v", got, err)
	}
	broken := errors.New("broken")
	if err := (&delivery{}).setUp(t.Context(), mapped{kinds: kinds, live: forbidding{err: broken}}, true); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestPackingUnknown(t *testing.T) {
	broken := errors.New("broken")
	if _, err := (&delivery{policies: &policies{err: broken}}).packing(t.Context(), podTime.Time); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
