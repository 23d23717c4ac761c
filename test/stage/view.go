package stage

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
)

// View is how an operator's cache sees the API server: late, with gaps, or as it was once.
type View struct {
	// Late is for how long each event is held back, with those behind it; nil is not at all.
	Late func(object runtime.Object) time.Duration
	// Misses is true for events that never arrive; nil misses none. As in a real cache the gap is closed in the end: the
	// watch expires GapCloses later, and what there is then is listed anew.
	Misses func(event watch.Event) bool
	// Past are the versions that lists show for now, by the kind of their objects: "*v1.Job". See Thaw.
	Past map[string]string

	thaw   sync.Once
	thawed chan struct{}
	init   sync.Once
}

// GapCloses is when a cache that missed something lists everything anew.
const GapCloses = 2 * time.Second

// Thaw ends that the cache shows the Past: it sees everything that happened since.
func (v *View) Thaw() { v.thaw.Do(func() { close(v.frozen()) }) }

func (v *View) frozen() chan struct{} {
	v.init.Do(func() { v.thawed = make(chan struct{}) })
	return v.thawed
}

// informer makes an informer that sees what the view shows. Its type is that of cache.Options.NewInformer.
func (v *View) informer(
	lw toolscache.ListerWatcher, object runtime.Object, resync time.Duration, indexers toolscache.Indexers,
) toolscache.SharedIndexInformer {
	seen := &watches{ListerWatcherWithContext: toolscache.ToListerWatcherWithContext(lw), view: v, kind: fmt.Sprintf("%T", object)}
	return toolscache.NewSharedIndexInformer(seen, object, resync, indexers)
}

// watches are the lists and watches of one kind as a view shows them.
type watches struct {
	toolscache.ListerWatcherWithContext
	view *View
	kind string
}

// IsWatchListSemanticsUnSupported has the informer list first, then watch.
func (w *watches) IsWatchListSemanticsUnSupported() bool { return true }

// List implements toolscache.ListerWatcher.
func (w *watches) List(options metav1.ListOptions) (runtime.Object, error) {
	return w.ListWithContext(context.Background(), options)
}

// Watch implements toolscache.ListerWatcher.
func (w *watches) Watch(options metav1.ListOptions) (watch.Interface, error) {
	return w.WatchWithContext(context.Background(), options)
}

// ListWithContext implements toolscache.ListerWithContext.
func (w *watches) ListWithContext(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	if version := w.view.Past[w.kind]; version != "" {
		select {
		case <-w.view.frozen():
		default:
			options = metav1.ListOptions{ResourceVersion: version, ResourceVersionMatch: metav1.ResourceVersionMatchExact}
		}
	}
	return w.ListerWatcherWithContext.ListWithContext(ctx, options)
}

// WatchWithContext implements toolscache.WatcherWithContext.
func (w *watches) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	if w.view.Past[w.kind] != "" {
		select {
		case <-w.view.frozen():
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	options.SendInitialEvents = nil
	events, err := w.ListerWatcherWithContext.WatchWithContext(ctx, options)
	if err != nil {
		return nil, err
	}
	shown := make(chan watch.Event)
	proxy := watch.NewProxyWatcher(shown)
	go w.view.show(events, shown, proxy.StopChan())
	return proxy, nil
}

// arrival is an event and when it is to be shown.
type arrival struct {
	watch.Event
	due time.Time
}

// backlog is how many events may be held back at once.
const backlog = 10000

// show hands on the events of a watch until either side ends it.
func (v *View) show(events watch.Interface, shown chan<- watch.Event, stop <-chan struct{}) {
	defer close(shown)
	arrivals := make(chan arrival, backlog)
	go v.note(events, arrivals, stop)
	for a := range arrivals {
		wait := time.NewTimer(time.Until(a.due))
		select {
		case <-wait.C:
		case <-stop:
			return
		}
		select {
		case shown <- a.Event:
		case <-stop:
			return
		}
	}
}

// note reads the events of a watch, and leaves out those that are missed.
func (v *View) note(events watch.Interface, arrivals chan<- arrival, stop <-chan struct{}) {
	defer events.Stop()
	defer close(arrivals)
	var closes <-chan time.Time
	for {
		select {
		case <-stop:
			return
		case <-closes:
			expired := apierrors.NewResourceExpired("a test said so").Status()
			arrivals <- arrival{Event: watch.Event{Type: watch.Error, Object: &expired}}
			return
		case event, ok := <-events.ResultChan():
			if !ok {
				return
			}
			if v.Misses != nil && event.Type != watch.Bookmark && event.Type != watch.Error && v.Misses(event) {
				if closes == nil {
					closes = time.After(GapCloses)
				}
				continue
			}
			a := arrival{Event: event}
			if v.Late != nil {
				a.due = time.Now().Add(v.Late(event.Object))
			}
			arrivals <- a
		}
	}
}
