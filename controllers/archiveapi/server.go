// Package archiveapi serves the archived logs of attempts to users of the cluster, who have no access to the archive
// itself: as an aggregated API, for which the API server authenticates them and decides what they may read.
package archiveapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/endpoints/discovery"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// GroupVersion is the API. Its one resource is batchruns/log, and its one verb get.
var GroupVersion = schema.GroupVersion{Group: "archive.batchrun.io", Version: "v1alpha1"}

// readsTotal is for the operator's metrics.
var readsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "batchrun_archive_reads_total",
	Help: "Archived logs that users asked for, by the HTTP status of the answer; left: the user did not wait; broken: it broke off.",
}, []string{"code"})

// RegisterMetrics adds the metrics of the API to a registry.
func RegisterMetrics(registry prometheus.Registerer) error { return registry.Register(readsTotal) }

const (
	// maxReaders and maxReadersEach are how many logs are read at once, of all users and of each. A reader takes less
	// than 1 MiB.
	maxReaders     = 32
	maxReadersEach = 8
	// decisionTTL is for how long what a user may do is remembered.
	decisionTTL = 10 * time.Second
	// shutdownTimeout is for how long logs that are being read go on after a signal.
	shutdownTimeout = 10 * time.Second
	// The ConfigMap in which the API server tells how it shows who it is, and who asks it.
	authenticationNamespace = metav1.NamespaceSystem
	authenticationConfigMap = "extension-apiserver-authentication"
)

// Server serves the API, in each replica of the operator. What goes wrong with it is logged, and never ends the operator.
type Server struct {
	certificate *certificate
	proxy       *frontProxy
	listener    net.Listener
	handler     http.Handler
	log         logr.Logger
}

// Add adds a server of the API to the operator.
func Add(mgr manager.Manager, logs Logs, listener net.Listener) error {
	log := mgr.GetLogger().WithName("archive-api")
	clientset, err := kubernetes.NewForConfig(rest.AddUserAgent(rest.CopyConfig(mgr.GetConfig()), "archive-api"))
	if err != nil {
		return err
	}
	proxy, err := newFrontProxy(clientset)
	if err != nil {
		return err
	}
	authorize, err := authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: clientset.AuthorizationV1(),
		AllowCacheTTL:             decisionTTL,
		DenyCacheTTL:              decisionTTL,
		WebhookRetryBackoff:       &wait.Backoff{Duration: 500 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 5},
	}.New()
	if err != nil {
		return err
	}
	read := &logHandler{runs: mgr.GetAPIReader(), logs: logs, readers: readers{all: maxReaders, each: maxReadersEach},
		patience: patience, log: log}
	return mgr.Add(&Server{
		certificate: &certificate{reader: mgr.GetAPIReader(), writer: mgr.GetClient(), log: log, now: time.Now,
			ready: make(chan struct{})},
		proxy:    proxy,
		listener: listener,
		handler:  guard(route(read), proxy, authorize),
		log:      log,
	})
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: every replica serves.
func (s *Server) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable.
func (s *Server) Start(ctx context.Context) error {
	s.proxy.start(ctx)
	go s.certificate.keep(ctx)
	select { // who asks before waits
	case <-s.certificate.ready:
	case <-ctx.Done():
		return s.listener.Close()
	}
	server := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(logr.ToSlogHandler(s.log.V(1)), slog.LevelInfo),
		TLSConfig: &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: s.certificate.get,
			// Who has none, or a wrong one, gets an answer that says so.
			ClientAuth: tls.RequestClientCert,
		},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-ctx.Done()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			_ = server.Close()
		}
	}()
	s.log.Info("serving the archive of logs", "address", s.listener.Addr().String())
	if err := server.ServeTLS(s.listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		s.log.Error(err, "the archive of logs is not served any more")
	}
	<-ctx.Done()
	<-done
	return nil
}

// guard lets those requests through that the API server sends for users who may make them.
func guard(handler http.Handler, proxy *frontProxy, authorize authorizer.Authorizer) http.Handler {
	codecs := clientgoscheme.Codecs
	handler = filters.WithAuthorization(handler, authorize, codecs)
	handler = filters.WithAuthentication(handler, proxy.authenticator(), filters.Unauthorized(codecs), nil, proxy.headers())
	handler = filters.WithRequestInfo(handler, &request.RequestInfoFactory{APIPrefixes: sets.NewString("apis")})
	return filters.WithCacheControl(handler)
}

// route answers discovery, and has logs read.
func route(logs http.Handler) http.Handler {
	codecs := clientgoscheme.Codecs
	version := metav1.GroupVersionForDiscovery{GroupVersion: GroupVersion.String(), Version: GroupVersion.Version}
	ofGroup := discovery.NewAPIGroupHandler(codecs, metav1.APIGroup{
		Name: GroupVersion.Group, Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version})
	ofVersion := discovery.NewAPIVersionHandler(codecs, GroupVersion, discovery.APIResourceListerFunc(func() []metav1.APIResource {
		return []metav1.APIResource{{Name: "batchruns/log", Namespaced: true, Verbs: metav1.Verbs{"get"},
			Group: v1alpha1.GroupVersion.Group, Version: v1alpha1.GroupVersion.Version, Kind: "BatchRun"}}
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, _ := request.RequestInfoFrom(r.Context()) // it is also what was authorized
		switch {
		case r.Method != http.MethodGet:
			err := apierrors.NewMethodNotSupported(schema.GroupResource{Group: GroupVersion.Group, Resource: "batchruns/log"}, r.Method)
			responsewriters.ErrorNegotiated(err, codecs, GroupVersion, w, r)
		case r.URL.Path == "/apis/"+GroupVersion.Group:
			ofGroup.ServeHTTP(w, r)
		case r.URL.Path == "/apis/"+GroupVersion.String():
			ofVersion.ServeHTTP(w, r)
		case isLog(info):
			logs.ServeHTTP(w, r)
		default:
			err := apierrors.NewGenericServerResponse(http.StatusNotFound, info.Verb, schema.GroupResource{}, "", "", 0, false)
			responsewriters.ErrorNegotiated(err, codecs, GroupVersion, w, r)
		}
	})
}

// isLog is true for a request for the log of a run.
func isLog(info *request.RequestInfo) bool {
	return info.IsResourceRequest && info.Verb == "get" &&
		info.APIGroup == GroupVersion.Group && info.APIVersion == GroupVersion.Version &&
		info.Resource == "batchruns" && info.Subresource == "log" && len(info.Parts) == 3 &&
		segment(info.Namespace) && segment(info.Name)
}

// segment is true for what can stand for a name in the path of a request, as this one has to for the API server.
func segment(name string) bool { return name != "" && len(content.IsPathSegmentName(name)) == 0 }

// frontProxy knows the API server when it passes on a request, and for whom. It reads how from a ConfigMap, which it
// watches. (k8s.io/apiserver's server/options does the same, and brings an etcd client along.)
type frontProxy struct {
	*headerrequest.RequestHeaderAuthRequestController

	ca *dynamiccertificates.ConfigMapCAController
}

func newFrontProxy(clientset kubernetes.Interface) (*frontProxy, error) {
	ca, err := dynamiccertificates.NewDynamicCAFromConfigMapController(
		"front-proxy", authenticationNamespace, authenticationConfigMap, "requestheader-client-ca-file", clientset)
	if err != nil {
		return nil, fmt.Errorf("setting up the certificates of the API server: %w", err)
	}
	return &frontProxy{headerrequest.NewRequestHeaderAuthRequestController(
		authenticationConfigMap, authenticationNamespace, clientset,
		"requestheader-username-headers", "requestheader-uid-headers", "requestheader-group-headers",
		"requestheader-extra-headers-prefix", "requestheader-allowed-names",
	), ca}, nil
}

// start reads the ConfigMap, and again whenever it changes.
func (p *frontProxy) start(ctx context.Context) {
	go p.Run(ctx, 1)
	go p.ca.Run(ctx, 1)
}

// verify tells which certificates are the API server's. There are none before it is known whose they have to be: no
// names at all would stand for any.
func (p *frontProxy) verify() (x509.VerifyOptions, bool) {
	if len(p.UsernameHeaders()) == 0 {
		return x509.VerifyOptions{}, false
	}
	return p.ca.VerifyOptions()
}

// headers are those that tell who the user is.
func (p *frontProxy) headers() *authenticatorfactory.RequestHeaderConfig {
	return &authenticatorfactory.RequestHeaderConfig{
		UsernameHeaders:     headerrequest.StringSliceProviderFunc(p.UsernameHeaders),
		UIDHeaders:          headerrequest.StringSliceProviderFunc(p.UIDHeaders),
		GroupHeaders:        headerrequest.StringSliceProviderFunc(p.GroupHeaders),
		ExtraHeaderPrefixes: headerrequest.StringSliceProviderFunc(p.ExtraHeaderPrefixes),
		AllowedClientNames:  headerrequest.StringSliceProviderFunc(p.AllowedClientNames),
	}
}

// authenticator knows users by these headers, if the API server sent them. It takes neither tokens nor the users'
// certificates: nobody but the API server is answered.
func (p *frontProxy) authenticator() authenticator.Request {
	h := p.headers()
	return group.NewAuthenticatedGroupAdder(headerrequest.NewDynamicVerifyOptionsSecure(p.verify, h.AllowedClientNames,
		h.UsernameHeaders, h.UIDHeaders, h.GroupHeaders, h.ExtraHeaderPrefixes))
}
