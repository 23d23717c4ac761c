package parameters

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
)

// keptBytes is the memory that what is made takes for as long as it is kept, with all that it refers to.
func keptBytes(makeIt func() *Table) float64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	kept := makeIt()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(kept)
	return float64(int64(after.HeapAlloc) - int64(before.HeapAlloc))
}

func BenchmarkNewTable(b *testing.B) {
	matrix := func(first, second int) string {
		return fmt.Sprintf("{matrix: [{name: A, range: {start: 1, end: %d}}, {name: B, range: {start: 1, end: %d}}]}", first, second)
	}
	deep := `{name: P0, values: [a, b]}`
	for i := range 15 {
		deep += fmt.Sprintf(`, {name: P%d, values: [a, b]}`, i+1)
	}
	var items []string
	for i := range 50_000 {
		items = append(items, fmt.Sprintf(`{"A":"%d","B":"x"}`, i))
	}
	listed := `{"items":[` + strings.Join(items, ",") + `]}`
	var many []string
	for i := range 10 {
		many = append(many, fmt.Sprintf("{matrix: [{name: A, range: {start: %d, end: %d}}, {name: B, range: {start: 1, end: 1000}}]}", i*100+1, i*100+100))
	}
	for _, test := range []struct {
		name      string
		revisions []string
		current   string
	}{
		{"unrecorded", nil, matrix(100, 1000)},
		{"fast", []string{matrix(100, 1000)}, matrix(100, 1000)},
		{"fast with every second excluded", []string{`{matrix: [{name: A, range: {start: 1, end: 50000}}, {name: B, values: [a, b]}], exclude: [{B: a}]}`},
			`{matrix: [{name: A, range: {start: 1, end: 50000}}, {name: B, values: [a, b]}], exclude: [{B: a}]}`},
		{"fast of 50,000 items", []string{listed}, listed},
		{"two revisions", []string{matrix(99, 1000), matrix(100, 1000)}, matrix(100, 1000)},
		{"two revisions, values that alternate", []string{matrix(50_000, 1), matrix(50_000, 2)}, matrix(50_000, 2)},
		{"two revisions of 16 parameters", []string{`{matrix: [` + deep + `], exclude: [{P15: a}]}`, `{matrix: [` + deep + `]}`}, `{matrix: [` + deep + `]}`},
		{"two revisions of 50,000 items", []string{`{"items":[` + strings.Join(items[1:], ",") + `]}`, listed}, listed},
		{"ten revisions, 1,000,000 indexes", many, many[0]},
	} {
		b.Run(test.name, func(b *testing.B) {
			revisions, current := parseAll(b, test.revisions), parse(b, test.current)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := NewTable(revisions, current); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(keptBytes(func() *Table {
				table, err := NewTable(parseAll(b, test.revisions), parse(b, test.current))
				if err != nil {
					b.Fatal(err)
				}
				return table
			}), "kept-B")
		})
	}
}

func BenchmarkExclude(b *testing.B) {
	square := parse(b, `matrix: [{name: A, range: {start: 1, end: 100}}, {name: B, range: {start: 1, end: 1000}}]`)
	rows, one, binary := *square, *square, v1alpha1.Parameters{}
	for i := range 1000 {
		rows.Exclude = append(rows.Exclude, v1alpha1.Combination{"B": fmt.Sprint(i + 2)})
		one.Exclude = append(one.Exclude, v1alpha1.Combination{"A": fmt.Sprint(i%100 + 1), "B": fmt.Sprint(i + 1)})
	}
	// The worst: the entries that leave out the most, each in another way.
	for i := range 16 {
		binary.Matrix = append(binary.Matrix, v1alpha1.Parameter{Name: fmt.Sprintf("P%d", i), Values: []string{"a", "b"}})
	}
	for i := range 16 {
		binary.Exclude = append(binary.Exclude, v1alpha1.Combination{binary.Matrix[i].Name: "a"})
		for j := range i {
			for k := range j {
				if len(binary.Exclude) < 1000 {
					binary.Exclude = append(binary.Exclude, v1alpha1.Combination{
						binary.Matrix[i].Name: "a", binary.Matrix[j].Name: "b", binary.Matrix[k].Name: "a"})
				}
			}
			for _, value := range []string{"a", "b"} {
				binary.Exclude = append(binary.Exclude, v1alpha1.Combination{binary.Matrix[i].Name: "a", binary.Matrix[j].Name: value})
			}
		}
	}
	for name, p := range map[string]*v1alpha1.Parameters{"rows": &rows, "single": &one, "binary": &binary} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Expand(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkFit(b *testing.B) {
	matrix := newTable(b, `matrix: [{name: A, range: {start: 1, end: 100}}, {name: B, range: {start: 1, end: 1000}}]`)
	holes := newTable(b, `{matrix: [{name: A, range: {start: 1, end: 100}}, {name: B, range: {start: 1, end: 1000}}], exclude: [{A: "7"}, {B: "7"}]}`)
	wide := newTable(b, `matrix: [{name: A, range: {start: 1000000001, end: 1000000100}}, {name: B, range: {start: 1000000001, end: 1000001000}}]`)
	for name, test := range map[string]struct {
		table *Table
		step  int
	}{
		"all fit": {matrix, 1}, "all fit with holes": {holes, 1}, "some fit": {wide, 97},
	} {
		b.Run(name, func(b *testing.B) {
			var candidates []int
			for i := range 1000 {
				candidates = append(candidates, i*test.step)
			}
			b.ReportAllocs()
			var tasks indexset.Set
			for b.Loop() {
				var ok bool
				if tasks, _, ok = Fit(test.table, candidates, 1000); !ok {
					b.Fatal("nothing fits")
				}
			}
			b.ReportMetric(float64(tasks.Len()), "tasks")
		})
	}
}

func BenchmarkRow(b *testing.B) {
	table := newTable(b, `{matrix: [{name: A, range: {start: 1, end: 100}}, {name: B, range: {start: 1, end: 1000}}], exclude: [{B: "7"}]}`)
	indexes := slices.Collect(table.Present().All())
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		table.Row(indexes[i%len(indexes)])
	}
}
