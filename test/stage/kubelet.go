package stage

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// Kubelet plays the pods of one namespace that the scheduler bound, as a script says.
type Kubelet struct {
	namespace string
	client    client.WithWatch
	// rescripted tells the loop to look at all pods again.
	rescripted chan struct{}

	mutex    sync.Mutex
	script   Script
	pods     map[types.UID]*corev1.Pod
	attempts map[types.UID]Attempt
	// seen counts the pods of each task.
	seen map[int]int
	peak int
	// patched are the versions of pods whose status was written; only the loop uses it.
	patched map[types.UID]string
	// says is what the containers say, voices since when which pod has.
	says   func(task, attempt int, container string) Speech
	voices map[types.UID]*Voice
	// faults are what a kubelet should never see.
	faults []string
}

// Attempt is what a pod is, as its container reads it.
type Attempt struct{ task, number int }

// startKubelet plays the namespace's pods until ctx ends.
func startKubelet(ctx context.Context, namespace string, s Script) *Kubelet {
	GinkgoHelper()
	return startKubeletOn(ctx, Cfg, namespace, s)
}

func startKubeletOn(ctx context.Context, cluster *rest.Config, namespace string, s Script) *Kubelet {
	GinkgoHelper()
	watching, err := client.NewWithWatch(cluster, client.Options{Scheme: Scheme})
	Expect(err).NotTo(HaveOccurred())
	k := &Kubelet{
		namespace: namespace, client: watching, rescripted: make(chan struct{}, 1), script: s,
		pods: map[types.UID]*corev1.Pod{}, attempts: map[types.UID]Attempt{}, seen: map[int]int{},
		voices: map[types.UID]*Voice{}, patched: map[types.UID]string{},
	}
	go k.play(ctx, follow(ctx, watching, &corev1.PodList{}, namespace))
	return k
}

func (k *Kubelet) play(ctx context.Context, changes <-chan watch.Event) {
	defer GinkgoRecover()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.rescripted:
			for _, pod := range k.All() {
				k.run(ctx, pod)
			}
		case event, ok := <-changes:
			if !ok {
				return
			}
			if pod, ok := event.Object.(*corev1.Pod); ok {
				k.note(event.Type, pod)
				if event.Type != watch.Deleted {
					k.run(ctx, pod)
				}
			}
		}
	}
}

// note keeps track of the pods.
func (k *Kubelet) note(event watch.EventType, pod *corev1.Pod) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if event == watch.Deleted {
		delete(k.pods, pod.UID)
		return
	}
	k.pods[pod.UID] = pod
	k.peak = max(k.peak, k.unfinished())
	defer k.listen(pod)
	if _, known := k.attempts[pod.UID]; known || pod.Spec.NodeName == "" {
		return
	}
	task, err := taskOf(pod)
	if err != nil {
		k.faults = append(k.faults, err.Error())
		return
	}
	k.seen[task]++
	k.attempts[pod.UID] = Attempt{task, k.seen[task]}
}

// run brings a pod to where its script says.
func (k *Kubelet) run(ctx context.Context, pod *corev1.Pod) {
	if _, lost := lostNodes.Load(pod.Spec.NodeName); lost || pod.Spec.NodeName == "" {
		return
	}
	changed := pod.DeepCopy()
	switch {
	case hasEnded(pod):
	case pod.DeletionTimestamp != nil:
		killed(changed)
	default:
		if becomes := k.fateOf(pod); becomes != nil {
			becomes(changed)
		}
	}
	if !equality.Semantic.DeepEqual(pod.Status, changed.Status) {
		changed.Status.ObservedGeneration = pod.Generation
		if k.patched[pod.UID] == pod.ResourceVersion {
			return // the watch is about to bring it back
		}
		k.mutex.Lock()
		k.listen(changed) // who asks for the log may know of this before the watch brings it
		k.mutex.Unlock()
		err := k.client.Status().Patch(ctx, changed, client.StrategicMergeFrom(pod))
		if err == nil && changed.ResourceVersion != pod.ResourceVersion {
			k.patched[pod.UID] = pod.ResourceVersion
		}
		k.tolerate(ctx, err)
		return // the watch brings it back
	}
	if pod.DeletionTimestamp != nil && *pod.DeletionGracePeriodSeconds > 0 {
		k.tolerate(ctx, k.client.Delete(ctx, pod, client.GracePeriodSeconds(0), client.Preconditions{UID: &pod.UID}))
	}
}

func (k *Kubelet) tolerate(ctx context.Context, err error) {
	if unanswered(err) {
		time.AfterFunc(again, k.lookAgain)
		return
	}
	if ctx.Err() == nil && client.IgnoreNotFound(err) != nil {
		k.mutex.Lock()
		defer k.mutex.Unlock()
		k.faults = append(k.faults, err.Error())
	}
}

func (k *Kubelet) fateOf(pod *corev1.Pod) Fate {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	a, ok := k.attempts[pod.UID]
	if !ok {
		return nil
	}
	return k.script(a.task, a.number)
}

// Turn changes the script, also for the pods that run.
func (k *Kubelet) Turn(s Script) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.script = s
	k.lookAgain()
}

// lookAgain has the loop look at all pods.
func (k *Kubelet) lookAgain() {
	select {
	case k.rescripted <- struct{}{}:
	default:
	}
}

func (k *Kubelet) All() []*corev1.Pod {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return slices.Collect(maps.Values(k.pods))
}

// Unfinished is the number of pods that have not ended.
func (k *Kubelet) Unfinished() int {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return k.unfinished()
}

// unfinished is the number of pods that have not ended; the mutex is held.
func (k *Kubelet) unfinished() int {
	n := 0
	for _, pod := range k.pods {
		if !hasEnded(pod) {
			n++
		}
	}
	return n
}

// Running are the names of the running pods, those that are being stopped left out.
func (k *Kubelet) Running() []string {
	var names []string
	for _, pod := range k.All() {
		if pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil {
			names = append(names, pod.Name)
		}
	}
	return names
}

// PodOf is the unfinished pod of a task, nil where it has none.
func (k *Kubelet) PodOf(task int) *corev1.Pod {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	for uid, pod := range k.pods {
		if a, ok := k.attempts[uid]; ok && a.task == task && !hasEnded(pod) {
			return pod
		}
	}
	return nil
}

// Most is how many pods were unfinished at once.
func (k *Kubelet) Most() int {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return k.peak
}

// Started is how many pods each task had.
func (k *Kubelet) Started() map[int]int {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return maps.Clone(k.seen)
}

// broken is what went wrong on the node.
func (k *Kubelet) broken() []string {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return slices.Clone(k.faults)
}

func hasEnded(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// taskOf is the index of the task as a container of the pod reads it, by either name.
func taskOf(pod *corev1.Pod) (int, error) {
	values := map[string]string{}
	for _, variable := range pod.Spec.Containers[0].Env {
		value := variable.Value
		if from := variable.ValueFrom; from != nil && from.FieldRef != nil {
			value = field(pod, from.FieldRef.FieldPath)
		}
		values[variable.Name] = value
	}
	value := values[v1alpha1.EnvTaskIndex]
	if other := values[v1alpha1.EnvCompletionIndex]; other != value {
		return 0, fmt.Errorf("pod %s: %s is %q, %s is %q", pod.Name, v1alpha1.EnvTaskIndex, value, v1alpha1.EnvCompletionIndex, other)
	}
	task, err := strconv.Atoi(value)
	if err != nil {
		return 0, fmt.Errorf("pod %s: %s is %q", pod.Name, v1alpha1.EnvTaskIndex, value)
	}
	return task, nil
}

func field(pod *corev1.Pod, path string) string {
	switch path {
	case "metadata.labels['" + batchv1.JobCompletionIndexAnnotation + "']":
		return pod.Labels[batchv1.JobCompletionIndexAnnotation]
	case "metadata.annotations['" + batchv1.JobCompletionIndexAnnotation + "']":
		return pod.Annotations[batchv1.JobCompletionIndexAnnotation]
	}
	return "no such field: " + path
}
