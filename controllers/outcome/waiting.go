package outcome

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// Waiting is what keeps a pod from starting.
type Waiting struct {
	// Reason is ImagePullFailed, StartFailed, Unschedulable or NodeLost; empty when the pod does not wait for anything that
	// fails.
	Reason v1alpha1.Reason
	// Message is what the kubelet or the scheduler says, in at most 512 bytes.
	Message string
	// Since is from when on it could have gone well: for a pod on a node the time it was scheduled, its last init container
	// finished, or the node lost it.
	Since time.Time
	// Gated is true for a pod that somebody holds with a scheduling gate: it waits for them, not for a node.
	Gated bool
}

// gates are the names of the pod's scheduling gates.
func gates(pod *corev1.Pod) string {
	names := make([]string, 0, len(pod.Spec.SchedulingGates))
	for _, gate := range pod.Spec.SchedulingGates {
		names = append(names, gate.Name)
	}
	return strings.Join(names, ", ")
}

// waitingReasons are the reasons of waiting containers that tell of a failure; each of them is tried again by the
// kubelet, some forever in vain. ContainerCreating and PodInitializing are no failures.
var waitingReasons = map[string]v1alpha1.Reason{
	// pkg/kubelet/images/types.go
	"ErrImagePull":      v1alpha1.ReasonImagePullFailed,
	"ImagePullBackOff":  v1alpha1.ReasonImagePullFailed,
	"InvalidImageName":  v1alpha1.ReasonImagePullFailed,
	"ErrImageNeverPull": v1alpha1.ReasonImagePullFailed,
	"ImageInspectError": v1alpha1.ReasonImagePullFailed,
	// k8s.io/cri-api/pkg/errors, handed through by pkg/kubelet/images
	"RegistryUnavailable":       v1alpha1.ReasonImagePullFailed,
	"SignatureValidationFailed": v1alpha1.ReasonImagePullFailed,
	// pkg/kubelet/kuberuntime/kuberuntime_container.go
	"CreateContainerConfigError": v1alpha1.ReasonStartFailed,
	"CreateContainerError":       v1alpha1.ReasonStartFailed,
	"PreCreateHookError":         v1alpha1.ReasonStartFailed,
	"PreStartHookError":          v1alpha1.ReasonStartFailed,
	"PostStartHookError":         v1alpha1.ReasonStartFailed,
	// pkg/kubelet/container/sync_result.go
	"RunContainerError": v1alpha1.ReasonStartFailed,
}

// crashLoopBackOff is from pkg/kubelet/container/sync_result.go. Before the pod has started only a sidecar can be in it.
const crashLoopBackOff = "CrashLoopBackOff"

// WaitingFor is what keeps the pod from starting. A pod that is being deleted still tells what it waited for.
func WaitingFor(pod *corev1.Pod) Waiting {
	if Ended(pod) {
		return Waiting{}
	}
	if scheduled := condition(pod, corev1.PodScheduled, corev1.ConditionFalse); scheduled != nil {
		waiting := Waiting{Reason: v1alpha1.ReasonUnschedulable, Message: limit(scheduled.Message), Since: scheduled.LastTransitionTime.Time}
		switch scheduled.Reason {
		case corev1.PodReasonUnschedulable:
			return waiting
		case corev1.PodReasonSchedulingGated:
			waiting.Message, waiting.Gated = limit("held by the scheduling gates "+gates(pod)), true
			return waiting
		}
		return Waiting{}
	}
	if !started(pod) {
		if waiting := waitingContainer(pod, pod.Status.InitContainerStatuses, true); waiting.Reason != "" {
			return waiting
		}
	}
	if waiting := waitingContainer(pod, pod.Status.ContainerStatuses, false); waiting.Reason != "" {
		return waiting
	}
	return forsaken(pod)
}

// forsaken tells of a pod whose sandbox was lost after a container was created and before it was started, as when the
// node loses its power. The kubelet leaves it pending for ever, as its restart policy is Never
// (https://github.com/kubernetes/kubernetes/issues/118321).
func forsaken(pod *corev1.Pod) Waiting {
	lost := condition(pod, corev1.PodReadyToStartContainers, corev1.ConditionFalse)
	if lost == nil || pod.Status.Phase != corev1.PodPending {
		return Waiting{}
	}
	for _, status := range containerStatuses(pod) {
		if waiting := status.State.Waiting; waiting != nil && waiting.Reason == "" && status.ContainerID != "" {
			return Waiting{Reason: v1alpha1.ReasonNodeLost, Since: lost.LastTransitionTime.Time,
				Message: fmt.Sprintf("container %q was created, and its node lost it before it was started", status.Name)}
		}
	}
	return Waiting{}
}

// started tells whether a container other than an init container runs or ran. From then on the init containers decide
// nothing any more: those that are left are sidecars.
func started(pod *corev1.Pod) bool {
	for i := range pod.Status.ContainerStatuses {
		if state := pod.Status.ContainerStatuses[i].State; state.Running != nil || state.Terminated != nil {
			return true
		}
	}
	return false
}

// waitingContainer is what the first of these containers waits for whose wait is a failure.
func waitingContainer(pod *corev1.Pod, statuses []corev1.ContainerStatus, init bool) Waiting {
	for i := range statuses {
		state := statuses[i].State.Waiting
		if state == nil {
			continue
		}
		reason := waitingReasons[state.Reason]
		if init && state.Reason == crashLoopBackOff {
			reason = v1alpha1.ReasonStartFailed
		}
		if reason != "" {
			return Waiting{Reason: reason, Message: limit(describe(&statuses[i])), Since: startable(pod)}
		}
	}
	return Waiting{}
}

// describe says which container waits, why, and for which image if that matters and the kubelet does not say it.
func describe(status *corev1.ContainerStatus) string {
	waiting := status.State.Waiting
	text := joined(fmt.Sprintf("container %q: %s", status.Name, waiting.Reason), waiting.Message)
	if waitingReasons[waiting.Reason] == v1alpha1.ReasonImagePullFailed && !strings.Contains(waiting.Message, status.Image) {
		text = joined(fmt.Sprintf("container %q: %s: image %q", status.Name, waiting.Reason, status.Image), waiting.Message)
	}
	return text
}

// startable is from when on the next container could start: when the pod got its node, or when its last init container
// finished.
func startable(pod *corev1.Pod) time.Time {
	since := pod.CreationTimestamp.Time
	if scheduled := condition(pod, corev1.PodScheduled, corev1.ConditionTrue); scheduled != nil {
		since = scheduled.LastTransitionTime.Time
	} else if pod.Status.StartTime != nil {
		since = pod.Status.StartTime.Time
	}
	for i := range pod.Status.InitContainerStatuses {
		status := &pod.Status.InitContainerStatuses[i]
		if ended := status.State.Terminated; ended != nil && !sidecar(pod, status.Name) {
			since = later(since, ended.FinishedAt.Time)
		}
	}
	return since
}
