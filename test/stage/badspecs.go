package stage

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

// BadSpec is a spec that has one field at a limit, or beyond it, or left out.
type BadSpec struct {
	// Field is where it is: spec.retryPolicy.rules[1].exitCodes.
	Field string
	// Case is what the field is: "above maximum".
	Case string
	// Spec makes it: some are big.
	Spec func() map[string]any
}

// NamedIn is true where a refusal names the field, or one above it for what several fields say together.
func (b BadSpec) NamedIn(refusal string) bool {
	path := strings.Split(b.Field, ".")
	for ; len(path) > 1; path = path[:len(path)-1] {
		if strings.Contains(refusal, strings.Join(path, ".")) {
			return true
		}
	}
	return strings.Contains(refusal, b.Name())
}

func (b BadSpec) String() string { return b.Field + ", " + b.Case }

// Name is the field without what it is in. An element of a list has the name of the list.
func (b BadSpec) Name() string {
	name := b.Field[strings.LastIndex(b.Field, ".")+1:]
	name, _, _ = strings.Cut(name, "[")
	return name
}

// SpecSchema is what the CustomResourceDefinition says of the spec.
func SpecSchema() *apiextensionsv1.JSONSchemaProps {
	GinkgoHelper()
	text, err := os.ReadFile(filepath.Join(Root, "config", "crd", "bases", "batchrun.io_batchruns.yaml"))
	Expect(err).NotTo(HaveOccurred())
	crd := &apiextensionsv1.CustomResourceDefinition{}
	Expect(yaml.Unmarshal(text, crd)).To(Succeed())
	spec := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	return &spec
}

// FieldsOf are the fields of a schema, template left out: retryPolicy.rules[].action.
func FieldsOf(schema *apiextensionsv1.JSONSchemaProps, prefix string) []string {
	var fields []string
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		if name == "template" {
			continue
		}
		property := schema.Properties[name]
		fields = append(fields, prefix+name)
		for property.Items != nil {
			property = *property.Items.Schema
			name += "[]"
		}
		fields = append(fields, FieldsOf(&property, prefix+name+".")...)
	}
	return fields
}

// BadSpecs are all that can be made of a spec, of the fields that it has; seen tells these, as FieldsOf does.
func BadSpecs(schema *apiextensionsv1.JSONSchemaProps, spec map[string]any) (bad []BadSpec, seen map[string]bool) {
	w := &specWalk{spec: spec, seen: map[string]bool{}}
	w.fields(schema, spec, nil)
	return w.bad, w.seen
}

// specWalk goes through the fields of a spec.
type specWalk struct {
	spec map[string]any
	bad  []BadSpec
	seen map[string]bool
}

// fields takes the fields of an object, in order.
func (w *specWalk) fields(schema *apiextensionsv1.JSONSchemaProps, object map[string]any, path []any) {
	for _, name := range slices.Sorted(maps.Keys(object)) {
		property, ok := schema.Properties[name]
		if !ok && schema.AdditionalProperties != nil {
			property = *schema.AdditionalProperties.Schema
		}
		w.field(&property, object[name], append(slices.Clone(path), name))
	}
}

func (w *specWalk) field(schema *apiextensionsv1.JSONSchemaProps, value any, path []any) {
	w.seen[pathText(path, "[]")] = true
	w.add(path, "deleted", func() any { return nil })
	for _, c := range casesOf(schema, value) {
		w.add(path, c.name, c.value)
	}
	switch value := value.(type) {
	case map[string]any:
		w.fields(schema, value, path)
	case []any:
		for i := range value {
			w.field(schema.Items.Schema, value[i], append(slices.Clone(path), i))
		}
	}
}

// add adds a spec with another value at the path; nil leaves the field out.
func (w *specWalk) add(path []any, name string, value func() any) {
	w.bad = append(w.bad, BadSpec{Field: "spec." + pathText(path, ""), Case: name, Spec: func() map[string]any {
		return replaced(runtime.DeepCopyJSON(w.spec), path, value()).(map[string]any)
	}})
}

// replaced is a tree with another value at the path; nil takes away what is there.
func replaced(tree any, path []any, value any) any {
	if len(path) == 0 {
		return value
	}
	switch step := path[0].(type) {
	case string:
		object := tree.(map[string]any)
		if object[step] = replaced(object[step], path[1:], value); object[step] == nil {
			delete(object, step)
		}
	case int:
		list := tree.([]any)
		if list[step] = replaced(list[step], path[1:], value); list[step] == nil {
			return slices.Delete(list, step, step+1)
		}
	}
	return tree
}

// pathText writes a path; every place in a list is written as place, unless that is empty.
func pathText(path []any, place string) string {
	var text strings.Builder
	for i, step := range path {
		switch step := step.(type) {
		case int:
			if place == "" {
				fmt.Fprintf(&text, "[%d]", step)
			} else {
				text.WriteString(place)
			}
		default:
			if i > 0 {
				text.WriteString(".")
			}
			fmt.Fprint(&text, step)
		}
	}
	return text.String()
}

// badCase is a value that a field can be given, and what it is.
type badCase struct {
	name  string
	value func() any
}

func just(name string, value any) badCase { return badCase{name, func() any { return value }} }

// hugeText is a text of characters that any text may have.
func hugeText(character string) badCase {
	return badCase{"huge", func() any { return strings.Repeat(character, longText) }}
}

// How many bytes the biggest lists and texts have. A kubelet repeats an image's name in the status, and all has to fit
// into what etcd takes.
const (
	huge     = 1 << 20
	longText = 1 << 18
)

// casesOf are the values at the limits of a schema and beyond.
func casesOf(schema *apiextensionsv1.JSONSchemaProps, value any) []badCase {
	if schema.XIntOrString {
		return []badCase{just("zero", int64(0)), just("below minimum", int64(-1)), just("above maximum", int64(math.MaxInt64)),
			just("empty", ""), just("wrong", "many"), hugeText("9")}
	}
	switch schema.Type {
	case "integer":
		return integerCases(schema)
	case "string":
		return stringCases(schema)
	case "boolean":
		return []badCase{just("false", false), just("true", true), just("empty", ""), hugeText("x")}
	case "array":
		return listCases(schema, value.([]any))
	case "object":
		return objectCases(schema, value.(map[string]any))
	}
	return nil
}

func integerCases(schema *apiextensionsv1.JSONSchemaProps) []badCase {
	least, most := float64(math.MinInt32), float64(math.MaxInt32)
	if schema.Format == "int64" {
		least, most = -(1 << 53), 1<<53
	}
	least, most = ptr.Deref(schema.Minimum, least), ptr.Deref(schema.Maximum, most)
	return []badCase{just("minimum", int64(least)), just("maximum", int64(most)), just("below minimum", int64(least)-1),
		just("above maximum", int64(most)+1), just("empty", ""), just("huge", 1e30)}
}

func stringCases(schema *apiextensionsv1.JSONSchemaProps) []badCase {
	cases := []badCase{just("empty", ""), hugeText("x"), just("wrong", "no such: \u202e\x00\t漢")}
	if longest := schema.MaxLength; longest != nil {
		cases = append(cases, just("maximum", strings.Repeat("1", int(*longest))),
			just("above maximum", strings.Repeat("1", int(*longest)+1)))
	}
	for _, allowed := range schema.Enum {
		var text string
		if json.Unmarshal(allowed.Raw, &text) == nil {
			cases = append(cases, just("one of the enum: "+text, text))
		}
	}
	return cases
}

func listCases(schema *apiextensionsv1.JSONSchemaProps, list []any) []badCase {
	cases := []badCase{just("empty", []any{})}
	if len(list) == 0 {
		return cases
	}
	text, err := json.Marshal(number(list[0], huge))
	Expect(err).NotTo(HaveOccurred())
	many := func(name string, n int) {
		cases = append(cases, badCase{name, func() any { return elements(list[0], n) }})
	}
	many("huge", huge/len(text))
	if least := schema.MinItems; least != nil {
		many("minimum", int(*least))
	}
	if most := schema.MaxItems; most != nil {
		many("maximum", int(*most))
		many("above maximum", int(*most)+1)
	}
	return cases
}

// elements are so many different ones of the kind of the first.
func elements(first any, n int) []any {
	list := make([]any, n)
	for i := range list {
		list[i] = number(first, i)
	}
	return list
}

// number makes an element that differs from the others, where it can.
func number(first any, i int) any {
	switch first := first.(type) {
	case string:
		return fmt.Sprintf("v%d", i)
	case int64:
		return first + int64(i)
	case map[string]any:
		changed := runtime.DeepCopyJSON(first)
		for _, key := range append([]string{"name"}, slices.Sorted(maps.Keys(changed))...) {
			if text, ok := changed[key].(string); ok {
				changed[key] = fmt.Sprintf("%s%d", strings.ToLower(text), i)
				break
			}
		}
		return changed
	}
	return first
}

func objectCases(schema *apiextensionsv1.JSONSchemaProps, object map[string]any) []badCase {
	cases := []badCase{just("empty", map[string]any{})}
	if schema.AdditionalProperties == nil || len(object) == 0 {
		return cases
	}
	value := object[slices.Sorted(maps.Keys(object))[0]]
	many := func(name string, n int) {
		cases = append(cases, badCase{name, func() any {
			properties := runtime.DeepCopyJSON(object)
			for i := range n - len(object) {
				properties[fmt.Sprintf("k%d", i)] = value
			}
			return properties
		}})
	}
	many("huge", huge/len(`"k100000":"value",`))
	if most := schema.MaxProperties; most != nil {
		many("maximum", int(*most))
		many("above maximum", int(*most)+1)
	}
	return cases
}
