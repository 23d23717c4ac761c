package archive

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/plan"
)

const (
	// failingAfter is how long storing may go wrong before the run speaks of it.
	failingAfter = 10 * time.Second
	// notifyInterval is how often it is looked which runs have something new to say.
	notifyInterval = time.Second
)

// tally is how the logs of a run fare.
type tally struct {
	namespace, name string
	// begun is since when it is counted.
	begun time.Time
	state plan.Archived
	// failing is what goes wrong with storing logs, since when.
	failing string
	since   time.Time
	told    saying
}

// saying is what a run says of its logs.
type saying struct {
	incomplete int
	failing    bool
	settled    bool
}

func (t *tally) says(now time.Time, waiting int) saying {
	settled := t.state.Pending+waiting == 0
	return saying{t.state.Incomplete, !settled && t.fails(now), settled}
}

// claimedRun is the run that a pod belongs to by its labels, which anybody can write in the pod's own namespace only.
type claimedRun struct {
	namespace string
	uid       types.UID
}

// waitingByRun is how many pods of each run have been seen and not looked at yet; the mutex is held.
func (c *Collector) waitingByRun() map[claimedRun]int {
	waiting := map[claimedRun]int{}
	for _, t := range c.pods {
		if !t.counted {
			waiting[claimedRun{t.pod.Namespace, types.UID(t.pod.Labels[v1alpha1.LabelRunUID])}]++
		}
	}
	return waiting
}

func (t *tally) fails(now time.Time) bool { return t.failing != "" && now.Sub(t.since) >= failingAfter }

// tallyOf is the run's of an attempt; the mutex is held.
func (c *Collector) tallyOf(a Attempt) *tally {
	t := c.runs[a.RunUID]
	if t == nil {
		t = &tally{namespace: a.Namespace, name: a.Run, begun: time.Now()}
		c.runs[a.RunUID] = t
	}
	return t
}

// begins counts an attempt whose logs are to be stored.
func (c *Collector) begins(t *tracked) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if !t.counted {
		t.counted = true
		c.tallyOf(t.attempt).state.Pending++
	}
}

// known has the run of an attempt that is stored already, if it is one, say how its logs fare: an earlier operator may not
// have come to it.
func (c *Collector) known(a Attempt) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if a.RunUID != "" {
		c.tallyOf(a).failing = ""
	}
}

// ends counts an attempt whose logs are stored, or not wanted, or lost.
func (c *Collector) ends(a Attempt) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if t := c.runs[a.RunUID]; t != nil {
		if t.state.Pending--; t.state.Pending <= 0 {
			t.state.Pending, t.failing = 0, ""
		}
	}
}

// succeeds counts an attempt that was stored.
func (c *Collector) succeeds(a Attempt) {
	result, why := resultStored, ""
	for _, container := range a.Containers {
		bytesTotal.Add(float64(container.Bytes))
		if container.Partial {
			result, why = resultIncomplete, fmt.Sprintf("%scontainer %s: %s", which(a), container.Name, container.Message)
		}
	}
	if why != "" {
		c.lacks(a, why)
	}
	attemptsTotal.WithLabelValues(result).Inc()
	c.mutex.Lock()
	defer c.mutex.Unlock()
	t := c.tallyOf(a)
	t.state.Stored++
	t.failing = ""
}

// lacks notes that the log of an attempt is not whole, or lost.
func (c *Collector) lacks(a Attempt, why string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	t := c.tallyOf(a)
	t.state.Incomplete++
	t.state.Lacks = why
}

// fails notes what goes wrong with storing logs of a run.
func (c *Collector) fails(run types.UID, err error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	t := c.runs[run]
	if t == nil {
		return
	}
	if t.failing == "" {
		t.since = time.Now()
	}
	t.failing = err.Error()
}

// State tells how the logs of a run fare; nil where nothing is known of them. It waits for nothing.
func (c *Collector) State(run types.UID) *plan.Archived {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	t := c.runs[run]
	if t == nil {
		return nil
	}
	state := t.state
	state.Pending += c.waitingByRun()[claimedRun{t.namespace, run}]
	if state.Pending > 0 && t.fails(time.Now()) {
		state.Failing = t.failing
	}
	return &state
}

// Changes tells of runs with something new to say of their logs.
func (c *Collector) Changes() <-chan event.TypedGenericEvent[*v1alpha1.BatchRun] { return c.changes }

func (c *Collector) notify(ctx context.Context) {
	every(ctx, notifyInterval, func() {
		for _, run := range c.news() {
			select {
			case c.changes <- event.TypedGenericEvent[*v1alpha1.BatchRun]{Object: run}:
			case <-ctx.Done():
				return
			}
		}
	})
}

func (c *Collector) news() []*v1alpha1.BatchRun {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	var runs []*v1alpha1.BatchRun
	now, waiting := time.Now(), c.waitingByRun()
	for uid, t := range c.runs {
		if says := t.says(now, waiting[claimedRun{t.namespace, uid}]); says != t.told {
			t.told = says
			runs = append(runs, &v1alpha1.BatchRun{ObjectMeta: metav1.ObjectMeta{Namespace: t.namespace, Name: t.name}})
		}
	}
	return runs
}
