package stage

import (
	"context"
	"fmt"
	"slices"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/test/gitops"
)

// History is every version of every run of a namespace.
type History struct {
	mutex    sync.Mutex
	versions []*v1alpha1.BatchRun
}

// keepHistory watches the runs of a namespace until ctx ends.
func keepHistory(ctx context.Context, namespace string) *History {
	GinkgoHelper()
	return keepHistoryOn(ctx, Cfg, namespace)
}

func keepHistoryOn(ctx context.Context, cluster *rest.Config, namespace string) *History {
	GinkgoHelper()
	watching, err := client.NewWithWatch(cluster, client.Options{Scheme: Scheme})
	Expect(err).NotTo(HaveOccurred())
	changes := follow(ctx, watching, &v1alpha1.BatchRunList{}, namespace)
	h := &History{}
	go func() {
		for event := range changes {
			if run, ok := event.Object.(*v1alpha1.BatchRun); ok && event.Type != watch.Deleted {
				h.mutex.Lock()
				h.versions = append(h.versions, run)
				h.mutex.Unlock()
			}
		}
	}()
	return h
}

// Of are the versions of the run of this name.
func (h *History) Of(name string) []*v1alpha1.BatchRun {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	var versions []*v1alpha1.BatchRun
	for _, version := range h.versions {
		if version.Name == name {
			versions = append(versions, version)
		}
	}
	return versions
}

// violations are the invariants that any version broke.
func (h *History) violations() []string {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	var found []string
	last := map[string]*v1alpha1.BatchRun{}
	for i, version := range h.versions {
		wrong := append(checkStatus(version), checkStep(last[string(version.UID)], version)...)
		for _, text := range wrong {
			found = append(found, fmt.Sprintf("version %d of run %s: %s", i, version.Name, text))
		}
		last[string(version.UID)] = version
	}
	return found
}

// checkStatus returns what is wrong with one status.
func checkStatus(run *v1alpha1.BatchRun) []string {
	s := &run.Status
	if s.ObservedGeneration <= 0 { // the operator has not seen it yet
		return nil
	}
	var wrong []string
	expect := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	expect(s.Tasks > 0 || ReasonOf(run, v1alpha1.ConditionReady) != v1alpha1.RunProgressing, "no tasks, and nothing tells why")
	expect(s.Succeeded+s.Failed+s.Active+s.Pending == s.Tasks, "%d succeeded + %d failed + %d active + %d pending are not %d tasks",
		s.Succeeded, s.Failed, s.Active, s.Pending, s.Tasks)
	expect(s.Succeeded >= 0 && s.Failed >= 0 && s.Active >= 0 && s.Pending >= 0, "a negative count")
	expect(s.Completions == fmt.Sprintf("%d/%d", s.Succeeded, s.Tasks), "completions %s", s.Completions)
	succeeded, err := indexset.Parse(s.SucceededIndexes)
	expect(err == nil && succeeded.Len() == int(s.Succeeded), "succeededIndexes %s of %d", s.SucceededIndexes, s.Succeeded)
	failed, err := indexset.Parse(s.FailedIndexes)
	expect(err == nil && failed.Len() == int(s.Failed), "failedIndexes %s of %d", s.FailedIndexes, s.Failed)
	expect(succeeded.Intersect(failed).Empty(), "succeeded and failed: %s", succeeded.Intersect(failed))
	expect(len(s.Failures) <= v1alpha1.MaxFailures && len(s.Successes) <= v1alpha1.MaxSuccesses,
		"%d failures, %d successes", len(s.Failures), len(s.Successes))
	if text := gitops.Disagreement(run); text != "" {
		wrong = append(wrong, text)
	}
	return wrong
}

// checkStep returns what is wrong with a version after the one before.
func checkStep(before, after *v1alpha1.BatchRun) []string {
	if before == nil {
		return nil
	}
	var wrong []string
	expect := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	old, now := &before.Status, &after.Status
	expect(now.ObservedGeneration >= old.ObservedGeneration, "observedGeneration falls from %d to %d", old.ObservedGeneration, now.ObservedGeneration)
	expect(now.Waves.Next >= old.Waves.Next, "the next wave falls from %d to %d", old.Waves.Next, now.Waves.Next)
	settled := slices.Contains([]string{ReasonOf(before, v1alpha1.ConditionComplete), ReasonOf(before, v1alpha1.ConditionFailed)},
		ReasonOf(before, v1alpha1.ConditionReady)) // else it cannot follow an edit yet, and says so
	if old.CompletionTime != nil && settled && now.ObservedGeneration == old.ObservedGeneration && len(old.Reruns) == len(now.Reruns) {
		expect(now.Phase == old.Phase && old.CompletionTime.Equal(now.CompletionTime), "a finished run changes from %s to %s", old.Phase, now.Phase)
	}
	edited := now.ObservedGeneration != old.ObservedGeneration && after.Spec.Parameters != nil // one value may be in another's place
	if edited || old.Tasks != now.Tasks || old.Tasks == 0 || len(old.Reruns) != len(now.Reruns) || old.Waves.Sweep != now.Waves.Sweep {
		return wrong
	}
	expect(now.Succeeded >= old.Succeeded, "succeeded falls from %d to %d", old.Succeeded, now.Succeeded)
	expect(now.Failed >= old.Failed, "failed falls from %d to %d", old.Failed, now.Failed)
	expect(now.Retries >= old.Retries, "retries fall from %d to %d", old.Retries, now.Retries)
	for _, state := range old.PodStates {
		expect(CountOf(now, state.State) >= state.Count, "%s falls from %d to %d", state.State, state.Count, CountOf(now, state.State))
	}
	expect(attempts(now)-attempts(old) == now.Succeeded+now.Failed+now.Retries-old.Succeeded-old.Failed-old.Retries,
		"%d more attempts than before do not fit %d succeeded, %d failed, %d retries after %d, %d, %d", attempts(now)-attempts(old),
		now.Succeeded, now.Failed, now.Retries, old.Succeeded, old.Failed, old.Retries)
	was, _ := indexset.Parse(old.SucceededIndexes)
	is, _ := indexset.Parse(now.SucceededIndexes)
	expect(was.Minus(is).Empty(), "succeeded no more: %s", was.Minus(is))
	return wrong
}

// CountOf is how many attempts ended for a reason.
func CountOf(s *v1alpha1.BatchRunStatus, reason v1alpha1.Reason) int32 {
	for _, state := range s.PodStates {
		if state.State == reason {
			return state.Count
		}
	}
	return 0
}

// attempts is how many attempts ended.
func attempts(s *v1alpha1.BatchRunStatus) int32 {
	var sum int32
	for _, state := range s.PodStates {
		sum += state.Count
	}
	return sum
}
