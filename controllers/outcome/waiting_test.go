package outcome

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

func TestWaitingForReason(t *testing.T) {
	const nothing = v1alpha1.Reason("")
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		want v1alpha1.Reason
	}{
		"a container that is being created waits for nothing that fails": {podWith(pending, container("main", waits("ContainerCreating", ""))), nothing},
		"a container behind an init container waits for nothing":         {podWith(pending, initContainer("init", runs()), container("main", waits("PodInitializing", ""))), nothing},
		"a container that runs waits for nothing":                        {podWith(running, container("main", runs())), nothing},
		"a pod that ended waits for nothing":                             {podWith(failed, container("main", waits("ErrImagePull", ""))), nothing},
		"a new pod waits for nothing":                                    {podWith(pending), nothing},
		"an image that cannot be pulled":                                 {podWith(pending, container("main", waits("ErrImagePull", ""))), v1alpha1.ReasonImagePullFailed},
		"an image that is to be pulled again later":                      {podWith(pending, container("main", waits("ImagePullBackOff", ""))), v1alpha1.ReasonImagePullFailed},
		"an image of an init container":                                  {podWith(pending, initContainer("init", waits("InvalidImageName", "")), container("main", waits("PodInitializing", ""))), v1alpha1.ReasonImagePullFailed},
		"an image of a sidecar":                                          {podWith(pending, sidecarContainer("proxy", waits("ErrImagePull", "")), container("main", waits("PodInitializing", ""))), v1alpha1.ReasonImagePullFailed},
		"an image of the second container":                               {podWith(pending, container("a", runs()), container("b", waits("ErrImageNeverPull", ""))), v1alpha1.ReasonImagePullFailed},
		"a Secret that does not exist":                                   {podWith(pending, container("main", waits("CreateContainerConfigError", `secret "s" not found`))), v1alpha1.ReasonStartFailed},
		"a container that cannot be created":                             {podWith(pending, container("main", waits("CreateContainerError", ""))), v1alpha1.ReasonStartFailed},
		"a sidecar that fails again and again before the pod starts":     {podWith(pending, sidecarContainer("proxy", waits("CrashLoopBackOff", "")), container("main", waits("PodInitializing", ""))), v1alpha1.ReasonStartFailed},
		"a sidecar that fails beside a started container holds up none":  {podWith(running, sidecarContainer("proxy", waits("CrashLoopBackOff", "")), container("main", runs())), nothing},
		"a sidecar's image beside a started container holds up none":     {podWith(running, sidecarContainer("proxy", waits("ErrImagePull", "")), container("main", runs())), nothing},
		"a container with restart rules of its own is no failure":        {podWith(running, container("main", waits("CrashLoopBackOff", ""))), nothing},
		"a pod that fits no node is unschedulable":                       {podWith(pending, hasCondition(corev1.PodScheduled, corev1.ConditionFalse, "Unschedulable", "", 1)), v1alpha1.ReasonUnschedulable},
		"a gated pod waits for who gated it":                             {podWith(pending, hasCondition(corev1.PodScheduled, corev1.ConditionFalse, "SchedulingGated", "", 1)), v1alpha1.ReasonUnschedulable},
		"a pod that the scheduler stumbled over waits for no more nodes": {podWith(pending, hasCondition(corev1.PodScheduled, corev1.ConditionFalse, "SchedulerError", "", 1)), nothing},
		"a pod that is being deleted still tells what it had waited for": {podWith(pending, deletedAt(5), container("main", waits("ErrImagePull", ""))), v1alpha1.ReasonImagePullFailed},
		"a container that was lost before it was started":                {podWith(pending, sandbox(false), container("main", created())), v1alpha1.ReasonNodeLost},
		"so it is behind an init container that had ended": {podWith(pending, sandbox(false), initContainer("init", exited(0, "Completed", "", 5)),
			container("main", created())), v1alpha1.ReasonNodeLost},
		"an init container that was lost before it was started": {podWith(pending, sandbox(false), initContainer("init", created()),
			container("main", waits("PodInitializing", ""))), v1alpha1.ReasonNodeLost},
		"a container that is about to be started":                         {podWith(pending, sandbox(true), container("main", created())), nothing},
		"a container of a sandbox that is being made":                     {podWith(pending, sandbox(false), container("main", waits("ContainerCreating", ""))), nothing},
		"a pod whose sandbox is gone, of which another ran":               {podWith(running, sandbox(false), container("a", runs()), container("b", created())), nothing},
		"the failing container is found behind one that is being created": {podWith(pending, container("a", waits("ContainerCreating", "")), container("b", waits("RunContainerError", ""))), v1alpha1.ReasonStartFailed},
	} {
		t.Run(name, func(t *testing.T) {
			if got := WaitingFor(test.pod); got.Reason != test.want {
				t.Errorf("got %q, want %q", got.Reason, test.want)
			}
		})
	}
}

func TestWaitingForMessage(t *testing.T) {
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		want string
	}{
		"the scheduler's words": {
			podWith(pending, hasCondition(corev1.PodScheduled, corev1.ConditionFalse, "Unschedulable", "0/3 nodes are available", 1)),
			"0/3 nodes are available"},
		"the gates that hold it": {
			podWith(pending, hasCondition(corev1.PodScheduled, corev1.ConditionFalse, "SchedulingGated", "blocked", 1), func(pod *corev1.Pod) {
				pod.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/a"}, {Name: "example.com/b"}}
			}), "held by the scheduling gates example.com/a, example.com/b"},
		"the kubelet's words, which name the image": {
			podWith(pending, container("main", waits("ImagePullBackOff", `Back-off pulling image "registry.example/main:1"`))),
			`container "main": ImagePullBackOff: Back-off pulling image "registry.example/main:1"`},
		"the image where the kubelet does not name it": {
			podWith(pending, container("main", waits("ErrImagePull", "no such host"))),
			`container "main": ErrImagePull: image "registry.example/main:1": no such host`},
		"what became of a container that was lost": {
			podWith(pending, sandbox(false), container("main", created())),
			`container "main" was created, and its node lost it before it was started`},
		"the reason alone where the kubelet says nothing": {
			podWith(pending, container("main", waits("CreateContainerError", ""))), `container "main": CreateContainerError`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := WaitingFor(test.pod); got.Message != test.want {
				t.Errorf("got %q, want %q", got.Message, test.want)
			}
		})
	}
}

func TestWaitingSince(t *testing.T) {
	main := container("main", waits("ErrImagePull", ""))
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		want time.Time
	}{
		"an unschedulable pod since the scheduler said so": {
			podWith(pending, hasCondition(corev1.PodScheduled, corev1.ConditionFalse, "Unschedulable", "", 7)), at(7).Time},
		"a failing image since the pod was scheduled":       {podWith(pending, scheduledAt(8), main), at(8).Time},
		"a failing image since the last init container":     {podWith(pending, scheduledAt(8), initContainer("init", exited(0, "", "", 600)), main), at(600).Time},
		"a sidecar that was restarted does not reset this":  {podWith(pending, scheduledAt(8), sidecarContainer("proxy", exited(1, "", "", 600)), main), at(8).Time},
		"a pod without the condition since the kubelet saw": {podWith(pending, func(pod *corev1.Pod) { pod.Status.StartTime = ptr.To(at(9)) }, main), at(9).Time},
		"a pod that tells nothing since it was created":     {podWith(pending, main), at(0).Time},
		"a lost pod since its sandbox was":                  {podWith(pending, scheduledAt(9), sandbox(false), container("main", created())), at(20).Time},
	} {
		t.Run(name, func(t *testing.T) {
			if got := WaitingFor(test.pod); !got.Since.Equal(test.want) {
				t.Errorf("got %s, want %s", got.Since, test.want)
			}
		})
	}
}
