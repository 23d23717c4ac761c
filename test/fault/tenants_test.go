package fault

import (
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/yaml"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

// claiming is what an object says that claims to be of a run.
func claiming(namespace, name string, run *v1alpha1.BatchRun) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name,
		Labels:      map[string]string{v1alpha1.LabelRun: run.Name, v1alpha1.LabelRunUID: string(run.UID), v1alpha1.LabelWave: "1"},
		Annotations: map[string]string{v1alpha1.AnnotationTasks: "0-1", v1alpha1.AnnotationTemplate: "x", batchv1.JobCompletionIndexAnnotation: "0"},
	}
}

// owned adds the owner reference of what the run controls.
func owned(meta metav1.ObjectMeta, run *v1alpha1.BatchRun) metav1.ObjectMeta {
	meta.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(run, v1alpha1.GroupVersion.WithKind("BatchRun"))}
	return meta
}

var _ = Describe("What a tenant makes of another's run", func() {
	BeforeEach(TrustPolicy)

	It("has no effect from another namespace", func() {
		victim, other := NewStage(Always(Runs)), NewStage(Always(Succeeds))
		other.Operator.Kill()
		victim.SeeAll()
		tenant := Tenant(other.Namespace)
		victim.Create(`{parameters: {items: [{A: u}, {A: v}]}}`)
		victim.RunsPods(2)
		run := victim.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Active).To(Equal(int32(2))) })
		before, deletes := victim.Jobs(), deletesOf(victim)

		template := corev1.PodTemplateSpec{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever,
			NodeSelector: map[string]string{"no": "such"}, Containers: []corev1.Container{{Name: "main", Image: "example"}}}}
		ended := batchv1.JobSpec{Completions: ptr.To(int32(2)), CompletionMode: ptr.To(batchv1.IndexedCompletion), Suspend: ptr.To(true), Template: template}
		failed := &corev1.Pod{ObjectMeta: owned(claiming(other.Namespace, "pod", run), run), Spec: template.Spec}
		revision := &appsv1.ControllerRevision{ObjectMeta: owned(claiming(other.Namespace, RunName+"-parameters-1", run), run),
			Data: runtime.RawExtension{Raw: []byte(`{"items": [{"A": "z"}]}`)}, Revision: 1}
		for _, object := range []client.Object{
			&batchv1.Job{ObjectMeta: owned(claiming(other.Namespace, RunName+"-0", run), run), Spec: ended},
			&batchv1.Job{ObjectMeta: owned(claiming(other.Namespace, RunName+"-1", run), run), Spec: ended},
			&batchv1.Job{ObjectMeta: claiming(other.Namespace, RunName+"-2", run), Spec: ended},
			failed,
			&corev1.Pod{ObjectMeta: claiming(other.Namespace, "labels-only", run), Spec: template.Spec},
		} {
			Expect(tenant.Create(Ctx, object)).To(Succeed())
		}
		Expect(tenant.Create(Ctx, revision)).To(Satisfy(apierrors.IsForbidden), "edit may not write ControllerRevisions")
		Expect(K8sClient.Create(Ctx, revision)).To(Succeed())
		Expect(tenant.Create(Ctx, &batchv1.Job{ObjectMeta: claiming(victim.Namespace, RunName+"-1", run), Spec: ended})).To(Satisfy(apierrors.IsForbidden))

		By("a run of the same name in that namespace")
		Expect(tenant.Create(Ctx, &v1alpha1.BatchRun{ObjectMeta: metav1.ObjectMeta{Namespace: other.Namespace, Name: RunName},
			Spec: v1alpha1.BatchRunSpec{Template: template}})).To(Succeed())
		same := other.Get()
		same.Status = run.Status
		Expect(tenant.Status().Update(Ctx, same)).To(Satisfy(apierrors.IsForbidden), "nobody but the operator writes a status")

		victim.Reconcile(3)
		Expect(victim.Get().Status).To(Equal(run.Status))
		Expect(victim.Jobs()).To(Equal(before))
		Expect(deletesOf(victim)).To(Equal(deletes), "only the garbage collector deletes what has an owner in another namespace")
		victim.Kubelet.Turn(Always(Succeeds))
		run = victim.Finishes(v1alpha1.PhaseSucceeded)
		allItsOwn(run)
		Expect(deletesOf(victim)).To(Equal(deletes))
	})

	It("has no effect from the same namespace, without the run as its owner", func() {
		s := NewStage(Always(Runs))
		run := s.Create(`{parameters: {items: [{A: u}, {A: v}]}}`)
		s.RunsPods(2)
		tenant := Tenant(s.Namespace)
		gated := PackedPod(0, "+0")
		gated.ObjectMeta = claiming(s.Namespace, "gated", run)
		gated.Labels[v1alpha1.LabelWave], gated.Labels[batchv1.JobNameLabel] = "0", RunName+"-0"
		Expect(tenant.Create(Ctx, gated)).To(Succeed())
		for _, name := range []string{RunName + "-1", RunName + "-00", RunName + "-parameters-1"} {
			s.ForeignJob(name, claiming(s.Namespace, name, run).Labels)
		}
		Expect(K8sClient.Create(Ctx, &appsv1.ControllerRevision{ObjectMeta: claiming(s.Namespace, RunName+"-parameters-1", run),
			Data: runtime.RawExtension{Raw: []byte(`{"items": [{"A": "z"}]}`)}, Revision: 1})).To(Succeed())
		s.Reconcile(3)
		s.Kubelet.Turn(Always(Succeeds))
		run = s.Finishes(v1alpha1.PhaseSucceeded)
		allItsOwn(run)
		Expect(deletesOf(s)).To(BeEmpty())
	})

	It("has no effect where his pods' labels are changed to say that they are of the other's run", func() {
		s := NewStage(Always(Runs))
		victim := s.Create(`{backoffLimit: 0}`)
		s.RunsPods(1)
		his := &v1alpha1.BatchRun{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: "his"}, Spec: *victim.Spec.DeepCopy()}
		his.Spec.Completions = ptr.To(int32(2))
		Expect(K8sClient.Create(Ctx, his)).To(Succeed())
		s.RunsPods(3)
		tenant, pods := Tenant(s.Namespace), &corev1.PodList{}
		Expect(tenant.List(Ctx, pods, client.InNamespace(s.Namespace), client.MatchingLabels{v1alpha1.LabelRun: his.Name})).To(Succeed())
		Expect(pods.Items).To(HaveLen(2))
		for i := range pods.Items {
			pod := &pods.Items[i]
			changed := pod.DeepCopy()
			changed.Labels[v1alpha1.LabelRun], changed.Labels[v1alpha1.LabelRunUID] = victim.Name, string(victim.UID)
			Expect(tenant.Patch(Ctx, changed, client.MergeFrom(pod))).To(Succeed())
		}
		s.Kubelet.Turn(func(task, attempt int) Fate {
			switch {
			case task == 1:
				return Succeeds
			case attempt == 2: // the pods of both runs are counted by their task
				return Exits(42, "")
			}
			return Runs
		})
		ended := finishedRun(s, his.Name)
		Expect(Counts(ended)).To(Equal([3]int32{1, 1, 0}))
		Expect(States(ended)).To(Equal("Error 1, Completed 1"))
		s.Reconcile(3)
		run := s.Get()
		Expect(Counts(run)).To(Equal([3]int32{0, 0, 0}))
		Expect(run.Status.Active).To(Equal(int32(1)))
		s.Kubelet.Turn(Always(Succeeds))
		run = s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(Counts(run)).To(Equal([3]int32{1, 0, 0}))
		Expect(States(run)).To(Equal("Completed 1"))
		Expect(deletesOf(s)).To(BeEmpty())
	})

	It("has no effect where its names are those of the other's Jobs, or nearly", func() {
		s := NewStage(Always(Succeeds))
		names := []string{"a", "a-0", "a-0-0", "a-1", "a-parameters", "a-parameters-0"}
		for i, name := range names {
			run := &v1alpha1.BatchRun{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: name}}
			run.Spec.Template.Spec = corev1.PodSpec{NodeSelector: map[string]string{corev1.LabelHostname: NodeName},
				Containers: []corev1.Container{{Name: "main", Image: "example"}}}
			if i%2 == 0 {
				run.Spec.Parameters = &v1alpha1.Parameters{Items: []v1alpha1.Combination{{"A": "x"}, {"A": "y"}}}
			} else {
				run.Spec.Completions = ptr.To(int32(2))
			}
			Expect(K8sClient.Create(Ctx, run)).To(Succeed())
		}
		for _, name := range names {
			run := finishedRun(s, name)
			allItsOwn(run)
			Expect(waves(s, run)).To(Equal([]string{name + "-0"}))
		}
		first := finishedRun(s, names[0])
		Expect(K8sClient.Delete(Ctx, first)).To(Succeed())
		Eventually(func() []string { return waves(s, first) }).Should(BeEmpty())
		Expect(s.Jobs()).To(HaveLen(len(names) - 1))
	})
})

// deletesOf counts what the stage's operator deleted.
func deletesOf(s *Stage) map[Request]int {
	counts := s.Operator.Wire.Written()
	for r := range counts {
		if !strings.HasPrefix(r.Verb, "delete") {
			delete(counts, r)
		}
	}
	return counts
}

func finishedRun(s *Stage, name string) *v1alpha1.BatchRun {
	GinkgoHelper()
	run := &v1alpha1.BatchRun{}
	Eventually(func(g Gomega) {
		g.Expect(K8sClient.Get(Ctx, client.ObjectKey{Namespace: s.Namespace, Name: name}, run)).To(Succeed())
		g.Expect(run.Status.CompletionTime).NotTo(BeNil())
	}).Should(Succeed(), func() string { return name + "\n" + StatusText(run) })
	return run
}

// slowest is how long the API server may take for one pod, whatever its table. It is the least of some tries that counts,
// as the machine may have something else to do.
const (
	slowest = 3 * time.Second
	tries   = 3
)

// tables are what nobody but the operator should write.
var tables = map[string]string{
	"empty":                     "",
	"no number":                 "+x",
	"a sign only":               "+",
	"negative":                  "+-5",
	"beyond the greatest":       "+9223372036854775807\nA\t1\t0\tx",
	"ending in a newline":       "+0\n",
	"a name only":               "+0\nA",
	"without values":            "+0\nA\t1\t0",
	"stride 0":                  "+0\nA\t0\t0\tx",
	"negative stride":           "+0\nA\t-1\t-7\tx\ty",
	"greatest stride":           "+0\nA\t9223372036854775807\t9223372036854775807\tx",
	"the completion index":      "+0\nJOB_COMPLETION_INDEX\t1\t0\tevil",
	"the task index":            "+0\nBATCHRUN_TASK_INDEX\t1\t0\tevil",
	"the same name twice":       "+0\nA\t1\t0\tx\nA\t1\t0\ty",
	"a name that is a path":     "+0\n../../../metadata/labels\t1\t0\tx",
	"a name that is a pointer":  "+0\n~0~1spec~1hostNetwork\t1\t0\ttrue",
	"a name of other letters":   "+0\n漢\u202e\t1\t0\tx",
	"a value that is an object": "+0\nA\t1\t0\t{\"fieldRef\": {\"fieldPath\": \"spec.serviceAccountName\"}}",
	"a long value":              "+0\nA\t1\t0\t" + strings.Repeat("x", 200_000),
	"many tasks":                strings.Repeat("7,", 60_000) + "7",
	"many lines":                "+0" + strings.Repeat("\n", 100_000),
	"many values":               "+0\nA\t1\t0" + strings.Repeat("\tx", 100_000),
	"many parameters":           "+0" + manyParameters(3_000),
}

func manyParameters(n int) string {
	var lines strings.Builder
	for i := range n {
		fmt.Fprintf(&lines, "\nP%d\t1\t0\tx", i)
	}
	return lines.String()
}

var _ = Describe("The policy, when a tenant writes a table himself,", func() {
	BeforeEach(TrustPolicy)

	It("changes nothing but that pod's own placeholders, or refuses it", func() {
		namespace := NewNamespace()
		tenant := Tenant(namespace)
		for name, table := range tables {
			pod := trickPod(namespace, table)
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "second", Image: "example", Env: pod.Spec.Containers[0].Env})
			made := pod.DeepCopy()
			began := time.Now()
			err := tenant.Create(Ctx, made)
			took := time.Since(began)
			for try := 1; try < tries && took >= slowest; try++ {
				began = time.Now()
				_ = tenant.Create(Ctx, pod.DeepCopy(), client.DryRunAll) // what becomes of it was seen
				took = min(took, time.Since(began))
			}
			AddReportEntry(name, fmt.Sprintf("%s, %.300v", took.Round(time.Millisecond), err))
			Expect(took).To(BeNumerically("<", slowest), name)
			if err == nil {
				onlyFilled(pod, made, name)
			}
		}
		pods := &corev1.PodList{}
		Expect(K8sClient.List(Ctx, pods, client.InNamespace(namespace))).To(Succeed())
		AddReportEntry("admitted", fmt.Sprintf("%d of %d", len(pods.Items), len(tables)))
	})

	It("leaves pods without the label alone, whatever else they say", func() {
		namespace := NewNamespace()
		tenant := Tenant(namespace)
		for name, table := range tables {
			pod := trickPod(namespace, table)
			pod.Labels = map[string]string{v1alpha1.LabelRun: RunName}
			made := pod.DeepCopy()
			err := tenant.Create(Ctx, made)
			if apierrors.IsInvalid(err) {
				continue // Kubernetes itself does not take such variables
			}
			Expect(err).NotTo(HaveOccurred(), name)
			Expect(made.Annotations).To(Equal(pod.Annotations), name)
			Expect(Gates(made)).To(Equal(Gates(pod)), name)
			Expect(made.Spec.Containers[0].Env).To(Equal(pod.Spec.Containers[0].Env), name)
		}
	})

	It("refuses the pods of his own Job, and a run beside it gets its parameters as ever", func() {
		s := NewStage(Always(Succeeds))
		tenant := Tenant(s.Namespace)
		for i, table := range []string{"", "+0\nA\t0\t0\tx", "+0\nA"} {
			template := PackedTemplate(table)
			template.Labels[v1alpha1.LabelRun] = RunName
			Expect(tenant.Create(Ctx, &batchv1.Job{
				ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: fmt.Sprintf("trick-%d", i)},
				Spec: batchv1.JobSpec{CompletionMode: ptr.To(batchv1.IndexedCompletion), Completions: ptr.To(int32(3)),
					Parallelism: ptr.To(int32(3)), Template: template}})).To(Succeed())
		}
		s.Create(`{parameters: {items: [{A: u}, {A: v}]}}`)
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		allItsOwn(run)
		Expect(s.Values("A")).To(Equal(map[int]string{0: "A=u", 1: "A=v"}))
		Expect(ReasonOf(run, v1alpha1.ConditionPacked)).To(Equal(v1alpha1.PackedPolicyInstalled))
	})
})

// trickPod is a pod with a table and placeholders for the parameters in it, at most for 3,000.
func trickPod(namespace, table string) *corev1.Pod {
	pod := PackedPod(0, table)
	c := &pod.Spec.Containers[0]
	c.Env = c.Env[:min(len(c.Env), 3_002)]
	pod.Namespace = namespace
	return pod
}

// onlyFilled expects that the policy filled placeholders and took table and gate away, and did nothing else.
func onlyFilled(pod, made *corev1.Pod, name string) {
	GinkgoHelper()
	Expect(made.Labels).To(Equal(pod.Labels), name)
	Expect(made.Annotations).To(HaveKeyWithValue("note", "stays"), name)
	Expect(made.Annotations).NotTo(HaveKey(v1alpha1.AnnotationParameters), name)
	Expect(Gates(made)).To(Equal([]string{OtherGate}), name)
	Expect([]any{made.Spec.HostNetwork, made.Spec.HostPID, made.Spec.NodeSelector, made.Spec.SecurityContext.RunAsUser, len(made.OwnerReferences)}).To(
		Equal([]any{false, false, pod.Spec.NodeSelector, (*int64)(nil), 0}), name)
	Expect(made.Spec.Containers).To(HaveLen(len(pod.Spec.Containers)), name)
	for i, c := range made.Spec.Containers {
		Expect([]any{c.Name, c.Image, c.Command, c.Args, c.SecurityContext, c.EnvFrom}).To(Equal([]any{
			pod.Spec.Containers[i].Name, "example", []string(nil), []string(nil), (*corev1.SecurityContext)(nil), []corev1.EnvFromSource(nil)}), name)
		for j, variable := range c.Env {
			Expect(variable.Name).To(Equal(pod.Spec.Containers[i].Env[j].Name), name)
			Expect(variable.ValueFrom).To(BeNil(), name)
		}
	}
}

var _ = Describe("A run whose template bears names of the operator", func() {
	BeforeEach(TrustPolicy)

	DescribeTable("is refused", func(template, field string) {
		s := NewStage(Always(Succeeds))
		run := &v1alpha1.BatchRun{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: RunName}, Spec: specWith(template)}
		Expect(Tenant(s.Namespace).Create(Ctx, run)).To(MatchError(ContainSubstring(field)))
	},
		Entry("the run", `{metadata: {labels: {batchrun.io/run: other}}}`, "batchrun.io/run"),
		Entry("its UID", `{metadata: {labels: {batchrun.io/run-uid: other}}}`, "batchrun.io/run-uid"),
		Entry("the wave", `{metadata: {labels: {batchrun.io/wave: "7"}}}`, "batchrun.io/wave"),
		Entry("the Job", `{metadata: {labels: {batch.kubernetes.io/controller-uid: other}}}`, "controller-uid"),
		Entry("the table", `{metadata: {annotations: {batchrun.io/parameters: "+7"}}}`, "batchrun.io/parameters"),
		Entry("the gate", `{spec: {schedulingGates: [{name: batchrun.io/parameters}], containers: [{name: main}]}}`, "batchrun.io/parameters"),
	)

	It("runs as ever where they are on the pods only", func() {
		s := NewStage(Always(Succeeds))
		s.Create(`
parameters: {items: [{A: u}, {A: v}]}
template:
  metadata:
    labels: {batchrun.io/tasks: "7", batch.kubernetes.io/job-completion-index: "1"}
    annotations: {batchrun.io/tasks: "7-9", batchrun.io/template: x, batchrun.io/sweep: "", batchrun.io/packed: "",
      batch.kubernetes.io/job-completion-index: "1"}
`)
		allItsOwn(s.Finishes(v1alpha1.PhaseSucceeded))
		Expect(s.Values("A")).To(Equal(map[int]string{0: "A=u", 1: "A=v"}))
	})
})

// specWith is the spec of a run with one container and this template besides.
func specWith(template string) v1alpha1.BatchRunSpec {
	GinkgoHelper()
	var spec v1alpha1.BatchRunSpec
	Expect(yaml.UnmarshalStrict([]byte(`{template: `+template+`}`), &spec)).To(Succeed())
	spec.Template.Spec.Containers = []corev1.Container{{Name: "main", Image: "example"}}
	return spec
}

// canary is a secret that nobody but the pods may see.
const canary = "canary-5f1e9c7a"

// withCanary has it in a literal variable, in an argument, and in a Secret.
const withCanary = `containers: [{name: main, args: ["--password=canary-5f1e9c7a"], env: [{name: PASSWORD, value: canary-5f1e9c7a},
  {name: TOKEN, valueFrom: {secretKeyRef: {name: vault, key: token}}}]}]`

var _ = Describe("A secret of a run is in no Event, condition, metric or log line of the operator:", func() {
	DescribeTable("when the run",
		func(w *Wire, spec, podSpec string, fate Fate, reason string, set func(*Stage)) {
			log := gbytes.NewBuffer()
			GinkgoWriter.TeeTo(log)
			DeferCleanup(GinkgoWriter.ClearTeeWriters)
			s := NewStageWith(Always(fate), w)
			Expect(K8sClient.Create(Ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: "vault"},
				StringData: map[string]string{"token": canary}})).To(Succeed())
			set(s)
			s.Create(fmt.Sprintf(`{%s template: {spec: {%s %s}}}`, spec, podSpec, withCanary))
			s.Shows(reason)
			Eventually(s.Events).ShouldNot(BeEmpty())
			s.Reconcile(3)
			s.Operator.Kill()
			GinkgoWriter.ClearTeeWriters()

			Expect(log.Contents()).To(ContainSubstring("Starting workers"), "these are the operator's logs")
			Expect(string(log.Contents())).NotTo(ContainSubstring(canary))
			events := &eventsv1.EventList{}
			Expect(K8sClient.List(Ctx, events, client.InNamespace(s.Namespace))).To(Succeed())
			Expect(fmt.Sprint(events.Items)).NotTo(ContainSubstring(canary))
			for _, version := range s.History.Of(RunName) {
				Expect(fmt.Sprint(version.Status.Conditions)).NotTo(ContainSubstring(canary))
			}
			families, err := metrics.Registry.Gather()
			Expect(err).NotTo(HaveOccurred())
			Expect(families).NotTo(BeEmpty())
			Expect(fmt.Sprint(families)).NotTo(ContainSubstring(canary))
		},
		Entry("fails", &Wire{}, `backoffLimit: 0,`, ``, Exits(1, "the password is "+canary), v1alpha1.RunTasksFailed, nothing),
		Entry("waits for a retry", &Wire{}, ``, ``, Exits(1, "the password is "+canary), v1alpha1.RunWaitingForRetry, nothing),
		Entry("fails as its command is not there", &Wire{}, ``, ``, Fate(Unstartable), v1alpha1.RunTasksFailed, nothing),
		Entry("is refused for its tolerations", &Wire{}, ``, `tolerations: [{key: gpu, operator: Exists, value: "1"}],`, Fate(Succeeds),
			v1alpha1.RunJobRefused, nothing),
		Entry("is refused for its user", &Wire{}, ``, `securityContext: {runAsUser: -5},`, Fate(Succeeds), v1alpha1.RunJobRefused, nothing),
		Entry("is refused for a volume", &Wire{}, ``, `volumes: [{name: two, emptyDir: {}, hostPath: {path: /}}],`, Fate(Succeeds),
			v1alpha1.RunJobRefused, nothing),
		Entry("is refused by a quota", &Wire{}, ``, ``, Fate(Succeeds), v1alpha1.RunJobRefused, func(s *Stage) { s.Quota("count/jobs.batch", "0") }),
		Entry("is stalled by another's Job", &Wire{}, ``, ``, Fate(Succeeds), v1alpha1.RunNameTaken,
			func(s *Stage) { s.ForeignJob(RunName+"-0", nil) }),
		Entry("meets a broken API server", &Wire{Faults: failing(RequestTo("create", "batch", "jobs"), 0, 3)}, ``, ``, Fate(Succeeds),
			v1alpha1.RunCompleted, nothing),
		Entry("cannot be reported", &Wire{Faults: failing(RequestTo("patch", v1alpha1.GroupVersion.Group, "batchruns/status"), 500, 3)}, ``, ``,
			Fate(Succeeds), v1alpha1.RunCompleted, nothing),
	)
})

func nothing(*Stage) {}
