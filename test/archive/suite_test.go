// Package archive plays runs whose logs are archived, and reads them back: into files and into a real S3 server
// (versitygw), which is killed, slow, full, or fails halfway; by operators that are killed; long logs, many short ones,
// and those of evicted pods. It runs against a control plane without nodes, as test/integration does, whose API server
// reads logs from a kubelet of the tests' own. ARCHIVE=all plays long ones too, for a quarter of an hour.
package archive

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gexec"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/archive"
	. "github.com/batchrun/batchrun/test/stage"
)

func TestArchive(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "archive")
}

// all is true where the long ones are played too.
var all = os.Getenv("ARCHIVE") == "all"

var (
	logServer *LogServer
	// manager and s3Server are programs, kubeconfig is the operator's.
	manager, s3Server, kubeconfig string
)

var _ = BeforeSuite(func() {
	SetUp("archive")
	logServer = ServeLogs("archive")
	manager, s3Server = Build("cmd/manager"), BuildS3()
	kubeconfig = filepath.Join(GinkgoT().TempDir(), "kubeconfig")
	SuiteCluster().OperatorKubeconfig(kubeconfig)
})

// play is a namespace whose pods speak, and the archive of their logs.
type play struct {
	*Scene
	url, spool string
	metrics    string
	flags      []string
	operator   Program
	store      *archive.Store
}

// newPlay plays the script, and archives into the URL.
func newPlay(script Script, says func(task, attempt int, container string) Speech, url string, flags ...string) *play {
	GinkgoHelper()
	p := &play{Scene: SuiteCluster().NewScene(script), url: url, spool: GinkgoT().TempDir(), flags: flags}
	p.Kubelet.Speak(says)
	ctx, cancel := context.WithCancel(Ctx)
	DeferCleanup(func() { cancel() })
	p.Kubelet.Beat(ctx, 200*time.Millisecond)
	var err error
	p.store, err = archive.Open(Ctx, url)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(p.store.Close)
	p.startOperator()
	return p
}

func (p *play) startOperator() {
	GinkgoHelper()
	p.metrics = FreeAddress()
	p.operator = StartProgram(manager, []string{"KUBECONFIG=" + kubeconfig}, append([]string{
		"--namespaces=" + p.Namespace, "--health-probe-bind-address=0", "--metrics-secure=false", "--metrics-bind-address=" + p.metrics,
		"--log-archive=" + p.url, "--log-archive-spool=" + p.spool}, p.flags...)...)
	DeferCleanup(p.operator.End)
}

// endOperator lets it end as Kubernetes does.
func (p *play) endOperator() {
	GinkgoHelper()
	p.operator.Send(syscall.SIGTERM)
	Eventually(p.operator).Should(gexec.Exit())
}

// peak is the most memory that the operator had, in MiB.
func (p *play) peak() int {
	GinkgoHelper()
	return p.operator.Memory("VmHWM") / 1024
}

// metric reads a metric of the operator.
func (p *play) metric(name string) (float64, error) { return Metric(p.metrics, name) }

// create creates a run of this spec.
func (p *play) create(name, spec string) *v1alpha1.BatchRun {
	GinkgoHelper()
	run := &v1alpha1.BatchRun{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: name}}
	Expect(yaml.UnmarshalStrict([]byte(spec), &run.Spec)).To(Succeed())
	pod := &run.Spec.Template.Spec
	if len(pod.Containers) == 0 {
		pod.Containers = []corev1.Container{{Name: "main"}}
	}
	for _, containers := range [][]corev1.Container{pod.InitContainers, pod.Containers} {
		for i := range containers {
			containers[i].Image = "example"
		}
	}
	pod.NodeSelector = map[string]string{corev1.LabelHostname: NodeName}
	Expect(K8sClient.Create(Ctx, run)).To(Succeed())
	return run
}

func (p *play) get(name string) *v1alpha1.BatchRun {
	run := p.History.Latest()[name]
	if run == nil {
		return &v1alpha1.BatchRun{}
	}
	return run
}

// succeeds waits until the run has succeeded.
func (p *play) succeeds(name string, within ...any) {
	GinkgoHelper()
	Eventually(func() v1alpha1.Phase { return p.get(name).Status.Phase }, within...).Should(Equal(v1alpha1.PhaseSucceeded))
}

// says is the run's condition LogsArchived.
func (p *play) says(name string) metav1.Condition {
	if c := meta.FindStatusCondition(p.get(name).Status.Conditions, v1alpha1.ConditionLogsArchived); c != nil {
		return *c
	}
	return metav1.Condition{}
}

// saysSo waits until the run's condition LogsArchived has this reason.
func (p *play) saysSo(name, reason string, within ...any) metav1.Condition {
	GinkgoHelper()
	Eventually(func() string { return p.says(name).Reason }, within...).Should(Equal(reason), func() string { return p.says(name).Message })
	return p.says(name)
}

// removePods deletes the pods of the run's Jobs, as the end of the run's time to live does.
func (p *play) removePods() {
	GinkgoHelper()
	Expect(K8sClient.DeleteAllOf(Ctx, &corev1.Pod{}, client.InNamespace(p.Namespace), client.GracePeriodSeconds(0))).To(Succeed())
	Eventually(func(g Gomega) {
		var pods corev1.PodList
		g.Expect(K8sClient.List(Ctx, &pods, client.InNamespace(p.Namespace))).To(Succeed())
		g.Expect(pods.Items).To(BeEmpty())
	}).Should(Succeed())
}

// archived are the stored attempts of a run, by the UIDs of their pods.
func (p *play) archived(run *v1alpha1.BatchRun, tasks int) map[string]archive.Attempt {
	GinkgoHelper()
	found := map[string]archive.Attempt{}
	for task := range tasks {
		attempts, err := p.store.Attempts(Ctx, run.UID, task)
		Expect(err).NotTo(HaveOccurred())
		for _, a := range attempts {
			Expect(a.Task).To(Equal(task))
			found[string(a.PodUID)] = a
		}
	}
	return found
}

// readBack reads all that the pods of a run said back from the archive, and returns the stored attempts.
func (p *play) readBack(run *v1alpha1.BatchRun, tasks int) map[string]archive.Attempt {
	GinkgoHelper()
	found := p.archived(run, tasks)
	voices := p.Kubelet.Voices()
	Expect(voices).NotTo(BeEmpty())
	var missing []string
	for _, v := range voices {
		a, ok := found[string(v.UID)]
		if !ok {
			missing = append(missing, fmt.Sprintf("task %d, attempt %d, pod %s", v.Task, v.Attempt, v.Pod))
			continue
		}
		for _, container := range a.Containers {
			Expect(container.Partial).To(BeFalse(), "pod %s: %s", v.Pod, container.Message)
			p.compare(v, a, container)
		}
	}
	Expect(missing).To(BeEmpty(), "%d of %d", len(missing), len(voices))
	return found
}

// compare expects the archived log of a container to be what it said.
func (p *play) compare(v Voice, a archive.Attempt, container archive.Container) {
	GinkgoHelper()
	log, err := p.store.Read(Ctx, a, container.Name)
	Expect(err).NotTo(HaveOccurred())
	defer log.Close()
	n, err := compare(log, p.Kubelet.Said(v, container.Name))
	Expect(err).NotTo(HaveOccurred(), "the log of %s in pod %s, task %d, attempt %d, of %d bytes, said from %s to %s",
		container.Name, v.Pod, v.Task, v.Attempt, container.Bytes, a.StartTime, a.EndTime)
	Expect(container.Bytes).To(Equal(n))
}

// compare fails where two streams are not the same, and returns how long they are.
func compare(archived, said io.Reader) (n int64, err error) {
	left, right := bufio.NewReaderSize(archived, 64<<10), bufio.NewReaderSize(said, 64<<10)
	x, y := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		i, err := io.ReadFull(left, x)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return n, err
		}
		j, err := io.ReadFull(right, y)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return n, err
		}
		if !bytes.Equal(x[:i], y[:j]) {
			same := 0
			for same < min(i, j) && x[same] == y[same] {
				same++
			}
			return n, fmt.Errorf("after %d bytes %q is archived, %q was said", n+int64(same), x[same:min(i, same+100)], y[same:min(j, same+100)])
		}
		if n += int64(i); i < len(x) {
			return n, nil
		}
	}
}

// linesOf says so many lines that tell whose they are.
func linesOf(n int) func(task, attempt int, container string) Speech {
	return func(task, attempt int, container string) Speech {
		return Says(n, func(i int) []byte {
			return fmt.Appendf(nil, "task %d, attempt %d, %s: line %d\n", task, attempt, container, i)
		})
	}
}

// slowly says a line at a time.
func slowly(every time.Duration, n int) func(task, attempt int, container string) Speech {
	return func(task, attempt int, container string) Speech {
		speech := linesOf(n)(task, attempt, container)
		speech.Every = every
		return speech
	}
}

// files is the URL of an archive in files of the test.
func files() string {
	GinkgoHelper()
	return "file://" + filepath.Join(GinkgoT().TempDir(), "archive")
}

// everyContainer has the other containers fare like the first, and the init containers end before.
func everyContainer(fate Fate) Fate {
	return func(pod *corev1.Pod) {
		fate(pod)
		first := pod.Status.ContainerStatuses[0]
		pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses = nil, nil
		for _, c := range pod.Spec.InitContainers {
			pod.Status.InitContainerStatuses = append(pod.Status.InitContainerStatuses, corev1.ContainerStatus{Name: c.Name, Image: c.Image,
				State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed"}}})
		}
		for _, c := range pod.Spec.Containers {
			status := first
			status.Name = c.Name
			pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, status)
		}
	}
}
