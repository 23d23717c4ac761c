// Package manifest reads YAML files as kubectl does, and remembers where in a file everything stands.
package manifest

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	kjson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	yamlv3 "go.yaml.in/yaml/v3"
)

// Document is one document of a file.
type Document struct {
	// File is the name of the file, for messages.
	File string
	// Line is how many lines of the file are in front of the document.
	Line int
	// Text is the document as it stands in the file.
	Text []byte
	// Node is the document with its comments and positions; the lines are counted from the document's first one.
	Node *yamlv3.Node
	// Object is what kubectl would send of it.
	Object map[string]any
	// Err is why the document could not be read; Node and Object are nil then.
	Err *SyntaxError
}

// SyntaxError is what is wrong with a document that is no YAML object.
type SyntaxError struct {
	Line    int
	Message string
}

// Error implements error.
func (e *SyntaxError) Error() string { return e.Message }

// APIVersion is the apiVersion of the document, "" where it has none.
func (d *Document) APIVersion() string { return text(d.Object, "apiVersion") }

// Kind is the kind of the document, "" where it has none.
func (d *Document) Kind() string { return text(d.Object, "kind") }

// Name is the name of the document's object, or what its name begins with where the API server is to complete it.
func (d *Document) Name() string {
	metadata, _ := d.Object["metadata"].(map[string]any)
	if name := text(metadata, "name"); name != "" {
		return name
	}
	return text(metadata, "generateName")
}

func text(object map[string]any, key string) string {
	value, _ := object[key].(string)
	return value
}

// separator is a line that begins a document.
var separator = regexp.MustCompile(`^---(\s.*)?$`)

// Parse reads the documents of a file; those without content are left out.
func Parse(file string, content []byte) []*Document {
	var documents []*Document
	var part []string
	first := 0
	end := func(next int) {
		text := []byte(strings.Join(part, ""))
		if hasContent(part) {
			documents = append(documents, parse(file, first, text))
		}
		part, first = nil, next
	}
	number := 0
	for line := range strings.Lines(string(content)) {
		if separator.MatchString(strings.TrimRight(line, "\r\n")) {
			end(number)
			if rest := strings.TrimSpace(strings.TrimPrefix(strings.TrimRight(line, "\r\n"), "---")); rest == "" || rest[0] == '#' {
				line = rest + "\n" // a comment may stand behind the separator
			} else {
				line = "   " + strings.TrimPrefix(line, "---")
			}
		}
		part = append(part, line)
		number++
	}
	end(number)
	return documents
}

// hasContent is false where there are comments and directives only.
func hasContent(lines []string) bool {
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if line != "" && line != "..." && line[0] != '#' && line[0] != '%' {
			return true
		}
	}
	return false
}

func parse(file string, line int, text []byte) *Document {
	d := &Document{File: file, Line: line, Text: text}
	node := &yamlv3.Node{}
	if err := yamlv3.NewDecoder(bytes.NewReader(text)).Decode(node); err != nil {
		d.Err = d.syntaxError(err)
		return d
	}
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		d.Err = d.syntaxError(err)
		return d
	}
	var object any
	if err := kjson.Unmarshal(asJSON, &object); err != nil {
		d.Err = d.syntaxError(err)
		return d
	}
	fields, ok := object.(map[string]any)
	if !ok {
		d.Err = &SyntaxError{Line: line + 1, Message: "this is no Kubernetes object: it needs apiVersion, kind, metadata and spec"}
		return d
	}
	d.Node, d.Object = node.Content[0], fields
	return d
}

// errorLine is where the YAML library says that an error is.
var errorLine = regexp.MustCompile(`^(?:yaml: |error converting YAML to JSON: )+(?:line (\d+): )?`)

func (d *Document) syntaxError(err error) *SyntaxError {
	message, line := err.Error(), 1
	if found := errorLine.FindStringSubmatch(message); found != nil {
		message = strings.TrimPrefix(message, found[0])
		if n, err := strconv.Atoi(found[1]); err == nil {
			line = n
		}
	}
	return &SyntaxError{Line: d.Line + line, Message: fmt.Sprintf("this is no YAML: %s", message)}
}

// Position is where something stands in a file; the first line and column are 1.
type Position struct{ Line, Column int }

// Locate is where the field of this path stands, such as spec.template.spec.containers[0].name. Where the file does not
// have it, it is where the closest field above it stands.
func (d *Document) Locate(path string) Position {
	node, at := d.Node, d.Node
	for path != "" && node != nil {
		for node.Kind == yamlv3.AliasNode {
			node = node.Alias
		}
		key, value, rest := step(node, path)
		if value == nil {
			break
		}
		node, at, path = value, key, rest
	}
	if at == nil {
		return Position{Line: d.Line + 1, Column: 1}
	}
	return Position{Line: d.Line + at.Line, Column: at.Column}
}

// step follows the first part of a path; key is what has the position of the value.
func step(node *yamlv3.Node, path string) (key, value *yamlv3.Node, rest string) {
	switch node.Kind {
	case yamlv3.SequenceNode:
		number, after, ok := strings.Cut(strings.TrimPrefix(path, "["), "]")
		if i, err := strconv.Atoi(number); ok && err == nil && i >= 0 && i < len(node.Content) {
			return node.Content[i], node.Content[i], after
		}
	case yamlv3.MappingNode:
		length := -1 // the longest key that fits: keys of labels have dots
		for i := 0; i+1 < len(node.Content); i += 2 {
			if after, ok := afterKey(path, node.Content[i].Value); ok && len(node.Content[i].Value) > length {
				key, value, rest = node.Content[i], node.Content[i+1], after
				length = len(key.Value)
			}
		}
	}
	return key, value, rest
}

// afterKey is what follows a key in a path, which has it as ".key" or as "[key]".
func afterKey(path, key string) (rest string, ok bool) {
	if after, found := strings.CutPrefix(path, "["+key+"]"); found {
		return after, true
	}
	after, found := strings.CutPrefix(strings.TrimPrefix(path, "."), key)
	return after, found && (after == "" || after[0] == '.' || after[0] == '[')
}

// Walk calls visit for each object of a document with its path and its keys, repeated ones included.
func Walk(node *yamlv3.Node, visit func(path string, keys []string)) {
	walk(node, "", visit)
}

func walk(node *yamlv3.Node, path string, visit func(string, []string)) {
	switch node.Kind {
	case yamlv3.MappingNode:
		keys := make([]string, 0, len(node.Content)/2)
		for i := 0; i+1 < len(node.Content); i += 2 {
			keys = append(keys, node.Content[i].Value)
			walk(node.Content[i+1], strings.TrimPrefix(path+"."+node.Content[i].Value, "."), visit)
		}
		visit(path, keys)
	case yamlv3.SequenceNode:
		for i, item := range node.Content {
			walk(item, fmt.Sprintf("%s[%d]", path, i), visit)
		}
	}
}
