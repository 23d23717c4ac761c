package plan

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

func TestHowLongTheJobsOfAFinishedRunAreKept(t *testing.T) {
	hour, day, week := time.Hour, 24*time.Hour, 7*24*time.Hour
	for name, test := range map[string]struct {
		limits Limits
		spec   *int32
		want   time.Duration
	}{
		"a week":                               {Limits{}, nil, week},
		"the admin's default":                  {Limits{DefaultTTL: day}, nil, day},
		"the ceiling, if the default is above": {Limits{MaxTTL: hour}, nil, hour},
		"the run's own":                        {Limits{DefaultTTL: day, MaxTTL: week}, ptr.To[int32](7), 7 * time.Second},
		"the run's own, if it is 0":            {Limits{DefaultTTL: day}, ptr.To[int32](0), 0},
		"the ceiling, if that is above":        {Limits{MaxTTL: hour}, ptr.To[int32](3601), hour},
	} {
		t.Run(name, func(t *testing.T) {
			w := started(tasks(1), func(s *spec) { s.TTLSecondsAfterFinished = test.spec })
			w.limits.DefaultTTL, w.limits.MaxTTL = test.limits.DefaultTTL, test.limits.MaxTTL
			w.succeed(0)
			end := w.status().CompletionTime.Time
			if test.want > 0 {
				expect(t, "next look", w.settle().WakeAt.UTC(), end.Add(test.want).UTC())
			}
			w.now = end.Add(test.want)
			w.settle()
			expect(t, "Jobs", len(w.jobs), 0)
		})
	}
}

func TestWhatIsAboveALimitIsTold(t *testing.T) {
	for name, test := range map[string]struct {
		edit func(*spec)
		want string
	}{
		"nothing":                  {func(*spec) {}, ""},
		"as much as there may be":  {func(s *spec) { s.Parallelism, s.TTLSecondsAfterFinished = ptr.To[int32](10), ptr.To[int32](60) }, ""},
		"a default that is longer": {func(s *spec) { s.TTLSecondsAfterFinished = nil }, ""},
		"parallelism": {func(s *spec) { s.Parallelism = ptr.To[int32](11) },
			"spec.parallelism is 11, this cluster's admin allows 10 (the operator's --max-parallelism), which holds"},
		"the time to live": {func(s *spec) { s.TTLSecondsAfterFinished = ptr.To[int32](61) },
			"spec.ttlSecondsAfterFinished is 61, this cluster's admin allows 60 (the operator's --max-ttl), which holds"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(tasks(1), test.edit)
			w.limits = Limits{MaxParallelism: 10, MaxTTL: time.Minute}
			w.settle()
			got := meta.FindStatusCondition(w.status().Conditions, v1alpha1.ConditionSpecWarning)
			if test.want == "" {
				expect(t, "told", got == nil, true)
				return
			}
			expect(t, "reason", got.Reason, v1alpha1.WarningAboveLimit)
			expect(t, "message", got.Message, test.want)
		})
	}
}

func TestTooManyTasks(t *testing.T) {
	for n, want := range map[int]bool{9: false, 10: false, 11: true} {
		_, is := Limits{MaxTasks: 10}.TooManyTasks(n)
		expect(t, "too many", is, want)
	}
	_, is := Limits{}.TooManyTasks(v1alpha1.MaxTasks)
	expect(t, "too many without a limit", is, false)
}
