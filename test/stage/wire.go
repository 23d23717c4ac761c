package stage

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/json"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// Request is what a role allows or not.
type Request struct{ Verb, Group, Resource string }

// RequestTo is a request; the core group is empty.
func RequestTo(verb, group, resource string) Request { return Request{verb, group, resource} }

func (r Request) String() string { return fmt.Sprintf("%s %s.%s", r.Verb, r.Resource, r.Group) }

// Writes is true for what changes anything but Events.
func (r Request) Writes() bool {
	return !slices.Contains([]string{"get", "list", "watch"}, r.Verb) && r.Resource != "events"
}

// Wire is the operator's connection to the API server: it notes each request, and breaks where a test says.
type Wire struct {
	// Faults says how a request breaks; nil where it does not, and without Faults none does. Write is the number of the
	// request among those that write, from 1, and 0 for others.
	Faults func(r Request, write int) *Fault
	// View is how the operator's cache sees what comes through; nil is as it is.
	View *View
	// NoPolicy hides the policy that gives pods their parameters, so that sweeps go out inlined.
	NoPolicy bool
	// Next is the connection of the operator that is started after this one died; nil is one on which nothing breaks.
	Next func() *Wire
	// Cut is true once nothing comes through any more.
	Cut atomic.Bool

	// held is locked while the watches of runs bring nothing new.
	held sync.RWMutex

	mutex    sync.Mutex
	requests []Request
	// writes counts those that are not Events.
	writes int
	// careless are the deletes that do not name the UID of what they mean.
	careless []string
}

var uid = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// Fault is how a request breaks.
type Fault struct {
	// Done is true when the request takes effect, and only its answer is lost.
	Done bool
	// Code is the HTTP status of the answer; 0 is none, as the connection breaks.
	Code int
	// Dies is true when the operator dies with it.
	Dies bool
}

func (f Fault) String() string {
	text := "is not done"
	if f.Done {
		text = "is done, its answer lost"
	}
	if f.Code != 0 {
		text += fmt.Sprintf(", answered %d %s", f.Code, http.StatusText(f.Code))
	}
	if f.Dies {
		text += ", and the operator dies"
	}
	return text
}

var errBroken = errors.New("the connection is broken")

// EveryRequest is what all operators of the suite asked for.
var EveryRequest sync.Map

func (w *Wire) over(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) { return w.send(next, r) })
}

type roundTripper func(*http.Request) (*http.Response, error)

// noPolicy is the name of a policy that does not exist.
const noPolicy = "none"

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (w *Wire) send(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	if w.Cut.Load() {
		return nil, errBroken
	}
	asked := requestOf(r)
	f := w.note(asked)
	if r.Method == http.MethodDelete && !namesUID(r) {
		w.mutex.Lock()
		w.careless = append(w.careless, r.URL.Path)
		w.mutex.Unlock()
	}
	if f != nil {
		return w.fail(next, r, f)
	}
	if w.NoPolicy && asked.Group == "admissionregistration.k8s.io" {
		r = r.Clone(r.Context())
		r.URL.RawQuery = strings.ReplaceAll(r.URL.RawQuery, v1alpha1.PolicyParameters, noPolicy)
	}
	response, err := next.RoundTrip(r)
	if err == nil && asked == RequestTo("watch", v1alpha1.GroupVersion.Group, "batchruns") {
		response.Body = lateBody{response.Body, &w.held}
	}
	return response, err
}

// fail lets a request break.
func (w *Wire) fail(next http.RoundTripper, r *http.Request, f *Fault) (*http.Response, error) {
	if f.Dies {
		w.Cut.Store(true)
	}
	if f.Done {
		if response, err := next.RoundTrip(r); err == nil {
			_ = response.Body.Close()
		}
	}
	if f.Code == 0 {
		return nil, errBroken
	}
	status := metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: int32(f.Code),
		Message: "a test said so", Reason: reasons[f.Code],
	}
	body, err := json.Marshal(status)
	if err != nil {
		return nil, err
	}
	header := http.Header{"Content-Type": {"application/json"}}
	if f.Code == http.StatusTooManyRequests {
		header.Set("Retry-After", strconv.Itoa(1))
	}
	return &http.Response{
		StatusCode: f.Code, Status: http.StatusText(f.Code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: header, Body: io.NopCloser(strings.NewReader(string(body))), ContentLength: int64(len(body)),
	}, nil
}

// reasons are what an API server says with these codes.
var reasons = map[int]metav1.StatusReason{
	http.StatusForbidden: metav1.StatusReasonForbidden, http.StatusNotFound: metav1.StatusReasonNotFound,
	http.StatusConflict: metav1.StatusReasonConflict, http.StatusTooManyRequests: metav1.StatusReasonTooManyRequests,
	http.StatusInternalServerError: metav1.StatusReasonInternalError, http.StatusGatewayTimeout: metav1.StatusReasonTimeout,
}

// lateBody hands on what it reads once held is not locked.
type lateBody struct {
	io.ReadCloser
	held *sync.RWMutex
}

// Read implements io.Reader.
func (b lateBody) Read(into []byte) (int, error) {
	n, err := b.ReadCloser.Read(into)
	b.held.RLock()
	defer b.held.RUnlock()
	return n, err
}

// namesUID is true when the options of a delete have a UID; in JSON or protobuf it is plain text.
func namesUID(r *http.Request) bool {
	if r.GetBody == nil {
		return false
	}
	body, err := r.GetBody()
	if err != nil {
		return false
	}
	defer body.Close()
	options, err := io.ReadAll(body)
	return err == nil && uid.Match(options)
}

// note says how the request breaks.
func (w *Wire) note(r Request) *Fault {
	if r.Resource == "" {
		return nil
	}
	EveryRequest.Store(r, true)
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.requests = append(w.requests, r)
	write := 0
	if r.Writes() {
		w.writes++
		write = w.writes
	}
	if w.Faults == nil {
		return nil
	}
	return w.Faults(r, write)
}

// Written counts the requests so far that change anything, Events included.
func (w *Wire) Written() map[Request]int {
	counts := w.Counts()
	for r := range counts {
		if !r.Writes() && r.Resource != "events" {
			delete(counts, r)
		}
	}
	return counts
}

// Counts are how often each request was made so far.
func (w *Wire) Counts() map[Request]int {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	counts := map[Request]int{}
	for _, r := range w.requests {
		counts[r]++
	}
	return counts
}

// requestOf reads a request as the API server does; discovery is none.
func requestOf(r *http.Request) Request {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	var of Request
	switch {
	case parts[0] == "api" && len(parts) > 2:
		parts = parts[2:]
	case parts[0] == "apis" && len(parts) > 3:
		of.Group, parts = parts[1], parts[3:]
	default:
		return Request{}
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		parts = parts[2:]
	}
	of.Resource = parts[0]
	named := len(parts) > 1
	if len(parts) > 2 {
		of.Resource += "/" + parts[2]
	}
	switch r.Method {
	case http.MethodPost:
		of.Verb = "create"
	case http.MethodPut:
		of.Verb = "update"
	case http.MethodPatch:
		of.Verb = "patch"
	case http.MethodDelete:
		of.Verb = "delete"
		if !named {
			of.Verb = "deletecollection"
		}
	default:
		of.Verb = "get"
		if r.URL.Query().Get("watch") != "" {
			of.Verb = "watch"
		} else if !named {
			of.Verb = "list"
		}
	}
	return of
}

// Count is the number of writes so far, Events left out.
func (w *Wire) Count() int {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.writes
}

// Total is the number of requests so far.
func (w *Wire) Total() int {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return len(w.requests)
}
