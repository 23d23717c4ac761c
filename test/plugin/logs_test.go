package plugin

import (
	"fmt"
	"net/http"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

const archivePath = "/apis/archive.batchrun.io/v1alpha1"

// archived plays an archive that has the API.
func (f *front) archived(answer http.HandlerFunc) {
	f.play(archivePath, says(http.StatusOK, "application/json",
		`{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"archive.batchrun.io/v1alpha1","resources":[]}`))
	f.play(fmt.Sprintf("%s/namespaces/%s/batchruns/%s/log", archivePath, f.namespace, RunName), answer)
}

// podLog plays the log of a pod.
func (f *front) podLog(pod, text string) {
	f.play(fmt.Sprintf("/api/v1/namespaces/%s/pods/%s/log", f.namespace, pod), says(http.StatusOK, "text/plain", text))
}

var _ = Describe("logs", func() {
	It("shows the log of a pod that is there, else the archive's, else the end in the status, and says which", func() {
		s := NewStage(Tasks{1: {Exits(3, "one\ntwo")}}.Script())
		f := newFront(s.Namespace)
		s.Create(`{completions: 2, backoffLimit: 0}`)
		s.Finishes("Failed")
		pods := s.Pods()
		f.podLog(pods[0].Name, "all of zero\n")
		f.podLog(pods[1].Name, "all of one\n")

		Expect(f.run("logs", "run", "--task", "1")).To(Equal(result{"all of one\n", "task 1, attempt 1: log of pod " + pods[1].Name + "\n", 0}))
		Expect(f.run("logs", "run", "--failed").Out).To(Equal("all of one\n"))
		Expect(f.run("logs", "run", "--all", "-f").Out).To(And(
			ContainSubstring("[task 0] all of zero\n"), ContainSubstring("[task 1] all of one\n")))
		which := f.run("logs", "run")
		Expect(which.Code).To(Equal(1))
		Expect(which.Err).To(ContainSubstring("run run has 2 tasks: choose with --task INDEX, --failed or --all"))

		deletePods(s)
		tail := result{"one\ntwo\n", "task 1, attempt 1: only the end, which the status of the run keeps: its pod " + pods[1].Name + " is gone\n", 0}
		Expect(f.run("logs", "run", "--task", "1")).To(Equal(tail))
		Expect(f.run("logs", "run", "--task", "1", "--tail", "1").Out).To(Equal("two\n"))

		f.archived(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprintf(w, "archived: %s\n", r.URL.RawQuery) })
		Expect(f.run("logs", "run", "--task", "1", "--tail", "5", "-c", "main")).To(Equal(
			result{"archived: attempt=1&container=main&execution=1&tailLines=5&task=1\n", "task 1, attempt 1: from the archive\n", 0}))

		f.archived(status(http.StatusNotFound, "NotFound", "no log of attempt 1; there are: 2, 3"))
		missing := f.run("logs", "run", "--task", "1")
		Expect(missing.Out).To(Equal(tail.Out))
		Expect(missing.Err).To(And(ContainSubstring("the archive says: no log of attempt 1; there are: 2, 3"), ContainSubstring("only the end")))
		none := f.run("logs", "run", "--task", "1", "--attempt", "9")
		Expect(none.Code).To(Equal(1))
		Expect(none.Err).To(And(ContainSubstring("attempts that are known: 1"), ContainSubstring("there are: 2, 3")))

		f.archived(status(http.StatusForbidden, "Forbidden", "you may not"))
		Expect(f.run("logs", "run", "--task", "1").Err).To(ContainSubstring("the archive says: you may not"))
	})

	It("goes on with the status where the log of a pod cannot be read", func() {
		s := NewStage(Always(Exits(3, "the end")))
		f := newFront(s.Namespace)
		s.Create(`{backoffLimit: 1, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		s.Finishes("Failed")
		r := f.run("logs", "run")
		Expect(r.Code).To(BeZero(), r.Err)
		Expect(r.Out).To(Equal("the end\n"))
		Expect(r.Err).To(And(ContainSubstring("task 0, attempt 2: the log of pod"), ContainSubstring("cannot be read"), ContainSubstring("only the end")))
		Expect(f.run("logs", "run", "--previous").Err).To(ContainSubstring("task 0, attempt 1: only the end"))
		Expect(f.run("logs", "run", "--task", "1").Err).To(ContainSubstring("run run has no task 1"))
	})
})

var _ = Describe("logs of a task", func() {
	It("that was rerun are those since then, or of the execution that --execution says", func() {
		s := NewStage(First(Exits(3, "the first"), Exits(4, "the second")))
		f := newFront(s.Namespace)
		s.Create(`{backoffLimit: 0}`)
		s.Finishes("Failed")
		s.Patch(`rerun: {token: again}`)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Failures).To(HaveLen(2)) })
		s.Finishes("Failed")

		last := f.run("logs", "run")
		Expect(last.Out).To(Equal("the second\n"), last.Err)
		Expect(last.Err).To(ContainSubstring("task 0, execution 2, attempt 1: only the end"))
		Expect(f.run("logs", "run", "--execution", "1").Out).To(Equal("the first\n"))
		Expect(f.run("logs", "run", "--execution", "3").Err).To(ContainSubstring("task 0 is at its execution 2"))
	})

	It("that succeeded at last, nobody remembers when, are those of its last attempt", func() {
		s := NewStage(Tasks{6: {Exits(3, "once")}}.Script())
		f := newFront(s.Namespace)
		s.Create(`{completions: 7, retryPolicy: {backoff: {baseSeconds: 3600, maxSeconds: 3600}}}`)
		s.Shows(v1alpha1.RunWaitingForRetry)
		s.Forward(2 * time.Hour)
		s.Finishes("Succeeded")
		deletePods(s)
		f.archived(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprintf(w, "archived: %s\n", r.URL.RawQuery) })

		Expect(f.run("logs", "run", "--task", "6", "-f")).To(Equal(
			result{"archived: execution=1&task=6\n", "task 6, last attempt: from the archive\n", 0}))
		Expect(f.run("logs", "run", "--task", "6", "--attempt", "1").Out).To(Equal("archived: attempt=1&execution=1&task=6\n"))
		Expect(f.run("logs", "run", "--task", "6", "--previous").Err).To(ContainSubstring("say which with --attempt"))
		Expect(f.run("tasks", "run", "-o", "csv").Out).To(ContainSubstring("6,Succeeded,1,,Completed"))
	})
})

// deletePods deletes all pods, and waits until they are gone.
func deletePods(s *Stage) {
	GinkgoHelper()
	Expect(K8sClient.DeleteAllOf(Ctx, &corev1.Pod{}, client.InNamespace(s.Namespace))).To(Succeed())
	Eventually(func(g Gomega) {
		var list corev1.PodList
		g.Expect(K8sClient.List(Ctx, &list, client.InNamespace(s.Namespace))).To(Succeed())
		g.Expect(list.Items).To(BeEmpty())
	}).Should(Succeed())
}
