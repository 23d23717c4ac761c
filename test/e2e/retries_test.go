package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

var _ = Describe("A failed attempt", func() {
	It("is retried until the task succeeds, and each failure is recorded with its exit code and log tail", func(ctx SpecContext) {
		r := start(ctx, "flaky", `
			backoffLimit: 4
			retryPolicy: {backoff: {baseSeconds: 1, maxSeconds: 1}}`,
			"print hello", "exit 3 below 2", "print well")
		flaky := r.finishes(ctx, v1alpha1.PhaseSucceeded)

		Expect(flaky.Status.Completions).To(Equal("1/1"))
		Expect(flaky.Status.Retries).To(BeEquivalentTo(2))
		Expect(states(flaky)).To(Equal(map[v1alpha1.Reason]int{v1alpha1.ReasonError: 2, v1alpha1.ReasonCompleted: 1}))
		Expect(flaky.Status.Failures).To(HaveLen(2))
		for i, failure := range flaky.Status.Failures {
			Expect(failure.Attempt).To(BeEquivalentTo(i + 1))
			Expect(failure.Reason).To(Equal(v1alpha1.ReasonError))
			Expect(failure.ExitCode).To(HaveValue(BeEquivalentTo(3)))
			Expect(failure.LogTail).To(Equal("hello\nexiting with 3"))
			Expect(failure.Disruption).To(BeFalse())
			Expect(failure.Pod).NotTo(BeEmpty())
			Expect(failure.Node).NotTo(BeEmpty())
		}
		Expect(flaky.Status.Successes).To(HaveLen(1))
		Expect(flaky.Status.Successes[0].Attempt).To(BeEquivalentTo(3))
		Expect(flaky.Status.Successes[0].LogTail).To(Equal("hello\nwell"))
	})

	It("fails the run after backoffLimit retries, each after its backoff delay", func(ctx SpecContext) {
		r := start(ctx, "hopeless", `
			backoffLimit: 2
			retryPolicy: {backoff: {baseSeconds: 3, maxSeconds: 60}}`,
			"exit 1")
		hopeless := r.finishes(ctx, v1alpha1.PhaseFailed)

		Expect(hopeless.Status.Completions).To(Equal("0/1"))
		Expect(states(hopeless)).To(Equal(map[v1alpha1.Reason]int{v1alpha1.ReasonError: 3}))
		failed := condition(hopeless, v1alpha1.ConditionFailed)
		Expect(failed.Status).To(Equal(metav1.ConditionTrue))
		Expect(failed.Reason).To(Equal(v1alpha1.RunTasksFailed))
		Expect(failed.Message).To(And(ContainSubstring("task 0"), ContainSubstring("3 attempts"), ContainSubstring("Error, exit code 1")))
		Expect(condition(hopeless, v1alpha1.ConditionStalled).Status).To(Equal(metav1.ConditionTrue))

		pods := r.pods(ctx)
		Expect(pods).To(HaveLen(3))
		for i, delay := range []time.Duration{3 * time.Second, 6 * time.Second} {
			waited := pods[i+1].CreationTimestamp.Sub(hopeless.Status.Failures[i].FinishedAt.Time)
			Expect(waited).To(BeNumerically(">=", delay), "before attempt %d", i+2)
			Expect(waited).To(BeNumerically("<", delay+10*time.Second), "before attempt %d", i+2)
		}
	})

	It("that used more than its emptyDir may hold is Evicted, no disruption, and keeps its log tail", func(ctx SpecContext) {
		// The kubelet removes the containers of an evicted pod, at times before it has looked at how they ended, and
		// nobody can tell their log then (kubernetes/kubernetes#122160). So several are evicted.
		const tasks = 6
		r := start(ctx, "greedy", `
			completions: 6
			backoffLimit: 0
			container: volumeMounts: [{name: scratch, mountPath: /scratch}]
			pod: volumes: [{name: scratch, emptyDir: {sizeLimit: 5Mi}}]
			pod: securityContext: {runAsUser: 0}`,
			"print the last words", "sleep 3s", "write /scratch/big 20", "sleep 10m")
		greedy := r.finishes(ctx, v1alpha1.PhaseFailed)

		Expect(states(greedy)).To(Equal(map[v1alpha1.Reason]int{v1alpha1.ReasonEvicted: tasks}))
		Expect(greedy.Status.Failures).To(HaveLen(tasks))
		ends := map[string]corev1.ContainerStateTerminated{}
		Eventually(ctx, func(g Gomega) {
			for _, pod := range r.pods(ctx) {
				end := pod.Status.ContainerStatuses[0].State.Terminated
				g.Expect(end).NotTo(BeNil(), pod.Name)
				ends[pod.Name] = *end
			}
		}).Should(Succeed())
		kept := 0
		for _, failure := range greedy.Status.Failures {
			Expect(failure.Reason).To(Equal(v1alpha1.ReasonEvicted))
			Expect(failure.Disruption).To(BeFalse())
			Expect(failure.Message).To(ContainSubstring("exceeds the limit"))
			end := ends[failure.Pod]
			if end.Reason == "ContainerStatusUnknown" || strings.HasPrefix(end.Message, "Error on reading termination") {
				continue // the kubelet's words for it
			}
			kept++
			Expect(failure.LogTail).To(HavePrefix("the last words\nwrote 20 MiB\n"))
			out, _ := tryKubectl("", "logs", "-n", r.Namespace, failure.Pod)
			Expect(out).To(ContainSubstring("unable to retrieve container logs"))
		}
		Expect(kept).To(BeNumerically(">", 0), "the kubelet lost all containers")
		AddReportEntry("evicted pods with a log tail", fmt.Sprintf("%d of %d", kept, tasks))

		_, row := table(r.kubectl("get", "batchruns", "-o", "wide"))
		Expect(row[8]).To(Equal(strconv.Itoa(tasks)), "in the column EVICTED")
	})
})

var _ = Describe("An attempt that is out of memory", func() {
	It("is retried with more memory where a rule says so", func(ctx SpecContext) {
		r := start(ctx, "hungry", `
			retryPolicy:
			  backoff: {baseSeconds: 0}
			  rules: [{reasons: [OOMKilled], action: Count, memory: {increasePercent: 100, max: 1Gi}}]
			container: resources: {limits: {memory: 100Mi}, requests: {memory: 20Mi}}`,
			"allocate 150", "print enough")
		hungry := r.finishes(ctx, v1alpha1.PhaseSucceeded)

		Expect(states(hungry)).To(Equal(map[v1alpha1.Reason]int{v1alpha1.ReasonOOMKilled: 1, v1alpha1.ReasonCompleted: 1}))
		Expect(hungry.Status.Failures).To(HaveLen(1))
		Expect(hungry.Status.Failures[0].Reason).To(Equal(v1alpha1.ReasonOOMKilled))
		Expect(hungry.Status.Failures[0].ExitCode).To(HaveValue(BeEquivalentTo(137)))
		Expect(memory(r.pods(ctx), limits)).To(Equal([]string{"100Mi", "200Mi"}))
		Expect(memory(r.pods(ctx), requests)).To(Equal([]string{"20Mi", "40Mi"}))
	})

	It("gets no more memory than the rule's max", func(ctx SpecContext) {
		r := start(ctx, "insatiable", `
			backoffLimit: 3
			retryPolicy:
			  backoff: {baseSeconds: 0}
			  rules: [{reasons: [OOMKilled], action: Count, memory: {increasePercent: 100, max: 100Mi}}]
			container: resources: {limits: {memory: 40Mi}, requests: {memory: 40Mi}}`,
			"allocate 150")
		insatiable := r.finishes(ctx, v1alpha1.PhaseFailed)

		Expect(states(insatiable)).To(Equal(map[v1alpha1.Reason]int{v1alpha1.ReasonOOMKilled: 4}))
		Expect(memory(r.pods(ctx), limits)).To(Equal([]string{"40Mi", "80Mi", "100Mi", "100Mi"}))
		Expect(memory(r.pods(ctx), requests)).To(Equal([]string{"40Mi", "80Mi", "100Mi", "100Mi"}))
	})
})

func limits(c *corev1.Container) corev1.ResourceList   { return c.Resources.Limits }
func requests(c *corev1.Container) corev1.ResourceList { return c.Resources.Requests }

// memory is the memory of the pods, in their order.
func memory(pods []corev1.Pod, of func(*corev1.Container) corev1.ResourceList) []string {
	var all []string
	for i := range pods {
		list := of(&pods[i].Spec.Containers[0])
		all = append(all, list.Memory().String())
	}
	return all
}
