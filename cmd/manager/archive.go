package main

import (
	"context"
	"fmt"
	"time"

	_ "golang.org/x/crypto/x509roots/fallback" // the image has no certificates of its own, and archives have public ones
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/batchrun/batchrun/controllers"
	"github.com/batchrun/batchrun/controllers/archive"
)

// openTimeout bounds the opening of the archive, which asks for credentials, not whether the bucket answers.
const openTimeout = 30 * time.Second

// archiveOptions are the flags of the archive of logs.
type archiveOptions struct {
	url         string
	spool       string
	spoolBytes  int64
	maxBytes    int64
	maxFollowed int
	// serveOn is the address of the API that serves it; 0 serves none.
	serveOn string
}

func (o *archiveOptions) check() error {
	switch {
	case o.url == "" && o.serveOn != "0":
		return fmt.Errorf("--log-archive-bind-address needs an archive: set --log-archive")
	case o.url == "":
	case o.spool == "":
		return fmt.Errorf("--log-archive-spool must name a directory")
	case o.spoolBytes < 1<<20:
		return fmt.Errorf("--log-archive-spool-bytes must be at least 1048576, 1 MiB, is %d", o.spoolBytes)
	case o.maxBytes < 1<<20:
		return fmt.Errorf("--log-archive-max-bytes must be at least 1048576, 1 MiB, is %d", o.maxBytes)
	case o.maxFollowed < 0:
		return fmt.Errorf("--log-archive-max-followed must not be negative, is %d", o.maxFollowed)
	}
	return nil
}

// collectLogs has the manager collect logs into the archive, and serve them; without one it does nothing.
func collectLogs(
	ctx context.Context, mgr ctrl.Manager, config *rest.Config, o archiveOptions, namespaces []string,
) (controllers.LogArchive, error) {
	if o.url == "" {
		return nil, nil
	}
	opening, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	store, err := archive.Open(opening, o.url)
	if err != nil {
		return nil, fmt.Errorf("--log-archive: %w", err)
	}
	cluster, err := archive.Fingerprint(config)
	if err != nil {
		return nil, err
	}
	logs, err := archive.NewPodLogs(config)
	if err != nil {
		return nil, err
	}
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	collector, err := archive.NewCollector(archive.Options{
		Store: store, Logs: logs, Cluster: cluster, Namespaces: namespaces,
		Cache: mgr.GetClient(), Live: mgr.GetAPIReader(), Informers: mgr.GetCache(),
		Clientset: clientset, Transform: controllers.SlimPod,
		Spool: o.spool, SpoolBytes: o.spoolBytes, MaxBytes: o.maxBytes, MaxFollowed: o.maxFollowed,
	})
	if err != nil {
		return nil, fmt.Errorf("--log-archive-spool: %w", err)
	}
	if err := serveLogs(ctx, mgr, store, o.serveOn); err != nil {
		return nil, err
	}
	if err := collector.Register(metrics.Registry); err != nil {
		return nil, fmt.Errorf("registering the metrics of the archive: %w", err)
	}
	return collector, mgr.Add(collector)
}
