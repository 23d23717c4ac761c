package indexset

import (
	"strings"
	"testing"
)

func TestTheBoundsOfAnInterval(t *testing.T) {
	for want, set := range map[string]Set{"0-4": Interval(0, 4), "0": Interval(0, 0), "5": Interval(5, 5), "": Interval(5, 4)} {
		if got := set.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestAnErrorRepeatsWhatIsShortAndTheStartOfTheRest(t *testing.T) {
	for text, cut := range map[string]bool{strings.Repeat("x", maxQuoted): false, strings.Repeat("x", maxQuoted+1): true} {
		if got := strings.HasSuffix(quote(text), cutMark); got != cut {
			t.Errorf("%d characters: cut %t, want %t", len(text), got, cut)
		}
	}
}
