package archive

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/lru"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/outcome"
)

const (
	// maxReading is how many logs of pods that have ended, or are about to, are read at once besides those followed.
	maxReading = 64
	// uploads is how many attempts are stored at once; of logs above largeLog maxLarge at a time, as each takes memory.
	uploads  = 8
	largeLog = 4 << 20
	maxLarge = 2
	// uploadTimeout bounds one try to store an attempt.
	uploadTimeout = 15 * time.Minute
	// retryBase and retryMax are the least and the longest time until it is tried again.
	retryBase = time.Second
	retryMax  = 5 * time.Minute
	// flushAfter is how old what a killed operator has not written can be.
	flushAfter = 10 * time.Second
	// lookAgain is how often pods are looked for that are not followed yet.
	lookAgain = 5 * time.Second
	// goneAfter is how long a pod that has left the cache may take to show that it has succeeded.
	goneAfter = 2 * time.Second
	// sweepInterval is how often archived runs are looked through for what is to be deleted.
	sweepInterval = 10 * time.Minute
	// knownRuns is of how many runs what the store has is remembered.
	knownRuns = 16
)

// Options are what a Collector works with.
type Options struct {
	Store *Store
	Logs  LogSource
	// Cluster is a fingerprint of the cluster.
	Cluster string
	// Namespaces are those whose runs the operator looks after; all where there are none.
	Namespaces []string

	// Cache has runs, Jobs, and pods that have not succeeded, of which Informers tell. Live reads from the API server.
	Cache     client.Reader
	Live      client.Reader
	Informers cache.Informers
	// Clientset watches the pods that have succeeded. Transform slims them.
	Clientset kubernetes.Interface
	Transform toolscache.TransformFunc

	// Spool is the directory in which logs wait, SpoolBytes what it may hold.
	Spool      string
	SpoolBytes int64
	// MaxBytes is how much of an attempt's logs is kept.
	MaxBytes int64
	// MaxFollowed is how many pods are followed at once.
	MaxFollowed int
	// SweepInterval is how often archived runs are looked through; 0 is every 10 minutes.
	SweepInterval time.Duration
}

// Collector stores the logs of attempts: it follows those of running pods into the spool, and uploads them once the pods
// have ended. No reconcile waits for it.
type Collector struct {
	Options
	spool *spool
	// sealed are the UIDs of pods whose logs wait to be stored; deletions are runs whose logs are to be deleted.
	sealed    workqueue.TypedRateLimitingInterface[types.UID]
	deletions workqueue.TypedRateLimitingInterface[types.UID]
	large     chan struct{}
	changes   chan event.TypedGenericEvent[*v1alpha1.BatchRun]
	attending sync.WaitGroup

	mutex sync.Mutex
	pods  map[types.UID]*tracked
	// done are the pods that need no look any more; succeeded are those of them that the cache does not have.
	done, succeeded map[types.UID]bool
	// waiting are pods that have ended, or are about to, and wait to be read.
	waiting            []*tracked
	following, reading int
	runs               map[types.UID]*tally
	// blocked are pods that have ended and wait for room in the spool, the first of which gets it.
	blocked []*tracked
	// open are the pods whose logs are being written, left those that an earlier operator left in the spool.
	open map[*tracked]bool
	left map[types.UID]Attempt

	// unanswered is until when the store is not asked again what it has; listing guards it.
	unanswered time.Time
	listing    sync.Mutex
	// stored has the UIDs of the pods whose logs are stored, by run; claimed the runs of which the store knows whose they are.
	stored, claimed *lru.Cache
	// foreign are archived runs of other clusters or namespaces, as long as they were not looked up anew. recovered are
	// the attempts that an earlier operator left sealed in the spool.
	foreign, recovered sync.Map
}

// NewCollector makes a collector. It does nothing before Start.
func NewCollector(o Options) (*Collector, error) {
	if o.SweepInterval == 0 {
		o.SweepInterval = sweepInterval
	}
	spool, err := newSpool(o.Spool, o.SpoolBytes)
	if err != nil {
		return nil, err
	}
	limiter := func() workqueue.TypedRateLimiter[types.UID] {
		return workqueue.NewTypedItemExponentialFailureRateLimiter[types.UID](retryBase, retryMax)
	}
	return &Collector{
		Options: o, spool: spool, large: make(chan struct{}, maxLarge),
		sealed: workqueue.NewTypedRateLimitingQueue(limiter()), deletions: workqueue.NewTypedRateLimitingQueue(limiter()),
		changes: make(chan event.TypedGenericEvent[*v1alpha1.BatchRun]),
		pods:    map[types.UID]*tracked{}, done: map[types.UID]bool{}, succeeded: map[types.UID]bool{},
		runs: map[types.UID]*tally{}, open: map[*tracked]bool{}, left: map[types.UID]Attempt{},
		stored: lru.New(knownRuns), claimed: lru.New(maxClaimed),
	}, nil
}

// maxClaimed is of how many runs it is remembered that the store knows whose they are.
const maxClaimed = 10_000

// Start collects until ctx ends. It implements manager.Runnable, and runs where the operator is active.
func (c *Collector) Start(ctx context.Context) error {
	if err := c.restore(ctx); err != nil {
		return fmt.Errorf("reading the spool: %w", err)
	}
	var group sync.WaitGroup
	for range uploads {
		group.Go(func() { c.work(ctx, c.sealed, c.upload) })
	}
	group.Go(func() { c.work(ctx, c.deletions, c.deleteRun) })
	group.Go(func() { c.notify(ctx) })
	pods, err := c.Informers.GetInformer(ctx, &corev1.Pod{})
	if err != nil {
		return err
	}
	handle, err := pods.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { c.see(ctx, object) },
		UpdateFunc: func(_, object any) { c.see(ctx, object) },
		DeleteFunc: func(object any) { c.leaves(ctx, object) },
	})
	if err != nil {
		return err
	}
	runs, err := c.Informers.GetInformer(ctx, &v1alpha1.BatchRun{})
	if err != nil {
		return err
	}
	handleRuns, err := runs.AddEventHandler(toolscache.ResourceEventHandlerFuncs{DeleteFunc: c.runDeleted})
	if err != nil {
		return err
	}
	first := make(chan struct{}, max(1, len(c.Namespaces)))
	for _, namespace := range namespacesOr(c.Namespaces) {
		group.Go(func() { c.watchSucceeded(ctx, namespace, first) })
	}
	group.Go(func() {
		for range namespacesOr(c.Namespaces) {
			select {
			case <-first:
			case <-ctx.Done():
				return
			}
		}
		c.leftovers(ctx)
	})
	group.Go(func() { every(ctx, flushAfter/2, func() { c.flush(ctx) }) })
	group.Go(func() { every(ctx, lookAgain, func() { c.look(ctx) }) })
	group.Go(func() {
		c.sweep(ctx)
		every(ctx, c.SweepInterval, func() { c.sweep(ctx) })
	})
	<-ctx.Done()
	err = pods.RemoveEventHandler(handle)
	if err == nil {
		err = runs.RemoveEventHandler(handleRuns)
	}
	c.sealed.ShutDown()
	c.deletions.ShutDown()
	group.Wait()
	c.attending.Wait()
	return err
}

// namespacesOr are the namespaces, or "" for all.
func namespacesOr(namespaces []string) []string {
	if len(namespaces) == 0 {
		return []string{metav1.NamespaceAll}
	}
	return namespaces
}

func every(ctx context.Context, interval time.Duration, do func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			do()
		}
	}
}

func (c *Collector) work(ctx context.Context, queue workqueue.TypedRateLimitingInterface[types.UID], do func(context.Context, types.UID) error) {
	for {
		uid, shutdown := queue.Get()
		if shutdown {
			return
		}
		if err := do(ctx, uid); err != nil {
			queue.AddRateLimited(uid)
		} else {
			queue.Forget(uid)
		}
		queue.Done(uid)
	}
}

// see takes notice of a pod.
func (c *Collector) see(ctx context.Context, object any) {
	if pod, ok := object.(*corev1.Pod); ok {
		c.observe(ctx, pod)
	}
}

// observe follows a pod once one of its containers has started, and reads it once it has ended.
func (c *Collector) observe(ctx context.Context, pod *corev1.Pod) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	t := c.pods[pod.UID]
	if t == nil {
		if c.done[pod.UID] || !slices.ContainsFunc(containersOf(pod), func(p podContainer) bool { return hasStarted(p.state) }) {
			return
		}
		t = c.track(pod)
		t.late = outcome.Ended(pod)
	}
	if !outcome.Ended(t.pod) || outcome.Ended(pod) { // the other watch may have told more
		t.pod, t.left = pod, false
	}
	c.schedule(ctx, t)
}

// track makes the pod a tracked one; the mutex is held.
func (c *Collector) track(pod *corev1.Pod) *tracked {
	t := &tracked{uid: pod.UID, pod: pod, changed: make(chan struct{}, 1), gone: make(chan struct{})}
	c.pods[pod.UID] = t
	return t
}

// leaves takes notice that the cache does not have a pod any more: it has succeeded, or is gone.
func (c *Collector) leaves(ctx context.Context, object any) {
	if unknown, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
		object = unknown.Obj
	}
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.done[pod.UID] && !c.succeeded[pod.UID] {
		delete(c.done, pod.UID)
		return
	}
	t := c.pods[pod.UID]
	if t == nil {
		if c.done[pod.UID] || !slices.ContainsFunc(containersOf(pod), func(p podContainer) bool { return hasStarted(p.state) }) {
			return
		}
		t = c.track(pod)
	}
	if outcome.Ended(t.pod) { // succeeded ones are told of by the other watch
		if t.pod.Status.Phase == corev1.PodFailed {
			t.goes()
		}
	} else {
		t.pod, t.left = pod, true
	}
	c.schedule(ctx, t)
}

// schedule has the pod attended, if there is room for it; the mutex is held.
func (c *Collector) schedule(ctx context.Context, t *tracked) {
	select {
	case t.changed <- struct{}{}:
	default:
	}
	urgent := t.left || outcome.Ended(t.pod) || t.pod.DeletionTimestamp != nil
	switch {
	case t.attended, t.queued && c.reading >= maxReading:
	case !urgent && c.following < c.MaxFollowed:
		c.following++
		c.hand(ctx, t, &c.following)
	case !urgent:
		delete(c.pods, t.uid) // look finds it again
	case c.reading < maxReading:
		c.reading++
		c.hand(ctx, t, &c.reading)
	case !t.queued:
		t.queued = true
		c.waiting = append(c.waiting, t)
	}
}

// hand gives the pod to a goroutine that attends it; the mutex is held.
func (c *Collector) hand(ctx context.Context, t *tracked, slots *int) {
	t.attended = true
	c.attending.Go(func() {
		c.attend(ctx, t)
		c.mutex.Lock()
		defer c.mutex.Unlock()
		*slots--
		for len(c.waiting) > 0 && c.reading < maxReading {
			next := c.waiting[0]
			c.waiting = c.waiting[1:]
			if c.pods[next.uid] == next && !next.attended {
				c.reading++
				c.hand(ctx, next, &c.reading)
			}
		}
	})
}

// finish drops a pod that needs no look any more.
func (c *Collector) finish(t *tracked) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	delete(c.pods, t.uid)
	delete(c.open, t)
	c.blocked = slices.DeleteFunc(c.blocked, func(other *tracked) bool { return other == t })
	if t.pod != nil && !t.isGone() {
		c.done[t.uid] = true
		if t.left || t.pod.Status.Phase == corev1.PodSucceeded {
			c.succeeded[t.uid] = true
		}
	}
}

// settle returns the pod as it is known, and whether it has ended. Of a pod that has left the cache it waits for
// whether it has succeeded or is gone.
func (c *Collector) settle(ctx context.Context, t *tracked) (*corev1.Pod, bool) {
	for delay := goneAfter; ; {
		c.mutex.Lock()
		pod, left := t.pod, t.left
		c.mutex.Unlock()
		if outcome.Ended(pod) || t.isGone() || ctx.Err() != nil {
			return pod, outcome.Ended(pod) || t.isGone()
		}
		if !left {
			return pod, false
		}
		timer := time.NewTimer(delay)
		select {
		case <-t.changed:
			timer.Stop()
			continue
		case <-ctx.Done():
			timer.Stop()
			continue
		case <-timer.C:
		}
		live, err := c.lookUp(ctx, pod)
		switch {
		case err != nil:
			delay = min(2*delay, maxReadDelay)
		case live == nil:
			c.mutex.Lock()
			t.goes()
			c.mutex.Unlock()
		case outcome.Ended(live):
			c.mutex.Lock()
			t.pod = live
			c.mutex.Unlock()
		}
	}
}

// lookUp reads a pod from the API server; nil where it is gone. The operator may list pods, not get them.
func (c *Collector) lookUp(ctx context.Context, pod *corev1.Pod) (*corev1.Pod, error) {
	var list corev1.PodList
	if err := c.Live.List(ctx, &list, client.InNamespace(pod.Namespace), client.MatchingFields{"metadata.name": pod.Name}); err != nil {
		return nil, err
	}
	for i := range list.Items {
		if list.Items[i].UID == pod.UID {
			return c.slim(&list.Items[i]), nil
		}
	}
	return nil, nil
}

func (c *Collector) slim(pod *corev1.Pod) *corev1.Pod {
	if c.Transform != nil {
		if slim, err := c.Transform(pod); err == nil {
			return slim.(*corev1.Pod)
		}
	}
	return pod
}

// look attends pods that were postponed, and follows those of the cache that there was no room for.
func (c *Collector) look(ctx context.Context) {
	c.mutex.Lock()
	for _, t := range c.pods {
		if !t.attended && !t.queued {
			c.schedule(ctx, t)
		}
	}
	room := c.following < c.MaxFollowed
	c.mutex.Unlock()
	if !room {
		return
	}
	var list corev1.PodList
	if err := c.Cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		logf.FromContext(ctx).Error(err, "looking for logs to follow")
		return
	}
	for i := range list.Items {
		c.observe(ctx, &list.Items[i])
	}
}

// flush writes what is gathered of logs.
func (c *Collector) flush(ctx context.Context) {
	c.mutex.Lock()
	var all []*tracked
	for t := range c.open {
		all = append(all, t)
	}
	c.mutex.Unlock()
	for _, t := range all {
		for _, f := range c.followersOf(t) {
			if err := f.flush(flushAfter); err != nil {
				logf.FromContext(ctx).Error(err, "writing a log to the spool", "pod", t.attempt.Pod)
			}
		}
	}
}

func (c *Collector) followersOf(t *tracked) []*follower {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return slices.Clone(t.followers)
}

// runDeleted deletes what is archived of a run that is deleted.
func (c *Collector) runDeleted(object any) {
	if unknown, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
		object = unknown.Obj
	}
	if run, ok := object.(*v1alpha1.BatchRun); ok {
		c.deletions.Add(run.UID)
	}
}
