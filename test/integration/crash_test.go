package integration

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// scenario is a run whose end does not depend on when the operator looks.
type scenario struct {
	name   string
	spec   string
	script script
}

var (
	retriedTask = scenario{"a task that fails once", `{retryPolicy: {backoff: {baseSeconds: 0}}}`,
		tasks{0: {exits(1, "once")}}.script()}
	smallArray = scenario{"an array with a failure and a disruption", `{completions: 4, retryPolicy: {backoff: {baseSeconds: 0}}}`,
		tasks{1: {exits(1, "once")}, 2: {preempted}}.script()}
	failingSweep = scenario{"a sweep with a failure", `
parameters: {matrix: [{name: A, values: [u, v]}, {name: B, range: {start: 1, end: 2}}]}
retryPolicy: {backoff: {baseSeconds: 0}}
`, tasks{1: {exits(1, "once")}, 3: {exits(1, "once")}}.script()}
	troubledArray = scenario{"an array with all kinds of failures", `
completions: 9
parallelism: 3
backoffLimit: 2
retryPolicy:
  backoff: {baseSeconds: 0}
  rules: [{exitCodes: {operator: In, values: [42]}, action: FailTask}]
`, tasks{0: {exits(1, "a"), exits(2, "b"), exits(3, "c")}, 2: {exits(1, "a"), outOfMemory}, 4: {preempted, nodeLost}, 6: {exits(42, "")}, 8: {overused}}.script()}
)

// record is what a run's status says in the end, less what depends on time and chance; and how many pods there were.
func (s *stage) record() string {
	GinkgoHelper()
	run := s.get()
	lines := []string{
		fmt.Sprintf("%s %s, failed %s, retries %d", run.Status.Phase, run.Status.Completions, run.Status.FailedIndexes, run.Status.Retries),
		fmt.Sprintf("pods of each task %v", s.kubelet.started()),
	}
	var details []string
	for _, state := range run.Status.PodStates {
		details = append(details, fmt.Sprintf("%s %d", state.State, state.Count))
	}
	for _, f := range run.Status.Failures {
		details = append(details, fmt.Sprintf("task %d %v attempt %d: %s, disruption %t, exit code %d, %q",
			f.Index, f.Parameters, f.Attempt, f.Reason, f.Disruption, ptr.Deref(f.ExitCode, 0), f.LogTail))
	}
	slices.Sort(details)
	return strings.Join(append(lines, details...), "\n")
}

// ended waits until the run has finished.
func (s *stage) ended() {
	GinkgoHelper()
	s.eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.CompletionTime).NotTo(BeNil()) })
}

// undisturbed plays a scenario with an operator that nothing happens to.
func undisturbed(sc scenario) (record string, writes int) {
	GinkgoHelper()
	s := newStage(sc.script)
	s.create(sc.spec)
	s.ended()
	s.operator.kill()
	return s.record(), s.operator.wire.count()
}

var _ = Describe("An operator that crashes leads to the same end:", func() {
	BeforeEach(trustPolicy)

	It("killed at random moments of a run with failures", func() {
		expected, _ := undisturbed(troubledArray)
		random := rand.New(rand.NewSource(GinkgoRandomSeed()))
		s := newStage(troubledArray.script)
		s.create(troubledArray.spec)
		for range 8 {
			requests := s.operator.wire.total() + 1 + random.Intn(12)
			Eventually(func(g Gomega) {
				if s.get().Status.CompletionTime == nil {
					g.Expect(s.operator.wire.total()).To(BeNumerically(">=", requests))
				}
			}).Should(Succeed())
			s.restart()
		}
		s.ended()
		Expect(s.record()).To(Equal(expected))
	})

	for _, sc := range []scenario{retriedTask, smallArray, failingSweep} {
		It("every single write fails or its answer is lost, and the operator lives or dies; "+sc.name, func() {
			expected, writes := undisturbed(sc)
			Expect(writes).To(BeNumerically(">=", 5))
			var faults []fault
			for k := 1; k <= writes; k++ {
				faults = append(faults, fault{k, false, false}, fault{k, true, false}, fault{k, false, true}, fault{k, true, true})
			}
			for some := range slices.Chunk(faults, 20) { // at once: each mostly waits
				playFaults(sc, some, expected)
			}
		})
	}

	It("killed while pods end and their Jobs are deleted: nothing is lost that was recorded", func() {
		s := newStage(half)
		s.create(`{completions: 4, backoffLimit: 0, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		s.eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Succeeded).To(Equal(int32(2))) })
		s.operator.kill()
		s.deleteJob(runName + "-0")
		s.runsPods(0)
		s.kubelet.turn(always(succeeds))
		s.restart()
		run := s.finishes(v1alpha1.PhaseSucceeded)
		Expect(counts(run)).To(Equal([3]int32{4, 0, 2}))
		Expect(s.kubelet.started()).To(Equal(map[int]int{0: 1, 1: 2, 2: 1, 3: 2}))
	})

	It("away while Jobs finish", func() {
		s := newStage(always(runs))
		s.create(`{completions: 3}`)
		s.runsPods(3)
		s.operator.kill()
		s.kubelet.turn(always(succeeds))
		s.runsPods(0)
		s.restart()
		run := s.finishes(v1alpha1.PhaseSucceeded)
		Expect(counts(run)).To(Equal([3]int32{3, 0, 0}))
		Expect(run.Status.Successes).To(HaveLen(3))
	})
})

// playFaults plays a scenario with each of the faults, side by side.
func playFaults(sc scenario, faults []fault, expected string) {
	GinkgoHelper()
	stages := make([]*stage, len(faults))
	for i, f := range faults {
		stages[i] = newStageWith(sc.script, &wire{fault: f})
		stages[i].create(sc.spec)
	}
	for i, s := range stages {
		Eventually(func(g Gomega) {
			if s.operator.wire.cut.Load() {
				s.restart()
			}
			g.Expect(s.get().Status.CompletionTime).NotTo(BeNil(), func() string { return statusText(s.get()) })
		}).Should(Succeed(), faults[i].String())
		Expect(s.record()).To(Equal(expected), faults[i].String())
		s.operator.kill()
	}
}
