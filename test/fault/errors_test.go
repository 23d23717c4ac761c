package fault

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

// errorCodes are what an API server answers when something is wrong with it, or with what it was asked.
var errorCodes = []int{http.StatusConflict, http.StatusTooManyRequests, http.StatusInternalServerError,
	http.StatusForbidden, http.StatusNotFound}

// errorsInTurn is how often a request is answered with an error before it is done.
const errorsInTurn = 3

var _ = Describe("Each request is answered with each error, a few times:", func() {
	eachScenario(func(sc scenario) {
		expected, wire := undisturbed(sc)
		var casts []cast
		for _, asked := range requestsOf(wire) {
			for _, code := range errorCodes {
				if code == http.StatusNotFound && asked.Verb == "get" {
					continue // that a Job or a run is not there is the truth when the API server says so
				}
				casts = append(casts, cast{fault: fmt.Sprintf("%s: %d", asked, code), wire: &Wire{Faults: failing(asked, code, errorsInTurn)}})
			}
		}
		AddReportEntry("plays", len(casts))
		playAll(sc, some(casts), expected)
	})
})

// requestsOf are the different requests that an operator made.
func requestsOf(w *Wire) []Request {
	return slices.SortedFunc(maps.Keys(w.Counts()), func(a, b Request) int {
		if a.String() < b.String() {
			return -1
		}
		return 1
	})
}

// failing answers the first n requests of a kind with an error.
func failing(asked Request, code, n int) func(Request, int) *Fault {
	return func(r Request, _ int) *Fault { // called by one request at a time
		if r != asked || n == 0 {
			return nil
		}
		n--
		return &Fault{Code: code}
	}
}

// mostLooksAMinute is how often a run that cannot go on may be looked at.
const mostLooksAMinute = 20

var _ = Describe("A request that always fails", func() {
	BeforeEach(TrustPolicy)

	It("is tried again ever more rarely, and the run ends as ever once it does not", func() {
		sc := scenarios[slices.IndexFunc(scenarios, func(sc scenario) bool { return sc.core && sc.spec != atOnce })]
		expected, wire := undisturbed(sc)
		var casts []cast
		for _, asked := range requestsOf(wire) {
			if !asked.Writes() && asked != RequestTo("get", v1alpha1.GroupVersion.Group, "batchruns") {
				continue // the informers have a backoff of their own
			}
			for _, code := range errorCodes {
				if code == http.StatusTooManyRequests {
					continue // client-go itself tries again, as Retry-After says
				}
				casts = append(casts, persistent(asked, code))
			}
		}
		AddReportEntry("plays", len(casts))
		playAll(sc, casts, expected)
	})
})

// persistent answers a kind of request with an error for a minute, in which there may not be many of them.
func persistent(asked Request, code int) cast {
	var over atomic.Bool
	var asks atomic.Int32
	c := cast{fault: fmt.Sprintf("%s: %d for a minute", asked, code)}
	c.wire = &Wire{Faults: func(r Request, _ int) *Fault {
		if r != asked || over.Load() {
			return nil
		}
		asks.Add(1)
		return &Fault{Code: code}
	}}
	c.stir = func(s *Stage) func() {
		minute := time.AfterFunc(time.Minute, func() {
			defer GinkgoRecover()
			over.Store(true)
			Expect(asks.Load()).To(BeNumerically(">", 0), c.fault)
			Expect(asks.Load()).To(BeNumerically("<=", mostLooksAMinute), c.fault)
			s.Poke() // a wait may have become long
		})
		return func() { minute.Stop() }
	}
	return c
}
