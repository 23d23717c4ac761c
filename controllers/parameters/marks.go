package parameters

import (
	"iter"
	"math/bits"
	"sort"
)

const wordBits = 64

// marks is a set of numbers below a limit, a bit each, so that it is small however they are spread.
type marks []uint64

func newMarks(limit int) marks {
	return make(marks, (limit+wordBits-1)/wordBits)
}

func (m marks) has(number int) bool {
	return m[number/wordBits]>>(number%wordBits)&1 == 1
}

// fill marks so many numbers in a row.
func (m marks) fill(first, count int) {
	for word, mask := range words(first, count) {
		m[word] |= mask
	}
}

// clearBlocks takes a block of numbers in a row out, and its repetitions: those of the first loop are repeated by the
// second, and so on.
func (m marks) clearBlocks(first, block int, loops []loop) {
	if outer := len(loops) - 1; outer >= 0 {
		for range loops[outer].count {
			m.clearBlocks(first, block, loops[:outer])
			first += loops[outer].stride
		}
		return
	}
	if block == 1 {
		m[first/wordBits] &^= 1 << (first % wordBits)
		return
	}
	for word, mask := range words(first, block) {
		m[word] &^= mask
	}
}

// words yields the bits of so many numbers in a row, by the words they are in.
func words(first, count int) iter.Seq2[int, uint64] {
	return func(yield func(int, uint64) bool) {
		for count > 0 {
			from := first % wordBits
			length := min(count, wordBits-from)
			if !yield(first/wordBits, ^uint64(0)>>(wordBits-length)<<from) {
				return
			}
			first, count = first+length, count-length
		}
	}
}

// countBelow is the number of marked numbers below a limit.
func (m marks) countBelow(limit int) int {
	count := 0
	for word, mask := range words(0, limit) {
		count += bits.OnesCount64(m[word] & mask)
	}
	return count
}

// all yields the marked numbers in ascending order.
func (m marks) all() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i, word := range m {
			for ; word != 0; word &= word - 1 {
				if !yield(i*wordBits + bits.TrailingZeros64(word)) {
					return
				}
			}
		}
	}
}

// selection is an immutable set of numbers in which each is found by its rank.
type selection struct {
	count int
	// marked are nil for all numbers below count.
	marked marks
	// upTo is the number of marked numbers up to the end of each word.
	upTo []int32
}

// selection is the set as it is now; the marks must not change any more.
func (m marks) selection() selection {
	s := selection{marked: m, upTo: make([]int32, len(m))}
	for i, word := range m {
		s.count += bits.OnesCount64(word)
		s.upTo[i] = int32(s.count)
	}
	return s
}

func (s selection) has(number int) bool {
	return s.marked == nil || s.marked.has(number)
}

// at is the number with so many numbers of the set in front of it.
func (s selection) at(rank int) int {
	if s.marked == nil {
		return rank
	}
	i := sort.Search(len(s.upTo), func(i int) bool { return int(s.upTo[i]) > rank })
	word := s.marked[i]
	for behind := int(s.upTo[i]) - rank; bits.OnesCount64(word) > behind; {
		word &= word - 1
	}
	return i*wordBits + bits.TrailingZeros64(word)
}

// all yields the rank and the number of each, in ascending order.
func (s selection) all() iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		if s.marked == nil {
			for number := range s.count {
				if !yield(number, number) {
					return
				}
			}
			return
		}
		rank := 0
		for number := range s.marked.all() {
			if !yield(rank, number) {
				return
			}
			rank++
		}
	}
}
