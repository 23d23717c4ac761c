package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// apiClient talks to the cluster's API server, for the handful of requests that
// do not justify a client library.
type apiClient struct {
	base string
	http *http.Client
}

func (c *Cluster) apiClient() (*apiClient, error) {
	config, err := c.tlsConfig()
	if err != nil {
		return nil, err
	}
	return &apiClient{
		base: loopback("https", c.Ports.API),
		http: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: config}},
	}, nil
}

// statusError is an answer that is not a success.
type statusError struct {
	code int
	body string
}

func (e *statusError) Error() string { return fmt.Sprintf("HTTP %d: %.500s", e.code, e.body) }

func (a *apiClient) get(ctx context.Context, path string, into any) error {
	return a.do(ctx, http.MethodGet, path, "", nil, into)
}

func (a *apiClient) do(ctx context.Context, method, path, contentType string, body, into any) error {
	var payload []byte
	if body != nil {
		var err error
		if payload, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, bytes.NewReader(payload))
	if err != nil {
		return err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return &statusError{code: resp.StatusCode, body: string(data)}
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(data, into)
}

// apply creates or updates an object by server-side apply.
func (a *apiClient) apply(ctx context.Context, path string, object any) error {
	return a.do(ctx, http.MethodPatch, path+"?fieldManager=batchrun-local&force=true", "application/apply-patch+yaml", object, nil)
}
