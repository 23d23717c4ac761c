// Package indexset holds sets of task indexes as sorted ranges, in the text form that an Indexed Job's status uses.
package indexset

import (
	"iter"
	"slices"
	"sort"
)

// Range is a run of consecutive indexes, both ends included.
type Range struct {
	First, Last int
}

// span is a range of a set with the number of indexes in front of it, which makes positions a binary search.
type span struct {
	Range
	before int
}

// Set is an immutable set of indexes, none of them negative. The zero value is the empty set.
type Set struct {
	// Ascending, with a gap between any two.
	ranges []span
}

// Of is the set of these indexes, in any order and with any duplicates. It panics if one is negative.
func Of(indexes ...int) Set {
	sorted := slices.Clone(indexes)
	slices.Sort(sorted)
	var b Builder
	for _, index := range slices.Compact(sorted) {
		b.Add(index)
	}
	return b.set
}

// Interval is the set of the indexes from first to last; it is empty if last is below first. It panics if first is
// negative.
func Interval(first, last int) Set {
	if last < first {
		return Set{}
	}
	if first < 0 {
		panic("indexset: negative index")
	}
	return Set{ranges: []span{{Range: Range{First: first, Last: last}}}}
}

// Len is the number of indexes in the set.
func (s Set) Len() int {
	if s.Empty() {
		return 0
	}
	tail := s.ranges[len(s.ranges)-1]
	return tail.before + tail.Last - tail.First + 1
}

// Empty tells whether there is no index in the set.
func (s Set) Empty() bool {
	return len(s.ranges) == 0
}

// Contains tells whether the index is in the set.
func (s Set) Contains(index int) bool {
	_, ok := s.Position(index)
	return ok
}

// At is the index at the position, counted from 0 in ascending order. It panics if the position is out of range.
func (s Set) At(position int) int {
	if position < 0 || position >= s.Len() {
		panic("indexset: position out of range")
	}
	i := sort.Search(len(s.ranges), func(i int) bool { return s.ranges[i].before > position }) - 1
	return s.ranges[i].First + position - s.ranges[i].before
}

// Position is the number of indexes of the set below this one; ok is false if the set does not contain it.
func (s Set) Position(index int) (position int, ok bool) {
	i := sort.Search(len(s.ranges), func(i int) bool { return s.ranges[i].Last >= index })
	if i == len(s.ranges) || s.ranges[i].First > index {
		return 0, false
	}
	return s.ranges[i].before + index - s.ranges[i].First, true
}

// All yields the indexes in ascending order.
func (s Set) All() iter.Seq[int] {
	return func(yield func(int) bool) {
		for _, r := range s.ranges {
			for index := r.First; index <= r.Last; index++ {
				if !yield(index) {
					return
				}
			}
		}
	}
}

// Ranges yields the longest ranges that make up the set, in ascending order.
func (s Set) Ranges() iter.Seq[Range] {
	return func(yield func(Range) bool) {
		for _, r := range s.ranges {
			if !yield(r.Range) {
				return
			}
		}
	}
}

// First is the set of the n lowest indexes, or of all if there are fewer.
func (s Set) First(n int) Set {
	if n <= 0 {
		return Set{}
	}
	if n >= s.Len() {
		return s
	}
	last := s.At(n - 1)
	kept := sort.Search(len(s.ranges), func(i int) bool { return s.ranges[i].before >= n })
	first := Set{ranges: slices.Clone(s.ranges[:kept])}
	first.ranges[kept-1].Last = last
	return first
}

// Union is the set of the indexes that are in s or t.
func (s Set) Union(t Set) Set {
	if s.Empty() {
		return t
	}
	if t.Empty() {
		return s
	}
	var union Set
	a, b := s.ranges, t.ranges
	for len(a) > 0 || len(b) > 0 {
		if len(b) == 0 || (len(a) > 0 && a[0].First < b[0].First) {
			a, b = b, a
		}
		union.join(b[0].First, b[0].Last)
		b = b[1:]
	}
	return union
}

// Minus is the set of the indexes that are in s and not in t.
func (s Set) Minus(t Set) Set {
	if s.Empty() || t.Empty() {
		return s
	}
	var rest Set
	others := t.ranges
	for _, r := range s.ranges {
		for len(others) > 0 && others[0].Last < r.First {
			others = others[1:]
		}
		first := r.First
		for _, other := range others {
			if other.First > r.Last {
				break
			}
			rest.join(first, other.First-1)
			first = other.Last + 1
		}
		rest.join(first, r.Last)
	}
	return rest
}

// Intersect is the set of the indexes that are in both s and t.
func (s Set) Intersect(t Set) Set {
	var common Set
	a, b := s.ranges, t.ranges
	for len(a) > 0 && len(b) > 0 {
		common.join(max(a[0].First, b[0].First), min(a[0].Last, b[0].Last))
		if a[0].Last < b[0].Last {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return common
}

// join adds a range that starts no lower than the last one did. A range whose last is below its first is empty. Only
// for sets that nobody else has seen.
func (s *Set) join(first, last int) {
	if last < first {
		return
	}
	if n := len(s.ranges); n > 0 && first <= s.ranges[n-1].Last+1 {
		s.ranges[n-1].Last = max(s.ranges[n-1].Last, last)
		return
	}
	s.ranges = append(s.ranges, span{Range: Range{First: first, Last: last}, before: s.Len()})
}

// Builder makes a set of indexes that come in ascending order. The zero value is ready for use.
type Builder struct {
	set Set
}

// Add appends an index. It panics unless the index is above the one before, and not negative.
func (b *Builder) Add(index int) {
	last := -1
	if n := len(b.set.ranges); n > 0 {
		last = b.set.ranges[n-1].Last
	}
	if index <= last {
		panic("indexset: indexes added to a Builder must be ascending and not negative")
	}
	b.set.join(index, index)
}

// Set is the set of the indexes added so far. The builder can go on; the set stays as it is.
func (b *Builder) Set() Set {
	return Set{ranges: slices.Clone(b.set.ranges)}
}
