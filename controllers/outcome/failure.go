package outcome

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// What the container runtimes and the kubelet write into a terminated container's reason.
const (
	// internal/cri of containerd, and CRI-O.
	containerOOMKilled = "OOMKilled"
	// internal/cri of containerd, with exit code 128.
	containerStartError = "StartError"
	// cri-dockerd; pkg/kubelet/kuberuntime knows it too.
	containerCannotRun = "ContainerCannotRun"
	// internal/cri of containerd, with exit code 255: the process was gone when the runtime came back, as after a
	// crash of the node.
	containerUnknown = "Unknown"
	// pkg/kubelet/container/runtime.go, with exit code 137: the kubelet found no trace of the container.
	containerStatusUnknown = "ContainerStatusUnknown"
	// pkg/kubelet/kubelet_pods.go, with exit code 137: all containers of the pod are being started anew.
	containerRestarting = "RestartingAllContainers"
)

// failure is a container that ended with an exit code other than 0.
type failure struct {
	*corev1.ContainerStateTerminated
	name string
	// sequence is the order of the pod's containers, init containers first.
	sequence int
}

// failures are the pod's failed containers, the one that failed first in front; those of unknown time come last.
// Sidecars (init containers that are always restarted) are none: they decide nothing, and are killed at the end.
func failures(pod *corev1.Pod) []failure {
	var failed []failure
	for i, status := range containerStatuses(pod) {
		ended := status.State.Terminated
		if ended != nil && ended.ExitCode != 0 {
			failed = append(failed, failure{ContainerStateTerminated: ended, name: status.Name, sequence: i})
		}
	}
	slices.SortFunc(failed, func(a, b failure) int {
		if a, b := known(a.FinishedAt.Time), known(b.FinishedAt.Time); a.IsZero() != b.IsZero() {
			if a.IsZero() {
				return 1
			}
			return -1
		} else if byTime := a.Compare(b); byTime != 0 {
			return byTime
		}
		return cmp.Compare(a.sequence, b.sequence)
	})
	return failed
}

// containerStatuses are the statuses of the init containers and the containers, in the order in which they start, but
// for sidecars.
func containerStatuses(pod *corev1.Pod) []*corev1.ContainerStatus {
	statuses := make([]*corev1.ContainerStatus, 0, len(pod.Status.InitContainerStatuses)+len(pod.Status.ContainerStatuses))
	for i := range pod.Status.InitContainerStatuses {
		if status := &pod.Status.InitContainerStatuses[i]; !sidecar(pod, status.Name) {
			statuses = append(statuses, status)
		}
	}
	for i := range pod.Status.ContainerStatuses {
		statuses = append(statuses, &pod.Status.ContainerStatuses[i])
	}
	return statuses
}

// sidecar tells whether the init container of this name is one that is always restarted.
func sidecar(pod *corev1.Pod, name string) bool {
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.Name == name {
			return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		}
	}
	return false
}

// clockSkew is how far the clock of a node may be behind that of the API server, which says when a pod was deleted.
const clockSkew = 30 * time.Second

// byItself leaves out the containers whose exit code nobody knows, and, of a pod that was deleted, those that ended
// since: they were told to.
func byItself(pod *corev1.Pod, failed []failure) []failure {
	deletion := toldToEnd(pod)
	var own []failure
	for _, f := range failed {
		told := deletion
		if f.signalled() {
			told = told.Add(-clockSkew)
		}
		if !f.lost() && (deletion.IsZero() || f.FinishedAt.Time.Before(told) && !known(f.FinishedAt.Time).IsZero()) {
			own = append(own, f)
		}
	}
	return own
}

// signalled holds for what a container exits with that was told to end, and then made to, if not for lack of memory.
func (f failure) signalled() bool {
	return !f.outOfMemory() && (f.ExitCode == 128+int32(syscall.SIGTERM) || f.ExitCode == 128+int32(syscall.SIGKILL))
}

// firstOf is the first failure of this kind, nil if there is none.
func firstOf(failed []failure, kind func(failure) bool) *failure {
	if i := slices.IndexFunc(failed, kind); i >= 0 {
		return &failed[i]
	}
	return nil
}

func anyFailure(failure) bool { return true }

// outOfMemory holds where the runtime saw an OOM kill. Exit code 137 alone is a SIGKILL, which has many senders.
func (f failure) outOfMemory() bool {
	return f.Reason == containerOOMKilled
}

// notStarted holds where the runtime could not start the container's process.
func (f failure) notStarted() bool {
	return f.Reason == containerStartError || f.Reason == containerCannotRun
}

// lost holds where nobody saw how the container ended: its exit code is made up.
func (f failure) lost() bool {
	return f.Reason == containerUnknown || f.Reason == containerStatusUnknown || f.Reason == containerRestarting
}

// exitCode is what the container exited with, nil where nobody saw it.
func (f failure) exitCode() *int32 {
	if f.lost() {
		return nil
	}
	return ptr.To(f.ExitCode)
}

// tail is the container's termination message, unless what stands there is not the container's: words().
func (f failure) tail() string {
	if f.words() != "" || strings.HasPrefix(f.Message, unreadable) {
		return ""
	}
	return f.Message
}

// unreadable begins what the kubelet leaves where it could not read what the container left, such as the log of an evicted
// pod that it has removed (pkg/kubelet/kuberuntime/kuberuntime_container.go).
const unreadable = "Error on reading termination"

// words is what the runtime or the kubelet, not the container, wrote into the container's message.
func (f failure) words() string {
	if f.notStarted() || f.Reason == containerStatusUnknown || f.Reason == containerRestarting {
		return f.Message
	}
	return ""
}

// which names the container if the pod has others too.
func (f failure) which(pod *corev1.Pod) string {
	if len(pod.Status.InitContainerStatuses)+len(pod.Status.ContainerStatuses) < 2 {
		return ""
	}
	return fmt.Sprintf("container %q failed", f.name)
}
