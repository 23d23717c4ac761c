// Package stage is what the integration and fault tests play on: a control plane without nodes, a kubelet of the tests'
// own, and operators whose connection to the API server breaks where a test says.
package stage

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers"
	"github.com/batchrun/batchrun/controllers/plan"
)

// Stage is what a test plays on: a namespace with a kubelet and an operator of its own, and a history of its runs,
// which has to keep the invariants to the end.
type Stage struct {
	Namespace string
	Kubelet   *Kubelet
	Operator  *Operator
	History   *History
	Clock     *MovedClock
	Logs      controllers.LogReader
	// Limits are those of the operators that are started after it was set.
	Limits plan.Limits
}

// NewStage sets a stage whose pods follow the script.
func NewStage(s Script) *Stage {
	GinkgoHelper()
	return NewStageWith(s, &Wire{})
}

// NewStageWith sets a stage whose operator has this connection to the API server.
func NewStageWith(s Script, w *Wire) *Stage {
	GinkgoHelper()
	st := &Stage{Namespace: NewNamespace(), Clock: &MovedClock{}, Logs: &Logs{}, Limits: plan.Limits{MaxParallelism: 1000}}
	stageContext, cancel := context.WithCancel(Ctx)
	DeferCleanup(func() {
		st.Operator.Kill()
		cancel()
		Expect(st.History.violations()).To(BeEmpty())
		Expect(st.Kubelet.broken()).To(BeEmpty())
		Expect(st.Operator.Wire.careless).To(BeEmpty(), "deletes without the UID as precondition")
	})
	st.History = keepHistory(stageContext, st.Namespace)
	st.Kubelet = startKubelet(stageContext, st.Namespace, s)
	st.Operator = startOperator(st.Namespace, w, st.Clock, st.Logs, st.Limits)
	return st
}

// Restart ends the operator if it still runs, and starts a new one.
func (s *Stage) Restart() {
	GinkgoHelper()
	next := &Wire{}
	if s.Operator.Wire.Next != nil {
		next = s.Operator.Wire.Next()
	}
	s.RestartWith(next)
}

// RestartWith ends the operator if it still runs, and starts a new one that has this connection to the API server.
func (s *Stage) RestartWith(next *Wire) {
	GinkgoHelper()
	s.Operator.Kill()
	next.NoPolicy = s.Operator.Wire.NoPolicy
	s.Operator = startOperator(s.Namespace, next, s.Clock, s.Logs, s.Limits)
}

// specOf reads the YAML of a spec; the template, where it has none, is one container on the stage's node.
func specOf(text string) v1alpha1.BatchRunSpec {
	GinkgoHelper()
	var spec v1alpha1.BatchRunSpec
	Expect(yaml.UnmarshalStrict([]byte(text), &spec)).To(Succeed(), text)
	pod := &spec.Template.Spec
	if len(pod.Containers) == 0 {
		pod.Containers = []corev1.Container{{Name: "main"}}
	}
	for i := range pod.InitContainers {
		pod.InitContainers[i].Image = "example"
	}
	for i := range pod.Containers {
		pod.Containers[i].Image = "example"
	}
	if pod.NodeSelector == nil {
		pod.NodeSelector = map[string]string{corev1.LabelHostname: NodeName}
	}
	return spec
}

// Create creates the run of the stage with the spec, written as YAML.
func (s *Stage) Create(spec string) *v1alpha1.BatchRun {
	GinkgoHelper()
	return s.CreateWith(nil, nil, spec)
}

// CreateWith creates the run of the stage with these labels and annotations.
func (s *Stage) CreateWith(labels, annotations map[string]string, spec string) *v1alpha1.BatchRun {
	GinkgoHelper()
	run := &v1alpha1.BatchRun{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: RunName, Labels: labels, Annotations: annotations}, Spec: specOf(spec)}
	Expect(K8sClient.Create(Ctx, run)).To(Succeed())
	return run
}

// RunName is the name of the run of a stage.
const RunName = "run"

func (s *Stage) Key() client.ObjectKey {
	return client.ObjectKey{Namespace: s.Namespace, Name: RunName}
}

// Get reads the run from the API server.
func (s *Stage) Get() *v1alpha1.BatchRun {
	GinkgoHelper()
	run := &v1alpha1.BatchRun{}
	Expect(K8sClient.Get(Ctx, s.Key(), run)).To(Succeed())
	return run
}

// Patch merges a change, written as YAML, into the run's spec.
func (s *Stage) Patch(spec string) {
	GinkgoHelper()
	change, err := yaml.YAMLToJSON([]byte(fmt.Sprintf("spec: {%s}", spec)))
	Expect(err).NotTo(HaveOccurred())
	s.Merge(change)
}

func (s *Stage) Merge(change []byte) {
	GinkgoHelper()
	Expect(s.TryMerge(change)).To(Succeed())
}

// TryMerge merges a change that the API server may refuse into the run.
func (s *Stage) TryMerge(change []byte) error {
	run := &v1alpha1.BatchRun{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: RunName}}
	return K8sClient.Patch(Ctx, run, client.RawPatch(types.MergePatchType, change))
}

// Forward puts the operator's clock forward, and lets it look.
func (s *Stage) Forward(d time.Duration) {
	GinkgoHelper()
	s.Clock.Forward(d)
	s.Poke()
}

// Poke makes the operator look at the run.
func (s *Stage) Poke() {
	GinkgoHelper()
	s.Merge(fmt.Appendf(nil, `{"metadata":{"annotations":{"poked":"%d"}}}`, time.Now().UnixNano()))
}

// Eventually waits until a check of the run passes, and returns the run as it was then.
func (s *Stage) Eventually(check func(Gomega, *v1alpha1.BatchRun)) *v1alpha1.BatchRun {
	GinkgoHelper()
	run := &v1alpha1.BatchRun{}
	Eventually(func(g Gomega) {
		run = &v1alpha1.BatchRun{}
		g.Expect(K8sClient.Get(Ctx, s.Key(), run)).To(Succeed())
		check(g, run)
	}).Should(Succeed(), func() string { return "the status was:\n" + StatusText(run) })
	return run
}

// Finishes waits until the run has finished, and expects it in this phase.
func (s *Stage) Finishes(phase v1alpha1.Phase) *v1alpha1.BatchRun {
	GinkgoHelper()
	run := s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) {
		g.Expect(run.Status.CompletionTime).NotTo(BeNil())
		g.Expect(run.Status.ObservedGeneration).To(Equal(run.Generation))
	})
	Expect(run.Status.Phase).To(Equal(phase), func() string { return StatusText(run) })
	Expect(run.Status.Active).To(BeZero())
	return run
}

// Shows waits until the run's Ready condition has this reason, and returns its message.
func (s *Stage) Shows(reason string) string {
	GinkgoHelper()
	run := s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) {
		g.Expect(ReasonOf(run, v1alpha1.ConditionReady)).To(Equal(reason))
	})
	return MessageOf(run, v1alpha1.ConditionReady)
}

// RunsPods waits until so many pods run, and no others are unfinished.
func (s *Stage) RunsPods(n int) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		g.Expect(s.Kubelet.Running()).To(HaveLen(n))
		s.Kubelet.mutex.Lock()
		defer s.Kubelet.mutex.Unlock()
		g.Expect(s.Kubelet.unfinished()).To(Equal(n))
	}).Should(Succeed())
}

// Jobs are all Jobs of the namespace, by name.
func (s *Stage) Jobs() map[string]batchv1.Job {
	GinkgoHelper()
	var list batchv1.JobList
	Expect(K8sClient.List(Ctx, &list, client.InNamespace(s.Namespace))).To(Succeed())
	jobs := map[string]batchv1.Job{}
	for _, job := range list.Items {
		jobs[job.Name] = job
	}
	return jobs
}

// Events are the reasons of the run's Events, sorted.
func (s *Stage) Events() []string {
	GinkgoHelper()
	var list eventsv1.EventList
	Expect(K8sClient.List(Ctx, &list, client.InNamespace(s.Namespace))).To(Succeed())
	var reasons []string
	for _, event := range list.Items {
		if event.Regarding.Kind == "BatchRun" {
			reasons = append(reasons, event.Reason)
		}
	}
	slices.Sort(reasons)
	return reasons
}

func ReasonOf(run *v1alpha1.BatchRun, conditionType string) string {
	if c := meta.FindStatusCondition(run.Status.Conditions, conditionType); c != nil {
		return c.Reason
	}
	return ""
}

func MessageOf(run *v1alpha1.BatchRun, conditionType string) string {
	if c := meta.FindStatusCondition(run.Status.Conditions, conditionType); c != nil {
		return c.Message
	}
	return ""
}

// States are how many attempts ended for which reason: "Error 2, Completed 1".
func States(run *v1alpha1.BatchRun) string {
	var texts []string
	for _, state := range run.Status.PodStates {
		texts = append(texts, fmt.Sprintf("%s %d", state.State, state.Count))
	}
	return strings.Join(texts, ", ")
}

// Counts are succeeded, failed, and retries.
func Counts(run *v1alpha1.BatchRun) [3]int32 {
	return [3]int32{run.Status.Succeeded, run.Status.Failed, run.Status.Retries}
}

func StatusText(run *v1alpha1.BatchRun) string {
	text, err := yaml.Marshal(run.Status)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Reconcile has the operator look at the run so many times, whatever it is waiting for.
func (s *Stage) Reconcile(times int) {
	GinkgoHelper()
	for range times {
		_, err := s.Operator.reconciler.Reconcile(Ctx, ctrl.Request{NamespacedName: s.Key()})
		Expect(err).NotTo(HaveOccurred())
	}
}

// TryReconcile has the operator look at the run so many times; what goes wrong is its own affair.
func (s *Stage) TryReconcile(times int) {
	for range times {
		_, _ = s.Operator.reconciler.Reconcile(Ctx, ctrl.Request{NamespacedName: s.Key()})
	}
}

// CaughtUp waits until the operator's cache shows the run as it is.
func (s *Stage) CaughtUp() {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		cached := &v1alpha1.BatchRun{}
		g.Expect(s.Operator.reconciler.Get(Ctx, s.Key(), cached)).To(Succeed())
		g.Expect(cached.ResourceVersion).To(Equal(s.Get().ResourceVersion))
	}).Should(Succeed())
}

// Record is what a run's status says in the end, less what depends on time and chance; and how many pods there were.
func (s *Stage) Record() string {
	GinkgoHelper()
	run := &v1alpha1.BatchRun{}
	err := K8sClient.Get(Ctx, s.Key(), run)
	if apierrors.IsNotFound(err) {
		return fmt.Sprintf("the run is gone; pods of each task %v", s.Kubelet.Started())
	}
	Expect(err).NotTo(HaveOccurred())
	lines := []string{
		fmt.Sprintf("%s %s, failed %s, retries %d", run.Status.Phase, run.Status.Completions, run.Status.FailedIndexes, run.Status.Retries),
		fmt.Sprintf("pods of each task %v", s.Kubelet.Started()),
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

// Ended waits until the run has finished.
func (s *Stage) Ended() {
	GinkgoHelper()
	s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.CompletionTime).NotTo(BeNil()) })
}

// WhileBehind does something of which the operator's cache of runs learns afterwards only.
func (s *Stage) WhileBehind(do func()) {
	GinkgoHelper()
	s.CaughtUp()
	s.Operator.Wire.held.Lock()
	defer s.Operator.Wire.held.Unlock()
	do()
}
