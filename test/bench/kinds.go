package main

import (
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// kind is a way to have tasks run.
type kind struct {
	name, title string
	// operator is true for BatchRuns.
	operator bool
	// sweep is true for tasks with parameters.
	sweep bool
	// inlined is true without the policy that packed waves need.
	inlined bool
	// failing is true where attempts fail.
	failing bool
	// single is true for an object a task.
	single bool
	// many is true for many objects of few tasks.
	many bool
}

// Names of the kinds.
const (
	kindJob      = "job"
	kindJobAgain = "job-again"
	kindSingles  = "singles"
	kindArray    = "array"
	kindPacked   = "packed"
	kindInlined  = "inlined"
	kindFailing  = "failing"
	kindMany     = "many"
	kindManyJobs = "many-jobs"
)

// kinds in the order in which they take turns.
var kinds = []kind{
	{name: kindJob, title: "bare Indexed Job"},
	{name: kindSingles, title: "bare single Jobs, created by client-go", single: true},
	{name: kindArray, title: "BatchRun, array", operator: true},
	{name: kindPacked, title: "BatchRun, packed sweep", operator: true, sweep: true},
	{name: kindInlined, title: "BatchRun, inlined sweep", operator: true, sweep: true, inlined: true},
	{name: kindFailing, title: "BatchRun, array, 5% of the attempts fail", operator: true, failing: true},
	{name: kindJobAgain, title: "bare Indexed Job, once more"},
	{name: kindManyJobs, title: "bare Indexed Jobs", many: true},
	{name: kindMany, title: "BatchRuns, arrays", operator: true, many: true},
}

func kindNamed(name string) (kind, error) {
	var names []string
	for _, k := range kinds {
		if k.name == name {
			return k, nil
		}
		names = append(names, k.name)
	}
	return kind{}, fmt.Errorf("kind %q: must be one of %s", name, strings.Join(names, ", "))
}

// load is the work of a round.
type load struct {
	kind
	objects []client.Object
	// tasks is how many each object has.
	tasks int
	// window is how many objects may be unfinished at once; 0: all.
	window int
}

// load makes so many runs, or Jobs, of so many tasks. Single Jobs are one "run".
func (k kind) load(runs, tasks, parallelism int) load {
	l := load{kind: k, tasks: tasks}
	if k.single {
		l.tasks, l.window, runs = 1, parallelism, tasks
	}
	for i := range runs {
		name := fmt.Sprintf("%s-%d", k.name, i)
		if k.operator {
			l.objects = append(l.objects, k.run(name, l.tasks, parallelism))
		} else {
			l.objects = append(l.objects, k.job(name, l.tasks, parallelism))
		}
	}
	return l
}

// owner is the label of a pod with the name of the object that it belongs to.
func (k kind) owner() string {
	if k.operator {
		return v1alpha1.LabelRun
	}
	return batchv1.JobNameLabel
}

func (k kind) job(name string, tasks, parallelism int) *batchv1.Job {
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       batchv1.JobSpec{Template: k.template(), BackoffLimit: ptr.To[int32](0)},
	}
	if !k.single {
		job.Spec = batchv1.JobSpec{
			Template:             k.template(),
			CompletionMode:       ptr.To(batchv1.IndexedCompletion),
			Completions:          ptr.To(int32(tasks)),
			Parallelism:          ptr.To(int32(min(tasks, parallelism))),
			BackoffLimitPerIndex: ptr.To[int32](0),
		}
	}
	return job
}

func (k kind) run(name string, tasks, parallelism int) *v1alpha1.BatchRun {
	run := &v1alpha1.BatchRun{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1alpha1.BatchRunSpec{Template: k.template(), Parallelism: ptr.To(int32(parallelism))},
	}
	if k.sweep {
		run.Spec.Parameters = sweepOf(tasks)
	} else {
		run.Spec.Completions = ptr.To(int32(tasks))
	}
	return run
}

// rates is how many values the first parameter of a sweep has, where that divides its tasks.
const rates = 10

// sweepOf is a matrix of so many combinations.
func sweepOf(tasks int) *v1alpha1.Parameters {
	n := rates
	for tasks%n != 0 {
		n--
	}
	rate := v1alpha1.Parameter{Name: "RATE"}
	for i := range n {
		rate.Values = append(rate.Values, fmt.Sprintf("0.%d", i+1))
	}
	seed := v1alpha1.Parameter{Name: "SEED", Range: &v1alpha1.Range{Start: 1, End: int64(tasks / n)}}
	return &v1alpha1.Parameters{Matrix: []v1alpha1.Parameter{rate, seed}}
}

// template is the same for all kinds. What the container would do does not matter: kwok plays it.
func (k kind) template() corev1.PodTemplateSpec {
	template := corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever,
		Containers: []corev1.Container{{
			Name: "main", Image: "busybox", Command: []string{"sh", "-c", "exit 0"},
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi")}},
		}},
	}}
	if k.failing {
		template.Labels = map[string]string{"bench": "failing"}
	}
	return template
}
