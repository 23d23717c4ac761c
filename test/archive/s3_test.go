package archive

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/batchrun/batchrun/test/stage"
)

// gateway is a real S3 server, whose buckets are directories.
type gateway struct {
	address, directory string
	process            *process
}

func startGateway() *gateway {
	GinkgoHelper()
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "user", "AWS_SECRET_ACCESS_KEY": "secret"} {
		GinkgoT().Setenv(name, value)
	}
	g := &gateway{address: FreeAddress(), directory: GinkgoT().TempDir()}
	Expect(os.Mkdir(filepath.Join(g.directory, "logs"), 0o755)).To(Succeed())
	g.restart()
	return g
}

// restart starts it, on the address and with the buckets that it had.
func (g *gateway) restart() {
	GinkgoHelper()
	g.process = start("versitygw", nil, "--access=user", "--secret=secret", "--port="+g.address, "--quiet", "posix", g.directory)
	Eventually(func() error {
		connection, err := (&net.Dialer{}).DialContext(Ctx, "tcp", g.address)
		if err != nil {
			return err
		}
		return connection.Close()
	}).Should(Succeed())
}

// urlOf is that of an archive in the bucket, through this address.
func urlOf(address string) string {
	return "s3://logs?region=us-east-1&use_path_style=true&prefix=cluster-a/&endpoint=http://" + address
}

func (g *gateway) url() string { return urlOf(g.address) }

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

func (g *gateway) troubled() *troubled {
	GinkgoHelper()
	target := &url.URL{Scheme: "http", Host: g.address}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}}
	t := &troubled{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
		server.CloseClientConnections()
		server.Close()
	})
	t.address = server.Listener.Addr().String()
	return t
}
