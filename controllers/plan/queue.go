package plan

import (
	"fmt"
	"strings"
	"time"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/parameters"
	"github.com/batchrun/batchrun/controllers/queues"
)

// queueInterval is how often to look why a queue lets a run wait.
const queueInterval = time.Minute

// Queued is true for a wave that waits for whoever else than the operator decides when it runs.
func (w *Wave) Queued() bool { return w.Queue != "" && w.Suspended && w.Active == 0 && !w.Deleting }

// queued is the first wave that waits for a queue, where no other has anything active; nil where the run does not wait.
func (p *planner) queued() *Wave {
	var first *Wave
	open := p.openWaves()
	for i := range p.Waves {
		w := &p.Waves[i]
		if !open.Contains(w.Number) || w.unfinished().Empty() {
			continue
		}
		if !w.Queued() {
			return nil
		}
		if first == nil {
			first = w
		}
	}
	return first
}

// queueing says what a wave waits for.
func (p *planner) queueing(w *Wave) (reason, message string) {
	next := w.Created.Add(IdleAfter)
	if !next.After(p.now) {
		next = p.now.Add(queueInterval)
	}
	p.wake(next)
	message = fmt.Sprintf("Job %s is suspended and waits for %s", w.Name, w.Queue)
	if p.QueueSays != "" {
		message += ": " + p.QueueSays
	}
	return v1alpha1.RunQueued, message
}

// holdQueued stops a wave of a queue that is not to go on. To suspend its Job, or to take places from it, would be of no
// use: Kueue resumes a Job that it admitted, and takes one whose parallelism is another for another Job. So what the wave
// carries is put back, and once that is recorded its Job is deleted, and its pods with it. Attempts that have ended count.
// It returns how many places the wave gives back that the run has too many.
func (p *planner) holdQueued(w *Wave, excess int) (places int) {
	if w.Deleting || w.unfinished().Empty() {
		return 0
	}
	wanted := p.wanted(w)
	if wanted == 0 {
		p.DeleteJobs = append(p.DeleteJobs, *w)
		return 0
	}
	// Where it has no pods, and the spec asks for another one, it need not wait in vain.
	idle := w.Active+w.Terminating == 0
	if !p.halted() && (!idle || !w.Outdated && wanted == w.unfinished().Len() && excess <= 0) {
		return 0
	}
	for task := range w.unfinished().All() {
		if p.carriedBy(w, task) {
			p.putBack(task)
		}
	}
	return w.share()
}

// excess is how many more tasks the waves can have active than spec.parallelism allows, those left out that are to be
// gone: it was lowered, or Kueue gave a wave back what it had taken.
func (p *planner) excess() int {
	sum := p.shares() - p.parallelism()
	for i := range p.Waves {
		if w := &p.Waves[i]; w.Queue != "" && (w.Deleting || p.wanted(w) == 0) {
			sum -= w.share()
		}
	}
	return sum
}

// unpassed warns of what the run says to queues and does not pass to its Jobs.
func (p *planner) unpassed() []parameters.Warning {
	keys := queues.Ignored(p.Run)
	if len(keys) == 0 {
		return nil
	}
	return []parameters.Warning{{Reason: v1alpha1.WarningQueueSettingIgnored, Message: fmt.Sprintf(
		"metadata has %s, which speaks of one Job and is not passed to those of a run: remove it", strings.Join(keys, ", "))}}
}
