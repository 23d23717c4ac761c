// Package fault plays scenarios with an operator to whom every fault happens that there is, and expects the same end as
// without. It runs against a control plane without nodes, as test/integration does.
//
// `make test` plays a part of it, `make fault` everything.
package fault

import (
	"os"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/batchrun/batchrun/test/stage"
)

func TestFault(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "fault")
}

var _ = BeforeSuite(func() {
	SetUp("fault")
	SetDefaultEventuallyTimeout(3 * time.Minute) // many plays at once, on a few cores
	SetDefaultEventuallyPollingInterval(200 * time.Millisecond)
})

// all is true when everything is to be played.
var all = os.Getenv("FAULT") == "all"
