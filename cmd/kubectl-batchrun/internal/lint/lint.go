// Package lint finds what is wrong with the YAML of a BatchRun without a cluster: what the API server would refuse, what
// the operator would warn of, and what breaks the rules of a site.
package lint

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/manifest"
	"github.com/batchrun/batchrun/controllers/parameters"
)

// Finding is one thing that is wrong.
type Finding struct {
	File     string
	Position manifest.Position
	// Path is that of the field, "" for the document as a whole.
	Path string
	// Message says what is wrong and how to mend it.
	Message string
}

// String is the finding as compilers write one: file:line:column: field: message.
func (f Finding) String() string {
	text := fmt.Sprintf("%s:%d:%d: ", f.File, f.Position.Line, f.Position.Column)
	if f.Path != "" {
		text += f.Path + ": "
	}
	return text + f.Message
}

// problem is a finding whose place in the file is still to be found.
type problem struct{ path, message string }

// check finds problems of an object that is a BatchRun. It must not change the object.
type check func(ctx context.Context, object map[string]any) []problem

// Linter knows the rules. It is made once: compiling them takes a moment.
type Linter struct {
	checks []check
	site   *siteRules // nil where no site rules are judged
}

// New makes a linter with the rules that this program was built with. It judges by the rules of a site too if it gets
// the site's figures.
func New(figures *corev1.ConfigMap) (*Linter, error) {
	schema, err := newSchema()
	if err != nil {
		return nil, fmt.Errorf("the CustomResourceDefinition of this program: %w", err)
	}
	l := &Linter{checks: []check{checkNames, schema.check, checkParameters}}
	if figures != nil {
		if l.site, err = newSiteRules(figures); err != nil {
			return nil, fmt.Errorf("the site rules of this program: %w", err)
		}
	}
	return l, nil
}

// Document finds what is wrong with a document; ok is false where it is not a BatchRun.
func (l *Linter) Document(ctx context.Context, d *manifest.Document) (findings []Finding, ok bool) {
	if d.Err != nil {
		return []Finding{{File: d.File, Position: manifest.Position{Line: d.Err.Line, Column: 1}, Message: d.Err.Message}}, true
	}
	if d.Kind() != "BatchRun" {
		return nil, false
	}
	problems := repeatedKeys(d)
	if version := d.APIVersion(); version != v1alpha1.GroupVersion.String() {
		problems = append(problems, problem{"apiVersion", fmt.Sprintf("is %q: write %s", version, v1alpha1.GroupVersion)})
	}
	for _, check := range l.checks {
		problems = append(problems, check(ctx, d.Object)...)
	}
	if l.site != nil {
		broken, err := l.site.check(ctx, d.Object)
		if err != nil && len(problems) == 0 { // what is wrong besides may be why
			broken = []problem{{"", "it cannot be judged by the site rules: " + err.Error()}}
		}
		problems = append(problems, broken...)
	}
	for _, p := range problems {
		findings = append(findings, Finding{File: d.File, Position: d.Locate(p.path), Path: p.path, Message: p.message})
	}
	slices.SortStableFunc(findings, func(a, b Finding) int {
		if a.Position.Line != b.Position.Line {
			return a.Position.Line - b.Position.Line
		}
		return a.Position.Column - b.Position.Column
	})
	return findings, true
}

// checkNames asks for a name.
func checkNames(_ context.Context, object map[string]any) []problem {
	metadata, _ := object["metadata"].(map[string]any)
	if metadata["name"] == nil && metadata["generateName"] == nil {
		return []problem{{"metadata", "metadata.name is missing: add one"}}
	}
	return nil
}

// checkParameters finds what only the operator can see of a sweep: that no task is left, and what has no effect.
func checkParameters(_ context.Context, object map[string]any) []problem {
	spec, _ := object["spec"].(map[string]any)
	fields, ok := spec["parameters"].(map[string]any)
	if !ok {
		return nil
	}
	var p v1alpha1.Parameters
	if runtime.DefaultUnstructuredConverter.FromUnstructured(fields, &p) != nil {
		return nil // the schema says why
	}
	table, err := parameters.NewTable(nil, &p)
	switch {
	case errors.Is(err, parameters.ErrNoTasks):
		return []problem{{"spec.parameters.exclude", err.Error()}}
	case err != nil:
		return nil // the rules of the schema say why
	}
	var problems []problem
	for _, warning := range table.Warnings() {
		path, message, _ := strings.Cut(warning.Message, " ") // it begins with the field
		problems = append(problems, problem{path, message + " (it has no effect)"})
	}
	return problems
}

// repeatedKeys finds fields that are there twice: kubectl would take the last one and say nothing.
func repeatedKeys(d *manifest.Document) []problem {
	var problems []problem
	manifest.Walk(d.Node, func(path string, keys []string) {
		seen := map[string]bool{}
		for _, key := range keys {
			if seen[key] {
				problems = append(problems, problem{strings.TrimPrefix(path+"."+key, "."), "is there more than once: remove one"})
			}
			seen[key] = true
		}
	})
	return problems
}
