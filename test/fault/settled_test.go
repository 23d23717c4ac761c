package fault

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/batchrun/batchrun/test/stage"
)

// looks is how often a settled run is looked at.
const looks = 100

// eventsWritten is when the Events of a run are written at the latest.
const eventsWritten = 3 * time.Second

var _ = Describe("A settled run that is looked at again and again costs no writes:", func() {
	eachScenario(func(sc scenario) {
		s := NewStageWith(sc.script, &Wire{NoPolicy: sc.noPolicy})
		play(s, sc)
		before := -1
		Eventually(func(g Gomega) { // the last Event may be on its way
			last := before
			before = written(s)
			g.Expect(before).To(Equal(last))
		}).WithPolling(eventsWritten).Should(Succeed())
		s.Reconcile(looks)
		Expect(written(s)).To(Equal(before))
	})
})

// written is how many requests of the operator changed anything, Events included.
func written(s *Stage) int {
	sum := 0
	for _, n := range s.Operator.Wire.Written() {
		sum += n
	}
	return sum
}
