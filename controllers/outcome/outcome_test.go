package outcome

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

const gone = "The container could not be located when the pod was terminated"

func TestReason(t *testing.T) {
	for name, test := range map[string]struct {
		pod        *corev1.Pod
		want       v1alpha1.Reason
		disruption bool
	}{
		"a pod that succeeded is completed": {
			podWith(succeeded, container("main", exited(0, "Completed", "", 9))), v1alpha1.ReasonCompleted, false},
		"a pod that succeeded while it was evicted is completed": {
			podWith(succeeded, disrupted("EvictionByEvictionAPI"), deletedAt(5), container("main", exited(0, "Completed", "", 9))),
			v1alpha1.ReasonCompleted, false},

		"an eviction through the API is a disruption": {
			podWith(failed, disrupted("EvictionByEvictionAPI"), deletedAt(5), container("main", exited(143, "Error", "", 9))),
			v1alpha1.ReasonEvicted, true},
		"an eviction from a node under pressure is a disruption": {
			podWith(failed, disrupted("TerminationByKubelet"), says("Evicted", "The node was low on resource: memory."),
				container("main", exited(137, "OOMKilled", "", 9))),
			v1alpha1.ReasonEvicted, true},
		"a graceful shutdown of the node is a disruption": {
			podWith(failed, disrupted("TerminationByKubelet"), says("Terminated", "Pod was terminated in response to imminent node shutdown."),
				container("main", exited(143, "Error", "", 9))),
			v1alpha1.ReasonEvicted, true},
		"preemption is a disruption": {
			podWith(failed, disrupted("PreemptionByScheduler"), deletedAt(5), container("main", exited(143, "Error", "", 9))),
			v1alpha1.ReasonPreempted, true},
		"a taint of the node is a lost node": {
			podWith(failed, disrupted("DeletionByTaintManager"), deletedAt(5)), v1alpha1.ReasonNodeLost, true},
		"a node that was removed is a lost node": {
			podWith(failed, disrupted("DeletionByPodGC")), v1alpha1.ReasonNodeLost, true},
		"a disruption of a kind not known yet is an eviction": {
			podWith(failed, disrupted("Whatever")), v1alpha1.ReasonEvicted, true},
		"a preempted pod that vanished was preempted": {
			podWith(running, disrupted("PreemptionByScheduler"), deletedAt(5), container("main", runs())), v1alpha1.ReasonPreempted, true},
		"a disruption that did not come to pass counts for nothing": {
			podWith(failed, hasCondition(corev1.DisruptionTarget, corev1.ConditionFalse, "", "", 1), container("main", exited(1, "Error", "", 9))),
			v1alpha1.ReasonError, false},

		"an eviction for what the pod itself used is no disruption": {
			podWith(failed, says("Evicted", `Usage of EmptyDir volume "s" exceeds the limit "10Mi".`), container("main", exited(137, "Error", "", 9))),
			v1alpha1.ReasonEvicted, false},
		"a pod over its deadline exceeded it, whatever its container made of that": {
			podWith(failed, says("DeadlineExceeded", ""), container("main", exited(143, "Error", "", 9))), v1alpha1.ReasonDeadlineExceeded, false},
		"a shutdown of the node without the condition is a disruption all the same": {
			podWith(failed, says("Terminated", ""), container("main", exited(143, "Error", "", 9))), v1alpha1.ReasonNodeLost, true},
		"a pod that came to a node that shuts down lost its node": {
			podWith(failed, says("NodeShutdown", "Pod was rejected as the node is shutting down.")), v1alpha1.ReasonNodeLost, true},
		"a pod on a node that went away lost its node": {
			podWith(running, says("NodeLost", ""), deletedAt(5), container("main", runs())), v1alpha1.ReasonNodeLost, true},
		"a failure before the node went away is the pod's own": {
			podWith(failed, says("NodeLost", ""), deletedAt(9), container("main", exited(1, "Error", "", 5))), v1alpha1.ReasonError, false},

		"a container over its memory limit is out of memory": {
			podWith(failed, container("main", exited(137, "OOMKilled", "", 9))), v1alpha1.ReasonOOMKilled, false},
		"a container whose child was over the limit is out of memory": {
			podWith(failed, container("main", exited(1, "OOMKilled", "", 9))), v1alpha1.ReasonOOMKilled, false},
		"an init container over its memory limit is out of memory": {
			podWith(failed, initContainer("init", exited(137, "OOMKilled", "", 5)), container("main", waits("PodInitializing", ""))),
			v1alpha1.ReasonOOMKilled, false},
		"an OOM kill explains an error that came before it": {
			podWith(failed, container("a", exited(1, "Error", "", 8)), container("b", exited(137, "OOMKilled", "", 9))),
			v1alpha1.ReasonOOMKilled, false},
		"an OOM kill that the container survived is no failure": {
			podWith(failed, container("a", exited(0, "OOMKilled", "", 8)), container("b", exited(3, "Error", "", 9))), v1alpha1.ReasonError, false},
		"a sidecar over its memory limit decides nothing": {
			podWith(failed, sidecarContainer("proxy", exited(137, "OOMKilled", "", 5)), container("main", exited(3, "Error", "", 9))),
			v1alpha1.ReasonError, false},
		"exit code 137 alone proves nothing": {
			podWith(failed, container("main", exited(137, "Error", "", 9))), v1alpha1.ReasonError, false},

		"a command that does not exist fails to start": {
			podWith(failed, container("main", exited(128, "StartError", "no such file", 9))), v1alpha1.ReasonStartFailed, false},
		"a command that does not exist fails to start with other runtimes too": {
			podWith(failed, container("main", exited(127, "ContainerCannotRun", "no such file", 9))), v1alpha1.ReasonStartFailed, false},
		"exit code 128 alone is an error": {
			podWith(failed, container("main", exited(128, "Error", "", 9))), v1alpha1.ReasonError, false},

		"an exit code is an error": {
			podWith(failed, container("main", exited(1, "Error", "", 9))), v1alpha1.ReasonError, false},
		"an error beside words of the kubelet not known yet is an error": {
			podWith(failed, says("Whatever", ""), container("main", exited(1, "Error", "", 9))), v1alpha1.ReasonError, false},

		"a pod that the kubelet did not let in is unknown": {
			podWith(failed, says("OutOfcpu", "Pod was rejected: Node didn't have enough resource: cpu")), v1alpha1.ReasonUnknown, false},
		"a pod that the kubelet did not let in stays unknown when it is deleted": {
			podWith(failed, says("UnexpectedAdmissionError", ""), deletedAt(5)), v1alpha1.ReasonUnknown, false},
		"a container that the kubelet found no trace of is unknown": {
			podWith(failed, container("main", exited(137, "ContainerStatusUnknown", gone, -1))), v1alpha1.ReasonUnknown, false},
		"a container whose process was gone after a crash of the node is unknown": {
			podWith(failed, container("main", exited(255, "Unknown", "", 9))), v1alpha1.ReasonUnknown, false},
		"exit code 255 alone is an error": {
			podWith(failed, container("main", exited(255, "Error", "", 9))), v1alpha1.ReasonError, false},
		"an error beside a lost container is an error": {
			podWith(failed, container("a", exited(137, "ContainerStatusUnknown", gone, -1)), container("b", exited(1, "Error", "", 9))),
			v1alpha1.ReasonError, false},
		"a failed pod that tells nothing is unknown": {podWith(failed), v1alpha1.ReasonUnknown, false},

		"a container that ended after the deletion was told to": {
			podWith(failed, deletedAt(5), container("main", exited(143, "Error", "", 6))), v1alpha1.ReasonDeleted, false},
		"a container that ended in the second of the deletion was told to": {
			podWith(failed, deletedAt(5), container("main", exited(143, "Error", "", 5))), v1alpha1.ReasonDeleted, false},
		"a container that ended before the deletion failed by itself": {
			podWith(failed, deletedAt(5), container("main", exited(3, "Error", "", 4))), v1alpha1.ReasonError, false},
		"a container that was killed just before the deletion, by the clock of its node, was told to end": {
			podWith(failed, deletedAt(40), container("main", exited(137, "Error", "", 11))), v1alpha1.ReasonDeleted, false},
		"so was one that was told to and did": {
			podWith(failed, deletedAt(40), container("main", exited(143, "Error", "", 10))), v1alpha1.ReasonDeleted, false},
		"a container that was killed long before the deletion failed by itself": {
			podWith(failed, deletedAt(40), container("main", exited(143, "Error", "", 9))), v1alpha1.ReasonError, false},
		"a container that ended before its kubelet knew of the deletion failed by itself, whatever the clocks say": {
			podWith(failed, deletedAt(5), observed(1), container("main", exited(143, "Error", "", 6))), v1alpha1.ReasonError, false},
		"a container that ended when its kubelet knew of the deletion was told to": {
			podWith(failed, deletedAt(5), observed(2), container("main", exited(1, "Error", "", 5))), v1alpha1.ReasonDeleted, false},
		"so was one whose kubelet does not tell what it knew": {
			podWith(failed, deletedAt(5), observed(0), container("main", exited(143, "Error", "", 6))), v1alpha1.ReasonDeleted, false},
		"so was one that has not ended by what its kubelet knew before the deletion": {
			podWith(running, deletedAt(5), observed(1), container("main", exited(1, "Error", "", 5)), container("b", runs())),
			v1alpha1.ReasonDeleted, false},
		"a container that was out of memory before the deletion stays so": {
			podWith(failed, deletedAt(5), container("main", exited(137, "OOMKilled", "", 4))), v1alpha1.ReasonOOMKilled, false},
		"a container that ended without a time was deleted with its pod": {
			podWith(failed, deletedAt(5), container("main", exited(137, "ContainerStatusUnknown", gone, -1))), v1alpha1.ReasonDeleted, false},
		"a pod that was deleted before it started was deleted": {
			podWith(pending, deletedAt(5), container("main", waits("ContainerCreating", ""))), v1alpha1.ReasonDeleted, false},
		"a pod that vanished while it ran was deleted": {
			podWith(running, container("main", runs())), v1alpha1.ReasonDeleted, false},
		"a pod that vanished after one container failed had failed": {
			podWith(running, container("a", exited(1, "Error", "", 3)), container("b", runs())), v1alpha1.ReasonError, false},
	} {
		t.Run(name, func(t *testing.T) {
			got := Of(test.pod)
			if got.Reason != test.want || got.Disruption != test.disruption {
				t.Errorf("got %s, disruption %t; want %s, %t", got.Reason, got.Disruption, test.want, test.disruption)
			}
		})
	}
}

func TestExitCodeAndTail(t *testing.T) {
	const none = int32(-1)
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		code int32
		tail string
	}{
		"a success has neither": {
			podWith(succeeded, container("main", exited(0, "Completed", "message", 9))), none, ""},
		"the container that failed first is the one": {
			podWith(failed, container("a", exited(1, "Error", "late", 9)), container("b", exited(2, "Error", "early", 8))), 2, "early"},
		"of two that failed at once the first in order is the one": {
			podWith(failed, container("a", exited(1, "Error", "a", 9)), container("b", exited(2, "Error", "b", 9))), 1, "a"},
		"of two that failed at once the init container is the one": {
			podWith(failed, container("main", exited(1, "Error", "main", 9)), initContainer("init", exited(2, "Error", "init", 9))), 2, "init"},
		"a container whose end has no time comes last": {
			podWith(failed, container("a", exited(1, "Error", "a", -1)), container("b", exited(2, "Error", "b", 9))), 2, "b"},
		"a sidecar that is killed at the end is not the one": {
			podWith(failed, sidecarContainer("proxy", exited(137, "Error", "proxy", 3)), container("main", exited(1, "Error", "main", 9))), 1, "main"},
		"the container that was out of memory is the one": {
			podWith(failed, container("a", exited(1, "Error", "a", 8)), container("b", exited(137, "OOMKilled", "b", 9))), 137, "b"},
		"an evicted pod keeps its tail": {
			podWith(failed, says("Evicted", ""), container("main", exited(137, "Error", "the end of the log", 9))), 137, "the end of the log"},
		"a disrupted pod keeps its tail": {
			podWith(failed, disrupted("EvictionByEvictionAPI"), deletedAt(5), container("main", exited(143, "Error", "the end of the log", 9))),
			143, "the end of the log"},
		"a deleted pod keeps its tail": {
			podWith(failed, deletedAt(5), container("main", exited(143, "Error", "the end of the log", 9))), 143, "the end of the log"},
		"what the runtime says of a failed start is no tail": {
			podWith(failed, container("main", exited(128, "StartError", "no such file", 9))), 128, ""},
		"a lost container has no exit code, and what the kubelet says of it is no tail": {
			podWith(failed, container("main", exited(137, "ContainerStatusUnknown", gone, -1))), none, ""},
		"what the kubelet says of a log that it cannot read is no tail": {
			podWith(failed, says("Evicted", ""), container("main", exited(137, "Error", "Error on reading termination message from logs: no", 9))), 137, ""},
		"a container that was lost in a crash of the node has no exit code, but a tail": {
			podWith(failed, container("main", exited(255, "Unknown", "the end of the log", 9))), none, "the end of the log"},
		"a pod that never ran has neither": {podWith(failed, says("OutOfcpu", "")), none, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := Of(test.pod)
			code := none
			if got.ExitCode != nil {
				code = *got.ExitCode
			}
			if code != test.code || got.Tail != test.tail {
				t.Errorf("got exit code %d, tail %q; want %d, %q", code, got.Tail, test.code, test.tail)
			}
		})
	}
}

func TestMessage(t *testing.T) {
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		want string
	}{
		"the condition tells of a disruption": {
			podWith(failed, disrupted("PreemptionByScheduler"), says("", "other")), "taken away"},
		"the pod tells of a disruption whose condition does not": {
			podWith(failed, hasCondition(corev1.DisruptionTarget, corev1.ConditionTrue, "", "", 1), says("Evicted", "low on memory")), "low on memory"},
		"the kubelet tells why it evicted":           {podWith(failed, says("Evicted", "too much")), "too much"},
		"the kubelet tells why it did not let it in": {podWith(failed, says("OutOfcpu", "Pod was rejected: no cpu")), "OutOfcpu: Pod was rejected: no cpu"},
		"a refusal without words is its reason":      {podWith(failed, says("OutOfcpu", "")), "OutOfcpu"},
		"the runtime tells why it did not start": {
			podWith(failed, container("main", exited(128, "StartError", "no such file", 9))), "no such file"},
		"the kubelet tells of a lost container": {
			podWith(failed, container("main", exited(137, "ContainerStatusUnknown", gone, -1))), gone},
		"the only container needs no name": {podWith(failed, container("main", exited(1, "Error", "log", 9))), ""},
		"one of several containers has a name": {
			podWith(failed, container("a", exited(0, "", "", 9)), container("b", exited(1, "Error", "log", 9))), `container "b" failed`},
		"control characters are left out":     {podWith(failed, says("Evicted", "\x1b[1mtoo\x00 much\n")), "[1mtoo much"},
		"bytes that are no text are replaced": {podWith(failed, says("Evicted", "too \xff much")), "too \ufffd much"},
		"a long message is cut between characters": {
			podWith(failed, says("Evicted", strings.Repeat("ä", 300))), strings.Repeat("ä", 254) + "…"},
		"a message that just fits is not cut": {
			podWith(failed, says("Evicted", strings.Repeat("ä", 256))), strings.Repeat("ä", 256)},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Of(test.pod).Message; got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestFinishedAt(t *testing.T) {
	notReady := hasCondition(corev1.PodReady, corev1.ConditionFalse, "", "", 40)
	unset := exited(137, "ContainerStatusUnknown", gone, -1)
	unset.Terminated.FinishedAt = metav1.Unix(0, 0)
	const unknown = -1
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		want int
	}{
		"the last container's end is the end": {
			podWith(failed, notReady, container("a", exited(1, "Error", "", 9)), container("b", exited(0, "", "", 12))), 12},
		"a sidecar's end counts too": {
			podWith(succeeded, sidecarContainer("proxy", exited(143, "", "", 13)), container("main", exited(0, "", "", 9))), 13},
		"a failed init container's end is the end": {
			podWith(failed, notReady, initContainer("init", exited(1, "Error", "", 9)), container("main", waits("PodInitializing", ""))), 9},
		"the deletion of an ended pod is not its end": {
			podWith(failed, notReady, deletedAt(60), container("main", exited(1, "Error", "", 9))), 9},
		"the deletion of an ended pod that lost its container is not its end": {
			podWith(failed, notReady, deletedAt(60), container("main", unset)), 40},
		"a lost container ended when the pod was not ready any more":   {podWith(failed, notReady, container("main", unset)), 40},
		"a pod on a lost node ended when it was to be taken away":      {podWith(running, notReady, disrupted("DeletionByTaintManager"), container("main", runs())), 50},
		"a pod that vanished while it ran ended when it was deleted":   {podWith(running, deletedAt(60), container("main", runs())), 60},
		"a pod deleted between init and start ended when it was":       {podWith(pending, deletedAt(60), initContainer("init", exited(0, "", "", 9)), container("main", waits("ErrImagePull", ""))), 60},
		"a pod that succeeded without statuses ended at its last sign": {podWith(succeeded, notReady), 40},
		"a pod that tells nothing has no end":                          {podWith(failed), unknown},
	} {
		t.Run(name, func(t *testing.T) {
			got, want := Of(test.pod).FinishedAt, time.Time{}
			if test.want != unknown {
				want = at(test.want).Time
			}
			if !got.Equal(want) {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestEndedIsAPhase(t *testing.T) {
	for phaseName, want := range map[corev1.PodPhase]bool{
		corev1.PodSucceeded: true, corev1.PodFailed: true, corev1.PodRunning: false, corev1.PodPending: false, corev1.PodUnknown: false, "": false,
	} {
		if got := Ended(podWith(phase(phaseName), deletedAt(5))); got != want {
			t.Errorf("%q: got %t", phaseName, got)
		}
	}
}
