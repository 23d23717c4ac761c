package render

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// rateWindow is over how long a rate is measured.
const rateWindow = 5 * time.Minute

// Rate is how fast tasks end, measured over the last minutes. The zero value is ready for use.
type Rate struct {
	samples []sample
}

type sample struct {
	time time.Time
	done int
}

// Add tells how many tasks had ended at a time. It starts anew where that is fewer than before: tasks were rerun.
func (r *Rate) Add(now time.Time, done int) {
	if n := len(r.samples); n > 0 && r.samples[n-1].done > done {
		r.samples = nil
	}
	r.samples = append(r.samples, sample{now, done})
	for len(r.samples) > 2 && now.Sub(r.samples[1].time) >= rateWindow {
		r.samples = r.samples[1:]
	}
}

// Observe tells how far a run is at a time. The first time it counts from the start of the run, unless tasks were rerun:
// who comes late sees an estimate at once.
func (r *Rate) Observe(now time.Time, run *v1alpha1.BatchRun) {
	status := &run.Status
	if started := status.StartTime; len(r.samples) == 0 && started != nil && started.Time.Before(now) &&
		len(status.Reruns) == 0 && status.CompletionTime == nil {
		r.Add(started.Time, 0)
	}
	r.Add(now, int(status.Succeeded+status.Failed))
}

// PerSecond is the rate at a time; ok is false where nothing ended since it is measured.
func (r *Rate) PerSecond(now time.Time) (rate float64, ok bool) {
	if len(r.samples) == 0 {
		return 0, false
	}
	first, last := r.samples[0], r.samples[len(r.samples)-1]
	elapsed := now.Sub(first.time).Seconds()
	if elapsed <= 0 || last.done == first.done {
		return 0, false
	}
	return float64(last.done-first.done) / elapsed, true
}

// Pace is the rate and when the run would end with it, in words; "" where nothing is known.
func (r *Rate) Pace(run *v1alpha1.BatchRun, now time.Time) string {
	rate, ok := r.PerSecond(now)
	if !ok {
		return ""
	}
	text := perTime(rate)
	if left := run.Status.Active + run.Status.Pending; left > 0 && run.Status.CompletionTime == nil {
		text += ", done in about " + duration.HumanDuration(time.Duration(float64(left)/rate*float64(time.Second)))
	}
	return text
}

func perTime(rate float64) string {
	const perMinute, perHour = 60, 3600
	switch {
	case rate >= 1:
		return fmt.Sprintf("%.1f tasks/s", rate)
	case rate*perMinute >= 1:
		return fmt.Sprintf("%.1f tasks/min", rate*perMinute)
	}
	return fmt.Sprintf("%.1f tasks/h", rate*perHour)
}

// Line is a run in a line, for logs.
func Line(run *v1alpha1.BatchRun, pace string) string {
	text := fmt.Sprintf("%s %s: %s", run.Name, phaseWord(run), counts(run))
	if pace != "" {
		text += ", " + pace
	}
	return text
}

func phaseWord(run *v1alpha1.BatchRun) string {
	if run.Status.Phase == "" {
		return "new"
	}
	return string(run.Status.Phase)
}

// Screen is what a terminal shows of a run that goes on. The bar is that of the terminal, with its own width.
func Screen(run *v1alpha1.BatchRun, bar, pace string, o Options) string {
	p := &page{width: o.Width}
	p.line("", "%s  %s", run.Name, Phase(run))
	p.write(bar)
	p.line("", "%s", counts(run))
	if pace != "" {
		p.line("", "%s", pace)
	}
	if states := states(run); states != "" {
		p.line("", "attempts: %s", states)
	}
	for _, said := range run.Status.Progress {
		p.line("", "task %d: %s", said.Index, saying(said))
	}
	if shown := last(run.Status.Failures, o.Failures); len(shown) > 0 {
		p.blank()
		p.line("", "Last failures:")
		for i := range shown {
			p.line("  ", "%s", Attempt(&shown[i], o.Now))
			if tail := lastLine(shown[i].LogTail); tail != "" {
				p.line("    | ", "%s", tail)
			}
		}
	}
	return p.String()
}

func lastLine(text string) string {
	text = strings.TrimRight(text, "\n")
	return text[strings.LastIndexByte(text, '\n')+1:]
}
