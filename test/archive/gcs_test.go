package archive

import (
	"net"
	"os"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"

	. "github.com/batchrun/batchrun/test/stage"
)

var _ = Describe("An archive in Cloud Storage", func() {
	It("has everything of a run with evictions, after every pod is deleted, and deletes it with the record", func() {
		p, run := evictions(30, startGCS())
		Expect(p.readBack(run, 30)).To(HaveLen(33))
		Expect(K8sClient.Delete(Ctx, run)).To(Succeed())
		Eventually(func() ([]types.UID, error) { return p.store.Runs(Ctx) }).Should(BeEmpty())
	})
})

// startGCS starts fake-gcs-server, which speaks Cloud Storage's protocol, and returns the URL of an archive in it.
func startGCS() string {
	GinkgoHelper()
	address, buckets := FreeAddress(), GinkgoT().TempDir()
	Expect(os.Mkdir(filepath.Join(buckets, "logs"), 0o755)).To(Succeed())
	_, port, err := net.SplitHostPort(address)
	Expect(err).NotTo(HaveOccurred())
	program := BuildTool("github.com/fsouza/fake-gcs-server", "-modfile="+filepath.Join(Root, "hack", "tools", "gcs", "go.mod"))
	DeferCleanup(StartProgram(program, nil, "-scheme=http", "-host=127.0.0.1", "-port="+port, "-public-host="+address,
		"-filesystem-root="+buckets, "-log-level=warn").End)
	Eventually(Answers).WithArguments(address).Should(Succeed())
	GinkgoT().Setenv("STORAGE_EMULATOR_HOST", address)
	return "gs://logs?prefix=cluster-a/"
}
