package archive

import (
	"context"
	"errors"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/batchrun/batchrun/controllers/outcome"
)

// identify finds out which attempt the pod is, and whether its logs are wanted.
func (c *Collector) identify(ctx context.Context, t *tracked) bool {
	for delay := time.Second; ; delay = min(2*delay, maxReadDelay) {
		wanted, err := c.attemptOf(ctx, t)
		if err == nil && wanted && t.late {
			if wanted, err = c.missing(ctx, t); err != nil {
				c.postpone(t, err)
				return false
			}
		}
		if err == nil {
			if wanted {
				c.begins(t)
			} else {
				c.finish(t)
				c.known(t.attempt)
			}
			return wanted
		}
		logf.FromContext(ctx).Error(err, "finding out whether a log is to be archived", "uid", t.uid)
		timer := time.NewTimer(delay)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
	}
}

// missing is true where the store does not have the attempt of a pod that ended before it was seen. Where the store
// does not tell, what ended lately is taken for missing; what ended long ago has time.
func (c *Collector) missing(ctx context.Context, t *tracked) (bool, error) {
	c.listing.Lock()
	defer c.listing.Unlock()
	run := t.attempt.RunUID
	if known, ok := c.stored.Get(run); ok {
		return !known.(map[types.UID]bool)[t.uid], nil
	}
	err := errUnanswered
	if time.Now().After(c.unanswered) {
		ctx, cancel := context.WithTimeout(ctx, listTimeout)
		defer cancel()
		var known map[types.UID]bool
		if known, err = c.Store.Pods(ctx, run); err == nil {
			c.stored.Add(run, known)
			return !known[t.uid], nil
		}
		logf.FromContext(ctx).Error(err, "asking what is archived")
		c.unanswered = time.Now().Add(listTimeout)
	}
	if end := outcome.Of(c.podOf(t)).FinishedAt; time.Since(end) < lately {
		return true, nil
	}
	return false, err
}

var errUnanswered = errors.New("the archive did not answer lately")

// podOf is the pod as it is known by now.
func (c *Collector) podOf(t *tracked) *corev1.Pod {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return t.pod
}

// postpone leaves a pod waiting: look attends it again. Its run says why.
func (c *Collector) postpone(t *tracked, why error) {
	c.mutex.Lock()
	c.tallyOf(t.attempt)
	t.attended, t.queued = false, false
	c.mutex.Unlock()
	c.fails(t.attempt.RunUID, why)
}

const (
	// lately is how old a log may be that is read again where the store does not tell whether it has it.
	lately = 10 * time.Minute
	// listTimeout bounds the listing of what is stored.
	listTimeout = 30 * time.Second
)

// jobOf is the Job that controls a pod.
func (c *Collector) jobOf(ctx context.Context, pod *corev1.Pod) (*batchv1.Job, error) {
	owner := metav1.GetControllerOf(pod)
	if owner == nil || owner.Kind != "Job" {
		return nil, nil
	}
	key, job := client.ObjectKey{Namespace: pod.Namespace, Name: owner.Name}, &batchv1.Job{}
	for _, reader := range []client.Reader{c.Cache, c.Live} {
		err := reader.Get(ctx, key, job)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("reading the Job of the pod: %w", err)
		}
		if err == nil && job.UID == owner.UID {
			return job, nil
		}
	}
	return nil, nil
}
