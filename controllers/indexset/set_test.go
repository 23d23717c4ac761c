package indexset

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// model is the plain form of a set that the property tests compare with.
type model map[int]bool

func (m model) sorted() []int {
	return slices.Sorted(maps.Keys(m))
}

// drawSet draws a set and its model: a mix of single indexes and of long ranges, near enough to touch and overlap.
func drawSet(t *rapid.T, label string) (Set, model) {
	m := model{}
	for range rapid.IntRange(0, 8).Draw(t, label+" pieces") {
		first := rapid.IntRange(0, 120).Draw(t, label+" first")
		for i := range rapid.IntRange(1, 30).Draw(t, label+" length") {
			m[first+i] = true
		}
	}
	for _, index := range rapid.SliceOfN(rapid.IntRange(0, 150), 0, 20).Draw(t, label+" toggled") {
		if m[index] {
			delete(m, index)
		} else {
			m[index] = true
		}
	}
	return Of(slices.Collect(maps.Keys(m))...), m
}

// requireSame fails unless the set holds what the model holds, and is in its only valid form.
func requireSame(t *rapid.T, what string, s Set, m model) {
	t.Helper()
	want := m.sorted()
	if got := slices.Collect(s.All()); !slices.Equal(got, want) {
		t.Fatalf("%s holds %v, want %v", what, got, want)
	}
	if s.Len() != len(m) || s.Empty() != (len(m) == 0) {
		t.Fatalf("%s: Len %d, Empty %t for %d indexes", what, s.Len(), s.Empty(), len(m))
	}
	last, before := -2, 0
	for _, r := range s.ranges {
		if r.First <= last+1 || r.Last < r.First || r.before != before {
			t.Fatalf("%s is malformed: %v", what, s.ranges)
		}
		last, before = r.Last, before+r.Last-r.First+1
	}
}

func TestASetAnswersLikeAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, m := drawSet(t, "set")
		requireSame(t, "the set", s, m)
		want := m.sorted()
		for position, index := range want {
			if got := s.At(position); got != index {
				t.Fatalf("At(%d) is %d, want %d", position, got, index)
			}
		}
		for index := -1; index < 200; index++ {
			wantPosition, wantOK := slices.BinarySearch(want, index)
			position, ok := s.Position(index)
			if ok != wantOK || (ok && position != wantPosition) || s.Contains(index) != wantOK {
				t.Fatalf("Position(%d) is %d, %t", index, position, ok)
			}
		}
		stop := rapid.IntRange(0, 200).Draw(t, "stop")
		for index := range s.All() {
			if index >= stop {
				break
			}
		}
	})
}

func TestSetAlgebraFollowsTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, am := drawSet(t, "a")
		b, bm := drawSet(t, "b")
		union, minus, common := model{}, model{}, model{}
		for index := range am {
			union[index] = true
			if bm[index] {
				common[index] = true
			} else {
				minus[index] = true
			}
		}
		maps.Copy(union, bm)
		requireSame(t, "the union", a.Union(b), union)
		requireSame(t, "the difference", a.Minus(b), minus)
		requireSame(t, "the intersection", a.Intersect(b), common)

		n := rapid.IntRange(-1, 160).Draw(t, "n")
		first := model{}
		for _, index := range am.sorted()[:min(max(n, 0), len(am))] {
			first[index] = true
		}
		requireSame(t, "the first n", a.First(n), first)

		requireSame(t, "a after all that", a, am)
		requireSame(t, "b after all that", b, bm)
	})
}

func TestABuilderMakesTheSameSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, m := drawSet(t, "set")
		var b Builder
		taken, takenModel := b.Set(), model{}
		stop := rapid.IntRange(0, 200).Draw(t, "stop")
		for _, index := range m.sorted() {
			b.Add(index)
			if index < stop {
				taken = b.Set()
				takenModel[index] = true
			}
		}
		requireSame(t, "the built set", b.Set(), m)
		requireSame(t, "the set taken before the builder went on", taken, takenModel)
	})
}

func TestRangesAreTheLongestOnes(t *testing.T) {
	got := slices.Collect(Of(3, 1, 2, 7, 3).Ranges())
	if want := []Range{{1, 3}, {7, 7}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for r := range Of(1, 3).Ranges() {
		if r.First != 1 {
			t.Errorf("went on after break: %v", r)
		}
		break
	}
}

func TestAnIntervalThatEndsBelowItsStartIsEmpty(t *testing.T) {
	if s := Interval(0, -1); !s.Empty() || s.String() != "" {
		t.Errorf("got %q", s)
	}
	if s := Interval(4, 9); s.Len() != 6 || s.String() != "4-9" {
		t.Errorf("got %q", s)
	}
}

func TestMistakesOfTheCallerPanic(t *testing.T) {
	for name, mistake := range map[string]func(){
		"a position below 0":                  func() { Of(3).At(-1) },
		"a position past the end":             func() { Of(3).At(1) },
		"a position in the empty set":         func() { Set{}.At(0) },
		"a negative index":                    func() { Of(-1) },
		"an interval from below 0":            func() { Interval(-1, 3) },
		"an index twice in a builder":         func() { var b Builder; b.Add(3); b.Add(3) },
		"a lower index in a builder":          func() { var b Builder; b.Add(3); b.Add(2) },
		"a negative first index in a builder": func() { var b Builder; b.Add(-1) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if message, ok := recover().(string); !ok || !strings.HasPrefix(message, "indexset: ") {
					t.Errorf("did not panic as meant: %v", message)
				}
			}()
			mistake()
		})
	}
}
