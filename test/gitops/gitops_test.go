package gitops

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// run is a run of generation 2 with these conditions, each given as its type, or "!" and its type where it is false.
func run(phase v1alpha1.Phase, conditions ...string) *v1alpha1.BatchRun {
	r := &v1alpha1.BatchRun{ObjectMeta: metav1.ObjectMeta{Name: "r", Generation: 2}}
	r.Status.ObservedGeneration, r.Status.Phase = 2, phase
	for _, name := range conditions {
		c := metav1.Condition{Type: name, Status: metav1.ConditionTrue, Reason: "Because", Message: "it is so", ObservedGeneration: 2}
		if name[0] == '!' {
			c.Type, c.Status = name[1:], metav1.ConditionFalse
		}
		r.Status.Conditions = append(r.Status.Conditions, c)
	}
	return r
}

func TestHealth(t *testing.T) {
	edited := run(v1alpha1.PhaseSucceeded, "Complete", "Ready")
	edited.Generation = 3
	going, started := run(v1alpha1.PhaseRunning, "!Ready", "Reconciling"), metav1.Now()
	going.Status.StartTime = &started
	silent := run(v1alpha1.PhaseFailed, "Failed", "!Ready", "Stalled")
	silent.Status.Conditions[2].Message = ""
	for name, test := range map[string]struct {
		run             *v1alpha1.BatchRun
		health, message string
		kstatus         status.Status
		// started is by Flux' expressions.
		started status.Status
	}{
		"a new run is on its way": {&v1alpha1.BatchRun{ObjectMeta: metav1.ObjectMeta{Generation: 1}, Status: v1alpha1.BatchRunStatus{ObservedGeneration: -1}},
			Progressing, "The operator has not looked at this version of the run yet", status.InProgressStatus, status.InProgressStatus},
		"an edited one is, whatever it was before": {edited,
			Progressing, "The operator has not looked at this version of the run yet", status.InProgressStatus, status.InProgressStatus},
		"one that waits to start":      {run(v1alpha1.PhaseRunning, "!Ready", "Reconciling"), Progressing, "it is so", status.InProgressStatus, status.InProgressStatus},
		"one that has started":         {going, Progressing, "it is so", status.InProgressStatus, status.CurrentStatus},
		"a suspended one":              {run(v1alpha1.PhaseSuspended, "Suspended", "!Ready", "Reconciling"), Suspended, "it is so", status.InProgressStatus, status.CurrentStatus},
		"one that succeeded":           {run(v1alpha1.PhaseSucceeded, "Complete", "Ready"), Healthy, "it is so", status.CurrentStatus, status.CurrentStatus},
		"one that failed":              {run(v1alpha1.PhaseFailed, "Failed", "!Ready", "Stalled"), Degraded, "it is so", status.FailedStatus, status.FailedStatus},
		"one that cannot go on":        {run(v1alpha1.PhasePending, "!Ready", "Stalled"), Degraded, "it is so", status.FailedStatus, status.FailedStatus},
		"a reason stands for no words": {silent, Degraded, "Because", status.FailedStatus, status.FailedStatus},
	} {
		t.Run(name, func(t *testing.T) {
			health, message, err := Health(test.run)
			if err != nil || health != test.health || message != test.message {
				t.Errorf("Argo CD: got %s %q %v, want %s %q", health, message, err, test.health, test.message)
			}
			if state, _, err := Kstatus(test.run); err != nil || state != test.kstatus {
				t.Errorf("kstatus: got %s %v, want %s", state, err, test.kstatus)
			}
			if state, err := Started(test.run); err != nil || state != test.started {
				t.Errorf("Flux' expressions: got %s %v, want %s", state, err, test.started)
			}
			if text := Disagreement(test.run); text != "" {
				t.Error(text)
			}
		})
	}
}

func TestDisagreementIsTold(t *testing.T) {
	if Disagreement(run(v1alpha1.PhaseSucceeded, "!Ready", "Reconciling")) == "" {
		t.Error("a run that succeeded and is not Ready was not told")
	}
}

func TestActions(t *testing.T) {
	suspended, cancelled, failed := run(v1alpha1.PhaseSuspended), run(v1alpha1.PhaseCancelled), run(v1alpha1.PhaseFailed)
	now := metav1.Now()
	suspended.Spec.Suspend = ptr.To(true)
	cancelled.Spec.Cancel, cancelled.Status.CompletionTime = ptr.To(true), &now
	failed.Status.Failed, failed.Status.CompletionTime = 2, &now
	for name, test := range map[string]struct {
		run  *v1alpha1.BatchRun
		want []string
	}{
		"a new run":           {&v1alpha1.BatchRun{}, []string{"cancel", "suspend"}},
		"a run that goes on":  {run(v1alpha1.PhaseRunning), []string{"cancel", "suspend"}},
		"a suspended run":     {suspended, []string{"cancel", "resume"}},
		"a cancelled run":     {cancelled, nil},
		"a run with failures": {failed, []string{"rerun"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Actions(test.run)
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("got %v %v, want %v", got, err, test.want)
			}
		})
	}
}

func TestAnActionChangesNothingElse(t *testing.T) {
	for action, want := range map[string]string{
		"suspend": `{"spec":{"suspend":true}}`,
		"resume":  `{"spec":{"suspend":false}}`,
		"cancel":  `{"spec":{"cancel":true}}`,
	} {
		r := run(v1alpha1.PhaseRunning, "!Ready", "Reconciling")
		r.Spec.Completions, r.Labels = ptr.To(int32(3)), map[string]string{"a": "b"}
		if got, err := Act(r, action); err != nil || string(got) != want {
			t.Errorf("%s: got %s %v, want %s", action, got, err, want)
		}
	}
	got, err := Act(run(v1alpha1.PhaseFailed), "rerun")
	if err != nil || !regexp.MustCompile(`^\{"spec":\{"rerun":\{"scope":"Failed","token":"[-0-9T:]+Z"}}}$`).Match(got) {
		t.Errorf("rerun: got %s %v", got, err)
	}
}

func TestTheDocsShowTheExpressions(t *testing.T) {
	manifest, err := os.ReadFile("../../config/flux/runs.yaml")
	if err != nil {
		t.Fatal(err)
	}
	docs, err := os.ReadFile("../../docs/flux.md")
	if err != nil {
		t.Fatal(err)
	}
	_, health, found := strings.Cut(string(manifest), "  wait: true\n")
	if !found || !strings.Contains(string(docs), "```yaml\n  wait: true\n"+health+"```") {
		t.Errorf("docs/flux.md does not show the end of config/flux/runs.yaml:\n%s", health)
	}
}
