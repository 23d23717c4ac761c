// Package archive tests the archive of logs, and the API that serves it, against a real API server.
package archive

import (
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/batchrun/batchrun/test/stage"
)

func TestArchive(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "archive")
}

var _ = BeforeSuite(func() { SetUp("archive") })
