package outcome

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// One container that still runs is enough for nobody to know when the last one finished, wherever it stands.
func TestWhenTheLastContainerFinishedIsNotKnownWhileOneRuns(t *testing.T) {
	running := corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	ended := corev1.ContainerStatus{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: at(7)}}}
	for _, test := range []struct {
		name     string
		statuses []corev1.ContainerStatus
		told     bool
	}{
		{"both ended", []corev1.ContainerStatus{ended, ended}, true},
		{"the first one runs", []corev1.ContainerStatus{running, ended}, false},
		{"the last one runs", []corev1.ContainerStatus{ended, running}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			pod := podWith(func(p *corev1.Pod) { p.Status.ContainerStatuses = test.statuses })
			if last, told := lastFinish(pod, true); told != test.told || !last.Equal(at(7).Time) {
				t.Errorf("got %s, %t", last, told)
			}
		})
	}
}
