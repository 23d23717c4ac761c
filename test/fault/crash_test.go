package fault

import (
	"fmt"
	"math/rand"

	. "github.com/onsi/ginkgo/v2"

	. "github.com/batchrun/batchrun/test/stage"
)

// crashes is how often an operator dies in a play, about every how many requests.
const (
	crashes = 8
	between = 12
)

var _ = Describe("Killed again and again, at random requests:", func() {
	eachScenario(func(sc scenario) {
		expected, _ := undisturbed(sc)
		seeds := 2
		if all {
			seeds = 20
		}
		var casts []cast
		for i := range int64(seeds) {
			seed := GinkgoRandomSeed() + i
			casts = append(casts, cast{fault: fmt.Sprintf("seed %d", seed), wire: dying(rand.New(rand.NewSource(seed)), crashes)})
		}
		playAll(sc, casts, expected)
	})
})

// dying is the connection of an operator that dies at a random request, and so do some after it.
func dying(random *rand.Rand, times int) *Wire {
	w := &Wire{}
	if times == 0 {
		return w
	}
	left := 1 + random.Intn(between)
	done := random.Intn(2) == 0
	w.Faults = func(r Request, _ int) *Fault { // called by one request at a time
		if r.Verb == "watch" || r.Verb == "list" {
			return nil // the cache fills, and nothing has begun
		}
		if left--; left == 0 {
			return &Fault{Done: done, Dies: true}
		}
		return nil
	}
	w.Next = func() *Wire { return dying(random, times-1) }
	return w
}
