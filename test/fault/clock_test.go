package fault

import (
	"fmt"
	"math/rand"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

// maxSkew is how far the operator's clock is from everybody else's.
const maxSkew = 10 * time.Minute

var _ = Describe("An operator whose clock is wrong:", func() {
	eachScenario(func(sc scenario) {
		expected, _ := undisturbed(sc)
		casts := []cast{skewed(-maxSkew), skewed(maxSkew), jumping(GinkgoRandomSeed())}
		if all {
			for i := range int64(10) {
				casts = append(casts, jumping(GinkgoRandomSeed()+1+i))
			}
		}
		playAll(sc, casts, expected)
	})
})

func skewed(by time.Duration) cast {
	return cast{fault: fmt.Sprintf("off by %s", by), wire: &Wire{}, stir: func(s *Stage) func() {
		s.Clock.Forward(by)
		return func() {}
	}}
}

// jumping moves the clock now and then, by up to maxSkew either way, a leap second among them.
func jumping(seed int64) cast {
	return cast{fault: fmt.Sprintf("jumping, seed %d", seed), wire: &Wire{}, stir: func(s *Stage) func() {
		random := rand.New(rand.NewSource(seed))
		ticker, stop := time.NewTicker(500*time.Millisecond), make(chan struct{})
		go func() {
			var ahead time.Duration
			for {
				select {
				case <-stop:
					return
				case <-ticker.C:
					to := time.Duration(random.Int63n(int64(2*maxSkew))) - maxSkew
					if random.Intn(3) == 0 {
						to = ahead - time.Second
					}
					s.Clock.Forward(to - ahead)
					ahead = to
				}
			}
		}()
		return func() { ticker.Stop(); close(stop) }
	}}
}

var _ = Describe("A time to live that is extended at the moment it expires", func() {
	It("keeps the Jobs: the live object decides, not the cache", func() {
		s := NewStage(Always(Succeeds))
		s.Create(`{completions: 2, ttlSecondsAfterFinished: 3600}`)
		s.Finishes(v1alpha1.PhaseSucceeded)
		s.WhileBehind(func() {
			s.Patch(`ttlSecondsAfterFinished: 86400`)
			s.Clock.Forward(2 * time.Hour)
			s.Reconcile(3)
			Expect(s.Jobs()).To(HaveLen(1))
		})
		s.Poke()
		s.CaughtUp()
		s.Reconcile(3)
		Expect(s.Jobs()).To(HaveLen(1))
		Expect(s.Get().Status.CleanupTime).To(BeNil())

		s.Forward(day)
		reach(s, cleanedUp)
	})

	It("keeps the record", func() {
		s := NewStage(Always(Succeeds))
		s.Create(`{ttlSecondsAfterFinished: 3600, recordTTLSecondsAfterFinished: 3600}`)
		s.Finishes(v1alpha1.PhaseSucceeded)
		s.WhileBehind(func() {
			s.Patch(`recordTTLSecondsAfterFinished: null`)
			s.Clock.Forward(2 * time.Hour)
			s.Reconcile(3)
		})
		s.Poke()
		s.CaughtUp()
		s.Reconcile(3)
		Expect(s.Get().Status.CompletionTime).NotTo(BeNil())
	})
})
