// Package e2e tests the deployed operator on a real node: pods run, are evicted, run out of memory.
//
// It starts a cluster of its own and takes it down again. With E2E_USE_EXISTING_CLUSTER=true it uses the one that
// KUBECONFIG names. If that was started by hack/local, the operator and the workload are built and put into it;
// in any other, the operator has to be installed, and E2E_TASK_IMAGE has to name an image of test/e2e/task.
package e2e

import (
	"context"
	"encoding/json"
	"os"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// within is how long the operator and the node may take for anything that has no deadline of its own. The machine may
// be busy with other things.
const within = 2 * time.Minute

// environment is what all processes of the suite have to know of the cluster.
type environment struct {
	Kubeconfig string
	TaskImage  string
	// Local is the name of the cluster if hack/local runs it, else empty.
	Local string
}

// What every spec may use.
var (
	env       environment
	k8s       client.WithWatch
	clientset *kubernetes.Clientset
	scheme    = runtime.NewScheme()
)

func init() {
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
}

func TestE2E(t *testing.T) {
	RegisterFailHandler(Fail)
	log.SetLogger(GinkgoLogr)
	EnforceDefaultTimeoutsWhenUsingContexts()
	SetDefaultEventuallyTimeout(within)
	SetDefaultEventuallyPollingInterval(200 * time.Millisecond)
	SetDefaultConsistentlyPollingInterval(200 * time.Millisecond)
	RunSpecs(t, "e2e")
}

// The first process sets the cluster up, the last step of the suite, in the same process, takes it down.
var _ = SynchronizedBeforeSuite(func() []byte {
	preferBuiltTools()
	var e environment
	if os.Getenv("E2E_USE_EXISTING_CLUSTER") == "true" {
		e = useCluster()
	} else {
		e = startCluster()
	}
	connect(e)
	if e.Local != "" {
		buildAndDeploy()
	}
	waitUntilAvailable()
	watchStatuses()
	shared, err := json.Marshal(env)
	Expect(err).NotTo(HaveOccurred())
	return shared
}, func(shared []byte) {
	var e environment
	Expect(json.Unmarshal(shared, &e)).To(Succeed())
	preferBuiltTools()
	connect(e)
})

var _ = SynchronizedAfterSuite(func() {}, func() {
	defer stopCluster()
	if k8s == nil { // it never started
		return
	}
	Expect(deniedRequests()).To(BeEmpty(), "requests of the operator that its role does not allow")
	watches := shortWatches()
	Expect(len(watches)).To(BeNumerically("<", 100), "watches of the operator that ended soon: %v", watches)
	Expect(wrongStatuses()).To(BeEmpty(), "statuses that are wrong")
})

var _ = ReportAfterEach(func(report SpecReport) {
	if !report.Failed() || k8s == nil {
		return
	}
	dump(report)
})

// connect makes the clients of this process.
func connect(e environment) {
	GinkgoHelper()
	env = e
	Expect(os.Setenv("KUBECONFIG", e.Kubeconfig)).To(Succeed())
	config, err := clientcmd.BuildConfigFromFlags("", e.Kubeconfig)
	Expect(err).NotTo(HaveOccurred())
	config.QPS = -1 // the API server's own limits hold
	clientset, err = kubernetes.NewForConfig(config)
	Expect(err).NotTo(HaveOccurred())
	k8s, err = client.NewWithWatch(config, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
}

// suiteContext ends when the suite does.
var suiteContext, endSuite = context.WithCancel(context.Background())
