package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/outcome"
)

const (
	// maxWait is for how long a log that cannot be read again waits for room in the spool. Then what there is of it is
	// stored, which makes room.
	maxWait = time.Minute
	// lookForRoom is how often what waits for room looks whether it still is to.
	lookForRoom = 5 * time.Second
	// maxYield is the longest time until a log is read again that made room for others.
	maxYield = time.Minute
)

// errYield says that what was read of a pod's logs makes room for those of others, and is read again later.
var errYield = errors.New("it makes room for other logs")

// roomFor does what needs room in the spool, as soon as there is. While a pod runs it waits, and with it the kubelet's
// stream. Logs that can be read again yield to the first of those that wait: else each would have some of the room, and
// none could be stored.
func (c *Collector) roomFor(ctx context.Context, t *tracked, do func() error) error {
	var deadline time.Time
	for {
		room := c.spool.room()
		err := do()
		if !errors.Is(err, errSpoolFull) {
			return err
		}
		c.fails(t.attempt.RunUID, fmt.Errorf("%w: --log-archive-spool-bytes is %d", err, c.spool.limit))
		again, yields := c.standing(t)
		switch {
		case yields:
			return errYield
		case again:
		case deadline.IsZero():
			deadline = time.Now().Add(maxWait)
		case time.Now().After(deadline):
			return err
		}
		timer := time.NewTimer(lookForRoom)
		select {
		case <-room:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		timer.Stop()
	}
}

// standing tells whether the logs of a pod can be read later as well, and whether they yield.
func (c *Collector) standing(t *tracked) (again, yields bool) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if t.pod == nil || t.isGone() {
		return false, false
	}
	if !outcome.Ended(t.pod) {
		return true, false
	}
	if o := outcome.Of(t.pod); o.Disruption || o.Reason == v1alpha1.ReasonEvicted {
		return false, false
	}
	if !slices.Contains(c.blocked, t) {
		c.blocked = append(c.blocked, t)
	}
	return true, c.blocked[0] != t
}

// yield drops what was read of a pod that has ended, and waits until there may be room to read it again.
func (c *Collector) yield(ctx context.Context, t *tracked) {
	known := state{Attempt: t.attempt, Logs: map[string]sealedFile{}}
	if t.had == nil {
		t.had = map[string]int64{}
	}
	for _, f := range t.followers {
		t.had[f.info.Name] = max(t.had[f.info.Name], f.size())
		known.Logs[f.info.Name] = f.logFile.seal()
	}
	if err := c.spool.remove(t.uid); err != nil {
		logf.FromContext(ctx).Error(err, "removing a log from the spool", "pod", t.attempt.Pod)
	}
	if t.entered {
		c.spool.give(known.room())
	}
	c.mutex.Lock()
	delete(c.open, t)
	c.blocked = slices.DeleteFunc(c.blocked, func(other *tracked) bool { return other == t })
	t.followers, t.entered, t.restored = nil, false, false
	c.mutex.Unlock()
	room := c.spool.room()
	t.yielded = min(max(2*t.yielded, lookForRoom), maxYield)
	timer := time.NewTimer(t.yielded)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.gone:
		return
	case <-ctx.Done():
		return
	}
	select {
	case <-room:
	case <-t.gone:
	case <-ctx.Done():
	}
}
