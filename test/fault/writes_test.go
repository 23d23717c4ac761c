package fault

import (
	"fmt"
	"net/http"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/batchrun/batchrun/test/stage"
)

// writeFaults are the ways in which a write can break.
var writeFaults = []Fault{
	{}, {Done: true}, {Dies: true}, {Done: true, Dies: true},
	{Done: true, Code: http.StatusInternalServerError}, {Done: true, Code: http.StatusGatewayTimeout},
}

var _ = Describe("Each write breaks, in each way:", func() {
	eachScenario(func(sc scenario) {
		expected, wire := undisturbed(sc)
		Expect(wire.Count()).To(BeNumerically(">", 0))
		var casts []cast
		for k := range wire.Count() {
			for _, f := range writeFaults {
				casts = append(casts, cast{fault: fmt.Sprintf("write %d of %d %s", k+1, wire.Count(), f), wire: &Wire{Faults: atWrite(k+1, f)}})
			}
		}
		AddReportEntry("plays", len(casts))
		playAll(sc, casts, expected)
	})
})

// atWrite lets one write break.
func atWrite(k int, f Fault) func(Request, int) *Fault {
	return func(_ Request, write int) *Fault {
		if write == k {
			return &f
		}
		return nil
	}
}
