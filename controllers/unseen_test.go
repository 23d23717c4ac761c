package controllers

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/controllers/ledger"
	"github.com/batchrun/batchrun/controllers/plan"
)

func TestUnseenIsWaitedForFromItsFirstLook(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var before map[gone]time.Time
	look := func(at time.Time, of ...string) (ends []time.Duration) {
		u := newUnseen(before, at)
		for _, name := range of {
			ends = append(ends, u.until(gone{"job", name}, unseenDelay).Sub(now))
		}
		before = u.since
		return ends
	}
	for _, step := range []struct {
		after time.Duration
		of    []string
		want  []time.Duration
	}{
		{0, []string{"0"}, []time.Duration{3 * time.Second}},
		{time.Second, []string{"0", "1"}, []time.Duration{3 * time.Second, 4 * time.Second}},
		{3 * time.Second, []string{"1"}, []time.Duration{4 * time.Second}},
		{5 * time.Second, []string{"0"}, []time.Duration{8 * time.Second}}, // it was told of meanwhile, and is unseen again
		{-time.Hour, []string{"0"}, []time.Duration{3*time.Second - time.Hour}},
	} {
		if got := look(now.Add(step.after), step.of...); !slices.Equal(got, step.want) {
			t.Errorf("after %s of %v: until %v, want %v", step.after, step.of, got, step.want)
		}
	}
}

// failedPod is a pod of the Job "job" that failed.
func failedPod(completionIndex, name string) corev1.Pod {
	pod := podOf("job", completionIndex)
	pod.Name, pod.UID = name, "uid-of-"+pod.UID
	pod.Status.Phase = corev1.PodFailed
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{ExitCode: 42, Reason: "Error"}}}}
	return pod
}

func TestEndsThatNothingTellsOfYetAreStillGoingOn(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	running, stopped := podOf("job", "2"), podOf("job", "3")
	stopped.CreationTimestamp, stopped.DeletionTimestamp = metav1.NewTime(now.Add(-time.Hour)), &metav1.Time{Time: now.Add(-time.Minute)}
	seen := failedPod("1", "seen")
	r := &BatchRunReconciler{Live: &countingReader{pods: []corev1.Pod{failedPod("0", "live")}}, vanished: newVanishedPods()}
	r.vanished.put(&seen)
	r.vanished.put(&stopped)
	tasks := indexset.Interval(10, 14) // live, seen going away, still in the cache, stopped before the Job was resumed, unknown
	states := make(ledger.Ledger, 15)
	for task := range tasks.All() {
		states[task].State = ledger.Active
		states[task].Enter(0)
	}
	run := &v1alpha1.BatchRun{}
	run.Status.Waves.Next = 1

	before := map[gone]time.Time{}
	for _, look := range []struct {
		after  time.Duration
		failed string
		again  time.Duration
	}{
		{0, "10,11", unseenDelay},
		{unseenDelay - 1, "10,11", unseenDelay},
		{unseenDelay, "10,11,13,14", shownDelay},
		{shownDelay, "10-14", 0},
	} {
		s := &plan.Snapshot{Run: run, Ledger: states}
		w := &plan.Wave{UID: "job", Tasks: tasks, Failed: tasks, Started: now.Add(-time.Second), Finished: "Failed", Stopped: true}
		pods, u := map[int]plan.Pod{}, newUnseen(before, now.Add(look.after))
		cached := newRunPods(&countingReader{pods: []corev1.Pod{running}}, run)
		waits, err := r.observeUnseen(t.Context(), s, w, cached, u, pods)
		if err != nil {
			t.Fatal(err)
		}
		before = u.since
		hidden := 5 - w.Failed.Len()
		if w.Failed.String() != look.failed || waits != (hidden > 0) || w.Terminating != hidden || w.Stopped == waits || (w.Finished == "") != waits {
			t.Errorf("after %s: failed %s, want %s; waits %t, %d terminating, finished %q", look.after, w.Failed.String(), look.failed,
				waits, w.Terminating, w.Finished)
		}
		if want := now.Add(look.again); look.again > 0 && !s.NextLook.Equal(want) || look.again == 0 && !s.NextLook.IsZero() {
			t.Errorf("after %s: looks again at %s", look.after, s.NextLook)
		}
		if pods[10].Name != "live" || pods[11].Name != "seen" || pods[13].Ended || pods[14].Ended {
			t.Errorf("after %s: pods %v", look.after, pods)
		}
	}
}

// A cleaner deletes a failed pod at once; the cache shows how it waited.
func TestALaterStateOfTheSamePodIsTaken(t *testing.T) {
	pod := podOf("job", "0")
	pod.UID = "pod"
	waiting := observePod(&pod, 0)
	pod.DeletionTimestamp = &metav1.Time{}
	if !newer(waiting, &pod) {
		t.Error("it is refused because it was deleted meanwhile")
	}
	other := podOf("job", "0")
	other.UID, other.DeletionTimestamp = "other", pod.DeletionTimestamp
	if newer(waiting, &other) {
		t.Error("a pod that was stopped is taken for the one that followed it")
	}
}
