// Package parameters turns the parameters of a sweep into tasks: which combinations of values there are, which index each
// has over the life of its run, and the text from which the API server gives a pod its values.
package parameters

import (
	"errors"
	"fmt"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// What is wrong with parameters. Test for them with errors.Is; the errors that are returned tell more.
var (
	// ErrTooManyTasks: there are more combinations than v1alpha1.MaxTasks, counted before exclude and after include; or
	// the run would use up more indexes over its life than v1alpha1.MaxIndexes.
	ErrTooManyTasks = errors.New("too many tasks")
	// ErrNoTasks: no combination is left.
	ErrNoTasks = errors.New("no tasks")
	// ErrMalformed: the parameters are not what the API server lets in.
	ErrMalformed = errors.New("malformed")
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// Row is the values of one task's parameters. An array's tasks have empty ones. Rows share their names: do not change
// them.
type Row struct {
	// Names of the parameters: those of a matrix in its order, those of items sorted.
	Names []string
	// Values of these parameters, one for each name.
	Values []string
}

// Map is the values by the parameters' names; nil where there are none.
func (r Row) Map() map[string]string {
	if len(r.Names) == 0 {
		return nil
	}
	values := make(map[string]string, len(r.Names))
	for i, name := range r.Names {
		values[name] = r.Values[i]
	}
	return values
}

// Expansion is the combinations of a v1alpha1.Parameters in their order, no two the same: those of the matrix that are
// not excluded, the last parameter changing fastest, and then the included ones; or the items. It is immutable, and
// small: the combinations of a matrix are made when they are asked for.
type Expansion struct {
	names []string
	// axes are those of the matrix, one for each name; none where there is no matrix.
	axes []axis
	// kept are the positions of the matrix that are not excluded.
	kept selection
	// listed are the rows behind those of the matrix, as many values each as there are names.
	listed   []string
	warnings []Warning
}

// Expand makes the combinations of the parameters, which must not be changed afterwards. It fails with ErrTooManyTasks,
// ErrNoTasks or ErrMalformed; the messages name fields below spec.parameters.
func Expand(p *v1alpha1.Parameters) (*Expansion, error) {
	switch {
	case p == nil || (len(p.Matrix) > 0) == (len(p.Items) > 0):
		return nil, malformed("exactly one of matrix and items is needed")
	case len(p.Matrix) > 0:
		return expandMatrix(p)
	case len(p.Exclude) > 0 || len(p.Include) > 0:
		return nil, malformed("exclude and include go with a matrix only")
	}
	return expandItems(p.Items)
}

func expandMatrix(p *v1alpha1.Parameters) (*Expansion, error) {
	m, err := newMatrix(p.Matrix, len(p.Include))
	if err != nil {
		return nil, err
	}
	e := &Expansion{names: m.names, axes: m.axes, kept: selection{count: m.size}}
	var unmatched, repeated notes
	if len(p.Exclude) > 0 {
		if e.kept, err = m.exclude(p.Exclude, &unmatched); err != nil {
			return nil, err
		}
	}
	if e.listed, err = m.include(p.Include, e.kept, &repeated); err != nil {
		return nil, err
	}
	if e.Len() == 0 {
		return nil, fmt.Errorf("%w: exclude leaves out every combination of the matrix: remove some of its entries", ErrNoTasks)
	}
	e.warnings = warnings(unmatched, repeated)
	return e, nil
}

// Len is the number of combinations.
func (e *Expansion) Len() int {
	return e.kept.count + len(e.listed)/len(e.names)
}

// Row is the combination of that number, counted from 0. It panics if there is none.
func (e *Expansion) Row(number int) Row {
	if number < 0 || number >= e.Len() {
		panic("parameters: row out of range")
	}
	row := Row{Names: e.names, Values: make([]string, len(e.names))}
	if number >= e.kept.count {
		copy(row.Values, e.listed[(number-e.kept.count)*len(e.names):])
		return row
	}
	position := e.kept.at(number)
	for i := range e.axes {
		row.Values[i] = e.axes[i].value(e.axes[i].at(position))
	}
	return row
}

// Warnings tell what has no effect: entries of exclude that match nothing, and combinations that are named again. There
// is at most one of each reason.
func (e *Expansion) Warnings() []Warning {
	return e.warnings
}

// only is the expansion of the rows that are marked, in the same order, as small as it can be. It has no warnings.
func (e *Expansion) only(marked marks) *Expansion {
	some := &Expansion{names: e.names}
	if kept := marked.countBelow(e.kept.count); kept == e.kept.count {
		some.axes, some.kept = e.axes, e.kept
	} else if kept > 0 {
		positions := newMarks(e.axes[0].count * e.axes[0].stride)
		for number, position := range e.kept.all() {
			if marked.has(number) {
				positions.fill(position, 1)
			}
		}
		some.axes, some.kept = e.axes, positions.selection()
	}
	for number := e.kept.count; number < e.Len(); number++ {
		if marked.has(number) {
			from := (number - e.kept.count) * len(e.names)
			some.listed = append(some.listed, e.listed[from:from+len(e.names)]...)
		}
	}
	return some
}
