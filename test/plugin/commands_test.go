package plugin

import (
	"encoding/json"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

// job is a Job that becomes the run of a stage.
const job = `
apiVersion: batch/v1
kind: Job
metadata: {name: run}
spec:
  completions: 3
  parallelism: 3
  completionMode: Indexed
  backoffLimitPerIndex: 0
  template:
    spec:
      restartPolicy: OnFailure
      nodeSelector: {kubernetes.io/hostname: ` + NodeName + `}
      containers: [{name: main, image: example}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: data}
`

var _ = Describe("The plugin", func() {
	It("starts a run from a Job, shows it, and waits for it", func() {
		s := NewStage(Always(Runs))
		f := newFront(s.Namespace)
		dry := f.runWith(job, "create", "-f", "-", "--dry-run")
		Expect(dry.Code).To(BeZero(), dry.Err)
		Expect(dry.Out).To(ContainSubstring("batchrun.batchrun.io/run created (server dry run)"))
		created := f.runWith(job, "create", "-f", "-")
		Expect(created.Code).To(BeZero(), created.Err)
		Expect(created.Out).To(Equal("batchrun.batchrun.io/run created\nconfigmap/data created\n"))
		Expect(created.Err).To(ContainSubstring("Job run becomes a BatchRun"))
		again := f.runWith(job, "create", "-f", "-")
		Expect(again.Code).To(Equal(1))
		Expect(again.Err).To(ContainSubstring("a run takes edits"))

		s.RunsPods(3)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Active).To(BeEquivalentTo(3)) })
		Expect(f.ok("get", "run")).To(And(ContainSubstring("Running"), ContainSubstring("0 of 3 tasks succeeded, 3 active")))
		Expect(f.ok("tasks", "batchrun/run", "--state", "active")).To(MatchRegexp(`(?s)TASK +STATE +ATTEMPTS.*0 +Active +1 .*` + NodeName))
		s.Kubelet.Turn(Always(Succeeds))
		Expect(f.ok("wait", "run", "--timeout", "1m")).To(Equal("batchrun.batchrun.io/run Succeeded 3/3\n"))

		Expect(f.ok("list")).To(MatchRegexp(`NAME +STATUS +COMPLETIONS +FAILED +RETRIES +DURATION +AGE\nrun +Succeeded +3/3 +0 +0 `))
		Expect(f.ok("list", "-A", "-o", "wide")).To(MatchRegexp(`NAMESPACE +NAME +STATUS.*REASON`))
		Expect(f.ok("list", "-l", "no=such")).To(BeEmpty())
		Expect(f.ok("list", "-o", "name")).To(Equal("batchrun.batchrun.io/run\n"))
		Expect(f.ok("list", "-o", "yaml")).To(And(HavePrefix("apiVersion: v1\n"), ContainSubstring("kind: List\n")))
		var object map[string]any
		Expect(json.Unmarshal([]byte(f.ok("get", "run", "-o", "json")), &object)).To(Succeed())
		Expect(object).To(HaveKeyWithValue("kind", "BatchRun"))
		Expect(f.ok("explain-failure", "run")).To(ContainSubstring("Nothing failed"))
	})

	It("tells of a sweep's failures, runs them again, and knows the parameters after an edit", func() {
		s := NewStage(Tasks{1: {Exits(127, "sh: trian: not found")}, 3: {OutOfMemory}}.Script())
		f := newFront(s.Namespace)
		s.Create(`{backoffLimit: 0, parameters: {matrix: [{name: LR, values: ["0.1", "0.2"]}, {name: SEED, range: {start: 1, end: 2}}]},
			template: {spec: {containers: [{name: main, resources: {limits: {memory: 1Gi}}}]}}}`)
		Expect(f.run("wait", "run", "--timeout", "1m")).To(Equal(result{"batchrun.batchrun.io/run Failed 2/4\n", "", 1}))

		page := f.ok("get", "run")
		Expect(page).To(ContainSubstring("task 1 (LR=0.1 SEED=2), attempt 1: Error, exit code 127, node " + NodeName))
		Expect(page).To(ContainSubstring("| sh: trian: not found"))
		Expect(f.ok("explain-failure", "run")).To(And(ContainSubstring("did not find the command"), ContainSubstring("from 1Gi to 1536Mi")))
		Expect(f.ok("tasks", "run", "--failed", "-o", "csv")).To(And(
			HavePrefix("task,LR,SEED,state,execution,attempts,reason,exitCode,node,pod,message\n"),
			ContainSubstring("\n1,0.1,2,Failed,1,1,Error,127,"+NodeName), ContainSubstring("\n3,0.2,2,Failed,1,1,OOMKilled,137,")))
		Expect(strings.Split(f.ok("tasks", "run", "--reason", "oomkilled"), "\n")[1]).To(HavePrefix("3 "))

		Expect(f.ok("retry", "run")).To(Equal("batchrun.batchrun.io/run runs 2 failed tasks again\n"))
		Expect(f.ok("wait", "run", "--timeout", "1m")).To(ContainSubstring("Succeeded 4/4"))
		nothing := f.run("retry", "run")
		Expect(nothing.Code).To(Equal(1))
		Expect(nothing.Err).To(ContainSubstring("no task of run run failed for good"))
		Expect(f.ok("retry", "run", "--tasks", "0,3")).To(ContainSubstring("runs tasks 0,3 again"))
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Reruns).To(HaveLen(2)) })
		Expect(f.ok("wait", "run", "--timeout", "1m")).To(ContainSubstring("Succeeded 4/4"))
		Expect(s.Kubelet.Started()).To(Equal(map[int]int{0: 2, 1: 2, 2: 1, 3: 3}))

		s.Patch(`parameters: {matrix: [{name: LR, values: ["0.3", "0.2"]}, {name: SEED, range: {start: 1, end: 2}}]}`)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.SucceededIndexes).To(Equal("2-5")) })
		Expect(f.ok("tasks", "run")).To(MatchRegexp(`(?s)TASK +LR +SEED.*\n2 +0\.2 +1 .*\n4 +0\.3 +1 +Succeeded`))
	})

	It("suspends, resumes, cancels and deletes a run, and says so where there is nothing to do", func() {
		s := NewStage(Always(Runs))
		f := newFront(s.Namespace)
		s.Create(`{completions: 2, ttlSecondsAfterFinished: 100}`)
		s.RunsPods(2)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Active).To(BeEquivalentTo(2)) })
		Expect(f.ok("suspend", "run")).To(Equal("batchrun.batchrun.io/run suspended (2 active tasks stopped)\n"))
		Expect(f.ok("suspend", "run")).To(ContainSubstring("is suspended already"))
		s.RunsPods(0)
		Expect(f.ok("resume", "run")).To(ContainSubstring("run resumed"))
		Expect(f.ok("resume", "run")).To(ContainSubstring("is not suspended"))
		s.RunsPods(2)
		Expect(f.run("wait", "run", "--timeout", "1s").Code).To(Equal(124))
		Expect(f.ok("cancel", "run")).To(ContainSubstring("run cancelled"))
		Expect(f.run("wait", "run", "--timeout", "1m")).To(HaveField("Code", 2))
		Expect(f.ok("cancel", "run")).To(ContainSubstring("is cancelled already"))
		Expect(f.run("suspend", "run")).To(HaveField("Err", ContainSubstring("is finished already: Cancelled, 0/2")))
		Expect(f.run("retry", "run", "--all")).To(HaveField("Err", ContainSubstring("spec.cancel holds it")))
		Expect(managers(s.Get())).To(ContainElement("kubectl-batchrun"))

		refused := f.run("delete", "run")
		Expect(refused.Code).To(Equal(1))
		Expect(refused.Err).To(And(ContainSubstring("run Cancelled: 0 of 2 tasks succeeded, 2 pending. The run goes away with its record"), ContainSubstring("add --yes")))
		Expect(f.ok("delete", "run", "--yes")).To(Equal("batchrun.batchrun.io/run deleted\n"))
		missing := f.run("wait", "run")
		Expect(missing.Code).To(Equal(3))
		Expect(missing.Err).To(ContainSubstring(`there is no run "run" in namespace "` + s.Namespace + `"`))
		Expect(f.run("wait").Code).To(Equal(3))
		Expect(f.run("wait", "run", "--nosuch").Code).To(Equal(3))
		Expect(f.run("get", "run").Code).To(Equal(1))
	})

	It("warns that a GitOps tool will take a change back", func() {
		s := NewStage(Always(Runs))
		f := newFront(s.Namespace)
		s.Create(`{}`)
		s.Merge([]byte(`{"metadata":{"labels":{"kustomize.toolkit.fluxcd.io/name":"apps"}}}`))
		r := f.run("suspend", "run")
		Expect(r.Code).To(BeZero())
		Expect(r.Err).To(ContainSubstring("Flux applies run run from a repository, which does not set spec.suspend"))
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(ptr.Deref(run.Spec.Suspend, false)).To(BeTrue()) })

		flux := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"suspend": false}}}
		flux.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("BatchRun"))
		flux.SetNamespace(s.Namespace)
		flux.SetName("run")
		Expect(K8sClient.Apply(Ctx, client.ApplyConfigurationFromUnstructured(flux), client.FieldOwner("kustomize-controller"),
			client.ForceOwnership)).To(Succeed())
		Expect(f.run("suspend", "run").Err).To(ContainSubstring("warning: Flux applies spec.suspend of run run from a repository"))
	})

	It("has two names, and completes those of runs and namespaces", func() {
		s := NewStage(Always(Runs))
		f := newFront(s.Namespace)
		s.Create(`{}`)
		for _, name := range []string{"kubectl-batchrun", "kubectl-br"} {
			out, err := f.command(name, "help").CombinedOutput()
			Expect(err).NotTo(HaveOccurred())
			Expect(string(out)).To(ContainSubstring("  " + strings.Replace(name, "-", " ", 1) + " [command]"))
		}
		Expect(f.ok("__complete", "get", "r")).To(HavePrefix("run\n"))
		Expect(f.ok("__complete", "list", "-n", s.Namespace[:6])).To(ContainSubstring(s.Namespace + "\n"))
		out, err := f.command("kubectl_complete-br", "logs", "").CombinedOutput()
		Expect(err).NotTo(HaveOccurred())
		Expect(string(out)).To(HavePrefix("run\n"))
	})
})

// managers are who wrote fields of the run.
func managers(run *v1alpha1.BatchRun) []string {
	var names []string
	for _, entry := range run.ManagedFields {
		names = append(names, entry.Manager)
	}
	return names
}
