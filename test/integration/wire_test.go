package integration

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// request is what a role allows or not.
type request struct{ verb, group, resource string }

func (r request) String() string { return fmt.Sprintf("%s %s.%s", r.verb, r.resource, r.group) }

// writes is true for what changes anything.
func (r request) writes() bool { return !slices.Contains([]string{"get", "list", "watch"}, r.verb) }

// wire is the operator's connection to the API server: it notes each request, and breaks where a test says.
type wire struct {
	// cut is true once nothing comes through any more.
	cut atomic.Bool
	// held is locked while the watches of runs bring nothing new.
	held sync.RWMutex

	mutex    sync.Mutex
	requests []request
	fault    fault
	// writes counts those that are not Events.
	writes int
	// careless are the deletes that do not name the UID of what they mean.
	careless []string
}

var uid = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// fault says which write breaks, and how.
type fault struct {
	// write is the number of the write, from 1; 0 is none.
	write int
	// done is true when the write takes effect, and only its answer is lost.
	done bool
	// dies is true when the operator dies with it.
	dies bool
}

func (f fault) String() string {
	text := fmt.Sprintf("write %d is not done", f.write)
	if f.done {
		text = fmt.Sprintf("write %d is done and its answer lost", f.write)
	}
	if f.dies {
		text += ", and the operator dies"
	}
	return text
}

var errBroken = errors.New("the connection is broken")

// everyRequest is what all operators of the suite asked for.
var everyRequest sync.Map

func (w *wire) over(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) { return w.send(next, r) })
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (w *wire) send(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	if w.cut.Load() {
		return nil, errBroken
	}
	asked := requestOf(r)
	breaks, f := w.note(asked)
	if r.Method == http.MethodDelete && !namesUID(r) {
		w.mutex.Lock()
		w.careless = append(w.careless, r.URL.Path)
		w.mutex.Unlock()
	}
	if !breaks {
		response, err := next.RoundTrip(r)
		if err == nil && asked.verb == "watch" && asked.resource == "batchruns" {
			response.Body = lateBody{response.Body, &w.held}
		}
		return response, err
	}
	if f.dies {
		w.cut.Store(true)
	}
	if f.done {
		if response, err := next.RoundTrip(r); err == nil {
			_ = response.Body.Close()
		}
	}
	return nil, errBroken
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

// note says whether the request breaks.
func (w *wire) note(r request) (bool, fault) {
	if r.resource == "" {
		return false, fault{}
	}
	everyRequest.Store(r, true)
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.requests = append(w.requests, r)
	if !r.writes() || r.resource == "events" {
		return false, fault{}
	}
	w.writes++
	return w.writes == w.fault.write, w.fault
}

// written counts the requests so far that change anything.
func (w *wire) written() map[request]int {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	counts := map[request]int{}
	for _, r := range w.requests {
		if r.writes() {
			counts[r]++
		}
	}
	return counts
}

// requestOf reads a request as the API server does; discovery is none.
func requestOf(r *http.Request) request {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	var of request
	switch {
	case parts[0] == "api" && len(parts) > 2:
		parts = parts[2:]
	case parts[0] == "apis" && len(parts) > 3:
		of.group, parts = parts[1], parts[3:]
	default:
		return request{}
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		parts = parts[2:]
	}
	of.resource = parts[0]
	named := len(parts) > 1
	if len(parts) > 2 {
		of.resource += "/" + parts[2]
	}
	switch r.Method {
	case http.MethodPost:
		of.verb = "create"
	case http.MethodPut:
		of.verb = "update"
	case http.MethodPatch:
		of.verb = "patch"
	case http.MethodDelete:
		of.verb = "delete"
		if !named {
			of.verb = "deletecollection"
		}
	default:
		of.verb = "get"
		if r.URL.Query().Get("watch") != "" {
			of.verb = "watch"
		} else if !named {
			of.verb = "list"
		}
	}
	return of
}

// count is the number of writes so far, Events left out.
func (w *wire) count() int {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.writes
}

// total is the number of requests so far.
func (w *wire) total() int {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return len(w.requests)
}
