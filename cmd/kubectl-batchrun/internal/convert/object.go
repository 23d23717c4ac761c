package convert

import (
	"slices"
	"strings"

	yaml "go.yaml.in/yaml/v3"
)

// object is a mapping or another value of a YAML file. Its methods do nothing on nil.
type object struct{ node *yaml.Node }

// get is the value of a key, nil where there is none or it is null.
func (o *object) get(key string) *object {
	if i := o.find(key); i >= 0 {
		value := o.node.Content[i+1]
		for value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		if value.Tag != "!!null" {
			return &object{value}
		}
	}
	return nil
}

// find is the position of a key, -1 where there is none.
func (o *object) find(key string) int {
	if o == nil || o.node.Kind != yaml.MappingNode {
		return -1
	}
	for i := 0; i+1 < len(o.node.Content); i += 2 {
		if o.node.Content[i].Value == key {
			return i
		}
	}
	return -1
}

// items are the values of a list.
func (o *object) items() []*object {
	if o == nil || o.node.Kind != yaml.SequenceNode {
		return nil
	}
	items := make([]*object, 0, len(o.node.Content))
	for _, node := range o.node.Content {
		items = append(items, &object{node})
	}
	return items
}

// text is the text of a scalar, "" of everything else.
func (o *object) text() string {
	if o == nil || o.node.Kind != yaml.ScalarNode {
		return ""
	}
	return o.node.Value
}

// setText changes a scalar; YAML reads the new text as what it looks like.
func (o *object) setText(text string) {
	if o != nil {
		o.node.Value, o.node.Tag, o.node.Style = text, "", 0
	}
}

func (o *object) set(key string, value *yaml.Node) {
	if i := o.find(key); i >= 0 {
		o.node.Content[i+1] = value
	}
}

func scalar(text string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: text} }

func (o *object) append(key string, value *yaml.Node, comment string) {
	name := scalar(key)
	note(name, value, comment)
	o.node.Content = append(o.node.Content, name, value)
}

// prepend adds a field in front of all others. Comments in front of the first one stay there.
func (o *object) prepend(key, value, comment string) {
	o.insert(0, key, value, comment)
}

// insertBehind adds a field behind another one, or in front where that is not there.
func (o *object) insertBehind(behind, key, value, comment string) {
	o.insert(o.find(behind)+2, key, value, comment)
}

func (o *object) insert(at int, key, value, comment string) {
	at = min(max(at, 0), len(o.node.Content))
	at -= at % 2
	name, content := scalar(key), scalar(value)
	note(name, content, comment)
	o.node.Content = slices.Insert(o.node.Content, at, name, content)
}

// rename gives a field another name, and says so behind it.
func (o *object) rename(key, to, comment string) {
	if i := o.find(key); i >= 0 {
		o.node.Content[i].Value = to
		o.comment(to, comment)
	}
}

// comment writes a comment behind a field. A comment that is there stays in front of it.
func (o *object) comment(key, text string) {
	if i := o.find(key); i >= 0 {
		note(o.node.Content[i], o.node.Content[i+1], text)
	}
}

// note writes a comment behind a value that stands on one line, else in front of its key.
func note(key, value *yaml.Node, text string) {
	switch {
	case text == "":
	case value.Kind != yaml.ScalarNode:
		key.HeadComment = lines(key.HeadComment, "# "+text)
	case value.LineComment != "":
		value.LineComment += "; " + text
	default:
		value.LineComment = "# " + text
	}
}

// remove takes a field out. Where comment is not empty, it stands in the field's place.
func (o *object) remove(key, comment string) {
	i := o.find(key)
	if i < 0 {
		return
	}
	name, value := o.node.Content[i], o.node.Content[i+1]
	o.node.Content = slices.Delete(o.node.Content, i, i+2)
	if comment == "" {
		return
	}
	left := lines(name.HeadComment, lineComment(name, value), "# left out: "+comment, name.FootComment)
	switch {
	case i < len(o.node.Content):
		next := o.node.Content[i]
		next.HeadComment = lines(left, next.HeadComment)
	case i > 0:
		last := o.node.Content[i-2]
		last.FootComment = lines(last.FootComment, left)
	default:
		o.node.HeadComment = lines(o.node.HeadComment, left)
	}
}

func lineComment(nodes ...*yaml.Node) string {
	for _, node := range nodes {
		if node.LineComment != "" {
			return node.LineComment
		}
	}
	return ""
}

// removeAll takes fields out that nobody wrote.
func (o *object) removeAll(keys []string) {
	for _, key := range keys {
		o.remove(key, "")
	}
}

// dropEmpty takes a field out that has no fields left.
func (o *object) dropEmpty(key string) {
	if i := o.find(key); i >= 0 {
		if value := o.node.Content[i+1]; value.Tag == "!!null" || value.Kind == yaml.MappingNode && len(value.Content) == 0 {
			o.remove(key, "")
		}
	}
}

func lines(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), "\n")
}
