package parameters

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
)

func TestTheIndexesOfAnEditedSweep(t *testing.T) {
	const base = `matrix: [{name: A, values: [p, q]}, {name: B, range: {start: 1, end: 3}}]` // 0: p1 p2 p3, 3: q1 q2 q3
	for name, test := range map[string]struct {
		revisions []string
		current   string
		len, new  int
		present   string
	}{
		"nothing recorded: all are new": {nil, base, 0, 6, ""},
		"recorded: in order":            {[]string{base}, base, 6, 0, "0-5"},
		"written in another way":        {[]string{base}, `matrix: [{name: A, values: [p, q]}, {name: B, values: ["1", "2", "3"]}]`, 6, 0, "0-5"},
		"a value behind those of the last parameter, not recorded": {
			[]string{base}, `matrix: [{name: A, values: [p, q]}, {name: B, range: {start: 1, end: 4}}]`, 6, 2, "0-5"},
		"a value behind those of the last parameter": {
			[]string{base, `matrix: [{name: A, values: [p, q]}, {name: B, range: {start: 1, end: 4}}]`},
			`matrix: [{name: A, values: [p, q]}, {name: B, range: {start: 1, end: 4}}]`, 8, 0, "0-7"},
		"a value in front of those of the first parameter": {
			[]string{base, `matrix: [{name: A, values: [o, p, q]}, {name: B, range: {start: 1, end: 3}}]`},
			`matrix: [{name: A, values: [o, p, q]}, {name: B, range: {start: 1, end: 3}}]`, 9, 0, "0-8"},
		"a value taken out": {
			[]string{base}, `matrix: [{name: A, values: [p, q]}, {name: B, values: ["1", "3"]}]`, 6, 0, "0,2,3,5"},
		"excluded":              {[]string{base}, `{` + base + `, exclude: [{A: q, B: "1"}, {B: "3"}]}`, 6, 0, "0,1,4"},
		"put back":              {[]string{base}, base, 6, 0, "0-5"},
		"values in other order": {[]string{base}, `matrix: [{name: A, values: [q, p]}, {name: B, range: {start: 3, end: 1, step: -1}}]`, 6, 0, "0-5"},
		"parameters in other order": {
			[]string{base}, `matrix: [{name: B, range: {start: 1, end: 3}}, {name: A, values: [p, q]}]`, 6, 0, "0-5"},
		"listed as items": {[]string{base}, `items: [{B: "3", A: q}, {A: p, B: "1"}]`, 6, 0, "0,5"},
		"items that become a matrix": {
			[]string{`items: [{A: q, B: "1"}, {A: p, B: "2"}]`}, base, 2, 4, "0,1"},
		"another parameter": {
			[]string{base}, `matrix: [{name: A, values: [p, q]}, {name: B, range: {start: 1, end: 3}}, {name: C, values: [x]}]`, 6, 6, ""},
		"a parameter less": {[]string{base}, `matrix: [{name: A, values: [p, q]}]`, 6, 2, ""},
		"a parameter of another name": {
			[]string{base}, `matrix: [{name: A, values: [p, q]}, {name: C, range: {start: 1, end: 3}}]`, 6, 6, ""},
		"names and values that are the same texts": {
			[]string{`items: [{A: B, B: A}]`}, `items: [{A: A, B: B}]`, 1, 1, ""},
		"a value of another parameter": {[]string{`items: [{A: x, B: u}]`}, `items: [{A: u, B: x}]`, 1, 1, ""},
		"several edits": {
			[]string{`items: [{A: a}, {A: b}]`, `items: [{A: c}, {A: b}, {A: d}]`, `items: [{A: e}, {A: a}]`},
			`matrix: [{name: A, values: [f, e, d, a]}]`, 5, 1, "0,3,4"},
		"a revision that brings nothing": {
			[]string{base, `matrix: [{name: A, values: [q]}, {name: B, values: ["2"]}]`, `items: [{A: r, B: "1"}]`},
			`items: [{A: r, B: "1"}, {A: q, B: "2"}]`, 7, 0, "4,6"},
	} {
		t.Run(name, func(t *testing.T) {
			table, err := NewTable(parseAll(t, test.revisions), parse(t, test.current))
			if err != nil {
				t.Fatal(err)
			}
			if table.Len() != test.len || table.New() != test.new || table.Present().String() != test.present {
				t.Errorf("Len %d, New %d, Present %s; want %d, %d, %s",
					table.Len(), table.New(), table.Present(), test.len, test.new, test.present)
			}
			if table.Revisions() != len(test.revisions) {
				t.Errorf("%d revisions", table.Revisions())
			}
		})
	}
}

func TestRowsAreThoseOfTheRevisionThatBroughtThem(t *testing.T) {
	revisions := []string{
		`{matrix: [{name: A, values: [p, q]}, {name: B, values: [x, z]}], exclude: [{A: p, B: z}]}`,
		`{matrix: [{name: B, values: [x, z]}, {name: A, values: [p, q, r]}], exclude: [{A: r, B: x}], include: [{A: q, B: x}, {A: s, B: x}]}`,
		`items: [{C: u}]`,
	}
	table, err := NewTable(parseAll(t, revisions), parse(t, revisions[2]))
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for index := range table.Len() {
		rows = append(rows, table.Row(index).text())
	}
	want := []string{"A=p B=x", "A=q B=x", "A=q B=z", "B=z A=p", "B=z A=r", "B=x A=s", "C=u"}
	if !slices.Equal(rows, want) {
		t.Errorf("got %q, want %q", rows, want)
	}
}

func TestTheTableOfAnArray(t *testing.T) {
	table := ArrayTable(5)
	if table.Len() != 5 || table.New() != 0 || table.Present().String() != "0-4" || table.Revisions() != 0 || table.Warnings() != nil {
		t.Errorf("%+v", table)
	}
	if row := table.Row(4); row.Names != nil || row.Map() != nil {
		t.Errorf("row %+v", row)
	}
}

func TestNewTableFails(t *testing.T) {
	numbers := func(first, last int) string {
		return fmt.Sprintf(`matrix: [{name: A, range: {start: %d, end: %d}}]`, first, last)
	}
	const n = v1alpha1.MaxTasks
	var full []string // all the indexes that there are
	for i := range v1alpha1.MaxIndexes / n {
		full = append(full, numbers(i*n+1, i*n+n))
	}
	const noTasks = `{matrix: [{name: A, values: [x]}], exclude: [{A: x}]}`
	for name, test := range map[string]struct {
		revisions []string
		current   string
		kind      error // nil is none of them
		message   string
	}{
		"current has no tasks":            {[]string{numbers(1, 3)}, noTasks, ErrNoTasks, "exclude leaves out"},
		"current has too many tasks":      {[]string{numbers(1, 3)}, numbers(0, n), ErrTooManyTasks, "has 100001 combinations"},
		"current is malformed":            {[]string{numbers(1, 3)}, `{}`, ErrMalformed, "one of matrix and items"},
		"a revision has no tasks":         {[]string{numbers(1, 3), noTasks}, numbers(1, 3), nil, "revision 1 of the parameters: no tasks"},
		"a revision has too many tasks":   {[]string{numbers(0, n)}, numbers(1, 3), nil, "revision 0 of the parameters: too many tasks"},
		"a revision is malformed":         {[]string{`{}`}, numbers(1, 3), nil, "revision 0 of the parameters: malformed"},
		"new tasks beyond the last index": {full, numbers(0, 9), ErrTooManyTasks, "the run has had 1000000 over its life and would get 1 more, but can have 1000000 at most"},
		"revisions beyond the last index": {append(full, `items: [{B: x}]`), numbers(1, 9), nil, "revision 10 of the parameters: more than 1000000"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewTable(parseAll(t, test.revisions), parse(t, test.current))
			if err == nil || !strings.Contains(err.Error(), test.message) {
				t.Fatalf("got %v, want %s", err, test.message)
			}
			for _, kind := range []error{ErrMalformed, ErrNoTasks, ErrTooManyTasks} {
				if errors.Is(err, kind) != errors.Is(test.kind, kind) {
					t.Errorf("%v: is %v: %t", err, kind, errors.Is(err, kind))
				}
			}
		})
	}
}

func TestMistakesOfTheCallerPanic(t *testing.T) {
	table, err := NewTable(parseAll(t, []string{`items: [{A: x}]`, `items: [{B: x}]`}), parse(t, `items: [{C: x}]`))
	if err != nil {
		t.Fatal(err)
	}
	for name, mistake := range map[string]func(){
		"an index below 0":                     func() { table.Row(-1) },
		"the index of a task to be recorded":   func() { table.Row(2) },
		"an index past an array":               func() { ArrayTable(2).Row(2) },
		"a row past the end":                   func() { table.parts[0].rows.Row(1) },
		"tasks of different parameters packed": func() { Pack(table, indexset.Of(0, 1)) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if message, ok := recover().(string); !ok || !strings.HasPrefix(message, "parameters: ") {
					t.Errorf("did not panic as meant: %v", message)
				}
			}()
			mistake()
		})
	}
}

// life is a run whose parameters are edited again and again, and recorded whenever they have new tasks.
type life struct {
	revisions []*v1alpha1.Parameters
	rows      []string // by index, as Row.identity
}

func (l *life) edit(t *rapid.T, p *v1alpha1.Parameters) *Table {
	before, err := NewTable(l.revisions, p)
	if errors.Is(err, ErrNoTasks) {
		return nil
	}
	if err != nil {
		t.Fatalf("NewTable: %v", err)
	}
	l.requireKept(t, before)
	added := before.New()
	if added > 0 {
		l.revisions = append(l.revisions, p)
	}
	after, err := NewTable(l.revisions, p)
	if err != nil {
		t.Fatalf("NewTable: %v", err)
	}
	l.requireKept(t, after)
	if after.New() != 0 || after.Len() != before.Len()+added {
		t.Fatalf("%d tasks and %d new ones became %d and %d", before.Len(), added, after.Len(), after.New())
	}
	now, err := Expand(p)
	if err != nil {
		t.Fatalf("Expand: %v", err)
	}
	var have []string
	for number := range now.Len() {
		row := now.Row(number).identity()
		have = append(have, row)
		if !slices.Contains(l.rows, row) { // new ones have the next indexes, in order
			l.rows = append(l.rows, row)
		}
	}
	l.requireKept(t, after)
	if after.Len() != len(l.rows) {
		t.Fatalf("%d tasks are known, the table has %d", len(l.rows), after.Len())
	}
	slices.Sort(have)
	var present []string
	for index := range after.Present().All() {
		present = append(present, after.Row(index).identity())
	}
	slices.Sort(present)
	if !slices.Equal(present, have) {
		t.Fatalf("present are %q, want %q", present, have)
	}
	if !before.Present().Minus(after.Present()).Empty() || before.Present().Len()+added != after.Present().Len() {
		t.Fatalf("present was %s, and is %s with %d new ones", before.Present(), after.Present(), added)
	}
	return after
}

// requireKept fails unless each index has the row that it has always had.
func (l *life) requireKept(t *rapid.T, table *Table) {
	for index, row := range l.rows {
		if got := table.Row(index).identity(); got != row {
			t.Fatalf("index %d was of %q and is of %q", index, row, got)
		}
	}
	if table.Revisions() != len(l.revisions) {
		t.Fatalf("%d revisions of %d", table.Revisions(), len(l.revisions))
	}
}

func TestATaskKeepsItsIndexForLife(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l life
		for range rapid.IntRange(1, 8).Draw(t, "edits") {
			l.edit(t, drawParameters(t))
		}
	})
}
