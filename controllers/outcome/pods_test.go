package outcome

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// at is a time so many seconds after the tests' first one.
func at(seconds int) metav1.Time {
	return metav1.NewTime(epoch.Add(time.Duration(seconds) * time.Second))
}

// edit is one thing that is so about a pod.
type edit func(*corev1.Pod)

// podWith is a pod that was created at second 0 and is as these edits say.
func podWith(edits ...edit) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", CreationTimestamp: at(0)}}
	for _, edit := range edits {
		edit(pod)
	}
	return pod
}

func phase(phase corev1.PodPhase) edit {
	return func(pod *corev1.Pod) { pod.Status.Phase = phase }
}

var (
	pending   = phase(corev1.PodPending)
	running   = phase(corev1.PodRunning)
	succeeded = phase(corev1.PodSucceeded)
	failed    = phase(corev1.PodFailed)
)

// says sets the pod's own reason and message.
func says(reason, message string) edit {
	return func(pod *corev1.Pod) { pod.Status.Reason, pod.Status.Message = reason, message }
}

func hasCondition(kind corev1.PodConditionType, status corev1.ConditionStatus, reason, message string, seconds int) edit {
	return func(pod *corev1.Pod) {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{
			Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: at(seconds),
		})
	}
}

// disrupted has the DisruptionTarget condition with this reason.
func disrupted(reason string) edit {
	return hasCondition(corev1.DisruptionTarget, corev1.ConditionTrue, reason, "taken away", 50)
}

func scheduledAt(seconds int) edit {
	return hasCondition(corev1.PodScheduled, corev1.ConditionTrue, "", "", seconds)
}

// deletedAt was deleted at this second with a grace period of 30 seconds.
func deletedAt(seconds int) edit {
	return func(pod *corev1.Pod) {
		pod.DeletionTimestamp = ptr.To(at(seconds + 30))
		pod.DeletionGracePeriodSeconds = ptr.To(int64(30))
	}
}

// observed has the pod's second generation, since its deletion, and the one that its kubelet reports of.
func observed(generation int64) edit {
	return func(pod *corev1.Pod) { pod.Generation, pod.Status.ObservedGeneration = 2, generation }
}

// container has a container in this state.
func container(name string, state corev1.ContainerState) edit {
	return func(pod *corev1.Pod) {
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: name, Image: "registry.example/" + name + ":1", State: state, ContainerID: containerID(state),
		})
	}
}

// containerID is what a container's status has once it was created: a waiting one without a reason was.
func containerID(state corev1.ContainerState) string {
	if state.Waiting != nil && state.Waiting.Reason != "" {
		return ""
	}
	return "containerd://0123"
}

// created is the state of a container that was created, but not started.
func created() corev1.ContainerState { return waits("", "") }

// sandbox says at second 20 whether the pod has a sandbox.
func sandbox(ready bool) edit {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	return hasCondition(corev1.PodReadyToStartContainers, status, "", "", 20)
}

// initContainer has an init container in this state.
func initContainer(name string, state corev1.ContainerState) edit {
	return func(pod *corev1.Pod) {
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Name: name})
		pod.Status.InitContainerStatuses = append(pod.Status.InitContainerStatuses, corev1.ContainerStatus{
			Name: name, Image: "registry.example/" + name + ":1", State: state, ContainerID: containerID(state),
		})
	}
}

// sidecarContainer has an init container that is always restarted in this state.
func sidecarContainer(name string, state corev1.ContainerState) edit {
	return func(pod *corev1.Pod) {
		initContainer(name, state)(pod)
		last := len(pod.Spec.InitContainers) - 1
		pod.Spec.InitContainers[last].RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
	}
}

// exited is the state of a container that ended at this second; at second -1 for one whose end has no time.
func exited(code int32, reason, message string, seconds int) corev1.ContainerState {
	terminated := &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: message}
	if seconds >= 0 {
		terminated.FinishedAt = at(seconds)
	}
	return corev1.ContainerState{Terminated: terminated}
}

// waits is the state of a container that waits for this reason.
func waits(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

// runs is the state of a container that runs.
func runs() corev1.ContainerState {
	return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at(1)}}
}
