package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// reconnectDelay is when a watch that ended is begun anew.
const reconnectDelay = time.Second

// errGone is the error for a run that was deleted while somebody followed it.
var errGone = errors.New("was deleted")

// errReplaced is the error for a run that was deleted and created anew while somebody followed it.
var errReplaced = errors.New("was deleted, and another one of this name was created")

// follow calls visit with a run as it is, and with each version of it that comes, until visit is done. It lists before
// it watches, and does so again when the connection breaks: once the run was seen, only ctx and visit end it, or the
// end of the run. Each time that it loses the cluster it says so to lost.
func (p *plugin) follow(
	ctx context.Context, c *cluster, name string, lost func(error), visit func(*v1alpha1.BatchRun) (done bool),
) error {
	var uid types.UID // of the run, once it was seen
	away := false
	for {
		list := &v1alpha1.BatchRunList{}
		byName := client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("metadata.name", name)}
		err := c.List(ctx, list, client.InNamespace(c.namespace), byName)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && (uid == "" || permanent(err)):
			return c.explained(err, name)
		case err != nil && !away:
			lost(err)
		case err != nil:
		case len(list.Items) == 0 && uid != "":
			return fmt.Errorf("run %q %w", name, errGone)
		case len(list.Items) == 0:
			return c.noRun(name)
		case uid != "" && list.Items[0].UID != uid:
			return fmt.Errorf("run %q %w", name, errReplaced)
		default:
			uid = list.Items[0].UID
			if visit(&list.Items[0]) {
				return nil
			}
			if done, err := c.watch(ctx, name, byName, list.ResourceVersion, visit); done || err != nil {
				return err
			}
		}
		away = err != nil
		if err := p.pause(ctx, reconnectDelay); err != nil {
			return err
		}
	}
}

// pause waits for a while, or until ctx ends.
func (p *plugin) pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-p.clock.After(d):
		return nil
	}
}

// noteLost tells of a lost connection.
func (p *plugin) noteLost(err error) { p.note("%s", lostText(err)) }

func lostText(err error) string {
	return fmt.Sprintf("The connection to the cluster is lost, trying again: %s", err)
}

// watch calls visit with the versions of the run after the one that was listed, until the connection ends.
func (c *cluster) watch(
	ctx context.Context, name string, byName client.ListOption, version string, visit func(*v1alpha1.BatchRun) bool,
) (done bool, err error) {
	from := &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: version}}
	events, err := c.Watch(ctx, &v1alpha1.BatchRunList{}, from, client.InNamespace(c.namespace), byName)
	if err != nil {
		if permanent(err) {
			return false, err
		}
		return false, nil // the list that follows says what is the matter
	}
	defer events.Stop()
	for event := range events.ResultChan() {
		run, ok := event.Object.(*v1alpha1.BatchRun)
		switch {
		case !ok || event.Type == watch.Bookmark:
			if event.Type == watch.Error {
				return false, nil // such as a version that is too old
			}
		case event.Type == watch.Deleted:
			return false, fmt.Errorf("run %q %w", name, errGone)
		case visit(run):
			return true, nil
		}
	}
	return false, nil
}

// permanent is true for errors that do not end by waiting.
func permanent(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsNotFound(err) ||
		apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || meta.IsNoMatchError(err)
}

// finished is true once the operator has said the last word about the present spec.
func finished(run *v1alpha1.BatchRun) bool {
	return run.Status.CompletionTime != nil && run.Status.ObservedGeneration == run.Generation
}
