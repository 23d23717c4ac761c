package controllers

import (
	"reflect"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/outcome"
)

var podTime = metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))

// fullPod is a pod with more than the operator reads.
func fullPod(edit func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "run-0-3-abcde", UID: "pod", CreationTimestamp: podTime,
			Labels:          map[string]string{v1alpha1.LabelRun: "run", v1alpha1.LabelRunUID: "uid", "app": "x"},
			Annotations:     map[string]string{batchv1.JobCompletionIndexAnnotation: "3", "note": "x"},
			OwnerReferences: []metav1.OwnerReference{{Kind: "Job", Name: "run-0", UID: "job", Controller: ptr.To(true)}},
			ManagedFields:   []metav1.ManagedFieldsEntry{{Manager: "x"}},
		},
		Spec: corev1.PodSpec{
			NodeName: "node",
			InitContainers: []corev1.Container{
				{Name: "proxy", Image: "proxy", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)}, {Name: "fetch", Image: "fetch"}},
			Containers: []corev1.Container{
				{Name: "main", Image: "main", Command: []string{"x"}, Env: []corev1.EnvVar{{Name: "A", Value: "b"}}}},
			Volumes: []corev1.Volume{{Name: "scratch"}},
		},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, StartTime: &podTime, HostIP: "10.0.0.1", PodIP: "10.0.0.2",
			Conditions:            []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: podTime}},
			InitContainerStatuses: []corev1.ContainerStatus{exited("proxy", 137, "Error"), exited("fetch", 0, "Completed")},
			ContainerStatuses:     []corev1.ContainerStatus{{Name: "main", Image: "main", ImageID: "sha256:1", ContainerID: "containerd://1"}},
		},
	}
	edit(pod)
	return pod
}

func exited(container string, code int32, reason string) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: container, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: code, Reason: reason, Message: "last words", FinishedAt: podTime}}}
}

func TestSlimPodTellsTheSameOutcome(t *testing.T) {
	cases := map[string]func(*corev1.Pod){
		"running":   func(*corev1.Pod) {},
		"succeeded": func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded },
		"exit code": func(p *corev1.Pod) {
			p.Status.Phase, p.Status.ContainerStatuses[0] = corev1.PodFailed, exited("main", 3, "Error")
		},
		"init container failed": func(p *corev1.Pod) {
			p.Status.Phase, p.Status.InitContainerStatuses[1] = corev1.PodFailed, exited("fetch", 4, "Error")
		},
		"out of memory": func(p *corev1.Pod) {
			p.Status.Phase, p.Status.ContainerStatuses[0] = corev1.PodFailed, exited("main", 137, "OOMKilled")
		},
		"evicted": func(p *corev1.Pod) {
			p.Status.Phase, p.Status.Reason, p.Status.Message = corev1.PodFailed, "Evicted", "too much"
		},
		"disrupted": func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodFailed
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonPreemptionByScheduler, Message: "preempted"})
		},
		"deleted": func(p *corev1.Pod) {
			p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &podTime, ptr.To(int64(30))
		},
		"ended before it was deleted": func(p *corev1.Pod) {
			p.Status.Phase, p.Status.ContainerStatuses[0] = corev1.PodFailed, exited("main", 3, "Error")
			p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &podTime, ptr.To(int64(0))
			p.Generation, p.Status.ObservedGeneration = 2, 1
		},
		"unschedulable": func(p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse,
				Reason: corev1.PodReasonUnschedulable, Message: "0/1 nodes", LastTransitionTime: podTime}}
		},
		"image not found": func(p *corev1.Pod) {
			p.Status.ContainerStatuses[0].State.Waiting = &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "no"}
		},
	}
	for name, edit := range cases {
		t.Run(name, func(t *testing.T) {
			pod := fullPod(edit)
			slimmed, err := SlimPod(pod.DeepCopy())
			if err != nil {
				t.Fatal(err)
			}
			slim := slimmed.(*corev1.Pod)
			if got, want := outcome.Of(slim), outcome.Of(pod); !reflect.DeepEqual(got, want) {
				t.Errorf("outcome: got %+v, want %+v", got, want)
			}
			if got, want := outcome.WaitingFor(slim), outcome.WaitingFor(pod); !reflect.DeepEqual(got, want) {
				t.Errorf("waits for: got %+v, want %+v", got, want)
			}
			if got, want := classOf(slim), classOf(pod); got != want {
				t.Errorf("class: got %s, want %s", got, want)
			}
			if got, want := logContainer(slim), "main"; got != want {
				t.Errorf("log container: got %s, want %s", got, want)
			}
			if owner := metav1.GetControllerOf(slim); owner == nil || owner.UID != "job" || slim.Annotations[batchv1.JobCompletionIndexAnnotation] != "3" {
				t.Error("the pod's Job or its index is lost")
			}
			if slim.Labels[v1alpha1.LabelRun] != "run" || slim.Labels[v1alpha1.LabelRunUID] != "uid" {
				t.Error("the pod's run is lost")
			}
		})
	}
}

func TestSlimPodKeepsLittle(t *testing.T) {
	slimmed, err := SlimPod(fullPod(func(*corev1.Pod) {}))
	if err != nil {
		t.Fatal(err)
	}
	slim := slimmed.(*corev1.Pod)
	if len(slim.ManagedFields)+len(slim.Spec.Volumes)+len(slim.Spec.Containers[0].Env)+len(slim.Spec.Containers[0].Command) > 0 {
		t.Errorf("kept too much: %+v", slim)
	}
}
