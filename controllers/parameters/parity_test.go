package parameters

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	kjson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
)

// What the API server lets the rules of one object cost, and one call of them (k8s.io/apiserver/pkg/apis/cel).
const (
	ruleBudget  = 10_000_000
	callBudget  = 1_000_000
	crdFile     = "../../config/crd/bases/batchrun.io_batchruns.yaml"
	policyFile  = "../../config/policy/parameters.yaml"
	maxText     = 1024
	maxEntries  = 1000
	maxRangeEnd = 1_000_000_000_000
)

// gate is what the API server asks of spec.parameters: the schema, the uniqueness of list entries, and, once these hold,
// the rules.
type gate struct {
	schema     validation.SchemaValidator
	structural *schema.Structural
	rules      *cel.Validator
}

func newGate(tb testing.TB) *gate {
	tb.Helper()
	crd := &apiextensionsv1.CustomResourceDefinition{}
	readYAML(tb, crdFile, crd)
	v1 := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties["parameters"]
	props := &apiextensions.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(&v1, props, nil); err != nil {
		tb.Fatal(err)
	}
	return gateOf(tb, props, callBudget)
}

func gateOf(tb testing.TB, props *apiextensions.JSONSchemaProps, perCall uint64) *gate {
	tb.Helper()
	g := &gate{}
	var err error
	if g.schema, _, err = validation.NewSchemaValidator(props); err != nil {
		tb.Fatal(err)
	}
	if g.structural, err = schema.NewStructural(props); err != nil {
		tb.Fatal(err)
	}
	g.rules = cel.NewValidator(g.structural, false, perCall)
	return g
}

func readYAML(tb testing.TB, file string, into any) {
	tb.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		tb.Fatal(err)
	}
}

// refuses is what the API server finds wrong with an object.
func (g *gate) refuses(tb testing.TB, object any) error {
	tb.Helper()
	errs := validation.ValidateCustomResource(field.NewPath("parameters"), object, g.schema)
	if of, ok := object.(map[string]any); ok && len(errs) == 0 {
		errs = listtype.ValidateListSetsAndMaps(field.NewPath("parameters"), g.structural, of)
	}
	if len(errs) == 0 {
		errs, _ = g.rules.Validate(tb.Context(), field.NewPath("parameters"), g.structural, object, nil, ruleBudget)
	}
	return errs.ToAggregate()
}

// combinations is what a message says of how many there are.
var combinations = regexp.MustCompile(`the matrix has (.*? combinations(?: and include adds \d+)?),`)

// The operator must never meet parameters that it cannot expand: an object that is stored can only be told of its fault
// in the status, one that is refused at apply.
func FuzzTheAPIServerRefusesWhatTheOperatorCannotExpand(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"matrix":[]}`, `{"items":[{}]}`, `{"items":[{"A":"x"},{"A":"x","B":"y"}]}`, `{"items":[{"A":"x"},{"B":"x"}]}`,
		`{"matrix":[{"name":"A","values":["x"]}],"items":[{"A":"x"}]}`,
		`{"matrix":[{"name":"A","values":["x","u"]},{"name":"K","range":{"start":1,"end":3}}],"exclude":[{"A":"x","K":"2"}],"include":[{"A":"z","K":"1"}]}`,
		`{"matrix":[{"name":"A","values":["x","x"]}]}`, `{"matrix":[{"name":"A","values":["x"]},{"name":"A","values":["x"]}]}`,
		`{"matrix":[{"name":"A","values":["x"]}],"include":[{"A":"x","B":"y"}]}`, `{"matrix":[{"name":"A","values":["x"]}],"include":[{"B":"y"}]}`,
		`{"matrix":[{"name":"A\n","values":["x"]}]}`, `{"matrix":[{"name":"A","values":["\n"]}]}`, `{"items":[{"A":"a\tb"}]}`,
		`{"items":[{"é":"x"}]}`, `{"items":[{"JOB_COMPLETION_INDEX":"x"}]}`,
		`{"matrix":[{"name":"K","range":{"start":0,"end":100000}}]}`, `{"matrix":[{"name":"K","range":{"start":1,"end":100000}}],"include":[{"K":"1"}]}`,
		`{"matrix":[{"name":"K","range":{"start":5,"end":1}}]}`, `{"matrix":[{"name":"K","range":{"start":5,"end":1,"step":-3}}]}`,
		`{"matrix":[{"name":"K","range":{"start":-1000000000000,"end":1000000000000}},{"name":"L","range":{"start":1,"end":500}}]}`,
		`{"matrix":[{"name":"K","range":{"start":1,"end":99999999}},{"name":"L","range":{"start":1,"end":9999999}}]}`,
		`{"matrix":[{"name":"K","range":{"start":9223372036854775807,"end":-9223372036854775808,"step":-9223372036854775808}}]}`,
		`{"matrix":[{"name":"K","range":{"start":0,"end":7,"step":0}}]}`, `{"matrix":[{"name":"A","values":["x"]}],"exclude":[{}]}`,
	} {
		f.Add([]byte(seed))
	}
	gate := newGate(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		p := &v1alpha1.Parameters{}
		var object map[string]any
		if kjson.Unmarshal(text, &object) != nil || kjson.Unmarshal(text, p) != nil || object == nil {
			return
		}
		requireParity(t, gate, p, object)
	})
}

// requireParity fails unless the API server refuses the parameters, as written, where the operator does, and admits them
// where the operator does and they keep the API's limits.
func requireParity(tb testing.TB, g *gate, p *v1alpha1.Parameters, object map[string]any) {
	tb.Helper()
	_, err := NewTable(nil, p)
	if err != nil && !errors.Is(err, ErrNoTasks) { // what exclude leaves cannot be counted by a rule
		refusal := g.refuses(tb, object)
		if refusal == nil {
			tb.Fatalf("%v is admitted, and the operator finds: %v", object, err)
		}
		got, want := combinations.FindString(refusal.Error()), combinations.FindString(err.Error())
		counted := want != "" && strings.Contains(refusal.Error(), "take out values, or list the tasks as items")
		if counted && got != want {
			tb.Fatalf("the API server counts %q, the operator %q: %v", got, want, object)
		}
		return
	}
	if !withinLimits(p) {
		return
	}
	if refusal := g.refuses(tb, asObject(tb, p)); refusal != nil {
		tb.Fatalf("%v is refused, and the operator has nothing against it: %v", object, refusal)
	}
}

// asObject is a value as the API server sees it.
func asObject(tb testing.TB, value any) map[string]any {
	tb.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		tb.Fatal(err)
	}
	var object map[string]any
	if err := kjson.Unmarshal(text, &object); err != nil {
		tb.Fatal(err)
	}
	return object
}

// withinLimits is true where nothing is longer, larger or more than the API takes and the operator would.
func withinLimits(p *v1alpha1.Parameters) bool {
	short := func(texts ...string) bool {
		for _, text := range texts {
			if len(text) > maxText {
				return false
			}
		}
		return true
	}
	for _, list := range [][]v1alpha1.Combination{p.Exclude, p.Include, p.Items} {
		for _, entry := range list {
			for _, value := range entry {
				if !short(value) || strings.ContainsAny(value, "\t\r\n") || len(entry) > maxParameters {
					return false // of an entry of exclude the operator says that it matches nothing
				}
			}
		}
	}
	for _, parameter := range p.Matrix {
		if r := parameter.Range; r != nil {
			if max(r.Start, r.End, ptr.Deref(r.Step, 1)) > maxRangeEnd || min(r.Start, r.End, ptr.Deref(r.Step, 1)) < -maxRangeEnd {
				return false
			}
		}
		if !short(parameter.Values...) {
			return false
		}
	}
	return len(p.Exclude) <= maxEntries && len(p.Include) <= maxEntries
}

// The same for parameters that are well-formed more often than a fuzzer's bytes.
func TestTheAPIServerAndTheOperatorAgree(t *testing.T) {
	gate := newGate(t)
	rapid.Check(t, func(rt *rapid.T) {
		p := drawParameters(rt)
		switch rapid.IntRange(0, 6).Draw(rt, "fault") {
		case 0:
			p.Include = append(p.Include, v1alpha1.Combination{"A": "x", "Z": "y"})
		case 1:
			p.Matrix = append(p.Matrix, v1alpha1.Parameter{Name: "N", Range: &v1alpha1.Range{
				Start: rapid.Int64Range(-maxRangeEnd, maxRangeEnd).Draw(rt, "start"), End: rapid.Int64Range(-maxRangeEnd, maxRangeEnd).Draw(rt, "end"),
				Step: ptr.To(rapid.Int64Range(-maxRangeEnd, maxRangeEnd).Draw(rt, "step"))}})
		case 2:
			p.Matrix = append(p.Matrix, v1alpha1.Parameter{Name: someNames.Draw(rt, "name"), Values: []string{"x", someValues.Draw(rt, "value")}})
		case 3:
			p.Items = append(p.Items, v1alpha1.Combination{"A": "x"})
		}
		requireParity(t, gate, p, asObject(t, p))
	})
}

// policyGate is an API server with one rule: what the policy would give the pod is what is wanted. The rule is made of
// the policy's own expressions, put in where they are referred to.
func policyGate(tb testing.TB) *gate {
	tb.Helper()
	var policy struct {
		Spec struct {
			Variables []struct{ Name, Expression string }
		}
	}
	readYAML(tb, policyFile, &policy)
	rule := "variables.values == self.values && variables.names == self.names"
	for _, v := range slices.Backward(policy.Spec.Variables) { // each refers to those before it
		rule = regexp.MustCompile(`\bvariables\.`+v.Name+`\b`).ReplaceAllLiteralString(rule, "("+v.Expression+")")
	}
	rule = regexp.MustCompile(`\bobject\.`).ReplaceAllLiteralString(rule, "self.object.")
	text := apiextensions.JSONSchemaProps{Type: "string"}
	texts := apiextensions.JSONSchemaProps{Type: "array", Items: &apiextensions.JSONSchemaPropsOrArray{Schema: &text}}
	annotations := apiextensions.JSONSchemaProps{Type: "object", AdditionalProperties: &apiextensions.JSONSchemaPropsOrBool{Allows: true, Schema: &text}}
	under := func(name string, props apiextensions.JSONSchemaProps) apiextensions.JSONSchemaProps {
		return apiextensions.JSONSchemaProps{Type: "object", Properties: map[string]apiextensions.JSONSchemaProps{name: props}}
	}
	props := under("object", under("metadata", under("annotations", annotations)))
	props.Properties["values"], props.Properties["names"] = texts, texts
	props.XValidations = apiextensions.ValidationRules{{Rule: rule, Message: "the policy gives the pod something else"}}
	return gateOf(tb, &props, math.MaxInt64)
}

// requireDelivered fails unless the policy gives the pod at each position of the packed tasks the index and the
// parameters of its task.
func requireDelivered(tb testing.TB, g *gate, table *Table, tasks indexset.Set, text string) {
	tb.Helper()
	position := 0
	for task := range tasks.All() {
		row := table.Row(task)
		names, values := []any{v1alpha1.EnvTaskIndex, v1alpha1.EnvCompletionIndex}, []any{strconv.Itoa(task), strconv.Itoa(task)}
		for i := range row.Names {
			names, values = append(names, row.Names[i]), append(values, row.Values[i])
		}
		refusal := g.refuses(tb, map[string]any{"names": names, "values": values, "object": map[string]any{"metadata": map[string]any{
			"annotations": map[string]any{"batchrun.io/parameters": text, "batch.kubernetes.io/job-completion-index": strconv.Itoa(position)},
		}}})
		if refusal != nil {
			tb.Fatalf("position %d of %q is not task %d with %s: %v", position, text, task, row.text(), refusal)
		}
		position++
	}
}

// The policy and Pack are written in two languages: what one writes, the other must read.
func TestThePolicyGivesEachPodItsRow(t *testing.T) {
	gate := policyGate(t)
	rapid.Check(t, func(rt *rapid.T) {
		p := drawParameters(rt)
		table, err := NewTable([]*v1alpha1.Parameters{p}, p)
		if err != nil {
			rt.Skip(err)
		}
		all := rapid.Permutation(listOf(table.Present())).Draw(rt, "order")
		tasks := indexset.Of(all[:rapid.IntRange(1, min(len(all), 20)).Draw(rt, "tasks")]...)
		requireDelivered(t, gate, table, tasks, Pack(table, tasks))
	})
}

func TestThePolicyIsNotWhatAnyRowPasses(t *testing.T) {
	gate := policyGate(t)
	table := newTable(t, `matrix: [{name: A, values: [x, u]}]`)
	object := map[string]any{"names": []any{v1alpha1.EnvTaskIndex, v1alpha1.EnvCompletionIndex, "A"}, "values": []any{"1", "1", "x"},
		"object": map[string]any{"metadata": map[string]any{"annotations": map[string]any{
			"batchrun.io/parameters": Pack(table, table.Present()), "batch.kubernetes.io/job-completion-index": "1"}}}}
	if refusal := gate.refuses(t, object); refusal == nil || !strings.Contains(refusal.Error(), "something else") {
		t.Errorf("task 1 with A=x: got %v", refusal)
	}
}

func listOf(set indexset.Set) (list []int) {
	for task := range set.All() {
		list = append(list, task)
	}
	return list
}
