package plan

import (
	"math"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/ledger"
	"github.com/batchrun/batchrun/controllers/outcome"
)

func TestDecide(t *testing.T) {
	const (
		count, ignore     = v1alpha1.ActionCount, v1alpha1.ActionIgnore
		failTask, failRun = v1alpha1.ActionFailTask, v1alpha1.ActionFailRun
		in, notIn         = v1alpha1.ExitCodesIn, v1alpha1.ExitCodesNotIn
	)
	memory := onReason(count, v1alpha1.ReasonOOMKilled)
	memory.Memory = &v1alpha1.MemoryGrowth{IncreasePercent: 100, Max: resource.MustParse("1Gi")}
	for _, test := range []struct {
		rule  string
		rules []v1alpha1.RetryRule
		ended outcome.Outcome
		want  v1alpha1.RetryAction
		grow  bool
	}{
		{rule: "an exit code counts", ended: exitCode(1, epoch), want: count},
		{rule: "an out-of-memory kill counts", ended: failure(v1alpha1.ReasonOOMKilled), want: count},
		{rule: "an eviction for what the pod used counts", ended: failure(v1alpha1.ReasonEvicted), want: count},
		{rule: "a pod's deadline counts", ended: failure(v1alpha1.ReasonDeadlineExceeded), want: count},
		{rule: "an eviction by the node does not count", ended: disruption(v1alpha1.ReasonEvicted), want: ignore},
		{rule: "a preemption does not count", ended: disruption(v1alpha1.ReasonPreempted), want: ignore},
		{rule: "a lost node does not count", ended: disruption(v1alpha1.ReasonNodeLost), want: ignore},
		{rule: "a preemption without the condition does not count", ended: failure(v1alpha1.ReasonPreempted), want: ignore},
		{rule: "a lost node without the condition does not count", ended: failure(v1alpha1.ReasonNodeLost), want: ignore},
		{rule: "an exit code of a disrupted pod does not count", ended: outcome.Outcome{Reason: v1alpha1.ReasonError, Disruption: true, ExitCode: ptr.To[int32](143)}, want: ignore},
		{rule: "a deleted pod does not count", ended: failure(v1alpha1.ReasonDeleted), want: ignore},
		{rule: "an unknown end does not count", ended: failure(v1alpha1.ReasonUnknown), want: ignore},
		{rule: "an image that cannot be pulled fails the task", ended: failure(v1alpha1.ReasonImagePullFailed), want: failTask},
		{rule: "a command that cannot be started fails the task", ended: failure(v1alpha1.ReasonStartFailed), want: failTask},
		{rule: "a pod that no node fits fails the task", ended: failure(v1alpha1.ReasonUnschedulable), want: failTask},

		{rule: "the first rule that matches wins",
			rules: []v1alpha1.RetryRule{onReason(ignore, v1alpha1.ReasonOOMKilled), onExit(failTask, in, 2, 3), onReason(failRun, v1alpha1.ReasonError)},
			ended: exitCode(3, epoch), want: failTask},
		{rule: "a later rule matches what the first leaves",
			rules: []v1alpha1.RetryRule{onExit(failTask, in, 2, 3), onReason(failRun, v1alpha1.ReasonError)},
			ended: exitCode(4, epoch), want: failRun},
		{rule: "the defaults hold where no rule matches",
			rules: []v1alpha1.RetryRule{onExit(failTask, in, 2)}, ended: disruption(v1alpha1.ReasonEvicted), want: ignore},
		{rule: "a rule beats the default of a disruption",
			rules: []v1alpha1.RetryRule{onReason(count, v1alpha1.ReasonEvicted)}, ended: disruption(v1alpha1.ReasonEvicted), want: count},
		{rule: "a rule for a reason matches any of its reasons",
			rules: []v1alpha1.RetryRule{onReason(failRun, v1alpha1.ReasonUnknown, v1alpha1.ReasonDeleted)}, ended: failure(v1alpha1.ReasonDeleted), want: failRun},
		{rule: "NotIn matches the other exit codes",
			rules: []v1alpha1.RetryRule{onExit(failTask, notIn, 75)}, ended: exitCode(1, epoch), want: failTask},
		{rule: "NotIn does not match its own exit codes",
			rules: []v1alpha1.RetryRule{onExit(failTask, notIn, 75)}, ended: exitCode(75, epoch), want: count},
		{rule: "NotIn does not match an end without exit code",
			rules: []v1alpha1.RetryRule{onExit(failTask, notIn, 75)}, ended: failure(v1alpha1.ReasonError), want: count},
		{rule: "an exit code belongs to the reason Error only",
			rules: []v1alpha1.RetryRule{onExit(failTask, in, 137)}, ended: outcome.Outcome{Reason: v1alpha1.ReasonOOMKilled, ExitCode: ptr.To[int32](137)}, want: count},
		{rule: "a rule with memory lets the memory grow",
			rules: []v1alpha1.RetryRule{memory}, ended: failure(v1alpha1.ReasonOOMKilled), want: count, grow: true},
		{rule: "a rule with memory leaves other reasons alone",
			rules: []v1alpha1.RetryRule{memory}, ended: exitCode(137, epoch), want: count},
	} {
		t.Run(test.rule, func(t *testing.T) {
			s := &spec{}
			rules(test.rules...)(s)
			action, grow := decide(s, test.ended)
			expect(t, "action", action, test.want)
			expect(t, "grow", grow, test.grow)
		})
	}
}

func TestBackoff(t *testing.T) {
	t.Run("the delay doubles with each counted failure up to its maximum", func(t *testing.T) {
		w := started(backoff(10, 60))
		for _, delay := range []time.Duration{10, 20, 40, 60, 60} {
			w.fail(exitCode(1, w.now), 0)
			w.after(delay*time.Second - time.Second)
			expect(t, "active before the delay is over", w.active(), 0)
			w.after(time.Second)
			expect(t, "active after it", w.active(), 1)
		}
	})
	t.Run("the defaults are 10 seconds and 6 minutes", func(t *testing.T) {
		var s spec
		expect(t, "after one", s.BackoffAfter(1), 10*time.Second)
		expect(t, "after six", s.BackoffAfter(6), 320*time.Second)
		expect(t, "after seven", s.BackoffAfter(7), 6*time.Minute)
		expect(t, "after a hundred", s.BackoffAfter(100), 6*time.Minute)
	})
	t.Run("a base of 0 retries at once", func(t *testing.T) {
		w := started(backoff(0, 60))
		w.fail(exitCode(1, w.now), 0)
		expect(t, "active", w.active(), 1)
	})
	t.Run("the delay is measured from the end of the attempt", func(t *testing.T) {
		w := started()
		ended := w.now
		w.now = w.now.Add(7 * time.Second) // so long nobody looked
		p := w.fail(exitCode(1, ended), 0)
		expect(t, "next look", p.WakeAt.UTC(), ended.Add(10*time.Second))
		w.after(3 * time.Second)
		expect(t, "active", w.active(), 1)
	})
	t.Run("a node clock in the future delays no further than from now", func(t *testing.T) {
		w := started()
		w.fail(exitCode(1, w.now.Add(time.Hour)), 0)
		w.after(10 * time.Second)
		expect(t, "active", w.active(), 1)
	})
	t.Run("an end of unknown time is now", func(t *testing.T) {
		w := started()
		p := w.fail(exitCode(1, time.Time{}), 0)
		expect(t, "next look", p.WakeAt.UTC(), w.now.Add(10*time.Second))
	})
	t.Run("a fraction of a second is not cut off the delay", func(t *testing.T) {
		w := started()
		p := w.fail(exitCode(1, w.now.Add(-100*time.Millisecond)), 0)
		expect(t, "next look", p.WakeAt.UTC(), w.now.Add(10*time.Second))
	})
	t.Run("a disruption is retried at once", func(t *testing.T) {
		w := started()
		w.fail(disruption(v1alpha1.ReasonPreempted), 0)
		expect(t, "active", w.active(), 1)
	})
	t.Run("what nobody knows may go on, so it is retried after a delay", func(t *testing.T) {
		w := started()
		w.fail(failure(v1alpha1.ReasonUnknown), 0)
		expect(t, "active", w.active(), 0)
		w.after(10 * time.Second)
		expect(t, "active", w.active(), 1)
	})
	t.Run("while nothing but the delay is waited for, the run says until when", func(t *testing.T) {
		w := started()
		w.fail(exitCode(1, w.now), 0)
		expect(t, "reason", w.reason("Ready"), v1alpha1.RunWaitingForRetry)
		expectText(t, w.message("Reconciling"), w.now.Add(10*time.Second).Format(time.RFC3339))
		expect(t, "kstatus", w.kstatus(), "InProgress")
	})
}

func TestLimits(t *testing.T) {
	t.Run("backoffLimit n gives n+1 attempts", func(t *testing.T) {
		for _, limit := range []int32{0, 2, 6} {
			w := started(failures(limit), backoff(0, 0))
			for range limit {
				w.fail(exitCode(3, w.now), 0)
				expect(t, "active after a failure", w.active(), 1)
			}
			w.fail(exitCode(3, w.now), 0)
			expect(t, "phase", w.status().Phase, v1alpha1.PhaseFailed)
			expect(t, "attempts", w.state(v1alpha1.ReasonError), int(limit)+1)
			expect(t, "retries", w.status().Retries, limit)
			expectText(t, w.message("Failed"), "1 of 1 task failed", "Error, exit code 3")
		}
	})
	t.Run("each task has a backoffLimit of its own", func(t *testing.T) {
		w := started(tasks(3), failures(1), backoff(0, 0))
		w.fail(exitCode(1, w.now), 0, 1, 2)
		expectCounts(t, w, 0, 0, 3, 0)
		w.fail(exitCode(1, w.now), 1)
		expectCounts(t, w, 0, 1, 2, 0)
		expect(t, "failed", w.status().FailedIndexes, "1")
	})
	t.Run("disruptions do not count against backoffLimit", func(t *testing.T) {
		w := started(failures(0))
		for range 20 {
			w.fail(disruption(v1alpha1.ReasonEvicted), 0)
		}
		w.succeed(0)
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseSucceeded)
		expect(t, "retries", w.status().Retries, 20)
	})
	t.Run("maxDisruptions n gives n uncounted retries", func(t *testing.T) {
		w := started(disruptions(2))
		w.fail(disruption(v1alpha1.ReasonEvicted), 0)
		w.fail(disruption(v1alpha1.ReasonNodeLost), 0)
		expect(t, "active", w.active(), 1)
		w.fail(disruption(v1alpha1.ReasonEvicted), 0)
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseFailed)
	})
	t.Run("counted failures do not count as disruptions", func(t *testing.T) {
		w := started(disruptions(0), backoff(0, 0))
		w.fail(exitCode(1, w.now), 0)
		expect(t, "active", w.active(), 1)
	})
	t.Run("FailTask gives no further attempt", func(t *testing.T) {
		w := started(tasks(2), rules(onExit(v1alpha1.ActionFailTask, v1alpha1.ExitCodesIn, 2)))
		w.fail(exitCode(2, w.now), 0)
		expectCounts(t, w, 0, 1, 1, 0)
		w.succeed(1)
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseFailed)
		expect(t, "reason", w.reason("Failed"), v1alpha1.RunTasksFailed)
	})
	t.Run("memory grows by one step with each out-of-memory kill and with nothing else", func(t *testing.T) {
		rule := onReason(v1alpha1.ActionCount, v1alpha1.ReasonOOMKilled)
		rule.Memory = &v1alpha1.MemoryGrowth{IncreasePercent: 100, Max: resource.MustParse("1Gi")}
		w := started(rules(rule), backoff(0, 0))
		for i, end := range []outcome.Outcome{
			failure(v1alpha1.ReasonOOMKilled), exitCode(1, w.now), disruption(v1alpha1.ReasonEvicted), failure(v1alpha1.ReasonOOMKilled),
		} {
			w.fail(end, 0)
			job, _ := w.attempt(0)
			expect(t, "growth", job.growth, []int{1, 1, 1, 2}[i])
		}
	})
	t.Run("each task's memory grows for itself", func(t *testing.T) {
		rule := onReason(v1alpha1.ActionCount, v1alpha1.ReasonOOMKilled)
		rule.Memory = &v1alpha1.MemoryGrowth{IncreasePercent: 100, Max: resource.MustParse("1Gi")}
		w := started(tasks(2), rules(rule), backoff(0, 0))
		w.end(0, failure(v1alpha1.ReasonOOMKilled))
		w.fail(exitCode(1, w.now), 1)
		first, _ := w.attempt(0)
		second, _ := w.attempt(1)
		expect(t, "growth", [2]int{first.growth, second.growth}, [2]int{1, 0})
	})
}

func TestRunFails(t *testing.T) {
	for _, test := range []struct {
		rule     string
		limit    intstr.IntOrString
		survives int
	}{
		{"maxFailedTasks 0 fails the run with the first failed task", intstr.FromInt32(0), 0},
		{"maxFailedTasks 2 is survived by 2 failed tasks", intstr.FromInt32(2), 2},
		{"maxFailedTasks 10% of 25 tasks is 2, rounded down", intstr.FromString("10%"), 2},
		{"maxFailedTasks 0% is 0", intstr.FromString("0%"), 0},
	} {
		t.Run(test.rule, func(t *testing.T) {
			w := started(tasks(25), failures(0), func(s *spec) { s.MaxFailedTasks = &test.limit })
			for task := range test.survives {
				w.fail(exitCode(1, w.now), task)
			}
			expect(t, "phase", w.status().Phase, v1alpha1.PhaseRunning)
			w.fail(exitCode(1, w.now), test.survives)
			expect(t, "phase", w.status().Phase, v1alpha1.PhaseFailed)
			expect(t, "reason", w.reason("Failed"), v1alpha1.RunMaxFailedTasksExceeded)
			expectText(t, w.message("Failed"), "spec.maxFailedTasks is "+test.limit.String())
			expect(t, "active", w.active(), 0)
		})
	}
	t.Run("without maxFailedTasks every task gets its chance", func(t *testing.T) {
		w := started(tasks(3), failures(0))
		w.fail(exitCode(1, w.now), 0, 1)
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseRunning)
		w.succeed(2)
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseFailed)
		expectText(t, w.message("Failed"), "2 of 3 tasks failed")
	})
	t.Run("FailRun stops the other tasks and fails the run", func(t *testing.T) {
		w := started(tasks(5), atOnce(3), rules(onExit(v1alpha1.ActionFailRun, v1alpha1.ExitCodesIn, 42)))
		w.succeed(0)
		w.fail(exitCode(42, w.now), 1)
		expect(t, "phase", w.status().Phase, v1alpha1.PhaseFailed)
		expect(t, "reason", w.reason("Failed"), v1alpha1.RunFailRunRule)
		expectText(t, w.message("Failed"), "task 1", "exit code 42", "FailRun")
		expectCounts(t, w, 1, 1, 0, 3)
		expectSettled(t, w)
	})
}

func TestAttemptsThatAreDueAboutTheSameTimeAreDueTogether(t *testing.T) {
	p := planning(1, 0, ledger.Ledger{{}})
	for name, test := range map[string]struct {
		end   time.Duration
		delay time.Duration
		want  time.Duration // after epoch, which is a multiple of 5 s
	}{
		"on the beat":                         {-30 * time.Second, 10 * time.Second, -20 * time.Second},
		"just after it":                       {-30*time.Second + time.Millisecond, 10 * time.Second, -15 * time.Second},
		"later, with the one before":          {-26 * time.Second, 10 * time.Second, -15 * time.Second},
		"a long delay has the same beat":      {-29 * time.Second, time.Minute, 35 * time.Second},
		"a short one a shorter beat":          {-30*time.Second + time.Millisecond, 4 * time.Second, -25 * time.Second},
		"the shortest goes by seconds":        {-30*time.Second + time.Millisecond, time.Second, -28 * time.Second},
		"an end in the future is one now":     {time.Hour, 10 * time.Second, 10 * time.Second},
		"an end that is not known is one now": {time.Duration(math.MinInt64), 10 * time.Second, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			end := epoch.Add(test.end)
			if test.end == math.MinInt64 {
				end = time.Time{}
			}
			expect(t, "due", time.Unix(int64(p.due(end, test.delay)), 0).Sub(epoch), test.want)
		})
	}
}
