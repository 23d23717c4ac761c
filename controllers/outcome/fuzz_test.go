package outcome

import (
	"math"
	"slices"
	"testing"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// choices makes decisions of the fuzzer's bytes.
type choices struct{ bytes []byte }

func (c *choices) next(n int) int {
	if len(c.bytes) == 0 {
		return 0
	}
	b := c.bytes[0]
	c.bytes = c.bytes[1:]
	return int(b) % n
}

func pick[T any](c *choices, from ...T) T {
	return from[c.next(len(from))]
}

// time is sometimes unset, sometimes the kubelet's idea of unset, and mostly near the others.
func (c *choices) time() metav1.Time {
	return pick(c, metav1.Time{}, metav1.Unix(0, 0), at(c.next(100)), at(c.next(100)), at(c.next(100)))
}

// pod is any pod that the API server would take, and then some. The word is used where a reason or message may be
// anything.
func (c *choices) pod(word string) *corev1.Pod {
	pod := podWith(
		phase(pick(c, corev1.PodPending, corev1.PodRunning, corev1.PodSucceeded, corev1.PodFailed, corev1.PodUnknown, "")),
		says(pick(c, "", "Evicted", "DeadlineExceeded", "NodeLost", "Terminated", "NodeShutdown", "OutOfcpu", word), pick(c, "", word)),
	)
	if c.next(2) == 1 {
		pod.DeletionTimestamp = ptr.To(c.time())
		pod.DeletionGracePeriodSeconds = pick(c, nil, ptr.To(int64(30)), ptr.To(int64(math.MaxInt64)))
		observed(pick[int64](c, 0, 1, 2))(pod)
	}
	for range c.next(4) {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{
			Type:               pick(c, corev1.DisruptionTarget, corev1.PodScheduled, corev1.PodReady),
			Status:             pick(c, corev1.ConditionTrue, corev1.ConditionFalse, corev1.ConditionUnknown),
			Reason:             pick(c, "", "PreemptionByScheduler", "DeletionByPodGC", "Unschedulable", word),
			Message:            pick(c, "", word),
			LastTransitionTime: c.time(),
		})
	}
	for range c.next(4) {
		pick(c, container, initContainer, sidecarContainer)(pick(c, "a", "b", word), c.state(word))(pod)
	}
	return pod
}

func (c *choices) state(word string) corev1.ContainerState {
	ended := exited(pick[int32](c, 0, 1, 128, 137, 255, -1), pick(c, "", "Error", "OOMKilled", "StartError", "Unknown", "ContainerStatusUnknown", word),
		pick(c, "", word), 0)
	ended.Terminated.FinishedAt = c.time()
	waiting := waits(pick(c, "", "ErrImagePull", "CreateContainerError", "CrashLoopBackOff", word), pick(c, "", word))
	return pick(c, corev1.ContainerState{}, runs(), waiting, ended)
}

func FuzzOutcome(f *testing.F) {
	f.Add([]byte{}, "")
	f.Add([]byte{3, 1, 1, 1, 3, 1, 2, 0, 0, 1, 1, 4, 1, 0, 0, 3, 2, 1, 1, 9, 9, 9, 3}, "word")
	f.Add([]byte{1, 0, 0, 0, 0, 2, 2, 0, 1, 2, 3, 3, 3, 3, 3, 3, 3, 3}, "\xff\x00ä")

	endings := []v1alpha1.Reason{
		v1alpha1.ReasonCompleted, v1alpha1.ReasonError, v1alpha1.ReasonOOMKilled, v1alpha1.ReasonEvicted, v1alpha1.ReasonPreempted,
		v1alpha1.ReasonNodeLost, v1alpha1.ReasonDeadlineExceeded, v1alpha1.ReasonStartFailed, v1alpha1.ReasonDeleted, v1alpha1.ReasonUnknown,
	}
	waits := []v1alpha1.Reason{"", v1alpha1.ReasonImagePullFailed, v1alpha1.ReasonStartFailed, v1alpha1.ReasonUnschedulable}

	f.Fuzz(func(t *testing.T, data []byte, word string) {
		pod := (&choices{data}).pod(word)
		before := pod.DeepCopy()

		got := Of(pod)
		switch {
		case !slices.Contains(endings, got.Reason):
			t.Fatalf("reason %q", got.Reason)
		case (got.Reason == v1alpha1.ReasonCompleted) != (pod.Status.Phase == corev1.PodSucceeded):
			t.Fatalf("reason %s in phase %s", got.Reason, pod.Status.Phase)
		case got.ExitCode != nil && *got.ExitCode == 0:
			t.Fatal("exit code 0 of a container that failed")
		case got.Disruption != (got.Reason != v1alpha1.ReasonCompleted && disruption(pod) != nil || got.Reason == v1alpha1.ReasonNodeLost):
			t.Fatalf("%s is a disruption: %t", got.Reason, got.Disruption)
		case !got.FinishedAt.IsZero() && got.FinishedAt.Before(time.Unix(1, 0)):
			t.Fatalf("ended %s", got.FinishedAt)
		}
		requireFit(t, got.Message)

		waiting := WaitingFor(pod)
		if !slices.Contains(waits, waiting.Reason) || (waiting.Reason != "" && Ended(pod)) {
			t.Fatalf("waits for %q in phase %s", waiting.Reason, pod.Status.Phase)
		}
		requireFit(t, waiting.Message)

		if !equality.Semantic.DeepEqual(pod, before) {
			t.Fatal("the pod was changed")
		}
	})
}

func requireFit(t *testing.T, message string) {
	t.Helper()
	if len(message) > maxMessage || !utf8.ValidString(message) {
		t.Fatalf("%d bytes: %q", len(message), message)
	}
}
