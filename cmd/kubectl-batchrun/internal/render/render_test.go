package render_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"

	"charm.land/lipgloss/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/diagnose"
	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/golden"
	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/record"
	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/render"
)

// widths are those that the golden files are for.
var widths = []int{80, 200}

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func before(d time.Duration) *metav1.Time { return ptr.To(metav1.NewTime(now.Add(-d))) }

// sweep is a run with everything that a page shows.
func sweep() *v1alpha1.BatchRun {
	return &v1alpha1.BatchRun{
		ObjectMeta: metav1.ObjectMeta{Namespace: "vision", Name: "sweep"},
		Spec: v1alpha1.BatchRunSpec{
			BackoffLimit: ptr.To(int32(1)),
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "train", Image: "registry.example/train:v2",
				Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("2Gi")}}}}}},
		},
		Status: v1alpha1.BatchRunStatus{
			Phase: v1alpha1.PhaseRunning, Completions: "120/200", Tasks: 200, Succeeded: 120, Failed: 6, Active: 20, Pending: 54, Retries: 11,
			SucceededIndexes: "0-99,110-129", FailedIndexes: "100,102,104,106,108,109",
			PodStates: []v1alpha1.PodState{{State: v1alpha1.ReasonCompleted, Count: 120}, {State: v1alpha1.ReasonOOMKilled, Count: 12}, {State: v1alpha1.ReasonEvicted, Count: 2}},
			StartTime: before(90 * time.Minute),
			Progress:  []v1alpha1.TaskProgress{{Index: 130, Percent: 37, Message: "epoch 3", Pod: "sweep-4-0-abcde"}, {Index: 131, Percent: 2, Pod: "sweep-4-1-abcde"}},
			Reruns:    []v1alpha1.RerunRecord{{Token: "after-the-fix", Time: *before(30 * time.Minute), Tasks: 3, Indexes: "3,7,9"}},
			Conditions: []metav1.Condition{
				{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.RunProgressing, Message: "20 tasks are active, 54 wait for room: spec.parallelism is 20"},
				{Type: v1alpha1.ConditionSpecWarning, Status: metav1.ConditionTrue, Reason: v1alpha1.WarningExcludeMatchesNothing,
					Message: "spec.parameters: exclude[0] matches no combination of the matrix, so it leaves nothing out; correct its values or remove it"},
			},
			Failures: []v1alpha1.Attempt{
				{Index: 100, Attempt: 2, Execution: 1, Parameters: map[string]string{"LR": "0.1", "SEED": "100"}, Reason: v1alpha1.ReasonOOMKilled, ExitCode: ptr.To(int32(137)),
					Node: "node-7", Pod: "sweep-3-0-abcde", FinishedAt: before(20 * time.Minute), LogTail: "epoch 1: loss 0.9\nepoch 2: loss 0.7\n"},
				{Index: 7, Attempt: 1, Execution: 2, Parameters: map[string]string{"LR": "0.01", "SEED": "7"}, Reason: v1alpha1.ReasonEvicted, Disruption: true, ExitCode: ptr.To(int32(143)),
					Node: "node-2", Message: "The node was low on resource: memory. Threshold quantity: 100Mi, available: 52Mi. Container train was using 1900Mi, request is 500Mi.",
					FinishedAt: before(10 * time.Minute)},
				{Index: 109, Attempt: 2, Execution: 1, Parameters: map[string]string{"LR": "0.1", "SEED": "109"}, Reason: v1alpha1.ReasonError, ExitCode: ptr.To(int32(127)),
					Node: "node-7", FinishedAt: before(time.Minute), LogTail: "/bin/sh: 1: trian: not found, and this line goes on with 漢字 for so long that a terminal of 80 columns has to break it somewhere"},
			},
		},
	}
}

func finishedRun() *v1alpha1.BatchRun {
	return &v1alpha1.BatchRun{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "pi"},
		Status: v1alpha1.BatchRunStatus{
			Phase: v1alpha1.PhaseSucceeded, Completions: "1/1", Tasks: 1, Succeeded: 1, SucceededIndexes: "0",
			StartTime: before(26 * time.Hour), CompletionTime: before(25 * time.Hour), Duration: "1h0m0s", CleanupTime: before(time.Hour),
			PodStates:  []v1alpha1.PodState{{State: v1alpha1.ReasonCompleted, Count: 1}},
			Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.RunCompleted, Message: "every task succeeded"}},
		},
	}
}

func tasks() []record.Task {
	return []record.Task{
		{Index: 0, Parameters: map[string]string{"LR": "0.1", "MODEL": "small"}, State: record.Succeeded, Execution: 1, Attempts: 1, Reason: v1alpha1.ReasonCompleted, Node: "node-1", Pod: "sweep-0-0-aaaaa"},
		{Index: 1, Parameters: map[string]string{"LR": "0.1", "MODEL": "large"}, State: record.Failed, Execution: 2, Attempts: 7, Reason: v1alpha1.ReasonOOMKilled,
			ExitCode: ptr.To(int32(137)), Node: "node-2", Pod: "sweep-1-0-bbbbb", Message: "container \"train\"\nfailed, \"badly\""},
		{Index: 2, Parameters: map[string]string{"LR": "0.01", "MODEL": "small"}, State: record.Active, Execution: 1, Attempts: 2, Reason: v1alpha1.ReasonError, ExitCode: ptr.To(int32(1)), Node: "node-2"},
		{Index: 10, Parameters: map[string]string{"LR": "0.01", "MODEL": "large"}, State: record.Pending, Execution: 1},
	}
}

func TestPages(t *testing.T) {
	empty := &v1alpha1.BatchRun{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "new"}}
	for _, width := range widths {
		for name, text := range map[string]string{
			"get-sweep":     render.Run(sweep(), render.Options{Width: width, Now: now, Failures: 3}),
			"get-finished":  render.Run(finishedRun(), render.Options{Width: width, Now: now, Failures: 3}),
			"get-new":       render.Run(empty, render.Options{Width: width, Now: now, Failures: 3}),
			"watch-sweep":   render.Screen(sweep(), strings.Repeat("=", 40), "2.0 tasks/s, done in about 37s", render.Options{Width: width, Now: now, Failures: 2}),
			"explain-sweep": render.Causes(sweep(), diagnose.Run(sweep()), width),
			"explain-fine":  render.Causes(finishedRun(), diagnose.Run(finishedRun()), width),
		} {
			t.Run(fmt.Sprintf("%s-%d", name, width), func(t *testing.T) {
				golden.Check(t, fmt.Sprintf("%s-%d.golden", name, width), text)
				for line := range strings.Lines(text) {
					if columns := lipgloss.Width(strings.TrimRight(line, "\n")); columns > width {
						t.Errorf("%d columns: %s", columns, line)
					}
				}
			})
		}
	}
}

func TestNoLineIsBrokenWithoutATerminal(t *testing.T) {
	text := render.Run(sweep(), render.Options{Now: now, Failures: 3})
	if !strings.Contains(text, "Threshold quantity: 100Mi, available: 52Mi. Container train was using 1900Mi, request is 500Mi.\n") {
		t.Errorf("got:\n%s", text)
	}
}

func TestNothingThatATerminalObeysIsWritten(t *testing.T) {
	run := sweep()
	run.Status.Failures[0].LogTail, run.Status.Failures[0].Message = "a\x1b[2Jb\n\u009b1Ac", "\x1b]0;title\a"
	run.Status.Failures[0].Parameters = map[string]string{"LR": "\x1b[1A"}
	run.Status.Conditions[0].Message = "\x1b[31m"
	task := record.Task{Parameters: map[string]string{"LR": "\x1b[1A"}, Node: "\r", Message: "\x1b[1A"}
	for name, text := range map[string]string{
		"get":     render.Run(run, render.Options{Width: 80, Now: now, Failures: 3}),
		"watch":   render.Screen(run, "", "", render.Options{Now: now, Failures: 3}),
		"explain": render.Causes(run, diagnose.Run(run), 80),
		"tasks":   render.Tasks([]record.Task{task}, []string{"LR"}, true),
	} {
		if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && unicode.IsControl(r) }); i >= 0 {
			t.Errorf("%s has %q", name, text[i:i+1])
		}
		if !strings.Contains(text, "^[") {
			t.Errorf("%s does not show what it left out", name)
		}
	}
	if text := render.Plain("a\xffb\u202ec漢"); text != `a\xffb<U+202E>c漢` {
		t.Errorf("got %q", text)
	}
}

func TestClocksDiffer(t *testing.T) {
	if text := render.Attempt(&v1alpha1.Attempt{FinishedAt: before(-time.Hour)}, now); !strings.HasSuffix(text, ", 0s ago") {
		t.Errorf("got %q", text)
	}
}

func TestTasks(t *testing.T) {
	golden.Check(t, "tasks.golden", render.Tasks(tasks(), []string{"MODEL", "LR"}, false))
	golden.Check(t, "tasks-wide.golden", render.Tasks(tasks(), []string{"MODEL", "LR"}, true))
	var csv, json bytes.Buffer
	if err := render.TasksCSV(&csv, tasks(), []string{"MODEL", "LR"}); err != nil {
		t.Fatal(err)
	}
	if err := render.TasksJSON(&json, tasks()); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "tasks-csv.golden", csv.String())
	golden.Check(t, "tasks-json.golden", json.String())
}

func TestTheRateIsThatOfTheLastMinutes(t *testing.T) {
	var rate render.Rate
	if _, ok := rate.PerSecond(now); ok {
		t.Error("a rate without samples")
	}
	at := now
	for done := range 100 { // slow, and then fast for longer than the window
		rate.Add(at, done)
		at = at.Add(time.Minute)
	}
	for done := 100; done < 1000; done++ {
		rate.Add(at, done)
		at = at.Add(time.Second)
	}
	if got, ok := rate.PerSecond(at); !ok || got < 0.95 || got > 1.05 {
		t.Errorf("got %f a second", got)
	}
	run := &v1alpha1.BatchRun{Status: v1alpha1.BatchRunStatus{Tasks: 1060, Succeeded: 1000, Pending: 60}}
	if pace := rate.Pace(run, at); !strings.Contains(pace, "tasks/min, done in about 60s") {
		t.Errorf("the pace is %q", pace)
	}
	rate.Add(at, 10)
	if _, ok := rate.PerSecond(at.Add(time.Second)); ok {
		t.Error("a rate from before a rerun")
	}
}

func TestWhoComesLateSeesAnEstimate(t *testing.T) {
	run := &v1alpha1.BatchRun{Status: v1alpha1.BatchRunStatus{Tasks: 100, Succeeded: 50, Active: 50, StartTime: before(50 * time.Minute)}}
	var rate render.Rate
	rate.Observe(now, run)
	if pace := rate.Pace(run, now); pace != "1.0 tasks/min, done in about 50m" {
		t.Errorf("the pace is %q", pace)
	}
	rerun := run.DeepCopy()
	rerun.Status.Reruns = []v1alpha1.RerunRecord{{Tasks: 1}}
	ended := run.DeepCopy()
	ended.Status.CompletionTime = before(time.Minute)
	for _, other := range []*v1alpha1.BatchRun{rerun, ended} {
		var rate render.Rate
		rate.Observe(now, other)
		if pace := rate.Pace(other, now); pace != "" {
			t.Errorf("the pace is %q", pace)
		}
	}
}

func TestABarIsAsWideAsItIsToBe(t *testing.T) {
	for _, test := range []struct {
		succeeded, failed, tasks int32
		want                     string
	}{
		{0, 0, 0, "[........]"}, {4, 0, 8, "[####....]"}, {8, 0, 8, "[########]"}, {4, 4, 8, "[####xxxx]"}, {1, 1, 100_000, "[........]"},
	} {
		run := &v1alpha1.BatchRun{Status: v1alpha1.BatchRunStatus{Tasks: test.tasks, Succeeded: test.succeeded, Failed: test.failed}}
		if got := render.Bar(run, len(test.want)); got != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
}
