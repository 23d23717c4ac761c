package lint

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/batchrun/batchrun/config/crd"
)

// What the API server lets the rules of one object cost, and one call of them (k8s.io/apiserver/pkg/apis/cel).
const (
	ruleBudget = 10_000_000
	callBudget = 1_000_000
)

// crdSchema is what the API server checks of a BatchRun.
type crdSchema struct {
	values     validation.SchemaValidator
	structural *schema.Structural
	rules      *cel.Validator
}

func newSchema() (*crdSchema, error) {
	var definition apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(crd.BatchRuns, &definition); err != nil {
		return nil, err
	}
	props := &apiextensions.JSONSchemaProps{}
	v1 := definition.Spec.Versions[0].Schema.OpenAPIV3Schema
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v1, props, nil); err != nil {
		return nil, err
	}
	s := &crdSchema{}
	var err error
	if s.values, _, err = validation.NewSchemaValidator(props); err != nil {
		return nil, err
	}
	if s.structural, err = schema.NewStructural(props); err != nil {
		return nil, err
	}
	s.rules = cel.NewValidator(s.structural, true, callBudget)
	return s, nil
}

// check goes the way of the API server: unknown fields, the schema, lists that must not repeat, and then the rules.
func (s *crdSchema) check(ctx context.Context, original map[string]any) []problem {
	object := runtime.DeepCopyJSON(original)
	delete(object, "status") // an apply does not touch it
	defaulting.PruneNonNullableNullsWithoutDefaults(object, s.structural)
	problems := s.unknown(object)
	errs := validation.ValidateCustomResource(nil, object, s.values)
	errs = append(errs, objectmeta.Validate(ctx, nil, object, s.structural, true)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, s.structural, object)...)
	if len(errs) == 0 {
		errs, _ = s.rules.Validate(ctx, nil, s.structural, object, nil, ruleBudget)
	}
	for _, err := range errs {
		problems = append(problems, s.problem(err))
	}
	return problems
}

// unknown takes the fields out that a BatchRun does not have, and names them.
func (s *crdSchema) unknown(object map[string]any) []problem {
	options := schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}
	paths := pruning.PruneWithOptions(object, s.structural, true, options)
	meta := objectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: true}
	if _, _, more, err := objectmeta.GetObjectMetaWithOptions(object, meta); err == nil {
		paths = append(paths, more...)
	}
	var problems []problem
	for _, path := range paths {
		problems = append(problems, problem{path, "unknown field" + s.hint(path)})
	}
	return problems
}

// jobFields are fields of a Job that a BatchRun does not have, and what to write instead.
var jobFields = map[string]string{
	"spec.backoffLimitPerIndex": "a Job's field: write backoffLimit, which holds for each task",
	"spec.maxFailedIndexes":     "a Job's field: write maxFailedTasks",
	"spec.podFailurePolicy":     "a Job's field: write retryPolicy.rules; kubectl batchrun convert does it",
	"spec.podReplacementPolicy": "a Job's field: remove it, a task's next pod starts when its last one has ended",
	"spec.selector":             "a Job's field: remove it",
	"spec.manualSelector":       "a Job's field: remove it",
	"spec.managedBy":            "a Job's field: remove it",
	"spec.successPolicy":        "a Job's field: remove it, a run succeeds when every task did",
}

// hint is how to mend a field that is not known.
func (s *crdSchema) hint(path string) string {
	if hint := jobFields[path]; hint != "" {
		return ", " + hint
	}
	parent, name := "", path
	if i := strings.LastIndex(path, "."); i >= 0 {
		parent, name = path[:i], path[i+1:]
	}
	best, distance := "", 1+len(name)/3
	for _, known := range s.fields(parent) {
		if d := edits(strings.ToLower(name), strings.ToLower(known)); d <= distance && (best == "" || d < distance) {
			best, distance = known, d
		}
	}
	if best == "" {
		return ": remove it"
	}
	return ": did you mean " + best + "?"
}

var index = regexp.MustCompile(`\[\d+\]`)

// fields are the names of the fields below a path, sorted.
func (s *crdSchema) fields(path string) []string {
	at := s.structural
	for name := range strings.SplitSeq(index.ReplaceAllString(path, ".[]"), ".") {
		switch {
		case name == "":
		case name == "[]" && at.Items != nil:
			at = at.Items
		case name == "[]":
			return nil
		default:
			below, ok := at.Properties[name]
			if !ok {
				return nil
			}
			at = &below
		}
	}
	names := make([]string, 0, len(at.Properties))
	for name := range at.Properties {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// edits is how many letters have to be changed, put in or taken out to make b of a.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			changed := corner
			if a[i] != b[j] {
				changed++
			}
			corner = row[j+1]
			row[j+1] = min(changed, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// problem puts an error of the API server's into words that name the fix.
func (s *crdSchema) problem(err *field.Error) problem {
	p := problem{path: strings.TrimPrefix(err.Field, "<nil>"), message: err.Detail}
	switch err.Type {
	case field.ErrorTypeRequired:
		p.message = "is missing: add it"
	case field.ErrorTypeDuplicate:
		p.message = fmt.Sprintf("repeats %v: remove one of them", err.BadValue)
	case field.ErrorTypeTypeInvalid:
		p.message = err.ErrorBody()
	case field.ErrorTypeNotSupported, field.ErrorTypeTooLong, field.ErrorTypeTooMany:
		p.message = err.ErrorBody()
	default:
		p.message = repeated(p.path, p.message)
	}
	if err.Type != field.ErrorTypeRequired && p.message == "" {
		p.message = err.ErrorBody()
	}
	return p
}

// repeated takes the field's path off a message that begins with it.
func repeated(path, message string) string {
	if rest, ok := strings.CutPrefix(message, path+" in body "); ok {
		return rest
	}
	return message
}
