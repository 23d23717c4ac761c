package controllers

import (
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/plan"
)

// delays are those of what was added to a queue.
type delays struct {
	queue
	all []time.Duration
}

func (d *delays) AddAfter(_ reconcile.Request, delay time.Duration) { d.all = append(d.all, delay) }

func TestEventsOfRunsOfManyWavesAreGatheredForLonger(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	r := &BatchRunReconciler{Clock: clocktesting.NewFakePassiveClock(now)}
	r.waves.lifetime = time.Second
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{
		Namespace: "team", Name: "sweep-0", Labels: map[string]string{v1alpha1.LabelRun: "sweep"}}}
	var d delays
	r.enqueueRun(job, &d) // nothing is known of the run
	for _, waves := range []int{0, 1, 100, 5000} {
		r.waves.put(types.NamespacedName{Namespace: "team", Name: "sweep"}, waves, now)
		r.enqueueRun(job, &d)
	}
	want := []time.Duration{200 * time.Millisecond, 200 * time.Millisecond, 201 * time.Millisecond, 300 * time.Millisecond, time.Second}
	if !slices.Equal(d.all, want) {
		t.Errorf("events are gathered for %v, not %v", d.all, want)
	}
	if n := goingOn([]plan.Wave{{}, {Finished: "Complete"}, {Suspended: true}}); n != 2 {
		t.Errorf("%d waves go on, not 2", n)
	}
}
