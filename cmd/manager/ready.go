package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/config/rbac"
)

const (
	// lookInterval is how often a replica that is ready looks whether it still is, soonInterval one that is not.
	lookInterval = 10 * time.Second
	soonInterval = time.Second
	// lookTimeout bounds one look.
	lookTimeout = 10 * time.Second
)

// What a replica that starts waits for.
var (
	errFilling  = errors.New("the caches are not filled yet")
	errStarting = errors.New("the controllers have not started yet")
)

// readiness knows whether this replica can do its work, be it the active one or the one that follows it: it reaches the
// API server, which knows BatchRuns and lets the operator do what its role says; its caches are filled; and one replica
// has the lease. A replica that cannot is not ready, and says why in its log. It is not restarted for it: that would not
// help, and what it has in its caches would be lost.
type readiness struct {
	live      client.Reader
	clientset kubernetes.Interface
	cache     cache.Cache
	// namespaces are those that the operator looks after; one that is empty stands for all.
	namespaces []string
	// leaseNamespace is empty where there is no lease.
	leaseNamespace string
	elected        <-chan struct{}

	denials *denials
	// hasRights is true once the rights were found to be there.
	hasRights bool

	mutex sync.Mutex
	err   error
}

func newReadiness(
	mgr ctrl.Manager, clientset kubernetes.Interface, d *denials, leaseNamespace string, namespaces []string,
) *readiness {
	r := &readiness{live: mgr.GetAPIReader(), clientset: clientset, cache: mgr.GetCache(), namespaces: namespaces,
		leaseNamespace: leaseNamespace, elected: mgr.Elected(), denials: d, err: errors.New("it has not looked yet")}
	if len(namespaces) == 0 {
		r.namespaces = []string{metav1.NamespaceAll}
	}
	return r
}

// Check implements healthz.Checker.
func (r *readiness) Check(*http.Request) error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.err
}

// explain adds to the error that ended the operator why it was not ready, which is likely to be the cause.
func (r *readiness) explain(err error) error {
	if why := r.Check(nil); err != nil && why != nil {
		return fmt.Errorf("%w (%w)", err, why)
	}
	return err
}

// keep looks again and again, until ctx ends.
func (r *readiness) keep(ctx context.Context) {
	for {
		err := r.look(ctx)
		interval := lookInterval
		if err != nil {
			interval = soonInterval
		}
		r.note(err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(interval):
		}
	}
}

// note takes down how the replica is, and tells the log where that is something new.
func (r *readiness) note(err error) {
	r.mutex.Lock()
	before := r.err
	r.err = err
	r.mutex.Unlock()
	switch {
	case err == nil && before != nil:
		ctrl.Log.Info("ready")
	case err == nil || before != nil && advice(before) == advice(err):
	case errors.Is(err, errFilling), errors.Is(err, errStarting):
		ctrl.Log.Info("not ready", "reason", err.Error())
	default:
		ctrl.Log.Error(err, "not ready")
	}
}

func (r *readiness) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if err := r.reaches(ctx); err != nil {
		return err
	}
	informer, err := r.cache.GetInformer(ctx, &v1alpha1.BatchRun{}, cache.BlockUntilSynced(false))
	if err != nil {
		return advised("looking for the cache of BatchRuns", err)
	}
	synced, stop := context.WithTimeout(ctx, time.Second)
	defer stop()
	if !informer.HasSynced() || !r.cache.WaitForCacheSync(synced) {
		return errFilling
	}
	return r.hasLeader(ctx)
}

// reaches fails where the API server cannot be reached, does not know BatchRuns, or does not let the operator do what it
// has to. It needs no cache.
func (r *readiness) reaches(ctx context.Context) error {
	for _, namespace := range r.namespaces {
		if err := r.live.List(ctx, &v1alpha1.BatchRunList{}, client.InNamespace(namespace), client.Limit(1)); err != nil {
			r.hasRights = false
			return advised("listing BatchRuns"+in(namespace), err)
		}
	}
	if denied := r.denials.any.Swap(false); r.hasRights && !denied {
		return nil
	}
	r.hasRights = false
	for _, namespace := range r.namespaces {
		for _, right := range rights(namespace) {
			review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &right}}
			review, err := r.clientset.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
			if err != nil {
				return advised("asking what the operator may do", err)
			}
			if !review.Status.Allowed {
				resource := strings.TrimSuffix(right.Resource+"."+right.Group, ".")
				if right.Subresource != "" {
					resource += "/" + right.Subresource
				}
				return fmt.Errorf("the operator may not %s %s%s: apply its roles again (config/rbac)", right.Verb, resource, in(namespace))
			}
		}
	}
	r.hasRights = true
	return nil
}

// denials notes whether the API server denied any request: then it is time to ask what the operator may do. Asking now
// and then instead would cost requests for ever.
type denials struct{ any atomic.Bool }

// over looks at the answers that a connection has.
func (d *denials) over(next http.RoundTripper) http.RoundTripper { return &watched{next, d} }

// watched is a connection whose answers are looked at.
type watched struct {
	next    http.RoundTripper
	denials *denials
}

var _ utilnet.RoundTripperWrapper = &watched{}

// RoundTrip implements http.RoundTripper.
func (w *watched) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := w.next.RoundTrip(request)
	if err == nil && response.StatusCode == http.StatusForbidden {
		w.denials.any.Store(true)
	}
	return response, err
}

// WrappedRoundTripper implements utilnet.RoundTripperWrapper, so that client-go can cancel requests.
func (w *watched) WrappedRoundTripper() http.RoundTripper { return w.next }

// rights are what the operator has to be allowed to do in a namespace, or in all. The policy is not in a namespace.
func rights(namespace string) []authorizationv1.ResourceAttributes {
	var all []authorizationv1.ResourceAttributes
	for _, rule := range rbac.Rules() {
		if namespace != metav1.NamespaceAll && rule.APIGroups[0] == admissionregistrationv1.GroupName {
			continue
		}
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				right := authorizationv1.ResourceAttributes{Namespace: namespace, Verb: verb, Group: rule.APIGroups[0]}
				right.Resource, right.Subresource, _ = strings.Cut(resource, "/")
				if len(rule.ResourceNames) > 0 {
					right.Name = rule.ResourceNames[0]
				}
				all = append(all, right)
			}
		}
	}
	return all
}

// hasLeader fails where this replica is not the active one and cannot see that another one is.
func (r *readiness) hasLeader(ctx context.Context) error {
	select {
	case <-r.elected:
		return nil
	default:
	}
	if r.leaseNamespace == "" {
		return errStarting
	}
	if _, err := r.clientset.CoordinationV1().Leases(r.leaseNamespace).Get(ctx, leaseName, metav1.GetOptions{}); err != nil {
		return fmt.Errorf("no replica is active, as the lease %s/%s cannot be had: set --leader-election-namespace to a namespace "+
			"that exists and in which the operator may get, create and update leases: %w", r.leaseNamespace, leaseName, err)
	}
	return nil
}

func in(namespace string) string {
	if namespace == metav1.NamespaceAll {
		return " in all namespaces"
	}
	return " in namespace " + namespace
}

// advised is an error that says what to do.
func advised(doing string, err error) error { return &lookError{doing, err} }

// settingUp is what is wrong at the start, with advice if the API server was asked in vain.
func settingUp(err error) error {
	const doing = "setting up the operator"
	request, status := &url.Error{}, apierrors.APIStatus(nil)
	if errors.As(err, &request) || errors.As(err, &status) {
		return advised(doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

type lookError struct {
	doing string
	err   error
}

func (e *lookError) Error() string { return advice(e) + ": " + e.doing + ": " + e.err.Error() }

func (e *lookError) Unwrap() error { return e.err }

// advice says what is wrong, and what to do, without what differs each time.
func advice(err error) string {
	look := &lookError{}
	if !errors.As(err, &look) {
		return err.Error()
	}
	untrusted := &tls.CertificateVerificationError{}
	switch err := look.err; {
	case apierrors.IsUnauthorized(err):
		return "the API server does not accept the operator's credentials: renew its token or client certificate"
	case apierrors.IsForbidden(err):
		return "the operator lacks rights: apply its roles again (config/rbac)"
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
		return "the CustomResourceDefinition batchruns.batchrun.io is not installed, or another version: apply it (config/crd)"
	case errors.As(err, &untrusted):
		return "the API server's certificate has expired or is not of the CA in the operator's kubeconfig: renew the one or the other"
	case strings.Contains(err.Error(), "remote error: tls: "):
		return "the API server does not accept the operator's client certificate: renew it"
	}
	return unreachable
}

// unreachable is what may pass by itself.
const unreachable = "the API server cannot be reached or does not answer"

// passes is true for an error that may be gone the next time.
func passes(err error) bool { return advice(err) == unreachable }
