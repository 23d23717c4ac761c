package parameters

import (
	"iter"
	"slices"
	"strings"
)

// indexes finds the indexes of rows by their values while a table is made. Texts stand in it once, however many rows
// have them, and otherwise as numbers: a row is its names and then its values, in the order of the names, as a path from
// node to node. Rows of which one is not the other have different paths, and none is the beginning of another.
type indexes struct {
	texts map[string]uint32
	nodes map[key]uint32
	byKey map[key]int32
}

// key is a step of a path: the node that it starts from and the text. A row's key is its last one.
type key struct{ node, text uint32 }

func newIndexes() *indexes {
	return &indexes{texts: map[string]uint32{}, nodes: map[key]uint32{}, byKey: map[key]int32{}}
}

// numberOf is the number that stands for something; what is new gets the next one, the first is 1.
func numberOf[K comparable](numbers map[K]uint32, of K) uint32 {
	number, ok := numbers[of]
	if !ok {
		number = uint32(len(numbers)) + 1
		numbers[of] = number
	}
	return number
}

// keys yields the number and the key of each row.
func (x *indexes) keys(e *Expansion) iter.Seq2[int, key] {
	order := make([]int, len(e.names))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(e.names[a], e.names[b]) })
	var root uint32
	for _, i := range order {
		root = numberOf(x.nodes, key{root, numberOf(x.texts, e.names[i])})
	}
	texts := make([]uint32, len(order)) // those of a row's values, in order
	end := func() key {
		node, last := root, len(texts)-1
		for _, text := range texts[:last] {
			node = numberOf(x.nodes, key{node, text})
		}
		return key{node, texts[last]}
	}
	return func(yield func(int, key) bool) {
		axes := make([][]uint32, len(e.axes)) // the texts of the values of each axis
		for i := range e.axes {
			axes[i] = make([]uint32, e.axes[i].count)
			for number := range axes[i] {
				axes[i][number] = numberOf(x.texts, e.axes[i].value(number))
			}
		}
		for number, position := range e.kept.all() {
			for j, i := range order {
				texts[j] = axes[i][e.axes[i].at(position)]
			}
			if !yield(number, end()) {
				return
			}
		}
		for number := e.kept.count; number < e.Len(); number++ {
			row := e.listed[(number-e.kept.count)*len(order):]
			for j, i := range order {
				texts[j] = numberOf(x.texts, row[i])
			}
			if !yield(number, end()) {
				return
			}
		}
	}
}
