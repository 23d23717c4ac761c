package main

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/utils/ptr"
)

// stopped is a lock whose process is stopped in a request until the deadline for it has passed, and long enough for
// somebody else to take the lease meanwhile.
type stopped struct {
	resourcelock.Interface
	stop      atomic.Bool
	meanwhile func()
}

func (s *stopped) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	if s.stop.CompareAndSwap(true, false) {
		<-ctx.Done()
		s.meanwhile()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.Interface.Update(ctx, record)
}

func (s *stopped) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	return s.Interface.Get(ctx)
}

// A timeout would end each watch of the operator's caches.
func TestTheTimeoutOfTheLeaseIsForItsRequestsOnly(t *testing.T) {
	config := &rest.Config{UserAgent: "operator"}
	if _, err := newLease(config, "batchrun-system"); err != nil {
		t.Fatal(err)
	}
	if config.Timeout != 0 || config.UserAgent != "operator" {
		t.Errorf("other requests of %s have a timeout of %v", config.UserAgent, config.Timeout)
	}
}

func TestLeaseIsGivenBackByItsHolder(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(lock *stopped, cancel context.CancelFunc)
		want string
	}{
		"a leader that ends gives it back":                                  {func(_ *stopped, cancel context.CancelFunc) { cancel() }, ""},
		"a leader that stood still until another one leads leaves it to it": {func(lock *stopped, _ context.CancelFunc) { lock.stop.Store(true) }, "other"},
	} {
		t.Run(name, func(t *testing.T) {
			leases := fake.NewClientset().CoordinationV1()
			lock := &stopped{
				Interface: &resourcelock.LeaseLock{
					LeaseMeta: metav1.ObjectMeta{Namespace: "batchrun-system", Name: leaseName}, Client: leases,
					LockConfig: resourcelock.ResourceLockConfig{Identity: "self"},
				},
			}
			lock.meanwhile = func() {
				_, err := leases.Leases("batchrun-system").Update(t.Context(), &coordinationv1.Lease{
					ObjectMeta: metav1.ObjectMeta{Namespace: "batchrun-system", Name: leaseName},
					Spec:       coordinationv1.LeaseSpec{HolderIdentity: ptr.To("other"), LeaseDurationSeconds: ptr.To(int32(12))},
				}, metav1.UpdateOptions{})
				if err != nil {
					t.Error(err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
				Lock: &lease{Interface: lock}, ReleaseOnCancel: true,
				LeaseDuration: 2 * time.Second, RenewDeadline: time.Second, RetryPeriod: 100 * time.Millisecond,
				Callbacks: leaderelection.LeaderCallbacks{
					OnStartedLeading: func(context.Context) { test.end(lock, cancel) },
					OnStoppedLeading: func() {},
				},
			})
			found, err := leases.Leases("batchrun-system").Get(t.Context(), leaseName, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if got := ptr.Deref(found.Spec.HolderIdentity, ""); got != test.want {
				t.Errorf("the holder is %q, want %q", got, test.want)
			}
		})
	}
}
