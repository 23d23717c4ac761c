package fault

import (
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/batchrun/batchrun/test/stage"
)

const (
	// convergence is how long after the return of the control plane all runs have finished. Most of it
	// is how long the Job controller, where it lives through it, waits until it looks for the API server again (client-go).
	convergence = time.Minute
	// delay is how long after the return, and after the end of its Jobs, the operator has finished a run: it tries again what
	// failed every half a minute at least.
	delay = 40 * time.Second
	// moreGoroutines and moreMemory are how much more than before the operator may have once it has nothing to do.
	moreGoroutines = 20
	moreMemory     = 64 << 10 // kB
)

var _ = Describe("A control plane of which parts are killed under load, kept away and started again:", Serial, func() {
	var cluster *Cluster
	var load *load
	var operator Program
	var address string
	away := 5 * time.Second
	if all {
		away = 30 * time.Second
	}
	usage := func(g Gomega) (goroutines, memory int) {
		n, err := Metric(address, "go_goroutines")
		g.Expect(err).NotTo(HaveOccurred())
		return int(n), operator.Memory("VmRSS")
	}

	BeforeEach(func() {
		cluster = StartCluster("fault-control", "--node", "none", "--etcd-fsync")
		load, address = newLoad(cluster), FreeAddress()
		operator = buildManager(cluster).start("--metrics-bind-address="+address, "--metrics-secure=false")
		stop := load.start()
		DeferCleanup(stop)
		load.goesOn(2 * crowd)
		stop()
		load.ends(convergence)
	})

	for _, parts := range [][]string{
		{"kube-apiserver"}, {"etcd"}, {"kube-controller-manager"},
		{"kube-apiserver", "etcd", "kube-controller-manager"},
	} {
		It(strings.Join(parts, ", "), func() {
			goroutines, memory := usage(Default)
			stop := load.start()
			defer stop()
			load.goesOn(crowd)
			for _, part := range parts {
				cluster.Kill(part)
			}
			Consistently(operator.Alive).WithTimeout(away).Should(BeTrue(), operator.Tail)
			cluster.Mend()
			back := time.Now()
			stop()
			load.ends(convergence)
			AddReportEntry("seconds until all runs had finished", time.Since(back).Seconds())
			latest := load.delay(back)
			AddReportEntry("most seconds of a run after its Jobs", latest.Seconds())
			Expect(latest).To(BeNumerically("<", delay))
			AddReportEntry("runs", load.total())

			Expect(operator.Alive()).To(BeTrue(), operator.Tail)
			Eventually(func(g Gomega) {
				n, kilobytes := usage(g)
				g.Expect(n).To(BeNumerically("<=", goroutines+moreGoroutines))
				g.Expect(kilobytes).To(BeNumerically("<=", memory+moreMemory))
			}).Should(Succeed())
			n, kilobytes := usage(Default)
			AddReportEntry("goroutines", []int{goroutines, n})
			AddReportEntry("memory in kB", []int{memory, kilobytes})
		})
	}
})
