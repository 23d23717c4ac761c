package plan

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/controllers/ledger"
	"github.com/batchrun/batchrun/controllers/outcome"
	"github.com/batchrun/batchrun/controllers/parameters"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// world is an API server with one run, a Job controller and a kubelet, in memory. Nothing in it happens by itself: a
// test ends attempts, lets the Job controller sync, and reconciles.
type world struct {
	run     *v1alpha1.BatchRun
	version int
	now     time.Time
	limits  Limits
	jobs    map[int]*simJob
	// revisions are the recorded versions of spec.parameters.
	revisions []*v1alpha1.Parameters
	// packing is whether the policy is there, as the operator sees it; noPolicy that it is not there in truth.
	packing  Packing
	noPolicy bool
	lastStep Step
	// queue is whether a queue suspends the Jobs that are created, and decides when they run.
	queue bool
	uids  int
	// foreign are the numbers of waves whose names objects of others have.
	foreign map[int]bool
	events  []Event
	writes  int
	deleted bool
	// ended has every attempt that a Job counted, by reason; waited those whose pods waited for something that fails.
	ended, waited map[v1alpha1.Reason]int
	// undelivered is how many pods that never ran, as their parameters were missing, Jobs counted as failed.
	undelivered int
	// written is called with each status before it is stored.
	written func(old, status *v1alpha1.BatchRunStatus)
	// podSucceeded is called for each pod that succeeds.
	podSucceeded func(task int)
	// jobCleaned is called for each Job that the operator deletes, before it is gone.
	jobCleaned func(job *simJob)
}

// simJob is the Job of a wave and its pods by task.
type simJob struct {
	number            int
	uid               types.UID
	tasks             indexset.Set
	growth            int
	parallelism       int
	suspended         bool
	succeeded, failed map[int]bool
	pods              map[int]*Pod
	created           time.Time
	deleting          bool
	trouble           Trouble
	outdated          bool
	sweep             bool
	queue             bool
	wave              NewWave
}

func newWorld(edits ...func(*v1alpha1.BatchRunSpec)) *world {
	run := &v1alpha1.BatchRun{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "r", UID: "run"}}
	w := &world{
		run: run, now: epoch, limits: Limits{MaxParallelism: 1000}, packing: Packing{OK: true, Reason: v1alpha1.PackedPolicyInstalled}, jobs: map[int]*simJob{}, foreign: map[int]bool{},
		ended: map[v1alpha1.Reason]int{}, waited: map[v1alpha1.Reason]int{},
		written: func(_, _ *v1alpha1.BatchRunStatus) {}, podSucceeded: func(int) {}, jobCleaned: func(*simJob) {},
	}
	w.edit(edits...)
	return w
}

// edit changes the spec as a user does.
func (w *world) edit(edits ...func(*v1alpha1.BatchRunSpec)) {
	run := w.run.DeepCopy()
	for _, edit := range edits {
		edit(&run.Spec)
	}
	run.Generation++
	w.put(run)
}

func (w *world) put(run *v1alpha1.BatchRun) {
	w.version++
	run.ResourceVersion = strconv.Itoa(w.version)
	w.run = run
}

// view is what the operator's cache holds.
type view struct {
	run       *v1alpha1.BatchRun
	jobs      map[int]*simJob
	revisions []*v1alpha1.Parameters
}

// fresh is a cache that is up to date.
func (w *world) fresh() view {
	jobs := map[int]*simJob{}
	for number, job := range w.jobs {
		jobs[number] = job.clone()
	}
	return view{w.run.DeepCopy(), jobs, slices.Clone(w.revisions)}
}

// snapshot is what observe makes of a cache, with its look-ups on the API server.
func (w *world) snapshot(v view) Snapshot {
	stored, err := ledger.Decode(v.run.Status.Waves.Ledger)
	if err != nil {
		panic(err)
	}
	open, err := indexset.Parse(v.run.Status.Waves.Open)
	if err != nil {
		panic(err)
	}
	s := Snapshot{Run: v.run, Ledger: stored, Limits: w.limits, Packing: w.packing, LastStep: w.lastStep}
	s.Tasks = parameters.ArrayTable(v.run.Spec.TaskCount())
	if v.run.Spec.Parameters != nil {
		if s.Tasks, err = parameters.NewTable(v.revisions, v.run.Spec.Parameters); err != nil {
			s.Trouble = Trouble{Reason: v1alpha1.RunNoTasks, Message: err.Error(), Stalled: true}
		}
	}
	sweep := s.Sweep()
	next := int(v.run.Status.Waves.Next)
	highest := next - 1
	for number := range v.jobs {
		highest = max(highest, number)
	}
	for number := range highest + 1 {
		job := v.jobs[number]
		if job == nil && (number >= next || open.Contains(number)) {
			if job = w.jobs[number]; job == nil {
				s.Gone = append(s.Gone, number)
			}
		}
		if job != nil {
			s.Waves = append(s.Waves, w.wave(&s, job, next, open, sweep))
		}
	}
	return s
}

// wave is what observe makes of a Job and its pods.
func (w *world) wave(s *Snapshot, job *simJob, next int, open indexset.Set, sweep bool) Wave {
	wave := Wave{
		Number: job.number, Name: job.name(), UID: job.uid, Tasks: job.tasks,
		Succeeded: setOf(job.succeeded), Failed: setOf(job.failed),
		Parallelism: job.parallelism, Suspended: job.suspended, Active: job.uncounted(),
		Stopped: job.unfinished() == 0 || !job.queue && job.suspended && job.uncounted() == 0, Deleting: job.deleting, Created: job.created,
		Outdated: job.outdated, Packed: job.wave.Table != "", Sweep: job.sweep, Foreign: job.sweep != sweep,
	}
	if job.unfinished() == 0 {
		wave.Finished = "Complete"
	}
	if job.queue {
		wave.Queue = "the queue q"
	}
	wave.Refused = wave.Packed && !w.packing.OK && wave.Idle() && !w.now.Before(wave.Created.Add(IdleAfter))
	if job.trouble.Reason != "" {
		s.Trouble = job.trouble
	}
	if job.number < next && !open.Contains(job.number) {
		return wave
	}
	for _, task := range slices.Sorted(maps.Keys(job.pods)) {
		pod := *job.pods[task]
		switch {
		case pod.Ended && pod.Outcome.Reason == v1alpha1.ReasonCompleted: // its Job tells
		case pod.Ended || pod.Gated || pod.Waiting.Reason != "" || s.HasUnwanted(&wave):
			if live := w.jobs[job.number]; !pod.Ended && job.failed[task] && live != nil && live.pods[task] != nil && live.pods[task].Ended {
				pod = *live.pods[task]
			}
			wave.Pods = append(wave.Pods, pod)
		}
	}
	return wave
}

// act does what apply.go does, and stops after so many writes: the operator crashed. It is false if anything kept the
// operator from reporting.
func (w *world) act(v view, p *Plan, writes int) bool {
	if !p.Acts() {
		return true
	}
	if v.run.ResourceVersion != w.run.ResourceVersion {
		return false
	}
	if p.DeleteRun {
		w.deleted = true
		return false
	}
	var steps []func() bool
	for _, a := range p.Adjust {
		steps = append(steps, func() bool {
			if job := w.jobs[a.Wave.Number]; job != nil && job.uid == a.Wave.UID {
				if job.queue {
					panic("the Job of a queue is adjusted")
				}
				if a.Parallelism > job.parallelism {
					w.stepped(v)
				}
				job.parallelism, job.suspended = a.Parallelism, a.Suspend
			}
			return true
		})
	}
	for _, pod := range p.DeletePods {
		steps = append(steps, func() bool { w.deletePod(pod.UID); return true })
	}
	for _, wave := range p.DeleteJobs {
		steps = append(steps, func() bool {
			if job := w.jobs[wave.Number]; job != nil && job.uid == wave.UID {
				job.deleting = true // it stays until its pods are gone
				w.finalize(job)
			}
			return true
		})
	}
	for _, wave := range p.Start {
		steps = append(steps, func() bool { return w.create(v, wave) })
	}
	for i, step := range steps {
		if i >= writes {
			return false
		}
		if !step() {
			return false
		}
		w.writes++
	}
	return len(p.Start) == 0 || v.run.Status.Waves.Next > 0 // a run that starts is reported once its first wave is observed
}

// finalize lets a Job go that the operator deleted, once its pods are gone.
func (w *world) finalize(job *simJob) bool {
	if !job.deleting || job.queue && job.uncounted() > 0 {
		return false
	}
	w.jobCleaned(job)
	w.ended[v1alpha1.ReasonDeleted] += job.unfinished() // as the run sees it if it wants the tasks again
	delete(w.jobs, job.number)
	return true
}

func (w *world) stepped(v view) { w.lastStep = Step{At: w.now, Ended: Ended(&v.run.Status)} }

// inTheWay is the trouble that apply.go finds where a foreign Job has the name of the next wave.
var inTheWay = Trouble{Reason: v1alpha1.RunNameTaken, Message: "a Job is in the way", Stalled: true, Retry: 10 * time.Second}

// create is false where the name is taken: by the run's own Job that the cache does not show, or by a foreign one.
func (w *world) create(v view, wave NewWave) bool {
	if w.foreign[wave.Number] {
		s := w.snapshot(v)
		s.Trouble = inTheWay
		w.store(v, Make(s, w.now))
		return false
	}
	if w.jobs[wave.Number] != nil {
		return false
	}
	w.uids++
	w.stepped(v)
	w.jobs[wave.Number] = &simJob{
		number: wave.Number, uid: types.UID(fmt.Sprint("job-", w.uids)), tasks: wave.Tasks, parallelism: wave.Parallelism,
		queue: w.queue, suspended: w.queue, growth: wave.Growth, wave: wave, sweep: v.run.Spec.Parameters != nil, succeeded: map[int]bool{}, failed: map[int]bool{}, pods: map[int]*Pod{}, created: w.now,
	}
	return true
}

// store writes the status as report.go does: if it says anything new, and nobody else wrote since.
func (w *world) store(v view, p *Plan) bool {
	if sameStatus(&v.run.Status, &p.Status) || v.run.ResourceVersion != w.run.ResourceVersion {
		return false
	}
	w.written(&w.run.Status, &p.Status)
	run := w.run.DeepCopy()
	run.Status = *p.Status.DeepCopy()
	w.put(run)
	w.writes++
	w.events = append(w.events, p.Events...)
	return true
}

// record keeps the parameters of a view as the next revision, if they bring new tasks; it is true if they do.
func (w *world) record(v view, s Snapshot) bool {
	if s.Tasks == nil || s.Tasks.New() == 0 {
		return false
	}
	if v.run.ResourceVersion == w.run.ResourceVersion && len(v.revisions) == len(w.revisions) {
		w.revisions = append(w.revisions, v.run.Spec.Parameters.DeepCopy())
		w.writes++
	}
	return true
}

// reconcile observes, plans, applies and reports once.
func (w *world) reconcile() *Plan {
	v := w.fresh()
	if w.record(v, w.snapshot(v)) {
		v = w.fresh()
	}
	p := Make(w.snapshot(v), w.now)
	if w.act(v, p, 1000) {
		w.store(v, p)
	}
	return p
}

// settle reconciles, and lets the Job controller sync, until nothing happens any more at the present time.
func (w *world) settle() *Plan {
	for range 1000 {
		before := w.writes
		p := w.reconcile()
		if changed := w.sync(); !changed && w.writes == before {
			return p
		}
	}
	panic("the run does not settle")
}

// after moves the clock and settles.
func (w *world) after(d time.Duration) *Plan {
	w.now = w.now.Add(d)
	return w.settle()
}

// end ends the active attempt of a task.
func (w *world) end(task int, o outcome.Outcome) {
	_, pod := w.attempt(task)
	if pod == nil {
		panic(fmt.Sprintf("task %d has no active attempt", task))
	}
	w.endPod(pod, o)
}

func (w *world) endPod(pod *Pod, o outcome.Outcome) {
	pod.Ended, pod.Outcome, pod.Waiting = true, o, outcome.Waiting{}
	if o.Reason == v1alpha1.ReasonCompleted {
		w.podSucceeded(pod.Task)
	}
	w.ended[o.Reason]++
}

// succeed and fail end the attempts of tasks and settle.
func (w *world) succeed(tasks ...int) {
	for _, task := range tasks {
		w.end(task, completed(w.now))
	}
	w.settle()
}

func (w *world) fail(o outcome.Outcome, tasks ...int) *Plan {
	for _, task := range tasks {
		w.end(task, o)
	}
	return w.settle()
}

// attempt is the active pod of a task and its Job.
func (w *world) attempt(task int) (*simJob, *Pod) {
	for _, job := range w.jobs {
		if pod := job.pods[task]; pod != nil && !pod.Ended {
			return job, pod
		}
	}
	return nil, nil
}

// wait makes the active pod of a task wait for something that fails.
func (w *world) wait(task int, reason v1alpha1.Reason, message string) {
	_, pod := w.attempt(task)
	pod.Waiting = outcome.Waiting{Reason: reason, Message: message, Since: w.now}
	w.waited[reason]++
}

// deletePod deletes a pod: its Job counts it as failed, and nothing is left of it.
func (w *world) deletePod(uid types.UID) {
	for _, job := range w.jobs {
		for task, pod := range job.pods {
			if pod.UID == uid {
				if !pod.Ended {
					job.failed[task] = true
					if pod.Gated {
						w.undelivered++
					}
				}
				w.ended[v1alpha1.ReasonDeleted]++
				delete(job.pods, task)
			}
		}
	}
}

// deleteJob deletes a Job and its pods as a user does.
func (w *world) deleteJob(number int) {
	w.ended[v1alpha1.ReasonDeleted] += w.jobs[number].tasks.Len()
	delete(w.jobs, number)
}

// active is the number of the run's pods that have not ended.
func (w *world) active() int {
	sum := 0
	for _, job := range w.jobs {
		sum += job.active()
	}
	return sum
}

// sync lets the Job controller look at each Job.
func (w *world) sync() (changed bool) {
	for _, number := range slices.Sorted(maps.Keys(w.jobs)) {
		job := w.jobs[number]
		changed = w.syncJob(job) || changed
		changed = job.queue && w.finalize(job) || changed
	}
	return changed
}

// syncJob counts ended pods, then takes pods away or creates them.
func (w *world) syncJob(job *simJob) (changed bool) {
	for task, pod := range job.pods {
		counted := job.failed
		if pod.Outcome.Reason == v1alpha1.ReasonCompleted {
			counted = job.succeeded
		}
		if pod.Ended && !counted[task] {
			counted[task], changed = true, true
		}
	}
	want := job.parallelism
	if job.suspended || job.deleting {
		want = 0
	}
	for i := job.tasks.Len() - 1; i >= 0 && job.active() > want; i-- {
		if pod := job.pods[job.tasks.At(i)]; pod != nil && !pod.Ended {
			delete(job.pods, pod.Task)
			changed = true
		}
	}
	if job.trouble.Reason == v1alpha1.RunPodsNotCreated {
		return changed
	}
	for i := 0; i < job.tasks.Len() && job.active() < want; i++ {
		task := job.tasks.At(i)
		if job.pods[task] == nil && !job.failed[task] && !job.succeeded[task] {
			w.uids++
			job.pods[task] = &Pod{Task: task, Name: fmt.Sprintf("%s-%d", job.name(), i), UID: types.UID(fmt.Sprint("pod-", w.uids)), Node: "n1",
				Gated: job.wave.Table != "" && w.noPolicy}
			changed = true
		}
	}
	return changed
}

func (j *simJob) name() string { return "r-" + strconv.Itoa(j.number) }

func (j *simJob) unfinished() int { return j.tasks.Len() - len(j.succeeded) - len(j.failed) }

// uncounted is the number of pods that are active by the Job's own count.
func (j *simJob) uncounted() int {
	n := 0
	for task := range j.pods {
		if !j.succeeded[task] && !j.failed[task] {
			n++
		}
	}
	return n
}

func (j *simJob) active() int {
	n := 0
	for _, pod := range j.pods {
		if !pod.Ended {
			n++
		}
	}
	return n
}

func (j *simJob) clone() *simJob {
	c := *j
	c.succeeded, c.failed, c.pods = maps.Clone(j.succeeded), maps.Clone(j.failed), map[int]*Pod{}
	for task, pod := range j.pods {
		copied := *pod
		c.pods[task] = &copied
	}
	return &c
}

func setOf(tasks map[int]bool) indexset.Set {
	return indexset.Of(slices.Collect(maps.Keys(tasks))...)
}
