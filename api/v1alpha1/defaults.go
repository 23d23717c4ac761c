package v1alpha1

import (
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// The defaults of fields that are left out. They are applied when the operator reads a spec and never written into it:
// the object in the cluster stays what the user, or the GitOps repo, wrote.
const (
	DefaultCompletions              = 1
	DefaultBackoffLimit             = 6
	DefaultTTLSecondsAfterFinished  = 7 * 24 * 60 * 60
	DefaultBackoffBaseSeconds       = 10
	DefaultBackoffMaxSeconds        = 360
	DefaultMaxDisruptions           = 20
	DefaultImagePullDeadlineSeconds = 600
	DefaultTailLines                = 80
	DefaultTailBytes                = 2048
)

// TaskCount is the number of tasks of the run.
func (s *BatchRunSpec) TaskCount() int {
	return int(ptr.Deref(s.Completions, DefaultCompletions))
}

// FailureLimit is the number of counted failures after which a task is failed by the next one.
func (s *BatchRunSpec) FailureLimit() int {
	return int(ptr.Deref(s.BackoffLimit, DefaultBackoffLimit))
}

// DisruptionLimit is the number of uncounted retries after which a task is failed by the next one.
func (s *BatchRunSpec) DisruptionLimit() int {
	if s.RetryPolicy == nil {
		return DefaultMaxDisruptions
	}
	return int(ptr.Deref(s.RetryPolicy.MaxDisruptions, DefaultMaxDisruptions))
}

// Rules are the user's retry rules; none by default.
func (s *BatchRunSpec) Rules() []RetryRule {
	if s.RetryPolicy == nil {
		return nil
	}
	return s.RetryPolicy.Rules
}

// BackoffAfter is the delay before the next attempt of a task with so many counted failures, the last one included.
func (s *BatchRunSpec) BackoffAfter(failures int) time.Duration {
	base, maxDelay := int64(DefaultBackoffBaseSeconds), int64(DefaultBackoffMaxSeconds)
	if s.RetryPolicy != nil && s.RetryPolicy.Backoff != nil {
		base = int64(ptr.Deref(s.RetryPolicy.Backoff.BaseSeconds, DefaultBackoffBaseSeconds))
		maxDelay = int64(ptr.Deref(s.RetryPolicy.Backoff.MaxSeconds, DefaultBackoffMaxSeconds))
	}
	delay := base
	for i := 1; i < failures && delay < maxDelay; i++ {
		delay *= 2
	}
	return time.Duration(min(delay, maxDelay)) * time.Second
}

// MemoryGrowth is what the user's rule for OOMKilled attempts says of memory; nil when there is none.
func (s *BatchRunSpec) MemoryGrowth() *MemoryGrowth {
	for _, rule := range s.Rules() {
		if rule.Memory != nil {
			return rule.Memory
		}
	}
	return nil
}

// FailedTaskLimit is the number of failed tasks that the run of so many tasks survives; ok is false where there is no
// such limit.
func (s *BatchRunSpec) FailedTaskLimit(tasks int) (limit int, ok bool) {
	if s.MaxFailedTasks == nil {
		return 0, false
	}
	limit, err := intstr.GetScaledValueFromIntOrPercent(s.MaxFailedTasks, tasks, false)
	return limit, err == nil
}

// TTL is how long the Jobs and pods of the finished run are kept.
func (s *BatchRunSpec) TTL() time.Duration {
	return time.Duration(ptr.Deref(s.TTLSecondsAfterFinished, DefaultTTLSecondsAfterFinished)) * time.Second
}

// RecordTTL is how long the finished run itself is kept; ok is false where it is kept for ever.
func (s *BatchRunSpec) RecordTTL() (ttl time.Duration, ok bool) {
	if s.RecordTTLSecondsAfterFinished == nil {
		return 0, false
	}
	return time.Duration(*s.RecordTTLSecondsAfterFinished) * time.Second, true
}

// StartDeadline is for how long an attempt may fail to pull an image or to create a container.
func (s *BatchRunSpec) StartDeadline() time.Duration {
	seconds := int32(DefaultImagePullDeadlineSeconds)
	if s.Startup != nil {
		seconds = ptr.Deref(s.Startup.ImagePullDeadlineSeconds, seconds)
	}
	return time.Duration(seconds) * time.Second
}

// UnschedulableDeadline is for how long an attempt may wait for a node; ok is false where it may wait for ever.
func (s *BatchRunSpec) UnschedulableDeadline() (deadline time.Duration, ok bool) {
	if s.Startup == nil || s.Startup.UnschedulableDeadlineSeconds == nil {
		return 0, false
	}
	return time.Duration(*s.Startup.UnschedulableDeadlineSeconds) * time.Second, true
}

// ArchiveTTL is how long archived logs are kept after the run has finished; ok is false where they are kept as long as
// its record.
func (s *BatchRunSpec) ArchiveTTL() (ttl time.Duration, ok bool) {
	if s.Logs == nil || s.Logs.ArchiveTTLSecondsAfterFinished == nil {
		return 0, false
	}
	return time.Duration(*s.Logs.ArchiveTTLSecondsAfterFinished) * time.Second, true
}

// LogTail is which tails are kept, and how many lines and bytes of each.
func (s *BatchRunSpec) LogTail() (keep LogKeep, lines, bytes int) {
	keep, lines, bytes = KeepAll, DefaultTailLines, DefaultTailBytes
	if s.Logs != nil {
		keep = ptr.Deref(s.Logs.Keep, keep)
		lines = int(ptr.Deref(s.Logs.TailLines, DefaultTailLines))
		bytes = int(ptr.Deref(s.Logs.TailBytes, DefaultTailBytes))
	}
	return keep, lines, bytes
}
