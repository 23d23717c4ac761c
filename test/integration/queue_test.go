package integration

import (
	"context"
	"fmt"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/plan"
	"github.com/batchrun/batchrun/controllers/queues"
	. "github.com/batchrun/batchrun/test/stage"
)

// kueue plays Kueue's side in a namespace: a Job with a queue's name is suspended when it is created; once it is admitted
// it is resumed, perhaps with fewer pods at once, and resumed again should anybody else suspend it; and it is suspended
// again when it is evicted, or when somebody else changes how many pods it has at once.
type kueue struct {
	namespace string

	mutex sync.Mutex
	// open is true while Jobs are admitted.
	open bool
	// most is how many pods at once an admitted Job has at most.
	most int32
	jobs map[types.UID]*workload
	// faults are what nobody but Kueue may do.
	faults []string
}

// workload is what Kueue knows of a Job.
type workload struct {
	asked, parallelism int32
	suspended          bool
}

func playKueue(s *Stage) *kueue {
	GinkgoHelper()
	k := &kueue{namespace: s.Namespace, most: 1000, jobs: map[types.UID]*workload{}}
	suspendNewJobs(s.Namespace)
	ctx, cancel := context.WithCancel(Ctx)
	done := make(chan struct{})
	DeferCleanup(func() {
		cancel()
		<-done
		Expect(k.faults).To(BeEmpty())
	})
	go func() {
		defer GinkgoRecover()
		defer close(done)
		for ctx.Err() == nil {
			k.look(ctx)
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return k
}

// suspendNewJobs has the API server suspend Jobs of queues when they are created.
func suspendNewJobs(namespace string) {
	GinkgoHelper()
	named := metav1.ObjectMeta{Name: "test-kueue-" + namespace}
	policy := &admissionregistrationv1.MutatingAdmissionPolicy{ObjectMeta: named, Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
		ReinvocationPolicy: admissionregistrationv1.NeverReinvocationPolicy,
		MatchConstraints: &admissionregistrationv1.MatchResources{
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}},
			ObjectSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: queues.LabelName, Operator: metav1.LabelSelectorOpExists}}},
			ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{"batch"}, APIVersions: []string{"v1"}, Resources: []string{"jobs"}},
			}}},
		},
		Mutations: []admissionregistrationv1.Mutation{{PatchType: admissionregistrationv1.PatchTypeApplyConfiguration,
			ApplyConfiguration: &admissionregistrationv1.ApplyConfiguration{Expression: "Object{spec: Object.spec{suspend: true}}"}}},
	}}
	binding := &admissionregistrationv1.MutatingAdmissionPolicyBinding{ObjectMeta: named,
		Spec: admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{PolicyName: named.Name}}
	for _, object := range []client.Object{policy, binding} {
		Expect(K8sClient.Create(Ctx, object)).To(Succeed())
		DeferCleanup(func() { Expect(K8sClient.Delete(Ctx, object)).To(Succeed()) })
	}
	Eventually(func(g Gomega) {
		job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "x-", Labels: inQueue("x")},
			Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "main", Image: "example"}}}}}}
		g.Expect(K8sClient.Create(Ctx, job, client.DryRunAll)).To(Succeed())
		g.Expect(job.Spec.Suspend).To(HaveValue(BeTrue()))
	}, PropagateTime).Should(Succeed())
}

func inQueue(name string) map[string]string { return map[string]string{queues.LabelName: name} }

// look brings each Job to where it should be.
func (k *kueue) look(ctx context.Context) {
	var list batchv1.JobList
	if err := K8sClient.List(ctx, &list, client.InNamespace(k.namespace), client.HasLabels{queues.LabelName}); err != nil {
		return
	}
	k.mutex.Lock()
	defer k.mutex.Unlock()
	for i := range list.Items {
		job := &list.Items[i]
		if job.DeletionTimestamp == nil && job.Status.CompletionTime == nil {
			k.bring(ctx, job)
		}
	}
}

func (k *kueue) bring(ctx context.Context, job *batchv1.Job) {
	w := k.jobs[job.UID]
	if w == nil {
		w = &workload{asked: *job.Spec.Parallelism, parallelism: *job.Spec.Parallelism, suspended: true}
		k.jobs[job.UID] = w
	}
	suspended := *job.Spec.Suspend
	switch {
	case *job.Spec.Parallelism != w.parallelism:
		k.fault("%s has a parallelism of %d, Kueue admitted %d", job.Name, *job.Spec.Parallelism, w.parallelism)
		w.parallelism = *job.Spec.Parallelism
	case suspended && !w.suspended:
		k.fault("%s was suspended by somebody else", job.Name)
		w.suspended = true
	case suspended && k.open:
		parallelism := min(w.parallelism, k.most)
		if k.set(ctx, job, false, parallelism) {
			w.suspended, w.parallelism = false, parallelism
		}
	case !suspended && w.suspended:
		k.fault("%s was resumed by somebody else", job.Name)
	case !suspended && !k.open:
		if k.set(ctx, job, true, w.asked) {
			w.suspended, w.parallelism = true, w.asked
		}
	}
}

func (k *kueue) fault(format string, args ...any) {
	k.faults = append(k.faults, fmt.Sprintf(format, args...))
}

// set is false where the Job is another one meanwhile.
func (k *kueue) set(ctx context.Context, job *batchv1.Job, suspend bool, parallelism int32) bool {
	patch := fmt.Appendf(nil, `{"metadata":{"resourceVersion":%q},"spec":{"suspend":%t,"parallelism":%d}}`, job.ResourceVersion, suspend, parallelism)
	return K8sClient.Patch(ctx, job, client.RawPatch(types.MergePatchType, patch)) == nil
}

// admits lets all Jobs run, with at most so many pods at once each; or none, and evicts those that do.
func (k *kueue) admits(open bool, most int32) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.open, k.most = open, most
}

// says has Kueue tell why a Job waits.
func (k *kueue) says(job, message string) {
	GinkgoHelper()
	now := metav1.Now()
	Expect(K8sClient.Create(Ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: k.namespace, GenerateName: "kueue-"},
		InvolvedObject: corev1.ObjectReference{APIVersion: "kueue.x-k8s.io/v1beta1", Kind: "Workload", Namespace: k.namespace, Name: "job-" + job + "-0a1b2"},
		Type:           corev1.EventTypeWarning, Reason: "Pending", Message: message, FirstTimestamp: now, LastTimestamp: now, Count: 1,
	})).To(Succeed())
}

// inPhase waits until the run is in a phase.
func inPhase(s *Stage, phase v1alpha1.Phase) *v1alpha1.BatchRun {
	GinkgoHelper()
	return s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) {
		g.Expect(run.Status.Phase).To(Equal(phase))
		g.Expect(run.Status.ObservedGeneration).To(Equal(run.Generation))
	})
}

var _ = Describe("A run in a queue of Kueue", func() {
	BeforeEach(NeedPolicies) // they play Kueue's webhook
	BeforeEach(TrustPolicy)

	It("waits, says why, and runs once it is admitted", func() {
		s := NewStage(Always(Succeeds))
		k := playKueue(s)
		s.CreateWith(map[string]string{queues.LabelName: "team-a", "kueue.x-k8s.io/priority-class": "high", "app": "mine"},
			map[string]string{"scheduling.volcano.sh/queue-name": "q", "note": "mine"}, `{completions: 4}`)
		run := inPhase(s, v1alpha1.PhaseQueued)
		Expect(run.Status.StartTime).To(BeNil())
		Expect(run.Status.Pending).To(Equal(int32(4)))
		Expect(s.Shows(v1alpha1.RunQueued)).To(Equal("Job run-0 is suspended and waits for the queue team-a of Kueue"))
		job := s.Jobs()["run-0"]
		for _, object := range []metav1.ObjectMeta{job.ObjectMeta, job.Spec.Template.ObjectMeta} {
			Expect(object.Labels).To(And(HaveKeyWithValue(queues.LabelName, "team-a"), HaveKeyWithValue("kueue.x-k8s.io/priority-class", "high"),
				Not(HaveKey("app"))))
			Expect(object.Annotations).To(And(HaveKeyWithValue("scheduling.volcano.sh/queue-name", "q"), Not(HaveKey("note"))))
		}

		k.says("run-0", "couldn't assign flavors to pod set main: insufficient quota")
		k.says("run-10", "nothing of this run")
		s.Forward(plan.IdleAfter)
		Eventually(func() string { return s.Shows(v1alpha1.RunQueued) }).Should(
			HaveSuffix("of Kueue: couldn't assign flavors to pod set main: insufficient quota"))

		k.admits(true, 1000)
		run = s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(Counts(run)).To(Equal([3]int32{4, 0, 0}))
		Expect(run.Status.StartTime).NotTo(BeNil())
		Expect(s.Events()).To(ContainElement(v1alpha1.RunQueued))
	})

	It("keeps the parallelism that it was admitted with", func() {
		s := NewStage(Always(Runs))
		k := playKueue(s)
		k.admits(true, 2)
		s.CreateWith(inQueue("team-a"), map[string]string{queues.AnnotationMinParallelism: "2"}, `{completions: 6, parallelism: 4}`)
		Eventually(func() int { return len(s.Kubelet.Running()) }).Should(Equal(4)) // the wave of what has room was lowered too
		for _, job := range s.Jobs() {
			Expect(job.Spec.Parallelism).To(HaveValue(Equal(int32(2))))
		}
		s.Kubelet.Turn(Always(Succeeds))
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(Counts(run)).To(Equal([3]int32{6, 0, 0}))
		Expect(s.Kubelet.Most()).To(Equal(4))
		Expect(s.Jobs()["run-0"].Annotations).To(HaveKey(queues.AnnotationMinParallelism))
		Expect(s.Jobs()["run-1"].Annotations).NotTo(HaveKey(queues.AnnotationMinParallelism))
	})

	It("that is evicted waits again, and goes on, and nothing is counted", func() {
		s := NewStage(half)
		k := playKueue(s)
		k.admits(true, 1000)
		s.CreateWith(inQueue("team-a"), nil, `{completions: 4, backoffLimit: 0}`)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Succeeded).To(Equal(int32(2))) })
		s.RunsPods(2)
		k.admits(false, 0)
		s.RunsPods(0)
		run := inPhase(s, v1alpha1.PhaseQueued)
		Expect(run.Status.StartTime).NotTo(BeNil())
		s.Reconcile(3)
		s.Kubelet.Turn(Always(Succeeds))
		k.admits(true, 1000)
		run = s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(Counts(run)).To(Equal([3]int32{4, 0, 0}))
		Expect(States(run)).To(Equal("Completed 4"))
		Expect(s.Jobs()).To(HaveLen(1))
	})

	It("that is suspended stops although Kueue resumes what it admitted, and goes on in another Job", func() {
		s := NewStage(half)
		k := playKueue(s)
		k.admits(true, 1000)
		s.CreateWith(inQueue("team-a"), nil, `{completions: 4, backoffLimit: 0}`)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Succeeded).To(Equal(int32(2))) })
		s.RunsPods(2)
		s.Patch(`suspend: true`)
		s.RunsPods(0)
		run := inPhase(s, v1alpha1.PhaseSuspended)
		Eventually(s.Jobs).Should(BeEmpty())
		Expect(Counts(run)).To(Equal([3]int32{2, 0, 0}))
		s.Reconcile(3)
		Expect(s.Kubelet.Unfinished()).To(BeZero())

		s.Kubelet.Turn(Always(Succeeds))
		s.Patch(`suspend: false`)
		run = s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(Counts(run)).To(Equal([3]int32{4, 0, 0}))
		Expect(States(run)).To(Equal("Completed 4"))
		Expect(s.Kubelet.Started()).To(Equal(map[int]int{0: 1, 1: 2, 2: 1, 3: 2}))
	})

	It("that is cancelled leaves the queue", func() {
		s := NewStage(Always(Runs))
		playKueue(s)
		s.CreateWith(inQueue("team-a"), nil, `{completions: 2}`)
		inPhase(s, v1alpha1.PhaseQueued)
		s.Patch(`cancel: true`)
		s.Finishes(v1alpha1.PhaseCancelled)
		Expect(s.Jobs()).To(BeEmpty())
		Expect(s.Kubelet.Started()).To(BeEmpty())
	})

	It("that is cancelled while it runs stops", func() {
		s := NewStage(Always(Runs))
		k := playKueue(s)
		k.admits(true, 1000)
		s.CreateWith(inQueue("team-a"), nil, `{completions: 2}`)
		s.RunsPods(2)
		s.Patch(`cancel: true`)
		run := s.Finishes(v1alpha1.PhaseCancelled)
		Expect(Counts(run)).To(Equal([3]int32{0, 0, 0}))
		Expect(run.Status.Pending).To(Equal(int32(2)))
		s.RunsPods(0)
	})

	It("moves to another queue, and asks for less, when its labels and spec are edited while it waits", func() {
		s := NewStage(Always(Succeeds))
		k := playKueue(s)
		s.CreateWith(inQueue("team-a"), nil, `{completions: 8}`)
		inPhase(s, v1alpha1.PhaseQueued)
		s.Merge([]byte(`{"metadata":{"labels":{"` + queues.LabelName + `":"team-b"}}}`))
		Eventually(func() map[string]batchv1.Job { return s.Jobs() }).Should(And(HaveLen(1), HaveKey("run-1")))
		Expect(s.Jobs()["run-1"].Labels).To(HaveKeyWithValue(queues.LabelName, "team-b"))
		s.Patch(`parallelism: 2`)
		Eventually(func() map[string]batchv1.Job { return s.Jobs() }).Should(And(HaveLen(1), HaveKey("run-2")))
		k.admits(true, 1000)
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(Counts(run)).To(Equal([3]int32{8, 0, 0}))
		Expect(s.Kubelet.Most()).To(BeNumerically("<=", 2))
	})

	It("is warned of what speaks of one Job only", func() {
		s := NewStage(Always(Succeeds))
		s.CreateWith(map[string]string{"kueue.x-k8s.io/prebuilt-workload-name": "mine"}, nil, `{}`)
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(ReasonOf(run, v1alpha1.ConditionSpecWarning)).To(Equal(v1alpha1.WarningQueueSettingIgnored))
	})
})

var _ = Describe("A Job that somebody suspended", func() {
	It("waits for them to resume it, and its run says so", func() {
		s := NewStage(Always(Runs))
		s.Create(`{completions: 2, backoffLimit: 0}`)
		s.RunsPods(2)
		job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: "run-0"}}
		set := func(suspend bool) {
			GinkgoHelper()
			Expect(K8sClient.Patch(Ctx, job, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"suspend":%t}}`, suspend)))).To(Succeed())
		}
		set(true)
		s.RunsPods(0)
		inPhase(s, v1alpha1.PhaseQueued)
		Expect(s.Shows(v1alpha1.RunQueued)).To(Equal("Job run-0 is suspended and waits for whoever suspended it"))
		s.Reconcile(3)
		Expect(s.Jobs()["run-0"].Spec.Suspend).To(HaveValue(BeTrue()))

		set(false)
		s.RunsPods(2)
		s.Kubelet.Turn(Always(Succeeds))
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(Counts(run)).To(Equal([3]int32{2, 0, 0}))
	})
})
