package fault

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

// goodSpecs have all fields between them, each a value that lets the run succeed.
var goodSpecs = map[string]string{
	"an array": `
completions: 2
parallelism: 2
backoffLimit: 1
activeDeadlineSeconds: 86400
suspend: false
cancel: false
completionMode: Indexed
ttlSecondsAfterFinished: 604800
recordTTLSecondsAfterFinished: 1000000
pilot: 1
maxFailedTasks: 1
retryPolicy:
  backoff: {baseSeconds: 0, maxSeconds: 360}
  maxDisruptions: 20
  rules:
  - {reasons: [OOMKilled], action: Count, memory: {increasePercent: 50, max: 64Gi}}
  - {exitCodes: {operator: In, values: [2]}, action: FailTask}
startup: {imagePullDeadlineSeconds: 600, unschedulableDeadlineSeconds: 600}
logs: {keep: All, tailLines: 80, tailBytes: 2048, archiveTTLSecondsAfterFinished: 60}
rerun: {token: "1", scope: Failed}
template:
  metadata: {labels: {app: train}, annotations: {note: short}}
  spec:
    activeDeadlineSeconds: 3600
    terminationGracePeriodSeconds: 30
    priority: 0
    hostname: trainer
    serviceAccountName: default
    nodeSelector: {kubernetes.io/hostname: batchrun-test}
    tolerations: [{key: gpu, operator: Exists, effect: NoSchedule}]
    volumes: [{name: scratch, emptyDir: {sizeLimit: 1Gi}}]
    containers:
    - name: main
      image: example
      command: [train]
      args: ["--all"]
      workingDir: /data
      env: [{name: LEVEL, value: high}]
      ports: [{containerPort: 8080, protocol: TCP}]
      resources: {requests: {memory: 1Mi}, limits: {memory: 1Gi}}
      volumeMounts: [{name: scratch, mountPath: /data}]
`,
	"a sweep": `
parameters:
  matrix: [{name: LR, values: ["0.1", "0.2"]}, {name: SEED, range: {start: 1, end: 2, step: 1}}]
  exclude: [{LR: "0.1", SEED: "2"}]
  include: [{LR: "0.5", SEED: "1"}]
rerun: {token: "1", indexes: "0"}
template: {spec: {nodeSelector: {kubernetes.io/hostname: batchrun-test}, containers: [{name: main, image: example}]}}
`,
	"a sweep of items": `
parameters: {items: [{LR: "0.1"}, {LR: "0.2"}]}
template: {spec: {nodeSelector: {kubernetes.io/hostname: batchrun-test}, containers: [{name: main, image: example}]}}
`,
}

func parsed(spec string) map[string]any {
	GinkgoHelper()
	text, err := yaml.YAMLToJSON([]byte(spec))
	Expect(err).NotTo(HaveOccurred())
	run := &unstructured.Unstructured{}
	Expect(run.UnmarshalJSON(fmt.Appendf(nil, `{"apiVersion": "batchrun.io/v1alpha1", "kind": "BatchRun", "spec": %s}`, text))).To(Succeed())
	return run.Object["spec"].(map[string]any)
}

// change is what kubectl apply sends where a file had one spec, and now has another.
func change(from, to map[string]any) []byte {
	GinkgoHelper()
	before, err := json.Marshal(map[string]any{"spec": from})
	Expect(err).NotTo(HaveOccurred())
	after, err := json.Marshal(map[string]any{"spec": to})
	Expect(err).NotTo(HaveOccurred())
	patch, err := jsonpatch.CreateMergePatch(before, after)
	Expect(err).NotTo(HaveOccurred())
	return patch
}

func createRun(namespace string, spec map[string]any) *unstructured.Unstructured {
	GinkgoHelper()
	run := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	run.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("BatchRun"))
	run.SetNamespace(namespace)
	run.SetName(RunName)
	Expect(insist(func(again bool) error {
		err := K8sClient.Create(Ctx, run)
		if again {
			err = client.IgnoreAlreadyExists(err)
		}
		return err
	})).To(Succeed())
	return run
}

// insist does again what the API server did not answer in time, as other specs of 1 MB keep it busy, and returns its answer.
func insist(do func(again bool) error) error {
	GinkgoHelper()
	err := do(false)
	if apierrors.IsTimeout(err) {
		Eventually(func() bool { err = do(true); return apierrors.IsTimeout(err) }).WithTimeout(5 * time.Minute).Should(BeFalse())
	}
	return err
}

// merge merges a change into the run.
func merge(s *Stage, change []byte) error {
	GinkgoHelper()
	return insist(func(bool) error { return s.TryMerge(change) })
}

// accepted are those that the API server lets pass. It says of all others which field is wrong.
func accepted(good map[string]any, bad []BadSpec) []BadSpec {
	GinkgoHelper()
	run := createRun(NewNamespace(), good)
	run.SetManagedFields(nil)
	var passed []BadSpec
	var wrong []string
	for _, b := range bad {
		err := K8sClient.Patch(Ctx, run.DeepCopy(), client.RawPatch(types.MergePatchType, change(good, b.Spec())), client.DryRunAll)
		switch {
		case err == nil:
			passed = append(passed, b)
		case !b.NamedIn(err.Error()) && !apierrors.IsTimeout(err): // of a huge list the API server itself tells each wrong item
			wrong = append(wrong, fmt.Sprintf("%s: the refusal does not name it: %.1000s", b, err))
		}
	}
	Expect(wrong).To(BeEmpty(), func() string { return strings.Join(wrong, "\n") })
	return passed
}

var _ = Describe("A bad spec is refused, or reaches its state, and is put back:", func() {
	BeforeEach(TrustPolicy)

	It("every field is tried", func() {
		tried := map[string]bool{}
		for _, good := range goodSpecs {
			_, seen := BadSpecs(SpecSchema(), parsed(good))
			for field := range seen {
				tried[field] = true
			}
		}
		for _, field := range FieldsOf(SpecSchema(), "") {
			Expect(tried).To(HaveKey(field), "add it to goodSpecs")
		}
	})

	for name, good := range goodSpecs {
		It(name+" that has not started", func() { playBad(parsed(good), playFresh) })
		It(name+" that has finished", func() { playBad(parsed(good), playFinished) })
	}
})

var _ = Describe("A spec of about 1 MB is refused, or runs:", func() {
	BeforeEach(TrustPolicy)

	DescribeTable("in", func(spec, field string, texts int) {
		s := NewStage(Always(Succeeds))
		run := &unstructured.Unstructured{Object: map[string]any{"spec": parsed(fmt.Sprintf(spec, strings.Join(elementsOf(field, texts), ", ")))}}
		run.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("BatchRun"))
		run.SetNamespace(s.Namespace)
		run.SetName(RunName)
		if err := K8sClient.Create(Ctx, run); err != nil {
			Expect(err).To(Or(Satisfy(apierrors.IsInvalid), Satisfy(apierrors.IsRequestEntityTooLargeError)))
			return
		}
		settles(s, BadSpec{Field: field, Case: "1 MB"})
		ended := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(ended.Status.Succeeded).To(Equal(ended.Status.Tasks))
	},
		Entry("items", `{parameters: {items: [%s]}, template: {spec: {nodeSelector: {kubernetes.io/hostname: batchrun-test},
  containers: [{name: main, image: example}]}}}`, "{A: %q}", 1_000),
		Entry("env", `{template: {spec: {nodeSelector: {kubernetes.io/hostname: batchrun-test},
  containers: [{name: main, image: example, env: [%s]}]}}}`, "{name: A, value: %q}", 1_000),
	)
})

// elementsOf are so many elements of a list, of 1 KB each.
func elementsOf(format string, n int) []string {
	var texts []string
	for i := range n {
		texts = append(texts, fmt.Sprintf(format, fmt.Sprintf("%01000d", i)))
	}
	return texts
}

// playBad plays a good spec, each bad one made of it, and the good one again.
func playBad(good map[string]any, play func(s *Stage, good map[string]any, b BadSpec)) {
	GinkgoHelper()
	if !all {
		Skip("there are hundreds of them; FAULT=all plays them")
	}
	bad, _ := BadSpecs(SpecSchema(), good)
	passed := accepted(good, bad)
	AddReportEntry("specs", fmt.Sprintf("%d, of which the API server refused %d", len(bad), len(bad)-len(passed)))
	waiting := make(chan BadSpec, len(passed))
	for _, b := range passed {
		waiting <- b
	}
	close(waiting)
	var stages sync.WaitGroup
	for range min(len(passed), atATime/2) {
		s := NewStage(Always(Runs))
		stages.Go(func() {
			defer GinkgoRecover()
			defer s.Operator.Kill()
			for b := range waiting { // one after the other, as a stage takes longer to set than a play
				By(b.String() + ", in namespace " + s.Namespace)
				s.Kubelet.Turn(Always(Runs))
				play(s, good, b)
				run := s.Get()
				Expect(insist(func(again bool) error {
					err := K8sClient.Delete(Ctx, run)
					if again {
						err = client.IgnoreNotFound(err)
					}
					return err
				})).To(Succeed())
				Eventually(func(g Gomega) { gone(g, s) }).Should(Succeed(), b.String)
			}
		})
	}
	stages.Wait()
}

// playFresh has the first wave start with the bad spec.
func playFresh(s *Stage, good map[string]any, b BadSpec) {
	GinkgoHelper()
	held := parsed(`{suspend: true}`)
	for field, value := range good {
		if field != "suspend" {
			held[field] = value
		}
	}
	createRun(s.Namespace, held)
	settles(s, b)
	if spoil(s, held, b) {
		settles(s, b)
		Expect(merge(s, change(b.Spec(), good))).To(Succeed())
	} else {
		Expect(merge(s, change(held, good))).To(Succeed())
	}
	s.Kubelet.Turn(Always(Succeeds))
	recovers(s, good, b)
}

func playFinished(s *Stage, good map[string]any, b BadSpec) {
	GinkgoHelper()
	s.Kubelet.Turn(Always(Succeeds))
	createRun(s.Namespace, good)
	recovers(s, good, BadSpec{})
	if spoil(s, good, b) {
		settles(s, b)
		Expect(merge(s, change(b.Spec(), good))).To(Succeed())
	}
	recovers(s, good, b)
}

// spoil gives the run the bad spec; false where that is more than etcd takes, which a dry run does not tell.
func spoil(s *Stage, from map[string]any, b BadSpec) bool {
	GinkgoHelper()
	err := merge(s, change(from, b.Spec()))
	if err != nil {
		By(b.String() + " is refused: " + err.Error())
		Expect(err).To(MatchError(ContainSubstring("request is too large")), b.String)
	}
	return err == nil
}

// phases are all that a run can be in.
var phases = []v1alpha1.Phase{v1alpha1.PhasePending, v1alpha1.PhaseSuspended, v1alpha1.PhaseQueued, v1alpha1.PhaseRunning, v1alpha1.PhaseSucceeded,
	v1alpha1.PhaseFailed, v1alpha1.PhaseCancelled}

// biggestStatus is what a status may take.
const biggestStatus = 100 << 10

// settles waits until the operator has said what it makes of the spec.
func settles(s *Stage, b BadSpec) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		run := s.Get()
		g.Expect(run.Status.ObservedGeneration).To(Equal(run.Generation))
		if meta.IsStatusConditionTrue(run.Status.Conditions, v1alpha1.ConditionStalled) {
			g.Expect(ReasonOf(run, v1alpha1.ConditionStalled)).NotTo(BeEmpty())
		} else {
			g.Expect(phases).To(ContainElement(run.Status.Phase))
		}
		status, err := json.Marshal(run.Status)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(len(status)).To(BeNumerically("<=", biggestStatus))
	}).Should(Succeed(), b.String)
}

// endsForGood are the fields that can end a run so that it takes a rerun to open it again.
var endsForGood = []string{"spec.cancel", "spec.activeDeadlineSeconds"}

// recovers waits until the run has succeeded with all tasks of the good spec.
func recovers(s *Stage, good map[string]any, b BadSpec) {
	GinkgoHelper()
	run := ends(s, b)
	if run.Status.Phase != v1alpha1.PhaseSucceeded && slices.Contains(endsForGood, b.Field) {
		s.Patch(`rerun: {token: recover, scope: All, indexes: null}`)
		run = ends(s, b)
	}
	wanted := map[bool]string{true: "4/4", false: "2/2"}[hasMatrix(good)]
	text := func() string { return b.String() + ", in namespace " + s.Namespace + "\n" + StatusText(run) }
	Expect(run.Status.Phase).To(Equal(v1alpha1.PhaseSucceeded), text)
	Expect(run.Status.Completions).To(Equal(wanted), text)
	Expect(run.Status.Failed).To(BeZero(), text)
}

func hasMatrix(spec map[string]any) bool {
	parameters, _ := spec["parameters"].(map[string]any)
	return parameters["matrix"] != nil
}

func ends(s *Stage, b BadSpec) *v1alpha1.BatchRun {
	GinkgoHelper()
	Eventually(func(g Gomega) { finished(g, s) }).Should(Succeed(), func() string {
		return b.String() + ", in namespace " + s.Namespace + "\n" + StatusText(s.Get())
	})
	return s.Get()
}
