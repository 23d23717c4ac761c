package parameters

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

func TestATableIsReadFromTheRevisionsThatTheRunControls(t *testing.T) {
	run := &v1alpha1.BatchRun{ObjectMeta: metav1.ObjectMeta{Name: "run", UID: "1"}}
	run.Spec.Parameters = &v1alpha1.Parameters{Items: []v1alpha1.Combination{{"A": "z"}, {"A": "x"}}}
	other := &v1alpha1.BatchRun{ObjectMeta: metav1.ObjectMeta{Name: "run", UID: "2"}}
	revision := func(number int64, owner *v1alpha1.BatchRun, text string) appsv1.ControllerRevision {
		return appsv1.ControllerRevision{
			ObjectMeta: metav1.ObjectMeta{Name: RevisionName(run, int(number)),
				OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, v1alpha1.GroupVersion.WithKind("BatchRun"))}},
			Revision: number, Data: runtime.RawExtension{Raw: []byte(text)},
		}
	}
	first, second := revision(0, run, `{"items":[{"A":"x"},{"A":"y"}]}`), revision(1, run, `{"items":[{"A":"z"}]}`)
	foreign := revision(0, other, `{"items":[{"A":"q"}]}`)

	table, err := TableOf(run, Revisions(run, []appsv1.ControllerRevision{second, foreign, first}))
	if err != nil {
		t.Fatal(err)
	}
	if got := table.Row(0).Values[0] + table.Row(1).Values[0] + table.Row(2).Values[0]; got != "xyz" || table.Present().String() != "0,2" {
		t.Errorf("the rows are %s, present %s", got, table.Present())
	}
	for name, revisions := range map[string][]appsv1.ControllerRevision{
		"run-parameters-0 is not there": {second},
		"run-parameters-0: ":            {revision(0, run, `[]`)},
	} {
		if _, err := TableOf(run, revisions); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %s", err, name)
		}
	}
}
