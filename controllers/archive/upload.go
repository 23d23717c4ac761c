package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// slowest is how many bytes a second an archive takes at least before a try to store a log is given up.
const slowest = 128 << 10

// upload stores a sealed attempt, and removes it from the spool.
func (c *Collector) upload(ctx context.Context, pod types.UID) error {
	known, err := c.spool.load(pod)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !known.Sealed {
		return nil // it is being read anew, and comes again
	}
	a := known.Attempt
	run, err := c.run(ctx, a.Namespace, a.Run, a.RunUID)
	if err != nil {
		return err
	}
	if run == nil { // what an earlier try stored of it goes too
		if err := c.deleteStored(ctx, a); err != nil {
			return err
		}
	}
	if run == nil || !wants(run, time.Now()) {
		c.drop(ctx, known)
		return nil
	}
	stored, err := c.put(ctx, known)
	if err != nil {
		if ctx.Err() == nil {
			errorsTotal.Inc()
			c.fails(a.RunUID, err)
			logf.FromContext(ctx).Info("log not stored yet", "pod", a.Pod, "namespace", a.Namespace, "error", err.Error())
		}
		return err
	}
	if run, err = c.run(ctx, a.Namespace, a.Run, a.RunUID); err == nil && run == nil { // deleted meanwhile
		if err := c.deleteStored(ctx, a); err != nil {
			return err
		}
	}
	c.recovered.Delete(pod)
	if stored {
		c.succeeds(a)
	}
	c.drop(ctx, known)
	return nil
}

// deleteStored deletes what is stored of the run of an attempt, if the API server does not have the run.
func (c *Collector) deleteStored(ctx context.Context, a Attempt) error {
	gone, err := c.lacksRun(ctx, a.Namespace, a.Run, a.RunUID)
	if err != nil || !gone {
		return err
	}
	return c.Store.DeleteRun(ctx, a.RunUID)
}

// put stores an attempt, unless it is stored: what was read first has more than what is read again later, when kubelets
// have rotated logs away and pods are gone.
func (c *Collector) put(ctx context.Context, known state) (stored bool, err error) {
	a := known.Attempt
	size := known.room()
	ctx, cancel := context.WithTimeout(ctx, min(time.Minute+time.Duration(size/slowest)*time.Second, uploadTimeout))
	defer cancel()
	if size > largeLog {
		select {
		case c.large <- struct{}{}:
			defer func() { <-c.large }()
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	if has, err := c.Store.Has(ctx, a); err != nil || has {
		return false, err
	}
	if _, ok := c.claimed.Get(a.RunUID); !ok {
		if err := c.Store.Claim(ctx, a.RunUID, Owner{Cluster: c.Cluster, Namespace: a.Namespace, Run: a.Run}); err != nil {
			return false, fmt.Errorf("storing whose the logs are: %w", err)
		}
		c.claimed.Add(a.RunUID, true)
	}
	err = c.Store.Put(ctx, a, func(container string) (io.ReadCloser, error) {
		return c.spool.sealed(a.PodUID, container, known.Logs[container]).open()
	})
	return err == nil, err
}

// deleteRun deletes what is archived of a run that is gone.
func (c *Collector) deleteRun(ctx context.Context, uid types.UID) error {
	ctx, cancel := context.WithTimeout(ctx, uploadTimeout)
	defer cancel()
	gone, err := c.isGone(ctx, uid)
	if err != nil || !gone {
		return err
	}
	c.claimed.Remove(uid)
	c.stored.Remove(uid)
	if err := c.Store.DeleteRun(ctx, uid); err != nil {
		errorsTotal.Inc()
		return err
	}
	c.mutex.Lock()
	delete(c.runs, uid)
	c.mutex.Unlock()
	return nil
}

// isGone is true for an archived run of this cluster, and of a namespace of this operator, that the API server does not
// have.
func (c *Collector) isGone(ctx context.Context, uid types.UID) (bool, error) {
	owner, err := c.Store.Owner(ctx, uid)
	if errors.Is(err, ErrNotFound) {
		return false, nil // nothing is stored of it
	}
	if err != nil {
		return false, err
	}
	if owner.Cluster != c.Cluster || !c.watches(owner.Namespace) {
		c.foreign.Store(uid, true)
		return false, nil
	}
	return c.lacksRun(ctx, owner.Namespace, owner.Run, uid)
}

// lacksRun is true where the API server does not have a run.
func (c *Collector) lacksRun(ctx context.Context, namespace, name string, uid types.UID) (bool, error) {
	run := &v1alpha1.BatchRun{}
	err := c.Live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, run)
	if apierrors.IsNotFound(err) {
		// An API server that does not serve the kind says the same in other words.
		return !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse), nil
	}
	return err == nil && run.UID != uid, err
}

func (c *Collector) watches(namespace string) bool {
	for _, watched := range namespacesOr(c.Namespaces) {
		if watched == namespace || watched == corev1.NamespaceAll {
			return true
		}
	}
	return false
}

// sweep looks through the archived runs for those that are gone, and those whose logs have been kept for long enough.
func (c *Collector) sweep(ctx context.Context) {
	if err := c.sweepOnce(ctx); err != nil && ctx.Err() == nil {
		logf.FromContext(ctx).Error(err, "looking for archived logs to delete")
	}
}

func (c *Collector) sweepOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, uploadTimeout)
	defer cancel()
	var list v1alpha1.BatchRunList
	if err := c.Cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	known := map[types.UID]*v1alpha1.BatchRun{}
	for i := range list.Items {
		known[list.Items[i].UID] = &list.Items[i]
	}
	c.forgetRuns(known)
	archived, err := c.Store.Runs(ctx)
	if err != nil {
		return err
	}
	for _, uid := range archived {
		run := known[uid]
		_, foreign := c.foreign.Load(uid)
		switch {
		case run != nil && expired(run, time.Now()):
			c.claimed.Remove(uid)
			if err := c.Store.DeleteRun(ctx, uid); err != nil {
				return err
			}
		case run == nil && !foreign:
			c.deletions.Add(uid)
		}
	}
	return nil
}

// forgetRuns drops what is counted of runs that are gone.
func (c *Collector) forgetRuns(known map[types.UID]*v1alpha1.BatchRun) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for uid, t := range c.runs {
		if known[uid] == nil && t.state.Pending == 0 && time.Since(t.begun) > cacheDelay {
			delete(c.runs, uid)
		}
	}
}

// cacheDelay is for how long the cache may not have a run that is new.
const cacheDelay = time.Minute
