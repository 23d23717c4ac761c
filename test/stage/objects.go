package stage

import (
	"maps"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// DeleteJob deletes a Job as kubectl does.
func (s *Stage) DeleteJob(name string) {
	GinkgoHelper()
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: name}}
	Expect(K8sClient.Delete(Ctx, job, client.PropagationPolicy(metav1.DeletePropagationBackground))).To(Succeed())
}

// Pods are all pods of the namespace that were on a node, by their tasks, the latest of each.
func (s *Stage) Pods() map[int]corev1.Pod {
	GinkgoHelper()
	var list corev1.PodList
	Expect(K8sClient.List(Ctx, &list, client.InNamespace(s.Namespace))).To(Succeed())
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

// Values are the parameters that the tasks' pods got: "LR=0.1 SEED=1".
func (s *Stage) Values(names ...string) map[int]string {
	GinkgoHelper()
	values := map[int]string{}
	for task, pod := range s.Pods() {
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

// Nameless are the pods of a run without what differs between any two pods.
func (s *Stage) Nameless() map[int]corev1.Pod {
	GinkgoHelper()
	pods := s.Pods()
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

// Quota limits the stage's namespace, and waits until the limit holds.
func (s *Stage) Quota(name corev1.ResourceName, limit string) *corev1.ResourceQuota {
	GinkgoHelper()
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: "limit"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{name: resource.MustParse(limit)}},
	}
	Expect(K8sClient.Create(Ctx, quota)).To(Succeed())
	Eventually(func(g Gomega) {
		read := &corev1.ResourceQuota{}
		g.Expect(K8sClient.Get(Ctx, client.ObjectKeyFromObject(quota), read)).To(Succeed())
		g.Expect(read.Status.Hard).To(HaveLen(1))
	}).Should(Succeed())
	return quota
}

// Stalls waits until the run is stalled for this reason, and returns the message.
func (s *Stage) Stalls(reason string) string {
	GinkgoHelper()
	run := s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) {
		g.Expect(ReasonOf(run, v1alpha1.ConditionReady)).To(Equal(reason))
		g.Expect(ReasonOf(run, v1alpha1.ConditionStalled)).To(Equal(reason))
		g.Expect(meta.IsStatusConditionTrue(run.Status.Conditions, v1alpha1.ConditionStalled)).To(BeTrue())
	})
	return MessageOf(run, v1alpha1.ConditionStalled)
}

// RunsNoPod waits until so many pods are on the node and none of them runs.
func (s *Stage) RunsNoPod(n int) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		g.Expect(s.Kubelet.Started()).To(HaveLen(n))
		g.Expect(s.Kubelet.Running()).To(BeEmpty())
	}).Should(Succeed())
}

// ForeignJob creates a suspended Job that no run controls.
func (s *Stage) ForeignJob(name string, labels map[string]string) *batchv1.Job {
	GinkgoHelper()
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: name, Labels: labels,
			Annotations: map[string]string{v1alpha1.AnnotationTasks: "0"}},
		Spec: batchv1.JobSpec{Suspend: ptr.To(true), Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "main", Image: "example"}}}}},
	}
	Expect(K8sClient.Create(Ctx, job)).To(Succeed())
	return job
}

// ForeignPod creates a pod that failed and that no run controls.
func (s *Stage) ForeignPod(labels map[string]string) *corev1.Pod {
	GinkgoHelper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: "foreign", Labels: labels,
			Annotations: map[string]string{batchv1.JobCompletionIndexAnnotation: "0"}},
		Spec: corev1.PodSpec{NodeSelector: map[string]string{"no": "such"}, Containers: []corev1.Container{{Name: "main", Image: "example"}}},
	}
	Expect(K8sClient.Create(Ctx, pod)).To(Succeed())
	failed := pod.DeepCopy()
	Exits(1, "")(failed)
	Expect(K8sClient.Status().Patch(Ctx, failed, client.MergeFrom(pod))).To(Succeed())
	return pod
}
