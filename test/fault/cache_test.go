package fault

import (
	"fmt"
	"math/rand"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	. "github.com/batchrun/batchrun/test/stage"
)

// dice is a source of chance for several goroutines.
type dice struct {
	mutex  sync.Mutex
	random *rand.Rand
}

func newDice(seed int64) *dice { return &dice{random: rand.New(rand.NewSource(seed))} }

func (d *dice) roll(n int) int {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return d.random.Intn(n)
}

// seeded are plays of a scenario, each with a seed of its own.
func seeded(n int, wire func(seed int64) *Wire) []cast {
	var casts []cast
	for i := range n {
		seed := GinkgoRandomSeed()*1000 + int64(i)
		casts = append(casts, cast{fault: fmt.Sprintf("seed %d", seed), wire: wire(seed)})
	}
	return casts
}

var _ = Describe("A cache that is late:", func() {
	eachScenario(func(sc scenario) {
		expected, _ := undisturbed(sc)
		seeds := 4
		if all {
			seeds = 67 // a thousand in all
		}
		playAll(sc, seeded(seeds, late), expected)
	})
})

// maxLate is for how long a kind of objects is held back at most.
const maxLate = 10 * time.Second

// late holds the events of each kind back, for a time of its own that changes now and then.
func late(seed int64) *Wire {
	chance := newDice(seed)
	var mutex sync.Mutex
	delays := map[string]time.Duration{}
	return &Wire{View: &View{Late: func(object runtime.Object) time.Duration {
		kind := fmt.Sprintf("%T", object)
		mutex.Lock()
		defer mutex.Unlock()
		if _, ok := delays[kind]; !ok || chance.roll(10) == 0 {
			delays[kind] = time.Duration(chance.roll(int(maxLate)))
			if chance.roll(2) == 0 {
				delays[kind] = 0
			}
		}
		return delays[kind]
	}}}
}

var _ = Describe("A cache that misses events until it lists anew:", func() {
	eachScenario(func(sc scenario) {
		expected, _ := undisturbed(sc)
		seeds := 4
		if all {
			seeds = 20
		}
		playAll(sc, seeded(seeds, missing), expected)
	})
})

// missing loses every third event. The last states of pods that go away unseen are lost with them, so pods that are
// deleted may be told as such; no scenario deletes any.
func missing(seed int64) *Wire {
	chance := newDice(seed)
	return &Wire{View: &View{Misses: func(watch.Event) bool {
		return chance.roll(3) == 0
	}}}
}
