package plan

import (
	"slices"
	"time"

	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/controllers/ledger"
)

// MaxStartsAtOnce bounds the waves that one plan starts. The next plan goes on once these are recorded.
const MaxStartsAtOnce = 100

// parallelism is how many tasks may be active at once.
func (p *planner) parallelism() int {
	limit := p.MaxParallelism
	if p.spec.Parallelism != nil {
		limit = min(limit, int(*p.spec.Parallelism))
	}
	return max(limit, 1)
}

// halted is true while no attempt may be active.
func (p *planner) halted() bool { return p.finished() || p.stopping() || p.suspended() }

// start gathers the tasks that are due into new waves, retries first, as far as spec.parallelism has room. It looks at
// the stored ledger: a task whose last attempt is not recorded yet is not pending there.
func (p *planner) start() {
	if p.halted() || p.Status.Waves.Next != p.Run.Status.Waves.Next {
		return // what was started before is recorded first
	}
	room := p.parallelism() - p.shares()
	next := int(p.Status.Waves.Next)
	if next == 0 {
		// Wave 0 carries every task, so a task's index is its completion index.
		tasks := indexset.Interval(0, len(p.ledger)-1)
		p.Start = append(p.Start, NewWave{Number: next, Tasks: tasks, Parallelism: min(room, tasks.Len())})
		return
	}
	busy := p.busy()
	var retries, fresh []int
	for task := range p.Ledger.In(ledger.Pending) {
		t := p.Ledger[task]
		if task >= len(p.ledger) || p.ledger[task] != t || busy.Contains(task) {
			continue
		}
		if due := time.Unix(int64(t.Due), 0); due.After(p.now) {
			p.wake(due)
			continue
		}
		if t.Attempts() > 0 {
			retries = append(retries, task)
		} else {
			fresh = append(fresh, task)
		}
	}
	due := slices.Concat(retries, fresh)
	for _, task := range due[:min(len(due), max(room, 0), MaxStartsAtOnce)] {
		p.Start = append(p.Start, NewWave{
			Number: next, Tasks: indexset.Of(task), Parallelism: 1, Growth: int(p.Ledger[task].Growth)})
		next++
	}
}

// busy are the tasks that an existing wave may still run.
func (p *planner) busy() indexset.Set {
	var busy indexset.Set
	for i := range p.Waves {
		busy = busy.Union(p.Waves[i].unfinished())
	}
	return busy
}

// shares is how many tasks the existing waves can have active at once.
func (p *planner) shares() int {
	sum := 0
	for i := range p.Waves {
		sum += p.Waves[i].share()
	}
	if leaving := indexset.Of(p.Leaving...); !leaving.Empty() {
		for task := range p.ledger.In(ledger.Active) {
			if leaving.Contains(int(p.ledger[task].Wave)) {
				sum++
			}
		}
	}
	return sum
}

// hold brings the Jobs of the unfinished waves to what the spec says now: suspended or not, and how many pods.
func (p *planner) hold() {
	p.dropPods()
	room := p.parallelism()
	for _, w := range p.Start {
		room -= w.Parallelism
	}
	// The highest waves carry retries, which come first; what they leave is for the waves below.
	wanted, shares := make([]int, len(p.Waves)), make([]int, len(p.Waves))
	for i := len(p.Waves) - 1; i >= 0; i-- {
		wanted[i] = p.Waves[i].unfinished().Intersect(indexset.Interval(0, len(p.ledger)-1)).Len()
		shares[i] = max(0, min(p.Waves[i].Parallelism, wanted[i], room))
		room -= shares[i]
	}
	for i := len(p.Waves) - 1; i >= 0; i-- {
		w := &p.Waves[i]
		if w.Deleting || w.unfinished().Empty() {
			continue
		}
		share := shares[i] + max(0, min(room, wanted[i]-shares[i]))
		room -= share - shares[i]
		parallelism := w.Parallelism
		// More than it can use does no harm, unless it would start tasks that the run no longer has.
		if share > parallelism || share < min(parallelism, wanted[i]) || wanted[i] < w.unfinished().Len() {
			parallelism = share
		}
		if suspend := p.halted(); suspend != w.Suspended || parallelism != w.Parallelism {
			p.Adjust = append(p.Adjust, Adjustment{Wave: *w, Parallelism: parallelism, Suspend: suspend})
		}
	}
}

// dropPods takes away the pods of tasks whose attempt is recorded as ended, or that the run no longer has.
func (p *planner) dropPods() {
	for i := range p.Waves {
		if p.Waves[i].Number >= int(p.Run.Status.Waves.Next) {
			continue // not recorded yet, so neither are its tasks
		}
		for _, pod := range p.Waves[i].Pods {
			wanted := pod.Task < len(p.ledger) && p.Unrecorded(&p.Waves[i], pod.Task)
			if !wanted && !pod.Ended && pod.Deleting.IsZero() {
				p.DeletePods = append(p.DeletePods, pod)
			}
		}
	}
}
