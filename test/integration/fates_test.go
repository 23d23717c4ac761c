package integration

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fate is what becomes of a pod on its node: it writes what the kubelet would write into the status. It may be asked
// again until the pod has ended.
type fate func(*corev1.Pod)

// script says what becomes of each attempt of each task. The first attempt is 1.
type script func(task, attempt int) fate

func always(f fate) script { return func(int, int) fate { return f } }

// first gives the first attempts of every task these fates, and lets the following ones succeed.
func first(fates ...fate) script {
	return func(_, attempt int) fate { return at(fates, attempt) }
}

// tasks gives the first attempts of some tasks these fates, and lets all others succeed.
type tasks map[int][]fate

func (t tasks) script() script {
	return func(task, attempt int) fate { return at(t[task], attempt) }
}

func at(fates []fate, attempt int) fate {
	if attempt <= len(fates) {
		return fates[attempt-1]
	}
	return succeeds
}

// runs keeps the pod running.
func runs(pod *corev1.Pod) {
	pod.Status.Phase = corev1.PodRunning
	contain(pod, corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})
}

func succeeds(pod *corev1.Pod) {
	pod.Status.Phase = corev1.PodSucceeded
	contain(pod, ended(0, "Completed", ""))
}

// exits fails the pod with an exit code and the end of its log.
func exits(code int32, tail string) fate {
	return func(pod *corev1.Pod) {
		pod.Status.Phase = corev1.PodFailed
		contain(pod, ended(code, "Error", tail))
	}
}

func outOfMemory(pod *corev1.Pod) {
	pod.Status.Phase = corev1.PodFailed
	contain(pod, ended(137, "OOMKilled", ""))
}

// overused is an eviction by the kubelet for what the pod itself used.
func overused(pod *corev1.Pod) {
	pod.Status.Phase, pod.Status.Reason = corev1.PodFailed, "Evicted"
	pod.Status.Message = "Usage of EmptyDir volume \"scratch\" exceeds the limit \"1Mi\". "
	contain(pod, ended(137, "Error", "writing part 7"))
}

func overdue(pod *corev1.Pod) {
	pod.Status.Phase, pod.Status.Reason = corev1.PodFailed, "DeadlineExceeded"
	pod.Status.Message = "Pod was active on the node longer than the specified deadline"
	contain(pod, ended(143, "Error", ""))
}

// disrupted takes the pod away for a reason of the DisruptionTarget condition.
func disrupted(reason, message string) fate {
	return func(pod *corev1.Pod) {
		pod.Status.Phase = corev1.PodFailed
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: reason, Message: message,
			LastTransitionTime: metav1.Now(),
		})
		contain(pod, ended(143, "Error", ""))
	}
}

var (
	preempted   = disrupted(corev1.PodReasonPreemptionByScheduler, "default-scheduler: preempting to accommodate a higher priority pod")
	nodeEvicted = disrupted(corev1.PodReasonTerminationByKubelet, "The node was low on resource: memory.")
	nodeLost    = disrupted("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint")
)

// unpullable waits for an image that does not exist.
func unpullable(pod *corev1.Pod) {
	pod.Status.Phase = corev1.PodPending
	contain(pod, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{
		Reason: "ImagePullBackOff", Message: `Back-off pulling image "example": not found`}})
}

// unstartable is a command that does not exist.
func unstartable(pod *corev1.Pod) {
	pod.Status.Phase = corev1.PodFailed
	contain(pod, ended(128, "StartError", `exec: "nosuch": executable file not found in $PATH`))
}

// killed is what is left of a pod that was told to stop.
func killed(pod *corev1.Pod) {
	pod.Status.Phase = corev1.PodFailed
	contain(pod, ended(137, "Error", ""))
}

func ended(code int32, reason, message string) corev1.ContainerState {
	now := metav1.NewTime(time.Now())
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: code, Reason: reason, Message: message, StartedAt: now, FinishedAt: now}}
}

func contain(pod *corev1.Pod, state corev1.ContainerState) {
	c := pod.Spec.Containers[0]
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: c.Name, Image: c.Image, State: state}}
}
