package queues

import (
	"maps"
	"slices"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

func TestSettingsAreWhatQueuesAndSchedulersRead(t *testing.T) {
	run := &metav1.ObjectMeta{
		Labels: map[string]string{
			"kueue.x-k8s.io/queue-name": "a", "kueue.x-k8s.io/priority-class": "high", "kueue.x-k8s.io/max-exec-time-seconds": "60",
			"kueue.x-k8s.io/prebuilt-workload-name": "w", "volcano.sh/preemptable": "true", "applicationId": "app", "queue": "root.a",
			"yunikorn.apache.org/queue": "root.a", "app": "mine", "notkueue.x-k8s.io/x": "x", "queue-name": "x",
		},
		Annotations: map[string]string{
			"provreq.kueue.x-k8s.io/maxRunDurationSeconds": "60", "scheduling.volcano.sh/queue-name": "q", "scheduling.k8s.io/group-name": "g",
			"scheduling.k8s.io/other": "x", "yunikorn.apache.org/task-groups": "[]", AnnotationMinParallelism: "4",
			"kueue.x-k8s.io/job-completions-equal-parallelism": "true", "kubectl.kubernetes.io/last-applied-configuration": "{}",
		},
	}
	labels, annotations := Settings(run, 5)
	for _, passed := range []struct {
		got  map[string]string
		want []string
	}{
		{labels, []string{"applicationId", "kueue.x-k8s.io/max-exec-time-seconds", "kueue.x-k8s.io/priority-class",
			"kueue.x-k8s.io/queue-name", "queue", "volcano.sh/preemptable", "yunikorn.apache.org/queue"}},
		{annotations, []string{AnnotationMinParallelism, "provreq.kueue.x-k8s.io/maxRunDurationSeconds", "scheduling.k8s.io/group-name",
			"scheduling.volcano.sh/queue-name", "yunikorn.apache.org/task-groups"}},
	} {
		if got := slices.Sorted(maps.Keys(passed.got)); !slices.Equal(got, passed.want) {
			t.Errorf("got %q, want %q", got, passed.want)
		}
	}
	if want := []string{"kueue.x-k8s.io/job-completions-equal-parallelism", "kueue.x-k8s.io/prebuilt-workload-name"}; !slices.Equal(Ignored(run), want) {
		t.Errorf("ignored %q, want %q", Ignored(run), want)
	}
	if _, annotations := Settings(run, 4); annotations[AnnotationMinParallelism] != "" {
		t.Error("a Job that cannot be lowered has a minimum, which Kueue refuses")
	}
}

func TestHolder(t *testing.T) {
	queued, marked := map[string]string{LabelName: "team-a"}, map[string]string{v1alpha1.AnnotationSuspended: "true"}
	for name, test := range map[string]struct {
		labels, annotations map[string]string
		suspended           *bool
		want                string
	}{
		"a Job like any other":                       {nil, nil, ptr.To(false), ""},
		"one that nobody said anything about":        {nil, nil, nil, ""},
		"one that the operator suspended":            {nil, marked, ptr.To(true), ""},
		"one that somebody else suspended":           {nil, nil, ptr.To(true), "whoever suspended it"},
		"one that waits in a queue":                  {queued, nil, ptr.To(true), "the queue team-a of Kueue"},
		"one that a queue let run":                   {queued, nil, ptr.To(false), "the queue team-a of Kueue"},
		"one that came into a queue while suspended": {queued, marked, ptr.To(true), "the queue team-a of Kueue"},
	} {
		t.Run(name, func(t *testing.T) {
			job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Labels: test.labels, Annotations: test.annotations},
				Spec: batchv1.JobSpec{Suspend: test.suspended}}
			if got := Holder(job); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestWorkloadsAreKnownByTheirNames(t *testing.T) {
	for workload, want := range map[string]bool{"job-train-1-0a1b2": true, "job-train-10-0a1b2": false, "job-train-1": false, "": false, "job-other-1-0a1b2": false} {
		if IsWorkloadOf(workload, "train-1") != want {
			t.Errorf("%q: want %t", workload, want)
		}
	}
}
