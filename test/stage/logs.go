package stage

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Speech is what a container says, line by line, each with its end. Every is how long a line takes; 0 says all at once.
type Speech struct {
	Lines int
	Line  func(i int) []byte
	Every time.Duration
}

// Says is a speech of these lines.
func Says(lines int, line func(i int) []byte) Speech { return Speech{Lines: lines, Line: line} }

// Voice is a pod that has spoken, or speaks: the attempt of its task that the node counts.
type Voice struct {
	Task, Attempt int
	Pod           string
	UID           types.UID
	Containers    []string

	start, end time.Time
	lost       bool
}

// linesAtOnce is how many lines have the same time.
const linesAtOnce = 3

// timeOf is that of a line.
func (v *Voice) timeOf(s Speech, i int) time.Time {
	step := max(s.Every, time.Microsecond)
	return v.start.Add(time.Duration(i/linesAtOnce*linesAtOnce) * step)
}

// said is how many lines there are by now.
func (v *Voice) said(s Speech, now time.Time) int {
	if s.Every == 0 {
		return s.Lines
	}
	if !v.end.IsZero() {
		now = v.end
	}
	return min(s.Lines, int(now.Sub(v.start)/s.Every))
}

// Speak has the containers of the pods speak: of the n-th pod of a task.
func (k *Kubelet) Speak(says func(task, attempt int, container string) Speech) {
	k.mutex.Lock()
	k.says = says
	k.mutex.Unlock()
	kubelets.Store(k.namespace, k)
}

// kubelets are those whose pods speak, by namespace.
var kubelets sync.Map

// listen notes since when a pod speaks, and until when; the mutex is held.
func (k *Kubelet) listen(pod *corev1.Pod) {
	attempt, ok := k.attempts[pod.UID]
	if !ok || pod.Status.Phase == corev1.PodPending || pod.Status.Phase == "" {
		return
	}
	v := k.voices[pod.UID]
	if v == nil {
		v = &Voice{Task: attempt.task, Attempt: attempt.number, Pod: pod.Name, UID: pod.UID, start: time.Now()}
		for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for _, c := range containers {
				v.Containers = append(v.Containers, c.Name)
			}
		}
		k.voices[pod.UID] = v
	}
	if hasEnded(pod) && v.end.IsZero() {
		v.end = time.Now()
		for _, condition := range pod.Status.Conditions {
			v.lost = v.lost || condition.Type == corev1.DisruptionTarget
		}
	}
}

// Voices are the pods that have spoken.
func (k *Kubelet) Voices() []Voice {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	var voices []Voice
	for _, v := range k.voices {
		voices = append(voices, *v)
	}
	return voices
}

// Said is all that a container said.
func (k *Kubelet) Said(v Voice, container string) io.Reader {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	speech := k.says(v.Task, v.Attempt, container)
	return &speechReader{speech: speech, lines: v.said(speech, time.Now())}
}

type speechReader struct {
	speech Speech
	next   int
	lines  int
	rest   []byte
}

func (r *speechReader) Read(into []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.next == r.lines {
			return 0, io.EOF
		}
		r.rest = r.speech.Line(r.next)
		r.next++
	}
	n := copy(into, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// voice finds a pod by its name.
func (k *Kubelet) voice(pod string) (Voice, bool) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	for uid, p := range k.pods {
		if v := k.voices[uid]; v != nil && p.Name == pod {
			return *v, true
		}
	}
	return Voice{}, false
}

// now is the voice of a pod as it is at a time, which no end of it is before; over is true once the pod has ended.
func (k *Kubelet) now(uid types.UID) (v Voice, at time.Time, over bool) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	v = *k.voices[uid]
	return v, time.Now(), !v.end.IsZero() || k.pods[uid] == nil
}

// LogServer is the part of a kubelet that the API server reads logs from.
type LogServer struct {
	server *httptest.Server
	mute   atomic.Int32
}

// ServeLogs has the API server of the suite's cluster, which has this name, read what the pods of the suite's node say.
func ServeLogs(clusterName string) *LogServer {
	GinkgoHelper()
	pki := filepath.Join(Root, "hack", "local", ".local", "clusters", clusterName, "pki")
	certificate, err := tls.LoadX509KeyPair(filepath.Join(pki, "kubelet.crt"), filepath.Join(pki, "kubelet.key"))
	Expect(err).NotTo(HaveOccurred(), "logs need a cluster of the suite's own")
	mux := http.NewServeMux()
	s := &LogServer{server: httptest.NewUnstartedServer(mux)}
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		if s.mute.Add(-1) < 0 {
			s.mute.Store(0)
			serveLog(w, r)
		}
	})
	s.server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}}
	s.server.EnableHTTP2 = true
	s.server.StartTLS()
	DeferCleanup(func() {
		s.Break()
		s.server.Close()
	})
	_, port, err := net.SplitHostPort(s.server.Listener.Addr().String())
	Expect(err).NotTo(HaveOccurred())
	number, err := strconv.Atoi(port)
	Expect(err).NotTo(HaveOccurred())
	node := &corev1.Node{}
	Expect(K8sClient.Get(Ctx, client.ObjectKey{Name: NodeName}, node)).To(Succeed())
	listening := node.DeepCopy()
	listening.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}
	listening.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(number)
	Expect(K8sClient.Status().Patch(Ctx, listening, client.StrategicMergeFrom(node))).To(Succeed())
	return s
}

// Break breaks the connections over which logs are being read.
func (s *LogServer) Break() { s.server.CloseClientConnections() }

// Mute has the next answers be empty, as those of a kubelet that goes away: the API server does not tell the difference.
func (s *LogServer) Mute(answers int) { s.mute.Store(int32(answers)) }

const (
	// pollLog is how often a log that is followed is looked at.
	pollLog = 20 * time.Millisecond
	// newsTime is how long the node takes at most to hear of what its pods became.
	newsTime = 10 * time.Second
)

// serveLog writes a log as a kubelet does.
func serveLog(w http.ResponseWriter, r *http.Request) {
	known, ok := kubelets.Load(r.PathValue("namespace"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	k, container := known.(*Kubelet), r.PathValue("container")
	ticker := time.NewTicker(pollLog)
	defer ticker.Stop()
	v, ok := k.voice(r.PathValue("pod"))
	for until := time.Now().Add(newsTime); !ok && time.Now().Before(until); v, ok = k.voice(r.PathValue("pod")) {
		<-ticker.C // who asks may know of the pod before this node
	}
	if !ok {
		http.Error(w, "pod has no log", http.StatusBadRequest)
		return
	}
	if v.lost {
		fmt.Fprintf(w, "unable to retrieve container logs for containerd://%s", v.UID)
		return
	}
	k.mutex.Lock()
	speech := k.says(v.Task, v.Attempt, container)
	k.mutex.Unlock()
	query := r.URL.Query()
	var since time.Time
	if text := query.Get("sinceTime"); text != "" {
		var err error
		if since, err = time.Parse(time.RFC3339, text); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	for next := 0; ; {
		v, at, over := k.now(v.UID)
		next = v.write(w, speech, next, v.said(speech, at), since, query.Get("timestamps") == "true")
		if err := http.NewResponseController(w).Flush(); err != nil || over || query.Get("follow") != "true" {
			return
		}
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		}
	}
}

// write writes the lines from next on to the end, and returns the one after them.
func (v *Voice) write(w io.Writer, s Speech, next, end int, since time.Time, stamps bool) int {
	var out bytes.Buffer
	for ; next < end; next++ {
		at := v.timeOf(s, next)
		if at.Before(since) {
			continue
		}
		if stamps {
			out.WriteString(at.UTC().Format("2006-01-02T15:04:05.000000000Z07:00 "))
		}
		out.Write(s.Line(next))
		if out.Len() > 64<<10 {
			if _, err := out.WriteTo(w); err != nil {
				return next + 1
			}
		}
	}
	_, _ = out.WriteTo(w) // the reader may be gone
	return next
}

// Beat has the node look at all its pods again and again: fates may depend on the time.
func (k *Kubelet) Beat(ctx context.Context, interval time.Duration) {
	go func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				k.lookAgain()
			}
		}
	}()
}

// After keeps pods running for so long before their fate.
func After(d time.Duration, then Fate) Fate {
	var started sync.Map
	return func(pod *corev1.Pod) {
		at, _ := started.LoadOrStore(pod.UID, time.Now())
		if time.Since(at.(time.Time)) < d {
			Runs(pod)
			return
		}
		then(pod)
	}
}
