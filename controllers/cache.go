package controllers

import (
	"context"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/lru"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/outcome"
)

// Fields that the cache is indexed by.
const (
	// jobsByRun is the UID of the run that controls a Job.
	jobsByRun = "batchrun.io/jobs-by-run"
	// revisionsByRun is the UID of the run that controls a ControllerRevision.
	revisionsByRun = "batchrun.io/revisions-by-run"
	// podsByRun is the UID of the run that a pod is labelled with, and the pod's class.
	podsByRun = "batchrun.io/pods-by-run"
)

// CacheOptions restrict the operator's cache to the Jobs and pods of runs, and to those of their fields that it reads.
// Pods that succeeded are left out: their Jobs tell of them, and they are most of all pods. Without namespaces it has
// those of all.
func CacheOptions(namespaces ...string) cache.Options {
	ofRuns, err := labels.NewRequirement(v1alpha1.LabelRunUID, selection.Exists, nil)
	if err != nil { // the label is a constant
		panic(err)
	}
	selector := labels.NewSelector().Add(*ofRuns)
	watched := make(map[string]cache.Config, len(namespaces))
	for _, namespace := range namespaces {
		watched[namespace] = cache.Config{}
	}
	return cache.Options{
		DefaultNamespaces: watched,
		DefaultTransform:  cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&batchv1.Job{}: {Label: selector, Transform: slimJob},
			&corev1.Pod{}: {Label: selector, Transform: SlimPod,
				Field: fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded))},

			&appsv1.ControllerRevision{}: {Label: selector},
		},
	}
}

// slimJob drops what the operator does not read.
func slimJob(object any) (any, error) {
	if job, ok := object.(*batchv1.Job); ok {
		job.ManagedFields = nil
		job.Spec.Template = corev1.PodTemplateSpec{}
		job.Status.UncountedTerminatedPods = nil
	}
	return object, nil
}

// SlimPod keeps what tells the task, the state and the outcome of an attempt.
func SlimPod(object any) (any, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return object, nil
	}
	pod.ManagedFields = nil
	pod.Labels = keep(pod.Labels, v1alpha1.LabelRun, v1alpha1.LabelRunUID)
	pod.Annotations = keep(pod.Annotations, batchv1.JobCompletionIndexAnnotation, "kubectl.kubernetes.io/default-container")
	pod.Spec = corev1.PodSpec{
		NodeName:       pod.Spec.NodeName,
		InitContainers: slimContainers(pod.Spec.InitContainers),
		Containers:     slimContainers(pod.Spec.Containers),
		// Which gates hold a pod tells whether it got its parameters.
		SchedulingGates: pod.Spec.SchedulingGates,
	}
	pod.Status = corev1.PodStatus{
		ObservedGeneration: pod.Status.ObservedGeneration,
		Phase:              pod.Status.Phase, Reason: pod.Status.Reason, Message: pod.Status.Message, StartTime: pod.Status.StartTime,
		Conditions:            pod.Status.Conditions,
		InitContainerStatuses: slimStatuses(pod.Status.InitContainerStatuses),
		ContainerStatuses:     slimStatuses(pod.Status.ContainerStatuses),
	}
	return pod, nil
}

func keep(all map[string]string, keys ...string) map[string]string {
	kept := make(map[string]string, len(keys))
	for _, key := range keys {
		if value, ok := all[key]; ok {
			kept[key] = value
		}
	}
	return kept
}

func slimContainers(containers []corev1.Container) []corev1.Container {
	var slim []corev1.Container
	for _, c := range containers {
		slim = append(slim, corev1.Container{Name: c.Name, Image: c.Image, RestartPolicy: c.RestartPolicy})
	}
	return slim
}

func slimStatuses(statuses []corev1.ContainerStatus) []corev1.ContainerStatus {
	var slim []corev1.ContainerStatus
	for _, s := range statuses {
		slim = append(slim, corev1.ContainerStatus{Name: s.Name, Image: s.Image, ContainerID: s.ContainerID, State: s.State})
	}
	return slim
}

// podClass says what makes a pod worth a look.
type podClass string

const (
	// podNoteworthy has failed, is going away, was created without its parameters, or waits for something that fails.
	podNoteworthy podClass = "noteworthy"
	// podStarting is on a node that has not set up its volumes and network yet.
	podStarting podClass = "starting"
	podOther    podClass = "other"
)

func classOf(pod *corev1.Pod) podClass {
	switch {
	case pod.Status.Phase == corev1.PodFailed, pod.DeletionTimestamp != nil, gated(pod), outcome.WaitingFor(pod).Reason != "":
		return podNoteworthy
	case pod.Status.Phase == corev1.PodPending && !startingSince(pod).IsZero():
		return podStarting
	}
	return podOther
}

// gated is true for a pod that was created without its parameters.
func gated(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.SchedulingGates, func(g corev1.PodSchedulingGate) bool { return g.Name == v1alpha1.GateParameters })
}

// startingSince is when a pod was scheduled whose node has not set up its volumes and network yet; zero for others.
func startingSince(pod *corev1.Pod) time.Time {
	var since time.Time
	for _, c := range pod.Status.Conditions {
		switch {
		case c.Type == corev1.PodReadyToStartContainers && c.Status == corev1.ConditionTrue:
			return time.Time{}
		case c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue:
			since = c.LastTransitionTime.Time
		}
	}
	return since
}

func podKey(run types.UID, class podClass) string { return string(run) + "/" + string(class) }

// indexCache sets up the fields that observe lists by.
func indexCache(ctx context.Context, indexer client.FieldIndexer) error {
	ofRun := func(object client.Object) []string {
		owner := metav1.GetControllerOf(object)
		if owner == nil || owner.Kind != "BatchRun" {
			return nil
		}
		return []string{string(owner.UID)}
	}
	if err := indexer.IndexField(ctx, &batchv1.Job{}, jobsByRun, ofRun); err != nil {
		return err
	}
	if err := indexer.IndexField(ctx, &appsv1.ControllerRevision{}, revisionsByRun, ofRun); err != nil {
		return err
	}
	return indexer.IndexField(ctx, &corev1.Pod{}, podsByRun, func(object client.Object) []string {
		pod, ok := object.(*corev1.Pod)
		if !ok {
			return nil
		}
		return []string{podKey(types.UID(pod.Labels[v1alpha1.LabelRunUID]), classOf(pod))}
	})
}

// vanishedPods remembers the last state of pods that went away before their end was recorded: an evicted pod is gone
// soon after its Job has counted it. What is lost in a crash is recorded as Deleted.
type vanishedPods struct{ pods *lru.Cache }

// maxVanishedPods bounds the memory for pods that went away, about 2 KB each.
const maxVanishedPods = 5000

func newVanishedPods() *vanishedPods { return &vanishedPods{pods: lru.New(maxVanishedPods)} }

func (v *vanishedPods) put(pod *corev1.Pod) {
	owner := metav1.GetControllerOf(pod)
	if owner == nil || pod.DeletionTimestamp == nil && !noteworthy(pod) {
		return // it has succeeded, so it is not in the cache any more
	}
	v.pods.Add(gone{owner.UID, pod.Annotations[batchv1.JobCompletionIndexAnnotation]}, pod)
}

func (v *vanishedPods) get(of gone) *corev1.Pod {
	pod, ok := v.pods.Get(of)
	if !ok {
		return nil
	}
	return pod.(*corev1.Pod)
}
