package plan

import (
	"slices"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/ledger"
)

// clean deletes the Jobs of a finished run, and with them their pods, after the time to live; and the run itself after
// that of the record.
func (p *planner) clean() {
	if p.Run.Status.CompletionTime == nil || !p.finished() { // what is not recorded as finished stays
		return
	}
	finishedAt := p.Run.Status.CompletionTime.Time
	if ttl, ok := p.spec.RecordTTL(); ok {
		if deadline := finishedAt.Add(ttl); p.now.Before(deadline) {
			p.wake(deadline)
		} else {
			p.DeleteRun = true
			return
		}
	}
	deadline := finishedAt.Add(p.ttl())
	if p.now.Before(deadline) {
		p.wake(deadline)
		return
	}
	p.Adjust, p.DeletePods, p.DeleteJobs = nil, nil, nil
	for _, w := range slices.Concat(p.Waves, p.Unreadable) {
		if !w.Deleting {
			p.DeleteJobs = append(p.DeleteJobs, w)
		}
	}
	if len(p.Waves)+len(p.Unreadable) == 0 && p.Status.CleanupTime == nil {
		p.Status.CleanupTime = stamp(p.now)
		// Should new tasks open the run again, what was stopped halfway starts anew: nobody else deleted it.
		for task := range p.ledger.In(ledger.Active) {
			p.putBack(task)
		}
		p.Status.Waves.Open = ""
		p.event(false, v1alpha1.RunCleanedUp, "the run's Jobs are deleted, and with them their pods; its record stays")
	}
}
