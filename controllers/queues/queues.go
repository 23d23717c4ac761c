// Package queues knows Kueue, Volcano and YuniKorn by the labels and annotations that they read, and tells who decides
// when the Job of a wave runs.
package queues

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

const (
	// LabelName is the label by which Kueue knows in whose queue a Job is.
	LabelName = "kueue.x-k8s.io/queue-name"
	// AnnotationMinParallelism has Kueue admit a Job with fewer pods at once than it asks for, but not with fewer than this.
	AnnotationMinParallelism = "kueue.x-k8s.io/job-min-parallelism"
)

// domains are those of the keys that the queues and schedulers read; their subdomains are theirs too.
var domains = []string{"kueue.x-k8s.io", "volcano.sh", "yunikorn.apache.org"}

// others are keys that they read too: Volcano the first, YuniKorn the others.
var others = []string{"scheduling.k8s.io/group-name", "applicationId", "queue"}

// singular are keys that speak of one Job, and make no sense for the several of a run.
var singular = []string{"kueue.x-k8s.io/prebuilt-workload-name", "kueue.x-k8s.io/job-completions-equal-parallelism"}

// isRead is true for the keys of labels and annotations that a queue or scheduler reads.
func isRead(key string) bool {
	domain, _, _ := strings.Cut(key, "/")
	return slices.Contains(others, key) || slices.ContainsFunc(domains, func(d string) bool {
		return domain == d || strings.HasSuffix(domain, "."+d)
	})
}

// Settings are the labels and annotations of a run that pass to those of its Jobs that run so many pods at once.
func Settings(run metav1.Object, parallelism int) (labels, annotations map[string]string) {
	passed := func(all map[string]string) map[string]string {
		kept := map[string]string{}
		for key, value := range all {
			if isRead(key) && !slices.Contains(singular, key) {
				kept[key] = value
			}
		}
		return kept
	}
	labels, annotations = passed(run.GetLabels()), passed(run.GetAnnotations())
	// Kueue refuses a Job whose minimum is not below its parallelism; such a one has nothing to be lowered anyway.
	if least, err := strconv.Atoi(annotations[AnnotationMinParallelism]); err == nil && least >= parallelism {
		delete(annotations, AnnotationMinParallelism)
	}
	return labels, annotations
}

// Ignored are the keys of a run's labels and annotations that speak to a queue and do not pass, sorted.
func Ignored(run metav1.Object) []string {
	var keys []string
	for _, key := range singular {
		if run.GetLabels()[key] != "" || run.GetAnnotations()[key] != "" {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Holder says who else than the operator decides when a Job runs, such as "the queue team-a of Kueue"; empty where nobody
// does. Whoever suspended the Job is to resume it.
func Holder(job *batchv1.Job) string {
	switch name := job.Labels[LabelName]; {
	case name != "":
		return fmt.Sprintf("the queue %s of Kueue", name)
	case ptr.Deref(job.Spec.Suspend, false) && job.Annotations[v1alpha1.AnnotationSuspended] == "":
		return "whoever suspended it"
	}
	return ""
}

// IsWorkloadOf is true where Kueue gives a Workload this name for the Job of that name.
func IsWorkloadOf(workload, job string) bool {
	const hash = len("-01234")
	return len(workload) > hash && workload[:len(workload)-hash] == "job-"+job
}

// Merge returns the maps as one. What several have, the last one decides.
func Merge(all ...map[string]string) map[string]string {
	merged := map[string]string{}
	for _, one := range all {
		maps.Copy(merged, one)
	}
	return merged
}
