package controllers

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

func TestMetricsCountWhatAStatusWriteAdds(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	start := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	end := metav1.NewTime(start.Add(90 * time.Second))
	going := v1alpha1.BatchRunStatus{Phase: v1alpha1.PhaseRunning, Tasks: 4, Pending: 1, Active: 2, Succeeded: 1, StartTime: &start,
		Retries: 1, Waves: v1alpha1.WavesStatus{Next: 2},
		PodStates: []v1alpha1.PodState{{State: v1alpha1.ReasonCompleted, Count: 1}, {State: v1alpha1.ReasonError, Count: 1}}}
	done := v1alpha1.BatchRunStatus{Phase: v1alpha1.PhaseFailed, Tasks: 4, Succeeded: 3, Failed: 1, StartTime: &start, CompletionTime: &end,
		Retries: 3, Waves: v1alpha1.WavesStatus{Next: 3},
		PodStates: []v1alpha1.PodState{{State: v1alpha1.ReasonCompleted, Count: 3}, {State: v1alpha1.ReasonError, Count: 4}}}
	runs := []client.Object{&v1alpha1.BatchRun{ObjectMeta: metav1.ObjectMeta{Name: "new"}}}
	for name, status := range map[string]v1alpha1.BatchRunStatus{"going": going, "other": going, "done": done} {
		runs = append(runs, &v1alpha1.BatchRun{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: status})
	}
	registry := prometheus.NewRegistry()
	attemptsTotal.Reset()
	runsFinishedTotal.Reset()
	runDurationSeconds.Reset()
	if err := RegisterMetrics(registry, fake.NewClientBuilder().WithScheme(scheme).WithObjects(runs...).Build()); err != nil {
		t.Fatal(err)
	}
	retries, waves := testutil.ToFloat64(retriesTotal), testutil.ToFloat64(wavesTotal)

	countWrite(&v1alpha1.BatchRunStatus{}, &going)
	countWrite(&going, &going)
	countWrite(&going, &done)
	countWrite(&done, &done)

	expected := `
# HELP batchrun_attempts_total Attempts that ended, by the reason why.
# TYPE batchrun_attempts_total counter
batchrun_attempts_total{reason="Completed"} 3
batchrun_attempts_total{reason="DeadlineExceeded"} 0
batchrun_attempts_total{reason="Deleted"} 0
batchrun_attempts_total{reason="Error"} 4
batchrun_attempts_total{reason="Evicted"} 0
batchrun_attempts_total{reason="ImagePullFailed"} 0
batchrun_attempts_total{reason="NodeLost"} 0
batchrun_attempts_total{reason="OOMKilled"} 0
batchrun_attempts_total{reason="Preempted"} 0
batchrun_attempts_total{reason="StartFailed"} 0
batchrun_attempts_total{reason="Unknown"} 0
batchrun_attempts_total{reason="Unschedulable"} 0
# HELP batchrun_runs_finished_total Runs that finished, by the phase that they finished in. A run that is opened again counts again.
# TYPE batchrun_runs_finished_total counter
batchrun_runs_finished_total{phase="Cancelled"} 0
batchrun_runs_finished_total{phase="Failed"} 1
batchrun_runs_finished_total{phase="Succeeded"} 0
# HELP batchrun_runs Runs that there are, by phase.
# TYPE batchrun_runs gauge
batchrun_runs{phase="Cancelled"} 0
batchrun_runs{phase="Failed"} 1
batchrun_runs{phase="Pending"} 1
batchrun_runs{phase="Queued"} 0
batchrun_runs{phase="Running"} 2
batchrun_runs{phase="Succeeded"} 0
batchrun_runs{phase="Suspended"} 0
# HELP batchrun_tasks Tasks of the runs that are not finished, by what they are: pending, active, succeeded or failed.
# TYPE batchrun_tasks gauge
batchrun_tasks{state="active"} 4
batchrun_tasks{state="failed"} 0
batchrun_tasks{state="pending"} 2
batchrun_tasks{state="succeeded"} 2
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(expected),
		"batchrun_attempts_total", "batchrun_runs_finished_total", "batchrun_runs", "batchrun_tasks"); err != nil {
		t.Error(err)
	}
	if got := testutil.ToFloat64(retriesTotal) - retries; got != 3 {
		t.Errorf("retries: got %v, want 3", got)
	}
	if got := testutil.ToFloat64(wavesTotal) - waves; got != 3 {
		t.Errorf("waves: got %v, want 3", got)
	}
	if got := testutil.CollectAndCount(runDurationSeconds); got != 3 {
		t.Errorf("durations: got %d, want those of 3 phases", got)
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("not as Prometheus would have them: %v %v", problems, err)
	}
}
