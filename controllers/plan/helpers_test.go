package plan

import (
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/ledger"
	"github.com/batchrun/batchrun/controllers/outcome"
)

type (
	spec   = v1alpha1.BatchRunSpec
	reason = v1alpha1.Reason
)

// Outcomes that tests end attempts with.

func completed(at time.Time) outcome.Outcome {
	return outcome.Outcome{Reason: v1alpha1.ReasonCompleted, FinishedAt: at}
}

func exitCode(code int32, at time.Time) outcome.Outcome {
	return outcome.Outcome{Reason: v1alpha1.ReasonError, ExitCode: ptr.To(code), FinishedAt: at}
}

func failure(reason reason) outcome.Outcome { return outcome.Outcome{Reason: reason} }

func disruption(reason reason) outcome.Outcome {
	return outcome.Outcome{Reason: reason, Disruption: true}
}

// Edits of a spec.

func tasks(n int32) func(*spec)      { return func(s *spec) { s.Completions = &n } }
func atOnce(n int32) func(*spec)     { return func(s *spec) { s.Parallelism = &n } }
func failures(n int32) func(*spec)   { return func(s *spec) { s.BackoffLimit = &n } }
func suspended(yes bool) func(*spec) { return func(s *spec) { s.Suspend = &yes } }
func cancelled(s *spec)              { s.Cancel = ptr.To(true) }
func deadline100() func(*spec)       { return func(s *spec) { s.ActiveDeadlineSeconds = ptr.To[int64](100) } }
func ttl(n int32) func(*spec)        { return func(s *spec) { s.TTLSecondsAfterFinished = &n } }
func recordTTL(n int32) func(*spec)  { return func(s *spec) { s.RecordTTLSecondsAfterFinished = &n } }

func policy(s *spec) *v1alpha1.RetryPolicy {
	if s.RetryPolicy == nil {
		s.RetryPolicy = &v1alpha1.RetryPolicy{}
	}
	return s.RetryPolicy
}

func rules(rules ...v1alpha1.RetryRule) func(*spec) {
	return func(s *spec) { policy(s).Rules = rules }
}

func disruptions(n int32) func(*spec) {
	return func(s *spec) { policy(s).MaxDisruptions = &n }
}

func backoff(base, most int32) func(*spec) {
	return func(s *spec) { policy(s).Backoff = &v1alpha1.Backoff{BaseSeconds: &base, MaxSeconds: &most} }
}

func onReason(action v1alpha1.RetryAction, reasons ...reason) v1alpha1.RetryRule {
	return v1alpha1.RetryRule{Reasons: reasons, Action: action}
}

func onExit(action v1alpha1.RetryAction, operator v1alpha1.ExitCodesOperator, codes ...int32) v1alpha1.RetryRule {
	return v1alpha1.RetryRule{ExitCodes: &v1alpha1.ExitCodes{Operator: operator, Values: codes}, Action: action}
}

func starts(pull int32, node *int32) func(*spec) {
	return func(s *spec) {
		s.Startup = &v1alpha1.StartupPolicy{ImagePullDeadlineSeconds: &pull, UnschedulableDeadlineSeconds: node}
	}
}

// started is a world whose first wave runs.
func started(edits ...func(*spec)) *world {
	w := newWorld(edits...)
	w.settle()
	return w
}

// What tests look at.

func (w *world) status() *v1alpha1.BatchRunStatus { return &w.run.Status }

func (w *world) ledger() ledger.Ledger { return w.snapshot(w.fresh()).Ledger }

// state is how often attempts ended for a reason.
func (w *world) state(reason reason) int {
	for _, state := range w.status().PodStates {
		if state.State == reason {
			return int(state.Count)
		}
	}
	return 0
}

// conditions are the types of the conditions and their status, such as "Ready=False Reconciling=True", sorted.
func (w *world) conditions() string {
	var all []string
	for _, c := range w.status().Conditions {
		all = append(all, c.Type+"="+string(c.Status))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func (w *world) reason(conditionType string) string {
	if c := meta.FindStatusCondition(w.status().Conditions, conditionType); c != nil {
		return c.Reason
	}
	return ""
}

func (w *world) message(conditionType string) string {
	if c := meta.FindStatusCondition(w.status().Conditions, conditionType); c != nil {
		return c.Message
	}
	return ""
}

// kstatus is how Flux and kpt read the object: Current, InProgress or Failed.
func (w *world) kstatus() string {
	isTrue := func(conditionType string) bool {
		return meta.IsStatusConditionTrue(w.status().Conditions, conditionType)
	}
	switch {
	case w.status().ObservedGeneration != w.run.Generation:
		return "InProgress"
	case isTrue("Stalled"):
		return "Failed"
	case isTrue("Reconciling"):
		return "InProgress"
	case meta.IsStatusConditionPresentAndEqual(w.status().Conditions, "Ready", metav1.ConditionFalse):
		return "InProgress"
	}
	return "Current"
}

// told are the reasons of the Events so far, warnings with a "!".
func (w *world) told() string {
	var all []string
	for _, e := range w.events {
		if e.Warning {
			e.Reason = "!" + e.Reason
		}
		all = append(all, e.Reason)
	}
	return strings.Join(all, " ")
}

func expect[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func expectText(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in %q", part, text)
		}
	}
}

// expectCounts compares succeeded, failed, active and pending.
func expectCounts(t *testing.T, w *world, succeeded, failed, active, pending int32) {
	t.Helper()
	s := w.status()
	expect(t, "succeeded, failed, active, pending", [4]int32{s.Succeeded, s.Failed, s.Active, s.Pending}, [4]int32{succeeded, failed, active, pending})
}

// expectSettled fails if anything is left to do or to write.
func expectSettled(t *testing.T, w *world) {
	t.Helper()
	writes := w.writes
	w.settle()
	w.now = w.now.Add(time.Second)
	w.settle()
	expect(t, "writes of a settled run", w.writes-writes, 0)
}
