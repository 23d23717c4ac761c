package parameters

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// axis is one parameter of a matrix: its values by their number, counted from 0.
type axis struct {
	// values are nil where they are the whole numbers start, start+step, and so on.
	values      []string
	start, step int64
	count       int
	// stride is how many positions in a row have the same value.
	stride int
}

func (a *axis) value(number int) string {
	if a.values != nil {
		return a.values[number]
	}
	return strconv.FormatInt(a.start+int64(number)*a.step, 10)
}

// at is the number of the value at a position of the matrix.
func (a *axis) at(position int) int {
	return position / a.stride % a.count
}

// matrix is what is needed of a matrix while it is expanded. The combination at a position has of each axis the value
// axis.at(position).
type matrix struct {
	names []string
	axes  []axis
	// numbers are the numbers of the values of each axis; nil where they are whole numbers.
	numbers []map[string]int
	size    int
}

// newMatrix reads a matrix to which so many combinations are added.
func newMatrix(parameters []v1alpha1.Parameter, added int) (*matrix, error) {
	m := &matrix{axes: make([]axis, len(parameters)), numbers: make([]map[string]int, len(parameters))}
	size := int64(1)
	for i, p := range parameters {
		m.names = append(m.names, p.Name)
		count, err := m.axes[i].read(p)
		if err != nil {
			return nil, malformed("matrix[%d] (%s): %s", i, quote(p.Name), err)
		}
		if size > countless/count {
			size, count = countless, 1
		}
		size *= count
	}
	if err := checkNames(m.names); err != nil {
		return nil, malformed("matrix: %s", err)
	}
	if size+int64(added) > v1alpha1.MaxTasks {
		return nil, tooManyCombinations(size, added)
	}
	m.size = int(size)
	stride := m.size
	for i := range m.axes {
		a := &m.axes[i]
		stride /= a.count
		a.stride = stride
		if a.values == nil {
			continue
		}
		m.numbers[i] = make(map[string]int, a.count)
		for number, value := range a.values {
			if err := checkValue(value); err != nil {
				return nil, malformed("matrix[%d] (%s): values[%d]: %s", i, m.names[i], number, err)
			}
			m.numbers[i][value] = number
		}
		if len(m.numbers[i]) < a.count {
			return nil, malformed("matrix[%d] (%s): values must not repeat", i, m.names[i])
		}
	}
	return m, nil
}

// countless stands for all numbers of combinations from here on, which nobody needs to know exactly.
const countless = 1_000_000_000_000_000

func tooManyCombinations(size int64, added int) error {
	number, include := strconv.FormatInt(size, 10), ""
	if size >= countless {
		number = "10^15 or more"
	}
	if added > 0 {
		include = fmt.Sprintf(" and include adds %d", added)
	}
	return fmt.Errorf("%w: the matrix has %s combinations%s, more than %d, counted before exclude and after include: "+
		"take out values, or list the tasks as items", ErrTooManyTasks, number, include, v1alpha1.MaxTasks)
}

// read makes the axis the values of a parameter, and returns how many they are, at most countless.
func (a *axis) read(p v1alpha1.Parameter) (count int64, err error) {
	if (len(p.Values) > 0) == (p.Range != nil) {
		return 0, errors.New("exactly one of values and range is needed")
	}
	if p.Range == nil {
		a.values, a.count = p.Values, len(p.Values)
		return int64(a.count), nil
	}
	a.start, a.step = p.Range.Start, ptr.Deref(p.Range.Step, 1)
	switch {
	case a.step == 0:
		return 0, errors.New("range: step must not be 0: it would never end")
	case a.step > 0 && p.Range.End < a.start, a.step < 0 && p.Range.End > a.start:
		return 0, errors.New("range: step (default 1) must lead from start to end")
	}
	// The distance of two int64 fits into a uint64 only.
	distance, step := uint64(p.Range.End)-uint64(a.start), uint64(a.step)
	if a.step < 0 {
		distance, step = -distance, -step
	}
	count = int64(min(distance/step, countless-1)) + 1
	a.count = int(count)
	return count, nil
}

// number is the number of a value of an axis; ok is false if the axis does not have it.
func (m *matrix) number(i int, value string) (number int, ok bool) {
	a := &m.axes[i]
	if a.values != nil {
		number, ok = m.numbers[i][value]
		return number, ok
	}
	whole, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0, false
	}
	// As unsigned numbers all distances fit, and those in the wrong direction are beyond the count.
	distance, step := uint64(whole)-uint64(a.start), uint64(a.step)
	if a.step < 0 {
		distance, step = -distance, -step
	}
	if distance/step >= uint64(a.count) {
		return 0, false
	}
	number = int(distance / step)
	return number, a.value(number) == value // neither between two steps nor written in another way, such as 07
}

// include returns the combinations of the entries that are not there yet, as the values of one after the other. The
// combinations of the matrix that are there are those at the positions kept.
func (m *matrix) include(entries []v1alpha1.Combination, kept selection, repeated *notes) ([]string, error) {
	rows := newRows(m.names, len(entries))
	for i, entry := range entries {
		field := fmt.Sprintf("include[%d]", i)
		values, err := rows.read(entry)
		if err != nil {
			return nil, malformed("%s: %s", field, err)
		}
		if position, ok := m.position(values); ok && kept.has(position) {
			repeated.add("%s is a combination of the matrix", field)
		} else if earlier, ok := rows.add(values, i); !ok {
			repeated.add("%s repeats include[%d]", field, earlier)
		}
	}
	return slices.Clip(rows.values), nil
}

// position is where a combination is in the matrix; ok is false if it has other values.
func (m *matrix) position(values []string) (position int, ok bool) {
	for i, value := range values {
		number, ok := m.number(i, value)
		if !ok {
			return 0, false
		}
		position += number * m.axes[i].stride
	}
	return position, true
}
