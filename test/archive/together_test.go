package archive

import (
	"io"
	"strconv"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/batchrun/batchrun/test/stage"
)

var _ = Describe("kubectl batchrun logs", func() {
	It("shows what an evicted pod said, and what the next one did, after both are gone", func() {
		address := FreeAddress()
		evicted := After(2*time.Second, NodeEvicted)
		p := newPlay(func(task, attempt int) Fate {
			if task == 1 && attempt == 1 {
				return evicted
			}
			return Succeeds
		}, linesOf(1000), S3URL(startS3().Address), "--log-archive-bind-address="+address)
		install(address)
		run := p.create("run", `{completions: 2, `+quick+`}`)
		p.saysSo("run", "Stored")
		p.removePods()
		p.readBack(run, 2)
		program := Build("cmd/kubectl-batchrun")
		for _, v := range p.Kubelet.Voices() {
			want, err := io.ReadAll(p.Kubelet.Said(v, "main"))
			Expect(err).NotTo(HaveOccurred())
			args := []string{"logs", "run", "--task", strconv.Itoa(v.Task), "--attempt", strconv.Itoa(v.Attempt)}
			out, said := plugin(program, p.Namespace, args...)
			Expect(said).To(ContainSubstring("from the archive"))
			Expect(out).To(Equal(string(want)))
		}
		out, _ := plugin(program, p.Namespace, "logs", "run", "--task", "1", "--tail", "1")
		Expect(out).To(Equal("task 1, attempt 2, main: line 999\n"))
	})
})
