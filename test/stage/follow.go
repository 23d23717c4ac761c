package stage

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// again is when something is tried anew that the API server did not answer.
const again = time.Second

// follower hands on what changes in a namespace.
type follower struct {
	client    client.WithWatch
	namespace string
	empty     client.ObjectList
	known     map[types.UID]client.Object
	changes   chan watch.Event
}

// follow are the changes of a namespace's objects until ctx ends. After the API server was away they go on where they
// were; where that is too long ago, with what there is then.
func follow(ctx context.Context, watching client.WithWatch, empty client.ObjectList, namespace string) <-chan watch.Event {
	GinkgoHelper()
	f := &follower{client: watching, namespace: namespace, empty: empty, known: map[types.UID]client.Object{}, changes: make(chan watch.Event)}
	list, err := f.now(ctx)
	Expect(err).NotTo(HaveOccurred())
	go f.follow(ctx, list)
	return f.changes
}

func (f *follower) now(ctx context.Context) (client.ObjectList, error) {
	list := f.empty.DeepCopyObject().(client.ObjectList)
	return list, f.client.List(ctx, list, client.InNamespace(f.namespace))
}

func (f *follower) follow(ctx context.Context, list client.ObjectList) {
	defer close(f.changes)
	f.catchUp(ctx, list)
	version := list.GetResourceVersion()
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		if version == "" {
			list, err := f.now(ctx)
			if err != nil {
				return
			}
			f.catchUp(ctx, list)
			version = list.GetResourceVersion()
		}
		version = f.watch(ctx, version)
	}, again)
}

// watch hands on the changes after a version until the watch ends, and returns the version it came to: none if that is
// too long ago to go on from.
func (f *follower) watch(ctx context.Context, version string) string {
	options := &client.ListOptions{Namespace: f.namespace, Raw: &metav1.ListOptions{ResourceVersion: version, AllowWatchBookmarks: true}}
	events, err := f.client.Watch(ctx, f.empty, options)
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return ""
	}
	if err != nil {
		return version
	}
	defer events.Stop()
	for event := range events.ResultChan() {
		object, ok := event.Object.(client.Object)
		if !ok {
			return "" // an error; what it means for the version does not matter
		}
		version = object.GetResourceVersion()
		if event.Type != watch.Bookmark && !f.send(ctx, event.Type, object) {
			break
		}
	}
	return version
}

// catchUp hands on what the list shows.
func (f *follower) catchUp(ctx context.Context, list client.ObjectList) {
	items, err := meta.ExtractList(list)
	if err != nil {
		return // never, the list is typed
	}
	gone := f.known
	f.known = map[types.UID]client.Object{}
	for _, item := range items {
		object := item.(client.Object)
		delete(gone, object.GetUID())
		f.send(ctx, watch.Modified, object)
	}
	for _, object := range gone {
		f.send(ctx, watch.Deleted, object)
	}
}

func (f *follower) send(ctx context.Context, change watch.EventType, object client.Object) bool {
	f.known[object.GetUID()] = object
	if change == watch.Deleted {
		delete(f.known, object.GetUID())
	}
	select {
	case f.changes <- watch.Event{Type: change, Object: object}:
		return true
	case <-ctx.Done():
		return false
	}
}

// unanswered is true where the API server did not say whether it will do what it was asked.
func unanswered(err error) bool {
	return err != nil && (apierrors.ReasonForError(err) == metav1.StatusReasonUnknown || apierrors.IsInternalError(err) ||
		apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsTooManyRequests(err))
}
