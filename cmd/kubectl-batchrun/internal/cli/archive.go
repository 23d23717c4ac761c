package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/discovery"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// logQuery says which log is wanted of the archive.
type logQuery struct {
	Namespace, Run  string
	Task, Execution int
	// Attempt is 0 for the last one.
	Attempt int
	// Container is "" for the one that kubectl logs shows.
	Container string
	// TailLines is how many lines of the end are wanted; negative for all.
	TailLines int64
}

// archive keeps the logs of pods that are gone.
type archive interface {
	// Open opens a log. The error is errNoArchive where the cluster has none.
	Open(ctx context.Context, query logQuery) (io.ReadCloser, error)
}

// errNoArchive is the error of a cluster without an archive.
var errNoArchive = errors.New("this cluster has no archive of logs")

// archiveVersion is the aggregated API that serves the archive.
var archiveVersion = schema.GroupVersion{Group: "archive.batchrun.io", Version: "v1alpha1"}

// archiveAPI is the archive behind the API server.
type archiveAPI struct{ config *rest.Config }

func openArchive(c *cluster) archive { return archiveAPI{c.config} }

// Open implements archive.
func (a archiveAPI) Open(ctx context.Context, query logQuery) (io.ReadCloser, error) {
	ok, err := a.served(ctx)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, errNoArchive
	}
	config := rest.CopyConfig(a.config)
	config.APIPath, config.GroupVersion = "/apis", &archiveVersion
	config.NegotiatedSerializer = serializer.WithoutConversionCodecFactory{CodecFactory: clientgoscheme.Codecs}
	api, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, err
	}
	request := api.Get().Namespace(query.Namespace).Resource("batchruns").Name(query.Run).SubResource("log").
		Param("task", strconv.Itoa(query.Task)).Param("execution", strconv.Itoa(query.Execution))
	if query.Attempt > 0 {
		request.Param("attempt", strconv.Itoa(query.Attempt))
	}
	if query.Container != "" {
		request.Param("container", query.Container)
	}
	if query.TailLines >= 0 {
		request.Param("tailLines", strconv.FormatInt(query.TailLines, 10))
	}
	stream, err := request.Stream(ctx)
	if apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) && apierrors.IsNotFound(err) {
		return nil, errNoArchive // nobody serves the path
	}
	return stream, err
}

// served tells whether the cluster has the API. It asks first: who may not read the archive's path gets the same answer
// whether it is there or not.
func (a archiveAPI) served(ctx context.Context) (bool, error) {
	client, err := discovery.NewDiscoveryClientForConfig(a.config)
	if err != nil {
		return false, err
	}
	_, err = client.ServerResourcesForGroupVersion(archiveVersion.String())
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil && ctx.Err() == nil {
		return false, fmt.Errorf("looking for the archive of logs: %w", err)
	}
	return true, nil
}
