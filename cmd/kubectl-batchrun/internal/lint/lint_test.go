package lint

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/manifest"
)

// head is what the documents of the table begin with; the spec's fields begin in line 5.
const head = `apiVersion: batchrun.io/v1alpha1
kind: BatchRun
metadata: {name: run}
spec:
`

// template is a template for those that are about something else.
const template = `
  template: {spec: {containers: [{name: main, image: example}]}}
`

func TestFindings(t *testing.T) {
	linter, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, text, want string }{
		{"nothing", head + "  completions: 3" + template, ""},
		{"a value that is too small", head + "  completions: 0" + template,
			"f:5:3: spec.completions: should be greater than or equal to 1"},
		{"a misspelled field", head + "  backofLimit: 4" + template,
			"f:5:3: spec.backofLimit: unknown field: did you mean backoffLimit?"},
		{"a misspelled field of the template", head + "  template:\n    spec:\n      containers:\n      - name: main\n        imag: example\n        image: example\n",
			"f:9:9: spec.template.spec.containers[0].imag: unknown field: did you mean image?"},
		{"a Job's field", head + "  maxFailedIndexes: 4" + template,
			"f:5:3: spec.maxFailedIndexes: unknown field, a Job's field: write maxFailedTasks"},
		{"a field that is like no other", head + "  zzzzzzzz: 4" + template, "f:5:3: spec.zzzzzzzz: unknown field: remove it"},
		{"an unknown field of the metadata", strings.Replace(head, "{name: run}", "{name: run, lables: {}}", 1) + "  completions: 1" + template,
			"f:3:23: metadata.lables: unknown field: remove it"},
		{"a text for a number", head + `  completions: "3"` + template, `f:5:3: spec.completions: Invalid value: "string"`},
		{"a rule", head + "  template:\n    spec:\n      restartPolicy: OnFailure\n      containers: [{name: main, image: example}]\n",
			"f:7:7: spec.template.spec.restartPolicy: must be Never: the run retries with a new pod"},
		{"a rule over two fields", head + "  completions: 3\n  parameters: {items: [{A: x}]}" + template,
			"f:5:3: spec.completions: completions must not be set together with parameters"},
		{"a value that is not one of those that there are", head + "  logs: {keep: Some}" + template,
			`f:5:10: spec.logs.keep: Unsupported value: "Some"`},
		{"a field that is missing", head + "  template: {spec: {containers: [{image: example}]}}\n",
			"f:5:34: spec.template.spec.containers[0].name: is missing: add it"},
		{"a template that is missing", head + "  completions: 3\n", "f:4:1: spec.template: is missing: add it"},
		{"an item that is there twice", head + "  parameters: {matrix: [{name: A, values: [x, y, x]}]}" + template,
			"f:5:50: spec.parameters.matrix[0].values[2]: repeats"},
		{"a key that is there twice", head + "  completions: 3\n  completions: 4" + template,
			"spec.completions: is there more than once: remove one"},
		{"an exclude that matches nothing", head + `  parameters: {matrix: [{name: A, values: [x]}], exclude: [{A: z}]}` + template,
			"spec.parameters.exclude[0]: matches no combination"},
		{"an exclude that leaves nothing", head + `  parameters: {matrix: [{name: A, values: [x]}], exclude: [{A: x}]}` + template,
			"f:5:50: spec.parameters.exclude: no tasks"},
		{"a label with dots", head + "  template:\n    metadata:\n      labels:\n        batchrun.io/run: x\n    spec: {containers: [{name: main, image: example}]}\n",
			"f:7:7: spec.template.metadata.labels: must not have controller-uid"},
		{"no name", strings.Replace(head, "{name: run}", "{}", 1) + "  completions: 1" + template, "f:3:1: metadata: metadata.name is missing"},
		{"a name that is too long", strings.Replace(head, "name: run", "name: "+strings.Repeat("a", 53), 1) + "  completions: 1" + template,
			"f:3:12: metadata.name: must be at most 52 characters"},
		{"another version", strings.Replace(head, "v1alpha1", "v1", 1) + "  completions: 1" + template,
			`f:1:1: apiVersion: is "batchrun.io/v1": write batchrun.io/v1alpha1`},
		{"no YAML", "a: b\nc: [\n", "f:2:1: this is no YAML:"},
		{"no object", "- a\n", "f:1:1: this is no Kubernetes object"},
	} {
		t.Run(test.name, func(t *testing.T) {
			findings, ok := linter.Document(t.Context(), manifest.Parse("f", []byte(test.text))[0])
			if !ok {
				t.Fatal("it was taken for another kind")
			}
			var lines []string
			for _, finding := range findings {
				lines = append(lines, finding.String())
			}
			if test.want == "" && len(lines) > 0 || !slices.ContainsFunc(lines, func(line string) bool { return test.want == "" || strings.Contains(line, test.want) }) && test.want != "" {
				t.Errorf("got:\n%s\nwant: %s", strings.Join(lines, "\n"), test.want)
			}
		})
	}
}

func TestPositionsCountFromTheTopOfTheFile(t *testing.T) {
	linter, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	documents := manifest.Parse("f", []byte("# a comment\n---\nkind: Secret\n--- # another\n"+head+"  completions: 0"+template))
	if len(documents) != 2 {
		t.Fatalf("got %d documents", len(documents))
	}
	if _, ok := linter.Document(t.Context(), documents[0]); ok {
		t.Error("a Secret was taken for a BatchRun")
	}
	findings, _ := linter.Document(t.Context(), documents[1])
	if len(findings) != 1 || findings[0].Position != (manifest.Position{Line: 9, Column: 3}) {
		t.Errorf("got %v", findings)
	}
}

func TestTheSamplesHaveNothingToMend(t *testing.T) {
	figures, err := Figures("baseline")
	if err != nil {
		t.Fatal(err)
	}
	linter, err := New(figures)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../../../../config/samples/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, document := range manifest.Parse(file, content) {
			findings, ok := linter.Document(t.Context(), document)
			for _, finding := range findings {
				t.Error(finding)
			}
			if ok {
				checked++
			}
		}
	}
	if checked == 0 {
		t.Error("no sample is a BatchRun")
	}
}

func TestSiteRules(t *testing.T) {
	own := filepath.Join(t.TempDir(), "own.yaml")
	if err := os.WriteFile(own, []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: batchrun-site-rules}\ndata: {maxParallelism: \"2\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := head + "  completions: 500\n  template:\n    spec:\n      containers:\n      - name: main\n        image: example\n" +
		"        command: [sleep, infinity]\n        resources: {requests: {cpu: 1, memory: 1Gi}, limits: {cpu: 2, memory: 2Gi}}\n"
	endless := `f:9:9: spec.template.spec.containers[0]: "sleep infinity" never ends: let the command end with its work (site rule)`
	for profile, want := range map[string]string{
		"baseline": endless,
		"nrp": "f:4:1: spec.parallelism: 500 tasks may be active at once: set parallelism to at most 400 (site rule)\n" + endless + "\n" +
			"f:9:9: spec.template.spec.containers[0]: the limit of cpu (2) is not its request (1): with more than 100 tasks, here 500, make them equal (site rule)\n" +
			"f:9:9: spec.template.spec.containers[0]: the limit of memory (2Gi) is not its request (1Gi): with more than 100 tasks, here 500, make them equal (site rule)",
		own: "f:4:1: spec.parallelism: 500 tasks may be active at once: set parallelism to at most 2 (site rule)",
	} {
		t.Run(filepath.Base(profile), func(t *testing.T) {
			figures, err := Figures(profile)
			if err != nil {
				t.Fatal(err)
			}
			linter, err := New(figures)
			if err != nil {
				t.Fatal(err)
			}
			findings, _ := linter.Document(t.Context(), manifest.Parse("f", []byte(text))[0])
			var lines []string
			for _, finding := range findings {
				lines = append(lines, finding.String())
			}
			if got := strings.Join(lines, "\n"); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
			broken, _ := linter.Document(t.Context(), manifest.Parse("f", []byte(head+"  template: {}\n"))[0])
			if len(broken) != 1 || !strings.Contains(broken[0].Message, "is missing") {
				t.Errorf("got %v", broken)
			}
		})
	}
	for _, profile := range []string{"nosuch", "../../../../config/site-rules/policy/policy.yaml"} {
		if _, err := Figures(profile); err == nil {
			t.Errorf("%s was taken for figures", profile)
		}
	}
}
