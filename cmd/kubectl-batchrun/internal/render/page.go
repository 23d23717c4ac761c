package render

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// Options say how a page is written.
type Options struct {
	// Width is how many columns there are; 0 breaks no lines.
	Width int
	// Now is the present time.
	Now time.Time
	// Failures is how many of the last failed attempts are shown with their log tails.
	Failures int
}

// Run is the page of a run: how far it is, what happened to its attempts, and why the last ones failed.
func Run(run *v1alpha1.BatchRun, o Options) string {
	p := &page{width: o.Width}
	p.field("Name", "%s", run.Name)
	p.field("Namespace", "%s", run.Namespace)
	p.field("Status", "%s", Phase(run))
	p.field("Progress", "%s", strings.TrimSpace(Bar(run, barWidth(o.Width))+"  "+counts(run)))
	if times := times(run, o.Now); times != "" {
		p.field("Time", "%s", times)
	}
	if states := states(run); states != "" {
		p.field("Attempts", "%s", states)
	}
	for _, said := range run.Status.Progress {
		p.field(fmt.Sprintf("Task %d", said.Index), "%s", saying(said))
	}
	indexes(p, "Succeeded", run.Status.SucceededIndexes)
	indexes(p, "Failed", run.Status.FailedIndexes)
	for _, rerun := range run.Status.Reruns {
		p.field("Rerun", "%s: %s, %s (token %s)",
			plural(int(rerun.Tasks), "task"), shortened(rerun.Indexes), ago(o.Now, rerun.Time.Time), rerun.Token)
	}
	conditions(p, run)
	if shown := last(run.Status.Failures, o.Failures); len(shown) > 0 {
		p.blank()
		p.line("", "Last failures (%d of %d that the record has, newest last):", len(shown), len(run.Status.Failures))
		for i := range shown {
			failure(p, &shown[i], o.Now)
		}
	}
	return p.String()
}

// last are the last n of a list.
func last[T any](list []T, n int) []T {
	return list[max(len(list)-n, 0):]
}

// Phase is what the run does, and why, in words.
func Phase(run *v1alpha1.BatchRun) string {
	if run.Status.Phase == "" {
		return "the operator has not looked at it yet; is it running?"
	}
	text := string(run.Status.Phase)
	ready := meta.FindStatusCondition(run.Status.Conditions, v1alpha1.ConditionReady)
	if ready != nil && ready.Reason != "" && ready.Reason != text && ready.Reason != v1alpha1.RunCompleted {
		text += " (" + ready.Reason + ")"
	}
	if ready != nil && ready.Message != "" && ready.Reason != v1alpha1.RunCompleted {
		text += ": " + ready.Message
	}
	return text
}

// counts is how many tasks are in which state.
func counts(run *v1alpha1.BatchRun) string {
	status := &run.Status
	texts := []string{fmt.Sprintf("%d of %s succeeded", status.Succeeded, plural(int(status.Tasks), "task"))}
	for _, more := range []struct {
		count int32
		text  string
	}{{status.Failed, "failed"}, {status.Active, "active"}, {status.Pending, "pending"}} {
		if more.count > 0 {
			texts = append(texts, fmt.Sprintf("%d %s", more.count, more.text))
		}
	}
	if status.Retries > 0 {
		texts = append(texts, strings.Replace(plural(int(status.Retries), "retry"), "retrys", "retries", 1))
	}
	return strings.Join(texts, ", ")
}

func times(run *v1alpha1.BatchRun, now time.Time) string {
	var texts []string
	if started := run.Status.StartTime; started != nil {
		texts = append(texts, "started "+ago(now, started.Time))
	}
	if ended := run.Status.CompletionTime; ended != nil {
		texts = append(texts, "finished "+ago(now, ended.Time))
	}
	if run.Status.Duration != "" {
		texts = append(texts, "took "+run.Status.Duration)
	}
	if run.Status.CleanupTime != nil {
		texts = append(texts, "its Jobs and pods are deleted")
	}
	return strings.Join(texts, ", ")
}

// states is how many attempts ended for which reason.
func states(run *v1alpha1.BatchRun) string {
	texts := make([]string, 0, len(run.Status.PodStates))
	for _, state := range run.Status.PodStates {
		texts = append(texts, fmt.Sprintf("%d %s", state.Count, state.State))
	}
	return strings.Join(texts, ", ")
}

// saying is what an active attempt says of itself.
func saying(said v1alpha1.TaskProgress) string {
	return strings.TrimSpace(fmt.Sprintf("%d%% %s", said.Percent, said.Message))
}

func indexes(p *page, label, text string) {
	if text != "" {
		p.field(label, "%s", shortened(text))
	}
}

// maxIndexes is how much of a list of indexes a page shows.
const maxIndexes = 160

// shortened is a list of indexes, cut where it is long, with room for line breaks.
func shortened(text string) string {
	if len(text) > maxIndexes {
		text = text[:strings.LastIndexByte(text[:maxIndexes], ',')+1] + "…"
	}
	return strings.ReplaceAll(text, ",", ", ")
}

// conditions shows those that tell something which the status line does not.
func conditions(p *page, run *v1alpha1.BatchRun) {
	ready := meta.FindStatusCondition(run.Status.Conditions, v1alpha1.ConditionReady)
	for _, c := range run.Status.Conditions {
		noteworthy := c.Type == v1alpha1.ConditionSpecWarning && c.Status == metav1.ConditionTrue ||
			c.Type == v1alpha1.ConditionFailureTarget && c.Status == metav1.ConditionTrue ||
			c.Type == v1alpha1.ConditionPacked && c.Status == metav1.ConditionFalse
		if noteworthy && (ready == nil || ready.Message != c.Message) {
			p.field(c.Type, "%s: %s", c.Reason, c.Message)
		}
	}
}

// failure shows a failed attempt, and the end of its log below it.
func failure(p *page, a *v1alpha1.Attempt, now time.Time) {
	p.blank()
	p.line("  ", "%s", Attempt(a, now))
	if a.Message != "" {
		p.line("    ", "%s", oneLine(a.Message))
	}
	if a.LogTail != "" {
		p.line("    | ", "%s", a.LogTail)
	}
}

// Attempt is an ended attempt in a line: which one, why it ended, where and when.
func Attempt(a *v1alpha1.Attempt, now time.Time) string {
	text := fmt.Sprintf("task %d", a.Index)
	if len(a.Parameters) > 0 {
		text += " (" + Parameters(a.Parameters) + ")"
	}
	text += fmt.Sprintf(", attempt %d", a.Attempt)
	if a.Execution > 1 {
		text += fmt.Sprintf(" of rerun %d", a.Execution-1)
	}
	text += ": " + string(a.Reason)
	if a.Disruption {
		text += ", a disruption"
	}
	if a.ExitCode != nil {
		text += fmt.Sprintf(", exit code %d", *a.ExitCode)
	}
	if a.Node != "" {
		text += ", node " + a.Node
	}
	if a.FinishedAt != nil {
		text += ", " + ago(now, a.FinishedAt.Time)
	}
	return text
}

// Parameters are values by their names, sorted: LR=0.1 SEED=3.
func Parameters(values map[string]string) string {
	texts := make([]string, 0, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		texts = append(texts, name+"="+values[name])
	}
	return strings.Join(texts, " ")
}

// barWidth is how wide the bar of a page is.
func barWidth(width int) int {
	const widest, narrowest = 40, 10
	if width == 0 {
		return widest
	}
	return min(max(width/4, narrowest), widest)
}

// Share is how much of the run's tasks have ended, from 0 to 1.
func Share(run *v1alpha1.BatchRun) float64 {
	if run.Status.Tasks == 0 {
		return 0
	}
	return float64(run.Status.Succeeded+run.Status.Failed) / float64(run.Status.Tasks)
}

// Bar is a bar without colours: what succeeded, what failed, and the rest.
func Bar(run *v1alpha1.BatchRun, width int) string {
	inner := width - len("[]")
	tasks := max(int(run.Status.Tasks), 1)
	succeeded := int(run.Status.Succeeded) * inner / tasks
	failed := int(run.Status.Succeeded+run.Status.Failed)*inner/tasks - succeeded
	return "[" + strings.Repeat("#", succeeded) + strings.Repeat("x", failed) + strings.Repeat(".", inner-succeeded-failed) + "]"
}
