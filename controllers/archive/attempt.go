package archive

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/controllers/ledger"
	"github.com/batchrun/batchrun/controllers/outcome"
)

// attemptOf fills in which attempt the pod is, as the Job that controls it tells. It is false for a pod that is none of
// a run, and where the run's logs are not wanted. What labels say is not believed: anybody can write them.
func (c *Collector) attemptOf(ctx context.Context, t *tracked) (wanted bool, err error) {
	c.mutex.Lock()
	pod := t.pod
	a, restored := c.left[t.uid]
	delete(c.left, t.uid)
	c.mutex.Unlock()
	if restored {
		t.attempt, t.restored, t.late = a, true, false
		return true, nil
	}
	job, err := c.jobOf(ctx, pod)
	if err != nil {
		return false, err
	}
	if job == nil {
		return false, c.missed(ctx, pod)
	}
	owner := metav1.GetControllerOf(job)
	if owner == nil || owner.Kind != "BatchRun" {
		return false, nil
	}
	run, err := c.run(ctx, pod.Namespace, owner.Name, owner.UID)
	if err != nil || run == nil || !wants(run, time.Now()) {
		return false, err
	}
	tasks, err := indexset.Parse(job.Annotations[v1alpha1.AnnotationTasks])
	position, numberErr := strconv.Atoi(pod.Annotations[batchv1.JobCompletionIndexAnnotation])
	if err != nil || numberErr != nil || position < 0 || position >= tasks.Len() {
		logf.FromContext(ctx).Info("log not archived: its Job does not tell which task it is of", "pod", pod.Name, "namespace", pod.Namespace)
		return false, nil //nolint:nilerr // to try again would be of no use
	}
	t.attempt = Attempt{
		Namespace: run.Namespace, Run: run.Name, RunUID: run.UID, Task: tasks.At(position),
		Pod: pod.Name, PodUID: pod.UID, Node: pod.Spec.NodeName,
	}
	t.attempt.Execution, t.attempt.Number = ledger.NumberOf(job.Annotations[v1alpha1.AnnotationAttempts], t.attempt.Task)
	for _, container := range containersOf(pod) {
		t.attempt.Containers = append(t.attempt.Containers, Container{Name: container.name, Init: container.init})
	}
	first := pod.Annotations["kubectl.kubernetes.io/default-container"]
	slices.SortStableFunc(t.attempt.Containers, func(a, b Container) int { return rank(a, first) - rank(b, first) })
	return true, nil
}

// missed notes that a log is lost: the pod was deleted, and its Job, before it was read. Whose it was only labels tell.
func (c *Collector) missed(ctx context.Context, pod *corev1.Pod) error {
	uid := types.UID(pod.Labels[v1alpha1.LabelRunUID])
	run, err := c.run(ctx, pod.Namespace, pod.Labels[v1alpha1.LabelRun], uid)
	if err != nil || run == nil || !wants(run, time.Now()) {
		return err
	}
	logf.FromContext(ctx).Info("log lost: its Job was deleted before it was read", "pod", pod.Name, "namespace", pod.Namespace)
	c.lacks(Attempt{Namespace: run.Namespace, Run: run.Name, RunUID: uid}, fmt.Sprintf("pod %s: %s", pod.Name, errGone))
	attemptsTotal.WithLabelValues(resultLost).Inc()
	return nil
}

// rank is 0 for the container whose log kubectl logs shows, 1 for other containers, 2 for init containers.
func rank(c Container, first string) int {
	switch {
	case c.Name == first:
		return 0
	case !c.Init:
		return 1
	}
	return 2
}

// run reads a run from the cache; nil where it is gone.
func (c *Collector) run(ctx context.Context, namespace, name string, uid types.UID) (*v1alpha1.BatchRun, error) {
	run := &v1alpha1.BatchRun{}
	err := c.Cache.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, run)
	switch {
	case apierrors.IsNotFound(err), err == nil && run.UID != uid:
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading the run: %w", err)
	}
	return run, nil
}

// wants is true where logs of the run are to be archived now.
func wants(run *v1alpha1.BatchRun, now time.Time) bool {
	keep, _, _ := run.Spec.LogTail()
	return keep != v1alpha1.KeepNone && !expired(run, now)
}

// expired is true once the archived logs of a run are to be deleted although its record stays.
func expired(run *v1alpha1.BatchRun, now time.Time) bool {
	ttl, ok := run.Spec.ArchiveTTL()
	end := run.Status.CompletionTime
	return ok && end != nil && !now.Before(end.Add(ttl))
}

// enter makes a folder for the attempt in the spool.
func (c *Collector) enter(ctx context.Context, t *tracked) error {
	if !t.restored {
		if err := c.roomFor(ctx, t, func() error { return c.spool.take(fileSize) }); err != nil {
			return err
		}
	}
	t.entered = true
	c.mutex.Lock()
	c.open[t] = true
	c.mutex.Unlock()
	if err := c.spool.save(state{Attempt: t.attempt}); err != nil {
		return fmt.Errorf("writing to the spool: %w", err)
	}
	return nil
}

// seal ends the collecting of an attempt, and has it stored.
func (c *Collector) seal(ctx context.Context, t *tracked) {
	if ctx.Err() != nil { // the next operator goes on
		for _, f := range t.followers {
			if err := f.flush(0); err != nil {
				logf.FromContext(ctx).Error(err, "writing a log to the spool", "pod", t.attempt.Pod)
			}
		}
		return
	}
	pod := c.podOf(t)
	o := outcome.Of(pod)
	t.attempt.Reason, t.attempt.ExitCode, t.attempt.StartTime = string(o.Reason), o.ExitCode, pod.Status.StartTime
	if o.Reason == v1alpha1.ReasonCompleted {
		t.attempt.ExitCode = ptr.To[int32](0)
	}
	end := o.FinishedAt
	if end.IsZero() {
		end = time.Now()
	}
	t.attempt.EndTime = ptr.To(metav1.NewTime(end).Rfc3339Copy())
	c.sealAs(ctx, t)
}

// sealAs seals the attempt as it is told.
func (c *Collector) sealAs(ctx context.Context, t *tracked) {
	known := state{Sealed: true, Logs: map[string]sealedFile{}}
	var containers []Container
	for _, planned := range t.attempt.Containers {
		i := slices.IndexFunc(t.followers, func(f *follower) bool { return f.info.Name == planned.Name })
		if i < 0 {
			continue
		}
		f := t.followers[i]
		if err := c.roomFor(ctx, t, func() error { return f.flush(0) }); err != nil && !f.info.Partial {
			f.info.Partial, f.info.Message = true, err.Error()
		}
		f.info.Bytes = f.size()
		f.info.Cut = len(f.notice()) > 0
		if f.info.Bytes < t.had[planned.Name] && !f.info.Partial {
			f.info.Partial, f.info.Message = true, "the spool was full, and its node did not keep all of its log"
		}
		containers = append(containers, f.info)
		known.Logs[planned.Name] = f.logFile.seal()
	}
	t.attempt.Containers = containers
	known.Attempt = t.attempt
	run, err := c.run(ctx, t.attempt.Namespace, t.attempt.Run, t.attempt.RunUID)
	if err == nil && (run == nil || !keeps(run, t.attempt)) {
		c.drop(ctx, known)
		c.finish(t)
		return
	}
	if err := c.spool.save(known); err != nil {
		c.lose(ctx, t, err)
		return
	}
	c.finish(t)
	c.sealed.Add(t.uid)
}

// keeps is true for an attempt whose logs the run keeps.
func keeps(run *v1alpha1.BatchRun, a Attempt) bool {
	keep, _, _ := run.Spec.LogTail()
	return keep == v1alpha1.KeepAll || keep == v1alpha1.KeepFailed && a.Reason != string(v1alpha1.ReasonCompleted)
}

// which tells which attempt is spoken of.
func which(a Attempt) string {
	return fmt.Sprintf("task %d, attempt %d (pod %s): ", a.Task, a.Number, a.Pod)
}

// lose gives an attempt up of which nothing can be stored.
func (c *Collector) lose(ctx context.Context, t *tracked, err error) {
	logf.FromContext(ctx).Error(err, "log lost", "pod", t.attempt.Pod, "namespace", t.attempt.Namespace)
	known := state{Attempt: t.attempt, Logs: map[string]sealedFile{}}
	for _, f := range t.followers {
		known.Logs[f.info.Name] = f.logFile.seal()
	}
	c.lacks(t.attempt, which(t.attempt)+err.Error())
	attemptsTotal.WithLabelValues(resultLost).Inc()
	if t.entered {
		c.drop(ctx, known)
	} else {
		c.ends(t.attempt)
	}
	c.finish(t)
}

// drop removes an attempt from the spool.
func (c *Collector) drop(ctx context.Context, known state) {
	if err := c.spool.remove(known.Attempt.PodUID); err != nil {
		logf.FromContext(ctx).Error(err, "removing a log from the spool", "pod", known.Attempt.Pod)
	}
	c.spool.give(known.room())
	c.ends(known.Attempt)
}

// restore takes over what an earlier operator left in the spool.
func (c *Collector) restore(ctx context.Context) error {
	pods, err := c.spool.left()
	if err != nil {
		return err
	}
	for _, pod := range pods {
		known, err := c.spool.load(pod)
		if err != nil {
			if !errors.Is(err, os.ErrNotExist) {
				logf.FromContext(ctx).Error(err, "something in the spool cannot be read and is removed", "pod", pod)
			}
			if err := c.spool.remove(pod); err != nil {
				return err
			}
			continue
		}
		c.spool.claim(known.room())
		if known.Sealed {
			c.recovered.Store(pod, true)
			c.begins(&tracked{attempt: known.Attempt})
			c.done[pod] = true
			c.succeeded[pod] = true
			c.sealed.Add(pod)
		} else {
			c.left[pod] = known.Attempt
		}
	}
	return nil
}

// leftovers seals what an earlier operator left of pods that are gone.
func (c *Collector) leftovers(ctx context.Context) {
	for delay := time.Second; ; delay = min(2*delay, maxReadDelay) {
		c.mutex.Lock()
		left := make([]Attempt, 0, len(c.left))
		for _, a := range c.left {
			left = append(left, a)
		}
		c.mutex.Unlock()
		again := false
		for _, a := range left {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: a.Namespace, Name: a.Pod, UID: a.PodUID}}
			live, err := c.lookUp(ctx, pod)
			if again = again || err != nil; err == nil && live == nil {
				c.sealLeft(ctx, a)
			}
		}
		if !again {
			return
		}
		timer := time.NewTimer(delay)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// sealLeft seals what an earlier operator left of a pod that is gone.
func (c *Collector) sealLeft(ctx context.Context, a Attempt) {
	c.mutex.Lock()
	_, left := c.left[a.PodUID]
	delete(c.left, a.PodUID)
	c.mutex.Unlock()
	if !left {
		return
	}
	t := &tracked{uid: a.PodUID, attempt: a, gone: make(chan struct{}), entered: true}
	t.goes()
	c.begins(t)
	for _, container := range a.Containers {
		f := &follower{pod: t, info: container, logFile: c.spool.log(a.PodUID, container.Name, c.MaxBytes)}
		if err := f.restore(); err != nil {
			logf.FromContext(ctx).Error(err, "reading a log in the spool", "pod", a.Pod)
		}
		f.info.Partial, f.info.Message = true, errGone.Error()+", while the operator was away"
		t.followers = append(t.followers, f)
	}
	t.attempt.Reason = string(v1alpha1.ReasonUnknown)
	c.sealAs(ctx, t)
}
