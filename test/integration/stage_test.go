package integration

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
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers"
)

// stage is what a test plays on: a namespace with a kubelet and an operator of its own, and a history of its runs,
// which has to keep the invariants to the end.
type stage struct {
	namespace string
	kubelet   *kubelet
	operator  *operator
	history   *history
	clock     *movedClock
	logs      controllers.LogReader
}

// newStage sets a stage whose pods follow the script.
func newStage(s script) *stage {
	GinkgoHelper()
	return newStageWith(s, &wire{})
}

// newStageWith sets a stage whose operator has this connection to the API server.
func newStageWith(s script, w *wire) *stage {
	GinkgoHelper()
	st := &stage{namespace: newNamespace(), clock: &movedClock{}, logs: &logs{}}
	stageContext, cancel := context.WithCancel(ctx)
	DeferCleanup(func() {
		st.operator.kill()
		cancel()
		Expect(st.history.violations()).To(BeEmpty())
		Expect(st.kubelet.broken()).To(BeEmpty())
		Expect(st.operator.wire.careless).To(BeEmpty(), "deletes without the UID as precondition")
	})
	st.history = keepHistory(stageContext, st.namespace)
	st.kubelet = startKubelet(stageContext, st.namespace, s)
	st.operator = startOperator(st.namespace, w, st.clock, st.logs)
	return st
}

// restart ends the operator if it still runs, and starts a new one.
func (s *stage) restart() {
	GinkgoHelper()
	s.operator.kill()
	s.operator = startOperator(s.namespace, &wire{}, s.clock, s.logs)
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
		pod.NodeSelector = map[string]string{corev1.LabelHostname: nodeName}
	}
	return spec
}

// create creates the run of the stage with the spec, written as YAML.
func (s *stage) create(spec string) *v1alpha1.BatchRun {
	GinkgoHelper()
	run := &v1alpha1.BatchRun{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: runName}, Spec: specOf(spec)}
	Expect(k8sClient.Create(ctx, run)).To(Succeed())
	return run
}

// runName is the name of the run of a stage.
const runName = "run"

func (s *stage) key() client.ObjectKey {
	return client.ObjectKey{Namespace: s.namespace, Name: runName}
}

// get reads the run from the API server.
func (s *stage) get() *v1alpha1.BatchRun {
	GinkgoHelper()
	run := &v1alpha1.BatchRun{}
	Expect(k8sClient.Get(ctx, s.key(), run)).To(Succeed())
	return run
}

// patch merges a change, written as YAML, into the run's spec.
func (s *stage) patch(spec string) {
	GinkgoHelper()
	change, err := yaml.YAMLToJSON([]byte(fmt.Sprintf("spec: {%s}", spec)))
	Expect(err).NotTo(HaveOccurred())
	s.merge(change)
}

func (s *stage) merge(change []byte) {
	GinkgoHelper()
	run := &v1alpha1.BatchRun{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: runName}}
	Expect(k8sClient.Patch(ctx, run, client.RawPatch(types.MergePatchType, change))).To(Succeed())
}

// forward puts the operator's clock forward, and lets it look.
func (s *stage) forward(d time.Duration) {
	GinkgoHelper()
	s.clock.forward(d)
	s.poke()
}

// poke makes the operator look at the run.
func (s *stage) poke() {
	GinkgoHelper()
	s.merge(fmt.Appendf(nil, `{"metadata":{"annotations":{"poked":"%d"}}}`, time.Now().UnixNano()))
}

// eventually waits until a check of the run passes, and returns the run as it was then.
func (s *stage) eventually(check func(Gomega, *v1alpha1.BatchRun)) *v1alpha1.BatchRun {
	GinkgoHelper()
	run := &v1alpha1.BatchRun{}
	Eventually(func(g Gomega) {
		run = &v1alpha1.BatchRun{}
		g.Expect(k8sClient.Get(ctx, s.key(), run)).To(Succeed())
		check(g, run)
	}).Should(Succeed(), func() string { return "the status was:\n" + statusText(run) })
	return run
}

// finishes waits until the run has finished, and expects it in this phase.
func (s *stage) finishes(phase v1alpha1.Phase) *v1alpha1.BatchRun {
	GinkgoHelper()
	run := s.eventually(func(g Gomega, run *v1alpha1.BatchRun) {
		g.Expect(run.Status.CompletionTime).NotTo(BeNil())
		g.Expect(run.Status.ObservedGeneration).To(Equal(run.Generation))
	})
	Expect(run.Status.Phase).To(Equal(phase), func() string { return statusText(run) })
	Expect(run.Status.Active).To(BeZero())
	return run
}

// shows waits until the run's Ready condition has this reason, and returns its message.
func (s *stage) shows(reason string) string {
	GinkgoHelper()
	run := s.eventually(func(g Gomega, run *v1alpha1.BatchRun) {
		g.Expect(reasonOf(run, v1alpha1.ConditionReady)).To(Equal(reason))
	})
	return messageOf(run, v1alpha1.ConditionReady)
}

// runsPods waits until so many pods run, and no others are unfinished.
func (s *stage) runsPods(n int) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		g.Expect(s.kubelet.running()).To(HaveLen(n))
		s.kubelet.mutex.Lock()
		defer s.kubelet.mutex.Unlock()
		g.Expect(s.kubelet.unfinished()).To(Equal(n))
	}).Should(Succeed())
}

// jobs are all Jobs of the namespace, by name.
func (s *stage) jobs() map[string]batchv1.Job {
	GinkgoHelper()
	var list batchv1.JobList
	Expect(k8sClient.List(ctx, &list, client.InNamespace(s.namespace))).To(Succeed())
	jobs := map[string]batchv1.Job{}
	for _, job := range list.Items {
		jobs[job.Name] = job
	}
	return jobs
}

// events are the reasons of the run's Events, sorted.
func (s *stage) events() []string {
	GinkgoHelper()
	var list eventsv1.EventList
	Expect(k8sClient.List(ctx, &list, client.InNamespace(s.namespace))).To(Succeed())
	var reasons []string
	for _, event := range list.Items {
		if event.Regarding.Kind == "BatchRun" {
			reasons = append(reasons, event.Reason)
		}
	}
	slices.Sort(reasons)
	return reasons
}

func reasonOf(run *v1alpha1.BatchRun, conditionType string) string {
	if c := meta.FindStatusCondition(run.Status.Conditions, conditionType); c != nil {
		return c.Reason
	}
	return ""
}

func messageOf(run *v1alpha1.BatchRun, conditionType string) string {
	if c := meta.FindStatusCondition(run.Status.Conditions, conditionType); c != nil {
		return c.Message
	}
	return ""
}

// states are how many attempts ended for which reason: "Error 2, Completed 1".
func states(run *v1alpha1.BatchRun) string {
	var texts []string
	for _, state := range run.Status.PodStates {
		texts = append(texts, fmt.Sprintf("%s %d", state.State, state.Count))
	}
	return strings.Join(texts, ", ")
}

// counts are succeeded, failed, and retries.
func counts(run *v1alpha1.BatchRun) [3]int32 {
	return [3]int32{run.Status.Succeeded, run.Status.Failed, run.Status.Retries}
}

func statusText(run *v1alpha1.BatchRun) string {
	text, err := yaml.Marshal(run.Status)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// reconcile has the operator look at the run so many times, whatever it is waiting for.
func (s *stage) reconcile(times int) {
	GinkgoHelper()
	for range times {
		_, err := s.operator.reconciler.Reconcile(ctx, ctrl.Request{NamespacedName: s.key()})
		Expect(err).NotTo(HaveOccurred())
	}
}

// caughtUp waits until the operator's cache shows the run as it is.
func (s *stage) caughtUp() {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		cached := &v1alpha1.BatchRun{}
		g.Expect(s.operator.reconciler.Get(ctx, s.key(), cached)).To(Succeed())
		g.Expect(cached.ResourceVersion).To(Equal(s.get().ResourceVersion))
	}).Should(Succeed())
}
