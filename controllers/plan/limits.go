package plan

import (
	"fmt"
	"time"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/parameters"
)

// Limits are what the cluster's admin lets any run have, by flags of the operator, and what a run has that does not say.
type Limits struct {
	// MaxParallelism is the ceiling on spec.parallelism, and its default.
	MaxParallelism int
	// MaxTasks is the most tasks a run can have; 0: as many as the API lets it.
	MaxTasks int
	// DefaultTTL is the default of spec.ttlSecondsAfterFinished; 0: that of the API, one week.
	DefaultTTL time.Duration
	// MaxTTL is the ceiling on spec.ttlSecondsAfterFinished; 0: none.
	MaxTTL time.Duration
}

// TooManyTasks is what stalls a run of n tasks, if it may not have as many.
func (l Limits) TooManyTasks(n int) (trouble Trouble, is bool) {
	if l.MaxTasks == 0 || n <= l.MaxTasks {
		return Trouble{}, false
	}
	return Trouble{Reason: v1alpha1.RunTooManyTasks, Stalled: true, Message: fmt.Sprintf("the run has %d tasks, of which this "+
		"cluster's admin allows %d (the operator's --max-tasks): make several runs of it", n, l.MaxTasks)}, true
}

// ttl is how long the Jobs and pods of the run are kept once it has finished.
func (p *planner) ttl() time.Duration {
	ttl := p.spec.TTL()
	if p.spec.TTLSecondsAfterFinished == nil && p.DefaultTTL > 0 {
		ttl = p.DefaultTTL
	}
	if p.MaxTTL > 0 {
		ttl = min(ttl, p.MaxTTL)
	}
	return ttl
}

// lowered tells which fields are above a ceiling, which then holds instead.
func (p *planner) lowered() []parameters.Warning {
	var all []parameters.Warning
	tell := func(format string, args ...any) {
		all = append(all, parameters.Warning{Reason: v1alpha1.WarningAboveLimit, Message: fmt.Sprintf(format, args...)})
	}
	if n := p.spec.Parallelism; n != nil && int(*n) > p.MaxParallelism {
		tell("spec.parallelism is %d, this cluster's admin allows %d (the operator's --max-parallelism), which holds", *n, p.MaxParallelism)
	}
	if seconds := p.spec.TTLSecondsAfterFinished; seconds != nil && p.ttl() < p.spec.TTL() {
		tell("spec.ttlSecondsAfterFinished is %d, this cluster's admin allows %.0f (the operator's --max-ttl), which holds",
			*seconds, p.MaxTTL.Seconds())
	}
	return all
}
