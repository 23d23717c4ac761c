// Command manager is the BatchRun operator.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
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

// gcPercent has memory collected when there is half as much garbage as there is data, not as much. The operator, which is
// idle most of the time, takes 5 to 10% less memory for 3 to 10% more processor time (measured).
const gcPercent = 50

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

// bind has the flags write into the options that it returns.
func bind(flags *flag.FlagSet) *options {
	o := &options{}
	flags.StringVar(&o.metricsAddress, "metrics-bind-address", "0", "Address that serves metrics, such as :8443; 0 serves none.")
	flags.BoolVar(&o.metricsSecure, "metrics-secure", true, "Serve metrics with TLS, to those whom Kubernetes allows to get /metrics.")
	flags.StringVar(&o.probeAddress, "health-probe-bind-address", ":8081", "Address that serves /healthz and /readyz; 0 serves none.")
	flags.BoolVar(&o.leaderElect, "leader-elect", false, "Let one of several replicas be active.")
	flags.StringVar(&o.leaseNamespace, "leader-election-namespace", "",
		"Namespace of the lease that the active replica holds; by default the operator's own. Needed with --leader-elect outside of a pod.")
	flags.StringVar(&o.namespaces, "namespaces", "",
		"Namespaces, separated by commas, whose runs the operator looks after; by default all. Then it needs rights in these only.")
	flags.IntVar(&o.limits.MaxParallelism, "max-parallelism", 1000, "Ceiling on, and default of, a run's parallelism.")
	flags.IntVar(&o.limits.MaxTasks, "max-tasks", 0, "The most tasks a run can have; 0: as many as the API lets it.")
	flags.DurationVar(&o.limits.DefaultTTL, "default-ttl", 7*24*time.Hour, "Default of a run's ttlSecondsAfterFinished.")
	flags.DurationVar(&o.limits.MaxTTL, "max-ttl", 0, "Ceiling on a run's ttlSecondsAfterFinished; 0: none.")
	flags.IntVar(&o.concurrency, "concurrency", 8, "Number of runs that are reconciled at once.")
	flags.Float64Var(&o.qps, "kube-api-qps", 200, "Requests a second to the API server.")
	flags.IntVar(&o.burst, "kube-api-burst", 400, "Requests to the API server in a burst.")
	flags.StringVar(&o.tracesTo, "tracing-endpoint", "",
		"Host and port of a collector that takes OpenTelemetry traces by gRPC, without TLS; empty sends none.")
	flags.IntVar(&o.tracesSampled, "tracing-samples-per-million", 10_000, "Number of reconciles in a million that are traced.")
	flags.StringVar(&o.archive.url, "log-archive", "",
		"Where the whole logs of attempts are kept: s3://BUCKET, gs://BUCKET, azblob://CONTAINER or file:///DIRECTORY, "+
			"with parameters; empty keeps none.")
	flags.StringVar(&o.archive.spool, "log-archive-spool", "/var/spool/batchrun", "Directory in which logs wait to be stored in the archive.")
	flags.Int64Var(&o.archive.spoolBytes, "log-archive-spool-bytes", 4<<30, "The most bytes that wait there.")
	flags.Int64Var(&o.archive.maxBytes, "log-archive-max-bytes", 1<<30,
		"The most bytes of the logs of one attempt that are archived; of longer ones the middle is left out.")
	flags.IntVar(&o.archive.maxFollowed, "log-archive-max-followed", 1000,
		"The most pods whose logs are read while they run. Those of others are read once they end.")
	flags.StringVar(&o.archive.serveOn, "log-archive-bind-address", "0",
		"Address of the API that serves archived logs, such as :9443; 0 serves none.")
	o.log.BindFlags(flags)
	return o
}

// parse reads the arguments. It fails with flag.ErrHelp where they ask what flags there are.
func parse(flags *flag.FlagSet, args []string) (*options, error) {
	o := bind(flags)
	flags.Init("manager", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // what is wrong is told last, not before the list of all flags
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if rest := flags.Args(); len(rest) > 0 {
		return o, fmt.Errorf("%q is no flag: a flag and its value are one argument, such as --leader-elect=true", rest[0])
	}
	return o, o.check()
}

// check fails where a flag has a value that makes no sense.
func (o *options) check() error {
	switch l := o.limits; {
	case l.MaxParallelism < 1:
		return fmt.Errorf("--max-parallelism must be at least 1, is %d", l.MaxParallelism)
	case l.MaxTasks < 0:
		return fmt.Errorf("--max-tasks must be at least 1, or 0 for no limit, is %d", l.MaxTasks)
	case l.DefaultTTL < 0 || l.MaxTTL < 0:
		return fmt.Errorf("--default-ttl and --max-ttl must not be negative, are %s and %s", l.DefaultTTL, l.MaxTTL)
	case o.concurrency < 1:
		return fmt.Errorf("--concurrency must be at least 1, is %d", o.concurrency)
	case o.qps <= 0 || o.burst < 1:
		return fmt.Errorf("--kube-api-qps and --kube-api-burst must be above 0, are %g and %d", o.qps, o.burst)
	case o.tracesSampled < 0:
		return fmt.Errorf("--tracing-samples-per-million must not be negative, is %d", o.tracesSampled)
	}
	if err := o.archive.check(); err != nil {
		return err
	}
	for name, address := range map[string]string{
		"metrics-bind-address": o.metricsAddress, "health-probe-bind-address": o.probeAddress, "tracing-endpoint": o.tracesTo,
	} {
		if _, _, err := net.SplitHostPort(address); err != nil && address != "0" && address != "" {
			return fmt.Errorf("--%s must be HOST:PORT or :PORT, is %q", name, address)
		}
	}
	names := o.watched()
	if o.leaseNamespace != "" {
		names = append(names, o.leaseNamespace)
	}
	for _, namespace := range names {
		if problems := validation.IsDNS1123Label(namespace); len(problems) > 0 {
			return fmt.Errorf("--namespaces, --leader-election-namespace: %q is no name of a namespace: %s", namespace, problems[0])
		}
	}
	return nil
}

// watched are the namespaces whose runs the operator looks after; none stands for all.
func (o *options) watched() []string {
	if o.namespaces == "" {
		return nil
	}
	return strings.Split(o.namespaces, ",")
}

func main() {
	o, err := parse(flag.CommandLine, os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		flag.CommandLine.SetOutput(os.Stdout)
		flag.PrintDefaults()
		return
	}
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&o.log)))
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if err == nil {
		err = run(*o)
	}
	if err != nil {
		ctrl.Log.Error(err, "the operator stopped")
		os.Exit(1)
	}
}

// newScheme has the kinds that the operator knows.
func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	return scheme
}

func run(o options) error {
	leaseNamespace, err := leaseIn(o)
	if err != nil {
		return err
	}
	namespaces := o.watched()
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	config.QPS, config.Burst = float32(o.qps), o.burst
	// Compressing each event of the watches would cost the API server 5% of what it does for a pod, and the network is
	// near. Kubernetes' own controllers do the same.
	config.DisableCompression = true
	metrics.RegisterRESTClientMetrics(metrics.MetricRequestLatency, metrics.MetricRateLimiterLatency)
	denied := &denials{}
	config.Wrap(denied.over)
	config.Wrap(rewatch)
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
	lease, err := newLease(config, leaseNamespace)
	if err != nil {
		return err
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                              newScheme(),
		Cache:                               controllers.CacheOptions(namespaces...),
		Metrics:                             serving,
		HealthProbeBindAddress:              o.probeAddress,
		LeaderElection:                      o.leaderElect,
		LeaderElectionID:                    leaseName, // the label of its metrics
		LeaderElectionResourceLockInterface: lease,
		LeaderElectionReleaseOnCancel:       true,
		LeaseDuration:                       ptr.To(leaseDuration),
		RenewDeadline:                       ptr.To(renewDeadline),
		RetryPeriod:                         ptr.To(leaseRetryPeriod),
		GracefulShutdownTimeout:             ptr.To(shutdownTimeout),
	})
	if err != nil {
		return settingUp(err)
	}
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ready := newReadiness(mgr, clientset, denied, leaseNamespace, namespaces)
	if err := ready.reaches(ctx); err != nil && !passes(err) {
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
	if err := errors.Join(mgr.AddHealthzCheck("healthz", healthz.Ping), mgr.AddReadyzCheck("readyz", ready.Check)); err != nil {
		return err
	}
	go ready.keep(ctx)
	return ready.explain(mgr.Start(ctx))
}
