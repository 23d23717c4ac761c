package archive

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// tracked is a pod whose logs are read, or about to be.
type tracked struct {
	uid types.UID
	// Only who attends it uses these. Followers are added with the collector's mutex held.
	attempt   Attempt
	followers []*follower
	// restored is true where an earlier operator left something of it in the spool.
	restored bool
	// had is how much of its logs was read before they had to yield, yielded how long they waited then.
	had     map[string]int64
	yielded time.Duration
	// counted is true once it counts as pending, entered once it has room in the spool.
	counted, entered bool
	// late is true for a pod that had ended when it was first seen: it may be stored already.
	late bool

	// The rest is guarded by the collector's mutex.
	pod *corev1.Pod
	// left is true once the cache does not have it any more.
	left     bool
	attended bool
	queued   bool
	// changed has something once the pod changed. gone is closed once it is known to be gone.
	changed chan struct{}
	gone    chan struct{}
}

func (t *tracked) isGone() bool {
	select {
	case <-t.gone:
		return true
	default:
		return false
	}
}

// goes takes notice that the pod is gone; the mutex is held.
func (t *tracked) goes() {
	if !t.isGone() {
		close(t.gone)
	}
}
