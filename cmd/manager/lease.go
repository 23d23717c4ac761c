package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

const (
	// leaseName is the name of the lease that the active replica holds.
	leaseName = "batchrun.io"
	// inPodNamespace is where a pod reads in which namespace it is.
	inPodNamespace = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
)

// How long replicas of the operator take to follow each other: after a graceful end about leaseRetryPeriod, which
// client-go makes up to 2.2 times as long; after a crash leaseDuration more.
const (
	leaseDuration    = 12 * time.Second
	renewDeadline    = 8 * time.Second
	leaseRetryPeriod = time.Second
)

// lease is what the active one of several replicas holds. It is given back only by its holder: client-go goes by what it
// saw last, so that a replica that stood still until another one took over would give back that one's.
type lease struct {
	resourcelock.Interface
	// holder had the lease when it was read last.
	holder string
}

// newLease is the operator's lease in the namespace, which is nobody's yet.
func newLease(config *rest.Config, namespace string) (*lease, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	config = rest.AddUserAgent(rest.CopyConfig(config), "leader-election")
	config.Timeout = renewDeadline / 2 // one request that hangs does not cost the lease
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &lease{Interface: &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: leaseName},
		Client:     clientset.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())},
	}}, nil
}

// Get implements resourcelock.Interface.
func (l *lease) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := l.Interface.Get(ctx)
	if err == nil {
		l.holder = record.HolderIdentity
	}
	return record, raw, err
}

// Update implements resourcelock.Interface. It fails where it would give back another's lease.
func (l *lease) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	if record.HolderIdentity == "" && l.holder != l.Identity() {
		return fmt.Errorf("%s holds the lease, so it is not given back", l.holder)
	}
	return l.Interface.Update(ctx, record)
}

// leaseIn is the namespace of the lease; empty where there is none.
func leaseIn(o options) (string, error) {
	switch {
	case !o.leaderElect:
		return "", nil
	case o.leaseNamespace != "":
		return o.leaseNamespace, nil
	}
	own, err := os.ReadFile(inPodNamespace)
	if err != nil {
		return "", errors.New("--leader-elect outside of a pod needs --leader-election-namespace, the namespace of the lease")
	}
	return strings.TrimSpace(string(own)), nil
}
