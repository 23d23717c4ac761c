package diagnose_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/diagnose"
	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/record"
)

// run is a run with this reason, and failures.
func run(reason string, failures ...v1alpha1.Attempt) *v1alpha1.BatchRun {
	run := &v1alpha1.BatchRun{}
	run.Name = "train"
	run.Spec.Template.Spec.Containers = []corev1.Container{{Name: "main", Image: "registry.example/train:v2"}}
	run.Status.Failures = failures
	run.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason, Message: "the message"}}
	return run
}

func withMemory(r *v1alpha1.BatchRun, limit string) *v1alpha1.BatchRun {
	r.Spec.Template.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(limit)}
	return r
}

func withGrowth(r *v1alpha1.BatchRun, most string) *v1alpha1.BatchRun {
	r.Spec.RetryPolicy = &v1alpha1.RetryPolicy{Rules: []v1alpha1.RetryRule{{Reasons: []v1alpha1.Reason{v1alpha1.ReasonOOMKilled},
		Action: v1alpha1.ActionCount, Memory: &v1alpha1.MemoryGrowth{IncreasePercent: 50, Max: resource.MustParse(most)}}}}
	return r
}

func attempt(reason v1alpha1.Reason, message string) v1alpha1.Attempt {
	return v1alpha1.Attempt{Index: 7, Attempt: 2, Reason: reason, Message: message, Node: "node-1"}
}

func exit(code int32) v1alpha1.Attempt {
	a := attempt(v1alpha1.ReasonError, "")
	a.ExitCode, a.LogTail = ptr.To(code), "some words\nthe last words\n"
	return a
}

func disruption(reason v1alpha1.Reason, message string) v1alpha1.Attempt {
	a := attempt(reason, message)
	a.Disruption = true
	return a
}

func warned(r *v1alpha1.BatchRun) *v1alpha1.BatchRun {
	r.Status.Conditions = append(r.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionSpecWarning, Status: metav1.ConditionTrue,
		Message: "exclude[0] matches nothing"})
	return r
}

func TestTheFirstCause(t *testing.T) {
	oom := attempt(v1alpha1.ReasonOOMKilled, "")
	for _, test := range []struct {
		name  string
		run   *v1alpha1.BatchRun
		words []string
	}{
		{"out of memory: half as much again", withMemory(run(v1alpha1.RunTasksFailed, oom), "2Gi"),
			[]string{"more memory than it may have", "container main from 2Gi to 3Gi", "max: 4608Mi", "retry train"}},
		{"out of memory: whole gibibytes from 8Gi on", withMemory(run(v1alpha1.RunTasksFailed, oom), "9Gi"), []string{"from 9Gi to 14Gi"}},
		{"out of memory: it grows already", withGrowth(withMemory(run(v1alpha1.RunTasksFailed, oom), "1Gi"), "8Gi"),
			[]string{"get 50% more each time, up to 8Gi", "a limit of 1Gi, ask for 1536Mi"}},
		{"out of memory: it cannot grow further", withGrowth(withMemory(run(v1alpha1.RunTasksFailed, oom), "8Gi"), "8Gi"), []string{"from 8Gi to 12Gi"}},
		{"out of memory: no limit", run(v1alpha1.RunTasksFailed, oom), []string{"No container has a memory limit", "set resources.requests.memory"}},
		{"an image that is not there", run(v1alpha1.RunImagePullFailing), []string{"image cannot be pulled", "the message", "registry.example/train:v2", "not found"}},
		{"an emptyDir that overflowed", run(v1alpha1.RunTasksFailed, attempt(v1alpha1.ReasonEvicted, `Usage of EmptyDir volume "scratch" exceeds the limit "1Mi".`)),
			[]string{"used more than it may", `"scratch" exceeds the limit "1Mi"`, "emptyDir.sizeLimit"}},
		{"ephemeral storage that overflowed", run(v1alpha1.RunTasksFailed, attempt(v1alpha1.ReasonEvicted, "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi.")),
			[]string{"ephemeral-storage"}},
		{"memory that overflowed", run(v1alpha1.RunTasksFailed, attempt(v1alpha1.ReasonEvicted, "Memory-backed volume is over its limit.")),
			[]string{"resources.limits.memory"}},
		{"another limit that was exceeded", run(v1alpha1.RunTasksFailed, attempt(v1alpha1.ReasonEvicted, "Too much.")),
			[]string{"used more than it may", "or sizeLimit of the volume"}},
		{"a node short of memory", run(v1alpha1.RunTasksFailed, disruption(v1alpha1.ReasonEvicted, "The node was low on resource: memory.")),
			[]string{"node was short of something", "resources.requests", "more than 20 times"}},
		{"a drained node", run(v1alpha1.RunTasksFailed, disruption(v1alpha1.ReasonEvicted, "Eviction API: evicting")), []string{"drained node"}},
		{"preemption", run(v1alpha1.RunTasksFailed, disruption(v1alpha1.ReasonPreempted, "")), []string{"higher priority", "priorityClassName"}},
		{"a lost node", run(v1alpha1.RunTasksFailed, disruption(v1alpha1.ReasonNodeLost, "")), []string{"node went away"}},
		{"exit code 1", run(v1alpha1.RunTasksFailed, exit(1)), []string{"exited with 1", "the last words", "logs train --task 7 --attempt 2"}},
		{"exit code 126", run(v1alpha1.RunTasksFailed, exit(126)), []string{"cannot be run", "chmod +x"}},
		{"exit code 127", run(v1alpha1.RunTasksFailed, exit(127)), []string{"did not find the command", "PATH"}},
		{"exit code 134", run(v1alpha1.RunTasksFailed, exit(134)), []string{"SIGABRT", "assertion"}},
		{"exit code 137", run(v1alpha1.RunTasksFailed, exit(137)), []string{"SIGKILL", "child process"}},
		{"exit code 139", run(v1alpha1.RunTasksFailed, exit(139)), []string{"SIGSEGV"}},
		{"exit code 143", run(v1alpha1.RunTasksFailed, exit(143)), []string{"SIGTERM", "timeout"}},
		{"exit code 130", run(v1alpha1.RunTasksFailed, exit(130)), []string{"signal 2"}},
		{"another exit code", run(v1alpha1.RunTasksFailed, exit(42)), []string{"exited with 42:", "Read its log"}},
		{"no exit code", run(v1alpha1.RunTasksFailed, attempt(v1alpha1.ReasonError, "lost")), []string{"A container failed", "lost", "Read its log"}},
		{"an attempt's deadline", run(v1alpha1.RunTasksFailed, attempt(v1alpha1.ReasonDeadlineExceeded, "")), []string{"spec.template.spec.activeDeadlineSeconds"}},
		{"the run's deadline", run(v1alpha1.RunDeadlineExceeded), []string{"spec.activeDeadlineSeconds", "retry train"}},
		{"no node fits", run(v1alpha1.RunUnschedulable), []string{"No node fits", "the message", "resources.requests"}},
		{"a pilot that failed", run(v1alpha1.RunPilotFailed, exit(1)), []string{"spec.pilot"}},
		{"a quota", run(v1alpha1.RunPodsNotCreated), []string{"quota"}},
		{"cancelled", run(v1alpha1.RunCancelled), []string{"cancelled", "spec.cancel to false"}},
		{"suspended", run(v1alpha1.RunSuspended), []string{"resume train"}},
		{"queued", run(v1alpha1.RunQueued), []string{"once the queue admits it"}},
		{"an image that did not come in time", run(v1alpha1.RunTasksFailed, attempt(v1alpha1.ReasonImagePullFailed, "not found")),
			[]string{"could not be pulled until the deadline", "registry.example/train:v2"}},
		{"a container that cannot be created", run(v1alpha1.RunStartFailing), []string{"cannot be created", "Secret or ConfigMap"}},
		{"a container that could not be started", run(v1alpha1.RunTasksFailed, attempt(v1alpha1.ReasonStartFailed, "no such file")),
			[]string{"could not be started", "no such file", "Check the command"}},
		{"no node fitted in time", run(v1alpha1.RunTasksFailed, attempt(v1alpha1.ReasonUnschedulable, "")), []string{"startup.unschedulableDeadlineSeconds"}},
		{"too many failed", run(v1alpha1.RunMaxFailedTasksExceeded, exit(1)), []string{"spec.maxFailedTasks", "retry train"}},
		{"a rule that fails the run", run(v1alpha1.RunFailRunRule, exit(1)), []string{"FailRun", "retry train"}},
		{"a pod that ended and nothing tells why", run(v1alpha1.RunTasksFailed, attempt(v1alpha1.ReasonUnknown, "")),
			[]string{"nothing tells why", "kubectl describe node node-1"}},
		{"a spec that has no effect", warned(run(v1alpha1.RunProgressing)), []string{"has no effect", "exclude[0] matches nothing"}},
		{"a deleted pod", run(v1alpha1.RunTasksFailed, attempt(v1alpha1.ReasonDeleted, "")), []string{"deleted the pod", "kubectl get events"}},
		{"nothing observed", &v1alpha1.BatchRun{}, []string{"operator has not looked"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			causes := diagnose.Run(test.run)
			if len(causes) == 0 {
				t.Fatal("no cause")
			}
			text := strings.Join(append([]string{causes[0].What, causes[0].Evidence}, causes[0].Next...), "\n")
			for _, word := range test.words {
				if !strings.Contains(text, word) {
					t.Errorf("%q is not in:\n%s", word, text)
				}
			}
		})
	}
}

func TestEveryReasonOfAFailureHasWordsOfItsOwn(t *testing.T) {
	seen := map[string]v1alpha1.Reason{}
	for _, reason := range record.Reasons {
		if reason == v1alpha1.ReasonCompleted {
			continue
		}
		a := attempt(reason, "")
		a.Disruption = reason == v1alpha1.ReasonPreempted || reason == v1alpha1.ReasonNodeLost
		causes := diagnose.Run(run(v1alpha1.RunTasksFailed, a))
		if len(causes) != 1 || len(causes[0].Next) == 0 {
			t.Fatalf("%s: got %v", reason, causes)
		}
		if other, ok := seen[causes[0].What]; ok {
			t.Errorf("%s has the words of %s", reason, other)
		}
		seen[causes[0].What] = reason
	}
}

func TestFaultsStandBeforeDisruptionsAndFrequentOnesInFront(t *testing.T) {
	node := disruption(v1alpha1.ReasonNodeLost, "")
	causes := diagnose.Run(run(v1alpha1.RunTasksFailed, node, node, node, exit(1), exit(2), exit(2)))
	var got []string
	for _, cause := range causes {
		got = append(got, cause.What)
	}
	if len(got) != 3 || !strings.Contains(got[0], "exited with 2") || !strings.Contains(got[1], "exited with 1") || !strings.Contains(got[2], "node went away") {
		t.Errorf("got %q", got)
	}
	if !strings.Contains(got[0], "(2 attempts of 1 task, of the last 6)") {
		t.Errorf("got %q", got[0])
	}
}

func TestARunThatIsFineHasNoCause(t *testing.T) {
	for _, reason := range []string{v1alpha1.RunCompleted, v1alpha1.RunProgressing} {
		if causes := diagnose.Run(run(reason)); len(causes) > 0 {
			t.Errorf("%s: got %v", reason, causes)
		}
	}
}

func TestAStalledRunSaysWhatItsConditionSays(t *testing.T) {
	r := run(v1alpha1.RunNameTaken)
	r.Status.Conditions = append(r.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue})
	causes := diagnose.Run(r)
	if len(causes) != 1 || causes[0].Evidence != "the message" {
		t.Errorf("got %v", causes)
	}
}
