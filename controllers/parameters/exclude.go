package parameters

import (
	"fmt"
	"maps"
	"slices"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// pins are the values that an entry of exclude asks for: of each axis one more than the value's number, or 0 for any.
type pins [maxParameters]int

// exclude returns the positions that none of the entries matches. Each entry costs as much as it leaves out.
func (m *matrix) exclude(entries []v1alpha1.Combination, unmatched *notes) (selection, error) {
	kept := newMarks(m.size)
	kept.fill(0, m.size)
	done := map[pins]bool{}
	for i, entry := range entries {
		if len(entry) == 0 {
			return selection{}, malformed("exclude[%d] is empty", i)
		}
		asked, mismatch := m.pin(entry)
		switch {
		case mismatch != "":
			unmatched.add("exclude[%d]: %s", i, mismatch)
		case !done[asked]:
			done[asked] = true
			m.drop(kept, asked)
		}
	}
	return kept.selection(), nil
}

// pin reads an entry, or tells why no combination matches it.
func (m *matrix) pin(entry v1alpha1.Combination) (asked pins, mismatch string) {
	for _, name := range slices.Sorted(maps.Keys(entry)) {
		i := slices.Index(m.names, name)
		if i < 0 {
			return pins{}, fmt.Sprintf("it has no parameter %s", quote(name))
		}
		number, ok := m.number(i, entry[name])
		if !ok {
			return pins{}, fmt.Sprintf("its %s has no value %s", name, quote(entry[name]))
		}
		if m.axes[i].count > 1 { // the only value is any value
			asked[i] = number + 1
		}
	}
	return asked, ""
}

// loop is one or more neighboring axes that can have any value: so many steps of a stride.
type loop struct{ count, stride int }

// drop clears the marks of the combinations that have the values asked for.
func (m *matrix) drop(kept marks, asked pins) {
	// Any values of the last axes are a block of positions in a row; any values of others repeat the block.
	first, block, pinned, free := 0, 1, false, false
	var loops []loop // the innermost first
	for i, a := range slices.Backward(m.axes) {
		switch {
		case asked[i] > 0:
			first += (asked[i] - 1) * a.stride
			pinned, free = true, false
		case !pinned:
			block *= a.count
		case free:
			loops[len(loops)-1].count *= a.count
		default:
			loops = append(loops, loop{a.count, a.stride})
			free = true
		}
	}
	kept.clearBlocks(first, block, loops)
}
