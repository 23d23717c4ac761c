package e2e

import (
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

var _ = Describe("A run", func() {
	It("computes pi as the tutorial's Job does, and keeps the digits in its status", func(ctx SpecContext) {
		file, err := os.ReadFile(filepath.Join(root, "config", "samples", "pi.yaml"))
		Expect(err).NotTo(HaveOccurred())
		r := run{client.ObjectKey{Namespace: newNamespace(ctx), Name: "pi"}, string(file)}
		r.apply()
		Expect(r.kubectl("wait", "--for=condition=Complete", "--timeout=180s", "batchrun/pi")).To(ContainSubstring("condition met"))

		pi := r.finishes(ctx, v1alpha1.PhaseSucceeded)
		Expect(pi.Status.Completions).To(Equal("1/1"))
		Expect(states(pi)).To(Equal(map[v1alpha1.Reason]int{v1alpha1.ReasonCompleted: 1}))
		Expect(pi.Status.Retries).To(BeZero())
		Expect(pi.Status.Failures).To(BeEmpty())
		Expect(pi.Status.Successes).To(HaveLen(1))
		Expect(strings.TrimSpace(pi.Status.Successes[0].LogTail)).To(Equal(digitsOfPi(2000)))
		Expect(condition(pi, v1alpha1.ConditionReady).Status).To(Equal(metav1.ConditionTrue))
		Expect(condition(pi, v1alpha1.ConditionReconciling)).To(BeZero())
		Expect(condition(pi, v1alpha1.ConditionStalled)).To(BeZero())

		By("changing nothing once it is settled")
		r.consistently(ctx, 3*time.Second, func(g Gomega, b *v1alpha1.BatchRun) {
			g.Expect(b.ResourceVersion).To(Equal(pi.ResourceVersion))
		})
		AddReportEntry("operator's writes", writesIn(r.Namespace))
		AddReportEntry("operator's memory", operatorMemory())
	})

	It("runs its task as one Indexed Job that never retries", func(ctx SpecContext) {
		r := start(ctx, "plain", "", "print done")
		finished := r.finishes(ctx, v1alpha1.PhaseSucceeded)

		jobs := r.jobs(ctx)
		Expect(jobs).To(HaveLen(1))
		job := jobs[0]
		Expect(job.Name).To(Equal("plain-0"))
		Expect(metav1.IsControlledBy(&job, finished)).To(BeTrue())
		Expect(job.Spec.CompletionMode).To(HaveValue(Equal(batchv1.IndexedCompletion)))
		Expect(job.Spec.BackoffLimitPerIndex).To(HaveValue(BeZero()))
		Expect(job.Spec.PodReplacementPolicy).To(HaveValue(Equal(batchv1.Failed)))
		Expect(job.Spec.MaxFailedIndexes).To(BeNil())
		Expect(r.pods(ctx)).To(HaveLen(1))
	})

	It("shows in kubectl get what became of it", func(ctx SpecContext) {
		r := start(ctx, "columns", "retryPolicy: {backoff: {baseSeconds: 0}}", "exit 3 below 1")
		r.finishes(ctx, v1alpha1.PhaseSucceeded)

		header, row := table(r.kubectl("get", "batchruns"))
		Expect(header).To(Equal([]string{"NAME", "STATUS", "COMPLETIONS", "FAILED", "RETRIES", "DURATION", "AGE"}))
		Expect(row[:5]).To(Equal([]string{"columns", "Succeeded", "1/1", "0", "1"}))
		Expect(row[5]).To(MatchRegexp(`^(\d+m)?\d+s$`))
		Expect(row[6]).To(MatchRegexp(`^(\d+m)?(\d+s)?$`))

		header, row = table(r.kubectl("get", "br", "-o", "wide"))
		Expect(header).To(Equal([]string{
			"NAME", "STATUS", "COMPLETIONS", "FAILED", "RETRIES", "DURATION", "AGE", "ACTIVE", "EVICTED", "OOM", "REASON"}))
		Expect(row[7]).To(Equal("0"))
		Expect(row[len(row)-1]).To(Equal("Completed"))

		Expect(r.kubectl("get", "batchrun", "-o", "name")).To(ContainSubstring("batchrun.batchrun.io/columns"), "the category")
		Expect(r.kubectl("get", "events")).To(ContainSubstring("batchrun/columns"))
	})

	It("is explained by kubectl explain", func() {
		Expect(kubectl("explain", "batchrun.spec.retryPolicy")).To(And(
			ContainSubstring("What to do when an attempt fails"),
			MatchRegexp(`backoff\s+<Object>`), MatchRegexp(`maxDisruptions\s+<integer>`), MatchRegexp(`rules\s+<\[\]Object>`)))
		Expect(kubectl("explain", "br.spec.backoffLimit")).To(ContainSubstring("counted failures"))
		Expect(kubectl("explain", "batchrun.status.conditions")).To(ContainSubstring("kstatus"))
	})

	It("takes its Jobs and pods with it when it is deleted", func(ctx SpecContext) {
		r := start(ctx, "deleted", "completions: 2", "sleep 10m")
		r.runningPod(ctx)
		r.kubectl("delete", "batchrun", r.Name)
		Eventually(ctx, func(g Gomega) {
			g.Expect(r.jobs(ctx)).To(BeEmpty())
			g.Expect(r.pods(ctx)).To(BeEmpty())
		}).Should(Succeed())
		Expect(r.kubectl("get", "batchruns")).To(ContainSubstring("No resources found"))
	})
})

// table splits kubectl's output of one object.
func table(out string) (header, row []string) {
	GinkgoHelper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	Expect(lines).To(HaveLen(2), out)
	return strings.Fields(lines[0]), strings.Fields(lines[1])
}

// digitsOfPi is pi with so many digits, rounded, by Machin's formula: pi/4 = 4 arctan(1/5) - arctan(1/239).
func digitsOfPi(digits int) string {
	const guard = 10
	one := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(digits-1+guard)), nil)
	pi := new(big.Int).Mul(arctanOfInverse(5, one), big.NewInt(16))
	pi.Sub(pi, new(big.Int).Mul(arctanOfInverse(239, one), big.NewInt(4)))
	tail := new(big.Int).Exp(big.NewInt(10), big.NewInt(guard), nil)
	pi.Add(pi, new(big.Int).Rsh(tail, 1)).Quo(pi, tail)
	text := pi.String()
	return text[:1] + "." + text[1:]
}

// arctanOfInverse is arctan(1/x) in units of 1/one, by its power series.
func arctanOfInverse(x int64, one *big.Int) *big.Int {
	sum, power, square := new(big.Int), new(big.Int).Quo(one, big.NewInt(x)), big.NewInt(x*x)
	for n := int64(1); power.Sign() != 0; n += 2 {
		term := new(big.Int).Quo(power, big.NewInt(n))
		if n%4 == 1 {
			sum.Add(sum, term)
		} else {
			sum.Sub(sum, term)
		}
		power.Quo(power, square)
	}
	return sum
}
