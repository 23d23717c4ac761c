// Package outcome reads off a pod why an attempt ended, or what it waits for.
//
// It looks at the pod's status, at its deletion time and grace period, and at the names and restart policies of
// spec.initContainers; a cache that slims pods has to keep these.
package outcome

import (
	"cmp"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// Outcome is why and how an attempt ended.
type Outcome struct {
	Reason v1alpha1.Reason
	// Disruption is true when the attempt ended for no fault of its own: its pod has the DisruptionTarget condition,
	// or its node went away.
	Disruption bool
	// ExitCode is that of the container that failed first; nil where none failed or none reported a code.
	ExitCode *int32
	// Message is what the kubelet or the control plane said, in at most 512 bytes.
	Message string
	// FinishedAt is when the attempt ended, zero where the pod does not tell.
	FinishedAt time.Time
	// Tail is the termination message of the container that failed first, as the kubelet left it: what the container
	// wrote there, or the end of its log.
	Tail string
}

// What the kubelet and the node lifecycle controller write into a pod's status.reason.
const (
	// pkg/kubelet/eviction/helpers.go
	podEvicted = "Evicted"
	// pkg/kubelet/active_deadline.go
	podDeadlineExceeded = "DeadlineExceeded"
	// pkg/kubelet/nodeshutdown/nodeshutdown_manager.go: the pod was stopped, or was not let in any more.
	podTerminated   = "Terminated"
	podNodeShutdown = "NodeShutdown"
	// pkg/util/node/node.go: the node is not ready while the pod is being deleted.
	podNodeLost = "NodeLost"
)

// kubeletReasons are the pod's status.reason values that say why the kubelet ended the pod, whatever its containers
// made of it.
var kubeletReasons = map[string]v1alpha1.Reason{
	podEvicted:          v1alpha1.ReasonEvicted,
	podDeadlineExceeded: v1alpha1.ReasonDeadlineExceeded,
	podTerminated:       v1alpha1.ReasonNodeLost,
	podNodeShutdown:     v1alpha1.ReasonNodeLost,
}

// disruptionReasons split the DisruptionTarget condition by its own reason. Those not listed (EvictionByEvictionAPI,
// TerminationByKubelet, DeletionByDeviceTaintManager) are Evicted. The strings are in pkg/scheduler/framework/preemption,
// pkg/controller/tainteviction and pkg/controller/podgc.
var disruptionReasons = map[string]v1alpha1.Reason{
	corev1.PodReasonPreemptionByScheduler: v1alpha1.ReasonPreempted,
	"DeletionByTaintManager":              v1alpha1.ReasonNodeLost,
	"DeletionByPodGC":                     v1alpha1.ReasonNodeLost,
}

// Ended tells whether the pod ended by itself or was ended by its kubelet: its phase is Succeeded or Failed.
func Ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// Of is the outcome of a pod that ended, or of the last seen state of one that vanished. A pod that vanished before it
// ended was deleted, unless one of its containers had failed before.
func Of(pod *corev1.Pod) Outcome {
	if pod.Status.Phase == corev1.PodSucceeded {
		return Outcome{Reason: v1alpha1.ReasonCompleted, FinishedAt: finishedAt(pod, nil)}
	}
	failed := failures(pod)
	reason, message, culprit := judge(pod, failed)
	ended := Outcome{
		Reason:     reason,
		Disruption: reason == v1alpha1.ReasonNodeLost || disruption(pod) != nil,
		Message:    limit(message),
		FinishedAt: finishedAt(pod, failed),
	}
	if culprit != nil {
		ended.Tail = culprit.tail()
		ended.ExitCode = culprit.exitCode()
	}
	return ended
}

// judge finds the reason, what was said about it, and the container to blame or to quote, if there is one. The first
// rule that matches decides:
//
//  1. the DisruptionTarget condition;
//  2. the kubelet's own reason: evicted for what the pod used, its deadline, a shutdown of the node;
//  3. a container that failed by itself: out of memory, not started, exit code, in this order;
//  4. the node was lost, the kubelet did not let the pod in, the pod was deleted.
func judge(pod *corev1.Pod, failed []failure) (v1alpha1.Reason, string, *failure) {
	status, first := &pod.Status, firstOf(failed, anyFailure)
	if condition := disruption(pod); condition != nil {
		reason, ok := disruptionReasons[condition.Reason]
		if !ok {
			reason = v1alpha1.ReasonEvicted
		}
		return reason, cmp.Or(condition.Message, status.Message), first
	}
	if reason, ok := kubeletReasons[status.Reason]; ok {
		return reason, status.Message, first
	}

	own := byItself(pod, failed)
	if culprit := firstOf(own, failure.outOfMemory); culprit != nil {
		return v1alpha1.ReasonOOMKilled, cmp.Or(status.Message, culprit.which(pod)), culprit
	}
	if culprit := firstOf(own, failure.notStarted); culprit != nil {
		return v1alpha1.ReasonStartFailed, cmp.Or(culprit.Message, status.Message), culprit
	}
	if culprit := firstOf(own, anyFailure); culprit != nil {
		return v1alpha1.ReasonError, cmp.Or(status.Message, culprit.which(pod)), culprit
	}

	switch {
	case status.Reason == podNodeLost:
		return v1alpha1.ReasonNodeLost, status.Message, first
	case status.Phase == corev1.PodFailed && status.Reason != "":
		return v1alpha1.ReasonUnknown, joined(status.Reason, status.Message), first
	case pod.DeletionTimestamp != nil || !Ended(pod):
		return v1alpha1.ReasonDeleted, status.Message, first
	case first != nil:
		return v1alpha1.ReasonUnknown, cmp.Or(status.Message, first.words()), first
	}
	return v1alpha1.ReasonUnknown, status.Message, nil
}

// disruption is the pod's DisruptionTarget condition if it is true. A stale one is set to false: the pod was to be
// taken away and then was not.
func disruption(pod *corev1.Pod) *corev1.PodCondition {
	return condition(pod, corev1.DisruptionTarget, corev1.ConditionTrue)
}

// condition is the pod's condition of this type if it has this status, else nil.
func condition(pod *corev1.Pod, kind corev1.PodConditionType, status corev1.ConditionStatus) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == kind && c.Status == status {
			return c
		}
	}
	return nil
}
