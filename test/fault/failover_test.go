package fault

import (
	"math/rand"
	"strings"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gexec"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	. "github.com/batchrun/batchrun/test/stage"
)

const (
	takeoverKilled   = 20 * time.Second
	takeoverGraceful = 3 * time.Second
	leaseName        = "batchrun.io"
	// mostBetween is how many runs finish at most from the start of a standby to the next fault, so that faults come at
	// any time between two looks at the lease.
	mostBetween = 6
)

var _ = Describe("Two operators, of which one leads,", Serial, Ordered, ContinueOnFailure, func() {
	var p *pair
	times := 2
	if all {
		times = 50
	}

	BeforeAll(func() {
		cluster := SuiteCluster()
		p = &pair{program: buildManager(cluster), load: newLoad(cluster), random: rand.New(rand.NewSource(GinkgoRandomSeed()))}
		p.stop = p.load.start()
		DeferCleanup(p.stop)
		nobody := p.holder() // or who held the lease in another spec
		p.leader = p.candidate()
		p.identity = p.takesOver(nobody)
	})

	It("take over from each other when the leader is killed", func() {
		var took []time.Duration
		for range times {
			took = append(took, p.loses(func(leader Program) { leader.Send(syscall.SIGKILL) }))
		}
		AddReportEntry("takeover after SIGKILL", spread(took))
		Expect(percentile(took, 99)).To(BeNumerically("<", takeoverKilled), spread(took))
	})

	It("take over from each other when the leader is told to end", func() {
		var took []time.Duration
		for range times {
			old := p.leader
			took = append(took, p.loses(func(leader Program) { leader.Send(syscall.SIGTERM) }))
			Eventually(old).Should(gexec.Exit(0), old.Tail)
		}
		AddReportEntry("takeover after SIGTERM", spread(took))
		Expect(percentile(took, 99)).To(BeNumerically("<", takeoverGraceful), spread(took))
	})

	It("do not work against each other when the leader stands still until the other one leads", func() {
		var took []time.Duration
		for range times {
			old := p.leader
			took = append(took, p.loses(func(leader Program) { leader.Send(syscall.SIGSTOP) }))
			old.Send(syscall.SIGCONT)
			Eventually(old).Should(gexec.Exit(), old.Tail)
			Expect(p.holder()).To(Equal(p.identity))
			p.load.goesOn(1)
		}
		AddReportEntry("takeover after SIGSTOP", spread(took))
	})

	It("have lost, repeated and miscounted nothing in the end", func() {
		p.stop()
		p.load.ends(time.Minute)
		AddReportEntry("runs", p.load.total())
	})
})

// pair are two operators under load.
type pair struct {
	*program
	load   *load
	stop   func() // of the load
	leader Program
	// identity is the leader's, in the lease.
	identity string
	random   *rand.Rand
}

// candidate starts an operator, and waits until it wants to lead.
func (p *pair) candidate() Program {
	GinkgoHelper()
	m := p.start("--leader-elect", "--leader-election-namespace="+OperatorNamespace)
	Eventually(func() bool { return strings.Contains(m.Log(), "Attempting to acquire leader lease") }).Should(BeTrue(), m.Tail)
	return m
}

// loses lets something happen to the leader, with another operator standing by, and returns how long that one took to
// take over: until it holds the lease and has written a status.
func (p *pair) loses(happens func(leader Program)) time.Duration {
	GinkgoHelper()
	standby := p.candidate()
	p.load.goesOn(1 + p.random.Intn(mostBetween))
	Expect(p.holder()).To(Equal(p.identity))
	start := time.Now()
	happens(p.leader)
	p.identity = p.takesOver(p.identity)
	took := time.Since(start)
	p.leader = standby
	return took
}

// takesOver waits until another operator holds the lease and has written a status, and returns who it is.
func (p *pair) takesOver(from string) (holder string) {
	GinkgoHelper()
	const often = 20 * time.Millisecond
	Eventually(func(g Gomega) {
		holder = p.holder()
		g.Expect(holder).NotTo(BeElementOf("", from))
	}).WithPolling(often).Should(Succeed())
	before := p.load.scene.History.Statuses()
	Eventually(p.load.scene.History.Statuses).WithPolling(often).Should(BeNumerically(">", before))
	return holder
}

// holder is who holds the lease, nobody where there is none.
func (p *pair) holder() string {
	GinkgoHelper()
	lease := &coordinationv1.Lease{}
	key := client.ObjectKey{Namespace: OperatorNamespace, Name: leaseName}
	Expect(client.IgnoreNotFound(p.load.scene.Client.Get(Ctx, key, lease))).To(Succeed())
	return ptr.Deref(lease.Spec.HolderIdentity, "")
}
