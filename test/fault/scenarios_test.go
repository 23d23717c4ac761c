package fault

import (
	"time"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

// scenario is a run, what becomes of its pods, and what its user does. Its end does not depend on when the operator
// looks.
type scenario struct {
	name   string
	spec   string
	script Script
	// acts are what the user does, in turn.
	acts []act
	// end is where it ends; nil is where the run has finished.
	end moment
	// noPolicy has sweeps go out inlined.
	noPolicy bool
	// core is true for those that make test plays too.
	core bool
}

// moment is true of a stage once nothing is unexpected.
type moment func(Gomega, *Stage)

// act is something that the user does at a moment.
type act struct {
	once moment
	do   func(*Stage)
}

func finished(g Gomega, s *Stage) {
	run := s.Get()
	g.Expect(run.Status.CompletionTime).NotTo(BeNil())
	g.Expect(run.Status.ObservedGeneration).To(Equal(run.Generation))
	g.Expect(s.Kubelet.Unfinished()).To(BeZero())
}

// half is when so many tasks have succeeded, and as many pods run.
func half(n int) moment {
	return func(g Gomega, s *Stage) {
		g.Expect(s.Get().Status.Succeeded).To(BeEquivalentTo(n))
		g.Expect(s.Kubelet.Running()).To(HaveLen(n))
		g.Expect(s.Kubelet.Unfinished()).To(Equal(n))
	}
}

func suspended(g Gomega, s *Stage) {
	g.Expect(s.Get().Status.Phase).To(Equal(v1alpha1.PhaseSuspended))
	g.Expect(s.Kubelet.Unfinished()).To(BeZero())
}

func cleanedUp(g Gomega, s *Stage) {
	g.Expect(s.Get().Status.CleanupTime).NotTo(BeNil())
	g.Expect(s.Jobs()).To(BeEmpty())
	g.Expect(s.Kubelet.All()).To(BeEmpty())
}

func gone(g Gomega, s *Stage) {
	g.Expect(apierrors.IsNotFound(K8sClient.Get(Ctx, s.Key(), &v1alpha1.BatchRun{}))).To(BeTrue())
	g.Expect(s.Jobs()).To(BeEmpty())
	g.Expect(s.Kubelet.All()).To(BeEmpty())
}

func patch(spec string) func(*Stage) { return func(s *Stage) { s.Patch(spec) } }

// resume lets everything succeed from now on.
func resume(s *Stage) {
	s.Kubelet.Turn(Always(Succeeds))
	s.Patch(`suspend: false`)
}

// evenSucceed lets the even tasks succeed and keeps the odd ones running.
func evenSucceed(task, _ int) Fate {
	if task%2 == 0 {
		return Succeeds
	}
	return Runs
}

const (
	atOnce = `retryPolicy: {backoff: {baseSeconds: 0}}`
	grid   = `parameters: {matrix: [{name: A, values: [u, v]}, {name: B, range: {start: 1, end: 2}}]}`
	day    = 24 * time.Hour
)

var scenarios = []scenario{
	{name: "a task that fails once", core: true, spec: atOnce, script: Tasks{0: {Exits(1, "once")}}.Script()},
	{name: "an array with a failure and a disruption", core: true, spec: `{completions: 4, ` + atOnce + `}`,
		script: Tasks{1: {Exits(1, "once")}, 2: {Preempted}}.Script()},
	{name: "an array with failures of each reason", spec: `
completions: 9
parallelism: 3
backoffLimit: 2
retryPolicy:
  backoff: {baseSeconds: 0}
  rules: [{exitCodes: {operator: In, values: [42]}, action: FailTask}]
`, script: Tasks{0: {Exits(1, "a"), Exits(2, "b"), Exits(3, "c")}, 2: {Exits(1, "a"), OutOfMemory}, 4: {Preempted, NodeLost},
		5: {Unstartable}, 6: {Exits(42, "")}, 7: {Overdue}, 8: {Overused}}.Script()},
	{name: "a packed sweep with failures", core: true, spec: `{` + grid + `, ` + atOnce + `}`,
		script: Tasks{1: {Exits(1, "once")}, 3: {Exits(1, "once")}}.Script()},
	{name: "an inlined sweep with failures", noPolicy: true, spec: `{` + grid + `, ` + atOnce + `}`,
		script: Tasks{1: {Exits(1, "once")}, 3: {Exits(1, "once")}}.Script()},
	{name: "a sweep with a pilot that fails once", spec: `{` + grid + `, pilot: 1, ` + atOnce + `}`,
		script: Tasks{0: {Exits(1, "once")}}.Script()},
	{name: "suspended and resumed", spec: `{completions: 4}`, script: evenSucceed,
		acts: []act{{half(2), patch(`suspend: true`)}, {suspended, resume}}},
	{name: "cancelled", spec: `{completions: 4}`, script: evenSucceed,
		acts: []act{{half(2), patch(`cancel: true`)}}},
	{name: "failed for good, with pods to stop", spec: `{completions: 3, backoffLimit: 0, maxFailedTasks: 0}`,
		script: func(task, _ int) Fate {
			if task == 1 {
				return Exits(1, "")
			}
			return Runs
		}},
	{name: "cleaned up", spec: `{completions: 2, ttlSecondsAfterFinished: 3600}`, script: Always(Succeeds),
		acts: []act{{finished, func(s *Stage) { s.Forward(time.Hour + 2*maxSkew) }}}, end: cleanedUp},
	{name: "record deleted", spec: `{ttlSecondsAfterFinished: 3600, recordTTLSecondsAfterFinished: 86400}`, script: Always(Succeeds),
		acts: []act{{finished, func(s *Stage) { s.Forward(day + 2*maxSkew) }}}, end: gone},
	{name: "failed and rerun", spec: `{completions: 3, backoffLimit: 0}`, script: Tasks{1: {Exits(1, "once")}}.Script(),
		acts: []act{{finished, patch(`rerun: {token: again}`)}}},
	{name: "a value added to a finished sweep", spec: `{` + grid + `}`, script: Always(Succeeds),
		acts: []act{{finished, patch(`parameters: {matrix: [{name: A, values: [u, v, w]}, {name: B, range: {start: 1, end: 2}}]}`)}}},
	{name: "more tasks while it runs", spec: `{completions: 2}`, script: evenSucceed,
		acts: []act{{half(1), patch(`completions: 4`)}, {half(2), resume}}},
	{name: "deleted", spec: `{completions: 4}`, script: evenSucceed,
		acts: []act{{half(2), func(s *Stage) {
			Expect(client.IgnoreNotFound(K8sClient.Delete(Ctx, s.Get()))).To(Succeed())
		}}}, end: gone},
}
