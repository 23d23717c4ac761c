package integration

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/test/gitops"
	. "github.com/batchrun/batchrun/test/stage"
)

// Every status of every run of the suite is read by the tools too: see History.
var _ = Describe("A run that a GitOps repo holds", func() {
	It("shows no drift, and runs nothing again when its file is applied again, also after every cleanup", func() {
		s := NewStage(Tasks{1: {Exits(3, "broken")}}.Script())
		file := s.Create(`{completions: 3, ttlSecondsAfterFinished: 60, retryPolicy: {backoff: {baseSeconds: 0}}}`)
		apply := func() {
			GinkgoHelper()
			before := s.Get()
			object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(file)
			Expect(err).NotTo(HaveOccurred())
			u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": v1alpha1.GroupVersion.String(), "kind": "BatchRun",
				"metadata": map[string]any{"name": file.Name, "namespace": file.Namespace}, "spec": object["spec"]}}
			Expect(K8sClient.Apply(Ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("gitops"), client.ForceOwnership)).To(Succeed())
			after := s.Get()
			Expect(after.Spec).To(Equal(before.Spec))
			Expect(after.Generation).To(Equal(before.Generation))
		}
		apply()
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		started := s.Kubelet.Started()
		for range 3 {
			apply()
			s.Forward(time.Minute)
			s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.CleanupTime).NotTo(BeNil()) })
			apply()
			s.Reconcile(3)
			Expect(s.Jobs()).To(BeEmpty())
			Expect(s.Kubelet.Started()).To(Equal(started))
			Expect(s.Get().Status.PodStates).To(Equal(run.Status.PodStates))
		}
	})

	It("does what the actions of Argo CD say", func() {
		s := NewStage(Always(Runs))
		s.Create(`{completions: 2, backoffLimit: 0}`)
		s.RunsPods(2)
		act := func(action string) {
			GinkgoHelper()
			run := s.Get()
			Expect(gitops.Actions(run)).To(ContainElement(action))
			patch, err := gitops.Act(run, action)
			Expect(err).NotTo(HaveOccurred())
			s.Merge(patch)
			Expect(gitops.Actions(s.Get())).NotTo(ContainElement(action))
		}
		shows := func(health string) {
			GinkgoHelper()
			s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) {
				got, _, err := gitops.Health(run)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(got).To(Equal(health))
			})
		}
		shows(gitops.Progressing)
		act("suspend")
		shows(gitops.Suspended)
		s.RunsPods(0)
		act("resume")
		s.RunsPods(2)
		s.Kubelet.Turn(Always(Exits(1, "")))
		shows(gitops.Degraded)

		s.Kubelet.Turn(Always(Runs))
		run := s.Get()
		Expect(gitops.Actions(run)).To(Equal([]string{"rerun"}))
		patch, err := gitops.Act(run, "rerun")
		Expect(err).NotTo(HaveOccurred())
		s.Merge(patch)
		s.RunsPods(2)
		shows(gitops.Progressing)
		act("cancel")
		run = s.Finishes(v1alpha1.PhaseCancelled)
		Expect(run.Status.Reruns).To(HaveLen(1))
		shows(gitops.Degraded)
		Expect(gitops.Actions(run)).To(BeEmpty())
	})
})
