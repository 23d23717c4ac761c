package stage

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Fate is what becomes of a pod on its node: it writes what the kubelet would write into the status. It may be asked
// again until the pod has ended.
type Fate func(*corev1.Pod)

// Script says what becomes of each attempt of each task. The first attempt is 1.
type Script func(task, attempt int) Fate

func Always(f Fate) Script { return func(int, int) Fate { return f } }

// First gives the first attempts of every task these fates, and lets the following ones succeed.
func First(fates ...Fate) Script {
	return func(_, attempt int) Fate { return at(fates, attempt) }
}

// Tasks gives the first attempts of some tasks these fates, and lets all others succeed.
type Tasks map[int][]Fate

func (t Tasks) Script() Script {
	return func(task, attempt int) Fate { return at(t[task], attempt) }
}

func at(fates []Fate, attempt int) Fate {
	if attempt <= len(fates) {
		return fates[attempt-1]
	}
	return Succeeds
}

// Runs keeps the pod running.
func Runs(pod *corev1.Pod) {
	pod.Status.Phase = corev1.PodRunning
	contain(pod, corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})
}

func Succeeds(pod *corev1.Pod) {
	pod.Status.Phase = corev1.PodSucceeded
	contain(pod, ended(0, "Completed", ""))
}

// Exits fails the pod with an exit code and the end of its log.
func Exits(code int32, tail string) Fate {
	return func(pod *corev1.Pod) {
		pod.Status.Phase = corev1.PodFailed
		contain(pod, ended(code, "Error", tail))
	}
}

func OutOfMemory(pod *corev1.Pod) {
	pod.Status.Phase = corev1.PodFailed
	contain(pod, ended(137, "OOMKilled", ""))
}

// Overused is an eviction by the kubelet for what the pod itself used.
func Overused(pod *corev1.Pod) {
	pod.Status.Phase, pod.Status.Reason = corev1.PodFailed, "Evicted"
	pod.Status.Message = "Usage of EmptyDir volume \"scratch\" exceeds the limit \"1Mi\". "
	contain(pod, ended(137, "Error", "writing part 7"))
}

func Overdue(pod *corev1.Pod) {
	pod.Status.Phase, pod.Status.Reason = corev1.PodFailed, "DeadlineExceeded"
	pod.Status.Message = "Pod was active on the node longer than the specified deadline"
	contain(pod, ended(143, "Error", ""))
}

// disrupted takes the pod away for a reason of the DisruptionTarget condition.
func disrupted(reason, message string) Fate {
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
	Preempted   = disrupted(corev1.PodReasonPreemptionByScheduler, "default-scheduler: preempting to accommodate a higher priority pod")
	NodeEvicted = disrupted(corev1.PodReasonTerminationByKubelet, "The node was low on resource: memory.")
	NodeLost    = disrupted("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint")
)

// Unpullable waits for an image that does not exist.
func Unpullable(pod *corev1.Pod) {
	pod.Status.Phase = corev1.PodPending
	contain(pod, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{
		Reason: "ImagePullBackOff", Message: `Back-off pulling image "example": not found`}})
}

// Forsaken was created on a node that lost power before it started it.
func Forsaken(pod *corev1.Pod) {
	pod.Status.Phase = corev1.PodPending
	pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{
		Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionFalse, LastTransitionTime: metav1.Now()})
	contain(pod, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{}})
	pod.Status.ContainerStatuses[0].ContainerID = "containerd://0123"
}

// Unstartable is a command that does not exist.
func Unstartable(pod *corev1.Pod) {
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
