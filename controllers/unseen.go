package controllers

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// unseenDelay is for how long the last state of a pod or Job that is gone may still be on its way to the cache.
	unseenDelay = 3 * time.Second
	// shownDelay is the same where the cache still shows it, and so is to hear of its end.
	shownDelay = 5 * time.Minute
)

// unseen are the ends of a run's attempts that nothing tells of yet: of each since when. What is not told within a while
// never is: it came about while no operator watched.
type unseen struct {
	now           time.Time
	before, since map[gone]time.Time
}

// gone is a pod that is gone, by its Job and completion index, or a Job, by its run and name.
type gone struct {
	of   types.UID
	name string
}

// newUnseen goes on from what was unseen at the last look.
func newUnseen(before map[gone]time.Time, now time.Time) *unseen {
	return &unseen{now: now, before: before, since: map[gone]time.Time{}}
}

// until is when the wait for it ends, so long after it was first seen to be gone.
func (u *unseen) until(g gone, delay time.Duration) time.Time {
	since, ok := u.before[g]
	if !ok || since.After(u.now) { // the clock was put back
		since = u.now
	}
	u.since[g] = since
	return since.Add(delay)
}
