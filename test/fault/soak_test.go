package fault

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

const (
	// troubled is the share of the operator's requests that go wrong.
	troubled = 0.05
	// warmMemory and warmGoroutines are how much an operator that leaks nothing may have more of than once it was warm.
	warmMemory     = 1.2
	warmGoroutines = 20
)

var _ = Describe("An operator for whom every twentieth request goes wrong, for a long time", Serial, func() {
	It("keeps counting right, takes no more memory than at first, and leaves nothing behind", func() {
		warm, most := 20*time.Second, time.Minute
		if all {
			warm, most = 5*time.Minute, 30*time.Minute
		}
		c := SuiteCluster()
		l := newLoad(c)
		l.record = ptr.To[int32](kept)
		p := buildManager(c)
		c.Troubled(troubled, GinkgoRandomSeed()).OperatorKubeconfig(p.kubeconfig)
		address := FreeAddress()
		m := p.start("--metrics-bind-address="+address, "--metrics-secure=false")
		start := time.Now()
		stop := l.start()

		usage := func() (memory, goroutines int) {
			GinkgoHelper()
			Expect(m.Alive()).To(BeTrue(), m.Tail)
			n, err := Metric(address, "go_goroutines")
			Expect(err).NotTo(HaveOccurred())
			return m.Memory("VmRSS"), int(n)
		}
		reached := func(d time.Duration) {
			Eventually(func() time.Duration { return time.Since(start) }).WithTimeout(d + time.Minute).Should(BeNumerically(">=", d))
		}
		reached(warm)
		memory, goroutines := usage()
		reached(most)
		memoryNow, goroutinesNow := usage()
		stop()
		l.ends(3 * time.Minute)
		AddReportEntry("soak", fmt.Sprintf("%d runs in %s; memory %d KiB, then %d KiB; goroutines %d, then %d",
			l.total(), most, memory, memoryNow, goroutines, goroutinesNow))
		if all { // a short play is all warming up
			Expect(memoryNow).To(BeNumerically("<=", float64(memory)*warmMemory))
		}
		Expect(goroutinesNow).To(BeNumerically("<=", goroutines+warmGoroutines))
		Eventually(func(g Gomega) {
			for _, list := range []client.ObjectList{&v1alpha1.BatchRunList{}, &batchv1.JobList{}, &corev1.PodList{}, &appsv1.ControllerRevisionList{}} {
				g.Expect(c.Client.List(Ctx, list, client.InNamespace(l.scene.Namespace))).To(Succeed())
				g.Expect(meta.LenList(list)).To(BeZero(), "%T", list)
			}
		}).WithTimeout(5 * time.Minute).Should(Succeed())
	})
})
