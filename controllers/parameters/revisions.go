package parameters

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// RevisionName is the name of the ControllerRevision that keeps the version of that number of a run's parameters.
func RevisionName(run *v1alpha1.BatchRun, number int) string {
	return run.Name + "-parameters-" + strconv.Itoa(number)
}

// Revisions are those of the ControllerRevisions that the run controls, in order.
func Revisions(run *v1alpha1.BatchRun, all []appsv1.ControllerRevision) []appsv1.ControllerRevision {
	revisions := slices.DeleteFunc(slices.Clone(all), func(revision appsv1.ControllerRevision) bool {
		return !metav1.IsControlledBy(&revision, run)
	})
	slices.SortFunc(revisions, func(a, b appsv1.ControllerRevision) int { return int(a.Revision - b.Revision) })
	return revisions
}

// TableOf is the table of a run whose parameters are kept in these revisions. It fails as NewTable does, and where a
// revision is missing or cannot be read.
func TableOf(run *v1alpha1.BatchRun, revisions []appsv1.ControllerRevision) (*Table, error) {
	recorded := make([]*v1alpha1.Parameters, 0, len(revisions))
	for number, revision := range revisions {
		if int(revision.Revision) != number {
			return nil, fmt.Errorf("%s is not there", RevisionName(run, number))
		}
		p := &v1alpha1.Parameters{}
		if err := json.Unmarshal(revision.Data.Raw, p); err != nil {
			return nil, fmt.Errorf("%s: %w", revision.Name, err)
		}
		recorded = append(recorded, p)
	}
	return NewTable(recorded, run.Spec.Parameters)
}
