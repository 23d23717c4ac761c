package controllers

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// scrapeTimeout bounds what a scrape waits for the cache.
const scrapeTimeout = 5 * time.Second

// What the operator recorded since it started. A status write is counted once it has succeeded: a crash in between
// loses the counts of that write, and nothing is counted twice. No label has the name of an object, of which there is
// no bound.
var (
	attemptsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "batchrun_attempts_total",
		Help: "Attempts that ended, by the reason why.",
	}, []string{"reason"})
	retriesTotal = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "batchrun_retries_total",
		Help: "Attempts that were followed, or will be, by another attempt of the same execution of the task.",
	})
	wavesTotal = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "batchrun_waves_total",
		Help: "Waves that were started, each of them a Job.",
	})
	runsFinishedTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "batchrun_runs_finished_total",
		Help: "Runs that finished, by the phase that they finished in. A run that is opened again counts again.",
	}, []string{"phase"})
	runDurationSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "batchrun_run_duration_seconds",
		Help:    "Time from the start of a run to its end, by the phase that it finished in.",
		Buckets: []float64{1, 10, 60, 5 * 60, 15 * 60, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 3 * 24 * 3600, 7 * 24 * 3600},
	}, []string{"phase"})
)

// countWrite counts what a status that was written has more than the one before.
func countWrite(before, after *v1alpha1.BatchRunStatus) {
	ended := map[v1alpha1.Reason]int32{}
	for _, s := range before.PodStates {
		ended[s.State] = s.Count
	}
	for _, s := range after.PodStates {
		attemptsTotal.WithLabelValues(string(s.State)).Add(float64(max(0, s.Count-ended[s.State])))
	}
	retriesTotal.Add(float64(max(0, after.Retries-before.Retries)))
	wavesTotal.Add(float64(max(0, after.Waves.Next-before.Waves.Next)))
	if before.CompletionTime == nil && after.CompletionTime != nil {
		phase := string(after.Phase)
		runsFinishedTotal.WithLabelValues(phase).Inc()
		if after.StartTime != nil {
			runDurationSeconds.WithLabelValues(phase).Observe(max(0, after.CompletionTime.Sub(after.StartTime.Time).Seconds()))
		}
	}
}

var (
	runsDesc = prometheus.NewDesc("batchrun_runs",
		"Runs that there are, by phase.", []string{"phase"}, nil)
	tasksDesc = prometheus.NewDesc("batchrun_tasks",
		"Tasks of the runs that are not finished, by what they are: pending, active, succeeded or failed.", []string{"state"}, nil)
)

// runsCollector sums up the runs at each scrape. Every replica of the operator tells the same.
type runsCollector struct {
	// cache has the runs.
	cache client.Reader
}

// Describe sends the metrics that there are.
func (c runsCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- runsDesc
	descs <- tasksDesc
}

// Collect sends the sums. There are none while the cache cannot be read, as before its start.
func (c runsCollector) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	var list v1alpha1.BatchRunList
	if err := c.cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return
	}
	phases := map[v1alpha1.Phase]int{
		v1alpha1.PhasePending: 0, v1alpha1.PhaseSuspended: 0, v1alpha1.PhaseQueued: 0, v1alpha1.PhaseRunning: 0,
		v1alpha1.PhaseSucceeded: 0, v1alpha1.PhaseFailed: 0, v1alpha1.PhaseCancelled: 0,
	}
	tasks := map[string]int32{"pending": 0, "active": 0, "succeeded": 0, "failed": 0}
	for i := range list.Items {
		status := &list.Items[i].Status
		if status.Phase == "" { // the operator has not come to it
			phases[v1alpha1.PhasePending]++
			continue
		}
		phases[status.Phase]++
		if status.CompletionTime == nil {
			tasks["pending"] += status.Pending
			tasks["active"] += status.Active
			tasks["succeeded"] += status.Succeeded
			tasks["failed"] += status.Failed
		}
	}
	for phase, n := range phases {
		metrics <- prometheus.MustNewConstMetric(runsDesc, prometheus.GaugeValue, float64(n), string(phase))
	}
	for state, n := range tasks {
		metrics <- prometheus.MustNewConstMetric(tasksDesc, prometheus.GaugeValue, float64(n), state)
	}
}

// beginAtZero makes the counters exist before there is anything to count: of a counter that begins at 1, Prometheus
// sees no increase.
func beginAtZero() {
	for _, reason := range []v1alpha1.Reason{
		v1alpha1.ReasonCompleted, v1alpha1.ReasonError, v1alpha1.ReasonOOMKilled, v1alpha1.ReasonEvicted, v1alpha1.ReasonPreempted,
		v1alpha1.ReasonNodeLost, v1alpha1.ReasonDeadlineExceeded, v1alpha1.ReasonImagePullFailed, v1alpha1.ReasonStartFailed,
		v1alpha1.ReasonUnschedulable, v1alpha1.ReasonDeleted, v1alpha1.ReasonUnknown,
	} {
		attemptsTotal.WithLabelValues(string(reason))
	}
	for _, phase := range []v1alpha1.Phase{v1alpha1.PhaseSucceeded, v1alpha1.PhaseFailed, v1alpha1.PhaseCancelled} {
		runsFinishedTotal.WithLabelValues(string(phase))
		runDurationSeconds.WithLabelValues(string(phase))
	}
}

// RegisterMetrics registers the operator's metrics; the runs are read from the cache.
func RegisterMetrics(registry prometheus.Registerer, cache client.Reader) error {
	beginAtZero()
	var errs []error
	for _, c := range []prometheus.Collector{
		attemptsTotal, retriesTotal, wavesTotal, runsFinishedTotal, runDurationSeconds, runsCollector{cache},
	} {
		errs = append(errs, registry.Register(c))
	}
	return errors.Join(errs...)
}
