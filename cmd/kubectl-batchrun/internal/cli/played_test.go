package cli

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// played is an API server of which a test says what it answers. Its watches say nothing and end soon.
type played struct {
	*httptest.Server

	kubeconfig string
	mutex      sync.Mutex
	answers    map[string]any
	patches    []string
	requests   map[string]int
}

// play starts an API server that knows runs, pods and ControllerRevisions, all in the namespace default.
func play(t *testing.T, runs ...*v1alpha1.BatchRun) *played {
	t.Helper()
	p := &played{requests: map[string]int{}, answers: map[string]any{
		"/api":                       &metav1.APIVersions{Versions: []string{"v1"}},
		"/apis":                      &metav1.APIGroupList{Groups: []metav1.APIGroup{group("batchrun.io", "v1alpha1"), group("apps", "v1")}},
		"/apis/batchrun.io/v1alpha1": resources("batchrun.io/v1alpha1", "batchruns", "BatchRun"),
		"/apis/apps/v1":              resources("apps/v1", "controllerrevisions", "ControllerRevision"),
		"/api/v1":                    resources("v1", "pods", "Pod"),
		podsPath:                     &corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}},
	}}
	p.setRuns(runs...)
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	config := clientcmdapi.NewConfig()
	config.Clusters["test"] = &clientcmdapi.Cluster{Server: p.URL}
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", Namespace: "default"}
	config.CurrentContext = "test"
	p.kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, p.kubeconfig); err != nil {
		t.Fatal(err)
	}
	return p
}

const (
	runsPath = "/apis/batchrun.io/v1alpha1/namespaces/default/batchruns"
	podsPath = "/api/v1/namespaces/default/pods"
)

func resources(version, name, kind string) *metav1.APIResourceList {
	return &metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: version,
		APIResources: []metav1.APIResource{{Name: name, Kind: kind, Namespaced: true, Verbs: metav1.Verbs{"get", "list", "watch"}}}}
}

func group(name, version string) metav1.APIGroup {
	v := metav1.GroupVersionForDiscovery{GroupVersion: name + "/" + version, Version: version}
	return metav1.APIGroup{Name: name, Versions: []metav1.GroupVersionForDiscovery{v}, PreferredVersion: v}
}

// withoutRuns is a cluster without the CustomResourceDefinition.
func (p *played) withoutRuns() {
	p.set("/apis", &metav1.APIGroupList{Groups: []metav1.APIGroup{group("apps", "v1")}})
	p.set("/apis/batchrun.io/v1alpha1", nil)
	p.set(runsPath, nil)
}

// set has a path answer with an object, a status, or a text.
func (p *played) set(path string, answer any) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.answers[path] = answer
}

func (p *played) setRuns(runs ...*v1alpha1.BatchRun) {
	list := &v1alpha1.BatchRunList{TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "BatchRunList"}}
	for _, run := range runs {
		run.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "BatchRun"}
		run.Namespace = "default"
		list.Items = append(list.Items, *run)
		p.set(runsPath+"/"+run.Name, run)
	}
	p.set(runsPath, list)
}

// ServeHTTP implements http.Handler.
func (p *played) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.requests[r.URL.Path]++
	if r.URL.Query().Get("watch") != "" {
		return
	}
	if r.Method == http.MethodPatch {
		body, _ := io.ReadAll(r.Body)
		p.patches = append(p.patches, string(body))
	}
	switch answer := p.answers[r.URL.Path].(type) {
	case string:
		_, _ = io.WriteString(w, answer)
	case http.HandlerFunc:
		answer(w, r)
	case *v1alpha1.BatchRunList:
		name, named := strings.CutPrefix(r.URL.Query().Get("fieldSelector"), "metadata.name=")
		list := answer.DeepCopy()
		list.Items = slices.DeleteFunc(list.Items, func(run v1alpha1.BatchRun) bool { return named && run.Name != name })
		writeJSON(w, http.StatusOK, list)
	case nil:
		status := &metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
			Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound, Message: "not found"}
		if name, ok := strings.CutPrefix(r.URL.Path, runsPath+"/"); ok && p.answers[runsPath] != nil {
			status.Details = &metav1.StatusDetails{Name: name, Group: "batchrun.io", Kind: "batchruns"}
		}
		writeJSON(w, http.StatusNotFound, status)
	default:
		writeJSON(w, http.StatusOK, answer)
	}
}

func writeJSON(w http.ResponseWriter, code int, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(answer)
}

// asked is how many requests of a path there were.
func (p *played) asked(path string) int {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.requests[path]
}

// refuses answers with an error.
func refuses(code int, reason metav1.StatusReason, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, code, &metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
			Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message})
	}
}

// command is a command that runs.
type command struct {
	out, errOut *gbytes.Buffer
	code        chan int
}

// start starts a command.
func (p *played) start(t *testing.T, args ...string) *command {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	c := &command{out: gbytes.NewBuffer(), errOut: gbytes.NewBuffer(), code: make(chan int, 1)}
	go func() {
		defer cancel()
		c.code <- Run(ctx, append([]string{"kubectl-batchrun", "--kubeconfig", p.kubeconfig}, args...),
			genericiooptions.IOStreams{In: strings.NewReader(""), Out: c.out, ErrOut: c.errOut})
	}()
	return c
}

// run runs a command to its end.
func (p *played) run(t *testing.T, args ...string) (out, errOut string, code int) {
	t.Helper()
	c := p.start(t, args...)
	code = <-c.code
	return string(c.out.Contents()), string(c.errOut.Contents()), code
}

// says waits until a text is in a buffer.
func says(t *testing.T, b *gbytes.Buffer, text string) {
	t.Helper()
	NewWithT(t).Eventually(func() string { return string(b.Contents()) }, "30s").Should(ContainSubstring(text))
}
