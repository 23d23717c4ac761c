// Command manager is the BatchRun operator.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers"
	"github.com/batchrun/batchrun/controllers/plan"
)

// shutdownTimeout is for how long running reconciles may go on after a signal. It is shorter than the grace period of
// the pod, so that the lease is given back.
const shutdownTimeout = 20 * time.Second

// How long replicas of the operator take to follow each other: after a graceful end about leaseRetryPeriod, which
// client-go makes up to 2.2 times as long; after a crash leaseDuration more.
const (
	leaseDuration    = 12 * time.Second
	renewDeadline    = 8 * time.Second
	leaseRetryPeriod = time.Second
)

// options are the operator's flags.
type options struct {
	metricsAddress string
	metricsSecure  bool
	probeAddress   string
	leaderElect    bool
	leaseNamespace string
	namespaces     string
	limits         plan.Limits
	concurrency    int
	qps            float64
	burst          int
	tracesTo       string
	tracesSampled  int
	archive        archiveOptions
	log            zap.Options
}

func parseOptions() options {
	var o options
	flag.StringVar(&o.metricsAddress, "metrics-bind-address", "0", "Address that serves metrics, such as :8443; 0 serves none.")
	flag.BoolVar(&o.metricsSecure, "metrics-secure", true, "Serve metrics with TLS, to those whom Kubernetes allows to get /metrics.")
	flag.StringVar(&o.probeAddress, "health-probe-bind-address", ":8081", "Address that serves /healthz and /readyz; 0 serves none.")
	flag.BoolVar(&o.leaderElect, "leader-elect", false, "Let one of several replicas be active.")
	flag.StringVar(&o.leaseNamespace, "leader-election-namespace", "",
		"Namespace of the lease that the active replica holds; by default the operator's own. Needed with --leader-elect outside of a pod.")
	flag.StringVar(&o.namespaces, "namespaces", "",
		"Namespaces, separated by commas, whose runs the operator looks after; by default all. Then it needs rights in these only.")
	flag.IntVar(&o.limits.MaxParallelism, "max-parallelism", 1000, "Ceiling on, and default of, a run's parallelism.")
	flag.IntVar(&o.limits.MaxTasks, "max-tasks", 0, "The most tasks a run can have; 0: as many as the API lets it.")
	flag.DurationVar(&o.limits.DefaultTTL, "default-ttl", 7*24*time.Hour, "Default of a run's ttlSecondsAfterFinished.")
	flag.DurationVar(&o.limits.MaxTTL, "max-ttl", 0, "Ceiling on a run's ttlSecondsAfterFinished; 0: none.")
	flag.IntVar(&o.concurrency, "concurrency", 8, "Number of runs that are reconciled at once.")
	flag.Float64Var(&o.qps, "kube-api-qps", 200, "Requests a second to the API server.")
	flag.IntVar(&o.burst, "kube-api-burst", 400, "Requests to the API server in a burst.")
	flag.StringVar(&o.tracesTo, "tracing-endpoint", "",
		"Host and port of a collector that takes OpenTelemetry traces by gRPC, without TLS; empty sends none.")
	flag.IntVar(&o.tracesSampled, "tracing-samples-per-million", 10_000, "Number of reconciles in a million that are traced.")
	flag.StringVar(&o.archive.url, "log-archive", "",
		"Where the whole logs of attempts are kept: s3://BUCKET, gs://BUCKET, azblob://CONTAINER or file:///DIRECTORY, with parameters; empty keeps none.")
	flag.StringVar(&o.archive.spool, "log-archive-spool", "/var/spool/batchrun", "Directory in which logs wait to be stored in the archive.")
	flag.Int64Var(&o.archive.spoolBytes, "log-archive-spool-bytes", 4<<30, "The most bytes that wait there.")
	flag.Int64Var(&o.archive.maxBytes, "log-archive-max-bytes", 1<<30,
		"The most bytes of the logs of one attempt that are archived; of longer ones the middle is left out.")
	flag.IntVar(&o.archive.maxFollowed, "log-archive-max-followed", 1000,
		"The most pods whose logs are read while they run. Those of others are read once they end.")
	flag.StringVar(&o.archive.serveOn, "log-archive-bind-address", "0", "Address of the API that serves archived logs, such as :9443; 0 serves none.")
	o.log.BindFlags(flag.CommandLine)
	flag.Parse()
	return o
}

func main() {
	o := parseOptions()
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&o.log)))
	if err := run(o); err != nil {
		ctrl.Log.Error(err, "the operator stopped")
		os.Exit(1)
	}
}

func run(o options) error {
	switch l := o.limits; {
	case l.MaxParallelism < 1:
		return fmt.Errorf("--max-parallelism must be at least 1, is %d", l.MaxParallelism)
	case l.MaxTasks < 0:
		return fmt.Errorf("--max-tasks must be at least 1, or 0 for no limit, is %d", l.MaxTasks)
	case l.DefaultTTL < 0 || l.MaxTTL < 0:
		return fmt.Errorf("--default-ttl and --max-ttl must not be negative, are %s and %s", l.DefaultTTL, l.MaxTTL)
	}
	if err := o.archive.check(); err != nil {
		return err
	}
	var namespaces []string
	if o.namespaces != "" {
		namespaces = strings.Split(o.namespaces, ",")
	}
	for _, namespace := range namespaces {
		if problems := validation.IsDNS1123Label(namespace); len(problems) > 0 {
			return fmt.Errorf("--namespaces: %q is no name of a namespace: %s", namespace, problems[0])
		}
	}
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))

	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	config.QPS, config.Burst = float32(o.qps), o.burst
	// Compressing each event of the watches would cost the API server 5% of what it does for a pod, and the network is
	// near. Kubernetes' own controllers do the same.
	config.DisableCompression = true
	metrics.RegisterRESTClientMetrics(metrics.MetricRequestLatency, metrics.MetricRateLimiterLatency)
	ctx := ctrl.SetupSignalHandler()
	flush, err := trace(ctx, config, o)
	if err != nil {
		return fmt.Errorf("setting up the traces: %w", err)
	}
	defer flush()
	serving := metricsserver.Options{BindAddress: o.metricsAddress, SecureServing: o.metricsSecure}
	if o.metricsSecure {
		serving.FilterProvider = filters.WithAuthenticationAndAuthorization
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		Cache:                         controllers.CacheOptions(namespaces...),
		Metrics:                       serving,
		HealthProbeBindAddress:        o.probeAddress,
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              "batchrun.io",
		LeaderElectionNamespace:       o.leaseNamespace,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 ptr.To(leaseDuration),
		RenewDeadline:                 ptr.To(renewDeadline),
		RetryPeriod:                   ptr.To(leaseRetryPeriod),
		GracefulShutdownTimeout:       ptr.To(shutdownTimeout),
	})
	if err != nil {
		return err
	}
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	logArchive, err := collectLogs(ctx, mgr, config, o.archive, namespaces)
	if err != nil {
		return err
	}
	reconciler := &controllers.BatchRunReconciler{
		Client:     mgr.GetClient(),
		Live:       mgr.GetAPIReader(),
		Logs:       controllers.PodLogs{Client: clientset},
		Archive:    logArchive,
		Recorder:   mgr.GetEventRecorder("batchrun"),
		Clock:      clock.RealClock{},
		Limits:     o.limits,
		Namespaced: len(namespaces) > 0,
	}
	if err := reconciler.SetupWithManager(ctx, mgr, o.concurrency); err != nil {
		return err
	}
	if err := controllers.RegisterMetrics(metrics.Registry, mgr.GetClient()); err != nil {
		return fmt.Errorf("registering the metrics: %w", err)
	}
	for name, add := range map[string]func(string, healthz.Checker) error{"healthz": mgr.AddHealthzCheck, "readyz": mgr.AddReadyzCheck} {
		if err := add(name, healthz.Ping); err != nil {
			return err
		}
	}
	return mgr.Start(ctx)
}
