package indexset

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestParseReadsWhatAJobWrites(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want []int
		form string
	}{
		"nothing is the empty set":         {"", nil, ""},
		"one index":                        {"3", []int{3}, "3"},
		"indexes and ranges":               {"1,3-5,7", []int{1, 3, 4, 5, 7}, "1,3-5,7"},
		"two neighbors stay a pair":        {"3,4", []int{3, 4}, "3,4"},
		"a range of two becomes a pair":    {"3-4", []int{3, 4}, "3,4"},
		"a range of one becomes an index":  {"3-3", []int{3}, "3"},
		"three neighbors become a range":   {"3,4,5", []int{3, 4, 5}, "3-5"},
		"ranges that touch become one":     {"1-3,4-6", []int{1, 2, 3, 4, 5, 6}, "1-6"},
		"the highest index of a run":       {"99999", []int{99_999}, "99999"},
		"the highest index that a Job has": {"2147483647", []int{1<<31 - 1}, "2147483647"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Parse(test.text)
			if err != nil {
				t.Fatal(err)
			}
			if got := slices.Collect(s.All()); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
			if s.String() != test.form {
				t.Errorf("written back as %q, want %q", s, test.form)
			}
		})
	}
}

func TestParseRejects(t *testing.T) {
	for name, test := range map[string]struct{ text, message string }{
		"disorder":              {"5,3", `indexes "5,3": 3 comes after 5`},
		"a repeated index":      {"3,3", `3 comes after 3`},
		"an overlap":            {"1-5,5-9", `5 comes after 5`},
		"a range turned round":  {"5-3", `range "5-3" ends below its start`},
		"a negative index":      {"-1", `"-1" is neither an index`},
		"a negative end":        {"1--3", `"1--3" is neither an index`},
		"a plus sign":           {"+1", `"+1" is neither an index`},
		"a word":                {"all", `"all" is neither an index`},
		"a blank":               {"1, 3", `" 3" is neither an index`},
		"a comma at the end":    {"1,", `"" is neither an index`},
		"a comma alone":         {",", `"" is neither an index`},
		"an open range":         {"3-", `"3-" is neither an index`},
		"three ends":            {"1-2-3", `"1-2-3" is neither an index`},
		"more than 32 bits":     {"2147483648", `"2147483648" is neither an index`},
		"more than 64 bits":     {"99999999999999999999", `is neither an index`},
		"a text that was cut":   {"1,3,…", `"…" is neither an index`},
		"digits of other kinds": {"٣", `"٣" is neither an index`},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Parse(test.text)
			if err == nil {
				t.Fatalf("accepted as %q", s)
			}
			if !strings.Contains(err.Error(), test.message) {
				t.Errorf("error %q does not say %q", err, test.message)
			}
		})
	}
}

func TestAnErrorIsShortHoweverLongTheText(t *testing.T) {
	_, err := Parse(alternating(100_000).String() + "," + strings.Repeat("x", 10_000))
	if err == nil || len(err.Error()) > 500 {
		t.Errorf("got %.600v", err)
	}
}

func TestShortCutsAfterAComma(t *testing.T) {
	s := Of(1, 3, 4, 5, 7, 10, 11) // 1,3-5,7,10,11
	for limit, want := range map[int]string{
		100: "1,3-5,7,10,11", 13: "1,3-5,7,10,11", 12: "1,3-5,7,…", 11: "1,3-5,7,…", 10: "1,3-5,…",
		9: "1,3-5,…", 8: "1,…", 5: "1,…", 4: "…", 3: "…", 2: "", 0: "", -1: "",
	} {
		if got := s.Short(limit); got != want {
			t.Errorf("Short(%d) is %q, want %q", limit, got, want)
		}
	}
	if got := (Set{}).Short(0); got != "" {
		t.Errorf("the empty set is %q", got)
	}
}

func TestTextFormsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, m := drawSet(t, "set")
		parsed, err := Parse(s.String())
		if err != nil {
			t.Fatal(err)
		}
		requireSame(t, "the set read back", parsed, m)

		limit := rapid.IntRange(0, 200).Draw(t, "limit")
		short := s.Short(limit)
		if len(short) > limit {
			t.Fatalf("Short(%d) has %d bytes: %q", limit, len(short), short)
		}
		kept, cut := strings.CutSuffix(short, cutMark)
		switch {
		case !cut && len(s.String()) > limit && short != "":
			t.Fatalf("Short(%d) hides that it was cut: %q", limit, short)
		case !cut && len(s.String()) <= limit && short != s.String():
			t.Fatalf("Short(%d) is %q, want %q", limit, short, s)
		case cut && (!strings.HasPrefix(s.String(), kept) || (kept != "" && !strings.HasSuffix(kept, ","))):
			t.Fatalf("Short(%d) of %q is %q", limit, s, short)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"", "3", "1,3-5,7", "3,4", "5,3", "1-5,5", "-1", "1,", "2147483647", "0-2147483647", "a", "1,…"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			if !s.Empty() {
				t.Fatalf("an error and the set %q", s)
			}
			if utf8.ValidString(text) && !utf8.ValidString(err.Error()) {
				t.Fatalf("the error is no text: %q", err)
			}
			return
		}
		again, err := Parse(s.String())
		if err != nil {
			t.Fatalf("%q was written as %q: %v", text, s, err)
		}
		if again.String() != s.String() || again.Len() != s.Len() {
			t.Fatalf("%q, %q", s, again)
		}
		if !s.Minus(again).Empty() || s.Union(again).Len() != s.Len() || s.Intersect(again).Len() != s.Len() {
			t.Fatalf("%q is not itself", s)
		}
		if n := s.Len(); n > 0 {
			for _, position := range []int{0, n / 2, n - 1} {
				if got, ok := s.Position(s.At(position)); !ok || got != position {
					t.Fatalf("%q: position %d came back as %d, %t", s, position, got, ok)
				}
			}
		}
	})
}
