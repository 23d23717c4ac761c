package metrics

import (
	"context"
	"net"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// collector takes OpenTelemetry traces.
type collector struct {
	collectorv1.UnimplementedTraceServiceServer
	mutex sync.Mutex
	spans []*tracev1.Span
}

// Export implements TraceServiceServer.
func (c *collector) Export(_ context.Context, request *collectorv1.ExportTraceServiceRequest) (*collectorv1.ExportTraceServiceResponse, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for _, resource := range request.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			c.spans = append(c.spans, scope.Spans...)
		}
	}
	return &collectorv1.ExportTraceServiceResponse{}, nil
}

// listen starts the collector, which ends with the tests, and returns its address.
func (c *collector) listen() string {
	GinkgoHelper()
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	Expect(err).NotTo(HaveOccurred())
	server := grpc.NewServer()
	collectorv1.RegisterTraceServiceServer(server, c)
	go func() { _ = server.Serve(listener) }()
	DeferCleanup(server.Stop)
	return listener.Addr().String()
}

// received counts the spans by their names, and those whose parent is a reconcile.
func (c *collector) received() (names, inReconciles map[string]int) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	names, inReconciles = map[string]int{}, map[string]int{}
	reconciles := map[string]bool{}
	for _, span := range c.spans {
		names[span.Name]++
		reconciles[string(span.SpanId)] = span.Name == "Reconcile"
	}
	for _, span := range c.spans {
		if reconciles[string(span.ParentSpanId)] {
			inReconciles[span.Name]++
		}
	}
	return names, inReconciles
}
