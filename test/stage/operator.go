package stage

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/batchrun/batchrun/controllers"
	"github.com/batchrun/batchrun/controllers/plan"
)

const (
	operatorNamespace = "batchrun-system"
	OperatorUser      = "system:serviceaccount:" + operatorNamespace + ":batchrun-operator"
)

// Operator is the real operator in the test's process, for the runs of one namespace.
type Operator struct {
	reconciler *controllers.BatchRunReconciler
	Wire       *Wire
	cancel     context.CancelFunc
	stopped    chan struct{}
}

// startOperator starts an operator that may do what its service account may.
func startOperator(namespace string, w *Wire, clock *MovedClock, logs controllers.LogReader, limits plan.Limits) *Operator {
	GinkgoHelper()
	restConfig := rest.CopyConfig(Cfg)
	restConfig.Impersonate = rest.ImpersonationConfig{UserName: OperatorUser}
	restConfig.Wrap(w.over)

	options := controllers.CacheOptions()
	options.DefaultNamespaces = map[string]cache.Config{namespace: {}}
	if w.View != nil {
		options.NewInformer = w.View.informer
	}
	mgr, err := ctrl.NewManager(restConfig, ctrl.Options{
		Scheme: Scheme, Cache: options, Logger: GinkgoLogr,
		Metrics:                 metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress:  "0",
		Controller:              config.Controller{SkipNameValidation: ptr.To(true)},
		GracefulShutdownTimeout: ptr.To(5 * time.Second),
	})
	Expect(err).NotTo(HaveOccurred())
	if logs == nil {
		clientset, err := kubernetes.NewForConfig(restConfig)
		Expect(err).NotTo(HaveOccurred())
		logs = controllers.PodLogs{Client: clientset}
	}
	o := &Operator{Wire: w, stopped: make(chan struct{}), reconciler: &controllers.BatchRunReconciler{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Logs: logs,
		Recorder: mgr.GetEventRecorder("batchrun"), Clock: clock, Limits: limits,
	}}
	var operatorContext context.Context
	operatorContext, o.cancel = context.WithCancel(Ctx)
	Expect(o.reconciler.SetupWithManager(operatorContext, mgr, 4)).To(Succeed())
	go func() {
		defer GinkgoRecover()
		defer close(o.stopped)
		if err := mgr.Start(operatorContext); err != nil {
			Expect(operatorContext.Err()).To(HaveOccurred(), "the operator stopped: %s", err)
		}
	}()
	Eventually(mgr.Elected()).Should(BeClosed()) // a manager that is stopped while it starts may never end
	return o
}

// Kill ends the operator: from one moment on nothing it does reaches the API server.
func (o *Operator) Kill() {
	GinkgoHelper()
	o.Wire.Cut.Store(true)
	o.cancel()
	Eventually(o.stopped).Should(BeClosed())
}

// MovedClock is the real clock, put forward by tests that cannot wait.
type MovedClock struct{ ahead atomic.Int64 }

// Now implements clock.PassiveClock.
func (c *MovedClock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// Since implements clock.PassiveClock.
func (c *MovedClock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

func (c *MovedClock) Forward(d time.Duration) { c.ahead.Add(int64(d)) }

// Logs are the logs of all pods.
type Logs struct {
	mutex sync.Mutex
	says  string
	reads int
}

// Say has each log end with these lines.
func (l *Logs) Say(lines string) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.says = lines
}

// Reads is how often a log was read.
func (l *Logs) Reads() int {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.reads
}

// Tail implements controllers.LogReader.
func (l *Logs) Tail(_ context.Context, _, pod, container string, _ int64) ([]byte, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.reads++
	return fmt.Appendf(nil, "the end of %s in %s\n%s", container, pod, l.says), nil
}
