package manifest

import (
	"fmt"
	"testing"
)

func TestDocumentsAreThoseThatKubectlSees(t *testing.T) {
	text := "# only a comment\n---\nkind: A\n---\n\n---\r\nkind: B\r\n--- # a comment\nkind: C\n--- {kind: D}\n---\n- no object\n"
	var got []string
	for _, d := range Parse("f", []byte(text)) {
		switch {
		case d.Err != nil:
			got = append(got, fmt.Sprintf("error in line %d", d.Err.Line))
		default:
			got = append(got, fmt.Sprintf("%s in line %d", d.Kind(), d.Locate("kind").Line))
		}
	}
	want := "[A in line 3 B in line 7 C in line 9 D in line 10 error in line 11]"
	if fmt.Sprint(got) != want {
		t.Errorf("got  %v\nwant %s", got, want)
	}
}

func TestBooleansAreThoseOfKubectl(t *testing.T) {
	d := Parse("f", []byte("kind: A\nyes: no\ncount: 3\n"))[0]
	if d.Object["true"] != false || d.Object["count"] != int64(3) {
		t.Errorf("got %v", d.Object)
	}
}

func TestPlaces(t *testing.T) {
	d := Parse("f", []byte("kind: A\nmetadata:\n  labels:\n    a.b/c: x\n    a: y\nspec:\n  list:\n  - one: &anchor\n      two: 2\n  - *anchor\n"))[0]
	for path, want := range map[string]string{
		"":                         "1:1",
		"kind":                     "1:1",
		"metadata.labels.a.b/c":    "4:5",
		"metadata.labels[a.b/c]":   "4:5",
		"metadata.labels.a":        "5:5",
		"metadata.labels.missing":  "3:3",
		"metadata.missing.further": "2:1",
		"spec.list[0].one.two":     "9:7",
		"spec.list[1].two":         "9:7",
		"spec.list[7]":             "7:3",
	} {
		if at := d.Locate(path); fmt.Sprintf("%d:%d", at.Line, at.Column) != want {
			t.Errorf("%s is at %d:%d, want %s", path, at.Line, at.Column, want)
		}
	}
}
