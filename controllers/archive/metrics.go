package archive

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// What becomes of the logs of an attempt.
const (
	resultStored     = "stored"
	resultIncomplete = "incomplete"
	resultLost       = "lost"
)

var (
	attemptsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "batchrun_archive_attempts_total",
		Help: "Attempts whose logs were archived, by the result: stored, incomplete or lost.",
	}, []string{"result"})
	bytesTotal = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "batchrun_archive_bytes_total",
		Help: "Bytes of logs that were archived, before compression.",
	})
	errorsTotal = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "batchrun_archive_errors_total",
		Help: "Tries to write to the archive that failed. They are repeated.",
	})
	pendingDesc = prometheus.NewDesc("batchrun_archive_pending",
		"Attempts whose logs are not archived yet, active ones included.", nil, nil)
	followedDesc = prometheus.NewDesc("batchrun_archive_followed",
		"Pods whose logs are being read.", nil, nil)
	spoolDesc = prometheus.NewDesc("batchrun_archive_spool_bytes",
		"Bytes of logs that wait in the spool.", nil, nil)
)

// Register registers the metrics of the archive.
func (c *Collector) Register(registry prometheus.Registerer) error {
	for _, result := range []string{resultStored, resultIncomplete, resultLost} {
		attemptsTotal.WithLabelValues(result)
	}
	var errs []error
	for _, collector := range []prometheus.Collector{attemptsTotal, bytesTotal, errorsTotal, gauges{c}} {
		errs = append(errs, registry.Register(collector))
	}
	return errors.Join(errs...)
}

// gauges are read at each scrape.
type gauges struct{ *Collector }

// Describe sends the metrics that there are.
func (g gauges) Describe(descs chan<- *prometheus.Desc) {
	descs <- pendingDesc
	descs <- followedDesc
	descs <- spoolDesc
}

// Collect sends what they are now.
func (g gauges) Collect(metrics chan<- prometheus.Metric) {
	g.mutex.Lock()
	pending, followed := 0, g.following+g.reading
	for _, t := range g.runs {
		pending += t.state.Pending
	}
	g.mutex.Unlock()
	metrics <- prometheus.MustNewConstMetric(pendingDesc, prometheus.GaugeValue, float64(pending))
	metrics <- prometheus.MustNewConstMetric(followedDesc, prometheus.GaugeValue, float64(followed))
	metrics <- prometheus.MustNewConstMetric(spoolDesc, prometheus.GaugeValue, float64(g.spool.bytes()))
}
