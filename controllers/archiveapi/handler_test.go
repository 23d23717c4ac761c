package archiveapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/archive"
	"github.com/batchrun/batchrun/controllers/ledger"
)

// played are logs and runs of a test.
type played struct {
	client.Reader // that of the runs; only Get is called

	runs     map[types.NamespacedName]*v1alpha1.BatchRun
	attempts []archive.Attempt
	texts    map[string]func(context.Context) io.Reader // by attempt.Pod/container
	broken   error

	mutex          sync.Mutex
	opened, closed int
}

// Get implements client.Reader.
func (p *played) Get(_ context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	run := p.runs[key]
	if run == nil {
		return apierrors.NewNotFound(schema.GroupResource{Group: "batchrun.io", Resource: "batchruns"}, key.Name)
	}
	run.DeepCopyInto(object.(*v1alpha1.BatchRun))
	return nil
}

// Attempts implements Logs.
func (p *played) Attempts(_ context.Context, run types.UID, task int) ([]archive.Attempt, error) {
	var attempts []archive.Attempt
	for _, a := range p.attempts {
		if a.RunUID == run && a.Task == task {
			attempts = append(attempts, a)
		}
	}
	return attempts, p.broken
}

// Read implements Logs.
func (p *played) Read(ctx context.Context, attempt archive.Attempt, container string) (io.ReadCloser, error) {
	open, ok := p.texts[attempt.Pod+"/"+container]
	if !ok {
		return nil, archive.ErrNotFound
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.opened++
	return &playedLog{open(ctx), p}, nil
}

// open is how many logs are open.
func (p *played) open() int {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.opened - p.closed
}

type playedLog struct {
	io.Reader
	p *played
}

func (l *playedLog) Close() error {
	l.p.mutex.Lock()
	defer l.p.mutex.Unlock()
	l.p.closed++
	return nil
}

func text(s string) func(context.Context) io.Reader {
	return func(context.Context) io.Reader { return strings.NewReader(s) }
}

// waits is a log of which nothing more comes until its context ends.
func waits(ctx context.Context) io.Reader {
	return readerFunc(func([]byte) (int, error) { <-ctx.Done(); return 0, ctx.Err() })
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// endless is a log without end.
func endless(context.Context) io.Reader {
	return readerFunc(func(p []byte) (int, error) { return len(p), nil })
}

func newRun(namespace, name, uid string, tasks ledger.Ledger) *v1alpha1.BatchRun {
	run := &v1alpha1.BatchRun{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(uid)}}
	run.Status.Waves.Ledger = tasks.Encode()
	return run
}

// stage plays an archive: run "train" of "team" with a task that was rerun, "one" with one task, and one of another team.
func stage() *played {
	p := &played{runs: map[types.NamespacedName]*v1alpha1.BatchRun{}, texts: map[string]func(context.Context) io.Reader{}}
	for _, run := range []*v1alpha1.BatchRun{
		newRun("team", "train", "uid-train", make(ledger.Ledger, 10)),
		newRun("team", "one", "uid-one", ledger.Ledger{{State: ledger.Removed}, {State: ledger.Succeeded}}),
		newRun("team", "new", "uid-new", nil),
		newRun("other", "theirs", "uid-theirs", make(ledger.Ledger, 1)),
	} {
		p.runs[client.ObjectKeyFromObject(run)] = run
	}
	add := func(namespace, run string, task, execution, number int) {
		pod := fmt.Sprintf("%s-%d-%d-%d", run, task, execution, number)
		p.attempts = append(p.attempts, archive.Attempt{Namespace: namespace, Run: run, RunUID: types.UID("uid-" + run),
			Task: task, Execution: execution, Number: number, Pod: pod,
			Containers: []archive.Container{{Name: "main"}, {Name: "setup", Init: true}}})
		p.texts[pod+"/main"] = text("one of " + pod + "\ntwo\nthree\n")
		p.texts[pod+"/setup"] = text("setup of " + pod + "\n")
	}
	add("team", "train", 3, 1, 1)
	add("team", "train", 3, 1, 2)
	add("team", "train", 7, 1, 1)
	add("team", "train", 7, 1, 2)
	add("team", "train", 7, 1, 3)
	add("team", "train", 7, 2, 1)
	add("team", "one", 1, 1, 1)
	add("other", "theirs", 0, 1, 1)
	return p
}

// serve serves what is played to the user that a header names.
func serve(t *testing.T, p *played, change func(*logHandler)) *httptest.Server {
	t.Helper()
	h := &logHandler{runs: p, logs: p, readers: readers{all: 4, each: 2}, patience: time.Minute, log: logr.Discard()}
	if change != nil {
		change(h)
	}
	next := route(h)
	handler := filters.WithRequestInfo(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(request.WithUser(r.Context(), &user.DefaultInfo{Name: r.Header.Get("User")})))
	}), &request.RequestInfoFactory{APIPrefixes: sets.NewString("apis")})
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// answer is what a request got; its body is closed when the test ends.
type answer struct {
	StatusCode int
	Header     http.Header
	Body       io.Reader
}

// try asks for a path as a user.
func try(ctx context.Context, t *testing.T, server *httptest.Server, who, url string) (answer, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("User", who)
	response, err := server.Client().Do(r)
	if err != nil {
		return answer{}, err
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return answer{response.StatusCode, response.Header, response.Body}, nil
}

// get is try, and gets an answer.
func get(ctx context.Context, t *testing.T, server *httptest.Server, who, url string) answer {
	t.Helper()
	got, err := try(ctx, t, server, who, url)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

const api = "/apis/archive.batchrun.io/v1alpha1"

func TestAnswers(t *testing.T) {
	p := stage()
	p.texts["train-3-1-1/main"] = nil
	delete(p.texts, "train-3-1-1/main") // its text was deleted
	p.attempts[1].Containers[0].Cut = true
	p.attempts[1].Containers[0].Partial, p.attempts[1].Containers[0].Message = true, "the node\nwas lost"
	server := serve(t, p, nil)
	team := api + "/namespaces/team/batchruns/"
	for path, want := range map[string]struct {
		code int
		text string
	}{
		"train/log?task=7&execution=1&attempt=2":      {200, "one of train-7-1-2\ntwo\nthree\n"},
		"train/log?task=7":                            {200, "one of train-7-2-1\ntwo\nthree\n"},
		"train/log?task=7&execution=1":                {200, "one of train-7-1-3\ntwo\nthree\n"},
		"train/log?task=3":                            {200, "one of train-3-1-2\ntwo\nthree\n"},
		"train/log?task=3&container=setup":            {200, "setup of train-3-1-2\n"},
		"train/log?task=3&tailLines=1":                {200, "three\n"},
		"train/log?task=3&tailLines=0":                {200, ""},
		"train/log?task=3&tailLines=2&limitBytes=5":   {200, "two\nt"},
		"train/log?task=3&limitBytes=6":               {200, "one of"},
		"train/log?task=3&sinceBytes=18":              {200, "\ntwo\nthree\n"},
		"train/log?task=3&sinceBytes=18&limitBytes=4": {200, "\ntwo"},
		"train/log?task=3&sinceBytes=1000":            {200, ""},
		"one/log":                                     {200, "one of one-1-1-1\ntwo\nthree\n"},
		"train/log":                                   {400, "task: run train has 10 tasks, say which"},
		"train/log?task=x":                            {400, "task: must be a whole number"},
		"train/log?task=7&attempt=2":                  {404, "run train: no log of attempt 2 of task 7 is archived; there are: 1-3 of execution 1, 1 of execution 2"},
		"train/log?task=3&attempt=9":                  {404, "run train: no log of attempt 9 of task 3 is archived; there are: 1,2"},
		"train/log?task=4":                            {404, "run train: no log of task 4 is archived; there are: none"},
		"train/log?task=3&container=x":                {404, `run train: attempt 2 of task 3 has no container "x"; there are: main, setup`},
		"train/log?task=3&attempt=1":                  {404, "run train: the log of attempt 1 of task 3 was deleted"},
		"new/log":                                     {404, "run new: no log of task 0 is archived; there are: none"},
		"nothing/log?task=7":                          {404, `batchruns.batchrun.io "nothing" not found`},
		"theirs/log":                                  {404, `batchruns.batchrun.io "theirs" not found`},
		"train/log/more?task=7":                       {404, "the server could not find the requested resource"},
		"a%25b/log?task=7":                            {404, "the server could not find the requested resource"},
		"train/status":                                {404, "the server could not find the requested resource"},
		"train":                                       {404, "the server could not find the requested resource"},
		"":                                            {404, "the server could not find the requested resource"},
		"../../../other/batchruns/theirs/log":         {404, "the server could not find the requested resource"},
		"..%2f..%2f..%2fnamespaces%2fother%2fbatchruns%2ftheirs/log": {404, "could not find the requested resource"},
	} {
		t.Run(path, func(t *testing.T) {
			g := NewWithT(t)
			response := get(t.Context(), t, server, "me", team+path)
			body, err := io.ReadAll(response.Body)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(response.StatusCode).To(Equal(want.code), string(body))
			if want.code == http.StatusOK {
				g.Expect(string(body)).To(Equal(want.text))
				g.Expect(response.Header.Get("Content-Type")).To(Equal("text/plain"))
				return
			}
			var status metav1.Status
			g.Expect(json.Unmarshal(body, &status)).To(Succeed(), string(body))
			g.Expect(status.Kind).To(Equal("Status"))
			g.Expect(status.Message).To(ContainSubstring(want.text))
		})
	}
	g := NewWithT(t)
	g.Expect(p.open()).To(BeZero())
	g.Expect(get(t.Context(), t, server, "me", team+"train/log?task=3").Header["Warning"]).To(ConsistOf(
		`299 - "the log was too long for the archive: its middle was left out"`, `299 - "the log may lack something: the node was lost"`))
}

func TestDiscovery(t *testing.T) {
	g := NewWithT(t)
	server := serve(t, stage(), nil)
	var group metav1.APIGroup
	g.Expect(json.NewDecoder(get(t.Context(), t, server, "me", "/apis/archive.batchrun.io").Body).Decode(&group)).To(Succeed())
	g.Expect(group.PreferredVersion.GroupVersion).To(Equal("archive.batchrun.io/v1alpha1"))
	var list metav1.APIResourceList
	g.Expect(json.NewDecoder(get(t.Context(), t, server, "me", api).Body).Decode(&list)).To(Succeed())
	g.Expect(list.APIResources).To(HaveLen(1))
	g.Expect(list.APIResources[0].Name).To(Equal("batchruns/log"))
	for _, path := range []string{"/openapi/v2", "/openapi/v3", "/apis", "/metrics", "/"} {
		g.Expect(get(t.Context(), t, server, "me", path).StatusCode).To(Equal(http.StatusNotFound), path)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, server.URL+api+"/namespaces/team/batchruns/train/log", nil)
	g.Expect(err).NotTo(HaveOccurred())
	response, err := server.Client().Do(r)
	g.Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close()
	g.Expect(response.StatusCode).To(Equal(http.StatusMethodNotAllowed))
}

// What is stored under the UID of a run, but says that it is another namespace's, is not shown.
func TestALogOfAnotherNamespaceIsNone(t *testing.T) {
	p := stage()
	p.attempts = []archive.Attempt{p.attempts[0]}
	p.attempts[0].Namespace = "other"
	if code := get(t.Context(), t, serve(t, p, nil), "me", api+"/namespaces/team/batchruns/train/log?task=3").StatusCode; code != http.StatusNotFound {
		t.Errorf("got %d", code)
	}
}

// A new run of the name has no logs of the old one.
func TestALogOfAnEarlierRunOfTheNameIsNone(t *testing.T) {
	p := stage()
	p.runs[types.NamespacedName{Namespace: "team", Name: "train"}].UID = "uid-of-the-next"
	if code := get(t.Context(), t, serve(t, p, nil), "me", api+"/namespaces/team/batchruns/train/log?task=3").StatusCode; code != http.StatusNotFound {
		t.Errorf("got %d", code)
	}
}

func TestAnArchiveThatFails(t *testing.T) {
	g := NewWithT(t)
	p := stage()
	path := api + "/namespaces/team/batchruns/train/log?task=3"
	server := serve(t, p, func(h *logHandler) { h.patience = 200 * time.Millisecond })

	secret := errors.New("s3://bucket?key=secret: no route to host")
	p.broken = secret
	response := get(t.Context(), t, server, "me", path)
	body, _ := io.ReadAll(response.Body)
	g.Expect(response.StatusCode).To(Equal(http.StatusServiceUnavailable))
	g.Expect(string(body)).To(And(ContainSubstring("the archive of logs does not answer"), Not(ContainSubstring("secret"))))
	g.Expect(response.Header).NotTo(HaveKey("Retry-After"), "clients would wait")
	p.broken = nil

	for _, query := range []string{"", "&tailLines=5", "&sinceBytes=5"} {
		p.texts["train-3-1-2/main"] = waits
		g.Expect(get(t.Context(), t, server, "me", path+query).StatusCode).To(Equal(http.StatusServiceUnavailable), "a silent archive"+query)
		p.texts["train-3-1-2/main"] = func(ctx context.Context) io.Reader {
			return io.MultiReader(strings.NewReader("the start\n"), waits(ctx))
		}
		code := 0
		response, err := try(t.Context(), t, server, "me", path+query)
		if err == nil {
			_, err = io.ReadAll(response.Body)
			code = response.StatusCode
		}
		g.Expect(err != nil || code == http.StatusServiceUnavailable).To(BeTrue(), "what broke off must not be taken for all"+query)
	}
	p.texts["train-3-1-2/main"] = func(context.Context) io.Reader { return readerFunc(func([]byte) (int, error) { return 0, secret }) }
	g.Expect(get(t.Context(), t, server, "me", path).StatusCode).To(Equal(http.StatusServiceUnavailable))
	g.Expect(p.open()).To(BeZero())
}

func TestAReaderWhoLeavesOrStalls(t *testing.T) {
	g := NewWithT(t)
	p := stage()
	path := api + "/namespaces/team/batchruns/train/log?task=3"

	server := serve(t, p, nil)
	p.texts["train-3-1-2/main"] = func(ctx context.Context) io.Reader { return io.MultiReader(endlessFor(ctx, 1<<20), waits(ctx)) }
	ctx, cancel := context.WithCancel(t.Context())
	response := get(ctx, t, server, "me", path)
	g.Expect(response.StatusCode).To(Equal(http.StatusOK))
	g.Expect(p.open()).To(Equal(1))
	cancel()
	g.Eventually(p.open).WithTimeout(10*time.Second).Should(BeZero(), "the archive is read for nobody")

	p.texts["train-3-1-2/main"] = endless
	server = serve(t, p, func(h *logHandler) { h.patience = 300 * time.Millisecond })
	response = get(t.Context(), t, server, "me", path)
	g.Expect(response.StatusCode).To(Equal(http.StatusOK))
	g.Eventually(p.open).WithTimeout(10*time.Second).Should(BeZero(), "nobody takes what is sent")
}

func endlessFor(ctx context.Context, n int64) io.Reader { return io.LimitReader(endless(ctx), n) }

func TestTooManyReaders(t *testing.T) {
	g := NewWithT(t)
	p := stage()
	p.texts["train-3-1-2/main"] = func(ctx context.Context) io.Reader { return io.MultiReader(endlessFor(ctx, 1<<16), waits(ctx)) }
	server := serve(t, p, nil)
	path := api + "/namespaces/team/batchruns/train/log?task=3"
	var leave []context.CancelFunc
	read := func(who string) answer {
		ctx, cancel := context.WithCancel(t.Context())
		leave = append(leave, cancel)
		return get(ctx, t, server, who, path)
	}
	for range 2 {
		g.Expect(read("me").StatusCode).To(Equal(http.StatusOK))
	}
	response := read("me")
	g.Expect(response.StatusCode).To(Equal(http.StatusTooManyRequests), "one user has a part of the places only")
	g.Expect(response.Header.Get("Retry-After")).NotTo(BeEmpty())
	for range 2 {
		g.Expect(read("you").StatusCode).To(Equal(http.StatusOK))
	}
	g.Expect(read("they").StatusCode).To(Equal(http.StatusTooManyRequests))
	leave[0]()
	g.Eventually(func() int { return read("they").StatusCode }).WithTimeout(10 * time.Second).Should(Equal(http.StatusOK))
	for _, one := range leave {
		one()
	}
	g.Eventually(p.open).WithTimeout(10 * time.Second).Should(BeZero())
}

func TestNobodyIsTheAPIServerBeforeItsNameIsKnown(t *testing.T) {
	proxy, err := newFrontProxy(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := proxy.verify(); ok {
		t.Error("any certificate would do")
	}
}
