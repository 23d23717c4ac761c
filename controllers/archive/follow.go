package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// LogSource reads the logs of pods.
type LogSource interface {
	// Stream opens the log of a container.
	Stream(ctx context.Context, namespace, pod string, options *corev1.PodLogOptions) (io.ReadCloser, error)
}

// PodLogs reads logs through the API server's pods/log.
type PodLogs struct{ client kubernetes.Interface }

// Stream implements LogSource.
func (p PodLogs) Stream(ctx context.Context, namespace, pod string, options *corev1.PodLogOptions) (io.ReadCloser, error) {
	return p.client.CoreV1().Pods(namespace).GetLogs(pod, options).Stream(ctx)
}

const (
	// streamBuffer is what a connection keeps of a log that is not read as fast as it comes.
	streamBuffer     = 64 << 10
	connectionBuffer = 32 << 20
	// pingAfter and pingTimeout find out that a connection is dead.
	pingAfter   = 30 * time.Second
	pingTimeout = 15 * time.Second
)

// NewPodLogs reads logs over connections of its own, on which little is kept of what is not read: thousands of logs at
// once must neither fill the operator's memory nor hold up its other requests.
func NewPodLogs(config *rest.Config) (PodLogs, error) {
	tls, err := rest.TLSConfigFor(config)
	if err != nil {
		return PodLogs{}, err
	}
	wrapped, err := rest.HTTPWrappersForConfig(config, &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: tls, ForceAttemptHTTP2: true, DisableCompression: true,
		TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 90 * time.Second, DialContext: config.Dial,
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: streamBuffer, MaxReceiveBufferPerConnection: connectionBuffer,
			SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	})
	if err != nil {
		return PodLogs{}, err
	}
	clientset, err := kubernetes.NewForConfigAndClient(config, &http.Client{Transport: wrapped})
	return PodLogs{clientset}, err
}

const (
	// readSize is how much of a log is read at once.
	readSize = 16 << 10
	// anewAfter is when a log is followed anew whose stream ended although its container goes on.
	anewAfter = 5 * time.Second
	// maxReadDelay is the longest time between two tries to read a log; after maxReads that got nothing, what there is of
	// a log whose container has ended has to do.
	maxReadDelay = 30 * time.Second
	maxReads     = 8
	// silence is for how long a container that has ended may say nothing before its stream is taken for dead.
	silence = 30 * time.Second
)

// remark is what a kubelet says in place of a log.
type remark string

// Error implements error.
func (r remark) Error() string { return "the kubelet says: " + string(r) }

var (
	errGone    = errors.New("its pod was gone before all of its log was read")
	errRotated = errors.New("the kubelet rotated some of its log away before it was read")
)

// follower reads the log of one container.
type follower struct {
	*logFile
	pod  *tracked
	info Container
	// ended is closed once the container says nothing more.
	ended chan struct{}
	// gap is true where the log was not read on where it broke.
	gap bool

	mutex sync.Mutex
	// heard is when something was read last, cancel ends the present stream, full is true while it waits for the spool.
	heard  time.Time
	cancel context.CancelFunc
	full   bool
}

func (f *follower) over() bool {
	select {
	case <-f.ended:
		return true
	default:
		return false
	}
}

// read reads the log to its end, following it while the container runs, and goes on where it was when a stream breaks.
// It returns what the log lacks.
//
// The API server ends a stream in the same way whether the log ended or the kubelet went away. So once the container has
// ended it is asked again, until nothing new comes, and twice where nothing ever came. Where nobody can tell any more, as
// the pod was evicted, a stream that ended with its container has everything.
func (f *follower) read(ctx context.Context, c *Collector) error {
	delay, failures, whole, silent := time.Second, 0, false, false
	for {
		over, before := f.over(), f.mark()
		err := f.stream(ctx, c, !over)
		if f.mark() != before {
			failures, delay = 0, time.Second
		}
		wait := delay
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errSpoolFull), errors.Is(err, errYield):
			return err
		case err == nil && over && f.mark() != before:
			continue
		case err == nil && over && !silent && before == (mark{}):
			silent = true
		case err == nil && over:
			return c.roomFor(ctx, f.pod, func() error { return f.flush(0) })
		case err == nil:
			whole, wait = true, anewAfter
		case over && apierrors.IsNotFound(err):
			return unless(whole, errGone)
		case over && (failures >= maxReads || apierrors.IsBadRequest(err) || errors.As(err, new(remark))):
			return unless(whole, fmt.Errorf("its log could not be read: %w", err))
		default:
			whole = whole && (over || errors.As(err, new(remark))) // the log may be gone before the pod is said to have ended
			failures++
			delay = min(2*delay, maxReadDelay)
		}
		f.pause(ctx, wait, over)
	}
}

func unless(whole bool, err error) error {
	if whole {
		return nil
	}
	return err
}

// pause waits, but not beyond the end of a container that was not over.
func (f *follower) pause(ctx context.Context, wait time.Duration, over bool) {
	ended := f.ended
	if over {
		ended = nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ended:
	case <-ctx.Done():
	}
}

// stream reads on in the log, to its present end or, followed, to that of the container.
func (f *follower) stream(ctx context.Context, c *Collector, follow bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.mutex.Lock()
	f.heard, f.cancel = time.Now(), cancel
	f.mutex.Unlock()
	options := &corev1.PodLogOptions{Container: f.info.Name, Follow: follow, Timestamps: true}
	at := f.mark()
	if !at.Time.IsZero() {
		options.SinceTime = &metav1.Time{Time: at.since()}
	}
	log, err := c.Logs.Stream(ctx, f.pod.attempt.Namespace, f.pod.attempt.Pod, options)
	if err != nil {
		return err
	}
	defer log.Close()
	lines := newLines(at)
	buffer := make([]byte, readSize)
	for {
		n, err := log.Read(buffer)
		if n > 0 {
			text := lines.feed(buffer[:n])
			f.gap = f.gap || lines.gap
			if err := f.keep(ctx, c, text, lines.at); err != nil {
				return err
			}
		}
		if err == io.EOF {
			lines.close()
			if said := strings.TrimSpace(string(lines.remark)); said != "" {
				return remark(said)
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// hear takes notice that something was read; full says that it has to wait.
func (f *follower) hear(full bool) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.heard, f.full = time.Now(), full
}

// hush ends a stream that says nothing although the container has ended.
func (f *follower) hush() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.cancel != nil && !f.full && f.over() && time.Since(f.heard) > silence {
		f.cancel()
	}
}

// keep adds text to the log. While the spool is full it waits, and so does the kubelet; but not for long once the pod
// is gone, as what there is of it has to be stored to make room.
func (f *follower) keep(ctx context.Context, c *Collector, text []byte, at mark) error {
	f.hear(true)
	defer f.hear(false)
	return c.roomFor(ctx, f.pod, func() error { return f.append(text, at) })
}

// attend reads the logs of a pod until it has ended, and seals them.
func (c *Collector) attend(ctx context.Context, t *tracked) {
	if !c.identify(ctx, t) {
		return
	}
	for ctx.Err() == nil {
		err := c.collect(ctx, t)
		switch {
		case err == nil:
			c.seal(ctx, t)
			return
		case errors.Is(err, errYield):
			c.yield(ctx, t)
		case ctx.Err() == nil:
			c.lose(ctx, t, err)
			return
		}
	}
}

// collect reads the logs of a pod into the spool until it has ended.
func (c *Collector) collect(ctx context.Context, t *tracked) error {
	if err := c.enter(ctx, t); err != nil {
		return err
	}
	reading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var group sync.WaitGroup
	for {
		pod, ended := c.settle(ctx, t)
		begun := t.begin(c, pod)
		t.tell(pod, ended)
		for _, f := range begun {
			group.Go(func() {
				err := f.read(reading, c)
				switch {
				case errors.Is(err, errYield):
					stop(errYield)
				case err != nil && reading.Err() == nil:
					f.info.Partial, f.info.Message = true, err.Error()
				case err == nil && f.gap:
					f.info.Partial, f.info.Message = true, errRotated.Error()
				}
			})
		}
		if ended || ctx.Err() != nil {
			break
		}
		select {
		case <-t.changed:
		case <-ctx.Done():
		}
	}
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	ticker := time.NewTicker(silence / 3)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			if errors.Is(context.Cause(reading), errYield) {
				return errYield
			}
			return nil
		case <-ticker.C:
			for _, f := range t.followers {
				f.hush()
			}
		}
	}
}

// begin makes followers of the containers that have started since the last time.
func (t *tracked) begin(c *Collector, pod *corev1.Pod) []*follower {
	var begun []*follower
	for _, container := range containersOf(pod) {
		known := slices.ContainsFunc(t.followers, func(f *follower) bool { return f.info.Name == container.name })
		if known || !hasStarted(container.state) {
			continue
		}
		f := &follower{pod: t, info: Container{Name: container.name, Init: container.init}, ended: make(chan struct{}),
			logFile: c.spool.log(t.attempt.PodUID, container.name, c.MaxBytes/int64(max(1, container.of)))}
		if t.restored {
			if err := f.restore(); err != nil {
				f.info.Partial, f.info.Message = true, err.Error()
			}
		}
		c.mutex.Lock()
		t.followers = append(t.followers, f)
		c.mutex.Unlock()
		begun = append(begun, f)
	}
	return begun
}

// tell tells the followers of containers that have ended.
func (t *tracked) tell(pod *corev1.Pod, ended bool) {
	for _, f := range t.followers {
		over := ended
		for _, container := range containersOf(pod) {
			over = over || container.name == f.info.Name && container.state.Terminated != nil && !container.restarts
		}
		if over && !f.over() {
			close(f.ended)
		}
	}
}

// podContainer is what a pod says of a container.
type podContainer struct {
	name string
	init bool
	// restarts is true for a sidecar: it ends with its pod.
	restarts bool
	state    corev1.ContainerState
	// of is how many the pod has.
	of int
}

// containersOf are the containers of a pod, that whose log kubectl logs shows first.
func containersOf(pod *corev1.Pod) []podContainer {
	states := map[string]corev1.ContainerState{}
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for _, s := range statuses {
			states[s.Name] = s.State
		}
	}
	var all []podContainer
	of := len(pod.Spec.InitContainers) + len(pod.Spec.Containers)
	for i, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range containers {
			restarts := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
			all = append(all, podContainer{name: c.Name, init: i == 0, restarts: restarts, state: states[c.Name], of: of})
		}
	}
	return all
}

// hasStarted is true for a container that has, or had, a log.
func hasStarted(state corev1.ContainerState) bool {
	if t := state.Terminated; t != nil {
		return t.Reason != "StartError" && t.Reason != "ContainerCannotRun"
	}
	return state.Running != nil
}
