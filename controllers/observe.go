package controllers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/controllers/ledger"
	"github.com/batchrun/batchrun/controllers/outcome"
	"github.com/batchrun/batchrun/controllers/plan"
)

// observe gathers the snapshot of a run: its waves and those of their pods that plan asks about.
func (r *BatchRunReconciler) observe(ctx context.Context, run *v1alpha1.BatchRun) (*plan.Snapshot, error) {
	tasks, err := ledger.Decode(run.Status.Waves.Ledger)
	if err != nil {
		return nil, err
	}
	open, err := indexset.Parse(run.Status.Waves.Open)
	if err != nil {
		return nil, fmt.Errorf("status.waves.open: %w", err)
	}
	s := &plan.Snapshot{Run: run, Ledger: tasks, MaxParallelism: r.MaxParallelism}
	jobs, err := r.observeJobs(ctx, s, open)
	if err != nil {
		return nil, err
	}
	for number, job := range jobs {
		wave, err := observeWave(number, job)
		if err != nil {
			s.Trouble = plan.Trouble{Reason: v1alpha1.RunWaveUnreadable, Stalled: true,
				Message: err.Error() + "; put it back, or delete the Job and its tasks run again"}
			continue
		}
		if recorded := number < int(run.Status.Waves.Next) && !open.Contains(number); !recorded {
			if err := r.observePods(ctx, s, wave); err != nil {
				return nil, err
			}
		}
		s.Waves = append(s.Waves, *wave)
	}
	slices.SortFunc(s.Waves, func(a, b plan.Wave) int { return a.Number - b.Number })
	return s, r.observeTrouble(ctx, s)
}

// observeJobs returns the Jobs that the run controls, by the number of their wave. An open wave whose Job is not in
// the cache is looked up on the API server; if it is not there either, the snapshot has it as gone or leaving.
func (r *BatchRunReconciler) observeJobs(
	ctx context.Context, s *plan.Snapshot, open indexset.Set,
) (map[int]*batchv1.Job, error) {
	run := s.Run
	var list batchv1.JobList
	ofRun := client.MatchingFields{jobsByRun: string(run.UID)}
	if err := r.List(ctx, &list, client.InNamespace(run.Namespace), ofRun, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing the Jobs of the run: %w", err)
	}
	jobs := map[int]*batchv1.Job{}
	highest := int(run.Status.Waves.Next) - 1
	for i := range list.Items {
		if generation, ok := r.adjusted.Get(list.Items[i].UID); ok && list.Items[i].Generation < generation.(int64) {
			return nil, errStale // the parallelism that the cache shows is not what it was set to
		}
		if number, ok := waveNumber(run, list.Items[i].Name); ok {
			jobs[number] = &list.Items[i]
			highest = max(highest, number)
		}
	}
	started := open.Union(indexset.Interval(int(run.Status.Waves.Next), highest))
	for number := range started.All() {
		if jobs[number] != nil {
			continue
		}
		job := &batchv1.Job{}
		err := r.Live.Get(ctx, client.ObjectKey{Namespace: run.Namespace, Name: waveName(run, number)}, job)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("looking up the Job of wave %d: %w", number, err)
		}
		if err == nil && metav1.IsControlledBy(job, run) {
			jobs[number] = job
			continue
		}
		left, err := r.podsLeft(ctx, run, number)
		switch {
		case err != nil:
			return nil, err
		case left:
			s.Leaving = append(s.Leaving, number)
		default:
			s.Gone = append(s.Gone, number)
		}
	}
	return jobs, nil
}

// podsLeft is true while pods of a wave whose Job is gone have not ended.
func (r *BatchRunReconciler) podsLeft(ctx context.Context, run *v1alpha1.BatchRun, number int) (bool, error) {
	var pods corev1.PodList
	ofWave := client.MatchingLabels{v1alpha1.LabelRunUID: string(run.UID), v1alpha1.LabelWave: strconv.Itoa(number)}
	unended := client.MatchingFieldsSelector{Selector: fields.AndSelectors(
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)))}
	if err := r.Live.List(ctx, &pods, client.InNamespace(run.Namespace), ofWave, unended, client.Limit(1)); err != nil {
		return false, fmt.Errorf("looking up the pods of wave %d: %w", number, err)
	}
	return len(pods.Items) > 0, nil
}

// waveNumber reads the number of a wave off the name of its Job. A number that no plan can have come to yet is not one.
func waveNumber(run *v1alpha1.BatchRun, jobName string) (number int, ok bool) {
	digits, ok := strings.CutPrefix(jobName, run.Name+"-")
	if !ok {
		return 0, false
	}
	number, err := strconv.Atoi(digits)
	return number, err == nil && waveName(run, number) == jobName &&
		number >= 0 && number < int(run.Status.Waves.Next)+plan.MaxStartsAtOnce
}

// observeWave reads a wave off its Job.
func observeWave(number int, job *batchv1.Job) (*plan.Wave, error) {
	tasks, err := indexset.Parse(job.Annotations[v1alpha1.AnnotationTasks])
	if err == nil && tasks.Empty() {
		err = errors.New("it lists no tasks")
	}
	if err == nil && tasks.Len() != int(ptr.Deref(job.Spec.Completions, 0)) {
		err = fmt.Errorf("it lists %d tasks, the Job has %d completions", tasks.Len(), ptr.Deref(job.Spec.Completions, 0))
	}
	if err != nil {
		return nil, fmt.Errorf("Job %s, annotation %s: %w", job.Name, v1alpha1.AnnotationTasks, err)
	}
	succeeded, err := tasksAt(tasks, job.Status.CompletedIndexes)
	if err != nil {
		return nil, fmt.Errorf("Job %s, status.completedIndexes: %w", job.Name, err)
	}
	failed, err := tasksAt(tasks, ptr.Deref(job.Status.FailedIndexes, ""))
	if err != nil {
		return nil, fmt.Errorf("Job %s, status.failedIndexes: %w", job.Name, err)
	}
	return &plan.Wave{
		Number: number, Name: job.Name, UID: job.UID,
		Tasks: tasks, Succeeded: succeeded, Failed: failed.Minus(succeeded),
		Parallelism: int(ptr.Deref(job.Spec.Parallelism, 1)),
		Suspended:   ptr.Deref(job.Spec.Suspend, false),
		Active:      int(job.Status.Active),
		Terminating: int(ptr.Deref(job.Status.Terminating, 0)),
		Finished:    jobFinished(job),
		Stopped:     jobStopped(job),
		Unwatched:   job.Labels[v1alpha1.LabelRunUID] == "",
		Deleting:    job.DeletionTimestamp != nil,
		Created:     job.CreationTimestamp.Time,
	}, nil
}

// tasksAt turns completion indexes, as a Job lists them, into the indexes of the tasks at these positions.
func tasksAt(tasks indexset.Set, completionIndexes string) (indexset.Set, error) {
	positions, err := indexset.Parse(completionIndexes)
	if err != nil {
		return indexset.Set{}, err
	}
	if last := tasks.Len() - 1; last >= 0 && tasks.At(last) == last {
		return positions.Intersect(tasks), nil // a task's index is its position
	}
	var b indexset.Builder
	for position := range positions.All() {
		if position < tasks.Len() {
			b.Add(tasks.At(position))
		}
	}
	return b.Set(), nil
}

// jobFinished says how a Job ended, which it tells once all its pods have; empty while it goes on.
func jobFinished(job *batchv1.Job) string {
	for _, c := range job.Status.Conditions {
		if c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) {
			return strings.TrimSpace(string(c.Type) + " " + c.Reason + " " + c.Message)
		}
	}
	return ""
}

// jobStopped is true when the Job has no active pod and will have none unless somebody resumes it.
func jobStopped(job *batchv1.Job) bool {
	if jobFinished(job) != "" {
		return true
	}
	for _, c := range job.Status.Conditions {
		if c.Type == batchv1.JobSuspended && c.Status == corev1.ConditionTrue {
			return ptr.Deref(job.Spec.Suspend, false) && job.Status.Active == 0 && ptr.Deref(job.Status.Terminating, 0) == 0
		}
	}
	return false
}

// observePods adds to a wave those of its pods that plan asks about.
func (r *BatchRunReconciler) observePods(ctx context.Context, s *plan.Snapshot, w *plan.Wave) error {
	pods := map[int]plan.Pod{}
	classes := []podClass{podFailed, podDeleting, podWaiting}
	if s.HasUnwanted(w) {
		classes = append(classes, podStarting, podOther)
	}
	for _, class := range classes {
		if err := r.eachPod(ctx, s.Run, w, class, func(pod *corev1.Pod, task int) bool {
			if newer(pods[task], pod) {
				pods[task] = observePod(pod, task)
			}
			return true
		}); err != nil {
			return err
		}
	}
	if err := r.observeUnseen(ctx, s, w, pods); err != nil {
		return err
	}
	for _, pod := range pods {
		w.Pods = append(w.Pods, pod)
	}
	slices.SortFunc(w.Pods, func(a, b plan.Pod) int { return a.Task - b.Task })
	if err := r.observeSuccesses(ctx, s, w); err != nil {
		return err
	}
	return r.eachPod(ctx, s.Run, w, podStarting, func(pod *corev1.Pod, _ int) bool {
		if since := startingSince(pod); w.Starting.IsZero() || since.Before(w.Starting) {
			w.Starting = since
		}
		return true
	})
}

// observeSuccesses adds to a wave as many pods of tasks whose success is not recorded yet as the status has room for.
func (r *BatchRunReconciler) observeSuccesses(ctx context.Context, s *plan.Snapshot, w *plan.Wave) error {
	room := v1alpha1.MaxSuccesses - len(s.Run.Status.Successes)
	if room <= 0 {
		return nil
	}
	missing := map[int]bool{}
	for task := range w.Succeeded.All() {
		if s.Unrecorded(w, task) && len(missing) < room {
			missing[task] = true
		}
	}
	if len(missing) == 0 {
		return nil
	}
	take := func(pod *corev1.Pod, task int) bool {
		if missing[task] && pod.Status.Phase == corev1.PodSucceeded {
			w.Successes = append(w.Successes, observePod(pod, task))
			delete(missing, task)
		}
		return len(missing) > 0
	}
	if err := r.eachPod(ctx, s.Run, w, podSucceeded, take); err != nil || len(missing) == 0 {
		return err
	}
	return r.eachLivePod(ctx, s.Run, w, slices.Sorted(maps.Keys(missing)), func(pod *corev1.Pod, task int) { take(pod, task) })
}

// eachPod calls visit for the wave's pods of a class until it returns false.
func (r *BatchRunReconciler) eachPod(
	ctx context.Context, run *v1alpha1.BatchRun, w *plan.Wave, class podClass, visit func(*corev1.Pod, int) bool,
) error {
	var list corev1.PodList
	ofClass := client.MatchingFields{podsByWave: podKey(w.UID, class)}
	if err := r.List(ctx, &list, client.InNamespace(run.Namespace), ofClass, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("listing the pods of wave %d: %w", w.Number, err)
	}
	for i := range list.Items {
		if task, ok := podTask(&list.Items[i], w); ok && !visit(&list.Items[i], task) {
			return nil
		}
	}
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
// the API server, where the cache is behind, else among those that were seen going away.
func (r *BatchRunReconciler) observeUnseen(ctx context.Context, s *plan.Snapshot, w *plan.Wave, pods map[int]plan.Pod) error {
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
		return err
	}
	for _, task := range missing {
		if pod := r.vanished.get(w, task); pod != nil && !pods[task].Ended {
			pods[task] = vanishedPod(pod, task)
		}
	}
	return nil
}

// podTask is the index of the task whose attempt a pod of the wave is.
func podTask(pod *corev1.Pod, w *plan.Wave) (task int, ok bool) {
	owner := metav1.GetControllerOf(pod)
	if owner == nil || owner.UID != w.UID {
		return 0, false
	}
	position, err := strconv.Atoi(pod.Annotations[batchv1.JobCompletionIndexAnnotation])
	if err != nil || position < 0 || position >= w.Tasks.Len() {
		return 0, false
	}
	return w.Tasks.At(position), true
}

// newer is true when pod is to be looked at rather than the one seen before: a resumed wave may still show a pod that
// was stopped.
func newer(seen plan.Pod, pod *corev1.Pod) bool {
	return seen.Name == "" || !seen.Deleting.IsZero() || pod.DeletionTimestamp == nil
}

func observePod(pod *corev1.Pod, task int) plan.Pod {
	p := plan.Pod{
		Task: task, Name: pod.Name, UID: pod.UID, Node: pod.Spec.NodeName,
		Ended: outcome.Ended(pod), Container: logContainer(pod),
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
