package integration

import (
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/batchrun/batchrun/test/stage"
)

var _ = Describe("This version of Kubernetes", func() {
	DescribeTable("takes everything of", func(folder string) {
		if folder == "default" && !ServesPolicies() {
			folder = "compat"
		}
		out, err := Kubectl("", "apply", "--dry-run=server", "-k", filepath.Join(Root, "config", folder))
		Expect(err).NotTo(HaveOccurred(), out)
		Expect(out).NotTo(ContainSubstring("deprecated")) // what is not known fails
	},
		Entry("the operator's installation", "default"),
		Entry("the samples", "samples"),
	)
})
