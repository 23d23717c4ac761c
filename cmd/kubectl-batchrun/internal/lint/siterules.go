package lint

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"

	celgo "github.com/google/cel-go/cel"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apiserver/pkg/admission"
	admissioncel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/yaml"

	"github.com/batchrun/batchrun/api/v1alpha1"
	siterules "github.com/batchrun/batchrun/config/site-rules"
)

// Figures reads the figures of site rules: those of the profile baseline or nrp, or of a file with a site's own
// ConfigMap batchrun-site-rules.
func Figures(profile string) (*corev1.ConfigMap, error) {
	text := map[string][]byte{"baseline": siterules.Baseline, "nrp": siterules.NRP}[profile]
	if text == nil {
		var err error
		if text, err = os.ReadFile(profile); err != nil {
			return nil, fmt.Errorf("%w: choose of none, baseline and nrp, or name a file with the ConfigMap batchrun-site-rules", err)
		}
	}
	figures := &corev1.ConfigMap{}
	if err := yaml.UnmarshalStrict(text, figures); err != nil {
		return nil, fmt.Errorf("%s: %w", profile, err)
	}
	if figures.Kind != "ConfigMap" {
		return nil, fmt.Errorf("%s: it is no ConfigMap with the figures of site rules", profile)
	}
	return figures, nil
}

// siteRules are the rules of config/site-rules with the figures of a site.
type siteRules struct {
	problems admissioncel.ConditionEvaluator
	figures  *corev1.ConfigMap
}

// expression is an expression of the policy, with a name if it is a variable.
type expression struct {
	name, text string
	returns    *celgo.Type
}

func (e expression) GetName() string            { return e.name }
func (e expression) GetExpression() string      { return e.text }
func (e expression) ReturnTypes() []*celgo.Type { return []*celgo.Type{e.returns} }

// newSiteRules compiles the policy's variables. Its one validation says that the last of them, problems, is empty.
func newSiteRules(figures *corev1.ConfigMap) (*siteRules, error) {
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{}
	if err := yaml.UnmarshalStrict(siterules.Policy, policy); err != nil {
		return nil, err
	}
	compiler, err := admissioncel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		return nil, err
	}
	variables := make([]admissioncel.NamedExpressionAccessor, 0, len(policy.Spec.Variables))
	for _, v := range policy.Spec.Variables {
		variables = append(variables, expression{v.Name, v.Expression, celgo.AnyType})
	}
	declared := admissioncel.OptionalVariableDeclarations{HasParams: true}
	compiler.CompileAndStoreVariables(variables, declared, environment.StoredExpressions)
	problems := []admissioncel.ExpressionAccessor{expression{text: "variables.problems", returns: celgo.AnyType}}
	compiled := compiler.CompileCondition(problems, declared, environment.StoredExpressions)
	return &siteRules{compiled, figures}, errors.Join(compiled.CompilationErrors()...)
}

// place is what a problem of the policy begins with: the field, and the name of the container.
var place = regexp.MustCompile(`^(spec[^\s:]*)(?: \([^)]*\))?: `)

// check judges an object as if it were created.
func (s *siteRules) check(ctx context.Context, object map[string]any) ([]problem, error) {
	texts, err := s.judge(ctx, &unstructured.Unstructured{Object: object})
	if err != nil {
		return nil, err
	}
	problems := make([]problem, 0, len(texts))
	for _, text := range texts {
		p := problem{message: text + " (site rule)"}
		if found := place.FindStringSubmatch(text); found != nil {
			p = problem{path: found[1], message: text[len(found[0]):] + " (site rule)"}
		}
		problems = append(problems, p)
	}
	return problems, nil
}

func (s *siteRules) judge(ctx context.Context, object *unstructured.Unstructured) ([]string, error) {
	kind, resource := v1alpha1.GroupVersion.WithKind("BatchRun"), v1alpha1.GroupVersion.WithResource("batchruns")
	attributes := &admission.VersionedAttributes{
		Attributes: admission.NewAttributesRecord(object, nil, kind, object.GetNamespace(), object.GetName(), resource, "",
			admission.Create, &metav1.CreateOptions{}, false, nil),
		VersionedObject: admission.NewLazyObject(object), VersionedKind: kind,
	}
	request := &admissionv1.AdmissionRequest{Operation: admissionv1.Create,
		Resource: metav1.GroupVersionResource{Group: resource.Group, Version: resource.Version, Resource: resource.Resource}}
	results, _, err := s.problems.ForInput(ctx, attributes, request,
		admissioncel.OptionalVariableBindings{VersionedParams: s.figures}, nil, ruleBudget)
	if err != nil {
		return nil, err
	}
	if results[0].Error != nil {
		return nil, results[0].Error
	}
	texts, err := results[0].EvalResult.ConvertToNative(reflect.TypeFor[[]string]())
	if err != nil {
		return nil, err
	}
	return texts.([]string), nil //nolint:forcetypeassert // it was asked for
}
