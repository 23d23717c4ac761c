package stage

import (
	"os"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// BuildS3 builds versitygw, a real S3 server, and returns its path.
func BuildS3() string {
	GinkgoHelper()
	return BuildTool("github.com/versity/versitygw/cmd/versitygw", "-modfile="+filepath.Join(Root, "hack", "tools", "s3", "go.mod"))
}

// S3 is an S3 server with one bucket, in folders of the spec.
type S3 struct {
	Address         string
	program         Program
	binary, buckets string
}

// What opens the bucket.
const (
	S3User   = "user"
	S3Secret = "secret"
	bucket   = "logs"
)

// StartS3 starts the server of a path, until the end of the spec or of the container of specs.
func StartS3(binary string) *S3 {
	GinkgoHelper()
	s := &S3{Address: FreeAddress(), binary: binary, buckets: GinkgoT().TempDir()}
	Expect(os.Mkdir(filepath.Join(s.buckets, bucket), 0o755)).To(Succeed())
	s.Restart()
	return s
}

// Kill kills it.
func (s *S3) Kill() {
	GinkgoHelper()
	s.program.End()
}

// Restart starts it again, on the address and with the bucket that it had.
func (s *S3) Restart() {
	GinkgoHelper()
	s.program = StartProgram(s.binary, nil, "--access="+S3User, "--secret="+S3Secret, "--port="+s.Address, "--quiet", "posix", s.buckets)
	DeferCleanup(s.program.End)
	Eventually(Answers).WithArguments(s.Address).Should(Succeed())
}

// S3URL is the URL of an archive in the bucket of a server, or of a proxy of it.
func S3URL(address string) string {
	return "s3://" + bucket + "?region=us-east-1&use_path_style=true&prefix=cluster-a/&endpoint=http://" + address
}
