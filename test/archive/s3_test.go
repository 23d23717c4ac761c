package archive

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"

	. "github.com/batchrun/batchrun/test/stage"
)

// startS3 starts a real S3 server, and lets this process and what it starts use it.
func startS3() *S3 {
	GinkgoHelper()
	GinkgoT().Setenv("AWS_ACCESS_KEY_ID", S3User)
	GinkgoT().Setenv("AWS_SECRET_ACCESS_KEY", S3Secret)
	return StartS3(s3Server)
}

// trouble says what goes wrong with what is written to the server.
type trouble int32

const (
	none trouble = iota
	// slow takes a second for each write.
	slow
	// full refuses what is written.
	full
	// halfway fails after half of what is written.
	halfway
)

// troubled is the server behind a proxy on which writes go wrong.
type troubled struct {
	address string
	now     atomic.Int32
	hits    atomic.Int32
}

func (t *troubled) set(now trouble) { t.now.Store(int32(now)) }

// withTroubles puts a proxy in front of the server.
func withTroubles(server *S3) *troubled {
	GinkgoHelper()
	target := &url.URL{Scheme: "http", Host: server.Address}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}}
	t := &troubled{}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut && r.Method != http.MethodPost {
			proxy.ServeHTTP(w, r)
			return
		}
		switch trouble(t.now.Load()) {
		case slow:
			t.hits.Add(1)
			select {
			case <-time.After(time.Second):
			case <-r.Context().Done():
				return
			}
			proxy.ServeHTTP(w, r)
		case full:
			t.hits.Add(1)
			w.WriteHeader(http.StatusInsufficientStorage)
			_, _ = io.WriteString(w, `<Error><Code>QuotaExceeded</Code><Message>the bucket is full</Message></Error>`) // the client may be gone
		case halfway:
			t.hits.Add(1)
			_, _ = io.CopyN(io.Discard, r.Body, max(1, r.ContentLength/2)) // it fails anyway
			panic(http.ErrAbortHandler)
		default:
			proxy.ServeHTTP(w, r)
		}
	}))
	DeferCleanup(func() {
		front.CloseClientConnections()
		front.Close()
	})
	t.address = front.Listener.Addr().String()
	return t
}
