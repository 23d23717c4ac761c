package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/controllers/ledger"
	"github.com/batchrun/batchrun/controllers/plan"
	"github.com/batchrun/batchrun/controllers/queues"
)

// observe gathers the snapshot of a run: its waves and those of their pods that plan asks about.
func (r *BatchRunReconciler) observe(ctx context.Context, run *v1alpha1.BatchRun) (*plan.Snapshot, error) {
	s := &plan.Snapshot{Run: run, Limits: r.Limits}
	if r.Archive != nil {
		s.Archived = r.Archive.State(run.UID)
	}
	s.LastStep, _ = r.steps.get(client.ObjectKeyFromObject(run), r.Clock.Now())
	var err error
	if s.Ledger, err = ledger.Decode(run.Status.Waves.Ledger); err != nil {
		return nil, err
	}
	if err := r.observeTasks(ctx, s); err != nil {
		return nil, err
	}
	sweep := s.Sweep()
	if s.Packing, err = r.delivery.packing(ctx, r.Clock.Now()); err != nil {
		return nil, err
	}
	open, err := indexset.Parse(run.Status.Waves.Open)
	if err != nil {
		return nil, fmt.Errorf("status.waves.open: %w", err)
	}
	key, now := client.ObjectKeyFromObject(run), r.Clock.Now()
	before, _ := r.unseen.get(key, now)
	unseen := newUnseen(before, now)
	r.unseen.put(key, unseen.since, now)
	jobs, err := r.observeJobs(ctx, s, open, unseen)
	if err != nil {
		return nil, err
	}
	template, pods := templateHash(run), newRunPods(r.Client, run)
	for number, job := range jobs {
		recorded := number < int(run.Status.Waves.Next) && !open.Contains(number)
		if recorded && jobFinished(job) != "" {
			s.Waves = append(s.Waves, plan.Wave{Number: number, Name: job.Name, UID: job.UID,
				Finished: jobFinished(job), Stopped: true, Deleting: job.DeletionTimestamp != nil})
			continue
		}
		wave, err := observeWave(number, job, template)
		if err != nil {
			s.Unreadable = append(s.Unreadable, plan.Wave{Number: number, Name: job.Name, UID: job.UID,
				Deleting: job.DeletionTimestamp != nil})
			s.Trouble = plan.Trouble{Reason: v1alpha1.RunWaveUnreadable, Stalled: true,
				Message: err.Error() + "; put it back, or delete the Job and its tasks run again"}
			continue
		}
		wave.Refused = wave.Packed && !s.Packing.OK && wave.Idle() && !r.Clock.Now().Before(wave.Created.Add(plan.IdleAfter))
		wave.Foreign = wave.Sweep != sweep
		waits := false
		if !recorded {
			if waits, err = r.observePods(ctx, s, wave, pods, unseen); err != nil {
				return nil, err
			}
		}
		if i := slices.Index(s.Gone, number); i >= 0 {
			if waits && !open.Contains(number) {
				return nil, errStale // its number must not be given anew before its start is recorded
			}
			if waits {
				s.Gone, s.Leaving = slices.Delete(s.Gone, i, i+1), append(s.Leaving, number)
				continue
			}
			wave = lastOf(wave)
		}
		s.Waves = append(s.Waves, *wave)
	}
	slices.Sort(s.Leaving)
	slices.SortFunc(s.Waves, func(a, b plan.Wave) int { return a.Number - b.Number })
	r.waves.put(key, goingOn(s.Waves), now)
	if err := r.observeProgress(ctx, s, pods); err != nil {
		return nil, err
	}
	if err := r.observeTrouble(ctx, s, pods); err != nil {
		return nil, err
	}
	r.observeQueue(ctx, s)
	return s, nil
}

// lastOf is a wave whose Job is gone: what it achieved last counts.
func lastOf(w *plan.Wave) *plan.Wave {
	return &plan.Wave{Number: w.Number, Name: w.Name, UID: w.UID, Tasks: w.Tasks, Succeeded: w.Succeeded, Failed: w.Failed,
		Pods: w.Pods, Sweep: w.Sweep, Foreign: w.Foreign, Finished: plan.Deleted, Stopped: true, Deleting: true}
}

// goingOn is how many of the waves have not finished.
func goingOn(waves []plan.Wave) int {
	n := 0
	for i := range waves {
		if waves[i].Finished == "" {
			n++
		}
	}
	return n
}

// observeJobs returns the Jobs that the run controls, by the number of their wave. An open wave whose Job is not in
// the cache is looked up on the API server; if it is not there either, the snapshot has it as gone or leaving. Of one that
// is gone the last state is returned, if it is remembered; it is leaving until nothing more may tell of it.
func (r *BatchRunReconciler) observeJobs(
	ctx context.Context, s *plan.Snapshot, open indexset.Set, unseen *unseen,
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
		if err != nil {
			return nil, err
		}
		itself := gone{run.UID, waveName(run, number)}
		last, told := r.goneJobs.Get(itself)
		if !told && open.Contains(number) && run.Status.CompletionTime == nil {
			if until := unseen.until(itself, unseenDelay); unseen.now.Before(until) {
				s.LookAgain(until)
				left = true
			}
		}
		if left {
			s.Leaving = append(s.Leaving, number)
			continue
		}
		s.Gone = append(s.Gone, number)
		if told && run.Status.CompletionTime == nil && endedAny(last.(*batchv1.Job)) {
			jobs[number] = last.(*batchv1.Job)
		}
	}
	return jobs, nil
}

// endedAny is true for a Job any of whose attempts ended.
func endedAny(job *batchv1.Job) bool {
	return job.Status.CompletedIndexes != "" || ptr.Deref(job.Status.FailedIndexes, "") != ""
}

// podsLeft is true while pods of a wave whose Job is gone have not ended. It goes by their labels, as a Job can be deleted
// so that its pods stay and lose their owner.
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
func observeWave(number int, job *batchv1.Job, template string) (*plan.Wave, error) {
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
	holder := queues.Holder(job)
	return &plan.Wave{
		Number: number, Name: job.Name, UID: job.UID,
		Tasks: tasks, Succeeded: succeeded, Failed: failed.Minus(succeeded),
		Parallelism: int(ptr.Deref(job.Spec.Parallelism, 1)),
		Suspended:   ptr.Deref(job.Spec.Suspend, false),
		Active:      int(job.Status.Active),
		Terminating: int(ptr.Deref(job.Status.Terminating, 0)),
		Finished:    jobFinished(job),
		Stopped:     jobFinished(job) != "" || holder == "" && jobSuspended(job),
		Queue:       holder,
		Sweep:       job.Annotations[v1alpha1.AnnotationSweep] != "",
		Packed:      job.Annotations[v1alpha1.AnnotationPacked] != "",
		Outdated:    job.Annotations[v1alpha1.AnnotationTemplate] != template,
		Unwatched:   job.Labels[v1alpha1.LabelRunUID] == "",
		Deleting:    job.DeletionTimestamp != nil,
		Created:     job.CreationTimestamp.Time,
		Started:     ptr.Deref(job.Status.StartTime, metav1.Time{}).Time,
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

// jobSuspended is true when the Job is suspended, has no pod, and its controller knows that it is to have none.
func jobSuspended(job *batchv1.Job) bool {
	for _, c := range job.Status.Conditions {
		if c.Type == batchv1.JobSuspended && c.Status == corev1.ConditionTrue {
			return ptr.Deref(job.Spec.Suspend, false) && job.Status.Active == 0 && ptr.Deref(job.Status.Terminating, 0) == 0
		}
	}
	return false
}
