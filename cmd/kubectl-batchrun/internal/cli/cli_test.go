package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/golden"
)

func TestTheReferencePageIsThatOfTheCommands(t *testing.T) {
	page, err := os.ReadFile("../../../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(page) != Reference() {
		t.Error("docs/cli.md differs from the commands: make plugin-docs writes it anew")
	}
}

func TestEveryCommandSaysWhatItDoes(t *testing.T) {
	for _, command := range New("kubectl-batchrun", genericiooptions.NewTestIOStreamsDiscard()).Commands() {
		if command.Short == "" || command.GroupID == "" && command.Name() != "version" && command.Name() != "completion" && command.Name() != "help" {
			t.Errorf("%s: no words or no group", command.Name())
		}
	}
}

func TestTheNameIsThatOfTheProgram(t *testing.T) {
	for program, want := range map[string]string{
		"kubectl-batchrun": "kubectl batchrun", "/usr/bin/kubectl-br": "kubectl br", "kubectl-br.exe": "kubectl br", "go-build": "kubectl batchrun",
	} {
		root := New(program, genericiooptions.NewTestIOStreamsDiscard())
		if got := root.CommandPath(); got != want {
			t.Errorf("%s is %q, want %q", program, got, want)
		}
	}
}

// offline runs a command that needs no cluster.
func offline(t *testing.T, input string, args ...string) (out, errOut string, code int) {
	t.Helper()
	streams, in, outBuffer, errBuffer := genericiooptions.NewTestIOStreams()
	in.WriteString(input)
	code = Run(t.Context(), append([]string{"kubectl-batchrun"}, args...), streams)
	return outBuffer.String(), errBuffer.String(), code
}

func TestConvertAndLintNeedNoCluster(t *testing.T) {
	folder := t.TempDir()
	job := filepath.Join(folder, "job.yaml")
	text := "apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\nspec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: example}]}}}\n" +
		"---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"
	if err := os.WriteFile(job, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	converted, notes, code := offline(t, "", "convert", "-f", folder)
	if code != 0 || !strings.Contains(notes, job+":5: Secret s stays as it is") || strings.Count(converted, "\n---\n") != 1 {
		t.Errorf("code %d, notes %q, out:\n%s", code, notes, converted)
	}
	out, notes, code := offline(t, converted, "lint", "-f", "-", "--site-rules", "none")
	if code != 0 || out != "" || !strings.Contains(notes, "1 BatchRun, nothing to mend") {
		t.Errorf("code %d, notes %q, out:\n%s", code, notes, out)
	}
	out, notes, code = offline(t, converted, "lint", "-f", "-")
	if code != 1 || !strings.Contains(out, "has no request of cpu and memory: set resources.requests to what the program needs (site rule)") ||
		!strings.Contains(notes, "--site-rules") {
		t.Errorf("code %d, notes %q, out:\n%s", code, notes, out)
	}
	out, notes, code = offline(t, strings.Replace(converted, "spec: {template", "spec: {completions: 0, template", 1), "lint", "-f", "-")
	if code != 1 || !strings.Contains(out, ":8: spec.completions: should be greater than or equal to 1") || strings.Contains(notes, "error:") {
		t.Errorf("code %d, notes %q, out:\n%s", code, notes, out)
	}
	if _, notes, code := offline(t, text, "lint", "-f", "-"); code != 1 || !strings.Contains(notes, "there is no BatchRun in what was read") {
		t.Errorf("code %d, notes %q", code, notes)
	}
	if _, notes, code := offline(t, "", "lint", "-f", filepath.Join(folder, "none.yaml")); code != 1 || !strings.Contains(notes, "no such file") {
		t.Errorf("code %d, notes %q", code, notes)
	}
}

func TestTheScreenFitsTheTerminal(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	run := &v1alpha1.BatchRun{ObjectMeta: metav1.ObjectMeta{Name: "sweep"}, Status: v1alpha1.BatchRunStatus{
		Phase: v1alpha1.PhaseRunning, Tasks: 10, Succeeded: 4, Failed: 1, Active: 2, Pending: 3,
		Failures: []v1alpha1.Attempt{{Index: 3, Attempt: 1, Reason: v1alpha1.ReasonError, ExitCode: ptr.To(int32(1)), Node: "node-1",
			FinishedAt: ptr.To(metav1.NewTime(now.Add(-time.Minute))), LogTail: strings.Repeat("a long line ", 20)}},
	}}
	earlier := run.DeepCopy()
	earlier.Status.Succeeded, earlier.Status.Failed = 2, 0
	for _, width := range []int{80, 200} {
		clock := now.Add(-time.Minute)
		s := newScreen("sweep", func() time.Time { return clock }, width)
		if text := s.View().Content; !strings.Contains(text, "Waiting for run sweep") {
			t.Errorf("got %q", text)
		}
		s.Update(tea.WindowSizeMsg{Width: width, Height: 40})
		s.Update(runMsg{earlier})
		clock = now
		s.Update(runMsg{run})
		view := s.View().Content
		for line := range strings.Lines(view) {
			if columns := lipgloss.Width(strings.TrimRight(line, "\n")); columns > width {
				t.Errorf("%d columns: %s", columns, line)
			}
		}
		golden.Check(t, fmt.Sprintf("screen-%d.golden", width), view)
	}
}

func TestTheScreenEndsWithTheRunOrAKey(t *testing.T) {
	s := newScreen("run", time.Now, 80)
	if _, command := s.Update(endMsg{errGone}); command == nil || !errors.Is(s.err, errGone) {
		t.Error("it goes on after the end")
	}
	for _, key := range []tea.KeyPressMsg{{Code: 'q', Text: "q"}, {Code: 'c', Mod: tea.ModCtrl}} {
		if _, command := s.Update(key); command == nil || command() != tea.Quit() {
			t.Errorf("%s does not end it", key)
		}
	}
	if _, command := s.Update(tea.KeyPressMsg{Code: 'x', Text: "x"}); command != nil {
		t.Error("another key ends it")
	}
}

func TestLinesOfSeveralLogsDoNotMix(t *testing.T) {
	var out bytes.Buffer
	var mutex sync.Mutex
	a := &prefixed{prefix: "[a] ", out: &out, mutex: &mutex}
	b := &prefixed{prefix: "[b] ", out: &out, mutex: &mutex}
	for _, write := range []struct {
		to   *prefixed
		text string
	}{{a, "one"}, {b, "two\nthree\nfo"}, {a, " more\n\n"}, {b, "ur"}} {
		if n, err := write.to.Write([]byte(write.text)); n != len(write.text) || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := errors.Join(a.Flush(), b.Flush()); err != nil {
		t.Fatal(err)
	}
	if want := "[b] two\n[b] three\n[a] one more\n[a] \n[b] four\n"; out.String() != want {
		t.Errorf("got %q", out.String())
	}
}

func TestExitCodes(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		code int
		text string
	}{
		"none":           {nil, 0, ""},
		"an error":       {errors.New("broken"), 1, "error: broken\n"},
		"a code":         {exitError{errors.New("late"), 124}, 124, "error: late\n"},
		"a silent code":  {exitError{errSilent, 2}, 2, ""},
		"a wrapped code": {fmt.Errorf("so: %w", exitError{errors.New("late"), 124}), 124, "error: late\n"},
		"several":        {errors.Join(errors.New("one"), nil, errors.Join(errors.New("two"))), 1, "error: one\nerror: two\n"},
	} {
		t.Run(name, func(t *testing.T) {
			streams, _, _, errOut := genericiooptions.NewTestIOStreams()
			if code := exitCode(t.Context(), test.err, streams); code != test.code || errOut.String() != test.text {
				t.Errorf("got %d, %q", code, errOut.String())
			}
		})
	}
}

func TestASignalEndsACommandSilently(t *testing.T) {
	streams, _, _, errOut := genericiooptions.NewTestIOStreams()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if code := exitCode(ctx, context.Canceled, streams); code != 130 || errOut.Len() > 0 {
		t.Errorf("got %d, %q", code, errOut.String())
	}
}

func TestEveryCommandWithARunCompletesItsName(t *testing.T) {
	for _, command := range New("kubectl-batchrun", genericiooptions.NewTestIOStreamsDiscard()).Commands() {
		if takes := strings.Contains(command.Use, " NAME"); takes != (command.ValidArgsFunction != nil) && command.Name() != "help" && command.Name() != "completion" {
			t.Errorf("%s", command.Use)
		}
	}
}
