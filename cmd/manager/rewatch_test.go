package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// away is an API server that is away until a time.
type away struct {
	until time.Time
	asked int
}

var errAway = errors.New("connection refused")

func (a *away) RoundTrip(*http.Request) (*http.Response, error) {
	a.asked++
	if time.Now().Before(a.until) {
		return nil, errAway
	}
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
}

func TestAWatchIsAskedForUntilItIsAnswered(t *testing.T) {
	for name, test := range map[string]struct {
		target  string
		timeout time.Duration
		err     error
		asked   int
		took    time.Duration
	}{
		"a watch":                    {"/api/v1/pods?watch=true", time.Hour, nil, 16, 30 * time.Second},
		"a watch that is not wanted": {"/api/v1/pods?watch=true", 5500 * time.Millisecond, errAway, 3, 5500 * time.Millisecond},
		"a list":                     {"/api/v1/pods", time.Hour, errAway, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				server := &away{until: start.Add(30 * time.Second)}
				ctx, cancel := context.WithTimeout(t.Context(), test.timeout)
				defer cancel()
				response, err := rewatch(server).RoundTrip(httptest.NewRequestWithContext(ctx, http.MethodGet, test.target, nil))
				if err == nil {
					defer response.Body.Close()
				}
				if took := time.Since(start); !errors.Is(err, test.err) || server.asked != test.asked || took != test.took {
					t.Errorf("%v after %d requests and %v", err, server.asked, took)
				}
			})
		})
	}
}
