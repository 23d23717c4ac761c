package controllers

import (
	"encoding/json"
	"hash/fnv"
	"math"
	"slices"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/plan"
	"github.com/batchrun/batchrun/controllers/queues"
)

// waveName is the name of a wave's Job. It is never used twice by a run, so creating a wave twice is AlreadyExists.
func waveName(run *v1alpha1.BatchRun, number int) string {
	return run.Name + "-" + strconv.Itoa(number)
}

// waveJob is the Job of a wave: it runs each of the wave's tasks once and never retries.
func waveJob(run *v1alpha1.BatchRun, wave plan.NewWave) *batchv1.Job {
	labels := map[string]string{
		v1alpha1.LabelRun:    run.Name,
		v1alpha1.LabelRunUID: string(run.UID),
		v1alpha1.LabelWave:   strconv.Itoa(wave.Number),
	}
	forQueues, alsoForQueues := queues.Settings(run, wave.Parallelism)
	template := wavePodTemplate(run, wave)
	template.Labels = queues.Merge(forQueues, template.Labels, labels)
	if len(alsoForQueues) > 0 {
		template.Annotations = queues.Merge(alsoForQueues, template.Annotations)
	}
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       run.Namespace,
			Name:            waveName(run, wave.Number),
			Labels:          queues.Merge(forQueues, labels),
			Annotations:     queues.Merge(alsoForQueues, waveAnnotations(run, wave)),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(run, v1alpha1.GroupVersion.WithKind("BatchRun"))},
		},
		Spec: batchv1.JobSpec{
			CompletionMode:       ptr.To(batchv1.IndexedCompletion),
			Completions:          ptr.To(int32(wave.Tasks.Len())),
			Parallelism:          ptr.To(int32(wave.Parallelism)),
			BackoffLimitPerIndex: ptr.To(int32(0)),
			PodReplacementPolicy: ptr.To(batchv1.Failed),
			Template:             template,
		},
	}
}

func waveAnnotations(run *v1alpha1.BatchRun, wave plan.NewWave) map[string]string {
	annotations := map[string]string{
		v1alpha1.AnnotationTasks: wave.Tasks.String(), v1alpha1.AnnotationTemplate: templateHash(run)}
	if wave.Attempts != "" {
		annotations[v1alpha1.AnnotationAttempts] = wave.Attempts
	}
	if run.Spec.Parameters != nil {
		annotations[v1alpha1.AnnotationSweep] = "true"
	}
	if wave.Table != "" {
		annotations[v1alpha1.AnnotationPacked] = "true"
	}
	return annotations
}

// templateHash tells one spec.template from another, and what the run says to queues and schedulers, if it says anything.
func templateHash(run *v1alpha1.BatchRun) string {
	parts := []any{run.Spec.Template}
	if labels, annotations := queues.Settings(run, math.MaxInt); len(labels)+len(annotations) > 0 {
		parts = append(parts, labels, annotations)
	}
	hash := fnv.New64a()
	for _, part := range parts {
		text, err := json.Marshal(part)
		if err != nil { // these have nothing that JSON has not
			panic(err)
		}
		_, _ = hash.Write(text) // never fails
	}
	return strconv.FormatUint(hash.Sum64(), 36)
}

func wavePodTemplate(run *v1alpha1.BatchRun, wave plan.NewWave) corev1.PodTemplateSpec {
	template := *run.Spec.Template.DeepCopy()
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	if wave.Table != "" {
		if template.Annotations == nil {
			template.Annotations = map[string]string{}
		}
		template.Annotations[v1alpha1.AnnotationParameters] = wave.Table
		// Where nothing sets the variables, nothing takes the gate away, and the pod does not run.
		template.Spec.SchedulingGates = append(template.Spec.SchedulingGates, corev1.PodSchedulingGate{Name: v1alpha1.GateParameters})
	}
	keep, _, _ := run.Spec.LogTail()
	variables := variables(wave)
	growth := run.Spec.MemoryGrowth()
	for _, containers := range [][]corev1.Container{template.Spec.InitContainers, template.Spec.Containers} {
		for i := range containers {
			c := &containers[i]
			// In front of the user's variables, so that $(BATCHRUN_TASK_INDEX) expands in them.
			c.Env = slices.Concat(variables, c.Env)
			if c.TerminationMessagePolicy == "" && keep != v1alpha1.KeepNone {
				c.TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
			}
			if growth != nil && wave.Growth > 0 {
				growMemory(&c.Resources, growth, wave.Growth)
			}
		}
	}
	return template
}

// variables tell a container the index of its task and the values of its parameters. Where the tasks' positions in the
// wave are their indexes, that is the completion index of the pod; in a wave of one task the values are written into it;
// otherwise they are left empty for the policy. (The Job controller leaves a JOB_COMPLETION_INDEX that is already there
// alone.)
func variables(wave plan.NewWave) []corev1.EnvVar {
	var variables []corev1.EnvVar
	switch {
	case wave.Table != "":
		variables = []corev1.EnvVar{{Name: v1alpha1.EnvTaskIndex}, {Name: v1alpha1.EnvCompletionIndex}}
	case wave.Natural() && len(wave.Parameters.Names) == 0:
		index := &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1",
			FieldPath: "metadata.labels['" + batchv1.JobCompletionIndexAnnotation + "']"}}
		return []corev1.EnvVar{{Name: v1alpha1.EnvTaskIndex, ValueFrom: index}, {Name: v1alpha1.EnvCompletionIndex, ValueFrom: index}}
	default:
		index := strconv.Itoa(wave.Tasks.At(0))
		variables = []corev1.EnvVar{{Name: v1alpha1.EnvTaskIndex, Value: index}, {Name: v1alpha1.EnvCompletionIndex, Value: index}}
	}
	for i, name := range wave.Parameters.Names {
		variable := corev1.EnvVar{Name: name}
		if wave.Table == "" {
			variable.Value = wave.Parameters.Values[i]
		}
		variables = append(variables, variable)
	}
	return variables
}

// growMemory raises the memory limit and request of a container by growth.IncreasePercent so many times, each at most
// to growth.Max.
func growMemory(resources *corev1.ResourceRequirements, growth *v1alpha1.MemoryGrowth, times int) {
	for _, list := range []corev1.ResourceList{resources.Limits, resources.Requests} {
		memory, ok := list[corev1.ResourceMemory]
		if !ok {
			continue
		}
		factor := math.Pow(1+float64(growth.IncreasePercent)/100, float64(times))
		grown := math.Min(math.Ceil(float64(memory.Value())*factor), float64(growth.Max.Value()))
		if value := int64(grown); value > memory.Value() {
			list[corev1.ResourceMemory] = *resource.NewQuantity(value, memory.Format)
		}
	}
}
