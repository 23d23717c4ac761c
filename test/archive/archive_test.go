package archive

import (
	"bytes"
	"fmt"
	"io"
	"math/rand"
	"os"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/archive"
	. "github.com/batchrun/batchrun/test/stage"
)

const quick = `retryPolicy: {backoff: {baseSeconds: 0}}`

// merge merges a change, written as JSON, into a run.
func (p *play) merge(run *v1alpha1.BatchRun, change string) {
	GinkgoHelper()
	Expect(K8sClient.Patch(Ctx, run.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(change)))).To(Succeed())
}

// attemptsOf are the executions and numbers of the stored attempts of a task, with their reasons.
func (p *play) attemptsOf(run *v1alpha1.BatchRun, task int) []string {
	GinkgoHelper()
	attempts, err := p.store.Attempts(Ctx, run.UID, task)
	Expect(err).NotTo(HaveOccurred())
	var texts []string
	for _, a := range attempts {
		texts = append(texts, fmt.Sprintf("%d.%d %s", a.Execution, a.Number, a.Reason))
	}
	return texts
}

var _ = Describe("The archive", func() {
	It("keeps the whole log of every container of every attempt, also of binary output", func() {
		random := make([]byte, 100_000)
		rand.New(rand.NewSource(1)).Read(random)
		speech := func(task, attempt int, container string) Speech {
			if container == "binary" {
				rows := bytes.SplitAfter(random, []byte("\n"))
				return Says(len(rows), func(i int) []byte { return rows[i] })
			}
			return linesOf(50*task)(task, attempt, container)
		}
		p := newPlay(func(task, attempt int) Fate {
			switch {
			case task == 1 && attempt == 1:
				return everyContainer(Exits(3, "broken"))
			case task == 2 && attempt == 1:
				return everyContainer(OutOfMemory)
			}
			return everyContainer(Succeeds)
		}, speech, files())
		run := p.create("run", `{completions: 4, `+quick+`, template: {spec: {containers: [{name: main}, {name: binary}], initContainers: [{name: prepare}]}}}`)
		p.succeeds("run")
		Expect(p.saysSo("run", v1alpha1.LogsStored).Status).To(Equal(metav1.ConditionTrue))
		p.removePods()
		found := p.readBack(run, 4)
		Expect(found).To(HaveLen(6))
		for _, a := range found {
			Expect(a.Namespace).To(Equal(p.Namespace))
			Expect(a.Run).To(Equal("run"))
			var names []string
			for _, container := range a.Containers {
				names = append(names, container.Name)
				Expect(container.Init).To(Equal(container.Name == "prepare"))
			}
			Expect(names).To(Equal([]string{"main", "binary", "prepare"}))
		}
		Expect(p.attemptsOf(run, 0)).To(Equal([]string{"1.1 Completed"}))
		Expect(p.attemptsOf(run, 1)).To(Equal([]string{"1.1 Error", "1.2 Completed"}))
		Expect(p.attemptsOf(run, 2)).To(Equal([]string{"1.1 OOMKilled", "1.2 Completed"}))
		for _, failure := range p.get("run").Status.Failures {
			attempts, err := p.store.Attempts(Ctx, run.UID, int(failure.Index))
			Expect(err).NotTo(HaveOccurred())
			Expect(attempts[0].Number).To(Equal(int(failure.Attempt)))
			Expect(attempts[0].Pod).To(Equal(failure.Pod))
			Expect(attempts[0].ExitCode).To(Equal(failure.ExitCode))
		}

		By("counting a rerun as an execution of its own")
		p.merge(run, `{"spec": {"rerun": {"token": "again", "indexes": "1"}}}`)
		Eventually(func() []string { return p.attemptsOf(run, 1) }).Should(Equal([]string{"1.1 Error", "1.2 Completed", "2.1 Completed"}))

		By("deleting it with the record")
		Expect(K8sClient.Delete(Ctx, run)).To(Succeed())
		Eventually(func() ([]types.UID, error) { return p.store.Runs(Ctx) }).Should(BeEmpty())
	})

	It("keeps what a pod said before it was suspended, and what its next one says", func() {
		p := newPlay(Always(Runs), linesOf(10), files())
		run := p.create("run", `{completions: 2}`)
		Eventually(p.Kubelet.Running).Should(HaveLen(2))
		Eventually(func() (float64, error) { return p.metric("batchrun_archive_followed") }).Should(BeEquivalentTo(2))
		p.merge(run, `{"spec": {"suspend": true}}`)
		Eventually(p.Kubelet.All).Should(BeEmpty())
		p.Kubelet.Turn(Always(Succeeds))
		p.merge(run, `{"spec": {"suspend": false}}`)
		p.succeeds("run")
		p.saysSo("run", v1alpha1.LogsStored)
		Expect(p.readBack(run, 2)).To(HaveLen(4))
		Expect(p.attemptsOf(run, 1)).To(ConsistOf("1.1 Deleted", "1.1 Completed"))
	})

	It("keeps what logs.keep says, for as long as the run says", func() {
		p := newPlay(func(task, _ int) Fate { // the node counts the pods of all runs
			return func(pod *corev1.Pod) {
				if task == 0 && pod.Labels[v1alpha1.LabelWave] == "0" {
					Exits(1, "")(pod)
				} else {
					Succeeds(pod)
				}
			}
		}, linesOf(10), files())
		p.create("nothing", `{completions: 2, logs: {keep: None}, `+quick+`}`)
		failed := p.create("failed", `{completions: 2, logs: {keep: Failed}, `+quick+`}`)
		short := p.create("short", `{completions: 2, logs: {archiveTTLSecondsAfterFinished: 0}, `+quick+`}`)
		for _, name := range []string{"nothing", "failed", "short"} {
			p.succeeds(name)
		}
		p.saysSo("failed", v1alpha1.LogsStored)
		Expect(p.attemptsOf(failed, 0)).To(HaveLen(1))
		Expect(p.attemptsOf(failed, 1)).To(BeEmpty())
		Expect(p.says("nothing").Reason).To(BeEmpty())
		By("sweeping when it starts")
		p.endOperator()
		p.startOperator()
		Eventually(func() ([]types.UID, error) { return p.store.Runs(Ctx) }).Should(ConsistOf(failed.UID))
		Expect(p.attemptsOf(short, 0)).To(BeEmpty())
	})

	It("deletes what belongs to runs that are gone, and nothing of other clusters and namespaces", func() {
		p := newPlay(Always(Succeeds), linesOf(10), files())
		run := p.create("run", `{completions: 1}`)
		p.succeeds("run")
		p.saysSo("run", v1alpha1.LogsStored)
		p.endOperator()
		owner, err := p.store.Owner(Ctx, run.UID)
		Expect(err).NotTo(HaveOccurred())
		for uid, other := range map[types.UID]archive.Owner{
			"gone":            {Cluster: owner.Cluster, Namespace: p.Namespace, Run: "gone"},
			"earlier":         {Cluster: owner.Cluster, Namespace: p.Namespace, Run: "run"},
			"other-cluster":   {Cluster: "other", Namespace: p.Namespace, Run: "gone"},
			"other-namespace": {Cluster: owner.Cluster, Namespace: "default", Run: "gone"},
		} {
			Expect(p.store.Claim(Ctx, uid, other)).To(Succeed())
			Expect(p.store.Put(Ctx, archive.Attempt{RunUID: uid, PodUID: "pod"}, nil)).To(Succeed())
		}
		p.startOperator()
		Eventually(func() ([]types.UID, error) { return p.store.Runs(Ctx) }).Should(
			ConsistOf(run.UID, types.UID("other-cluster"), types.UID("other-namespace")))
	})

	It("reads on where a connection broke", func() {
		p := newPlay(Always(After(4*time.Second, Succeeds)), slowly(2*time.Millisecond, 10_000), files())
		run := p.create("run", `{completions: 5}`)
		Eventually(func() (float64, error) { return p.metric("batchrun_archive_followed") }).Should(BeEquivalentTo(5))
		broken := 0
		Eventually(func() v1alpha1.Phase {
			logServer.Break()
			broken++
			return p.get("run").Status.Phase
		}).WithPolling(700 * time.Millisecond).Should(Equal(v1alpha1.PhaseSucceeded))
		Expect(broken).To(BeNumerically(">", 3))
		p.saysSo("run", v1alpha1.LogsStored)
		p.readBack(run, 5)
	})

	It("asks again for a log that seems to be empty", func() {
		const pods = 5
		p := newPlay(Always(Succeeds), linesOf(10), files())
		logServer.Mute(pods)
		run := p.create("run", fmt.Sprintf(`{completions: %d}`, pods))
		p.succeeds("run")
		p.saysSo("run", v1alpha1.LogsStored)
		Expect(p.readBack(run, pods)).To(HaveLen(pods))
	})

	It("leaves out the middle of a log that is too long", func() {
		row := bytes.Repeat([]byte("0123456789abcdef"), 16)
		p := newPlay(Always(Succeeds), func(int, int, string) Speech {
			return Says(20_000, func(i int) []byte { return fmt.Appendf(nil, "%06d %s\n", i, row) })
		}, files(), "--log-archive-max-bytes=1048576")
		run := p.create("run", `{completions: 1}`)
		p.succeeds("run")
		p.saysSo("run", v1alpha1.LogsStored)
		for _, a := range p.archived(run, 1) {
			Expect(a.Containers[0].Cut).To(BeTrue())
			Expect(a.Containers[0].Bytes).To(And(BeNumerically("<", 1<<20+100_000), BeNumerically(">", 600_000)))
			log, err := p.store.Read(Ctx, a, "")
			Expect(err).NotTo(HaveOccurred())
			defer log.Close()
			text, err := io.ReadAll(log)
			Expect(err).NotTo(HaveOccurred())
			Expect(text).To(HaveLen(int(a.Containers[0].Bytes)))
			Expect(string(text[:7])).To(Equal("000000 "))
			Expect(string(text)).To(HaveSuffix(fmt.Sprintf("019999 %s\n", row)))
			Expect(string(text)).To(MatchRegexp(`\n\[batchrun: \d+ bytes of the log are left out here\]\n`))
		}
	})

	It("goes on where a killed operator was", func() {
		p := newPlay(Always(Runs), slowly(time.Millisecond, 1_000_000), files())
		run := p.create("run", `{completions: 3}`)
		Eventually(func() (float64, error) { return p.metric("batchrun_archive_spool_bytes") }, "40s").Should(BeNumerically(">", 3*3*4096))
		p.operator.End()
		By("a pod ends while no operator runs, and its log with it")
		evicted := p.Kubelet.PodOf(1)
		p.Kubelet.Turn(func(task, attempt int) Fate {
			if task == 1 && attempt == 1 {
				return NodeEvicted
			}
			return Runs
		})
		Eventually(func() *corev1.Pod { return p.Kubelet.PodOf(1) }).Should(BeNil())
		p.startOperator()
		Eventually(func() []string { return p.attemptsOf(run, 1) }, "90s").Should(ContainElement("1.1 Evicted"))
		p.Kubelet.Turn(Always(Succeeds))
		p.succeeds("run")
		condition := p.saysSo("run", v1alpha1.LogsIncomplete)
		Expect(condition.Message).To(ContainSubstring(evicted.Name))
		Eventually(func() map[string]archive.Attempt { return p.archived(run, 3) }).Should(HaveLen(4))
		for _, v := range p.Kubelet.Voices() {
			a := p.archived(run, 3)[string(v.UID)]
			if v.Pod != evicted.Name {
				Expect(a.Containers[0].Partial).To(BeFalse(), a.Containers[0].Message)
				p.compare(v, a, a.Containers[0])
				continue
			}
			Expect(a.Containers[0].Partial).To(BeTrue())
			log, err := p.store.Read(Ctx, a, "")
			Expect(err).NotTo(HaveOccurred())
			defer log.Close()
			kept, err := io.ReadAll(log)
			Expect(err).NotTo(HaveOccurred())
			said, err := io.ReadAll(p.Kubelet.Said(v, "main"))
			Expect(err).NotTo(HaveOccurred())
			Expect(len(kept)).To(BeNumerically(">", 1000))
			Expect(bytes.HasPrefix(said, kept)).To(BeTrue())
		}
	})

	It("tells of a log that it lost as a whole while no operator was there", func() {
		p := newPlay(Always(Runs), linesOf(3), files())
		p.create("run", `{completions: 1}`)
		Eventually(func() (float64, error) { return p.metric("batchrun_archive_followed") }).Should(BeEquivalentTo(1))
		p.operator.End() // nothing of the log is written yet
		lost := p.Kubelet.PodOf(0)
		p.Kubelet.Turn(Always(Succeeds))
		Expect(K8sClient.Delete(Ctx, lost)).To(Succeed())
		Eventually(func() bool {
			return apierrors.IsNotFound(K8sClient.Get(Ctx, client.ObjectKeyFromObject(lost), &corev1.Pod{}))
		}).Should(BeTrue())
		p.startOperator()
		p.succeeds("run")
		Expect(p.saysSo("run", v1alpha1.LogsIncomplete).Message).To(ContainSubstring("while the operator was away"))
	})

	It("has everything that 100 tasks said, of which 10% were evicted", func() {
		tasks := 100
		if all {
			tasks = 1000
		}
		p, run := evictions(tasks, files())
		Expect(p.readBack(run, tasks)).To(HaveLen(tasks + tasks/10))
	})

	It("loses nothing of many short pods", func() {
		tasks := 300
		if all {
			tasks = 10_000
		}
		p := newPlay(Always(Succeeds), linesOf(20), files())
		run := p.create("run", fmt.Sprintf(`{completions: %d, parallelism: 500}`, tasks))
		p.succeeds("run", time.Duration(tasks)*100*time.Millisecond+time.Minute)
		p.saysSo("run", v1alpha1.LogsStored, "2m")
		Expect(p.readBack(run, tasks)).To(HaveLen(tasks))
		AddReportEntry("memory", fmt.Sprintf("%d short pods: the operator had %d MiB at most", tasks, p.peak()))
		Expect(p.peak()).To(BeNumerically("<", 350))
	})

	It("keeps a long log", func() {
		bytesOf := 100 << 20
		if all {
			bytesOf = 1 << 30
		}
		row := strings.Repeat("all work and no play ", 12)
		p := newPlay(Always(Succeeds), func(int, int, string) Speech {
			return Says(bytesOf/(len(row)+10), func(i int) []byte { return fmt.Appendf(nil, "%08d %s\n", i, row) })
		}, S3URL(startS3().Address), "--log-archive-max-bytes=2147483648")
		run := p.create("run", `{completions: 1}`)
		p.succeeds("run")
		p.saysSo("run", v1alpha1.LogsStored, "5m")
		p.readBack(run, 1)
		AddReportEntry("memory", fmt.Sprintf("a log of %d MiB: the operator had %d MiB at most", bytesOf>>20, p.peak()))
		Expect(p.peak()).To(BeNumerically("<", 350))
	})
})

// evictions plays a run whose pods speak for some seconds; every tenth task is evicted once, and its log is gone with
// the pod. It returns once all is archived and every pod is deleted.
func evictions(tasks int, url string) (*play, *v1alpha1.BatchRun) {
	GinkgoHelper()
	evicted, succeeds := After(3*time.Second, NodeEvicted), After(2*time.Second, Succeeds)
	p := newPlay(func(task, attempt int) Fate {
		if task%10 == 0 && attempt == 1 {
			return evicted
		}
		return succeeds
	}, slowly(5*time.Millisecond, 10_000), url)
	run := p.create("run", fmt.Sprintf(`{completions: %d, %s}`, tasks, quick))
	p.succeeds("run", time.Duration(tasks)*200*time.Millisecond+time.Minute)
	p.saysSo("run", v1alpha1.LogsStored, "2m")
	p.removePods()
	AddReportEntry("memory", fmt.Sprintf("%d tasks at once: the operator had %d MiB at most", tasks, p.peak()))
	return p, run
}

var _ = Describe("An archive in S3", func() {
	It("has everything of a run with evictions, after every pod is deleted", func() {
		p, run := evictions(30, S3URL(startS3().Address))
		Expect(p.readBack(run, 30)).To(HaveLen(33))
	})

	It("does not hold up a run while it is killed, and has everything once it is back", func() {
		server := startS3()
		server.Kill()
		p := newPlay(Always(Succeeds), linesOf(20), S3URL(server.Address))
		run := p.create("run", `{completions: 20}`)
		p.succeeds("run")
		condition := p.saysSo("run", v1alpha1.LogsNotStored)
		Expect(condition.Status).To(Equal(metav1.ConditionFalse))
		Expect(condition.Message).To(And(ContainSubstring("the logs of 20 attempts are not stored yet"), ContainSubstring("refused")))
		By("the pods and the operator are gone before it is back")
		p.removePods()
		p.operator.End()
		server.Restart()
		p.startOperator()
		p.saysSo("run", v1alpha1.LogsStored)
		Expect(p.readBack(run, 20)).To(HaveLen(20))
	})

	It("keeps what was read first of pods that are still there, whatever operators start anew while it is dead", func() {
		server := startS3()
		server.Kill()
		evicted := After(2*time.Second, NodeEvicted) // the node has no log of it then
		p := newPlay(func(_, attempt int) Fate {
			if attempt == 1 {
				return evicted
			}
			return Succeeds
		}, linesOf(500), S3URL(server.Address))
		run := p.create("run", `{completions: 3, `+quick+`}`)
		p.succeeds("run")
		p.saysSo("run", v1alpha1.LogsNotStored)
		pending := func() (float64, error) { return p.metric("batchrun_archive_pending") }
		By("a new operator finds the spool of the old one")
		p.operator.End()
		p.startOperator()
		Eventually(pending).Should(BeEquivalentTo(6))
		Consistently(pending).WithTimeout(8 * time.Second).Should(BeEquivalentTo(6)) // it looks for what it does not know
		server.Restart()
		p.saysSo("run", v1alpha1.LogsStored, "2m")
		Expect(p.readBack(run, 3)).To(HaveLen(6))

		By("a new operator has no spool, and cannot ask what is stored")
		server.Kill()
		p.operator.End()
		p.spool = GinkgoT().TempDir()
		p.startOperator()
		Eventually(pending, "90s").Should(BeEquivalentTo(6))
		server.Restart()
		Eventually(pending, "2m").Should(BeZero())
		Expect(p.readBack(run, 3)).To(HaveLen(6))
		Expect(p.says("run").Reason).To(Equal(v1alpha1.LogsStored))
	})

	It("is asked what it has of pods that ended long ago, once it answers", func() {
		server := startS3()
		longAgo := func(pod *corev1.Pod) {
			Succeeds(pod)
			pod.Status.ContainerStatuses[0].State.Terminated.FinishedAt = metav1.NewTime(time.Now().Add(-time.Hour))
		}
		p := newPlay(Always(longAgo), linesOf(10), S3URL(server.Address))
		run := p.create("run", `{completions: 3}`)
		p.succeeds("run")
		p.saysSo("run", v1alpha1.LogsStored)
		p.operator.End()
		other := p.create("other", `{completions: 2}`)
		server.Kill()
		p.startOperator()
		p.succeeds("other")
		Expect(p.saysSo("other", v1alpha1.LogsNotStored).Message).To(ContainSubstring("of 2 attempts"))
		server.Restart()
		p.saysSo("other", v1alpha1.LogsStored, "3m")
		Expect(p.archived(other, 2)).To(HaveLen(2))
		Expect(p.archived(run, 3)).To(HaveLen(3))
		Expect(p.says("run").Reason).To(Equal(v1alpha1.LogsStored))
	})

	It("does not hold up a run, and has everything in the end, where it is slow, full, or fails halfway", func() {
		server := startS3()
		plays, troubles := map[trouble]*play{}, map[trouble]*troubled{}
		for _, what := range []trouble{slow, full, halfway} {
			troubles[what] = withTroubles(server)
			troubles[what].set(what)
			plays[what] = newPlay(Always(Succeeds), linesOf(200), S3URL(troubles[what].address))
			plays[what].create("run", `{completions: 12}`)
		}
		for what, p := range plays {
			p.succeeds("run", "20s")
			Eventually(troubles[what].hits.Load).Should(BeNumerically(">", 3))
			if what != slow {
				p.saysSo("run", v1alpha1.LogsNotStored)
				Expect(p.metric("batchrun_archive_pending")).To(BeEquivalentTo(12))
				troubles[what].set(none)
			}
		}
		for _, p := range plays {
			p.saysSo("run", v1alpha1.LogsStored, "2m")
			p.removePods()
			Expect(p.readBack(p.get("run"), 12)).To(HaveLen(12))
		}
	})

	It("is waited for in the spool, no longer than there is room", func() {
		server := startS3()
		t := withTroubles(server)
		t.set(full)
		random := make([]byte, 3000)
		rand.New(rand.NewSource(1)).Read(random)
		row := append(bytes.ReplaceAll(random, []byte("\n"), nil), '\n')
		p := newPlay(Always(Succeeds), func(int, int, string) Speech { return Says(100, func(int) []byte { return row }) },
			S3URL(t.address), "--log-archive-spool-bytes=2000000")
		run := p.create("run", `{completions: 20}`)
		p.succeeds("run")
		Expect(p.saysSo("run", v1alpha1.LogsNotStored).Message).To(ContainSubstring("not stored yet"))
		Expect(used(p.spool)).To(BeNumerically("<", 2_000_000))
		By("what did not fit is read from the pods once there is room")
		t.set(none)
		p.saysSo("run", v1alpha1.LogsStored, "2m")
		Expect(p.readBack(run, 20)).To(HaveLen(20))
		Eventually(func() ([]os.DirEntry, error) { return os.ReadDir(p.spool) }).Should(BeEmpty())
	})
})

// used is how many bytes the files of a directory have.
func used(directory string) (sum int64) {
	GinkgoHelper()
	pods, err := os.ReadDir(directory)
	Expect(err).NotTo(HaveOccurred())
	for _, pod := range pods {
		entries, err := os.ReadDir(directory + "/" + pod.Name())
		Expect(err).NotTo(HaveOccurred())
		for _, entry := range entries {
			if info, err := entry.Info(); err == nil { // it may be stored by now
				sum += info.Size()
			}
		}
	}
	return sum
}
