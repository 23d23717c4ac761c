package plan

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/controllers/ledger"
	"github.com/batchrun/batchrun/controllers/outcome"
	"github.com/batchrun/batchrun/controllers/parameters"
)

// FuzzMake plans on snapshots that no run ever gets to: whatever somebody wrote into the status or the Jobs, a plan is
// made, its status holds together, and it starts nothing twice.
func FuzzMake(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte(strings.Repeat("\x00\x01\x02\x03\x05\x08\x0d\x15\x22\x37\x59\x90", 40)))
	f.Add([]byte(strings.Repeat("\xff", 400)))
	for _, step := range []byte{1, 3, 7, 31, 101, 255} {
		seed := make([]byte, 600)
		for i := range seed {
			seed[i] = byte(i*i) * step
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, now := (&source{data: data}).snapshot()
		same, _ := (&source{data: data}).snapshot()
		p := Make(s, now)
		if !reflect.DeepEqual(s, same) {
			t.Fatal("the snapshot was changed")
		}
		if again := Make(same, now); !reflect.DeepEqual(p, again) {
			t.Fatalf("the same snapshot gives another plan:\n%+v\n%+v", p, again)
		}
		requireSoundStatus(t, &s, p)
		requireSoundSteps(t, &s, p, now)
	})
}

// requireSoundStatus fails unless the status can be stored, and holds together.
func requireSoundStatus(t *testing.T, s *Snapshot, p *Plan) {
	t.Helper()
	status := &p.Status
	if min(status.Succeeded, status.Failed, status.Active, status.Pending) < 0 ||
		status.Succeeded+status.Failed+status.Active+status.Pending != status.Tasks {
		t.Fatalf("the counts do not add up: %+v", status)
	}
	if s.Tasks != nil && int(status.Tasks) != s.Tasks.Present().Len() {
		t.Fatalf("%d tasks, the spec has %s", status.Tasks, s.Tasks.Present())
	}
	text, err := json.Marshal(status)
	if err != nil {
		t.Fatal(err)
	}
	keep, _, tail := s.Run.Spec.LogTail()
	if keep != v1alpha1.KeepAll {
		tail = 0
	}
	if size := len(text) + len(p.Samples)*(maxPodBytes+2*tail); size > 100<<10 {
		t.Fatalf("the status has %d bytes", size)
	}
	if len(status.Failures) > v1alpha1.MaxFailures || len(status.Successes) > v1alpha1.MaxSuccesses || len(status.Reruns) > v1alpha1.MaxReruns {
		t.Fatalf("%d failures, %d successes, %d reruns", len(status.Failures), len(status.Successes), len(status.Reruns))
	}
	stored, err := ledger.Decode(status.Waves.Ledger)
	if err != nil {
		t.Fatalf("the ledger cannot be read: %v", err)
	}
	states := map[ledger.State]int32{}
	for task, of := range stored {
		if s.Tasks == nil || s.Tasks.Present().Contains(task) {
			states[of.State]++
		}
	}
	if states[ledger.Succeeded] != status.Succeeded || states[ledger.Failed] != status.Failed {
		t.Fatalf("the ledger has %v, the status %+v", states, status)
	}
	for _, set := range []string{status.Waves.Open, status.SucceededIndexes, status.FailedIndexes} {
		if _, err := indexset.Parse(strings.TrimSuffix(set, "...")); err != nil && !strings.Contains(set, "…") {
			t.Fatalf("%q cannot be read: %v", set, err)
		}
	}
}

// requireSoundSteps fails unless what the plan does rests on the stored record, and is done once.
func requireSoundSteps(t *testing.T, s *Snapshot, p *Plan, now time.Time) {
	t.Helper()
	if p.DeleteRun && s.Run.Status.CompletionTime == nil {
		t.Fatal("a run that is not recorded as finished is deleted")
	}
	if !p.WakeAt.IsZero() && !p.WakeAt.After(now) {
		t.Fatalf("it wakes at %s, now is %s", p.WakeAt, now)
	}
	starts := map[int]bool{}
	for i, wave := range p.Start {
		if wave.Number != int(s.Run.Status.Waves.Next)+i || wave.Parallelism < 1 || wave.Parallelism > wave.Tasks.Len() {
			t.Fatalf("wave %d of %s, %d at once, is the plan's number %d", wave.Number, wave.Tasks, wave.Parallelism, i)
		}
		for task := range wave.Tasks.All() {
			if starts[task] || !s.Has(task) || task < len(s.Ledger) && s.Ledger[task].State != ledger.Pending && s.Ledger[task].State != ledger.Removed {
				t.Fatalf("task %d is started: %+v", task, s.Ledger)
			}
			starts[task] = true
		}
	}
	for _, a := range p.Adjust {
		if a.Parallelism < 0 || a.Wave.Queue != "" {
			t.Fatalf("%d at once, queue %q", a.Parallelism, a.Wave.Queue)
		}
	}
	for _, wave := range p.DeleteJobs {
		carries := func(task int) bool { return s.Has(task) && s.Unrecorded(&wave, task) }
		if wave.Queue != "" && s.Run.Status.CompletionTime == nil && slices.ContainsFunc(slices.Collect(wave.unfinished().All()), carries) {
			t.Fatalf("the Job of a queue is deleted that the record has as active: %+v", wave)
		}
	}
	for _, e := range p.Events {
		if len(e.Note) > maxNoteBytes || e.Reason == "" {
			t.Fatalf("an Event of %d bytes for %q", len(e.Note), e.Reason)
		}
	}
}

// maxMessage is how long the messages of package outcome are at most.
const maxMessage = 512

// source makes values of a fuzzer's bytes; of what comes behind them everything is zero.
type source struct{ data []byte }

func (b *source) byte() byte {
	if len(b.data) == 0 {
		return 0
	}
	first := b.data[0]
	b.data = b.data[1:]
	return first
}

// n is a number from 0 to most.
func (b *source) n(most int) int {
	if most < 1<<8 {
		return int(b.byte()) % (most + 1)
	}
	return (int(b.byte())<<8 | int(b.byte())) % (most + 1)
}

func (b *source) yes() bool { return b.byte()%2 == 1 }

// small is a number pointer, or nil.
func (b *source) small(most int) *int32 {
	if n := b.n(most + 1); n > 0 {
		return ptr.To(int32(n - 1))
	}
	return nil
}

// time is around the epoch, long ago, or zero.
func (b *source) time() time.Time {
	switch b.n(3) {
	case 0:
		return time.Time{}
	case 1:
		return time.Unix(int64(b.n(1<<15)), 0).UTC()
	}
	return epoch.Add(time.Duration(b.n(3600)-1800) * time.Second)
}

func (b *source) stamp() *metav1.Time {
	if t := b.time(); !t.IsZero() {
		return ptr.To(metav1.NewTime(t))
	}
	return nil
}

// text is of characters that are short and long in JSON and in UTF-8.
func (b *source) text(most int) string {
	piece := []string{"", "a", "<", "\"", "\n", "ä", "🙂", "\u2028", "\x00", "task 1, "}[b.n(9)]
	if piece == "" {
		return ""
	}
	return strings.Repeat(piece, b.n(most/len(piece)))
}

func (b *source) set() indexset.Set {
	var all indexset.Set
	for range b.n(3) {
		first := b.n(14)
		all = all.Union(indexset.Interval(first, first+b.n(6)))
	}
	return all
}

func pickOf[T any](b *source, all ...T) T { return all[b.n(len(all)-1)] }

var allReasons = []v1alpha1.Reason{v1alpha1.ReasonError, v1alpha1.ReasonOOMKilled, v1alpha1.ReasonEvicted, v1alpha1.ReasonPreempted,
	v1alpha1.ReasonNodeLost, v1alpha1.ReasonDeadlineExceeded, v1alpha1.ReasonImagePullFailed, v1alpha1.ReasonStartFailed,
	v1alpha1.ReasonUnschedulable, v1alpha1.ReasonDeleted, v1alpha1.ReasonUnknown, v1alpha1.ReasonCompleted, "Garbage"}

func (b *source) snapshot() (Snapshot, time.Time) {
	run := &v1alpha1.BatchRun{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "r", UID: "run", Generation: int64(b.n(9))}}
	b.spec(&run.Spec)
	b.status(&run.Status)
	s := Snapshot{Run: run, Limits: Limits{MaxParallelism: b.n(10), MaxTTL: time.Duration(b.n(300)) * time.Second}, LastStep: Step{b.time(), b.n(300)}, Packing: Packing{OK: b.yes(), Reason: "Policy", Message: b.text(200)}}
	for range b.n(14) {
		s.Ledger = append(s.Ledger, ledger.Task{
			State: ledger.State(b.n(int(ledger.Withdrawn))), Execution: b.byte(), Failures: b.byte(), Disruptions: b.byte(), Growth: byte(b.n(3)),
			Due: pickOf(b, 0, uint32(epoch.Unix()), uint32(epoch.Unix())+uint32(b.byte()), 1<<32-1), Wave: uint32(b.n(6))})
	}
	run.Status.Waves.Ledger = s.Ledger.Encode()
	b.tasks(&s)
	number := 0
	for range b.n(4) {
		wave := b.wave(number)
		number += 1 + b.n(2)
		if b.n(7) == 1 {
			s.Unreadable = append(s.Unreadable, wave)
		} else {
			s.Waves = append(s.Waves, wave)
		}
	}
	s.Gone, s.Leaving = slices.Collect(b.set().All()), slices.Collect(b.set().All())
	if b.yes() {
		s.Trouble = Trouble{Reason: pickOf(b, v1alpha1.RunNameTaken, v1alpha1.RunJobRefused, v1alpha1.RunPodsNotCreated),
			Message: b.text(4000), Stalled: b.yes(), Retry: time.Duration(b.byte()) * time.Second}
	}
	for range b.n(6) {
		s.Progress = append(s.Progress, v1alpha1.TaskProgress{Index: int32(b.n(16)), Percent: int32(b.n(100)), Message: b.text(200), Pod: "p"})
	}
	if b.yes() {
		s.NextLook = b.time()
	}
	now := epoch.Add(time.Duration(b.n(1200)-600) * time.Second)
	for i := range s.Waves {
		s.Waves[i].Queue = pickOf(b, "", "", "the queue q")
	}
	s.QueueSays = b.text(4000)
	return s, now
}

// tasks adds a table, or why there is none.
func (b *source) tasks(s *Snapshot) {
	spec := &s.Run.Spec
	if spec.Parameters == nil {
		s.Tasks = parameters.ArrayTable(spec.TaskCount())
		return
	}
	first := &v1alpha1.Parameters{Items: []v1alpha1.Combination{{"A": "1"}, {"A": b.text(1024)}, {"A": "2"}, {"A": "7"}}}
	table, err := parameters.NewTable([]*v1alpha1.Parameters{first, spec.Parameters}, spec.Parameters)
	if err != nil || b.n(7) == 1 {
		s.Trouble = Trouble{Reason: v1alpha1.RunNoTasks, Message: "no tasks", Stalled: true}
		return
	}
	s.Tasks = table
	if len(s.Ledger) > table.Len() && !Replaced(s.Run) { // observe does not let this pass
		s.Ledger = s.Ledger[:table.Len()]
		s.Run.Status.Waves.Ledger = s.Ledger.Encode()
	}
	s.Sweep() // drops the ledger of a run that was replaced, as observe does
}

func (b *source) spec(spec *v1alpha1.BatchRunSpec) {
	if b.n(3) == 1 {
		spec.Parameters = &v1alpha1.Parameters{Matrix: []v1alpha1.Parameter{
			{Name: "A", Range: &v1alpha1.Range{Start: 0, End: int64(b.n(5))}}, {Name: "B", Values: []string{"x", "y" + b.text(900)}}}}
	} else {
		spec.Completions = ptr.To(int32(1 + b.n(14)))
	}
	spec.Parallelism, spec.BackoffLimit, spec.Pilot = b.small(8), b.small(4), b.small(4)
	spec.TTLSecondsAfterFinished, spec.RecordTTLSecondsAfterFinished = b.small(600), b.small(600)
	spec.Suspend, spec.Cancel = ptr.To(b.n(3) == 1), ptr.To(b.n(7) == 1)
	if b.yes() {
		spec.MaxFailedTasks = ptr.To(pickOf(b, intstr.FromInt32(int32(b.n(5))), intstr.FromString("20%"), intstr.FromString("garbage")))
		spec.ActiveDeadlineSeconds = ptr.To(int64(b.n(1000)))
	}
	if b.yes() {
		policy(spec).MaxDisruptions = b.small(3)
		policy(spec).Backoff = &v1alpha1.Backoff{BaseSeconds: b.small(600), MaxSeconds: b.small(600)}
		policy(spec).Rules = []v1alpha1.RetryRule{
			{Reasons: []v1alpha1.Reason{pickOf(b, allReasons...)}, Action: b.action(), Memory: &v1alpha1.MemoryGrowth{IncreasePercent: 50}},
			{ExitCodes: &v1alpha1.ExitCodes{Operator: pickOf(b, v1alpha1.ExitCodesIn, v1alpha1.ExitCodesNotIn), Values: []int32{int32(b.n(5))}}, Action: b.action()}}
	}
	if b.yes() {
		spec.Startup = &v1alpha1.StartupPolicy{ImagePullDeadlineSeconds: b.small(60), UnschedulableDeadlineSeconds: b.small(60)}
		spec.Logs = &v1alpha1.LogPolicy{Keep: ptr.To(pickOf(b, v1alpha1.KeepAll, v1alpha1.KeepFailed, v1alpha1.KeepNone))}
	}
	if b.yes() {
		spec.Rerun = &v1alpha1.Rerun{Token: pickOf(b, "a", "b", "c"), Indexes: pickOf(b, "", "0", "1-3", "99", "garbage"),
			Scope: pickOf(b, nil, ptr.To(v1alpha1.RerunAll), ptr.To(v1alpha1.RerunFailed))}
	}
}

func (b *source) action() v1alpha1.RetryAction {
	return pickOf(b, v1alpha1.ActionCount, v1alpha1.ActionIgnore, v1alpha1.ActionFailTask, v1alpha1.ActionFailRun, "Garbage")
}

func (b *source) status(s *v1alpha1.BatchRunStatus) {
	s.Phase = pickOf(b, "", v1alpha1.PhasePending, v1alpha1.PhaseRunning, v1alpha1.PhaseSucceeded, v1alpha1.PhaseFailed, "Garbage")
	s.Tasks, s.Succeeded, s.Failed, s.Active, s.Pending = int32(b.n(99))-9, int32(b.byte()), int32(b.byte()), int32(b.byte()), int32(b.byte())-9
	s.StartTime, s.CompletionTime, s.CleanupTime = b.stamp(), b.stamp(), b.stamp()
	s.Waves = v1alpha1.WavesStatus{Next: int32(b.n(6)), Sweep: b.yes(), Open: pickOf(b, "", "0", "0-3", b.set().String(), "garbage", "3,1")}
	conditions := []string{v1alpha1.ConditionComplete, v1alpha1.ConditionFailed, v1alpha1.ConditionFailureTarget, v1alpha1.ConditionSuspended,
		v1alpha1.ConditionPacked, v1alpha1.ConditionSpecWarning, v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled}
	for _, kind := range conditions {
		if status := pickOf[metav1.ConditionStatus](b, "", "", "True", "False", "Unknown"); status != "" {
			s.Conditions = append(s.Conditions, metav1.Condition{Type: kind, Status: status, LastTransitionTime: metav1.NewTime(b.time()),
				Reason:  pickOf(b, v1alpha1.RunCancelled, v1alpha1.RunProgressing, v1alpha1.PackedPolicyIneffective, v1alpha1.RunWaitingForRetry, "Garbage"),
				Message: b.text(maxConditionBytes)})
		}
	}
	for range b.n(v1alpha1.MaxFailures) {
		s.Failures = append(s.Failures, b.attempt())
	}
	for range b.n(v1alpha1.MaxSuccesses) {
		s.Successes = append(s.Successes, b.attempt())
	}
	for range b.n(len(allReasons)) {
		s.PodStates = append(s.PodStates, v1alpha1.PodState{State: pickOf(b, allReasons...), Count: int32(b.byte())})
	}
	for range b.n(v1alpha1.MaxReruns) {
		s.Reruns = append(s.Reruns, v1alpha1.RerunRecord{Token: pickOf(b, "x", "y", "a"), Indexes: b.text(maxRerunIndexesBytes)})
	}
}

// attempt is one of a status that is at most as large as the operator writes it.
func (b *source) attempt() v1alpha1.Attempt {
	a := v1alpha1.Attempt{Index: int32(b.n(20)), Attempt: int32(b.byte()), Reason: pickOf(b, allReasons...), Message: b.text(maxMessage),
		Pod: b.text(63), Node: b.text(63), FinishedAt: b.stamp(), LogTail: b.text(1024), ExitCode: b.small(255)}
	if b.n(3) == 1 {
		a.Parameters = map[string]string{"A": b.text(200), "B": b.text(200)}
	}
	return a
}

func (b *source) wave(number int) Wave {
	w := Wave{Number: number, Name: "r-0", UID: types.UID(b.text(3)), Tasks: b.set().Union(indexset.Of(b.n(14))), Parallelism: b.n(9),
		Suspended: b.yes(), Active: b.n(9), Terminating: b.n(3), Stopped: b.yes(), Deleting: b.n(7) == 1, Created: b.time(),
		Starting: b.time(), Outdated: b.yes(), Sweep: b.yes(), Foreign: b.n(7) == 1, Packed: b.yes(), Refused: b.n(7) == 1, Unwatched: b.n(7) == 1}
	w.Succeeded = b.set().Intersect(w.Tasks)
	w.Failed = b.set().Intersect(w.Tasks).Minus(w.Succeeded)
	if b.n(3) == 1 {
		w.Finished = "Failed " + b.text(300)
	}
	for range b.n(5) {
		w.Pods = append(w.Pods, b.pod())
	}
	return w
}

func (b *source) pod() Pod {
	pod := Pod{Task: b.n(16), Name: b.text(63), UID: "pod", Node: b.text(63), Ended: b.yes(), Gated: b.n(7) == 1, Deleting: b.time()}
	if pod.Ended {
		pod.Outcome = outcome.Outcome{Reason: pickOf(b, allReasons...), Disruption: b.yes(), ExitCode: b.small(255),
			Message: b.text(maxMessage), FinishedAt: b.time(), Tail: b.text(4096)}
	} else if b.yes() {
		pod.Waiting = outcome.Waiting{Reason: pickOf(b, allReasons...), Message: b.text(maxMessage), Since: b.time(), Gated: b.yes()}
	}
	return pod
}
