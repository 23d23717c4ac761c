package plan

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// What a run says of its logs: nothing while all is well, what goes wrong, and once that all are stored.
func TestLogsArchived(t *testing.T) {
	w := started(tasks(2))
	says := func(a *Archived) string {
		s := w.snapshot(w.fresh())
		s.Archived = a
		p := Make(s, w.now)
		w.run.Status.Conditions = p.Status.Conditions
		c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionLogsArchived)
		if c == nil {
			return ""
		}
		return string(c.Status) + " " + c.Reason + ": " + c.Message
	}
	const failing = "False NotStored: the logs of 1 attempt are not stored yet, which is tried again: connection refused"
	for _, step := range []struct {
		name     string
		archived *Archived
		want     string
	}{
		{"no archive", nil, ""},
		{"all is well", &Archived{Pending: 1, Stored: 1}, ""},
		{"it cannot be reached", &Archived{Pending: 1, Failing: "connection refused"}, failing},
		{"an operator that knows nothing yet", nil, failing},
		{"it is back", &Archived{Pending: 1}, ""},
		{"all is stored, and the run goes on", &Archived{Stored: 1}, ""},
	} {
		expect(t, step.name, says(step.archived), step.want)
	}
	w.succeed(0, 1)
	expect(t, "it has just finished", says(&Archived{Stored: 2}), "")
	w.now = w.now.Add(settledAfter)
	expect(t, "pending", says(&Archived{Pending: 1, Stored: 1}), "")
	expect(t, "stored", says(&Archived{Stored: 2}), "True Stored: all logs that could be read are archived")
	w.now = w.now.Add(time.Hour)
	const lost = "False Incomplete: the logs of 1 attempt are incomplete or lost, the last: pod x"
	expect(t, "lost", says(&Archived{Stored: 1, Incomplete: 1, Lacks: "pod x"}), lost)
	expect(t, "lost, and failing", says(&Archived{Pending: 1, Incomplete: 1, Lacks: "pod x", Failing: "full"}),
		lost+"; the logs of 1 attempt are not stored yet, which is tried again: full")
	expect(t, "what an earlier operator found", says(&Archived{Stored: 1}), lost+"; the logs of 1 attempt are not stored yet, which is tried again: full")
}
