package controllers

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/controllers/outcome"
	"github.com/batchrun/batchrun/controllers/plan"
)

// observePods adds to a wave those of its pods that plan asks about. It is true where some are waited for that are gone.
func (r *BatchRunReconciler) observePods(
	ctx context.Context, s *plan.Snapshot, w *plan.Wave, cached *runPods, unseen *unseen,
) (waits bool, err error) {
	pods := map[int]plan.Pod{}
	classes := []podClass{podNoteworthy}
	if s.HasUnwanted(w) {
		classes = append(classes, podStarting, podOther)
	}
	for _, class := range classes {
		if err := cached.each(ctx, w, class, func(pod *corev1.Pod, task int) bool {
			if newer(pods[task], pod) {
				pods[task] = observePod(pod, task)
			}
			return true
		}); err != nil {
			return false, err
		}
	}
	if waits, err = r.observeUnseen(ctx, s, w, cached, unseen, pods); err != nil {
		return false, err
	}
	for _, pod := range pods {
		w.Pods = append(w.Pods, pod)
	}
	slices.SortFunc(w.Pods, func(a, b plan.Pod) int { return a.Task - b.Task })
	return waits, cached.each(ctx, w, podStarting, func(pod *corev1.Pod, _ int) bool {
		if since := startingSince(pod); w.Starting.IsZero() || since.Before(w.Starting) {
			w.Starting = since
		}
		return true
	})
}

// runPods are the pods of a run that the cache has. Each class is listed once, for all waves: there can be a thousand.
type runPods struct {
	cache client.Reader
	run   *v1alpha1.BatchRun
	// byJob are the pods of the classes that were asked for, by the UIDs of the Jobs that control them.
	byJob map[podClass]map[types.UID][]*corev1.Pod
}

func newRunPods(cache client.Reader, run *v1alpha1.BatchRun) *runPods {
	return &runPods{cache: cache, run: run, byJob: map[podClass]map[types.UID][]*corev1.Pod{}}
}

// each calls visit for the wave's pods of a class until it returns false.
func (p *runPods) each(ctx context.Context, w *plan.Wave, class podClass, visit func(*corev1.Pod, int) bool) error {
	if p.byJob[class] == nil {
		if err := p.list(ctx, class); err != nil {
			return err
		}
	}
	for _, pod := range p.byJob[class][w.UID] {
		if task, ok := podTask(pod, w); ok && !visit(pod, task) {
			return nil
		}
	}
	return nil
}

// shows are the tasks of the wave of which the cache shows a pod.
func (p *runPods) shows(ctx context.Context, w *plan.Wave) (map[int]bool, error) {
	tasks := map[int]bool{}
	for _, class := range []podClass{podNoteworthy, podStarting, podOther} {
		if err := p.each(ctx, w, class, func(_ *corev1.Pod, task int) bool {
			tasks[task] = true
			return true
		}); err != nil {
			return nil, err
		}
	}
	return tasks, nil
}

func (p *runPods) list(ctx context.Context, class podClass) error {
	var list corev1.PodList
	ofClass := client.MatchingFields{podsByRun: podKey(p.run.UID, class)}
	if err := p.cache.List(ctx, &list, client.InNamespace(p.run.Namespace), ofClass, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("listing the pods of the run: %w", err)
	}
	byJob := map[types.UID][]*corev1.Pod{}
	for i := range list.Items {
		if owner := metav1.GetControllerOfNoCopy(&list.Items[i]); owner != nil {
			byJob[owner.UID] = append(byJob[owner.UID], &list.Items[i])
		}
	}
	p.byJob[class] = byJob
	return nil
}

// eachLivePod calls visit for the pods of these tasks of the wave that the API server has.
func (r *BatchRunReconciler) eachLivePod(
	ctx context.Context, run *v1alpha1.BatchRun, w *plan.Wave, tasks []int, visit func(*corev1.Pod, int),
) error {
	for chunk := range slices.Chunk(tasks, liveChunk) {
		positions := make([]string, 0, len(chunk))
		for _, task := range chunk {
			if position, ok := w.Tasks.Position(task); ok {
				positions = append(positions, strconv.Itoa(position))
			}
		}
		ofWave, err := labels.NewRequirement(batchv1.ControllerUidLabel, selection.Equals, []string{string(w.UID)})
		if err != nil {
			return err
		}
		atPositions, err := labels.NewRequirement(batchv1.JobCompletionIndexAnnotation, selection.In, positions)
		if err != nil {
			return err
		}
		var list corev1.PodList
		selector := client.MatchingLabelsSelector{Selector: labels.NewSelector().Add(*ofWave, *atPositions)}
		if err := r.Live.List(ctx, &list, client.InNamespace(run.Namespace), selector); err != nil {
			return fmt.Errorf("looking up the pods of wave %d: %w", w.Number, err)
		}
		for i := range list.Items {
			if task, ok := podTask(&list.Items[i], w); ok {
				visit(&list.Items[i], task)
			}
		}
	}
	return nil
}

// liveChunk is how many pods are asked of the API server at once.
const liveChunk = 100

// observeUnseen finds the pods of tasks that the Job counted as failed and that the cache does not show as ended: on
// the API server, where the cache is behind, else among those that were seen going away. One of which neither tells, yet,
// is taken for one that is still going away: waits is true then.
func (r *BatchRunReconciler) observeUnseen(
	ctx context.Context, s *plan.Snapshot, w *plan.Wave, cached *runPods, unseen *unseen, pods map[int]plan.Pod,
) (waits bool, err error) {
	var missing []int
	for task := range w.Failed.All() {
		if s.Unrecorded(w, task) && !pods[task].Ended {
			missing = append(missing, task)
		}
	}
	if err := r.eachLivePod(ctx, s.Run, w, missing, func(pod *corev1.Pod, task int) {
		if outcome.Ended(pod) && newer(pods[task], pod) {
			pods[task] = observePod(pod, task)
		}
	}); err != nil {
		return false, err
	}
	var shown map[int]bool
	var waited indexset.Builder
	for _, task := range missing {
		if pods[task].Ended {
			continue
		}
		position, _ := w.Tasks.Position(task)
		itself := gone{w.UID, strconv.Itoa(position)}
		if pod := r.vanished.get(itself); pod != nil && ofThisStart(pod, w) {
			pods[task] = vanishedPod(pod, task)
			continue
		}
		if shown == nil {
			if shown, err = cached.shows(ctx, w); err != nil {
				return false, err
			}
		}
		delay := unseenDelay
		if shown[task] {
			delay = shownDelay
		}
		if until := unseen.until(itself, delay); unseen.now.Before(until) {
			s.LookAgain(until)
			waited.Add(task)
		}
	}
	hide(w, waited.Set())
	return !waited.Set().Empty(), nil
}

// hide takes the pods of tasks that failed for ones that are still going away.
func hide(w *plan.Wave, tasks indexset.Set) {
	if tasks.Empty() {
		return
	}
	w.Failed = w.Failed.Minus(tasks)
	w.Terminating += tasks.Len()
	w.Finished, w.Stopped = "", false
}

// ofThisStart is false for a pod that was stopped before the Job was resumed last: another one followed it.
func ofThisStart(pod *corev1.Pod, w *plan.Wave) bool {
	return outcome.Of(pod).Reason != v1alpha1.ReasonDeleted || !pod.CreationTimestamp.Time.Before(w.Started)
}

// podTask is the index of the task whose attempt a pod of the wave is.
func podTask(pod *corev1.Pod, w *plan.Wave) (task int, ok bool) {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil || owner.UID != w.UID {
		return 0, false
	}
	position, err := strconv.Atoi(pod.Annotations[batchv1.JobCompletionIndexAnnotation])
	if err != nil || position < 0 || position >= w.Tasks.Len() {
		return 0, false
	}
	return w.Tasks.At(position), true
}

// newer is true when pod is to be looked at rather than the one seen before: it is a later state of that one; or that one
// was stopped, and the wave resumed.
func newer(seen plan.Pod, pod *corev1.Pod) bool {
	return seen.Name == "" || seen.UID == pod.UID || !seen.Deleting.IsZero() || pod.DeletionTimestamp == nil
}

func observePod(pod *corev1.Pod, task int) plan.Pod {
	p := plan.Pod{
		Task: task, Name: pod.Name, UID: pod.UID, Node: pod.Spec.NodeName,
		Ended: outcome.Ended(pod), Gated: gated(pod), Container: logContainer(pod),
	}
	if pod.DeletionTimestamp != nil {
		p.Deleting = pod.DeletionTimestamp.Time
	}
	if p.Ended {
		p.Outcome = outcome.Of(pod)
	} else {
		p.Waiting = outcome.WaitingFor(pod)
	}
	return p
}

func vanishedPod(pod *corev1.Pod, task int) plan.Pod {
	p := observePod(pod, task)
	p.Ended, p.Outcome, p.Waiting = true, outcome.Of(pod), outcome.Waiting{}
	return p
}

// logContainer is the container whose log `kubectl logs` shows.
func logContainer(pod *corev1.Pod) string {
	if name := pod.Annotations["kubectl.kubernetes.io/default-container"]; name != "" {
		return name
	}
	if len(pod.Spec.Containers) == 0 {
		return ""
	}
	return pod.Spec.Containers[0].Name
}
