package main

import (
	"net/http"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// rewatchInterval is how long a watch that was not answered waits before it is asked for again.
const rewatchInterval = 2 * time.Second

// rewatching is a connection that asks for a watch until it is answered. client-go's caches, whose watches they are, wait
// longer after each error, up to a minute: the operator would see nothing for as long after the API server is back.
type rewatching struct{ next http.RoundTripper }

var _ utilnet.RoundTripperWrapper = &rewatching{}

func rewatch(next http.RoundTripper) http.RoundTripper { return &rewatching{next} }

// RoundTrip implements http.RoundTripper.
func (r *rewatching) RoundTrip(request *http.Request) (*http.Response, error) {
	for {
		response, err := r.next.RoundTrip(request)
		if err == nil || request.URL.Query().Get("watch") != "true" {
			return response, err
		}
		select {
		case <-request.Context().Done():
			return nil, err
		case <-time.After(rewatchInterval):
		}
	}
}

// WrappedRoundTripper implements utilnet.RoundTripperWrapper, so that client-go can cancel requests.
func (r *rewatching) WrappedRoundTripper() http.RoundTripper { return r.next }
