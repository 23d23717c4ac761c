package render

import (
	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/diagnose"
)

// Causes says why a run is in trouble and what to do next.
func Causes(run *v1alpha1.BatchRun, causes []diagnose.Cause, width int) string {
	p := &page{width: width}
	p.line("", "%s: %s", run.Name, Phase(run))
	if len(causes) == 0 {
		p.line("", "%s. Nothing failed that the record knows of.", counts(run))
		return p.String()
	}
	for i, cause := range causes {
		p.blank()
		if i == 0 {
			p.line("", "Most likely: %s", cause.What)
		} else {
			p.line("", "Also: %s", cause.What)
		}
		if cause.Evidence != "" {
			p.line("  | ", "%s", cause.Evidence)
		}
		for _, step := range cause.Next {
			p.step(step)
		}
	}
	return p.String()
}

// step adds a step to take, with a bullet in front of its first line.
func (p *page) step(text string) {
	for i, line := range wrapped(text, "    ", p.width) {
		if i == 0 {
			line = "  - " + line[len("    "):]
		}
		p.write(line)
	}
}
