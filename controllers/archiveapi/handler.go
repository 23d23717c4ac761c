package archiveapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/archive"
	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/controllers/ledger"
)

// patience is how long the archive may take for the next bytes of a log, and the reader to take them.
const patience = 30 * time.Second

// Logs are the archived logs.
type Logs interface {
	// Attempts lists the archived attempts of a task, oldest first.
	Attempts(ctx context.Context, run types.UID, task int) ([]archive.Attempt, error)
	// Read opens the log of a container of an attempt. The error is archive.ErrNotFound where there is none.
	Read(ctx context.Context, attempt archive.Attempt, container string) (io.ReadCloser, error)
}

// logHandler answers requests for logs, of users who may read them.
type logHandler struct {
	// runs reads from the API server, not from a cache: who may read a log is who may read that of the run which has the
	// name now.
	runs     client.Reader
	logs     Logs
	readers  readers
	patience time.Duration
	log      logr.Logger
}

// ServeHTTP implements http.Handler.
func (h *logHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	info, _ := request.RequestInfoFrom(r.Context())
	key := types.NamespacedName{Namespace: info.Namespace, Name: info.Name}
	sent, err := h.serve(w, r, key)
	switch {
	case err == nil:
		readsTotal.WithLabelValues(strconv.Itoa(http.StatusOK)).Inc()
	case r.Context().Err() != nil:
		readsTotal.WithLabelValues("left").Inc() // nobody waits for an answer
	case sent > 0:
		readsTotal.WithLabelValues("broken").Inc()
		h.log.Info("a log broke off", "run", key, "error", err.Error())
		panic(http.ErrAbortHandler) // the only way to tell that what was sent is not all
	default:
		readsTotal.WithLabelValues(strconv.Itoa(h.refuse(w, r, key, err))).Inc()
	}
}

// refuse answers with an error, and returns its code. What went wrong in the archive may tell of the bucket, so only the
// operator's log has it.
func (h *logHandler) refuse(w http.ResponseWriter, r *http.Request, run types.NamespacedName, err error) int {
	status := apierrors.NewServiceUnavailable("the archive of logs does not answer; the log of the operator says why")
	if !errors.As(err, &status) {
		h.log.Error(err, "a log cannot be read", "run", run)
	}
	return responsewriters.ErrorNegotiated(status, clientgoscheme.Codecs, GroupVersion, w, r)
}

// serve writes the log that is asked for, and returns how much it has sent.
func (h *logHandler) serve(w http.ResponseWriter, r *http.Request, key types.NamespacedName) (int64, error) {
	q, err := parseQuery(r.URL.Query())
	if err != nil {
		return 0, err
	}
	user, _ := request.UserFrom(r.Context())
	leave, err := h.readers.enter(user.GetName())
	if err != nil {
		return 0, err
	}
	defer leave()
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	p := &patient{after: h.patience, response: http.NewResponseController(w)}
	p.timer = time.AfterFunc(p.after, func() { cancel(fmt.Errorf("nothing came for %s", p.after)) })
	defer p.stop()

	run := &v1alpha1.BatchRun{}
	switch err := h.runs.Get(ctx, key, run); {
	case apierrors.IsNotFound(err):
		return 0, err
	case err != nil: // what the API server answers to the operator is none for the user
		return 0, fmt.Errorf("reading the run: %s", err.Error())
	}
	attempt, container, err := h.find(ctx, run, q)
	if err != nil {
		return 0, because(ctx, err)
	}
	log, err := q.open(func() (io.ReadCloser, error) {
		from, err := h.logs.Read(ctx, attempt, container.Name)
		return &patientReader{from, p}, err
	})
	if errors.Is(err, archive.ErrNotFound) {
		return 0, notFound(run, fmt.Sprintf("the log of attempt %d of task %d was deleted", attempt.Number, attempt.Task))
	}
	if err != nil {
		return 0, because(ctx, err)
	}
	defer log.Close()
	describe(w.Header(), container)
	sent, err := io.Copy(&patientWriter{w, p}, q.limit(log))
	return sent, because(ctx, err)
}

// because adds to an error why the context ended, if it did.
func because(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return fmt.Errorf("%w: %w", context.Cause(ctx), err)
}

// find returns the attempt that is asked for, and its container.
func (h *logHandler) find(ctx context.Context, run *v1alpha1.BatchRun, q query) (archive.Attempt, archive.Container, error) {
	none := func(err error) (archive.Attempt, archive.Container, error) {
		return archive.Attempt{}, archive.Container{}, err
	}
	task, err := taskOf(run, int(q.task))
	if err != nil {
		return none(err)
	}
	known, err := h.logs.Attempts(ctx, run.UID, task)
	if err != nil {
		return none(err)
	}
	known = slices.DeleteFunc(known, func(a archive.Attempt) bool { return a.RunUID != run.UID || a.Namespace != run.Namespace })
	if q.execution == 0 && len(known) > 0 {
		q.execution = int64(known[len(known)-1].Execution)
	}
	for _, attempt := range slices.Backward(known) {
		if attempt.Execution != int(q.execution) || q.attempt != 0 && attempt.Number != int(q.attempt) {
			continue
		}
		container, ok := attempt.Log(q.container)
		if !ok {
			return none(notFound(run, fmt.Sprintf("attempt %d of task %d has no container %q; there are: %s",
				attempt.Number, task, q.container, containersOf(attempt))))
		}
		return attempt, container, nil
	}
	what := fmt.Sprintf("task %d", task)
	if q.attempt != 0 {
		what = fmt.Sprintf("attempt %d of task %d", q.attempt, task)
	}
	return none(notFound(run, fmt.Sprintf("no log of %s is archived; there are: %s", what, attemptsOf(known))))
}

// taskOf is the index of the task that is asked for; -1 is the run's only one.
func taskOf(run *v1alpha1.BatchRun, task int) (int, error) {
	if task >= 0 {
		return task, nil
	}
	tasks, err := ledger.Decode(run.Status.Waves.Ledger)
	if err != nil {
		return 0, fmt.Errorf("reading the tasks of the run: %w", err)
	}
	only, n := 0, 0
	for index := range tasks {
		if tasks[index].Present() {
			only, n = index, n+1
		}
	}
	if n > 1 {
		return 0, apierrors.NewBadRequest(fmt.Sprintf("task: run %s has %d tasks, say which", run.Name, n))
	}
	return only, nil
}

// attemptsOf lists attempts: "1-3", or "1-3 of execution 1, 1 of execution 2" once a task was rerun.
func attemptsOf(known []archive.Attempt) string {
	var texts []string
	for i := 0; i < len(known); {
		execution := known[i].Execution
		var numbers []int
		for ; i < len(known) && known[i].Execution == execution; i++ {
			numbers = append(numbers, known[i].Number)
		}
		text := indexset.Of(numbers...).String()
		if known[len(known)-1].Execution > 1 {
			text += fmt.Sprintf(" of execution %d", execution)
		}
		texts = append(texts, text)
	}
	if texts == nil {
		return "none"
	}
	return strings.Join(texts, ", ")
}

func containersOf(attempt archive.Attempt) string {
	var names []string
	for _, container := range attempt.Containers {
		names = append(names, container.Name)
	}
	return strings.Join(names, ", ")
}

// notFound is the error for a log that is not there.
func notFound(run *v1alpha1.BatchRun, message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound,
		Message: fmt.Sprintf("run %s: %s", run.Name, message),
		Details: &metav1.StatusDetails{Group: GroupVersion.Group, Kind: "batchruns", Name: run.Name, UID: run.UID},
	}}
}

// describe says what follows, and warns of what it lacks: kubectl shows that.
func describe(header http.Header, container archive.Container) {
	header.Set("Content-Type", "text/plain")
	header.Set("X-Content-Type-Options", "nosniff")
	warn := func(text string) {
		if warning, err := utilnet.NewWarningHeader(299, "-", text); err == nil {
			header.Add("Warning", warning)
		}
	}
	if container.Cut {
		warn("the log was too long for the archive: its middle was left out")
	}
	if container.Partial {
		warn("the log may lack something: " + strings.Join(strings.Fields(container.Message), " "))
	}
}

// readers bounds how many logs are read at once, so that neither memory nor one user's requests have no end.
type readers struct {
	all, each int // how many there may be, of all users and of each

	mutex  sync.Mutex
	now    int
	byUser map[string]int
}

// enter lets a user read a log, until leave is called.
func (r *readers) enter(user string) (leave func(), err error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.now >= r.all || r.byUser[user] >= r.each {
		return nil, apierrors.NewTooManyRequests("too many logs are being read from the archive: try again later", 1)
	}
	if r.byUser == nil {
		r.byUser = map[string]int{}
	}
	r.now++
	r.byUser[user]++
	return func() {
		r.mutex.Lock()
		defer r.mutex.Unlock()
		r.now--
		if r.byUser[user]--; r.byUser[user] == 0 {
			delete(r.byUser, user)
		}
	}, nil
}

// patient is how long is waited for the archive, and for the reader.
type patient struct {
	after    time.Duration
	timer    *time.Timer
	response *http.ResponseController
}

// stop ends the waiting; the connection may serve other requests.
func (p *patient) stop() {
	p.timer.Stop()
	_ = p.response.SetWriteDeadline(time.Time{})
}

// patientReader reads from the archive.
type patientReader struct {
	io.ReadCloser
	*patient
}

// Read implements io.Reader.
func (p *patientReader) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	p.timer.Reset(p.after)
	return n, err
}

// patientWriter writes to the reader.
type patientWriter struct {
	io.Writer
	*patient
}

// Write implements io.Writer.
func (p *patientWriter) Write(b []byte) (int, error) {
	if err := p.response.SetWriteDeadline(time.Now().Add(p.after)); err != nil {
		return 0, err
	}
	n, err := p.Writer.Write(b)
	p.timer.Reset(p.after)
	return n, err
}
