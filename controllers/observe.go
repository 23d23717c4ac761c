package controllers

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	jobs, gone, err := r.observeJobs(ctx, run, open)
	if err != nil {
		return nil, err
	}
	s := &plan.Snapshot{Run: run, Ledger: tasks, Gone: gone, MaxParallelism: r.MaxParallelism}
	for number, job := range jobs {
		wave, err := observeWave(number, job)
		if err != nil {
			return nil, err
		}
		if recorded := number < int(run.Status.Waves.Next) && !open.Contains(number); !recorded {
			if err := r.observePods(ctx, s, wave); err != nil {
				return nil, err
			}
		}
		s.Waves = append(s.Waves, *wave)
	}
	slices.SortFunc(s.Waves, func(a, b plan.Wave) int { return a.Number - b.Number })
	return s, nil
}

// observeJobs returns the Jobs that the run controls, by the number of their wave. An open wave whose Job is not in
// the cache is looked up on the API server; gone are the numbers of those that are not there either.
func (r *BatchRunReconciler) observeJobs(
	ctx context.Context, run *v1alpha1.BatchRun, open indexset.Set,
) (jobs map[int]*batchv1.Job, gone []int, err error) {
	var list batchv1.JobList
	ofRun := client.MatchingFields{jobsByRun: string(run.UID)}
	if err := r.List(ctx, &list, client.InNamespace(run.Namespace), ofRun, client.UnsafeDisableDeepCopy); err != nil {
		return nil, nil, fmt.Errorf("listing the Jobs of the run: %w", err)
	}
	jobs = map[int]*batchv1.Job{}
	highest := int(run.Status.Waves.Next) - 1
	for i := range list.Items {
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
		switch {
		case apierrors.IsNotFound(err), err == nil && !metav1.IsControlledBy(job, run):
			gone = append(gone, number)
		case err != nil:
			return nil, nil, fmt.Errorf("looking up the Job of wave %d: %w", number, err)
		default:
			jobs[number] = job
		}
	}
	return jobs, gone, nil
}

// waveNumber reads the number of a wave off the name of its Job.
func waveNumber(run *v1alpha1.BatchRun, jobName string) (number int, ok bool) {
	digits, ok := strings.CutPrefix(jobName, run.Name+"-")
	if !ok {
		return 0, false
	}
	number, err := strconv.Atoi(digits)
	return number, err == nil && waveName(run, number) == jobName
}

// observeWave reads a wave off its Job.
func observeWave(number int, job *batchv1.Job) (*plan.Wave, error) {
	tasks, err := indexset.Parse(job.Annotations[v1alpha1.AnnotationTasks])
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
		Stopped:     jobStopped(job),
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

// jobStopped is true when the Job has no active pod and will have none unless somebody resumes it.
func jobStopped(job *batchv1.Job) bool {
	for _, c := range job.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete, batchv1.JobFailed:
			return true
		case batchv1.JobSuspended:
			return job.Status.Active == 0 && ptr.Deref(job.Status.Terminating, 0) == 0
		}
	}
	return false
}

// observePods adds to a wave those of its pods that plan asks about.
func (r *BatchRunReconciler) observePods(ctx context.Context, s *plan.Snapshot, w *plan.Wave) error {
	pods := map[int]plan.Pod{}
	classes := []podClass{podFailed, podWaiting}
	if last := w.Tasks.At(w.Tasks.Len() - 1); last >= s.Run.Spec.TaskCount() {
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
	if err := r.observeVanished(ctx, s, w, pods); err != nil {
		return err
	}
	for _, pod := range pods {
		w.Pods = append(w.Pods, pod)
	}
	slices.SortFunc(w.Pods, func(a, b plan.Pod) int { return a.Task - b.Task })
	if room := v1alpha1.MaxSuccesses - len(s.Run.Status.Successes); room > 0 && !w.Succeeded.Empty() {
		if err := r.eachPod(ctx, s.Run, w, podSucceeded, func(pod *corev1.Pod, task int) bool {
			if w.Succeeded.Contains(task) && s.Unrecorded(w, task) {
				w.Successes = append(w.Successes, observePod(pod, task))
			}
			return len(w.Successes) < room
		}); err != nil {
			return err
		}
	}
	if err := r.eachPod(ctx, s.Run, w, podStarting, func(pod *corev1.Pod, _ int) bool {
		if since := pod.CreationTimestamp.Time; w.Starting.IsZero() || since.Before(w.Starting) {
			w.Starting = since
		}
		return true
	}); err != nil {
		return err
	}
	return r.observeTrouble(ctx, s.Run, w)
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

// observeVanished finds the pods of tasks that the Job counted as failed and that the cache does not show as ended:
// among those that were seen going away, or on the API server, where the cache is behind.
func (r *BatchRunReconciler) observeVanished(ctx context.Context, s *plan.Snapshot, w *plan.Wave, pods map[int]plan.Pod) error {
	var missing []int
	for task := range w.Failed.All() {
		if s.Unrecorded(w, task) && !pods[task].Ended {
			if pod := r.vanished.get(w, task); pod != nil {
				pods[task] = vanishedPod(pod, task)
			} else {
				missing = append(missing, task)
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	var list corev1.PodList
	if err := r.Live.List(ctx, &list, client.InNamespace(s.Run.Namespace),
		client.MatchingLabels{batchv1.ControllerUidLabel: string(w.UID)}); err != nil {
		return fmt.Errorf("looking up the pods of wave %d: %w", w.Number, err)
	}
	for i := range list.Items {
		pod := &list.Items[i]
		task, ok := podTask(pod, w)
		if ok && outcome.Ended(pod) && slices.Contains(missing, task) {
			pods[task] = observePod(pod, task)
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
	return seen.Name == "" || seen.Deleting || pod.DeletionTimestamp == nil
}

func observePod(pod *corev1.Pod, task int) plan.Pod {
	p := plan.Pod{
		Task: task, Name: pod.Name, UID: pod.UID, Node: pod.Spec.NodeName,
		Ended: outcome.Ended(pod), Deleting: pod.DeletionTimestamp != nil, Container: logContainer(pod),
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
