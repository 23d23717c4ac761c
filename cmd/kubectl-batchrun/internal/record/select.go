package record

import (
	"fmt"
	"slices"
	"strings"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
)

// parseIndexes reads what a status shows of indexes: the text may end in "…".
func parseIndexes(text string) (indexset.Set, error) {
	return indexset.Parse(strings.TrimSuffix(strings.TrimSuffix(text, "…"), ","))
}

// Filter says which tasks are wanted; the zero value wants all.
type Filter struct {
	States  []State
	Reasons []v1alpha1.Reason
	Indexes *indexset.Set
}

// Of are those of the tasks that are wanted.
func (f Filter) Of(tasks []Task) []Task {
	return slices.DeleteFunc(slices.Clone(tasks), func(task Task) bool {
		return len(f.States) > 0 && !slices.Contains(f.States, task.State) ||
			len(f.Reasons) > 0 && !slices.Contains(f.Reasons, task.Reason) ||
			f.Indexes != nil && !f.Indexes.Contains(task.Index)
	})
}

// ParseStates reads the names of states in any case.
func ParseStates(names []string) ([]State, error) {
	return parse(names, States, "state")
}

// Reasons are those for which an attempt ends.
var Reasons = []v1alpha1.Reason{
	v1alpha1.ReasonCompleted, v1alpha1.ReasonError, v1alpha1.ReasonOOMKilled, v1alpha1.ReasonEvicted,
	v1alpha1.ReasonPreempted, v1alpha1.ReasonNodeLost, v1alpha1.ReasonDeadlineExceeded, v1alpha1.ReasonImagePullFailed,
	v1alpha1.ReasonStartFailed, v1alpha1.ReasonUnschedulable, v1alpha1.ReasonDeleted, v1alpha1.ReasonUnknown,
}

// ParseReasons reads the names of reasons in any case.
func ParseReasons(names []string) ([]v1alpha1.Reason, error) {
	return parse(names, Reasons, "reason")
}

func parse[T ~string](names []string, known []T, what string) ([]T, error) {
	var parsed []T
	for _, name := range names {
		i := slices.IndexFunc(known, func(t T) bool { return strings.EqualFold(string(t), name) })
		if i < 0 {
			texts := make([]string, 0, len(known))
			for _, t := range known {
				texts = append(texts, string(t))
			}
			return nil, fmt.Errorf("there is no %s %q: choose of %s", what, name, strings.Join(texts, ", "))
		}
		parsed = append(parsed, known[i])
	}
	return parsed, nil
}
