package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// createsAtOnce is how many objects of a load are created at a time.
const createsAtOnce = 16

// observation is what is seen of a load that runs.
type observation struct {
	client client.WithWatch
	load   load

	mu sync.Mutex
	// ends is when the last pod of each object was seen to have ended, complete when the object was seen Complete.
	ends, complete map[string]time.Time
	// succeeded and attempts count the pods that succeeded, and ended.
	succeeded, attempts int
	// status and largest are the sizes of the last and the largest status of a run, in bytes.
	status, largest int
	// places are taken by unfinished objects, where their number is bounded.
	places chan struct{}
}

// observed is what came of a load.
type observed struct {
	wall            time.Duration
	lags            []float64
	attempts        int
	status, largest int
}

// execute creates the objects of a load and waits until each is Complete and every task's success was seen.
func execute(ctx context.Context, c client.WithWatch, l load) (observed, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o := &observation{client: c, load: l, ends: map[string]time.Time{}, complete: map[string]time.Time{}}
	if l.window > 0 {
		o.places = make(chan struct{}, l.window)
	}
	pods, objects, err := o.watches(ctx)
	if err != nil {
		return observed{}, err
	}
	start := time.Now()
	errs := make(chan error, 3)
	go func() { errs <- follow(ctx, pods, o.pod) }()
	go func() { errs <- follow(ctx, objects, o.object) }()
	go func() { errs <- o.create(ctx) }()
	for range cap(errs) {
		if err := <-errs; err != nil {
			return observed{}, o.explain(ctx, err)
		}
	}
	return o.result(start)
}

func (o *observation) result(start time.Time) (observed, error) {
	total := len(o.load.objects) * o.load.tasks
	if o.succeeded != total {
		return observed{}, fmt.Errorf("%d pods succeeded, of %d tasks", o.succeeded, total)
	}
	if !o.load.failing && o.attempts != total {
		return observed{}, fmt.Errorf("%d attempts of %d tasks, and none was to fail", o.attempts, total)
	}
	result := observed{attempts: o.attempts, status: o.status, largest: o.largest}
	for name, complete := range o.complete {
		result.wall = max(result.wall, complete.Sub(start))
		// The two are seen on different connections, so a few milliseconds less than nothing are possible.
		result.lags = append(result.lags, max(0, complete.Sub(o.ends[name]).Seconds()))
	}
	return result, nil
}

// explain adds what was reached to the error of a load that was not.
func (o *observation) explain(ctx context.Context, err error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return fmt.Errorf("%w: %d of %d %ss were complete, %d attempts had ended, %d of them well", err,
		len(o.complete), len(o.load.objects), o.load.name, o.attempts, o.succeeded)
}

func (o *observation) create(ctx context.Context) error {
	errs := make([]error, len(o.load.objects))
	workqueue.ParallelizeUntil(ctx, createsAtOnce, len(o.load.objects), func(i int) {
		if o.places != nil {
			select {
			case o.places <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
		errs[i] = o.client.Create(ctx, o.load.objects[i])
	})
	return errors.Join(errors.Join(errs...), ctx.Err())
}

// watching is a watch from a version on, which survives the connection.
type watching struct {
	version string
	watcher cache.WatcherWithContext
}

// watches are those for the ends of pods and for what becomes of the objects. The API server picks what is of interest,
// so that this program has little to do.
func (o *observation) watches(ctx context.Context) (pods, objects watching, err error) {
	ended := fields.AndSelectors(
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodPending)),
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodRunning)))
	if pods, err = newWatching(ctx, o.client, &corev1.PodList{}, ended); err != nil {
		return pods, objects, err
	}
	if o.load.operator {
		objects, err = newWatching(ctx, o.client, &v1alpha1.BatchRunList{}, fields.Everything())
		return pods, objects, err
	}
	all := fields.OneTermEqualSelector("status.successful", fmt.Sprint(o.load.tasks))
	objects, err = newWatching(ctx, o.client, &batchv1.JobList{}, all)
	return pods, objects, err
}

func newWatching(ctx context.Context, c client.WithWatch, list client.ObjectList, selector fields.Selector) (watching, error) {
	if err := c.List(ctx, list, client.InNamespace(namespace)); err != nil {
		return watching{}, err
	}
	if n := meta.LenList(list); n > 0 {
		return watching{}, fmt.Errorf("namespace %s is not empty: %d objects in %T", namespace, n, list)
	}
	return watching{list.GetResourceVersion(), watcherFunc(func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
		return c.Watch(ctx, list, &client.ListOptions{Namespace: namespace, FieldSelector: selector, Raw: &options})
	})}, nil
}

// watcherFunc is a function that opens a watch.
type watcherFunc func(context.Context, metav1.ListOptions) (watch.Interface, error)

// WatchWithContext opens a watch.
func (f watcherFunc) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	return f(ctx, options)
}

// follow has every change handled until handle says that it was the last.
func follow(ctx context.Context, w watching, handle func(watch.Event) (done bool, err error)) error {
	watcher, err := watchtools.NewRetryWatcherWithContext(ctx, w.version, w.watcher)
	if err != nil {
		return err
	}
	defer watcher.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case event, ok := <-watcher.ResultChan():
			if !ok {
				return errors.New("a watch ended")
			}
			if done, err := handle(event); done || err != nil {
				return err
			}
		}
	}
}

// pod notes the end of a pod, which is when the watch shows it for the first time.
func (o *observation) pod(event watch.Event) (bool, error) {
	pod, ok := event.Object.(*corev1.Pod)
	if !ok || event.Type != watch.Added {
		return false, unexpected(event)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ends[pod.Labels[o.load.owner()]] = time.Now()
	o.attempts++
	if pod.Status.Phase == corev1.PodSucceeded {
		o.succeeded++
	}
	return o.succeeded == len(o.load.objects)*o.load.tasks, nil
}

// object notes that a run or Job is Complete.
func (o *observation) object(event watch.Event) (bool, error) {
	now, complete := time.Now(), false
	var err error
	switch object := event.Object.(type) {
	case *batchv1.Job:
		complete, err = jobComplete(object)
	case *v1alpha1.BatchRun:
		if complete, err = o.runComplete(object); err != nil {
			return false, err
		}
	default:
		err = unexpected(event)
	}
	if !complete || err != nil {
		return false, err
	}
	name := event.Object.(client.Object).GetName()
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, known := o.complete[name]; !known {
		o.complete[name] = now
		if o.places != nil {
			<-o.places
		}
	}
	return len(o.complete) == len(o.load.objects), nil
}

func jobComplete(job *batchv1.Job) (bool, error) {
	for _, c := range job.Status.Conditions {
		switch {
		case c.Status != corev1.ConditionTrue:
		case c.Type == batchv1.JobComplete:
			return true, nil
		case c.Type == batchv1.JobFailed:
			return false, fmt.Errorf("Job %s failed: %s", job.Name, c.Message)
		}
	}
	return false, nil
}

func (o *observation) runComplete(run *v1alpha1.BatchRun) (bool, error) {
	text, err := json.Marshal(run.Status)
	if err != nil {
		return false, err
	}
	o.status, o.largest = len(text), max(o.largest, len(text))
	if c := meta.FindStatusCondition(run.Status.Conditions, v1alpha1.ConditionFailed); c != nil && c.Status == metav1.ConditionTrue {
		return false, fmt.Errorf("run %s failed: %s", run.Name, c.Message)
	}
	if !meta.IsStatusConditionTrue(run.Status.Conditions, v1alpha1.ConditionComplete) {
		return false, nil
	}
	if got, want := int(run.Status.Succeeded), o.load.tasks; got != want {
		return false, fmt.Errorf("run %s is complete with %d tasks succeeded, of %d", run.Name, got, want)
	}
	return true, nil
}

// unexpected is an error for events that say that the watch cannot go on.
func unexpected(event watch.Event) error {
	if status, ok := event.Object.(*metav1.Status); ok {
		return fmt.Errorf("watching: %s", status.Message)
	}
	return nil
}
