package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	. "github.com/onsi/gomega"
)

func TestDenialsAreNoted(t *testing.T) {
	g := NewWithT(t)
	code := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }))
	defer server.Close()
	d := &denials{}
	client := &http.Client{Transport: d.over(http.DefaultTransport)}
	for _, test := range []struct {
		code   int
		denied bool
	}{{http.StatusOK, false}, {http.StatusNotFound, false}, {http.StatusForbidden, true}} {
		code = test.code
		request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, server.URL, nil)
		g.Expect(err).NotTo(HaveOccurred())
		response, err := client.Do(request)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(response.Body.Close()).To(Succeed())
		g.Expect(d.any.Load()).To(Equal(test.denied), "%d", test.code)
	}
}
