package parameters

import (
	"slices"
	"sort"
	"strconv"

	"github.com/batchrun/batchrun/controllers/indexset"
)

// The packed form of the tasks of a wave is what the policy in config/policy reads when it gives a pod its index and its
// parameters. It has lines, which end in "\n" but for the last, of fields with "\t" between them:
//
//	+F                          the task at position i of the wave has the index F+i; otherwise
//	I0,I1,...                   the indexes of all tasks
//	NAME STRIDE OFFSET V0 V1 …  for each parameter, whose value at position i is V[(i+OFFSET)/STRIDE % number of values]

// MaxPackedBytes is the most bytes that the packed form of a wave's tasks should have. Objects of 1.5 MB and all
// annotations of 256 KiB are what the API server takes; and it reads the text for each pod.
const MaxPackedBytes = 16 << 10

// Pack is the packed form of the tasks, of whatever length; "" if there are none. It panics if they do not all have the
// same parameters in the same order.
func Pack(t *Table, tasks indexset.Set) string {
	if tasks.Empty() {
		return ""
	}
	s := newSheet(t, slices.Collect(tasks.All()))
	if len(s.indexes) < tasks.Len() {
		panic("parameters: tasks of different parameters cannot be packed together")
	}
	return s.pack(len(s.indexes))
}

// Fit returns the first of the candidates that can be packed together, as many as fit, and their packed form. They are
// at most so many, have the same parameters in the same order, and the text has at most MaxPackedBytes. The candidates
// must be ascending indexes. ok is false if not even one fits.
func Fit(t *Table, candidates []int, most int) (tasks indexset.Set, text string, ok bool) {
	s := newSheet(t, candidates[:max(0, min(most, len(candidates)))])
	count := len(s.indexes)
	if count == 0 {
		return indexset.Set{}, "", false
	}
	text = s.pack(count)
	if len(text) > MaxPackedBytes {
		// One more task may save a digit of a stride: what is found fits, and is the most but for such a digit.
		count = sort.Search(count, func(i int) bool { return len(s.pack(i+1)) > MaxPackedBytes })
		if count == 0 {
			return indexset.Set{}, "", false
		}
		text = s.pack(count)
	}
	return indexset.Of(s.indexes[:count]...), text, true
}

// sheet is tasks of the same parameters, in order, by columns.
type sheet struct {
	indexes []int
	names   []string
	// columns are the values of all tasks, for each name.
	columns [][]string
}

// newSheet is the sheet of the first of the tasks, up to one whose parameters differ.
func newSheet(t *Table, indexes []int) *sheet {
	s := &sheet{}
	for i, index := range indexes {
		row := t.Row(index)
		if i == 0 {
			s.names = row.Names
			s.columns = make([][]string, len(s.names))
		} else if !slices.Equal(row.Names, s.names) {
			break
		}
		s.indexes = indexes[:i+1]
		for column, value := range row.Values {
			s.columns[column] = append(s.columns[column], value)
		}
	}
	return s
}

// pack is the packed form of the first so many tasks.
func (s *sheet) pack(count int) string {
	indexes := s.indexes[:count]
	var text []byte
	if first := indexes[0]; indexes[count-1]-first == count-1 {
		text = strconv.AppendInt(append(text, '+'), int64(first), 10)
	} else {
		for i, index := range indexes {
			if i > 0 {
				text = append(text, ',')
			}
			text = strconv.AppendInt(text, int64(index), 10)
		}
	}
	for i, name := range s.names {
		stride, offset, values := shorten(s.columns[i][:count])
		text = append(append(text, '\n'), name...)
		text = strconv.AppendInt(append(text, '\t'), int64(stride), 10)
		text = strconv.AppendInt(append(text, '\t'), int64(offset), 10)
		for _, value := range values {
			text = append(append(text, '\t'), value...)
		}
	}
	return string(text)
}

// shorten finds a short form of a column: column[i] is values[(i+offset)/stride % len(values)]. The stride is the
// greatest with which the column changes only where a step ends; the values are the shortest period.
func shorten(column []string) (stride, offset int, values []string) {
	var changes []int // the places whose value is not that of the place before
	for i := 1; i < len(column); i++ {
		if column[i] != column[i-1] {
			changes = append(changes, i)
		}
	}
	switch len(changes) {
	case 0:
		return 1, 0, column[:1]
	case 1:
		stride = max(changes[0], len(column)-changes[0])
	default:
		for i := 1; i < len(changes); i++ {
			stride = commonDivisor(stride, changes[i]-changes[i-1])
		}
	}
	offset = (stride - changes[0]%stride) % stride
	for i := 0; i < len(column)+offset; i += stride {
		values = append(values, column[max(0, i-offset)])
	}
	return stride, offset, values[:period(values)]
}

func commonDivisor(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// period is the smallest number p for which values[i] is values[i-p], wherever there are both.
func period(values []string) int {
	// border[i] is the length of the longest text that values[:i+1] both begins and ends with, short of all of it.
	border := make([]int, len(values))
	for i := 1; i < len(values); i++ {
		length := border[i-1]
		for length > 0 && values[length] != values[i] {
			length = border[length-1]
		}
		if values[length] == values[i] {
			length++
		}
		border[i] = length
	}
	return len(values) - border[len(values)-1]
}
