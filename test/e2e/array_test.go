package e2e

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
)

var _ = Describe("An array", func() {
	It("of 60 tasks, 5 at a time, gives each task its index in every wave and retries those that failed", func(ctx SpecContext) {
		namespace := newNamespace(ctx)
		r := run{}
		r.Namespace, r.Name = namespace, "array"
		most := r.watchActive(ctx)
		r = startIn(namespace, "array", `
			completions: 60
			parallelism: 5
			retryPolicy: {backoff: {baseSeconds: 1, maxSeconds: 1}}`+marks(namespace),
			"index $(BATCHRUN_TASK_INDEX)", "fail 3 every 7", "sleep 500ms", "print done")
		memory := []string{operatorMemory()}
		array := r.finishes(ctx, v1alpha1.PhaseSucceeded)
		memory = append(memory, operatorMemory())

		Expect(most()).To(Equal(5), "active pods at once")
		Expect(array.Status.Completions).To(Equal("60/60"))
		Expect(array.Status.SucceededIndexes).To(Equal("0-59"))
		Expect(array.Status.Retries).To(BeEquivalentTo(9))
		Expect(states(array)).To(Equal(map[v1alpha1.Reason]int{v1alpha1.ReasonCompleted: 60, v1alpha1.ReasonError: 9}))
		Expect(array.Status.Failures).To(HaveLen(9))
		Expect(array.Status.Successes).To(HaveLen(v1alpha1.MaxSuccesses))

		succeeded := expectIndexes(ctx, r)
		slices.Sort(succeeded)
		Expect(indexset.Of(succeeded...).String()).To(Equal("0-59"))
		Expect(succeeded).To(HaveLen(60), "no task succeeds twice")
		AddReportEntry("operator's memory", memory)
		AddReportEntry("operator's writes", len(writesIn(r.Namespace)))
	})

	It("fails at once when more tasks failed than maxFailedTasks allows, and stops the others", func(ctx SpecContext) {
		r := start(ctx, "strict", `
			completions: 6
			backoffLimit: 0
			maxFailedTasks: 20%`,
			"exit 4 below 1 every 2", "sleep 10m")
		strict := r.finishes(ctx, v1alpha1.PhaseFailed)
		Expect(condition(strict, v1alpha1.ConditionFailed).Reason).To(Equal(v1alpha1.RunMaxFailedTasksExceeded))
		Expect(condition(strict, v1alpha1.ConditionFailed).Message).To(ContainSubstring("20%"))
		Expect(strict.Status.FailedIndexes).To(Or(Equal("0,2,4"), Equal("0,2"), Equal("0,4"), Equal("2,4")))
		Eventually(ctx, func() []string { return r.activePods(ctx) }).Should(BeEmpty())
	})

	It("fails at activeDeadlineSeconds and stops its tasks", func(ctx SpecContext) {
		r := start(ctx, "late", `
			completions: 2
			activeDeadlineSeconds: 5`, "sleep 10m")
		late := r.finishes(ctx, v1alpha1.PhaseFailed)
		Expect(condition(late, v1alpha1.ConditionFailed).Reason).To(Equal(v1alpha1.RunDeadlineExceeded))
		Expect(late.Status.CompletionTime.Sub(late.Status.StartTime.Time)).To(BeNumerically(">=", 5*time.Second))
		Eventually(ctx, func() []string { return r.activePods(ctx) }).Should(BeEmpty())
	})
})

// marks are lines of a spec that give all pods of a namespace a folder to share.
func marks(namespace string) string {
	folder := filepath.Join(os.TempDir(), "batchrun-e2e", namespace)
	if env.Local != "" {
		folder = localFile("marks", namespace)
	}
	return fmt.Sprintf(`
		pod: volumes: [{name: marks, hostPath: {path: %s, type: DirectoryOrCreate}}]
		container: volumeMounts: [{name: marks, mountPath: /marks}]
		container: securityContext: {runAsUser: 0}`, folder)
}

// expectIndexes reads the logs of all pods of a finished run, expects each to have got its task's index, and returns
// the indexes of the pods that succeeded.
func expectIndexes(ctx SpecContext, r run) (succeeded []int) {
	GinkgoHelper()
	tasks := map[int]indexset.Set{}
	for _, job := range r.jobs(ctx) {
		set, err := indexset.Parse(job.Annotations[v1alpha1.AnnotationTasks])
		Expect(err).NotTo(HaveOccurred())
		tasks[wave(&job)] = set
	}
	for _, pod := range r.pods(ctx) {
		task := tasks[wave(&pod)].At(completionIndex(&pod))
		want := fmt.Sprintf("BATCHRUN_TASK_INDEX=%d JOB_COMPLETION_INDEX=%[1]d args=%[1]d\n", task)
		Expect(logOf(ctx, &pod)).To(HavePrefix(want), pod.Name)
		if pod.Status.Phase == corev1.PodSucceeded {
			succeeded = append(succeeded, task)
		}
	}
	return succeeded
}

func logOf(ctx SpecContext, pod *corev1.Pod) string {
	GinkgoHelper()
	stream, err := clientset.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{}).Stream(ctx)
	Expect(err).NotTo(HaveOccurred())
	defer stream.Close()
	log, err := io.ReadAll(stream)
	Expect(err).NotTo(HaveOccurred())
	return string(log)
}
