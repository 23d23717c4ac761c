package parameters

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
)

// unpack does what the policy does for the pod at a position.
func unpack(text string, position int) (index int, row Row, err error) {
	lines := strings.Split(text, "\n")
	if first, ok := strings.CutPrefix(lines[0], "+"); ok {
		index, err = strconv.Atoi(first)
		index += position
	} else {
		index, err = strconv.Atoi(strings.Split(lines[0], ",")[position])
	}
	for _, line := range lines[1:] {
		p := strings.Split(line, "\t")
		stride, strideErr := strconv.Atoi(p[1])
		offset, offsetErr := strconv.Atoi(p[2])
		if err != nil || strideErr != nil || offsetErr != nil {
			return 0, Row{}, fmt.Errorf("%w, %w, %w", err, strideErr, offsetErr)
		}
		row.Names = append(row.Names, p[0])
		row.Values = append(row.Values, p[3+(position+offset)/stride%(len(p)-3)])
	}
	return index, row, err
}

// requirePacked fails unless the text gives each of the tasks its index and its row.
func requirePacked(t interface{ Fatalf(string, ...any) }, table *Table, tasks indexset.Set, text string) {
	position := 0
	for task := range tasks.All() {
		index, row, err := unpack(text, position)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		want := table.Row(task)
		if index != task || !slices.Equal(row.Names, want.Names) || !slices.Equal(row.Values, want.Values) {
			t.Fatalf("position %d of %q is task %d with %s, want %d with %s", position, text, index, row.text(), task, want.text())
		}
		position++
	}
}

func newTable(tb testing.TB, text string) *Table {
	tb.Helper()
	p := parse(tb, text)
	table, err := NewTable([]*v1alpha1.Parameters{p}, p)
	if err != nil {
		tb.Fatal(err)
	}
	return table
}

func TestThePackedForm(t *testing.T) {
	cube := newTable(t, `matrix: [{name: A, values: [p, q]}, {name: B, values: [x, "", z]}, {name: C, range: {start: 1, end: 4}}]`)
	holes := newTable(t, `{matrix: [{name: A, values: [p, q]}, {name: B, range: {start: 1, end: 3}}], exclude: [{A: p, B: "3"}]}`)
	listed := newTable(t, `items: [{A: p}, {A: q}, {A: r}, {A: s}]`)
	for name, test := range map[string]struct {
		table *Table
		tasks indexset.Set
		want  string
	}{
		"the whole matrix":          {cube, indexset.Interval(0, 23), "+0|A 12 0 p q|B 4 0 x  z|C 1 0 1 2 3 4"},
		"a slice from the middle":   {cube, indexset.Interval(9, 20), "+9|A 9 6 p q|B 4 1 z x |C 1 0 2 3 4 1"},
		"a slice of one value":      {cube, indexset.Interval(5, 6), "+5|A 1 0 p|B 1 0 |C 1 0 2 3"},
		"every second task":         {cube, indexset.Of(0, 2, 4, 6, 8, 10, 12), "0,2,4,6,8,10,12|A 6 0 p q|B 2 0 x  z|C 1 0 1 3"},
		"one task":                  {cube, indexset.Of(23), "+23|A 1 0 q|B 1 0 z|C 1 0 4"},
		"excluded ones in between":  {holes, indexset.Interval(0, 4), "+0|A 3 1 p q|B 1 0 1 2 1 2 3"},
		"a list":                    {listed, indexset.Interval(1, 3), "+1|A 1 0 q r s"},
		"tasks without parameters":  {ArrayTable(9), indexset.Of(1, 4, 5), "1,4,5"},
		"a slice of an array":       {ArrayTable(9), indexset.Interval(3, 8), "+3"},
		"no tasks":                  {cube, indexset.Set{}, ""},
		"a first step longer still": {newTable(t, `items: [{A: a, K: "1"}, {A: a, K: "2"}, {A: a, K: "3"}, {A: b, K: "1"}, {A: b, K: "2"}, {A: c, K: "1"}]`), indexset.Interval(0, 5), "+0|A 2 1 a a b c|K 1 0 1 2 3 1 2"},
	} {
		t.Run(name, func(t *testing.T) {
			got := Pack(test.table, test.tasks)
			if shown := strings.NewReplacer("\t", " ", "\n", "|").Replace(got); shown != test.want {
				t.Errorf("got  %s\nwant %s", shown, test.want)
			}
			requirePacked(t, test.table, test.tasks, got)
		})
	}
}

func TestASliceOfAMatrixIsShort(t *testing.T) {
	table := newTable(t, `matrix: [{name: SEED, range: {start: 1, end: 100}}, {name: FOLD, range: {start: 1, end: 100}}]`)
	for first := 0; first < table.Len(); first += 137 {
		for _, count := range []int{1, 2, 99, 100, 101, 250, 1000, 3333, 10_000} {
			tasks := indexset.Interval(first, min(first+count, table.Len())-1)
			text := Pack(table, tasks)
			if len(text) >= 1536 {
				t.Fatalf("%s: %d bytes", tasks, len(text))
			}
			if count <= 250 || first < 100 {
				requirePacked(t, table, tasks, text)
			}
		}
	}
}

func TestPackedTasksUnpack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l life
		var table *Table
		for range rapid.IntRange(1, 3).Draw(t, "edits") {
			if next := l.edit(t, drawParameters(t)); next != nil {
				table = next
			}
		}
		if table == nil {
			t.Skip("no tasks")
		}
		candidates := rapid.SliceOfNDistinct(rapid.IntRange(0, table.Len()-1), 0, table.Len(), rapid.ID).Draw(t, "candidates")
		if rapid.Bool().Draw(t, "contiguous") {
			first := rapid.IntRange(0, table.Len()-1).Draw(t, "first")
			candidates = slices.Collect(indexset.Interval(first, rapid.IntRange(first, table.Len()-1).Draw(t, "last")).All())
		}
		slices.Sort(candidates)
		most := rapid.IntRange(-1, len(candidates)+1).Draw(t, "most")
		tasks, text, ok := Fit(table, candidates, most)
		if ok != (len(candidates) > 0 && most > 0) || ok != !tasks.Empty() || ok != (text != "") {
			t.Fatalf("%d candidates, at most %d: %s, %q, %t", len(candidates), most, tasks, text, ok)
		}
		if !ok {
			return
		}
		requirePacked(t, table, tasks, text)
		if Pack(table, tasks) != text {
			t.Fatalf("Fit says %q, Pack says %q", text, Pack(table, tasks))
		}
		count := tasks.Len()
		if !slices.Equal(slices.Collect(tasks.All()), candidates[:count]) {
			t.Fatalf("%s is not the beginning of %v", tasks, candidates)
		}
		if count < min(most, len(candidates)) && slices.Equal(table.Row(candidates[count]).Names, table.Row(candidates[0]).Names) {
			t.Fatalf("%s stops before %d", tasks, candidates[count])
		}
	})
}

func TestAColumnIsShortened(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var column []string
		for _, value := range rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 8).Draw(t, "values") {
			column = append(column, slices.Repeat([]string{value}, rapid.IntRange(1, 4).Draw(t, "run"))...)
		}
		column = slices.Repeat(column, rapid.IntRange(1, 3).Draw(t, "times"))
		column = column[rapid.IntRange(0, len(column)-1).Draw(t, "from"):]
		stride, offset, values := shorten(column)
		for i, want := range column {
			if got := values[(i+offset)/stride%len(values)]; got != want {
				t.Fatalf("%v is %q with stride %d and offset %d: place %d is %q", column, values, stride, offset, i, got)
			}
		}
		if len(values) > len(column) || offset < 0 || offset >= stride {
			t.Fatalf("%v is %q with stride %d and offset %d", column, values, stride, offset)
		}
	})
}

func TestFitTakesAsManyAsFit(t *testing.T) {
	value := strings.Repeat("x", 1000)
	var long []string
	for i := range 100 {
		long = append(long, fmt.Sprintf(`{A: "%d%s", B: "%d"}`, i, value, i%7))
	}
	table := newTable(t, `items: [`+strings.Join(long, ",")+`]`)
	all := slices.Collect(indexset.Interval(0, 99).All())
	for from := range 80 {
		tasks, text, ok := Fit(table, all[from:], 1000)
		if !ok || len(text) > MaxPackedBytes {
			t.Fatalf("%t, %d bytes", ok, len(text))
		}
		requirePacked(t, table, tasks, text)
		if next := tasks.Union(indexset.Of(from + tasks.Len())); len(Pack(table, next)) <= MaxPackedBytes {
			t.Errorf("from %d %d fit too, not only %d", from, next.Len(), tasks.Len())
		}
	}
}

func TestFitGivesUpOnATaskThatIsTooLong(t *testing.T) {
	var row, other []string
	for i := range 16 {
		row = append(row, fmt.Sprintf(`P%d: "%s"`, i, strings.Repeat("x", 1024)))
		other = append(other, fmt.Sprintf(`P%d: ""`, i))
	}
	table := newTable(t, `items: [{`+strings.Join(other, ",")+`},{`+strings.Join(row, ",")+`}]`)
	if tasks, text, ok := Fit(table, []int{1}, 10); ok || text != "" || !tasks.Empty() {
		t.Errorf("%s, %t: %d bytes", tasks, ok, len(text))
	}
	if tasks, _, ok := Fit(table, []int{0, 1}, 10); !ok || tasks.String() != "0" {
		t.Errorf("%s, %t", tasks, ok)
	}
}
