package plan

import (
	"slices"
	"time"

	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/controllers/ledger"
	"github.com/batchrun/batchrun/controllers/parameters"
)

const (
	// MaxStartsAtOnce bounds the waves that one plan starts. The next plan goes on once these are recorded.
	MaxStartsAtOnce = 250
	// maxWaveTasks bounds the tasks of a packed wave: the Job controller looks at one Job at a time, and what a wave
	// carries waits for nothing else.
	maxWaveTasks = 1000
	// fewWaves is about how many waves the first attempts of a run take at most. A wave carries as many tasks as can
	// start at once; in a run of more tasks than this times its parallelism, more, which the Job controller starts one
	// after the other.
	fewWaves = 500
	// Lookahead is for how long a wave has tasks to start at the pace at which attempts ended lately. Each Job costs its
	// controller some Events and updates; but what a wave carries starts with the template that it was made of, and
	// before retries that are due meanwhile.
	Lookahead = 20 * time.Second
	// GatherInterval is for how long free places are gathered before a wave fills them, so that a wave has many tasks.
	// A quarter of all places is filled at once.
	GatherInterval = 4 * time.Second
)

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
	if p.halted() || p.Tasks == nil || p.strays() || p.Status.Waves.Next != p.Run.Status.Waves.Next {
		return // what was started before is recorded first
	}
	retries, fresh := p.startable()
	room := p.parallelism() - p.shares()
	if len(retries)+len(fresh) == 0 || room <= 0 || !p.gathered(room) {
		return
	}
	for _, tasks := range p.alike(retries) {
		room -= p.startWaves(tasks, room)
	}
	p.startWaves(fresh, room-p.backlog())
}

// startable are the tasks that may start now, ascending: those that were tried before, and the others.
func (p *planner) startable() (retries, fresh []int) {
	eligible := p.present
	if p.piloting() && !p.pilot().Minus(p.in(ledger.Succeeded)).Empty() {
		eligible = p.pilot()
	}
	busy := p.busy()
	for task := range p.Ledger.In(ledger.Pending) {
		t := p.Ledger[task]
		if p.ledger[task] != t || !eligible.Contains(task) || busy.Contains(task) {
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
	if len(p.Ledger) == 0 { // nothing is stored yet: every task is new
		fresh = slices.Collect(eligible.Minus(busy).All())
	}
	return retries, fresh
}

// alike sorts tasks by how often their memory grew: those of one wave have the same memory.
func (p *planner) alike(tasks []int) [][]int {
	sorted := slices.Clone(tasks)
	slices.SortStableFunc(sorted, func(a, b int) int { return int(p.ledger[a].Growth) - int(p.ledger[b].Growth) })
	var groups [][]int
	for from := 0; from < len(sorted); {
		to := from
		for to < len(sorted) && p.ledger[sorted[to]].Growth == p.ledger[sorted[from]].Growth {
			to++
		}
		groups = append(groups, sorted[from:to])
		from = to
	}
	return groups
}

// startWaves starts tasks that are alike, ascending, and returns how many of them at once.
func (p *planner) startWaves(tasks []int, room int) (started int) {
	for len(tasks) > 0 && started < room && len(p.Start) < MaxStartsAtOnce {
		wave := p.newWave(tasks, room-started)
		wave.Number = int(p.Status.Waves.Next) + len(p.Start)
		wave.Parallelism = min(room-started, wave.Tasks.Len())
		wave.Attempts = p.Ledger.Numbers(wave.Tasks)
		wave.Growth = int(p.ledger[tasks[0]].Growth)
		p.Start = append(p.Start, wave)
		started += wave.Parallelism
		tasks = tasks[wave.Tasks.Len():]
	}
	return started
}

// newWave is a wave of the first of these tasks: of all that start at once, of those that start within Lookahead, or of a
// small part of the run, whichever is most. Where tasks cannot be packed it has one task, unless the tasks' positions in the wave are their indexes.
func (p *planner) newWave(tasks []int, room int) NewWave {
	packing := p.packing()
	size := min(len(tasks), max(room, p.ahead(), (p.present.Len()+fewWaves-1)/fewWaves), maxWaveTasks)
	if !p.Status.Waves.Sweep && tasks[0] == 0 {
		if !packing.OK {
			size = len(tasks)
		}
		last := 0
		for last+1 < size && tasks[last+1] == last+1 {
			last++
		}
		if last+1 == size || !packing.OK {
			return NewWave{Tasks: indexset.Interval(0, last)}
		}
	}
	if packing.OK && size > 1 {
		if set, table, ok := parameters.Fit(p.Tasks, tasks, size); ok && set.Len() > 1 {
			return NewWave{Tasks: set, Table: table, Parameters: parameters.Row{Names: p.Tasks.Row(tasks[0]).Names}}
		}
	}
	return NewWave{Tasks: indexset.Of(tasks[0]), Parameters: p.Tasks.Row(tasks[0])}
}

// ahead is how many tasks start within Lookahead if attempts go on to end as they did since the last step.
func (p *planner) ahead() int {
	since := p.now.Sub(p.LastStep.At)
	if p.LastStep.At.IsZero() || since <= 0 {
		return 0
	}
	pace := float64(Ended(&p.Status)-p.LastStep.Ended) / since.Seconds()
	return int(min(pace*Lookahead.Seconds(), maxWaveTasks))
}

// gathered is true when it is time to fill the room that there is.
func (p *planner) gathered(room int) bool {
	if ready := p.LastStep.At.Add(GatherInterval); 4*room < p.parallelism() && p.now.Before(ready) {
		p.wake(ready)
		return false
	}
	return true
}

// busy are the tasks that an existing wave may still run.
func (p *planner) busy() indexset.Set {
	var busy indexset.Set
	for i := range p.Waves {
		if !p.retired(&p.Waves[i]) {
			busy = busy.Union(p.Waves[i].unfinished())
		}
	}
	return busy
}

// retired is true for a wave that was stopped for good: it runs nothing, and nothing that it could run is for it to run.
func (p *planner) retired(w *Wave) bool {
	if !w.Suspended || !w.Stopped {
		return false
	}
	return p.wanted(w) == 0
}

// strays is true while a wave of tasks that the run had before it was made another kind of run may have pods, and while
// the name of a wave that is to be started belongs to a Job that cannot be read.
func (p *planner) strays() bool {
	return slices.ContainsFunc(p.Waves, func(w Wave) bool { return w.Foreign && !w.unfinished().Empty() && !w.Stopped }) ||
		slices.ContainsFunc(p.Unreadable, func(w Wave) bool { return w.Number >= int(p.Run.Status.Waves.Next) })
}

// shares is how many tasks the existing waves can have active at once.
func (p *planner) shares() int {
	sum := p.leavingTasks()
	for i := range p.Waves {
		if !p.retired(&p.Waves[i]) {
			sum += p.Waves[i].share()
		}
	}
	return sum
}

// leavingTasks is how many tasks may still have a pod of a Job that is gone.
func (p *planner) leavingTasks() int {
	sum := 0
	for _, number := range p.Leaving {
		for _, t := range p.ledger {
			if t.In(number) {
				sum++
			}
		}
	}
	return sum
}

// wanted is how many tasks a wave may still run and shall, by the stored ledger.
func (p *planner) wanted(w *Wave) int {
	n := 0
	for task := range w.unfinished().All() {
		if p.mayRun(w, task) {
			n++
		}
	}
	return n
}

// wantedPods is how many pods of a wave that has unwanted tasks are of wanted ones. All its pods are observed then.
func (p *planner) wantedPods(w *Wave) int {
	n := 0
	for _, pod := range w.Pods {
		if !pod.Ended && pod.Deleting.IsZero() && p.mayRun(w, pod.Task) {
			n++
		}
	}
	return n
}

// resumes is true for a suspended wave that goes on once the run does: it carries tasks, all that it would start are
// wanted, and the template is still the one it was made of. The tasks of others go on in another wave.
func (p *planner) resumes(w *Wave) bool {
	if p.doomed(w) || w.Outdated || p.wanted(w) < w.unfinished().Len() && w.Stopped {
		return false
	}
	for task := range w.unfinished().All() {
		if p.present.Contains(task) && p.carriedBy(w, task) {
			return true
		}
	}
	return false
}

// backlog is how many tasks of the existing waves wait for room.
func (p *planner) backlog() int {
	sum := 0
	for i := range p.Waves {
		if w := &p.Waves[i]; !w.Deleting && !w.Suspended && w.Queue == "" {
			sum += max(0, p.wanted(w)-w.Parallelism)
		}
	}
	return sum
}

// hold brings the Jobs of the unfinished waves to what the spec says now: suspended or not, and how many pods.
func (p *planner) hold() {
	p.dropPods()
	room := p.parallelism() - p.leavingTasks()
	for _, w := range p.Start {
		room -= w.Parallelism
	}
	// The highest waves go first; what they leave is for the waves below.
	wanted, shares := make([]int, len(p.Waves)), make([]int, len(p.Waves))
	for i := len(p.Waves) - 1; i >= 0; i-- {
		if p.Waves[i].Queue != "" {
			continue // it has its share, as others that nobody takes their places from
		}
		wanted[i] = p.wanted(&p.Waves[i])
		shares[i] = max(0, min(p.Waves[i].Parallelism, wanted[i], room))
		room -= shares[i]
	}
	for i := range p.Waves { // pods that are not wanted any more take their places until they are gone
		if !p.retired(&p.Waves[i]) {
			room -= max(0, p.Waves[i].share()-shares[i])
		}
	}
	fill, excess := room > 0 && p.gathered(room), p.excess()
	for i := len(p.Waves) - 1; i >= 0; i-- {
		w := &p.Waves[i]
		if w.Queue != "" {
			excess -= p.holdQueued(w, excess)
			continue
		}
		if w.Deleting || w.unfinished().Empty() || w.Suspended && !p.resumes(w) {
			continue
		}
		share := shares[i]
		if fill {
			share += max(0, min(room, wanted[i]-share))
			room -= share - shares[i]
		}
		parallelism := w.Parallelism
		if share > parallelism || share < min(parallelism, wanted[i]) { // more than it can use does no harm
			parallelism = share
		}
		// It would start tasks that it is not to run any more. (Where it has many others to start, dropPods stops those.)
		stray := wanted[i] < w.unfinished().Len() && w.Active+w.Terminating < w.unfinished().Len() && wanted[i] <= parallelism
		if stray {
			parallelism = min(parallelism, p.wantedPods(w))
		}
		idle := stray && w.Active+w.Terminating == 0
		renewed := w.Outdated && w.Idle() // its tasks go on with the present template; perhaps that one has no pods created
		if suspend := p.halted() || idle || renewed || p.doomed(w); suspend != w.Suspended || parallelism != w.Parallelism {
			p.Adjust = append(p.Adjust, Adjustment{Wave: *w, Parallelism: parallelism, Suspend: suspend})
		}
	}
}

// dropPods takes away the pods of tasks whose attempt is recorded as ended, or that the run no longer has; and the whole
// Job where it has no others.
func (p *planner) dropPods() {
	for i := range p.Waves {
		w := &p.Waves[i]
		if w.Number >= int(p.Run.Status.Waves.Next) || w.Deleting {
			continue // not recorded yet, so neither are its tasks
		}
		if w.Queue != "" && p.wanted(w) == 0 {
			continue // its Job is deleted, and its pods with it
		}
		if p.doomed(w) {
			if w.Stopped && w.Succeeded.Empty() && w.Failed.Empty() {
				p.DeleteJobs = append(p.DeleteJobs, *w)
			}
			continue // it is suspended, which takes its pods away
		}
		for _, pod := range w.Pods {
			if !p.mayRun(w, pod.Task) && !pod.Ended && pod.Deleting.IsZero() {
				p.DeletePods = append(p.DeletePods, pod)
			}
		}
	}
}

// mayRun is true while it is for the wave to run the task, by the stored ledger.
func (p *planner) mayRun(w *Wave, task int) bool {
	return p.present.Contains(task) && p.Unrecorded(w, task)
}

// doomed is true for a wave that is to stop for good: it is another kind of run's, or it has nothing left to run and no
// attempt of it ended or was given up.
func (p *planner) doomed(w *Wave) bool {
	if w.unfinished().Empty() || w.Number >= int(p.Run.Status.Waves.Next) {
		return false
	}
	if w.Foreign || !w.Succeeded.Empty() || !w.Failed.Empty() {
		return w.Foreign
	}
	for task := range w.Tasks.Intersect(p.present).All() {
		if t := p.ledger[task]; p.mayRun(w, task) || t.State == ledger.Failed || t.Attempts() > 0 {
			return false
		}
	}
	return true
}
