package fault

import (
	"fmt"
	"math/rand"
	"slices"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

// atATime is how many plays there are at once: each mostly waits.
const atATime = 20

// eachScenario has a spec for each scenario that is to be played.
func eachScenario(plays func(scenario)) {
	BeforeEach(TrustPolicy)
	for _, sc := range scenarios {
		if sc.core || all {
			It(sc.name, func() { plays(sc) })
		}
	}
}

// cast is a play of a scenario with a fault.
type cast struct {
	fault string
	wire  *Wire
	// stir is done on the stage while the play goes on, until the returned function is called; nil is nothing.
	stir func(*Stage) (stop func())
}

// undisturbed plays a scenario with an operator that nothing happens to.
func undisturbed(sc scenario) (record string, wire *Wire) {
	GinkgoHelper()
	s := NewStageWith(sc.script, &Wire{NoPolicy: sc.noPolicy})
	record = play(s, sc)
	s.Operator.Kill()
	return record, s.Operator.Wire
}

// play plays a scenario to its end, and returns what it left. An operator that dies is started anew.
func play(s *Stage, sc scenario) string {
	GinkgoHelper()
	s.Create(sc.spec)
	for _, a := range sc.acts {
		reach(s, a.once)
		a.do(s)
	}
	end := sc.end
	if end == nil {
		end = finished
	}
	reach(s, end)
	return s.Record()
}

func reach(s *Stage, m moment) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		if s.Operator.Wire.Cut.Load() {
			s.Restart()
		}
		m(g, s)
	}).Should(Succeed(), func() string {
		run := &v1alpha1.BatchRun{}
		if err := K8sClient.Get(Ctx, s.Key(), run); err != nil {
			return err.Error()
		}
		return "the status was:\n" + StatusText(run)
	})
}

// some are all casts when everything is to be played, else a few, by the seed.
func some(casts []cast) []cast {
	const few = 20
	if all || len(casts) <= few {
		return casts
	}
	picked := make([]cast, 0, few)
	for _, i := range rand.New(rand.NewSource(GinkgoRandomSeed())).Perm(len(casts))[:few] {
		picked = append(picked, casts[i])
	}
	return picked
}

// playAll plays a scenario with each of the faults, side by side, and expects the same end of each.
func playAll(sc scenario, casts []cast, expected string) {
	GinkgoHelper()
	for some := range slices.Chunk(casts, atATime) {
		var plays sync.WaitGroup
		for _, c := range some {
			c.wire.NoPolicy = sc.noPolicy
			s := NewStageWith(sc.script, c.wire)
			plays.Go(func() {
				defer GinkgoRecover()
				if c.stir != nil {
					defer c.stir(s)()
				}
				Expect(play(s, sc)).To(Equal(expected), func() string { return fmt.Sprintf("%s, in namespace %s", c.fault, s.Namespace) })
				s.Operator.Kill()
			})
		}
		plays.Wait()
		if CurrentSpecReport().Failed() {
			return
		}
	}
}
