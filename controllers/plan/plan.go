// Package plan decides what a run needs next. It is pure: no client, no clock, no logger.
//
// A reconcile observes a Snapshot, Make turns it into a Plan, and the reconciler carries the Plan out. The rule that
// makes this safe at every crash: the end of an attempt is recorded in the status before anything is done about it.
// So everything a Plan does rests on the stored ledger, and everything it learnt goes into the new status only.
package plan

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/controllers/ledger"
	"github.com/batchrun/batchrun/controllers/logtail"
	"github.com/batchrun/batchrun/controllers/outcome"
	"github.com/batchrun/batchrun/controllers/parameters"
)

// Snapshot is what plan decides on: the run as it is stored, and what was observed of its waves.
type Snapshot struct {
	Run *v1alpha1.BatchRun
	// Ledger is status.waves.ledger, decoded; empty where the run was Replaced.
	Ledger ledger.Ledger
	// Tasks are the run's tasks by their indexes. Nil where the spec does not tell them: the tasks stay as they were.
	Tasks *parameters.Table
	// Packing says whether any tasks can go out many to a Job.
	Packing Packing
	// LastStep is zero where the operator does not remember it.
	LastStep Step
	// Waves are the run's waves whose Jobs exist, ascending by number.
	Waves []Wave
	// Gone are the numbers of open waves whose Jobs do not exist, nor pods of theirs that have not ended, as the API
	// server itself says.
	Gone []int
	// Leaving are the numbers of open waves whose Jobs do not exist, but pods of theirs that have not ended, or of which
	// may still be told how they did.
	Leaving []int
	// Unreadable are Jobs of waves that do not tell their tasks any more.
	Unreadable []Wave
	// QueueSays is why the first wave that waits for a queue waits, as Kueue tells; empty where it does not.
	QueueSays string
	// Progress is what active attempts say of themselves, as of the last look.
	Progress []v1alpha1.TaskProgress
	// NextLook is when there may be more to observe that no event tells of; zero where there is not.
	NextLook time.Time
	// Archived is how the archive of logs fares; nil where there is none, or it knows nothing of the run.
	Archived *Archived
	// Trouble is what keeps the run from going on, or at least one of its waves from having pods.
	Trouble Trouble
	Limits
}

// LookAgain has the run looked at again at that time, if not before.
func (s *Snapshot) LookAgain(at time.Time) {
	if s.NextLook.IsZero() || at.Before(s.NextLook) {
		s.NextLook = at
	}
}

// Step is the start of a wave of the run, or of more room for one.
type Step struct {
	At time.Time
	// Ended is how many attempts had ended then.
	Ended int
}

// Ended is how many attempts of a run ended, as its status has it.
func Ended(status *v1alpha1.BatchRunStatus) int {
	sum := 0
	for _, state := range status.PodStates {
		sum += int(state.Count)
	}
	return sum
}

// Unrecorded is true when the end of the task's attempt in the wave is not in the stored status.
func (s *Snapshot) Unrecorded(w *Wave, task int) bool {
	started := w.Number >= int(s.Run.Status.Waves.Next)
	return started || task < len(s.Ledger) && s.Ledger[task].State == ledger.Active && s.Ledger[task].In(w.Number)
}

// HasUnwanted is true when some of the wave's tasks that have not ended are not to run in it any more: their attempt is
// recorded as ended, or the run no longer has them.
func (s *Snapshot) HasUnwanted(w *Wave) bool {
	for task := range w.unfinished().All() {
		if !s.Has(task) || !s.Unrecorded(w, task) {
			return true
		}
	}
	return false
}

// IdleAfter is for how long a wave may have no pod, or a pod no container, before the operator asks why.
const IdleAfter = 20 * time.Second

// Deleted is how a Job ended that somebody deleted.
const Deleted = "Deleted"

// Wave is what was observed of one wave's Job and of those of its pods that matter.
type Wave struct {
	Number int
	Name   string
	UID    types.UID
	// Tasks are the indexes of the tasks it carries.
	Tasks indexset.Set
	// Succeeded and Failed are the indexes of the tasks whose attempt ended, by the Job's own count.
	Succeeded, Failed indexset.Set
	Parallelism       int
	Suspended         bool
	// Active is the number of its pods that have not ended, Terminating that of those that are going away, or are gone
	// without anything having told yet how they ended.
	Active, Terminating int
	// Finished says how the Job ended: as its condition tells, or Deleted; empty while it goes on. It does nothing more
	// then, even if some of its tasks have neither succeeded nor failed.
	Finished string
	// Stopped is true when the Job is finished, or suspended and all its pods are gone, and nobody but the operator resumes
	// it.
	Stopped bool
	// Deleting is true when somebody deleted the Job and it is still going away.
	Deleting bool
	Created  time.Time
	// Started is when the Job began, or was resumed last; zero where neither was.
	Started time.Time
	// Starting is since when the pod waits that has waited longest for its containers to be created; zero where none
	// does.
	Starting time.Time
	// Outdated is true when the Job was made of another spec.template than the present one.
	Outdated bool
	// Sweep is true when its tasks have parameters; Foreign when they are of an array and the run is a sweep now, or the
	// other way round.
	Sweep, Foreign bool
	// Packed is true when its pods get their index and parameters from the policy.
	Packed bool
	// Queue says who else than the operator decides when the Job runs, such as "the queue team-a of Kueue"; empty where
	// nobody does. The operator then changes nothing about it: it deletes it where it is to stop.
	Queue string
	// Refused is true when the API server does not let the wave's pods be created because their parameters cannot be set.
	Refused bool
	// Unwatched is true when the Job is not in the cache, so that nothing tells when it changes.
	Unwatched bool
	// Pods are its pods that failed, are going away, or wait for something that fails; and all that have not ended where
	// some of the wave's tasks are not to run in it any more.
	Pods []Pod
}

// Archived is how the archive of logs fares with those of a run, since this operator started.
type Archived struct {
	// Stored is how many attempts have their logs stored, Pending how many have not yet, active ones included.
	Stored, Pending int
	// Incomplete is how many attempts have logs that are not whole, or lost. Lacks tells of the last one.
	Incomplete int
	Lacks      string
	// Failing is why logs cannot be stored now.
	Failing string
}

// Trouble is what keeps a run from going on: the reason and message of a condition.
type Trouble struct {
	Reason, Message string
	// Stalled is true when nothing goes on before somebody does something about it.
	Stalled bool
	// Retry is when the operator tries again; zero where something else will tell.
	Retry time.Duration
}

// unended are the tasks that have neither succeeded nor failed in the wave.
func (w *Wave) unended() indexset.Set { return w.Tasks.Minus(w.Succeeded).Minus(w.Failed) }

// unfinished are the tasks that may still be active in the wave.
func (w *Wave) unfinished() indexset.Set {
	if w.Finished != "" {
		return indexset.Set{}
	}
	return w.unended()
}

// Idle is true when the wave should have pods and has none.
func (w *Wave) Idle() bool {
	return w.Active == 0 && w.Terminating == 0 && !w.Suspended && !w.Deleting && !w.Stopped && w.share() > 0
}

// inlined is true for a wave of one task that has its index and parameters written into it.
func (w *Wave) inlined() bool {
	return w.Tasks.Len() == 1 && (w.Sweep || w.Tasks.At(0) > 0)
}

// share is how many of the wave's tasks can be active at once, those that are being stopped included.
func (w *Wave) share() int {
	return min(max(w.Parallelism, w.Active+w.Terminating), w.unfinished().Len())
}

// Pod is what was observed of one attempt's pod.
type Pod struct {
	Task int
	Name string
	UID  types.UID
	Node string
	// Ended is true when the pod ended or is gone; Outcome then says why, otherwise Waiting says what it waits for.
	Ended   bool
	Outcome outcome.Outcome
	Waiting outcome.Waiting
	// Gated is true when the pod was created without its parameters, so that it must not run.
	Gated bool
	// Deleting is when the pod should be gone; zero where it is not going away.
	Deleting time.Time
	// Container is the one whose log tells most.
	Container string
}

// Plan is what to do, and the status to write.
type Plan struct {
	Status v1alpha1.BatchRunStatus
	// Urgent is true when the status must not wait for the status interval: the run changed its phase.
	Urgent bool
	// Awaited is true when something can start only once the status is written: the next wave, or a retry.
	Awaited bool
	Start   []NewWave
	Adjust  []Adjustment
	// DeleteJobs and DeletePods are deleted with their UIDs as preconditions.
	DeleteJobs []Wave
	DeletePods []Pod
	DeleteRun  bool
	// Samples are where to look up the pods of the last len(Samples) entries of Status.Successes. What they tell is missing
	// there yet.
	Samples []Sample
	Events  []Event
	// WakeAt is when to look again even if nothing happens; zero where nothing is due.
	WakeAt time.Time
}

// Acts is true when the plan changes anything but the status.
func (p *Plan) Acts() bool {
	return len(p.Start)+len(p.Adjust)+len(p.DeleteJobs)+len(p.DeletePods) > 0 || p.DeleteRun
}

// Sample is a success whose pod is still to be looked up.
type Sample struct {
	Wave *Wave
	Task int
}

// NewWave is a wave to start.
type NewWave struct {
	Number      int
	Tasks       indexset.Set
	Parallelism int
	// Growth is how often the memory of its tasks grew.
	Growth int
	// Attempts tells which attempts of its tasks it carries, as ledger.Numbers does.
	Attempts string
	// Parameters are the names of the tasks' parameters, and the values where the wave has one task.
	Parameters parameters.Row
	// Table tells each pod its task's index and parameters; empty in a wave of one task, whose pod has them written into
	// it, and in a wave whose tasks' indexes are their positions.
	Table string
}

// Natural is true when the position of each task in the wave is its index.
func (w NewWave) Natural() bool { return w.Tasks.At(w.Tasks.Len()-1) == w.Tasks.Len()-1 }

// Adjustment is what to change in the Job of a wave.
type Adjustment struct {
	Wave        Wave
	Parallelism int
	Suspend     bool
}

// Event is a Kubernetes Event to emit once the status is written.
type Event struct {
	Warning bool
	Reason  string
	// Repeats is what Events of this Reason are counted by that follow each other: only the first of them is told in full.
	// Empty for Events that are told one by one.
	Repeats string
	Note    string
}

// planner carries the state of one Make through its stages.
type planner struct {
	Snapshot
	Plan
	now  time.Time
	spec *v1alpha1.BatchRunSpec
	// ledger is the stored one with all that was learnt since.
	ledger ledger.Ledger
	// present are the tasks that the run has, as the spec is now. The ledger remembers others too.
	present indexset.Set
	// warnings are what the spec says without effect.
	warnings []parameters.Warning
	// renewed are the pods that could not start and whose tasks start anew, as the template was edited.
	renewed []Pod
	// failRun is set when an attempt matched a rule with action FailRun.
	failRun string
}

// Make decides what the run needs at the time now.
func Make(s Snapshot, now time.Time) *Plan {
	p := &planner{Snapshot: s, now: now, spec: &s.Run.Spec, ledger: slices.Clone(s.Ledger)}
	p.Status = *s.Run.Status.DeepCopy()
	p.wake(s.NextLook)
	p.retask()
	p.adopt()
	p.record()
	p.rerun()
	p.judge()
	p.start()
	p.hold()
	p.clean()
	p.report()
	if len(p.DeleteJobs) > 0 || len(p.DeletePods) > 0 { // no event tells of a delete that did not reach the API server
		p.wake(p.now.Add(leavingInterval))
	}
	return &p.Plan
}

// wake asks for another look at t.
func (p *planner) wake(t time.Time) {
	if t.After(p.now) && (p.WakeAt.IsZero() || t.Before(p.WakeAt)) {
		p.WakeAt = t
	}
}

// finished is true once the run has succeeded, failed or been cancelled.
func (p *planner) finished() bool { return p.Status.CompletionTime != nil }

func (p *planner) event(warning bool, reason, note string) {
	p.Events = append(p.Events, Event{Warning: warning, Reason: reason, Note: logtail.Cut(note, maxNoteBytes)})
}
