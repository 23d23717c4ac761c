package parameters

import (
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"

	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// parse reads spec.parameters.
func parse(tb testing.TB, text string) *v1alpha1.Parameters {
	tb.Helper()
	p := &v1alpha1.Parameters{}
	if err := yaml.UnmarshalStrict([]byte(text), p); err != nil {
		tb.Fatal(err)
	}
	return p
}

func parseAll(tb testing.TB, texts []string) []*v1alpha1.Parameters {
	tb.Helper()
	var all []*v1alpha1.Parameters
	for _, text := range texts {
		all = append(all, parse(tb, text))
	}
	return all
}

// text is a row as "A=1 B=2", in its order.
func (r Row) text() string {
	pairs := make([]string, len(r.Names))
	for i, name := range r.Names {
		pairs[i] = name + "=" + r.Values[i]
	}
	return strings.Join(pairs, " ")
}

// identity is the same text for the same name/value pairs, whatever their order.
func (r Row) identity() string {
	var pairs []string
	for name, value := range r.Map() {
		pairs = append(pairs, name+"="+value)
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "\n")
}

func (e *Expansion) texts() []string {
	var texts []string
	for number := range e.Len() {
		texts = append(texts, e.Row(number).text())
	}
	return texts
}

// reference is what well-formed parameters expand to, by the plainest of ways.
type reference struct {
	rows []string // as Row.text
	// unmatched are the entries of exclude that match nothing; repeated are those of include or items that are dropped.
	unmatched, repeated []int
}

func expandPlainly(p *v1alpha1.Parameters) reference {
	var ref reference
	var names []string
	listed := p.Items
	if len(p.Items) > 0 {
		names = slices.Sorted(maps.Keys(p.Items[0]))
	} else {
		for _, parameter := range p.Matrix {
			names = append(names, parameter.Name)
		}
		listed = p.Include
	}
	row := func(c map[string]string) Row {
		r := Row{Names: names}
		for _, name := range names {
			r.Values = append(r.Values, c[name])
		}
		return r
	}
	there := map[string]bool{}
	matched := map[int]bool{}
	for _, c := range combinationsOf(p.Matrix) {
		excluded := false
		for i, entry := range p.Exclude {
			if matches(entry, c) {
				excluded, matched[i] = true, true
			}
		}
		if !excluded {
			ref.rows = append(ref.rows, row(c).text())
			there[row(c).identity()] = true
		}
	}
	for i := range p.Exclude {
		if !matched[i] {
			ref.unmatched = append(ref.unmatched, i)
		}
	}
	for i, c := range listed {
		if there[row(c).identity()] {
			ref.repeated = append(ref.repeated, i)
			continue
		}
		ref.rows = append(ref.rows, row(c).text())
		there[row(c).identity()] = true
	}
	return ref
}

func matches(entry v1alpha1.Combination, c map[string]string) bool {
	for name, value := range entry {
		if got, ok := c[name]; !ok || got != value {
			return false
		}
	}
	return true
}

func combinationsOf(matrix []v1alpha1.Parameter) []map[string]string {
	if len(matrix) == 0 {
		return nil
	}
	all := []map[string]string{{}}
	for _, parameter := range matrix {
		values := parameter.Values
		if parameter.Range != nil {
			values = numbersOf(parameter.Range)
		}
		var longer []map[string]string
		for _, c := range all {
			for _, value := range values {
				next := maps.Clone(c)
				next[parameter.Name] = value
				longer = append(longer, next)
			}
		}
		all = longer
	}
	return all
}

func numbersOf(r *v1alpha1.Range) []string {
	step, end := big.NewInt(ptr.Deref(r.Step, 1)), big.NewInt(r.End)
	var numbers []string
	for n := big.NewInt(r.Start); n.Cmp(end)*step.Sign() <= 0; n.Add(n, step) {
		numbers = append(numbers, n.String())
	}
	return numbers
}

// Few values, so that things are named more than once, and some that are alike.
var (
	someNames  = rapid.SampledFrom([]string{"A", "B", "C"})
	someValues = rapid.SampledFrom([]string{"", "x", "0", "1", "2", "3", "03", "+1"})
)

// drawParameters draws well-formed parameters, which may have no task left.
func drawParameters(t *rapid.T) *v1alpha1.Parameters {
	names := rapid.SliceOfNDistinct(someNames, 1, 3, rapid.ID).Draw(t, "names")
	full := rapid.Custom(func(t *rapid.T) v1alpha1.Combination {
		c := v1alpha1.Combination{}
		for _, name := range names {
			c[name] = someValues.Draw(t, name)
		}
		return c
	})
	if rapid.IntRange(0, 3).Draw(t, "form") == 0 {
		return &v1alpha1.Parameters{Items: rapid.SliceOfN(full, 1, 20).Draw(t, "items")}
	}
	p := &v1alpha1.Parameters{}
	for _, name := range names {
		parameter := v1alpha1.Parameter{Name: name}
		if rapid.Bool().Draw(t, "range") {
			parameter.Range = drawRange(t)
		} else {
			parameter.Values = rapid.SliceOfNDistinct(someValues, 1, 5, rapid.ID).Draw(t, "values")
		}
		p.Matrix = append(p.Matrix, parameter)
	}
	partial := rapid.MapOfN(rapid.OneOf(someNames, rapid.Just("D")), someValues, 1, 3)
	p.Exclude = rapid.SliceOfN(rapid.Map(partial, func(c map[string]string) v1alpha1.Combination { return c }), 0, 4).Draw(t, "exclude")
	p.Include = rapid.SliceOfN(full, 0, 4).Draw(t, "include")
	return p
}

func drawRange(t *rapid.T) *v1alpha1.Range {
	r := &v1alpha1.Range{Start: rapid.Int64Range(-3, 3).Draw(t, "start"), End: rapid.Int64Range(-3, 3).Draw(t, "end")}
	step := rapid.Int64Range(1, 4).Draw(t, "step")
	switch {
	case r.End < r.Start:
		r.Step = ptr.To(-step)
	case step > 1:
		r.Step = ptr.To(step)
	}
	return r
}
