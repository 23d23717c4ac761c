package integration

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// grid is a sweep of 2 × 3 tasks whose container and init container read their parameters in every way there is.
const grid = `
parameters:
  matrix:
  - {name: LR, values: ["0.1", "0.01"]}
  - {name: SEED, range: {start: 1, end: 3}}
template:
  spec:
    automountServiceAccountToken: false
    schedulingGates: []
    initContainers:
    - {name: fetch, command: [fetch, $(LR)]}
    containers:
    - {name: main, args: [--seed=$(SEED)], env: [{name: OUT, value: out/$(LR)/$(BATCHRUN_TASK_INDEX)}, {name: SEED, value: mine}]}
`

// gridValues are the parameters of its tasks.
var gridValues = map[int]string{0: "LR=0.1 SEED=1", 1: "LR=0.1 SEED=2", 2: "LR=0.1 SEED=3", 3: "LR=0.01 SEED=1", 4: "LR=0.01 SEED=2", 5: "LR=0.01 SEED=3"}

// pods are all pods of the namespace that were on a node, by their tasks, the latest of each.
func (s *stage) pods() map[int]corev1.Pod {
	GinkgoHelper()
	var list corev1.PodList
	Expect(k8sClient.List(ctx, &list, client.InNamespace(s.namespace))).To(Succeed())
	slices.SortFunc(list.Items, func(a, b corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	pods := map[int]corev1.Pod{}
	for _, pod := range list.Items {
		if pod.Spec.NodeName == "" {
			continue
		}
		task, err := taskOf(&pod)
		Expect(err).NotTo(HaveOccurred())
		pods[task] = pod
	}
	return pods
}

// values are the parameters that the tasks' pods got: "LR=0.1 SEED=1".
func (s *stage) values(names ...string) map[int]string {
	GinkgoHelper()
	values := map[int]string{}
	for task, pod := range s.pods() {
		var texts []string
		for _, name := range names {
			i := slices.IndexFunc(pod.Spec.Containers[0].Env, func(v corev1.EnvVar) bool { return v.Name == name })
			Expect(i).To(BeNumerically(">=", 0), "task %d has no %s", task, name)
			texts = append(texts, name+"="+pod.Spec.Containers[0].Env[i].Value)
		}
		values[task] = strings.Join(texts, " ")
	}
	return values
}

// nameless are the pods of a run without what differs between any two pods.
func (s *stage) nameless() map[int]corev1.Pod {
	GinkgoHelper()
	pods := s.pods()
	for task, pod := range pods {
		for _, label := range []string{v1alpha1.LabelRunUID, v1alpha1.LabelWave, batchv1.JobCompletionIndexAnnotation,
			batchv1.JobNameLabel, batchv1.ControllerUidLabel, "job-name", "controller-uid"} {
			Expect(pod.Labels).To(HaveKey(label))
			delete(pod.Labels, label)
		}
		delete(pod.Annotations, batchv1.JobCompletionIndexAnnotation)
		pod.Spec.Hostname = ""
		nameless := corev1.Pod{Spec: pod.Spec}
		nameless.Labels, nameless.Annotations, nameless.Finalizers = maps.Clone(pod.Labels), maps.Clone(pod.Annotations), pod.Finalizers
		pods[task] = nameless
	}
	return pods
}

var _ = Describe("A sweep", func() {
	BeforeEach(trustPolicy)

	It("gives each task its parameter values, in one Job", func() {
		s := newStage(always(succeeds))
		s.create(grid)
		run := s.finishes(v1alpha1.PhaseSucceeded)

		Expect(s.jobs()).To(HaveLen(1))
		Expect(s.values("LR", "SEED")).To(Equal(gridValues))
		Expect(run.Status.Tasks).To(Equal(int32(6)))
		Expect(run.Status.Successes).To(HaveLen(5))
		for _, success := range run.Status.Successes {
			Expect(fmt.Sprintf("LR=%s SEED=%s", success.Parameters["LR"], success.Parameters["SEED"])).To(Equal(gridValues[int(success.Index)]))
		}
		Expect(meta.FindStatusCondition(run.Status.Conditions, v1alpha1.ConditionPacked)).To(HaveField("Reason", v1alpha1.PackedPolicyInstalled))
	})

	It("sends the tasks that failed out again as one Job, each with its own index and values", func() {
		s := newStage(tasks{1: {exits(1, "")}, 3: {exits(1, "")}, 5: {preempted}}.script())
		s.create(grid + "parallelism: 6\nretryPolicy: {backoff: {baseSeconds: 5, maxSeconds: 5}, rules: [{reasons: [Preempted], action: Count}]}\n")
		s.finishes(v1alpha1.PhaseSucceeded)

		Expect(s.kubelet.started()).To(Equal(map[int]int{0: 1, 1: 2, 2: 1, 3: 2, 4: 1, 5: 2}))
		Expect(s.values("LR", "SEED")).To(Equal(gridValues))
		Expect(s.jobs()).To(Or(HaveLen(2), HaveLen(3)), "one more, or two where they failed in different seconds")
	})

	It("runs added values only, as new tasks, and finishes again", func() {
		s := newStage(always(succeeds))
		s.create(grid)
		s.finishes(v1alpha1.PhaseSucceeded)
		s.patch(`parameters: {matrix: [{name: LR, values: ["0.1", "0.01"]}, {name: SEED, range: {start: 0, end: 3}}]}`)
		run := s.eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Completions).To(Equal("8/8")) })

		Expect(run.Status.Phase).To(Equal(v1alpha1.PhaseSucceeded))
		Expect(s.kubelet.started()).To(Equal(map[int]int{0: 1, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1, 7: 1}))
		values := maps.Clone(gridValues)
		values[6], values[7] = "LR=0.1 SEED=0", "LR=0.01 SEED=0"
		Expect(s.values("LR", "SEED")).To(Equal(values))
		Expect(s.events()).To(ContainElement(v1alpha1.RunReopened))
	})

	It("stops removed values, which leave the counts", func() {
		s := newStage(always(runs))
		s.create(grid)
		s.runsPods(6)
		s.patch(`parameters: {matrix: [{name: LR, values: ["0.01"]}, {name: SEED, range: {start: 1, end: 3}}]}`)
		s.runsPods(3)
		s.eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Completions).To(Equal("0/3")) })
		s.kubelet.turn(always(succeeds))
		run := s.finishes(v1alpha1.PhaseSucceeded)
		Expect(run.Status.SucceededIndexes).To(Equal("3-5"))
		Expect(states(run)).To(Equal("Completed 3"))
	})

	It("is an array once it is edited into one, and a sweep again", func() {
		s := newStage(always(runs))
		s.create(grid)
		s.runsPods(6)
		s.patch(`parameters: null, completions: 2`)
		s.runsPods(2)
		s.eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Completions).To(Equal("0/2")) })
		s.kubelet.turn(always(succeeds))
		s.finishes(v1alpha1.PhaseSucceeded)
		s.patch(`completions: null, parameters: {items: [{A: x}, {A: w}, {A: z}]}`)
		s.eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Completions).To(Equal("3/3")) })
	})

	It("says which task has which parameters is lost when its ControllerRevision is deleted", func() {
		s := newStage(always(succeeds))
		s.create(grid)
		s.finishes(v1alpha1.PhaseSucceeded)
		out, err := kubectl("", "delete", "controllerrevision", "--namespace", s.namespace, runName+"-parameters-0")
		Expect(err).NotTo(HaveOccurred(), out)
		s.patch(`parameters: {matrix: [{name: LR, values: ["0.3"]}]}`)
		message := s.shows(v1alpha1.RunParametersLost)
		Expect(message).To(ContainSubstring("ControllerRevision"))
	})

	It("leaves a foreign ControllerRevision in its way alone, says which one it is, and goes on once it is gone", func() {
		s := newStage(always(succeeds))
		foreign := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: runName + "-parameters-0"}, Revision: 1,
			Data: runtime.RawExtension{Raw: []byte("{}")}}
		Expect(k8sClient.Create(ctx, foreign)).To(Succeed())
		s.create(grid)
		Expect(s.shows(v1alpha1.RunNameTaken)).To(ContainSubstring("ControllerRevision run-parameters-0"))
		Expect(k8sClient.Delete(ctx, foreign)).To(Succeed())
		s.forward(10 * time.Second)
		s.finishes(v1alpha1.PhaseSucceeded)
	})

	It("that excludes every combination says so, and goes on once it is mended", func() {
		s := newStage(always(succeeds))
		s.create(`{parameters: {matrix: [{name: A, values: [x]}], exclude: [{A: x}]}}`)
		Expect(s.shows(v1alpha1.RunNoTasks)).To(ContainSubstring("exclude fewer combinations"))
		s.patch(`parameters: {exclude: null}`)
		s.finishes(v1alpha1.PhaseSucceeded)
	})

	It("warns of an exclude that matches nothing", func() {
		s := newStage(always(succeeds))
		s.create(`{parameters: {matrix: [{name: A, values: [x]}], exclude: [{A: z}]}}`)
		run := s.finishes(v1alpha1.PhaseSucceeded)
		Expect(messageOf(run, v1alpha1.ConditionSpecWarning)).To(ContainSubstring("spec.parameters.exclude[0]"))
		Eventually(s.events).Should(ContainElement(v1alpha1.WarningExcludeMatchesNothing))
	})
})

var _ = Describe("An array", func() {
	BeforeEach(trustPolicy)

	It("sends retries out before tasks that have not started, packed, with their own indexes", func() {
		s := newStage(tasks{0: {exits(1, "")}, 2: {exits(1, "")}}.script())
		s.create(`{completions: 12, parallelism: 4, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		run := s.finishes(v1alpha1.PhaseSucceeded)
		Expect(counts(run)).To(Equal([3]int32{12, 0, 2}))
		Expect(s.kubelet.most()).To(BeNumerically("<=", 4))
		Expect(s.kubelet.started()).To(HaveLen(12))
	})

	It("starts what is left with an edited template", func() {
		s := newStage(always(runs))
		s.create(`{completions: 4, parallelism: 2}`)
		s.runsPods(2)
		s.patch(`template: {metadata: {labels: {edited: "true"}}}`)
		s.kubelet.turn(always(succeeds))
		s.finishes(v1alpha1.PhaseSucceeded)
		for task, pod := range s.pods() {
			edited := pod.Labels["edited"] == "true"
			Expect(edited).To(Equal(task >= 2), "task %d", task)
		}
	})
})

var _ = Describe("A pilot", func() {
	It("goes first, and the others follow once it succeeded", func() {
		s := newStage(always(runs))
		s.create(`{completions: 10, pilot: 2}`)
		s.runsPods(2)
		Expect(s.kubelet.started()).To(Equal(map[int]int{0: 1, 1: 1}))
		s.kubelet.turn(always(succeeds))
		s.finishes(v1alpha1.PhaseSucceeded)
		Expect(s.kubelet.started()).To(HaveLen(10))
	})

	It("that fails fails the run before the others start", func() {
		s := newStage(always(exits(3, "no such dataset")))
		s.create(`{completions: 1000, pilot: 1, backoffLimit: 0}`)
		run := s.finishes(v1alpha1.PhaseFailed)
		Expect(reasonOf(run, v1alpha1.ConditionFailed)).To(Equal(v1alpha1.RunPilotFailed))
		Expect(messageOf(run, v1alpha1.ConditionFailed)).To(ContainSubstring("exit code 3"))
		Expect(s.kubelet.started()).To(Equal(map[int]int{0: 1}))
	})
})

var _ = Describe("A rerun", func() {
	BeforeEach(trustPolicy)

	It("runs the failed tasks again, once for each token, with the present template", func() {
		s := newStage(tasks{1: {exits(1, "")}, 3: {exits(1, "")}}.script())
		s.create(grid + "backoffLimit: 0\n")
		s.finishes(v1alpha1.PhaseFailed)
		s.patch(`rerun: {token: "1"}, template: {metadata: {labels: {mended: "true"}}}`)
		run := s.eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Phase).To(Equal(v1alpha1.PhaseSucceeded)) })

		Expect(run.Status.Reruns).To(HaveLen(1))
		Expect(run.Status.Reruns[0].Indexes).To(Equal("1,3"))
		Expect(s.kubelet.started()).To(Equal(map[int]int{0: 1, 1: 2, 2: 1, 3: 2, 4: 1, 5: 1}))
		for task, pod := range s.pods() {
			mended := pod.Labels["mended"] == "true"
			Expect(mended).To(Equal(task == 1 || task == 3), "task %d", task)
		}
		s.patch(`rerun: {token: "1", scope: All}`)
		s.caughtUp()
		s.reconcile(2)
		Expect(s.get().Status.Phase).To(Equal(v1alpha1.PhaseSucceeded))
	})

	It("stops attempts of these tasks that are active", func() {
		s := newStage(always(runs))
		s.create(`{completions: 3}`)
		s.runsPods(3)
		before := s.kubelet.podOf(1)
		s.eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Active).To(Equal(int32(3))) })
		s.patch(`rerun: {token: "1", indexes: "1"}`)
		s.eventually(func(g Gomega, _ *v1alpha1.BatchRun) {
			g.Expect(s.kubelet.started()).To(Equal(map[int]int{0: 1, 1: 2, 2: 1}))
		})
		s.runsPods(3)
		Expect(s.kubelet.podOf(1).UID).NotTo(Equal(before.UID))
		s.kubelet.turn(always(succeeds))
		run := s.finishes(v1alpha1.PhaseSucceeded)
		Expect(states(run)).To(Equal("Completed 3"))
		for _, success := range run.Status.Successes {
			Expect(success.Execution).To(Equal(map[int32]int32{0: 1, 1: 2, 2: 1}[success.Index]))
		}
	})

	It("of tasks that the run does not have is told, and changes nothing", func() {
		s := newStage(always(succeeds))
		s.create(grid)
		s.finishes(v1alpha1.PhaseSucceeded)
		s.patch(`rerun: {token: "1", indexes: "5-7"}`)
		run := s.eventually(func(g Gomega, run *v1alpha1.BatchRun) {
			g.Expect(reasonOf(run, v1alpha1.ConditionSpecWarning)).To(Equal(v1alpha1.WarningRerunOutOfRange))
		})
		Expect(messageOf(run, v1alpha1.ConditionSpecWarning)).To(ContainSubstring("spec.rerun.indexes names 6,7"))
		Expect(run.Status.Phase).To(Equal(v1alpha1.PhaseSucceeded))
	})
})
