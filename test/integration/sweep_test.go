package integration

import (
	"fmt"
	"maps"
	"net/http"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
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

var _ = Describe("A sweep", func() {
	BeforeEach(TrustPolicy)

	It("gives each task its parameter values, in one Job where they can be packed", func() {
		jobs, packed := 1, v1alpha1.PackedPolicyInstalled
		if !ServesPolicies() {
			jobs, packed = len(gridValues), v1alpha1.PackedPolicyMissing
		}
		s := NewStage(Always(Succeeds))
		s.Create(grid)
		run := s.Finishes(v1alpha1.PhaseSucceeded)

		Expect(s.Jobs()).To(HaveLen(jobs))
		Expect(s.Values("LR", "SEED")).To(Equal(gridValues))
		Expect(run.Status.Tasks).To(Equal(int32(6)))
		Expect(run.Status.Successes).To(HaveLen(5))
		for _, success := range run.Status.Successes {
			Expect(fmt.Sprintf("LR=%s SEED=%s", success.Parameters["LR"], success.Parameters["SEED"])).To(Equal(gridValues[int(success.Index)]))
		}
		Expect(meta.FindStatusCondition(run.Status.Conditions, v1alpha1.ConditionPacked)).To(HaveField("Reason", packed))
	})

	It("sends the tasks that failed out again as one Job, each with its own index and values", func() {
		s := NewStage(Tasks{1: {Exits(1, "")}, 3: {Exits(1, "")}, 5: {Preempted}}.Script())
		s.Create(grid + "parallelism: 6\nretryPolicy: {backoff: {baseSeconds: 5, maxSeconds: 5}, rules: [{reasons: [Preempted], action: Count}]}\n")
		s.Finishes(v1alpha1.PhaseSucceeded)

		Expect(s.Kubelet.Started()).To(Equal(map[int]int{0: 1, 1: 2, 2: 1, 3: 2, 4: 1, 5: 2}))
		Expect(s.Values("LR", "SEED")).To(Equal(gridValues))
		if ServesPolicies() {
			Expect(s.Jobs()).To(Or(HaveLen(2), HaveLen(3)), "one more, or two where they failed in different seconds")
		}
	})

	It("runs added values only, as new tasks, and finishes again", func() {
		s := NewStage(Always(Succeeds))
		s.Create(grid)
		s.Finishes(v1alpha1.PhaseSucceeded)
		s.Patch(`parameters: {matrix: [{name: LR, values: ["0.1", "0.01"]}, {name: SEED, range: {start: 0, end: 3}}]}`)
		run := s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Completions).To(Equal("8/8")) })

		Expect(run.Status.Phase).To(Equal(v1alpha1.PhaseSucceeded))
		Expect(s.Kubelet.Started()).To(Equal(map[int]int{0: 1, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1, 7: 1}))
		values := maps.Clone(gridValues)
		values[6], values[7] = "LR=0.1 SEED=0", "LR=0.01 SEED=0"
		Expect(s.Values("LR", "SEED")).To(Equal(values))
		Expect(s.Events()).To(ContainElement(v1alpha1.RunReopened))
	})

	It("is not ready while added values cannot be recorded, and runs them once they can", func() {
		var fails atomic.Bool
		s := NewStageWith(Always(Succeeds), &Wire{Faults: func(r Request, _ int) *Fault {
			if fails.Load() && r == RequestTo("create", appsv1.GroupName, "controllerrevisions") {
				return &Fault{Code: http.StatusInternalServerError}
			}
			return nil
		}})
		s.Create(`parameters: {matrix: [{name: A, values: [u]}]}`)
		s.Finishes(v1alpha1.PhaseSucceeded)
		fails.Store(true)
		s.Patch(`parameters: {matrix: [{name: A, values: [u, v]}]}`)
		run := s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) {
			g.Expect(run.Status.ObservedGeneration).To(Equal(run.Generation))
			g.Expect(ReasonOf(run, v1alpha1.ConditionReconciling)).To(Equal(v1alpha1.RunJobRefused))
		})
		Expect(meta.IsStatusConditionFalse(run.Status.Conditions, v1alpha1.ConditionReady)).To(BeTrue())
		Expect(run.Status.Phase).To(Equal(v1alpha1.PhaseSucceeded))
		fails.Store(false)
		s.Forward(10 * time.Second)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Completions).To(Equal("2/2")) })
		Expect(s.Finishes(v1alpha1.PhaseSucceeded).Status.Conditions).NotTo(ContainElement(HaveField("Type", v1alpha1.ConditionReconciling)))
	})

	It("stops removed values, which leave the counts", func() {
		s := NewStage(Always(Runs))
		s.Create(grid)
		s.RunsPods(6)
		s.Patch(`parameters: {matrix: [{name: LR, values: ["0.01"]}, {name: SEED, range: {start: 1, end: 3}}]}`)
		s.RunsPods(3)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Completions).To(Equal("0/3")) })
		s.Kubelet.Turn(Always(Succeeds))
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(run.Status.SucceededIndexes).To(Equal("3-5"))
		Expect(States(run)).To(Equal("Completed 3"))
	})

	It("is an array once it is edited into one, and a sweep again", func() {
		s := NewStage(Always(Runs))
		s.Create(grid)
		s.RunsPods(6)
		s.Patch(`parameters: null, completions: 2`)
		s.RunsPods(2)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Completions).To(Equal("0/2")) })
		s.Kubelet.Turn(Always(Succeeds))
		s.Finishes(v1alpha1.PhaseSucceeded)
		s.Patch(`completions: null, parameters: {items: [{A: x}, {A: w}, {A: z}]}`)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Completions).To(Equal("3/3")) })
	})

	It("says which task has which parameters is lost when its ControllerRevision is deleted", func() {
		s := NewStage(Always(Succeeds))
		s.Create(grid)
		s.Finishes(v1alpha1.PhaseSucceeded)
		out, err := Kubectl("", "delete", "controllerrevision", "--namespace", s.Namespace, RunName+"-parameters-0")
		Expect(err).NotTo(HaveOccurred(), out)
		s.Patch(`parameters: {matrix: [{name: LR, values: ["0.3"]}]}`)
		message := s.Shows(v1alpha1.RunParametersLost)
		Expect(message).To(ContainSubstring("ControllerRevision"))
	})

	It("leaves a foreign ControllerRevision in its way alone, says which one it is, and goes on once it is gone", func() {
		s := NewStage(Always(Succeeds))
		foreign := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: RunName + "-parameters-0"}, Revision: 1,
			Data: runtime.RawExtension{Raw: []byte("{}")}}
		Expect(K8sClient.Create(Ctx, foreign)).To(Succeed())
		s.Create(grid)
		Expect(s.Shows(v1alpha1.RunNameTaken)).To(ContainSubstring("ControllerRevision run-parameters-0"))
		Expect(K8sClient.Delete(Ctx, foreign)).To(Succeed())
		s.Forward(10 * time.Second)
		s.Finishes(v1alpha1.PhaseSucceeded)
	})

	It("that excludes every combination says so, and goes on once it is mended", func() {
		s := NewStage(Always(Succeeds))
		s.Create(`{parameters: {matrix: [{name: A, values: [x]}], exclude: [{A: x}]}}`)
		Expect(s.Shows(v1alpha1.RunNoTasks)).To(ContainSubstring("exclude fewer combinations"))
		s.Patch(`parameters: {exclude: null}`)
		s.Finishes(v1alpha1.PhaseSucceeded)
	})

	It("warns of an exclude that matches nothing", func() {
		s := NewStage(Always(Succeeds))
		s.Create(`{parameters: {matrix: [{name: A, values: [x]}], exclude: [{A: z}]}}`)
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(MessageOf(run, v1alpha1.ConditionSpecWarning)).To(ContainSubstring("spec.parameters.exclude[0]"))
		Eventually(s.Events).Should(ContainElement(v1alpha1.WarningExcludeMatchesNothing))
	})
})

var _ = Describe("An array", func() {
	BeforeEach(TrustPolicy)

	It("sends retries out before tasks that have not started, packed, with their own indexes", func() {
		s := NewStage(Tasks{0: {Exits(1, "")}, 2: {Exits(1, "")}}.Script())
		s.Create(`{completions: 12, parallelism: 4, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(Counts(run)).To(Equal([3]int32{12, 0, 2}))
		Expect(s.Kubelet.Most()).To(BeNumerically("<=", 4))
		Expect(s.Kubelet.Started()).To(HaveLen(12))
	})

	It("starts what is left with an edited template", func() {
		NeedPolicies() // without them an array's first wave has all tasks
		s := NewStage(Always(Runs))
		s.Create(`{completions: 4, parallelism: 2}`)
		s.RunsPods(2)
		s.Patch(`template: {metadata: {labels: {edited: "true"}}}`)
		s.Kubelet.Turn(Always(Succeeds))
		s.Finishes(v1alpha1.PhaseSucceeded)
		for task, pod := range s.Pods() {
			edited := pod.Labels["edited"] == "true"
			Expect(edited).To(Equal(task >= 2), "task %d", task)
		}
	})
})

var _ = Describe("A pilot", func() {
	It("goes first, and the others follow once it succeeded", func() {
		s := NewStage(Always(Runs))
		s.Create(`{completions: 10, pilot: 2}`)
		s.RunsPods(2)
		Expect(s.Kubelet.Started()).To(Equal(map[int]int{0: 1, 1: 1}))
		s.Kubelet.Turn(Always(Succeeds))
		s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(s.Kubelet.Started()).To(HaveLen(10))
	})

	It("that fails fails the run before the others start", func() {
		s := NewStage(Always(Exits(3, "no such dataset")))
		s.Create(`{completions: 1000, pilot: 1, backoffLimit: 0}`)
		run := s.Finishes(v1alpha1.PhaseFailed)
		Expect(ReasonOf(run, v1alpha1.ConditionFailed)).To(Equal(v1alpha1.RunPilotFailed))
		Expect(MessageOf(run, v1alpha1.ConditionFailed)).To(ContainSubstring("exit code 3"))
		Expect(s.Kubelet.Started()).To(Equal(map[int]int{0: 1}))
	})
})

var _ = Describe("A rerun", func() {
	BeforeEach(TrustPolicy)

	It("runs the failed tasks again, once for each token, with the present template", func() {
		s := NewStage(Tasks{1: {Exits(1, "")}, 3: {Exits(1, "")}}.Script())
		s.Create(grid + "backoffLimit: 0\n")
		s.Finishes(v1alpha1.PhaseFailed)
		s.Patch(`rerun: {token: "1"}, template: {metadata: {labels: {mended: "true"}}}`)
		run := s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Phase).To(Equal(v1alpha1.PhaseSucceeded)) })

		Expect(run.Status.Reruns).To(HaveLen(1))
		Expect(run.Status.Reruns[0].Indexes).To(Equal("1,3"))
		Expect(s.Kubelet.Started()).To(Equal(map[int]int{0: 1, 1: 2, 2: 1, 3: 2, 4: 1, 5: 1}))
		for task, pod := range s.Pods() {
			mended := pod.Labels["mended"] == "true"
			Expect(mended).To(Equal(task == 1 || task == 3), "task %d", task)
		}
		s.Patch(`rerun: {token: "1", scope: All}`)
		s.CaughtUp()
		s.Reconcile(2)
		Expect(s.Get().Status.Phase).To(Equal(v1alpha1.PhaseSucceeded))
	})

	It("stops attempts of these tasks that are active", func() {
		s := NewStage(Always(Runs))
		s.Create(`{completions: 3}`)
		s.RunsPods(3)
		before := s.Kubelet.PodOf(1)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Active).To(Equal(int32(3))) })
		s.Patch(`rerun: {token: "1", indexes: "1"}`)
		s.Eventually(func(g Gomega, _ *v1alpha1.BatchRun) {
			g.Expect(s.Kubelet.Started()).To(Equal(map[int]int{0: 1, 1: 2, 2: 1}))
		})
		s.RunsPods(3)
		Expect(s.Kubelet.PodOf(1).UID).NotTo(Equal(before.UID))
		s.Kubelet.Turn(Always(Succeeds))
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(States(run)).To(Equal("Completed 3"))
		for _, success := range run.Status.Successes {
			Expect(success.Execution).To(Equal(map[int32]int32{0: 1, 1: 2, 2: 1}[success.Index]))
		}
	})

	It("of tasks that the run does not have is told, and changes nothing", func() {
		s := NewStage(Always(Succeeds))
		s.Create(grid)
		s.Finishes(v1alpha1.PhaseSucceeded)
		s.Patch(`rerun: {token: "1", indexes: "5-7"}`)
		run := s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) {
			g.Expect(ReasonOf(run, v1alpha1.ConditionSpecWarning)).To(Equal(v1alpha1.WarningRerunOutOfRange))
		})
		Expect(MessageOf(run, v1alpha1.ConditionSpecWarning)).To(ContainSubstring("spec.rerun.indexes names 6,7"))
		Expect(run.Status.Phase).To(Equal(v1alpha1.PhaseSucceeded))
	})
})
