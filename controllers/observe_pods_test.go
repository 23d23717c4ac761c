package controllers

import (
	"context"
	"slices"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/controllers/plan"
)

// countingReader has some pods, and counts how often they are listed.
type countingReader struct {
	client.Reader
	pods  []corev1.Pod
	lists int
}

func (r *countingReader) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	r.lists++
	list.(*corev1.PodList).Items = r.pods
	return nil
}

func podOf(job types.UID, completionIndex string) corev1.Pod {
	return corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: string(job) + "-" + completionIndex, Annotations: map[string]string{batchv1.JobCompletionIndexAnnotation: completionIndex},
		OwnerReferences: []metav1.OwnerReference{{Kind: "Job", UID: job, Controller: ptr.To(true)}}}}
}

// A run can have a thousand Jobs of one task each.
func TestPodsAreListedOnceForAllWaves(t *testing.T) {
	orphan := podOf("first", "0")
	orphan.OwnerReferences = nil
	reader := &countingReader{pods: []corev1.Pod{
		podOf("first", "0"), podOf("second", "1"), podOf("second", "0"), podOf("second", "7"), podOf("somebody's", "0"), orphan}}
	pods := newRunPods(reader, &v1alpha1.BatchRun{})
	seen := map[string][]int{}
	for name, tasks := range map[string]indexset.Set{"first": indexset.Of(3), "second": indexset.Of(4, 9), "third": indexset.Of(5)} {
		for _, class := range []podClass{podNoteworthy, podStarting} {
			if err := pods.each(t.Context(), &plan.Wave{UID: types.UID(name), Tasks: tasks}, class, func(_ *corev1.Pod, task int) bool {
				seen[name] = append(seen[name], task)
				return true
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !slices.Equal(seen["first"], []int{3, 3}) || !slices.Equal(seen["second"], []int{9, 4, 9, 4}) || len(seen) != 2 {
		t.Errorf("the waves' pods are those of the tasks %v", seen)
	}
	if reader.lists != 2 {
		t.Errorf("two classes of pods of three waves were listed %d times", reader.lists)
	}
}

// Its pods outlive a Job that was deleted for a moment, and tell of its successes.
func TestPodsOfADeletedJobAreThoseOfItsTasks(t *testing.T) {
	succeeded := podOf("job", "2")
	r := &BatchRunReconciler{Live: &countingReader{pods: []corev1.Pod{succeeded}}}
	w := lastOf(&plan.Wave{UID: "job", Tasks: indexset.Interval(10, 19), Succeeded: indexset.Of(11, 12)})
	var seen []int
	if err := r.eachLivePod(t.Context(), &v1alpha1.BatchRun{}, w, []int{12}, func(_ *corev1.Pod, task int) { seen = append(seen, task) }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(seen, []int{12}) || w.Finished != plan.Deleted {
		t.Errorf("the pod with completion index 2 is that of the tasks %v", seen)
	}
}
