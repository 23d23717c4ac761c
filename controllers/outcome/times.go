package outcome

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// finishedAt is when the attempt ended: when its last container finished. Where the containers do not tell, because
// one was never seen to end, it is the latest sign of the end that the pod has; zero where there is none.
func finishedAt(pod *corev1.Pod, failed []failure) time.Time {
	last, told := lastFinish(pod, len(byItself(pod, failed)) > 0)
	if told {
		return last
	}
	for _, sign := range []*corev1.PodCondition{
		condition(pod, corev1.PodReady, corev1.ConditionFalse),
		disruption(pod),
	} {
		if sign != nil {
			last = later(last, sign.LastTransitionTime.Time)
		}
	}
	if Ended(pod) && !last.IsZero() {
		return last // the deletion of an ended pod is not its end
	}
	return later(last, deletionRequested(pod))
}

// lastFinish is when the last container finished, sidecars included. It is told by the containers only if none runs
// or was lost, and if they all ran, unless one of them failed first.
func lastFinish(pod *corev1.Pod, failed bool) (last time.Time, told bool) {
	for i := range pod.Status.InitContainerStatuses {
		if ended := pod.Status.InitContainerStatuses[i].State.Terminated; ended != nil {
			last = later(last, ended.FinishedAt.Time)
		}
	}
	told = true
	for i := range pod.Status.ContainerStatuses {
		state := pod.Status.ContainerStatuses[i].State
		switch {
		case state.Terminated != nil:
			last = later(last, state.Terminated.FinishedAt.Time)
			told = told && !known(state.Terminated.FinishedAt.Time).IsZero()
		case state.Running != nil || !failed:
			told = false
		}
	}
	return last, told && !last.IsZero()
}

// toldToEnd is when the containers were told to end because somebody deleted the pod; zero if they were not.
func toldToEnd(pod *corev1.Pod) time.Time {
	if endedBeforeDeletion(pod) {
		return time.Time{}
	}
	return deletionRequested(pod)
}

// endedBeforeDeletion holds where the kubelet reported the end of the pod before it knew of its deletion, which counts the
// pod's generation up (https://kep.k8s.io/5067). It decides what times cannot, which tell seconds only, of two clocks. Where
// the kubelet learns of the deletion before it has cleaned up after the end, it does not tell, and the times decide. Nobody
// is expected to change the spec of a pod after its deletion, which would count up too.
func endedBeforeDeletion(pod *corev1.Pod) bool {
	observed := pod.Status.ObservedGeneration
	return Ended(pod) && observed > 0 && observed < pod.Generation
}

// deletionRequested is when somebody asked for the pod's deletion, zero if nobody did: the deletion timestamp is the
// end of the grace period that began then.
func deletionRequested(pod *corev1.Pod) time.Time {
	if pod.DeletionTimestamp == nil {
		return time.Time{}
	}
	grace := ptr.Deref(pod.DeletionGracePeriodSeconds, 0)
	return pod.DeletionTimestamp.Add(-time.Duration(grace) * time.Second)
}

// later is the later of two times; one that is not known is never later.
func later(a, b time.Time) time.Time {
	if b = known(b); b.After(a) {
		return b
	}
	return a
}

// known is the time, or zero where the runtime reported none: the kubelet turns that into the start of 1970.
func known(t time.Time) time.Time {
	if t.Unix() <= 0 {
		return time.Time{}
	}
	return t
}
