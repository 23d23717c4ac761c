package plugin

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	. "github.com/batchrun/batchrun/test/stage"
)

// front is what the plugin takes for the API server: the real one, with some answers played.
type front struct {
	*httptest.Server

	kubeconfig string
	namespace  string
	mutex      sync.Mutex
	played     map[string]http.HandlerFunc
	watches    int
}

// newFront stands in front of the API server, for commands in a namespace.
func newFront(namespace string) *front {
	GinkgoHelper()
	target, err := url.Parse(Cfg.Host)
	Expect(err).NotTo(HaveOccurred())
	transport, err := rest.TransportFor(Cfg)
	Expect(err).NotTo(HaveOccurred())
	f := &front{namespace: namespace, played: map[string]http.HandlerFunc{}}
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1, // watches
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if answer := f.answer(r); answer != nil {
			answer(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	DeferCleanup(func() {
		f.CloseClientConnections()
		f.Close()
	})
	config := clientcmdapi.NewConfig()
	config.Clusters["test"] = &clientcmdapi.Cluster{Server: f.URL}
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", Namespace: namespace}
	config.CurrentContext = "test"
	f.kubeconfig = filepath.Join(GinkgoT().TempDir(), "kubeconfig")
	Expect(clientcmd.WriteToFile(*config, f.kubeconfig)).To(Succeed())
	return f
}

func (f *front) answer(r *http.Request) http.HandlerFunc {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if strings.HasSuffix(r.URL.Path, "/batchruns") && r.URL.Query().Get("watch") != "" {
		f.watches++
	}
	return f.played[r.URL.Path]
}

// watched is how many watches of runs were begun.
func (f *front) watched() int {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.watches
}

// play answers the requests of a path.
func (f *front) play(path string, answer http.HandlerFunc) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.played[path] = answer
}

// says answers with a status and a body.
func says(code int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(code)
		_, _ = fmt.Fprint(w, body)
	}
}

// status is the body of an error of the API server.
func status(code int, reason, message string) http.HandlerFunc {
	return says(code, "application/json", fmt.Sprintf(
		`{"kind":"Status","apiVersion":"v1","status":"Failure","code":%d,"reason":%q,"message":%q}`, code, reason, message))
}

// result is what a command left.
type result struct {
	Out, Err string
	Code     int
}

func (f *front) command(program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(Ctx, filepath.Join(bin, program), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+f.kubeconfig, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"),
		"HOME="+filepath.Dir(f.kubeconfig), "TERM=xterm-256color")
	return cmd
}

// run runs the plugin.
func (f *front) run(args ...string) result {
	GinkgoHelper()
	return f.runWith("", args...)
}

// runWith runs the plugin with an input.
func (f *front) runWith(input string, args ...string) result {
	GinkgoHelper()
	cmd := f.command("kubectl-batchrun", args...)
	cmd.Stdin = strings.NewReader(input)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		Expect(err).NotTo(HaveOccurred())
	}
	return result{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
}

// ok runs the plugin, expects it to succeed, and returns its output.
func (f *front) ok(args ...string) string {
	GinkgoHelper()
	r := f.run(args...)
	Expect(r.Code).To(BeZero(), "%v: %s%s", args, r.Out, r.Err)
	return r.Out
}
