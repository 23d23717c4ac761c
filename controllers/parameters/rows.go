package parameters

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// rows collects combinations that are listed one by one, each once.
type rows struct {
	names []string
	// values are those of the combinations, one after the other.
	values []string
	// seen is which entry of the list had a combination first.
	seen map[string]int
}

func newRows(names []string, count int) *rows {
	return &rows{names: names, values: make([]string, 0, count*len(names)), seen: make(map[string]int, count)}
}

// read returns the values of an entry in the order of the names. It fails unless it has these names and no others.
func (r *rows) read(entry v1alpha1.Combination) ([]string, error) {
	values := make([]string, len(r.names))
	for i, name := range r.names {
		value, ok := entry[name]
		if !ok {
			return nil, fmt.Errorf("it must have a value for %s", name)
		}
		if err := checkValue(value); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		values[i] = value
	}
	if len(entry) > len(r.names) {
		return nil, fmt.Errorf("it must have values for %s only", strings.Join(r.names, ", "))
	}
	return values, nil
}

// add appends the combination of an entry; ok is false if an earlier one has it.
func (r *rows) add(values []string, entry int) (earlier int, ok bool) {
	key := strings.Join(values, "\n") // no value has a line break
	if earlier, repeats := r.seen[key]; repeats {
		return earlier, false
	}
	r.seen[key] = entry
	r.values = append(r.values, values...)
	return 0, true
}

func expandItems(items []v1alpha1.Combination) (*Expansion, error) {
	if len(items) > v1alpha1.MaxTasks {
		return nil, fmt.Errorf("%w: there are %d items, more than %d", ErrTooManyTasks, len(items), v1alpha1.MaxTasks)
	}
	names := slices.Sorted(maps.Keys(items[0]))
	if err := checkNames(names); err != nil {
		return nil, malformed("items[0]: %s", err)
	}
	rows := newRows(names, len(items))
	var repeated notes
	for i, item := range items {
		values, err := rows.read(item)
		if err != nil {
			return nil, malformed("items[%d]: %s", i, err)
		}
		if earlier, ok := rows.add(values, i); !ok {
			repeated.add("items[%d] repeats items[%d]", i, earlier)
		}
	}
	return &Expansion{names: names, listed: slices.Clip(rows.values), warnings: warnings(notes{}, repeated)}, nil
}
