package record_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/record"
	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/controllers/ledger"
	"github.com/batchrun/batchrun/controllers/parameters"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// pod is a pod of task 0 that was created at a minute.
func pod(name string, minute int, phase corev1.PodPhase) corev1.Pod {
	p := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(start.Add(time.Duration(minute) * time.Minute))},
		Spec: corev1.PodSpec{NodeName: "node-" + name, Containers: []corev1.Container{{Name: "main",
			Env: []corev1.EnvVar{{Name: v1alpha1.EnvTaskIndex, Value: "0"}}}}},
		Status: corev1.PodStatus{Phase: phase},
	}
	if phase == corev1.PodFailed {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{ExitCode: 3, Reason: "Error"}}}}
	}
	return p
}

func newRun(t *testing.T, tasks ledger.Ledger, failures []v1alpha1.Attempt, pods ...corev1.Pod) *record.Run {
	t.Helper()
	run := &v1alpha1.BatchRun{}
	run.Spec.Completions = ptr.To(int32(len(tasks)))
	run.Status.Waves.Ledger = tasks.Encode()
	run.Status.Failures = failures
	r, err := record.New(run, parameters.ArrayTable(len(tasks)), pods)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func line(t record.Task) string {
	code := "-"
	if t.ExitCode != nil {
		code = strconv.Itoa(int(*t.ExitCode))
	}
	return fmt.Sprintf("%d %s execution %d attempts %d %q code %s pod %q", t.Index, t.State, t.Execution, t.Attempts, t.Reason, code, t.Pod)
}

func TestTasks(t *testing.T) {
	for _, test := range []struct {
		name     string
		task     ledger.Task
		failures []v1alpha1.Attempt
		pods     []corev1.Pod
		want     string
	}{
		{"pending, never started", ledger.Task{}, nil, nil, `0 Pending execution 1 attempts 0 "" code - pod ""`},
		{"active, its pod is there", ledger.Task{State: ledger.Active}, nil, []corev1.Pod{pod("a", 1, corev1.PodRunning)},
			`0 Active execution 1 attempts 1 "" code - pod "a"`},
		{"active again, its first pod is there", ledger.Task{State: ledger.Active, Failures: 1}, nil,
			[]corev1.Pod{pod("b", 2, corev1.PodRunning), pod("a", 1, corev1.PodFailed)}, `0 Active execution 1 attempts 2 "Error" code 3 pod "b"`},
		{"pending, its pod failed", ledger.Task{Failures: 1}, nil, []corev1.Pod{pod("a", 1, corev1.PodFailed)},
			`0 Pending execution 1 attempts 1 "Error" code 3 pod "a"`},
		{"failed, recorded, its pod is gone", ledger.Task{State: ledger.Failed},
			[]v1alpha1.Attempt{{Index: 0, Attempt: 7, Reason: v1alpha1.ReasonOOMKilled, ExitCode: ptr.To(int32(137)), Pod: "gone"}}, nil,
			`0 Failed execution 1 attempts 7 "OOMKilled" code 137 pod "gone"`},
		{"failed, recorded, its pod is there", ledger.Task{State: ledger.Failed},
			[]v1alpha1.Attempt{{Index: 0, Attempt: 7, Reason: v1alpha1.ReasonOOMKilled, Pod: "a"}}, []corev1.Pod{pod("a", 1, corev1.PodFailed)},
			`0 Failed execution 1 attempts 7 "OOMKilled" code - pod "a"`},
		{"succeeded, its pod is there", ledger.Task{State: ledger.Succeeded}, nil, []corev1.Pod{pod("a", 1, corev1.PodSucceeded)},
			`0 Succeeded execution 1 attempts 1 "Completed" code - pod "a"`},
		{"succeeded at last, and only its failure is known", ledger.Task{State: ledger.Succeeded},
			[]v1alpha1.Attempt{{Index: 0, Attempt: 1, Reason: v1alpha1.ReasonError, ExitCode: ptr.To(int32(3)), Pod: "gone"}}, nil,
			`0 Succeeded execution 1 attempts 0 "Completed" code - pod ""`},
		{"rerun: what was before does not show", ledger.Task{Execution: 1},
			[]v1alpha1.Attempt{{Index: 0, Attempt: 7, Execution: 1, Reason: v1alpha1.ReasonOOMKilled}}, nil,
			`0 Pending execution 2 attempts 0 "" code - pod ""`},
	} {
		t.Run(test.name, func(t *testing.T) {
			run := newRun(t, ledger.Ledger{test.task}, test.failures, test.pods...)
			task, ok := run.Task(0)
			if !ok || line(task) != test.want {
				t.Errorf("got  %s\nwant %s", line(task), test.want)
			}
		})
	}
}

func TestRemovedTasksAreNone(t *testing.T) {
	run := newRun(t, ledger.Ledger{{}, {State: ledger.Removed}, {State: ledger.Failed}}, nil)
	if tasks := run.Tasks(); len(tasks) != 2 || tasks[1].Index != 2 {
		t.Errorf("got %v", tasks)
	}
	for _, index := range []int{-1, 1, 3} {
		if _, ok := run.Task(index); ok {
			t.Errorf("task %d is there", index)
		}
	}
}

func TestARunThatNobodyLookedAtHasItsTasks(t *testing.T) {
	run := &v1alpha1.BatchRun{}
	run.Spec.Completions = ptr.To(int32(3))
	r, err := record.New(run, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if tasks := r.Tasks(); len(tasks) != 3 || tasks[2].State != record.Pending {
		t.Errorf("got %v", tasks)
	}
}

func TestPodsOfBeforeARerunAreOfNoAttempt(t *testing.T) {
	run := &v1alpha1.BatchRun{}
	run.Status.Waves.Ledger = ledger.Ledger{{State: ledger.Active, Execution: 1}}.Encode()
	run.Status.Reruns = []v1alpha1.RerunRecord{{Indexes: "0", Time: metav1.NewTime(start.Add(90 * time.Second))}}
	r, err := record.New(run, parameters.ArrayTable(1), []corev1.Pod{pod("old", 1, corev1.PodFailed), pod("new", 2, corev1.PodRunning)})
	if err != nil {
		t.Fatal(err)
	}
	attempts := r.Attempts(0, 2)
	if len(attempts) != 1 || attempts[0].PodName() != "new" || attempts[0].Number != 1 {
		t.Errorf("got %+v", attempts)
	}
}

func TestTheAttemptsBeforeARerunAreTheRecordedOnes(t *testing.T) {
	run := newRun(t, ledger.Ledger{{State: ledger.Active, Execution: 1}}, []v1alpha1.Attempt{
		{Index: 0, Attempt: 1, Execution: 1, Pod: "gone"}, {Index: 0, Attempt: 2, Execution: 1, Pod: "old"},
		{Index: 0, Attempt: 1, Execution: 2, Pod: "new"}, {Index: 1, Attempt: 1, Execution: 1, Pod: "other"},
	}, pod("old", 1, corev1.PodFailed), pod("unknown", 2, corev1.PodFailed), pod("new", 3, corev1.PodFailed))
	var all []string
	for _, a := range run.Attempts(0, 1) {
		all = append(all, fmt.Sprintf("%s %s %t", a, a.PodName(), a.Pod != nil))
	}
	if got, want := strings.Join(all, "; "), "task 0, attempt 1 gone false; task 0, attempt 2 old true"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAnAttemptIsNamed(t *testing.T) {
	for want, attempt := range map[string]record.Attempt{
		"task 7, attempt 2":              {Task: 7, Execution: 1, Number: 2},
		"task 7, last attempt":           {Task: 7, Execution: 1},
		"task 7, execution 3, attempt 1": {Task: 7, Execution: 3, Number: 1},
	} {
		if got := attempt.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestTheParametersOfASweep(t *testing.T) {
	p := &v1alpha1.Parameters{Matrix: []v1alpha1.Parameter{{Name: "LR", Values: []string{"0.1", "0.2"}}, {Name: "A", Values: []string{"x"}}}}
	table, err := parameters.NewTable([]*v1alpha1.Parameters{p}, p)
	if err != nil {
		t.Fatal(err)
	}
	run := &v1alpha1.BatchRun{}
	run.Spec.Parameters = p
	run.Status.Waves.Ledger = ledger.Ledger{{State: ledger.Removed}, {State: ledger.Failed}}.Encode()
	r, err := record.New(run, table, nil)
	if err != nil {
		t.Fatal(err)
	}
	if names := r.ParameterNames(); fmt.Sprint(names) != "[LR A]" {
		t.Errorf("got %v", names)
	}
	if task, _ := r.Task(1); fmt.Sprint(task.Parameters) != "map[A:x LR:0.2]" {
		t.Errorf("got %v", task.Parameters)
	}
}

func TestTheTaskOfAPod(t *testing.T) {
	natural := pod("a", 1, corev1.PodRunning)
	natural.Labels = map[string]string{batchv1.JobCompletionIndexAnnotation: "5"}
	natural.Spec.Containers[0].Env[0] = corev1.EnvVar{Name: v1alpha1.EnvTaskIndex, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{}}}
	if task, ok := record.TaskOf(&natural); !ok || task != 5 {
		t.Errorf("got %d, %t", task, ok)
	}
	if _, ok := record.TaskOf(&corev1.Pod{}); ok {
		t.Error("a pod without the variable has a task")
	}
}

func TestFilter(t *testing.T) {
	tasks := []record.Task{{Index: 0, State: record.Failed, Reason: v1alpha1.ReasonOOMKilled}, {Index: 1, State: record.Failed}, {Index: 2, State: record.Active}}
	some := indexset.Of(1, 2)
	for name, test := range map[string]struct {
		filter record.Filter
		want   string
	}{
		"all":     {record.Filter{}, "[0 1 2]"},
		"state":   {record.Filter{States: []record.State{record.Failed}}, "[0 1]"},
		"reason":  {record.Filter{Reasons: []v1alpha1.Reason{v1alpha1.ReasonOOMKilled}}, "[0]"},
		"indexes": {record.Filter{States: []record.State{record.Failed}, Indexes: &some}, "[1]"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []int
			for _, task := range test.filter.Of(tasks) {
				got = append(got, task.Index)
			}
			if fmt.Sprint(got) != test.want {
				t.Errorf("got %v, want %s", got, test.want)
			}
		})
	}
	if states, err := record.ParseStates([]string{"failed"}); err != nil || states[0] != record.Failed {
		t.Errorf("got %v, %v", states, err)
	}
	if _, err := record.ParseReasons([]string{"oom"}); err == nil {
		t.Error("an unknown reason is taken")
	}
}
