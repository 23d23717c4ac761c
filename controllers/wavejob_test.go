package controllers

import (
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/controllers/parameters"
	"github.com/batchrun/batchrun/controllers/plan"
)

// aRun is a run of one container and one init container, as these edits change it.
func aRun(edits ...func(*v1alpha1.BatchRunSpec)) *v1alpha1.BatchRun {
	run := &v1alpha1.BatchRun{ObjectMeta: metav1.ObjectMeta{Namespace: "lab", Name: "train", UID: "u-1"}}
	run.Spec.Template = corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "mine", v1alpha1.LabelRun: "somebody else's"}},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: "fetch", Image: "fetch:1"}},
			Containers: []corev1.Container{{Name: "main", Image: "main:1", Env: []corev1.EnvVar{
				{Name: "SEED", Value: "s-$(BATCHRUN_TASK_INDEX)"}}}},
		},
	}
	for _, edit := range edits {
		edit(&run.Spec)
	}
	return run
}

func wave(number, growth int, tasks ...int) plan.NewWave {
	return plan.NewWave{Number: number, Tasks: indexset.Of(tasks...), Parallelism: 2, Growth: growth}
}

func TestWaveJob(t *testing.T) {
	run := aRun()
	job := waveJob(run, wave(3, 0, 0, 1, 2))

	t.Run("its name is the run's and the wave's number", func(t *testing.T) {
		if job.Namespace != "lab" || job.Name != "train-3" {
			t.Errorf("got %s/%s", job.Namespace, job.Name)
		}
		if number, ok := waveNumber(run, job.Name); !ok || number != 3 {
			t.Errorf("the number reads as %d, %v", number, ok)
		}
	})
	t.Run("it and its pods carry the run's labels, which win over the user's", func(t *testing.T) {
		want := map[string]string{v1alpha1.LabelRun: "train", v1alpha1.LabelRunUID: "u-1", v1alpha1.LabelWave: "3"}
		if !equality.Semantic.DeepEqual(job.Labels, want) {
			t.Errorf("Job: got %v", job.Labels)
		}
		want["app"] = "mine"
		if !equality.Semantic.DeepEqual(job.Spec.Template.Labels, want) {
			t.Errorf("pods: got %v", job.Spec.Template.Labels)
		}
	})
	t.Run("the run controls it", func(t *testing.T) {
		owner := metav1.GetControllerOf(job)
		if owner == nil || !metav1.IsControlledBy(job, run) || owner.Kind != "BatchRun" ||
			owner.APIVersion != "batchrun.io/v1alpha1" || !ptr.Deref(owner.BlockOwnerDeletion, false) {
			t.Errorf("got %+v", owner)
		}
	})
	t.Run("it lists its tasks, and observe reads them back", func(t *testing.T) {
		job := waveJob(run, wave(3, 0, 2, 5, 6, 7))
		job.Status.CompletedIndexes = "0,2"
		job.Status.FailedIndexes = ptr.To("3")
		if got := job.Annotations[v1alpha1.AnnotationTasks]; got != "2,5-7" {
			t.Errorf("annotation: got %q", got)
		}
		seen, err := observeWave(3, job, "")
		if err != nil {
			t.Fatal(err)
		}
		if seen.Tasks.String() != "2,5-7" || seen.Succeeded.String() != "2,6" || seen.Failed.String() != "7" {
			t.Errorf("got tasks %s, succeeded %s, failed %s", seen.Tasks, seen.Succeeded, seen.Failed)
		}
	})
	t.Run("it runs each task once and never retries", func(t *testing.T) {
		spec := job.Spec
		if *spec.CompletionMode != batchv1.IndexedCompletion || *spec.Completions != 3 || *spec.Parallelism != 2 ||
			*spec.BackoffLimitPerIndex != 0 || *spec.PodReplacementPolicy != batchv1.Failed {
			t.Errorf("got %+v", spec)
		}
		if spec.MaxFailedIndexes != nil || spec.BackoffLimit != nil || spec.ActiveDeadlineSeconds != nil ||
			spec.TTLSecondsAfterFinished != nil || spec.Suspend != nil {
			t.Errorf("something is set that ends or holds the Job: %+v", spec)
		}
		if spec.Template.Spec.RestartPolicy != corev1.RestartPolicyNever {
			t.Errorf("restartPolicy: got %s", spec.Template.Spec.RestartPolicy)
		}
	})
	t.Run("the run's own template stays as it is", func(t *testing.T) {
		if !equality.Semantic.DeepEqual(run, aRun()) {
			t.Errorf("got %+v", run.Spec)
		}
	})
}

func TestTaskIndex(t *testing.T) {
	// env is what the first container and the init container get, as NAME=value or NAME<-path.
	env := func(c corev1.Container) string {
		var all []string
		for _, v := range c.Env {
			text := v.Name + "=" + v.Value
			if v.ValueFrom != nil {
				text = v.Name + "<-" + v.ValueFrom.FieldRef.FieldPath
			}
			all = append(all, text)
		}
		return strings.Join(all, " ")
	}
	const label = "metadata.labels['batch.kubernetes.io/job-completion-index']"
	const fromLabel = "BATCHRUN_TASK_INDEX<-" + label + " JOB_COMPLETION_INDEX<-" + label
	for _, test := range []struct {
		rule string
		wave plan.NewWave
		want string
	}{
		{"in a wave of tasks 0, 1, 2, ... it is the completion index", wave(0, 0, 0, 1, 2), fromLabel},
		{"in a wave of task 0 it is the completion index", wave(4, 0, 0), fromLabel},
		{"in a wave of another task it is written out, under both names", wave(4, 0, 7), "BATCHRUN_TASK_INDEX=7 JOB_COMPLETION_INDEX=7"},
		{"with the parameters of the task", plan.NewWave{Tasks: indexset.Of(0), Parameters: parameters.Row{
			Names: []string{"LR", "SEED"}, Values: []string{"0.1", "2"}}}, "BATCHRUN_TASK_INDEX=0 JOB_COMPLETION_INDEX=0 LR=0.1 SEED=2"},
		{"in a packed wave it is left to the policy, and the parameters too", plan.NewWave{Tasks: indexset.Of(3, 7), Table: "3,7\n...",
			Parameters: parameters.Row{Names: []string{"LR", "SEED"}}}, "BATCHRUN_TASK_INDEX= JOB_COMPLETION_INDEX= LR= SEED="},
	} {
		t.Run(test.rule, func(t *testing.T) {
			pod := waveJob(aRun(), test.wave).Spec.Template.Spec
			if got := env(pod.InitContainers[0]); got != test.want {
				t.Errorf("init container: got %s", got)
			}
			if got, want := env(pod.Containers[0]), test.want+" SEED=s-$(BATCHRUN_TASK_INDEX)"; got != want {
				t.Errorf("container: got %s, want %s: the user's variables come after", got, want)
			}
		})
	}
}

func TestPackedWave(t *testing.T) {
	run := aRun(func(s *v1alpha1.BatchRunSpec) {
		s.Parameters = &v1alpha1.Parameters{}
		s.Template.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/quota"}}
	})
	packed := waveJob(run, plan.NewWave{Tasks: indexset.Of(3, 7), Parallelism: 2, Table: "3,7\nLR\t1\t0\ta"})
	inlined := waveJob(run, plan.NewWave{Tasks: indexset.Of(3), Parallelism: 1})
	t.Run("its pods carry the table, and wait for the policy behind a gate after the user's own", func(t *testing.T) {
		template := packed.Spec.Template
		if got := template.Annotations[v1alpha1.AnnotationParameters]; got != "3,7\nLR\t1\t0\ta" {
			t.Errorf("table: got %q", got)
		}
		want := []corev1.PodSchedulingGate{{Name: "example.com/quota"}, {Name: v1alpha1.GateParameters}}
		if !equality.Semantic.DeepEqual(template.Spec.SchedulingGates, want) {
			t.Errorf("gates: got %v", template.Spec.SchedulingGates)
		}
	})
	t.Run("pods that have their values written into them carry neither", func(t *testing.T) {
		template := inlined.Spec.Template
		if len(template.Annotations) > 0 || len(template.Spec.SchedulingGates) != 1 {
			t.Errorf("annotations %v, gates %v", template.Annotations, template.Spec.SchedulingGates)
		}
	})
	t.Run("observe reads back what kind of wave it is", func(t *testing.T) {
		for job, want := range map[*batchv1.Job][2]bool{packed: {true, true}, inlined: {false, true}, waveJob(aRun(), wave(0, 0, 0)): {false, false}} {
			seen, err := observeWave(0, job, "")
			if err != nil {
				t.Fatal(err)
			}
			if got := [2]bool{seen.Packed, seen.Sweep}; got != want {
				t.Errorf("packed, sweep: got %v, want %v", got, want)
			}
		}
	})
}

func TestTerminationMessagePolicy(t *testing.T) {
	const tail, file = corev1.TerminationMessageFallbackToLogsOnError, corev1.TerminationMessageReadFile
	keep := func(keep v1alpha1.LogKeep) func(*v1alpha1.BatchRunSpec) {
		return func(s *v1alpha1.BatchRunSpec) { s.Logs = &v1alpha1.LogPolicy{Keep: &keep} }
	}
	own := func(s *v1alpha1.BatchRunSpec) {
		s.Template.Spec.Containers[0].TerminationMessagePolicy = file
		s.Template.Spec.InitContainers[0].TerminationMessagePolicy = file
	}
	for _, test := range []struct {
		rule string
		run  *v1alpha1.BatchRun
		want corev1.TerminationMessagePolicy
	}{
		{"where it is not set, the kubelet keeps the log's end", aRun(), tail},
		{"so it does where only tails of failures are kept", aRun(keep(v1alpha1.KeepFailed)), tail},
		{"where no tails are kept it stays unset", aRun(keep(v1alpha1.KeepNone)), ""},
		{"where the user set it, it is kept", aRun(own), file},
	} {
		t.Run(test.rule, func(t *testing.T) {
			pod := waveJob(test.run, wave(0, 0, 0)).Spec.Template.Spec
			for _, c := range append(pod.InitContainers, pod.Containers...) {
				if c.TerminationMessagePolicy != test.want {
					t.Errorf("%s: got %q, want %q", c.Name, c.TerminationMessagePolicy, test.want)
				}
			}
		})
	}
}

func TestMemoryGrowth(t *testing.T) {
	rule := func(percent int32, most string) func(*v1alpha1.BatchRunSpec) {
		return func(s *v1alpha1.BatchRunSpec) {
			s.RetryPolicy = &v1alpha1.RetryPolicy{Rules: []v1alpha1.RetryRule{{
				Reasons: []v1alpha1.Reason{v1alpha1.ReasonOOMKilled}, Action: v1alpha1.ActionCount,
				Memory: &v1alpha1.MemoryGrowth{IncreasePercent: percent, Max: resource.MustParse(most)}}}}
		}
	}
	has := func(limit, request string) func(*v1alpha1.BatchRunSpec) {
		return func(s *v1alpha1.BatchRunSpec) {
			r := &s.Template.Spec.Containers[0].Resources
			r.Limits, r.Requests = corev1.ResourceList{}, corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}
			if limit != "" {
				r.Limits[corev1.ResourceMemory] = resource.MustParse(limit)
			}
			if request != "" {
				r.Requests[corev1.ResourceMemory] = resource.MustParse(request)
			}
		}
	}
	for _, test := range []struct {
		rule           string
		run            *v1alpha1.BatchRun
		growth         int
		limit, request string
	}{
		{"the first attempt has what the template says", aRun(rule(100, "1Gi"), has("100Mi", "50Mi")), 0, "100Mi", "50Mi"},
		{"limit and request grow by the percentage", aRun(rule(100, "1Gi"), has("100Mi", "50Mi")), 1, "200Mi", "100Mi"},
		{"each step grows from the one before", aRun(rule(50, "1Gi"), has("100Mi", "100Mi")), 2, "225Mi", "225Mi"},
		{"it stops at max", aRun(rule(100, "300Mi"), has("100Mi", "50Mi")), 2, "300Mi", "200Mi"},
		{"so many steps that they overflow stop at max too", aRun(rule(900, "300Mi"), has("100Mi", "50Mi")), 255, "300Mi", "300Mi"},
		{"a max below the template's value takes nothing away", aRun(rule(100, "60Mi"), has("100Mi", "50Mi")), 1, "100Mi", "60Mi"},
		{"a request without limit grows", aRun(rule(100, "1Gi"), has("", "50Mi")), 1, "0", "100Mi"},
		{"what has no memory gets none", aRun(rule(100, "1Gi"), has("", "")), 3, "0", "0"},
		{"decimal units stay decimal", aRun(rule(50, "1G"), has("100M", "50M")), 1, "150M", "75M"},
		{"without a rule nothing grows", aRun(has("100Mi", "50Mi")), 2, "100Mi", "50Mi"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			before := test.run.DeepCopy()
			pod := waveJob(test.run, wave(1, test.growth, 7)).Spec.Template.Spec
			r := pod.Containers[0].Resources
			if r.Limits.Memory().String() != test.limit || r.Requests.Memory().String() != test.request {
				t.Errorf("got limit %s, request %s; want %s, %s", r.Limits.Memory(), r.Requests.Memory(), test.limit, test.request)
			}
			if len(pod.InitContainers[0].Resources.Limits) > 0 {
				t.Error("the init container has got a limit")
			}
			if !equality.Semantic.DeepEqual(before, test.run) {
				t.Error("the run's own template was changed")
			}
		})
	}
}

func TestWaveNumber(t *testing.T) {
	for name, want := range map[string]int{"train-0": 0, "train-12": 12} {
		if got, ok := waveNumber(aRun(), name); !ok || got != want {
			t.Errorf("%s: got %d, %v", name, got, ok)
		}
	}
	for _, name := range []string{"train", "train-", "train-x", "train-01", "train-+1", "trainer-1", "train-2-1"} {
		if got, ok := waveNumber(aRun(), name); ok {
			t.Errorf("%s is read as wave %d", name, got)
		}
	}
}
