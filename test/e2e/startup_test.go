package e2e

import (
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

var _ = Describe("An attempt that cannot start", func() {
	It("for want of its image says so, and fails at the deadline with the kubelet's words", func(ctx SpecContext) {
		namespace := newNamespace(ctx)
		r := run{}
		r.Namespace, r.Name = namespace, "no-image"
		r.file = strings.ReplaceAll(manifest(r.Name, "startup: {imagePullDeadlineSeconds: 20}", "print never"),
			env.TaskImage, "nowhere.invalid/none:1")
		r.apply()
		r.eventually(ctx, func(g Gomega, b *v1alpha1.BatchRun) {
			ready := condition(b, v1alpha1.ConditionReady)
			g.Expect(ready.Reason).To(Equal(v1alpha1.RunImagePullFailing))
			g.Expect(ready.Message).To(ContainSubstring("nowhere.invalid/none:1"))
		})
		failed := r.finishes(ctx, v1alpha1.PhaseFailed)

		failure := expectFailedStart(ctx, r, failed, v1alpha1.ReasonImagePullFailed)
		Expect(failure.Message).To(And(ContainSubstring("20s"), ContainSubstring("nowhere.invalid/none:1")))
		Expect(failed.Status.CompletionTime.Sub(failed.Status.StartTime.Time)).To(BeNumerically("~", 20*time.Second, 15*time.Second))
	})

	It("because its command does not exist fails with the runtime's words", func(ctx SpecContext) {
		r := start(ctx, "no-command", "container: command: [/no-such-program]", "print never")
		failure := expectFailedStart(ctx, r, r.finishes(ctx, v1alpha1.PhaseFailed), v1alpha1.ReasonStartFailed)
		Expect(failure.Message).To(And(ContainSubstring("/no-such-program"), ContainSubstring("no such file or directory")))
	})

	It("for want of a ConfigMap fails at the deadline with the kubelet's words", func(ctx SpecContext) {
		r := start(ctx, "no-config", `
			startup: {imagePullDeadlineSeconds: 5}
			container: envFrom: [{configMapRef: {name: missing}}]`, "print never")
		failure := expectFailedStart(ctx, r, r.finishes(ctx, v1alpha1.PhaseFailed), v1alpha1.ReasonStartFailed)
		Expect(failure.Message).To(And(ContainSubstring("5s"), ContainSubstring(`configmap "missing" not found`)))
	})

	It("for want of a node says so within a minute, and waits", func(ctx SpecContext) {
		r := start(ctx, "too-big", `container: resources: {requests: {cpu: "1000"}}`, "print never")
		applied := time.Now()
		r.eventually(ctx, func(g Gomega, b *v1alpha1.BatchRun) {
			for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionReconciling} {
				g.Expect(condition(b, kind).Reason).To(Equal(v1alpha1.RunUnschedulable))
				g.Expect(condition(b, kind).Message).To(ContainSubstring("Insufficient cpu"))
			}
			g.Expect(events(r)).To(ContainElement(And(HavePrefix("Warning Unschedulable"), ContainSubstring("Insufficient cpu"))))
		})
		Expect(time.Since(applied)).To(BeNumerically("<", time.Minute))
		r.consistently(ctx, 5*time.Second, func(g Gomega, b *v1alpha1.BatchRun) {
			g.Expect(b.Status.Phase).To(Equal(v1alpha1.PhaseRunning))
			g.Expect(b.Status.Failures).To(BeEmpty())
			g.Expect(r.activePods(ctx)).To(HaveLen(1))
		})
	})

	It("for want of a node fails at unschedulableDeadlineSeconds where it is set", func(ctx SpecContext) {
		r := start(ctx, "too-big", `
			startup: {unschedulableDeadlineSeconds: 3}
			container: resources: {requests: {cpu: "1000"}}`, "print never")
		failure := expectFailedStart(ctx, r, r.finishes(ctx, v1alpha1.PhaseFailed), v1alpha1.ReasonUnschedulable)
		Expect(failure.Message).To(ContainSubstring("Insufficient cpu"))
	})
})

// expectFailedStart expects a run that failed with its first attempt, and nothing left of it that still tries.
func expectFailedStart(ctx SpecContext, r run, failed *v1alpha1.BatchRun, reason v1alpha1.Reason) v1alpha1.Attempt {
	GinkgoHelper()
	Expect(states(failed)).To(Equal(map[v1alpha1.Reason]int{reason: 1}))
	Expect(failed.Status.Failures).To(HaveLen(1))
	failure := failed.Status.Failures[0]
	Expect(failure.Reason).To(Equal(reason))
	Expect(condition(failed, v1alpha1.ConditionFailed).Message).To(ContainSubstring(string(reason)))
	Eventually(ctx, func() []string { return r.activePods(ctx) }).Should(BeEmpty())
	Expect(r.jobs(ctx)).To(HaveLen(1))
	return failure
}

// events are the Events of the run: type, reason and note.
func events(r run) []string {
	GinkgoHelper()
	out := r.kubectl("get", "events", "--field-selector=involvedObject.kind=BatchRun,involvedObject.name="+r.Name,
		"-o", `jsonpath={range .items[*]}{.type} {.reason} {.message}{"\n"}{end}`)
	return strings.Split(strings.TrimSpace(out), "\n")
}
