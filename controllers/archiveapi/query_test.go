package archiveapi

import (
	"net/url"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

func TestAQueryThatIsWrongIsRefusedByName(t *testing.T) {
	for text, said := range map[string]string{
		"task=-1":                          `task: must be a whole number of at least 0, is "-1"`,
		"task=x":                           `task: must be a whole number of at least 0, is "x"`,
		"task=":                            `task: must be a whole number of at least 0, is ""`,
		"task=1&task=2":                    "task: say it once",
		"task=99999999999":                 "task: must be a whole number",
		"attempt=0":                        `attempt: must be a whole number of at least 1, is "0"`,
		"execution=0":                      "execution: must be a whole number of at least 1",
		"tailLines=all":                    "tailLines: must be a whole number of at least 0",
		"tailLines=99999999999999999999":   "tailLines: must be a whole number",
		"limitBytes=0":                     "limitBytes: must be a whole number of at least 1",
		"sinceBytes=-5":                    "sinceBytes: must be a whole number of at least 0",
		"follow=true":                      "follow: there is no such parameter; there are: attempt, container, execution, limitBytes, sinceBytes, tailLines, task",
		"container=main&container=sidecar": "container: say it once",
	} {
		values, err := url.ParseQuery(text)
		if err != nil {
			t.Fatal(err)
		}
		_, err = parseQuery(values)
		if !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), said) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestAQueryIsRead(t *testing.T) {
	got, err := parseQuery(url.Values{"task": {"7"}, "attempt": {"2"}, "execution": {"3"}, "container": {"main"}, "tailLines": {"0"},
		"limitBytes": {"9223372036854775807"}, "sinceBytes": {"5"}, "timeout": {"10s"}})
	if err != nil {
		t.Fatal(err)
	}
	want := query{task: 7, attempt: 2, execution: 3, container: "main", tailLines: 0, limitBytes: 9223372036854775807, sinceBytes: 5}
	if got != want {
		t.Errorf("got %+v", got)
	}
	if got, _ := parseQuery(nil); got != (query{task: -1, tailLines: -1, limitBytes: -1}) {
		t.Errorf("got %+v", got)
	}
}
