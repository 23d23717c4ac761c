package convert_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/convert"
	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/golden"
	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/lint"
	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/manifest"
)

func TestJobsBecomeBatchRunsThatTheAPIServerTakes(t *testing.T) {
	linter, err := lint.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no test data", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			result, err := convert.Document(read(t, file))
			if err != nil {
				t.Fatal(err)
			}
			if !result.Converted || !result.Run {
				t.Error("it was not converted")
			}
			golden.Check(t, name+".golden", string(result.Text))

			converted := manifest.Parse(name, result.Text)[0]
			findings, ok := linter.Document(t.Context(), converted)
			if !ok {
				t.Error("the result is no BatchRun")
			}
			for _, finding := range findings {
				t.Error(finding)
			}
			if again, err := convert.Document(converted); err != nil || again.Converted || string(again.Text) != string(converted.Text) {
				t.Errorf("converting the result again changes it: %v", err)
			}
		})
	}
}

func read(t *testing.T, file string) *manifest.Document {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return manifest.Parse(file, content)[0]
}

func TestOthersStayAsTheyAre(t *testing.T) {
	for name, text := range map[string]string{
		"a ConfigMap": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: data}\ndata: {a:   b} # kept\n",
		"a BatchRun":  "apiVersion: batchrun.io/v1alpha1\nkind: BatchRun\nmetadata: {name:   run}\n",
	} {
		t.Run(name, func(t *testing.T) {
			result, err := convert.Document(manifest.Parse("file", []byte(text))[0])
			if err != nil {
				t.Fatal(err)
			}
			if string(result.Text) != text || result.Converted {
				t.Errorf("got %q", result.Text)
			}
			if told := strings.Contains(result.Note, "stays as it is"); told == result.Run {
				t.Errorf("the note is %q", result.Note)
			}
		})
	}
}

func TestACronJobsScheduleIsTold(t *testing.T) {
	result, err := convert.Document(read(t, "testdata/cron.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(result.Note, `schedule "0 3 * * *" is left out`) {
		t.Errorf("the note is %q", result.Note)
	}
}

func TestWhatIsNoJobIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"a Job without a template":   "apiVersion: batch/v1\nkind: Job\nspec: {completions: 3}\n",
		"a CronJob without a Job":    "apiVersion: batch/v1\nkind: CronJob\nspec: {schedule: x}\n",
		"a Job without a spec":       "apiVersion: batch/v1\nkind: Job\n",
		"a Job whose spec is a list": "apiVersion: batch/v1\nkind: Job\nspec: []\n",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := convert.Document(manifest.Parse("file", []byte(text))[0]); !errors.Is(err, convert.ErrNoJob) {
				t.Errorf("got %v", err)
			}
		})
	}
}
