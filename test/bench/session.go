package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

const (
	// quietInterval is for how long nothing may happen before it counts as quiet, quietWrites how many writes are
	// nothing: the leases of the nodes.
	quietInterval = 2 * time.Second
	quietWrites   = 4
	// idleTimeout bounds the waiting between rounds.
	idleTimeout = 15 * time.Minute
	// warmUpTasks are run once before anything is measured.
	warmUpTasks = 200
)

// session is a row of rounds on clusters with the same client limits.
type session struct {
	options
	id       string
	limits   string
	cluster  *cluster
	operator *operator
}

// run runs the rounds of the session.
func (s *session) run(ctx context.Context) (err error) {
	defer func() {
		if err != nil && s.cluster != nil {
			err = errors.Join(err, s.cluster.keepLogs())
		}
		err = errors.Join(err, s.end(ctx))
	}()
	sizes := s.sizes
	if s.limits == limitsDefault {
		sizes = s.defaultSizes
	}
	if len(sizes) > 0 || s.many > 0 && s.limits == limitsRaised {
		if err := s.begin(ctx); err != nil {
			return err
		}
	}
	for _, tasks := range sizes {
		for pair := range s.pairs {
			for _, k := range inTurn(s.kinds, pair) {
				if err := s.round(ctx, k, 1, tasks, pair); err != nil {
					return err
				}
			}
		}
	}
	if s.limits != limitsRaised {
		return nil
	}
	if err := s.manyRuns(ctx); err != nil {
		return err
	}
	return s.largeRuns(ctx)
}

// inTurn is the order of the kinds in a turn: forth, and back in the next, so that none gains from its place.
func inTurn(kinds []kind, turn int) []kind {
	if turn%2 == 0 {
		return kinds
	}
	back := slices.Clone(kinds)
	slices.Reverse(back)
	return back
}

// manyRuns measures many runs at once, and what the operator does when they are finished.
func (s *session) manyRuns(ctx context.Context) error {
	if s.many == 0 {
		return nil
	}
	for _, name := range []string{kindManyJobs, kindMany} {
		k, err := kindNamed(name)
		if err != nil {
			return err
		}
		if err := s.round(ctx, k, s.many, s.many*s.manyTasks, 0); err != nil {
			return err
		}
	}
	return nil
}

// largeRuns measures runs of very many tasks, each on a new cluster.
func (s *session) largeRuns(ctx context.Context) error {
	if s.large == 0 {
		return nil
	}
	for _, k := range s.kinds {
		if k.name != kindArray && k.name != kindPacked {
			continue
		}
		if err := errors.Join(s.end(ctx), s.begin(ctx)); err != nil {
			return err
		}
		if err := s.round(ctx, k, 1, s.large, 0); err != nil {
			return err
		}
	}
	return nil
}

// begin starts a cluster and warms it up.
func (s *session) begin(ctx context.Context) error {
	name := s.name
	if s.limits == limitsDefault {
		name += "-defaults"
	}
	var err error
	if s.cluster, err = startCluster(ctx, name, s.limits == limitsDefault); err != nil {
		return err
	}
	k, err := kindNamed(kindJob)
	if err != nil {
		return err
	}
	if _, err := s.execute(ctx, k.load(1, warmUpTasks, s.parallelism)); err != nil {
		return fmt.Errorf("warming up: %w", err)
	}
	return s.clear(ctx)
}

// end stops everything that the session started.
func (s *session) end(ctx context.Context) error {
	s.stopOperator()
	if s.cluster == nil || s.keepCluster {
		return nil
	}
	err := s.cluster.stop(ctx)
	s.cluster = nil
	return err
}

// round measures one load and keeps the result.
func (s *session) round(ctx context.Context, k kind, runs, tasks, pair int) error {
	name := fmt.Sprintf("%s limits, %s, %d tasks, pair %d", s.limits, k.name, tasks, pair+1)
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout, fmt.Errorf("not done within %s", s.timeout))
	defer cancel()
	defer s.stopOperator()
	if err := s.makeReady(ctx, k); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	r, err := s.measure(ctx, k.load(runs, tasks/runs, s.parallelism))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	r.Pair, r.Runs, r.Tasks = pair, runs, tasks
	if err := keep(s.results, r); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s: %s\n", name, r.line())
	s.stopOperator()
	return s.clear(ctx)
}

// makeReady brings policy and operator to what a kind needs, and waits until all is quiet.
func (s *session) makeReady(ctx context.Context, k kind) error {
	if k.operator {
		if err := s.cluster.setPolicy(ctx, !k.inlined); err != nil {
			return err
		}
		if err := s.startOperator(ctx); err != nil {
			return err
		}
		if err := s.warmUp(ctx, k); err != nil {
			return err
		}
	}
	return s.quiet(ctx)
}

// warmUp runs sweeps of two tasks until one is delivered as it shall be: packed or inlined.
func (s *session) warmUp(ctx context.Context, k kind) error {
	sweep, err := kindNamed(kindPacked)
	if err != nil {
		return err
	}
	want := 1
	if k.inlined {
		want = 2
	}
	return wait.PollUntilContextTimeout(ctx, time.Second, 2*time.Minute, true, func(ctx context.Context) (bool, error) {
		if _, err := s.execute(ctx, sweep.load(1, 2, 2)); err != nil {
			return false, fmt.Errorf("warming up the operator: %w", err)
		}
		jobs := &batchv1.JobList{}
		if err := s.cluster.client.List(ctx, jobs, client.InNamespace(namespace)); err != nil {
			return false, err
		}
		return len(jobs.Items) == want, s.clear(ctx)
	})
}

// measure runs a load and reads off what it cost.
func (s *session) measure(ctx context.Context, l load) (result, error) {
	before, err := readRequests(ctx, s.cluster.config)
	if err != nil {
		return result{}, err
	}
	parts, err := s.cluster.partsCPU()
	if err != nil {
		return result{}, err
	}
	used, err := s.operator.usage()
	if err != nil {
		return result{}, err
	}
	o, err := s.execute(ctx, l)
	if err != nil {
		return result{}, err
	}
	partsNow, err := s.cluster.partsCPU()
	if err != nil {
		return result{}, err
	}
	// What a party does just after the end, such as writing Events, belongs to it.
	if err := s.quiet(ctx); err != nil {
		return result{}, err
	}
	after, err := readRequests(ctx, s.cluster.config)
	if err != nil {
		return result{}, err
	}
	r := result{
		Session: s.id, Time: time.Now().UTC(), Kubernetes: s.cluster.version,
		Limits: s.limits, Kind: l.name, Parallelism: s.parallelism,
		Wall: o.wall.Seconds(), Lag: summarize(o.lags), Attempts: o.attempts,
		Requests: after.since(before), Parts: map[string]float64{},
		Status: o.status, LargestStatus: o.largest,
	}
	for part, cpu := range partsNow {
		r.Parts[part] = cpu - parts[part]
	}
	if r.Cores, r.Memory, err = machine(); err != nil || !l.operator {
		return r, err
	}
	usedNow, err := s.operator.usage()
	if err != nil {
		return r, err
	}
	r.Revision, r.CPU, r.Peak = s.revision, usedNow.cpu-used.cpu, usedNow.peak
	if l.name == kindMany {
		err = s.settle(ctx, &r)
	}
	return r, errors.Join(err, checkDelivery(l, r))
}

// execute runs a load, as long as the API server and the operator are there.
func (s *session) execute(ctx context.Context, l load) (observed, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go s.cluster.watchOver(ctx, cancel)
	if s.operator != nil {
		go s.operator.watchOver(ctx, cancel)
	}
	return execute(ctx, s.cluster.client, l)
}

// checkDelivery makes sure that a sweep was packed, or inlined, throughout.
func checkDelivery(l load, r result) error {
	jobs, tasks := int(r.Requests[kindOf{partyOperator, verbCreate, "jobs"}]), len(l.objects)*l.tasks
	switch {
	case l.inlined && jobs != tasks:
		return fmt.Errorf("%d Jobs were created for %d tasks, which were to be inlined", jobs, tasks)
	case !l.inlined && !l.failing && jobs > len(l.objects)*(1+l.tasks/10):
		return fmt.Errorf("%d Jobs were created for %d tasks, which were to be packed", jobs, tasks)
	}
	return nil
}

// settle counts what the operator asks for when all runs are finished.
func (s *session) settle(ctx context.Context, r *result) error {
	if s.settleFor == 0 {
		return nil
	}
	before, err := readRequests(ctx, s.cluster.config)
	if err != nil {
		return err
	}
	start := time.Now()
	fmt.Fprintf(os.Stderr, "watching the settled operator for %s\n", s.settleFor)
	select {
	case <-time.After(s.settleFor):
	case <-s.operator.ended:
		return fmt.Errorf("the operator ended, see %s", s.operator.log)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	after, err := readRequests(ctx, s.cluster.config)
	if err != nil {
		return err
	}
	r.Settled, r.SettledSeconds = requests{}, time.Since(start).Seconds()
	for kind, n := range after.since(before) {
		if kind.party == partyOperator {
			r.Settled[kind] = n
		}
	}
	return nil
}

// quiet waits until nothing is written any more but what is written all the time.
func (s *session) quiet(ctx context.Context) error {
	last := -1.0
	err := wait.PollUntilContextTimeout(ctx, quietInterval, idleTimeout, true, func(ctx context.Context) (bool, error) {
		counted, err := readRequests(ctx, s.cluster.config)
		if err != nil {
			return false, err
		}
		before := last
		last = counted.sum(partyAll, writeVerbs...)
		return before >= 0 && last-before <= quietWrites, nil
	})
	if err != nil {
		return fmt.Errorf("waiting until all is quiet: %w", err)
	}
	return nil
}

// clear deletes all that rounds leave, and waits until it is gone. The pods go first: so their deletion is no work for
// the garbage collector.
func (s *session) clear(ctx context.Context) error {
	left := []struct {
		object client.Object
		list   client.ObjectList
	}{
		{&corev1.Pod{}, &corev1.PodList{}},
		{&v1alpha1.BatchRun{}, &v1alpha1.BatchRunList{}},
		{&batchv1.Job{}, &batchv1.JobList{}},
		{&appsv1.ControllerRevision{}, &appsv1.ControllerRevisionList{}},
		{&corev1.Event{}, &corev1.EventList{}},
	}
	var failure error
	err := wait.PollUntilContextTimeout(ctx, time.Second, idleTimeout, true, func(ctx context.Context) (bool, error) {
		for _, each := range left {
			failure = s.cluster.client.DeleteAllOf(ctx, each.object, client.InNamespace(namespace), client.GracePeriodSeconds(0),
				client.PropagationPolicy(metav1.DeletePropagationBackground))
			if failure != nil { // the API server gives up after a minute; what it has not deleted by then goes the next time
				return false, nil //nolint:nilerr // it is told if there is no next time
			}
		}
		for _, each := range left {
			if err := s.cluster.client.List(ctx, each.list, client.InNamespace(namespace), client.Limit(1)); err != nil {
				return false, err
			}
			if meta.LenList(each.list) > 0 {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("clearing namespace %s: %w", namespace, errors.Join(err, failure))
	}
	return nil
}

// line sums up a result for those who watch the program.
func (r result) line() string {
	text := fmt.Sprintf("%.2f s, %.0f tasks/s, end to Complete %.2f s, %.2f writes a task",
		r.Wall, float64(r.Tasks)/r.Wall, r.Lag.P99, r.perTask(partyAll, writeVerbs...))
	if r.Peak > 0 {
		text += fmt.Sprintf("; operator: %.4f writes a task, %.2f s CPU, %.0f MiB, status %d bytes", r.perTask(partyOperator, writeVerbs...),
			r.CPU, float64(r.Peak)/(1<<20), r.LargestStatus)
	}
	return text
}

// ensureDir makes the folder for what this program writes.
func ensureDir() error { return os.MkdirAll(filepath.Clean(benchDir), 0o750) }
