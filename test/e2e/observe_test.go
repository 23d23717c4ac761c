package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/test/gitops"
)

// namespaceEntry is the report entry that names a namespace of the spec.
const namespaceEntry = "namespace"

// dump writes what helps to find out why a spec failed.
func dump(report SpecReport) {
	show := func(args ...string) {
		out, err := tryKubectl("", args...)
		GinkgoWriter.Printf("\n$ kubectl %s\n%s", strings.Join(args, " "), out)
		if err != nil {
			GinkgoWriter.Println(err)
		}
	}
	for _, entry := range report.ReportEntries {
		if entry.Name != namespaceEntry {
			continue
		}
		namespace := fmt.Sprint(entry.GetRawValue())
		show("get", "batchruns,jobs,pods", "-n", namespace, "-o", "wide")
		show("get", "events", "-n", namespace, "--sort-by=.metadata.creationTimestamp")
		show("describe", "batchruns,jobs,pods", "-n", namespace)
	}
	show("get", "nodes,pods", "-n", operatorNamespace, "-o", "wide")
	show("logs", "-n", operatorNamespace, "deployment/"+operatorName, "--since-time="+report.StartTime.UTC().Format(time.RFC3339))
}

// statuses are those that are wrong.
var statuses struct {
	sync.Mutex
	wrong []string
}

func wrongStatuses() []string {
	statuses.Lock()
	defer statuses.Unlock()
	return slices.Clone(statuses.wrong)
}

// watchStatuses looks at every status that is written while the suite runs: succeeded, failed, active and pending tasks
// make up all tasks, and GitOps tools read off it what its phase says.
func watchStatuses() {
	GinkgoHelper()
	watcher, err := k8s.Watch(suiteContext, &v1alpha1.BatchRunList{})
	Expect(err).NotTo(HaveOccurred())
	go func() {
		for event := range watcher.ResultChan() {
			batchRun, ok := event.Object.(*v1alpha1.BatchRun)
			if !ok {
				continue
			}
			wrong := gitops.Disagreement(batchRun)
			if s := &batchRun.Status; s.Succeeded+s.Failed+s.Active+s.Pending != s.Tasks {
				wrong += " the counts do not make up the tasks"
			}
			if wrong != "" {
				statuses.Lock()
				statuses.wrong = append(statuses.wrong, fmt.Sprintf("%s/%s: %s\n%s", batchRun.Namespace, batchRun.Name, wrong, statusText(batchRun)))
				statuses.Unlock()
			}
		}
	}()
}

// request is a line of the API server's audit log.
type request struct {
	Verb string
	User struct{ Username string }
	// ObjectRef is what it was about.
	ObjectRef      struct{ Resource, Subresource, Namespace, Name string }
	ResponseStatus struct{ Code int }
	RequestURI     string
	Annotations    map[string]string
	Stage          string
	// RequestReceivedTimestamp is when it was asked, StageTimestamp when it came to this stage.
	RequestReceivedTimestamp, StageTimestamp time.Time
}

// operatorRequests are the requests that the operator made so far; none where there is no audit log.
func operatorRequests() []request {
	GinkgoHelper()
	if env.Local == "" {
		return nil
	}
	log, err := os.Open(localFile("logs", "audit.log"))
	if os.IsNotExist(err) {
		return nil
	}
	Expect(err).NotTo(HaveOccurred())
	defer log.Close()
	var requests []request
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r request
		Expect(json.Unmarshal(lines.Bytes(), &r)).To(Succeed())
		if r.User.Username == "system:serviceaccount:"+operatorNamespace+":"+operatorName {
			requests = append(requests, r)
		}
	}
	Expect(lines.Err()).NotTo(HaveOccurred())
	return requests
}

// deniedRequests are the operator's requests that its role does not allow.
func deniedRequests() []string {
	GinkgoHelper()
	var denied []string
	for _, r := range operatorRequests() {
		// What is refused for another reason, as in a namespace that is being deleted, is allowed nevertheless.
		if r.Annotations["authorization.k8s.io/decision"] == "forbid" {
			denied = append(denied, r.Verb+" "+r.RequestURI)
		}
	}
	slices.Sort(denied)
	return slices.Compact(denied)
}

// shortWatches are the operator's watches that lasted for less than 10 seconds. A restart of the operator or of the API
// server makes a few of them; client-go and the API server end a watch after 5 minutes or more.
func shortWatches() []string {
	GinkgoHelper()
	var short []string
	for _, r := range operatorRequests() {
		if lasted := r.StageTimestamp.Sub(r.RequestReceivedTimestamp); r.Verb == "watch" && r.Stage == "ResponseComplete" && lasted < 10*time.Second {
			short = append(short, fmt.Sprintf("%s after %v", r.ObjectRef.Resource, lasted))
		}
	}
	return short
}

// writesIn are the operator's writes in a namespace, such as "create jobs".
func writesIn(namespace string) []string {
	GinkgoHelper()
	var writes []string
	for _, r := range operatorRequests() {
		if r.ObjectRef.Namespace != namespace || slices.Contains([]string{"get", "list", "watch"}, r.Verb) {
			continue
		}
		what := r.ObjectRef.Resource
		if r.ObjectRef.Subresource != "" {
			what += "/" + r.ObjectRef.Subresource
		}
		writes = append(writes, r.Verb+" "+what)
	}
	return writes
}

// operatorMemory is what the kernel says of the memory of the local cluster's operator: now, and at most.
func operatorMemory() string {
	GinkgoHelper()
	if env.Local == "" {
		return "unknown"
	}
	config, err := clientcmd.BuildConfigFromFlags("", env.Kubeconfig)
	Expect(err).NotTo(HaveOccurred())
	_, port, err := net.SplitHostPort(strings.TrimPrefix(config.Host, "https://"))
	Expect(err).NotTo(HaveOccurred())
	processes, err := filepath.Glob("/proc/[0-9]*")
	Expect(err).NotTo(HaveOccurred())
	for _, process := range processes {
		// Processes come and go, and not all may be looked at.
		command, _ := os.ReadFile(filepath.Join(process, "cmdline"))
		environment, _ := os.ReadFile(filepath.Join(process, "environ"))
		if !strings.HasPrefix(string(command), "/manager\x00") || !strings.Contains(string(environment), "KUBERNETES_SERVICE_PORT="+port+"\x00") {
			continue
		}
		status, _ := os.ReadFile(filepath.Join(process, "status"))
		var memory []string
		for line := range strings.Lines(string(status)) {
			if strings.HasPrefix(line, "VmRSS:") || strings.HasPrefix(line, "VmHWM:") {
				memory = append(memory, strings.Join(strings.Fields(line), " "))
			}
		}
		return strings.Join(memory, ", ")
	}
	return "unknown"
}

// watchActive counts the run's active pods through a watch, so that no moment is missed. Calling it ends the watch and
// returns the most that were active at once.
func (r run) watchActive(ctx SpecContext) (most func() int) {
	GinkgoHelper()
	watcher, err := k8s.Watch(ctx, &corev1.PodList{}, client.InNamespace(r.Namespace))
	Expect(err).NotTo(HaveOccurred())
	highest, done, ended := 0, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		defer GinkgoRecover()
		now := map[string]bool{}
		for {
			select {
			case <-done:
				return
			case event, open := <-watcher.ResultChan():
				Expect(open).To(BeTrue(), "the watch of the pods ended")
				pod, ok := event.Object.(*corev1.Pod)
				Expect(ok).To(BeTrue(), "the watch of the pods says %v", event.Object)
				if event.Type != watch.Deleted && active(pod) {
					now[pod.Name] = true
				} else {
					delete(now, pod.Name)
				}
				highest = max(highest, len(now))
			}
		}
	}()
	return func() int {
		close(done)
		<-ended
		watcher.Stop()
		return highest
	}
}
