package parameters

import (
	"errors"
	"fmt"
	"sort"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
)

// Table tells which index each task of a run has, over the life of the run. Tasks are known by their values: the same
// names with the same values, in whatever order, are the same task. A Table is immutable, and small enough to keep: of
// a matrix it has the values and some bits for each combination.
type Table struct {
	parts     []part
	count     int
	revisions int
	present   indexset.Set
	added     int
	warnings  []Warning
}

// part is the tasks that one revision brought.
type part struct {
	// first is the index of the first of them.
	first int
	rows  *Expansion
}

// ArrayTable is the table of an array of n tasks, which have no parameters.
func ArrayTable(n int) *Table {
	return &Table{count: n, present: indexset.Interval(0, n-1)}
}

// NewTable is the table of a run whose parameters were the revisions, in the order in which they were recorded, and are
// current now. The rows of the first revision have the first indexes in order; the rows of each further one that none
// before it has have the next ones. The parameters must not be changed afterwards.
//
// It fails as Expand does where current is at fault, and with ErrTooManyTasks where current would make the indexes more
// than v1alpha1.MaxIndexes. The error of a revision that cannot be expanded is none of these.
func NewTable(revisions []*v1alpha1.Parameters, current *v1alpha1.Parameters) (*Table, error) {
	now, err := Expand(current)
	if err != nil {
		return nil, err
	}
	t := &Table{revisions: len(revisions), warnings: now.Warnings()}
	switch {
	case len(revisions) == 0:
		t.added = now.Len()
	case len(revisions) == 1 && equality.Semantic.DeepEqual(revisions[0], current):
		t.parts, t.count = []part{{rows: now}}, now.Len()
		t.present = indexset.Interval(0, t.count-1)
	default:
		indexes := newIndexes()
		for i, revision := range revisions {
			if err := t.append(revision, indexes); err != nil {
				return nil, fmt.Errorf("revision %d of the parameters: %w", i, err)
			}
		}
		t.match(now, indexes)
	}
	if t.count+t.added > v1alpha1.MaxIndexes {
		return nil, fmt.Errorf("%w: the run has had %d over its life and would get %d more, but can have %d at most: "+
			"create a new run", ErrTooManyTasks, t.count, t.added, v1alpha1.MaxIndexes)
	}
	return t, nil
}

// append gives the next indexes to the rows of a revision that have none.
func (t *Table) append(revision *v1alpha1.Parameters, indexes *indexes) error {
	rows, err := Expand(revision)
	if err != nil {
		return errors.New(err.Error()) // what is wrong with a revision is not wrong with the spec
	}
	first, fresh := t.count, newMarks(rows.Len())
	for number, key := range indexes.keys(rows) {
		if _, ok := indexes.byKey[key]; !ok {
			indexes.byKey[key] = int32(t.count)
			t.count++
			fresh.fill(number, 1)
		}
	}
	if t.count > v1alpha1.MaxIndexes {
		return fmt.Errorf("more than %d tasks over the life of the run", v1alpha1.MaxIndexes)
	}
	if t.count > first {
		t.parts = append(t.parts, part{first: first, rows: rows.only(fresh)})
	}
	return nil
}

// match finds the rows that the run has now among those that have indexes.
func (t *Table) match(now *Expansion, indexes *indexes) {
	present := newMarks(t.count)
	for _, key := range indexes.keys(now) {
		if index, ok := indexes.byKey[key]; ok {
			present.fill(int(index), 1)
		} else {
			t.added++
		}
	}
	var b indexset.Builder
	for index := range present.all() {
		b.Add(index)
	}
	t.present = b.Set()
}

// Len is the number of indexes that the revisions have used up.
func (t *Table) Len() int { return t.count }

// Revisions is the number of revisions that the table was made of.
func (t *Table) Revisions() int { return t.revisions }

// Present is the indexes of the tasks that the run has now, but for the new ones.
func (t *Table) Present() indexset.Set { return t.present }

// New is the number of tasks that the run has now and no revision has. They get indexes once the present parameters are
// recorded as a revision.
func (t *Table) New() int { return t.added }

// Warnings are those of the present parameters.
func (t *Table) Warnings() []Warning { return t.warnings }

// Row is the parameters of the task with that index. It panics if no revision has used it up.
func (t *Table) Row(index int) Row {
	if index < 0 || index >= t.count {
		panic("parameters: index out of range")
	}
	if len(t.parts) == 0 { // an array
		return Row{}
	}
	i := sort.Search(len(t.parts), func(i int) bool { return t.parts[i].first > index }) - 1
	return t.parts[i].rows.Row(index - t.parts[i].first)
}
