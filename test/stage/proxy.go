package stage

import (
	"encoding/pem"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/rest"
)

// Troubled is the same cluster behind a proxy on which some of the requests go wrong, a share between 0 and 1: they are
// answered with an error, or lost, or done and their answers lost. It is for OperatorKubeconfig.
func (c *Cluster) Troubled(share float64, seed int64) *Cluster {
	GinkgoHelper()
	return c.Through(func(next http.RoundTripper) http.RoundTripper {
		return &troubles{share: share, random: rand.New(rand.NewSource(seed)), next: next}
	})
}

// Through is the same cluster behind a proxy with this connection to it.
func (c *Cluster) Through(connection func(next http.RoundTripper) http.RoundTripper) *Cluster {
	GinkgoHelper()
	target, err := url.Parse(c.config.Host)
	Expect(err).NotTo(HaveOccurred())
	transport, err := rest.TransportFor(rest.AnonymousClientConfig(c.config)) // the operator's token passes through
	Expect(err).NotTo(HaveOccurred())
	server := httptest.NewTLSServer(&httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     connection(transport),
		FlushInterval: -1, // watches
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	})
	DeferCleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	troubled := *c
	troubled.config = rest.CopyConfig(c.config)
	troubled.config.Host = server.URL
	troubled.config.CAFile = ""
	troubled.config.CAData = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return &troubled
}

// troubles is a connection on which some of the requests go wrong.
type troubles struct {
	share float64
	next  http.RoundTripper

	mutex  sync.Mutex
	random *rand.Rand
}

// RoundTrip implements http.RoundTripper.
func (t *troubles) RoundTrip(r *http.Request) (*http.Response, error) {
	faults := []Fault{{}, {Done: true}, {Code: http.StatusInternalServerError}, {Code: http.StatusConflict},
		{Code: http.StatusTooManyRequests}, {Done: true, Code: http.StatusGatewayTimeout}}
	t.mutex.Lock()
	hit, f := t.random.Float64() < t.share, faults[t.random.Intn(len(faults))]
	t.mutex.Unlock()
	if !hit || requestOf(r).Resource == "" { // it looks up what there is when it starts, and ends if it cannot
		return t.next.RoundTrip(r)
	}
	return (&Wire{}).fail(t.next, r, &f)
}
