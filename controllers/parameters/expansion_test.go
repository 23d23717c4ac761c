package parameters

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

func TestTheOrderOfCombinations(t *testing.T) {
	for name, test := range map[string]struct{ parameters, want string }{
		"of a matrix the last parameter changes fastest": {
			`matrix: [{name: LR, values: ["0.1", "0.01"]}, {name: SEED, range: {start: 1, end: 3}}]`,
			"LR=0.1 SEED=1, LR=0.1 SEED=2, LR=0.1 SEED=3, LR=0.01 SEED=1, LR=0.01 SEED=2, LR=0.01 SEED=3",
		},
		"excluded ones are left out and included ones come last": {
			`{matrix: [{name: LR, values: ["0.1", "0.01"]}, {name: SEED, range: {start: 1, end: 3}}],
			exclude: [{LR: "0.1", SEED: "2"}], include: [{SEED: "1", LR: "0.5"}, {LR: "0.1", SEED: "9"}]}`,
			"LR=0.1 SEED=1, LR=0.1 SEED=3, LR=0.01 SEED=1, LR=0.01 SEED=2, LR=0.01 SEED=3, LR=0.5 SEED=1, LR=0.1 SEED=9",
		},
		"an entry of exclude need not name every parameter": {
			`{matrix: [{name: A, values: [x, u]}, {name: B, values: [x, u]}, {name: C, values: [x, u]}],
			exclude: [{B: x}, {A: u, C: u}]}`,
			"A=x B=u C=x, A=x B=u C=u, A=u B=u C=x",
		},
		"an excluded combination that is included too stands where include has it": {
			`{matrix: [{name: A, values: [x, u]}], exclude: [{A: x}], include: [{A: z}, {A: x}]}`,
			"A=u, A=z, A=x",
		},
		"exclude does not touch what is included": {
			`{matrix: [{name: A, values: [x, u]}], exclude: [{A: z}, {A: x}], include: [{A: z}]}`,
			"A=u, A=z",
		},
		"everything may be excluded where something is included": {
			`{matrix: [{name: A, values: [x, u]}], exclude: [{A: x}, {A: u}], include: [{A: z}]}`,
			"A=z",
		},
		"a combination that is named again is one task": {
			`{matrix: [{name: A, values: [x]}], include: [{A: u}, {A: x}, {A: u}]}`,
			"A=x, A=u",
		},
		"items stand as they are listed, their parameters sorted": {
			`items: [{B: "2", A: "1"}, {A: "0", B: "2"}, {A: "1", B: "2"}, {A: "1", B: "0"}]`,
			"A=1 B=2, A=0 B=2, A=1 B=0",
		},
		"a range may go down": {
			`matrix: [{name: K, range: {start: 1, end: -2, step: -1}}]`,
			"K=1, K=0, K=-1, K=-2",
		},
		"a range stops before an end that its steps do not meet": {
			`matrix: [{name: K, range: {start: 0, end: 12, step: 5}}]`,
			"K=0, K=5, K=10",
		},
		"a range of one number may have any step": {
			`matrix: [{name: K, range: {start: 7, end: 7, step: -5}}]`,
			"K=7",
		},
		"a number written in another way is another value": {
			`{matrix: [{name: K, range: {start: 1, end: 2}}], exclude: [{K: "01"}, {K: "+1"}], include: [{K: "01"}]}`,
			"K=1, K=2, K=01",
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := Expand(parse(t, test.parameters))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(e.texts(), ", "); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestExpandRefuses(t *testing.T) {
	matrix := func(parameters ...v1alpha1.Parameter) *v1alpha1.Parameters {
		return &v1alpha1.Parameters{Matrix: parameters}
	}
	values := func(name string, values ...string) v1alpha1.Parameter {
		return v1alpha1.Parameter{Name: name, Values: values}
	}
	numbers := func(start, end int64, step *int64) v1alpha1.Parameter {
		return v1alpha1.Parameter{Name: "K", Range: &v1alpha1.Range{Start: start, End: end, Step: step}}
	}
	items := func(items ...v1alpha1.Combination) *v1alpha1.Parameters { return &v1alpha1.Parameters{Items: items} }
	var many, huge []v1alpha1.Parameter
	for i := range 17 {
		many = append(many, values(fmt.Sprintf("P%d", i), "x"))
		huge = append(huge, numbers(1, 100_000, nil))
		huge[i].Name = fmt.Sprintf("P%d", i)
	}
	with := func(p *v1alpha1.Parameters, change func(*v1alpha1.Parameters)) *v1alpha1.Parameters {
		change(p)
		return p
	}
	for name, test := range map[string]struct {
		parameters *v1alpha1.Parameters
		kind       error
		message    string
	}{
		"nothing":             {nil, ErrMalformed, "one of matrix and items"},
		"neither form":        {&v1alpha1.Parameters{}, ErrMalformed, "one of matrix and items"},
		"both forms":          {with(items(v1alpha1.Combination{"A": "x"}), func(p *v1alpha1.Parameters) { p.Matrix = many[:1] }), ErrMalformed, "one of matrix and items"},
		"exclude with items":  {with(items(v1alpha1.Combination{"A": "x"}), func(p *v1alpha1.Parameters) { p.Exclude = []v1alpha1.Combination{{"A": "x"}} }), ErrMalformed, "go with a matrix only"},
		"include with items":  {with(items(v1alpha1.Combination{"A": "x"}), func(p *v1alpha1.Parameters) { p.Include = []v1alpha1.Combination{{"A": "x"}} }), ErrMalformed, "go with a matrix only"},
		"a parameter without": {matrix(values("A")), ErrMalformed, "matrix[0] (\"A\"): exactly one of values and range"},
		"a parameter of both": {with(matrix(numbers(1, 2, nil)), func(p *v1alpha1.Parameters) { p.Matrix[0].Values = []string{"x"} }), ErrMalformed, "exactly one of values and range"},
		"a range without end": {matrix(numbers(1, 2, ptr.To[int64](0))), ErrMalformed, "matrix[0] (\"K\"): range: step must not be 0"},
		"a range downwards":   {matrix(numbers(2, 1, nil)), ErrMalformed, "must lead from start to end"},
		"a range upwards":     {matrix(numbers(1, 2, ptr.To[int64](-1))), ErrMalformed, "must lead from start to end"},
		"a value twice":       {matrix(values("A", "x", "u", "x")), ErrMalformed, "matrix[0] (A): values must not repeat"},
		"a tab":               {matrix(values("A", "x", "u\tz")), ErrMalformed, "matrix[0] (A): values[1]: values must not have tabs"},
		"a name twice":        {matrix(values("A", "x"), values("A", "u")), ErrMalformed, `A is there twice`},
		"a name with a space": {matrix(values("A B", "x")), ErrMalformed, `"A B" is no name`},
		"a long name":         {matrix(values(strings.Repeat("A", 64), "x")), ErrMalformed, `A"… is no name`},
		"a reserved name":     {items(v1alpha1.Combination{"BATCHRUN_TASK_INDEX": "x"}), ErrMalformed, "BATCHRUN_TASK_INDEX is the index of the task"},
		"17 parameters":       {matrix(many...), ErrMalformed, "1 to 16 parameters, not 17"},
		"an empty exclude":    {with(matrix(values("A", "x")), func(p *v1alpha1.Parameters) { p.Exclude = []v1alpha1.Combination{{"A": "u"}, {}} }), ErrMalformed, "exclude[1] is empty"},
		"an include that lacks a parameter": {with(matrix(many[:2]...), func(p *v1alpha1.Parameters) { p.Include = []v1alpha1.Combination{{"P1": "u"}} }), ErrMalformed,
			"include[0]: it must have a value for P0"},
		"an include of another parameter": {with(matrix(many[:2]...), func(p *v1alpha1.Parameters) { p.Include = []v1alpha1.Combination{{"P0": "", "P1": "", "P2": ""}} }), ErrMalformed,
			"include[0]: it must have values for P0, P1 only"},
		"an include of two lines":     {with(matrix(many[:1]...), func(p *v1alpha1.Parameters) { p.Include = []v1alpha1.Combination{{"P0": "\n"}} }), ErrMalformed, "include[0]: P0: values must not have tabs"},
		"an item without parameters":  {items(nil), ErrMalformed, "1 to 16 parameters, not 0"},
		"items of different sizes":    {items(v1alpha1.Combination{"A": "x"}, v1alpha1.Combination{"A": "x", "B": "x"}), ErrMalformed, "items[1]: it must have values for A only"},
		"items of different names":    {items(v1alpha1.Combination{"A": "x"}, v1alpha1.Combination{"B": "x"}), ErrMalformed, "items[1]: it must have a value for A"},
		"no combination":              {with(matrix(values("A", "x", "u")), func(p *v1alpha1.Parameters) { p.Exclude = []v1alpha1.Combination{{"A": "u"}, {"A": "x"}} }), ErrNoTasks, "exclude leaves out every combination"},
		"one combination too many":    {matrix(numbers(0, v1alpha1.MaxTasks, nil)), ErrTooManyTasks, "the matrix has 100001 combinations, more than 100000"},
		"one too many with include":   {with(matrix(numbers(1, v1alpha1.MaxTasks, nil)), func(p *v1alpha1.Parameters) { p.Include = []v1alpha1.Combination{{"K": "1"}} }), ErrTooManyTasks, "has 100000 combinations and include adds 1, more"},
		"combinations beyond 64 bits": {matrix(huge[:16]...), ErrTooManyTasks, "10^15 or more combinations"},
		"combinations that overflow": {with(matrix(huge[:2]...), func(p *v1alpha1.Parameters) {
			p.Matrix = slices.Clone(p.Matrix)
			p.Matrix[0].Range, p.Matrix[1].Range = &v1alpha1.Range{Start: 1, End: 1 << 32}, &v1alpha1.Range{Start: 1, End: 1 << 32}
		}), ErrTooManyTasks, "10^15 or more combinations"},
		"less than that, exactly":      {matrix(huge[:2]...), ErrTooManyTasks, "has 10000000000 combinations, more"},
		"the widest range":             {matrix(numbers(math.MinInt64, math.MaxInt64, nil)), ErrTooManyTasks, "10^15 or more combinations"},
		"the widest range downwards":   {matrix(numbers(math.MaxInt64, math.MinInt64, ptr.To[int64](-1))), ErrTooManyTasks, "10^15 or more combinations"},
		"more items than tasks can be": {items(make([]v1alpha1.Combination, v1alpha1.MaxTasks+1)...), ErrTooManyTasks, "there are 100001 items, more than 100000"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Expand(test.parameters)
			if !errors.Is(err, test.kind) || !strings.Contains(err.Error(), test.message) {
				t.Errorf("got %v\nwant %v: %s", err, test.kind, test.message)
			}
		})
	}
}

func TestAsManyTasksAsCanBe(t *testing.T) {
	all := make([]v1alpha1.Combination, v1alpha1.MaxTasks)
	for i := range all {
		all[i] = v1alpha1.Combination{"A": strconv.Itoa(i)}
	}
	for name, p := range map[string]*v1alpha1.Parameters{
		"a matrix": {Matrix: []v1alpha1.Parameter{{Name: "A", Range: &v1alpha1.Range{Start: 1, End: v1alpha1.MaxTasks}}}},
		"items":    {Items: all},
	} {
		e, err := Expand(p)
		if err != nil || e.Len() != v1alpha1.MaxTasks {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRangesAtTheEndsOfTheNumbers(t *testing.T) {
	for want, r := range map[string]v1alpha1.Range{
		"-9223372036854775808, -1, 9223372036854775806":  {Start: math.MinInt64, End: math.MaxInt64, Step: ptr.To[int64](math.MaxInt64)},
		"9223372036854775807, -1":                        {Start: math.MaxInt64, End: math.MinInt64, Step: ptr.To[int64](math.MinInt64)},
		"9223372036854775806, 9223372036854775807":       {Start: math.MaxInt64 - 1, End: math.MaxInt64},
		"-9223372036854775807, -9223372036854775808":     {Start: math.MinInt64 + 1, End: math.MinInt64, Step: ptr.To[int64](-1)},
		"-9000000000000000000, 0, 9000000000000000000":   {Start: -9e18, End: 9e18, Step: ptr.To[int64](9e18)},
		"9000000000000000000, 500000000000000000":        {Start: 9e18, End: -5e18, Step: ptr.To[int64](-85e17)},
		"-1000000000000, -500000000000, 0, 500000000000": {Start: -1e12, End: 9e11, Step: ptr.To[int64](5e11)},
	} {
		p := &v1alpha1.Parameters{Matrix: []v1alpha1.Parameter{{Name: "K", Range: &r}}}
		e, err := Expand(p)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.ReplaceAll(strings.Join(e.texts(), ", "), "K=", ""); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		for number := range e.Len() { // each number is found again
			p.Exclude = append(p.Exclude, v1alpha1.Combination{"K": e.Row(number).Values[0]})
		}
		if _, err := Expand(p); !errors.Is(err, ErrNoTasks) {
			t.Errorf("%s: not all are excluded: %v", want, err)
		}
	}
}

func TestWarnings(t *testing.T) {
	const matrix = `matrix: [{name: A, values: [x, u]}, {name: K, range: {start: 0, end: 9, step: 3}}]`
	long := strings.Repeat("ü", 1000)
	for name, test := range map[string]struct {
		parameters string
		want       []Warning
	}{
		"nothing to warn of": {`{` + matrix + `, exclude: [{A: x, K: "9"}, {K: "9"}, {A: x, K: "9"}], include: [{A: x, K: "9"}]}`, nil},
		"an exclude of an unknown value": {`{` + matrix + `, exclude: [{A: x}, {A: u, K: "4"}]}`, []Warning{
			{"ExcludeMatchesNothing", `spec.parameters.exclude[1] matches no combination of the matrix: its K has no value "4"`}}},
		"several of them, and long ones": {`{` + matrix + `, exclude: [{B: x}, {A: ` + long + `}, {K: "03"}]}`, []Warning{
			{"ExcludeMatchesNothing", `spec.parameters.exclude[0] matches no combination of the matrix: it has no parameter "B"; ` +
				`nor does exclude[1]: its A has no value "` + strings.Repeat("ü", 40) + `"…; nor does exclude[2]: its K has no value "03"`}}},
		"more than can be named": {`{` + matrix + `, exclude: [{A: a}, {A: b}, {A: c}, {A: d}, {A: e}, {A: f}, {A: g}]}`, []Warning{
			{"ExcludeMatchesNothing", `spec.parameters.exclude[0] matches no combination of the matrix: its A has no value "a"; ` +
				`nor does exclude[1]: its A has no value "b"; nor does exclude[2]: its A has no value "c"; ` +
				`nor does exclude[3]: its A has no value "d"; nor does exclude[4]: its A has no value "e"; nor do 2 more`}}},
		"an include of what is there": {`{` + matrix + `, include: [{A: z, K: "0"}, {A: x, K: "0"}, {A: z, K: "0"}]}`, []Warning{
			{"DuplicateTasks", `spec.parameters.include[1] is a combination of the matrix; include[2] repeats include[0]: ` +
				`a combination is one task, however often it is named`}}},
		"items that repeat others": {`{items: [{A: a}, {A: a}, {A: b}, {A: b}, {A: a}, {A: a}, {A: a}, {A: a}]}`, []Warning{
			{"DuplicateTasks", `spec.parameters.items[1] repeats items[0]; items[3] repeats items[2]; items[4] repeats items[0]; ` +
				`items[5] repeats items[0]; items[6] repeats items[0]; and 1 more: a combination is one task, however often it is named`}}},
		"both": {`{` + matrix + `, exclude: [{A: z}], include: [{A: x, K: "0"}]}`, []Warning{
			{"ExcludeMatchesNothing", `spec.parameters.exclude[0] matches no combination of the matrix: its A has no value "z"`},
			{"DuplicateTasks", `spec.parameters.include[0] is a combination of the matrix: a combination is one task, however often it is named`}}},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := Expand(parse(t, test.parameters))
			if err != nil {
				t.Fatal(err)
			}
			if got := e.Warnings(); !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
			if got := e.Warnings(); cap(got) > len(got) {
				t.Error("appending to the warnings would write into those of others")
			}
		})
	}
}

// requirePlain fails unless the expansion of well-formed parameters is what the reference makes of them.
func requirePlain(t interface{ Fatalf(string, ...any) }, p *v1alpha1.Parameters) {
	want := expandPlainly(p)
	e, err := Expand(p)
	if len(want.rows) == 0 {
		if !errors.Is(err, ErrNoTasks) {
			t.Fatalf("nothing is left, but Expand says %v", err)
		}
		return
	}
	if err != nil {
		t.Fatalf("Expand: %v", err)
	}
	if got := e.texts(); !slices.Equal(got, want.rows) {
		t.Fatalf("got %q, want %q", got, want.rows)
	}
	warned := map[string]string{}
	for _, w := range e.Warnings() {
		warned[w.Reason] += w.Message
	}
	listed := "items"
	if len(p.Matrix) > 0 {
		listed = "include"
	}
	for reason, expected := range map[string]struct {
		field   string
		entries []int
	}{
		v1alpha1.WarningExcludeMatchesNothing: {"exclude", want.unmatched},
		v1alpha1.WarningDuplicateTasks:        {listed, want.repeated},
	} {
		if (warned[reason] != "") != (len(expected.entries) > 0) {
			t.Fatalf("%v deserve %s, but the warning is %q", expected.entries, reason, warned[reason])
		}
		for i, entry := range expected.entries {
			if i < maxNamed && !strings.Contains(warned[reason], fmt.Sprintf("%s[%d]", expected.field, entry)) {
				t.Fatalf("%s %q does not name %d", reason, warned[reason], entry)
			}
		}
	}
}

func TestExpandIsThePlainExpansion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { requirePlain(t, drawParameters(t)) })
}

func TestExcludeInManyDimensions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &v1alpha1.Parameters{}
		partial := rapid.Custom(func(t *rapid.T) v1alpha1.Combination {
			c := v1alpha1.Combination{}
			for _, parameter := range p.Matrix {
				if len(c) == 0 || rapid.Bool().Draw(t, "pinned") {
					c[parameter.Name] = rapid.SampledFrom(parameter.Values).Draw(t, "value")
				}
			}
			return c
		})
		for i := range rapid.IntRange(1, 9).Draw(t, "parameters") {
			p.Matrix = append(p.Matrix, v1alpha1.Parameter{
				Name: fmt.Sprintf("P%d", i), Values: []string{"a", "b", "c"}[:rapid.IntRange(1, 3).Draw(t, "values")]})
		}
		p.Exclude = rapid.SliceOfN(partial, 0, 8).Draw(t, "exclude")
		requirePlain(t, p)
	})
}

func FuzzExpand(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"matrix":[]}`, `{"items":[{}]}`, `{"items":[null,{"A":"x"}]}`, `{"items":[{"A":"x"},{"A":"x"}]}`,
		`{"matrix":[{"name":"A","values":["x","u"]},{"name":"K","range":{"start":1,"end":3}}],"exclude":[{"A":"x","K":"2"}],"include":[{"A":"z","K":"1"}]}`,
		`{"matrix":[{"name":"K","range":{"start":9223372036854775807,"end":-9223372036854775808,"step":-9223372036854775808}}]}`,
		`{"matrix":[{"name":"K","range":{"start":0,"end":1000000,"step":0}}]}`,
		`{"matrix":[{"name":"A","values":["x"]}],"exclude":[{"A":"\u0000"},{}],"include":[{"A":"\n"}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p := &v1alpha1.Parameters{}
		if json.Unmarshal(text, p) != nil {
			return
		}
		e, err := Expand(p)
		switch {
		case errors.Is(err, ErrNoTasks):
		case err != nil:
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTooManyTasks) {
				t.Fatalf("untyped error %v", err)
			}
			return
		case e.Len() == 0 || e.Len() > v1alpha1.MaxTasks:
			t.Fatalf("%d tasks", e.Len())
		}
		requirePlain(t, p)
	})
}
