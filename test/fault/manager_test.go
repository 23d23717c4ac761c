package fault

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

// program is the operator's binary, with a kubeconfig of its service account.
type program struct {
	binary, kubeconfig string
	started            []Program
}

// buildManager builds it for a cluster. What is started of it ends with the specs.
func buildManager(c *Cluster) *program {
	GinkgoHelper()
	p := &program{binary: Build("cmd/manager"), kubeconfig: filepath.Join(GinkgoT().TempDir(), "kubeconfig")}
	DeferCleanup(func() {
		for _, m := range p.started {
			m.End()
		}
	})
	c.OperatorKubeconfig(p.kubeconfig)
	return p
}

func (p *program) start(flags ...string) Program {
	GinkgoHelper()
	m := StartProgram(p.binary, []string{"KUBECONFIG=" + p.kubeconfig}, append([]string{"--health-probe-bind-address=0"}, flags...)...)
	p.started = append(p.started, m)
	return m
}

const (
	// interval is how often the load has a new run, as long as fewer than crowd are unfinished.
	interval = 300 * time.Millisecond
	crowd    = 12
	// kept is for how long finished runs keep their Jobs and pods, so that they do not add up.
	kept = 60
	// size is the number of tasks of a run.
	size = 3
)

// load creates small runs, of some of which a task fails once.
type load struct {
	scene *Scene
	// record is spec.recordTTLSecondsAfterFinished of the runs.
	record *int32

	mutex sync.Mutex
	// created is the number of runs so far.
	created int
	// attempts are the pods of each task of each run, in order.
	attempts map[string]map[int][]types.UID
}

func newLoad(c *Cluster) *load {
	GinkgoHelper()
	l := &load{attempts: map[string]map[int][]types.UID{}}
	l.scene = c.NewScene(func(task, _ int) Fate { return func(pod *corev1.Pod) { l.attempt(task, pod)(pod) } })
	return l
}

// start creates runs until stop is called.
func (l *load) start() (stop func()) {
	ctx, cancel := context.WithCancel(Ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				if l.total()-l.finished() < crowd {
					l.create(ctx)
				}
			}
		}
	}()
	return func() { cancel(); <-done }
}

func runName(n int) string { return fmt.Sprintf("run-%d", n) }

// fails is how many tasks of a run fail once: every other run has one.
func fails(n int) int { return n % 2 }

// create creates the next run; one that the API server did not answer is tried again the next time.
func (l *load) create(ctx context.Context) {
	run := &v1alpha1.BatchRun{ObjectMeta: metav1.ObjectMeta{Namespace: l.scene.Namespace, Name: runName(l.total())}}
	run.Spec.Completions = ptr.To[int32](size)
	run.Spec.TTLSecondsAfterFinished = ptr.To[int32](kept)
	run.Spec.RecordTTLSecondsAfterFinished = l.record
	run.Spec.Logs = &v1alpha1.LogPolicy{Keep: ptr.To(v1alpha1.KeepNone)} // nobody serves them
	run.Spec.RetryPolicy = &v1alpha1.RetryPolicy{Backoff: &v1alpha1.Backoff{BaseSeconds: ptr.To[int32](0)}}
	run.Spec.Template.Spec = corev1.PodSpec{
		Containers:   []corev1.Container{{Name: "main", Image: "example"}},
		NodeSelector: map[string]string{corev1.LabelHostname: NodeName},
		Tolerations:  []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
	}
	if err := l.scene.Client.Create(ctx, run); err == nil || apierrors.IsAlreadyExists(err) {
		l.mutex.Lock()
		defer l.mutex.Unlock()
		l.created++
	}
}

// attempt is what becomes of a pod: the first attempt of one task may fail.
func (l *load) attempt(task int, pod *corev1.Pod) Fate {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	name := pod.Labels[v1alpha1.LabelRun]
	if l.attempts[name] == nil {
		l.attempts[name] = map[int][]types.UID{}
	}
	if !slices.Contains(l.attempts[name][task], pod.UID) {
		l.attempts[name][task] = append(l.attempts[name][task], pod.UID)
	}
	var n int
	if _, err := fmt.Sscanf(name, "run-%d", &n); err != nil {
		return Exits(1, err.Error())
	}
	if task < fails(n) && l.attempts[name][task][0] == pod.UID {
		return Exits(1, "once")
	}
	return Succeeds
}

func (l *load) total() int {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.created
}

func (l *load) finished() int {
	n := 0
	for _, run := range l.scene.History.Latest() {
		if run.Status.CompletionTime != nil {
			n++
		}
	}
	return n
}

// goesOn waits until so many more runs have finished.
func (l *load) goesOn(runs int) {
	GinkgoHelper()
	Eventually(l.finished).Should(BeNumerically(">=", l.finished()+runs))
}

// ends waits until all runs have finished, and expects of each the counts and attempts that the script says.
func (l *load) ends(within time.Duration) {
	GinkgoHelper()
	Eventually(func() []string {
		var unfinished []string
		latest := l.scene.History.Latest()
		for n := range l.total() {
			if run := latest[runName(n)]; run == nil || run.Status.CompletionTime == nil {
				unfinished = append(unfinished, runName(n))
			}
		}
		return unfinished
	}).WithTimeout(within).Should(BeEmpty())
	latest := l.scene.History.Latest()
	for n := range l.total() {
		run := latest[runName(n)]
		retries := fails(n)
		expected := fmt.Sprintf("Completed %d", size)
		if retries > 0 {
			expected = fmt.Sprintf("Completed %d, Error %d", size, retries)
		}
		Expect(Counts(run)).To(Equal([3]int32{size, 0, int32(retries)}), func() string { return run.Name + "\n" + StatusText(run) })
		states := strings.Split(States(run), ", ")
		slices.Sort(states)
		Expect(strings.Join(states, ", ")).To(Equal(expected), run.Name)
		for task := range size {
			attempts := 1
			if task < retries {
				attempts = 2
			}
			Expect(l.of(run.Name, task)).To(HaveLen(attempts), "attempts of task %d of %s", task, run.Name)
		}
	}
}

// delay is how long it took at most to finish a run after its Jobs had ended and the control plane was back.
func (l *load) delay(back time.Time) time.Duration {
	GinkgoHelper()
	var jobs batchv1.JobList
	Expect(l.scene.Client.List(Ctx, &jobs, client.InNamespace(l.scene.Namespace))).To(Succeed())
	since := map[string]time.Time{}
	for _, job := range jobs.Items {
		ended := back
		for _, condition := range job.Status.Conditions {
			if condition.LastTransitionTime.After(ended) {
				ended = condition.LastTransitionTime.Time
			}
		}
		if name := job.Labels[v1alpha1.LabelRun]; ended.After(since[name]) {
			since[name] = ended
		}
	}
	var most time.Duration
	for name, run := range l.scene.History.Latest() {
		if ended, known := since[name]; known {
			most = max(most, run.Status.CompletionTime.Sub(ended))
		}
	}
	return most
}

func (l *load) of(run string, task int) []types.UID {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.attempts[run][task]
}

// spread says how long something took: the median, the 99th percentile, and the most.
func spread(took []time.Duration) string {
	return fmt.Sprintf("%d times: median %.1f s, p99 %.1f s, most %.1f s", len(took),
		percentile(took, 50).Seconds(), percentile(took, 99).Seconds(), slices.Max(took).Seconds())
}

func percentile(took []time.Duration, p float64) time.Duration {
	sorted := slices.Sorted(slices.Values(took))
	return sorted[int(math.Ceil(float64(len(sorted))*p/100))-1]
}
