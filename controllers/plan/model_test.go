package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/controllers/outcome"
)

func sameStatus(a, b *v1alpha1.BatchRunStatus) bool { return equality.Semantic.DeepEqual(a, b) }

// model drives a world with random faults and edits and holds what must be true of every status and every Job.
type model struct {
	*world
	t    *rapid.T
	seen view
	// succeededPods counts the successes of each task since the run knows it, and since its Job was not deleted.
	succeededPods map[int]int
	// everSucceeded are the tasks of which a pod succeeded.
	everSucceeded map[int]bool
	// loose is set once tasks may succeed twice, as they were rerun or the run is another one.
	loose bool
	// forgot is set once tasks were taken out or rerun, lost once a Job or a Job's result was taken away.
	forgot, lost bool
	// allowed is how many pods may be active: more than spec.parallelism right after it was lowered.
	allowed int
	// steps counts those of rest.
	steps int
}

// TestModel: whatever users, nodes and crashes do, the record stays right, and the run ends once they stop.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		t.Repeat(map[string]func(*rapid.T){
			"":            func(t *rapid.T) { m.t = t; m.check() },
			"reconcile":   func(*rapid.T) { m.seen = m.fresh(); m.turn(1000) },
			"reconcile 2": func(*rapid.T) { m.seen = m.fresh(); m.turn(1000) },
			"look":        func(*rapid.T) { m.seen = m.fresh() },
			"old view":    func(*rapid.T) { m.refreshSpecs(); m.turn(1000) },
			"old pods":    func(*rapid.T) { m.oldPods(); m.turn(1000) },
			"crash":       func(t *rapid.T) { m.seen = m.fresh(); m.turn(rapid.IntRange(0, 5).Draw(t, "writes")) },
			"no status":   func(*rapid.T) { m.seen = m.fresh(); m.act(m.seen, m.plan(), 1000); m.checkDeletion() },
			"Job control": func(*rapid.T) { m.sync() },
			"Job sync":    m.syncOne,
			"pods end":    m.podsEnd,
			"pods end 2":  m.podsEnd,
			"pod waits":   m.podWaits,
			"pod starts":  m.podStarts,
			"pod deleted": m.podDeleted,
			"Job deleted": m.jobDeleted,
			"foreign":     m.foreignJob,
			"time":        func(t *rapid.T) { m.now = m.now.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "s")) * time.Second) },
			"clock jumps": func(t *rapid.T) {
				m.now = m.now.Add(time.Duration(rapid.IntRange(-600, 600).Draw(t, "jump")) * time.Second)
			},
			"ttl":          func(t *rapid.T) { m.change(t, timesToLive) },
			"suspend":      func(t *rapid.T) { m.change(t, suspend) },
			"parallelism":  func(t *rapid.T) { m.change(t, parallelism) },
			"backoffLimit": func(t *rapid.T) { m.change(t, backoffLimit) },
			"tasks":        func(t *rapid.T) { m.change(t, someTasks) },
			"rerun":        func(t *rapid.T) { m.change(t, someRerun) },
			"template":     func(*rapid.T) { m.editTemplate() },
			"policy":       m.policyChanges,
			"queue":        func(t *rapid.T) { m.queue = rapid.IntRange(0, 2).Draw(t, "queue") > 0 },
			"admit":        m.admit,
			"admit 2":      m.admit,
			"evict":        m.evict,
			"cancel": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "really") == 0 {
					m.edit(func(s *v1alpha1.BatchRunSpec) { s.Cancel = ptr.To(true) })
				}
			},
		})
		m.rest()
	})
}

func newModel(t *rapid.T) *model {
	m := &model{t: t, succeededPods: map[int]int{}, everSucceeded: map[int]bool{}}
	m.world = newWorld(func(s *v1alpha1.BatchRunSpec) {
		someTasks(t, s)
		parallelism(t, s)
		backoffLimit(t, s)
		s.Pilot = ptr.To(int32(max(0, rapid.IntRange(-5, 3).Draw(t, "pilot"))))
		s.RetryPolicy = &v1alpha1.RetryPolicy{MaxDisruptions: ptr.To(int32(rapid.IntRange(0, 3).Draw(t, "maxDisruptions")))}
		s.RetryPolicy.Rules = rapid.SampledFrom([][]v1alpha1.RetryRule{nil, nil,
			{{Reasons: []v1alpha1.Reason{v1alpha1.ReasonOOMKilled}, Action: v1alpha1.ActionCount, Memory: &v1alpha1.MemoryGrowth{IncreasePercent: 50}}},
			{{Reasons: []v1alpha1.Reason{v1alpha1.ReasonOOMKilled}, Action: v1alpha1.ActionFailRun},
				{Reasons: []v1alpha1.Reason{v1alpha1.ReasonImagePullFailed}, Action: v1alpha1.ActionCount}},
			{{Reasons: []v1alpha1.Reason{v1alpha1.ReasonError}, Action: v1alpha1.ActionFailTask},
				{Reasons: []v1alpha1.Reason{v1alpha1.ReasonImagePullFailed}, Action: v1alpha1.ActionIgnore}},
		}).Draw(t, "rules")
		s.Startup = &v1alpha1.StartupPolicy{ImagePullDeadlineSeconds: ptr.To[int32](30)}
		if rapid.IntRange(0, 4).Draw(t, "limited") == 0 {
			s.MaxFailedTasks = ptr.To(intstr.FromString("20%"))
			s.ActiveDeadlineSeconds = ptr.To[int64](300)
		}
	})
	m.world.written = m.checkWrite
	m.world.podSucceeded = func(task int) {
		m.everSucceeded[task] = true
		if m.present().Contains(task) { // else the run has forgotten it
			m.succeededPods[task]++
		}
	}
	m.world.jobCleaned = m.jobGone
	m.allowed = m.limit()
	m.seen = m.fresh()
	return m
}

func suspend(t *rapid.T, s *v1alpha1.BatchRunSpec) {
	s.Suspend = ptr.To(rapid.Bool().Draw(t, "suspend"))
}

func parallelism(t *rapid.T, s *v1alpha1.BatchRunSpec) {
	s.Parallelism = ptr.To(int32(rapid.IntRange(1, 8).Draw(t, "parallelism")))
}

func backoffLimit(t *rapid.T, s *v1alpha1.BatchRunSpec) {
	s.BackoffLimit = ptr.To(int32(rapid.IntRange(0, 3).Draw(t, "backoffLimit")))
}

// someTasks makes the run an array, or a sweep.
func someTasks(t *rapid.T, s *v1alpha1.BatchRunSpec) {
	s.Completions, s.Parameters = nil, nil
	if rapid.IntRange(0, 2).Draw(t, "kind") > 0 {
		s.Completions = ptr.To(int32(rapid.IntRange(1, 12).Draw(t, "completions")))
		return
	}
	values := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 1, 3, rapid.ID).Draw(t, "A")
	s.Parameters = &v1alpha1.Parameters{Matrix: []v1alpha1.Parameter{{Name: "A", Values: values},
		{Name: "B", Range: &v1alpha1.Range{Start: 0, End: rapid.Int64Range(0, 2).Draw(t, "B")}}}}
}

func someRerun(t *rapid.T, s *v1alpha1.BatchRunSpec) {
	s.Rerun = &v1alpha1.Rerun{Token: rapid.StringMatching("[a-z]").Draw(t, "token")}
	if rapid.Bool().Draw(t, "indexes") {
		s.Rerun.Indexes = rapid.SampledFrom([]string{"0", "1-2", "0,3", "11"}).Draw(t, "which")
		return
	}
	s.Rerun.Scope = ptr.To(rapid.SampledFrom([]v1alpha1.RerunScope{v1alpha1.RerunFailed, v1alpha1.RerunAll}).Draw(t, "scope"))
}

func timesToLive(t *rapid.T, s *v1alpha1.BatchRunSpec) {
	seconds := rapid.SampledFrom([]*int32{nil, ptr.To[int32](0), ptr.To[int32](60), ptr.To[int32](600)})
	s.TTLSecondsAfterFinished = seconds.Draw(t, "ttl")
	s.RecordTTLSecondsAfterFinished = seconds.Draw(t, "recordTTL")
}

// editTemplate makes every Job one of an earlier template.
func (m *model) editTemplate() {
	for _, job := range m.jobs {
		job.outdated = true
	}
	m.edit()
}

// policyChanges: the policy is there or not, and the operator knows it or not.
func (m *model) policyChanges(t *rapid.T) {
	m.noPolicy = rapid.Bool().Draw(t, "missing")
	if rapid.Bool().Draw(t, "seen") {
		m.packing = Packing{OK: !m.noPolicy, Reason: "Policy"}
	}
}

// present are the run's tasks as its status has them.
func (m *model) present() indexset.Set {
	s := m.snapshot(m.fresh())
	if s.Tasks == nil || s.Tasks.New() > 0 {
		return indexset.Set{}
	}
	known := s.Tasks.Present()
	if stored := len(m.ledger()); stored > 0 {
		known = known.Intersect(indexset.Interval(0, stored-1))
	}
	return known
}

func (m *model) plan() *Plan { return Make(m.snapshot(m.seen), m.now) }

// turn reconciles on the view that the operator has, and crashes after so many writes.
func (m *model) turn(writes int) *Plan {
	if m.record(m.seen, m.snapshot(m.seen)) {
		return &Plan{Urgent: true}
	}
	p := m.plan()
	if m.act(m.seen, p, writes) {
		m.store(m.seen, p)
	}
	m.checkDeletion()
	return p
}

// checkDeletion holds whenever the run was deleted, which somebody's finalizer prevents: the stored run says that it has
// finished, and that its record is to be deleted by now.
func (m *model) checkDeletion() {
	if !m.deleted {
		return
	}
	m.deleted = false
	ttl, limited := m.run.Spec.RecordTTL()
	finished := m.run.Status.CompletionTime
	m.must(finished != nil && limited && !m.now.Before(finished.Add(ttl)), "the run is deleted before its time: finished %v, ttl %s", finished, ttl)
}

// jobGone forgets the successes that only the Job knew: nobody will ever know.
func (m *model) jobGone(job *simJob) {
	m.lost = true
	recorded, _ := indexset.Parse(m.run.Status.SucceededIndexes)
	for task, pod := range job.pods {
		if pod.Outcome.Reason == v1alpha1.ReasonCompleted && !recorded.Contains(task) {
			delete(m.succeededPods, task)
		}
	}
}

func (m *model) change(t *rapid.T, edit func(*rapid.T, *v1alpha1.BatchRunSpec)) {
	before := m.run.Spec.DeepCopy()
	m.edit(func(s *v1alpha1.BatchRunSpec) { edit(t, s) })
	m.forget(before, &m.run.Spec)
	m.allowed = max(m.allowed, m.limit())
}

// forget leaves out of the books what an edit took out of the run, or runs again.
func (m *model) forget(before, after *v1alpha1.BatchRunSpec) {
	switch {
	case !equality.Semantic.DeepEqual(before.Rerun, after.Rerun),
		!equality.Semantic.DeepEqual(before.Parameters, after.Parameters):
		m.forgot, m.loose = true, true
	case after.TaskCount() < before.TaskCount():
		m.forgot = true
		maps.DeleteFunc(m.succeededPods, func(task, _ int) bool { return task >= after.TaskCount() })
	}
}

func (m *model) limit() int { return int(ptr.Deref(m.run.Spec.Parallelism, 1000)) }

// refreshSpecs shows the operator what it wrote itself, on an otherwise old view.
func (m *model) refreshSpecs() {
	for number, job := range m.jobs {
		if old := m.seen.jobs[number]; old != nil && old.uid == job.uid {
			old.parallelism, old.suspended = job.parallelism, job.suspended
		}
	}
}

// oldPods is a view in which the pods are older than their Jobs.
func (m *model) oldPods() {
	now := m.fresh()
	for number, job := range now.jobs {
		if old := m.seen.jobs[number]; old != nil && old.uid == job.uid {
			job.pods = old.pods
		}
	}
	m.seen = now
}

func (m *model) syncOne(t *rapid.T) {
	if len(m.jobs) == 0 {
		t.Skip("no Job")
	}
	m.syncJob(m.jobs[rapid.SampledFrom(slices.Sorted(maps.Keys(m.jobs))).Draw(t, "wave")])
}

// pods are the active pods, sorted.
func (m *model) pods() (pods []*Pod) {
	for _, number := range slices.Sorted(maps.Keys(m.jobs)) {
		for _, task := range slices.Sorted(maps.Keys(m.jobs[number].pods)) {
			if pod := m.jobs[number].pods[task]; !pod.Ended && !pod.Gated {
				pods = append(pods, pod)
			}
		}
	}
	return pods
}

func (m *model) pick(t *rapid.T) *Pod {
	pods := m.pods()
	if len(pods) == 0 {
		t.Skip("no pod")
	}
	return pods[rapid.IntRange(0, len(pods)-1).Draw(t, "pod")]
}

func (m *model) podsEnd(t *rapid.T) {
	for range rapid.IntRange(1, 4).Draw(t, "n") {
		pod := m.pick(t)
		o := completed(m.now)
		if pod.Waiting.Reason == "" && rapid.Bool().Draw(t, "fails") {
			o = rapid.SampledFrom([]outcome.Outcome{
				exitCode(1, m.now), {Reason: v1alpha1.ReasonOOMKilled, FinishedAt: m.now},
				{Reason: v1alpha1.ReasonEvicted, Disruption: true}, {Reason: v1alpha1.ReasonUnknown, FinishedAt: m.now.Add(time.Hour)},
				{Reason: v1alpha1.ReasonStartFailed, FinishedAt: m.now},
			}).Draw(t, "outcome")
		} else if pod.Waiting.Reason != "" {
			o = outcome.Outcome{Reason: v1alpha1.ReasonEvicted, Disruption: true}
		}
		for _, job := range m.jobs {
			if job.pods[pod.Task] == pod {
				m.endPod(pod, o)
			}
		}
	}
}

func (m *model) podWaits(t *rapid.T) {
	if pod := m.pick(t); pod.Waiting.Reason == "" {
		reason := rapid.SampledFrom([]v1alpha1.Reason{v1alpha1.ReasonImagePullFailed, v1alpha1.ReasonUnschedulable}).Draw(t, "reason")
		pod.Waiting = outcome.Waiting{Reason: reason, Message: "hm", Since: m.now}
		m.waited[reason]++
	}
}

// podStarts: what the pod waited for came, be it after the deadline.
func (m *model) podStarts(t *rapid.T) { m.pick(t).Waiting = outcome.Waiting{} }

func (m *model) podDeleted(t *rapid.T) { m.deletePod(m.pick(t).UID) }

func (m *model) jobDeleted(t *rapid.T) {
	if len(m.jobs) == 0 || rapid.IntRange(0, 4).Draw(t, "really") > 0 {
		t.Skip("no Job")
	}
	job := m.jobs[rapid.SampledFrom(slices.Sorted(maps.Keys(m.jobs))).Draw(t, "wave")]
	m.jobGone(job)
	m.deleteJob(job.number)
}

// admit lets a Job of a queue run, perhaps with fewer pods at once.
func (m *model) admit(t *rapid.T) {
	job := m.pickQueued(t, true)
	job.suspended = false
	job.parallelism = rapid.IntRange(1, job.parallelism).Draw(t, "parallelism")
	m.allowed = max(m.allowed, m.jobsAllow()) // the queue decides
}

// evict suspends an admitted Job of a queue, and gives it back the pods that it had asked for.
func (m *model) evict(t *rapid.T) {
	job := m.pickQueued(t, false)
	job.suspended, job.parallelism = true, job.wave.Parallelism
}

func (m *model) pickQueued(t *rapid.T, suspended bool) *simJob {
	var jobs []*simJob
	for _, number := range slices.Sorted(maps.Keys(m.jobs)) {
		if job := m.jobs[number]; job.queue && job.suspended == suspended && job.unfinished() > 0 {
			jobs = append(jobs, job)
		}
	}
	if len(jobs) == 0 {
		t.Skip("no Job of a queue")
	}
	return rapid.SampledFrom(jobs).Draw(t, "queued")
}

func (m *model) foreignJob(t *rapid.T) {
	if clear(m.foreign); rapid.Bool().Draw(t, "there") {
		m.foreign[int(m.run.Status.Waves.Next)] = m.jobs[int(m.run.Status.Waves.Next)] == nil
	}
}

// check holds after every step.
func (m *model) check() {
	carriers := map[int]int{}
	for _, job := range m.jobs {
		if job.suspended && job.active() == 0 && !job.queue {
			continue // stopped, for the time being or for good
		}
		for task := range job.tasks.All() {
			if !job.failed[task] && !job.succeeded[task] {
				carriers[task]++
				m.must(carriers[task] == 1, "task %d is carried by two unfinished waves", task)
			}
		}
	}
	active := m.active()
	m.must(active <= m.allowed, "%d pods are active, spec.parallelism allows %d", active, m.allowed)
	if m.jobsAllow() <= m.limit() {
		m.allowed = m.limit()
	}
	for task, n := range m.succeededPods {
		m.must(n == 1 || m.loose, "task %d succeeded %d times", task, n)
	}
}

// jobsAllow is how many pods there may be at once, whichever Job is looked at first.
func (m *model) jobsAllow() int {
	sum := 0
	for _, job := range m.jobs {
		sum += max(job.active(), min(job.parallelism, job.unfinished()))
	}
	return sum
}

// checkWrite holds for each status that is written.
func (m *model) checkWrite(old, s *v1alpha1.BatchRunStatus) {
	m.must(s.Succeeded+s.Failed+s.Active+s.Pending == s.Tasks && int(s.Tasks) == m.snapshot(m.seen).Tasks.Present().Len() &&
		min(s.Succeeded, s.Failed, s.Active, s.Pending) >= 0, "the counts do not add up: %+v", s)
	if old.CompletionTime != nil {
		m.must(s.CompletionTime != nil || s.ObservedGeneration > old.ObservedGeneration || len(s.Reruns) > len(old.Reruns), "a finished run went on")
	}
	recorded := int32(0)
	for _, state := range s.PodStates {
		recorded += state.Count
		most := m.ended[state.State] + m.waited[state.State]
		if state.State == v1alpha1.ReasonDeleted {
			most += 1 << 20 // an attempt whose pod or Job is gone
		}
		m.must(int(state.Count) <= most, "%d attempts are recorded as %s, %d were", state.Count, state.State, most)
	}
	m.must(recorded <= m.attempts(), "%d attempts are recorded, there were %d", recorded, m.attempts())
	if m.forgot {
		return
	}
	m.must(s.Retries == recorded-s.Succeeded-s.Failed, "%d retries, but %d attempts of %d ended tasks", s.Retries, recorded, s.Succeeded+s.Failed)
	succeeded, _ := indexset.Parse(s.SucceededIndexes)
	for task := range succeeded.All() {
		m.must(m.everSucceeded[task], "task %d is recorded as succeeded, and has not", task)
	}
	before, _ := indexset.Parse(old.SucceededIndexes)
	m.must(before.Minus(succeeded).Empty(), "a success was lost")
}

// attempts is the most attempts that can be recorded as ended: those that the Jobs counted, and those that the operator
// ended because their pods waited for too long.
func (m *model) attempts() int32 {
	sum := 0
	for _, n := range m.ended {
		sum += n
	}
	for _, n := range m.waited {
		sum += n
	}
	return int32(sum)
}

// rest lets the faults stop: then the run finishes, all that ended is recorded, and nothing is written any more.
func (m *model) rest() {
	clear(m.foreign)
	m.edit(func(s *v1alpha1.BatchRunSpec) { // what is cleaned up tells nothing any more
		s.Suspend, s.TTLSecondsAfterFinished, s.RecordTTLSecondsAfterFinished = nil, nil, nil
	})
	for quiet := 0; quiet < 3 && m.steps < 400; m.steps++ {
		for _, job := range m.jobs {
			job.suspended = job.suspended && !job.queue
		}
		m.allowed = max(m.allowed, m.jobsAllow())
		m.sync()
		m.seen = m.fresh()
		p := m.turn(1000)
		m.check()
		for _, pod := range m.pods() {
			if pod.Waiting.Reason == "" || pod.Waiting.Reason == v1alpha1.ReasonUnschedulable {
				for _, job := range m.jobs {
					if job.pods[pod.Task] == pod {
						m.endPod(pod, completed(m.now))
					}
				}
			}
		}
		m.now = m.now.Add(time.Second)
		if p.WakeAt.After(m.now) && !p.Acts() && m.run.Status.CompletionTime == nil {
			m.now = p.WakeAt
		}
		if quiet++; p.Acts() || m.run.Status.CompletionTime == nil {
			quiet = 0
		}
	}
	s := &m.run.Status
	m.must(s.CompletionTime != nil, "the run does not finish: %s; tasks %+v; Jobs %s", describeStatus(s), m.ledger(), m.describeJobs())
	recorded := int32(0)
	for _, state := range s.PodStates {
		recorded += state.Count
	}
	if counted := m.counted() - int32(m.undelivered); !m.forgot && !m.lost && s.Phase == v1alpha1.PhaseSucceeded {
		m.must(recorded >= counted-m.renewed() && recorded <= counted+m.givenUp(), "%d attempts are recorded, the Jobs counted %d: %s", recorded, counted, m.describeJobs())
	}
	writes := m.writes
	m.seen = m.fresh()
	p := m.plan()
	m.must(!p.Acts() && sameStatus(s, &p.Status) && writes == m.writes, "a settled run is written to: %+v", p)
}

// givenUp is how many attempts the operator may have ended that their Jobs did not count, or not as what they were.
func (m *model) givenUp() int32 {
	sum := 0
	for _, n := range m.waited {
		sum += n
	}
	return int32(sum)
}

// renewed is how many attempts that Jobs counted as failed may have been put back, as the template was edited.
func (m *model) renewed() int32 {
	sum := 0
	for _, job := range m.jobs {
		if job.outdated {
			sum += len(job.failed)
		}
	}
	return int32(sum)
}

// counted is the number of attempts that the Jobs counted.
func (m *model) counted() int32 {
	sum := 0
	for _, job := range m.jobs {
		sum += len(job.succeeded) + len(job.failed)
	}
	return int32(sum)
}

func (m *model) describeJobs() string {
	var texts []string
	for _, number := range slices.Sorted(maps.Keys(m.jobs)) {
		job := m.jobs[number]
		texts = append(texts, fmt.Sprintf("%s of %s: %d at once, suspended %t, %d active, succeeded %s, failed %s",
			job.name(), job.tasks, job.parallelism, job.suspended, job.active(), setOf(job.succeeded), setOf(job.failed)))
	}
	return strings.Join(texts, "; ")
}

func describeStatus(s *v1alpha1.BatchRunStatus) string {
	return fmt.Sprintf("%s %s failed %d active %d pending %d open %q next %d %+v",
		s.Phase, s.Completions, s.Failed, s.Active, s.Pending, s.Waves.Open, s.Waves.Next, s.Conditions)
}

func (m *model) must(ok bool, format string, args ...any) {
	if !ok {
		m.t.Helper()
		m.t.Fatalf(format, args...)
	}
}
