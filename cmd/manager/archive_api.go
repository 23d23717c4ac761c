package main

import (
	"context"
	"fmt"
	"net"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/batchrun/batchrun/controllers/archiveapi"
)

// serveLogs has the manager serve the archived logs on an address; 0 serves none.
func serveLogs(ctx context.Context, mgr ctrl.Manager, logs archiveapi.Logs, address string) error {
	if address == "0" {
		return nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("--log-archive-bind-address: %w", err)
	}
	if err := archiveapi.RegisterMetrics(metrics.Registry); err != nil {
		return fmt.Errorf("registering the metrics of the archive's API: %w", err)
	}
	return archiveapi.Add(mgr, logs, listener)
}
