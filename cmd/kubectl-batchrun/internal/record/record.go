// Package record reads off a run, its parameters and its pods what each task does and which attempts it had.
package record

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/ledger"
	"github.com/batchrun/batchrun/controllers/outcome"
	"github.com/batchrun/batchrun/controllers/parameters"
)

// State is what a task does.
type State string

// The states of a task. A task is removed when the spec does not have it any more.
const (
	Pending   State = "Pending"
	Active    State = "Active"
	Succeeded State = "Succeeded"
	Failed    State = "Failed"
)

// States are all of them, in the order in which a task goes through them.
var States = []State{Pending, Active, Succeeded, Failed}

var statesOf = map[ledger.State]State{
	ledger.Pending: Pending, ledger.Active: Active, ledger.Succeeded: Succeeded, ledger.Failed: Failed,
}

// Task is a task and the last that is known of it.
type Task struct {
	Index      int               `json:"index"`
	Parameters map[string]string `json:"parameters,omitempty"`
	State      State             `json:"state"`
	// Execution is 1, and one more with each rerun of the task.
	Execution int `json:"execution"`
	// Attempts is how many there were in this execution, the active one included; 0 where nobody remembers.
	Attempts int `json:"attempts,omitempty"`
	// Reason, ExitCode and Message are those of its last ended attempt, where it is known; of a task that has succeeded the
	// reason is.
	Reason   v1alpha1.Reason `json:"reason,omitempty"`
	ExitCode *int32          `json:"exitCode,omitempty"`
	Message  string          `json:"message,omitempty"`
	// Pod and Node are those of the last attempt that is known.
	Pod  string `json:"pod,omitempty"`
	Node string `json:"node,omitempty"`
}

// Run is a run with what tells of its tasks.
type Run struct {
	*v1alpha1.BatchRun
	tasks ledger.Ledger
	table *parameters.Table
	pods  map[int][]*corev1.Pod
}

// New reads the ledger of a run. The table tells the parameters of its tasks, and may be nil; the pods are those of the
// run that are there.
func New(run *v1alpha1.BatchRun, table *parameters.Table, pods []corev1.Pod) (*Run, error) {
	tasks, err := ledger.Decode(run.Status.Waves.Ledger)
	if err != nil {
		return nil, err
	}
	if tasks == nil && run.Spec.Parameters == nil { // the operator has not looked at it yet
		tasks = tasks.Grow(run.Spec.TaskCount())
	}
	r := &Run{BatchRun: run, tasks: tasks, table: table, pods: map[int][]*corev1.Pod{}}
	for i := range pods {
		if task, ok := TaskOf(&pods[i]); ok {
			r.pods[task] = append(r.pods[task], &pods[i])
		}
	}
	for _, ofTask := range r.pods {
		slices.SortStableFunc(ofTask, func(a, b *corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	}
	return r, nil
}

// TaskOf is the index of the task whose attempt a pod is, as its containers read it.
func TaskOf(pod *corev1.Pod) (task int, ok bool) {
	for _, container := range pod.Spec.Containers {
		for _, variable := range container.Env {
			if variable.Name != v1alpha1.EnvTaskIndex {
				continue
			}
			value := variable.Value
			if variable.ValueFrom != nil { // in the first wave of an array the position is the index
				value = pod.Labels[batchv1.JobCompletionIndexAnnotation]
			}
			task, err := strconv.Atoi(value)
			return task, err == nil && task >= 0
		}
	}
	return 0, false
}

// Slim is a pod with the fields only that a Run reads: many of them take little memory.
func Slim(pod *corev1.Pod) corev1.Pod {
	slim := corev1.Pod{Status: pod.Status, Spec: corev1.PodSpec{NodeName: pod.Spec.NodeName}}
	slim.Namespace, slim.Name, slim.Labels, slim.Annotations = pod.Namespace, pod.Name, pod.Labels, pod.Annotations
	slim.CreationTimestamp, slim.DeletionTimestamp = pod.CreationTimestamp, pod.DeletionTimestamp
	slim.DeletionGracePeriodSeconds = pod.DeletionGracePeriodSeconds
	for _, c := range pod.Spec.InitContainers {
		slim.Spec.InitContainers = append(slim.Spec.InitContainers, corev1.Container{Name: c.Name, RestartPolicy: c.RestartPolicy})
	}
	for _, c := range pod.Spec.Containers {
		env := slices.DeleteFunc(c.Env, func(v corev1.EnvVar) bool { return v.Name != v1alpha1.EnvTaskIndex })
		slim.Spec.Containers = append(slim.Spec.Containers, corev1.Container{Name: c.Name, Env: slices.Clone(env)})
	}
	return slim
}

// Job is the name of the Job that carries an active task; "" for other tasks.
func (r *Run) Job(task int) string {
	if task >= len(r.tasks) || r.tasks[task].State != ledger.Active || r.tasks[task].Wave == 0 {
		return ""
	}
	return fmt.Sprintf("%s-%d", r.Name, r.tasks[task].Wave-1)
}

// Parameters are the values of a task's parameters; nil where it has none or they are not known.
func (r *Run) Parameters(task int) map[string]string {
	if r.table != nil && task < r.table.Len() {
		return r.table.Row(task).Map()
	}
	if recorded := r.recorded(task, r.execution(task)); len(recorded) > 0 {
		return recorded[0].Parameters
	}
	return nil
}

// ParameterNames are the names of the run's parameters, in their order.
func (r *Run) ParameterNames() []string {
	if r.table == nil {
		return nil
	}
	for task := range min(len(r.tasks), r.table.Len()) {
		if r.tasks[task].Present() {
			return r.table.Row(task).Names
		}
	}
	return nil
}

// Tasks are the tasks that the run has now.
func (r *Run) Tasks() []Task {
	tasks := make([]Task, 0, len(r.tasks))
	for index := range r.tasks {
		if task, ok := r.Task(index); ok {
			tasks = append(tasks, task)
		}
	}
	return tasks
}

// Task is the task of that index; ok is false where the run has none.
func (r *Run) Task(index int) (task Task, ok bool) {
	if index < 0 || index >= len(r.tasks) || !r.tasks[index].Present() {
		return Task{}, false
	}
	t := r.tasks[index]
	task = Task{Index: index, Parameters: r.Parameters(index), State: statesOf[t.State], Execution: r.execution(index)}
	for _, attempt := range r.Attempts(index, task.Execution) {
		task.Attempts = attempt.Number
		task.Pod, task.Node = attempt.PodName(), attempt.Node()
		if reason, code, message := attempt.end(); reason != "" {
			task.Reason, task.ExitCode, task.Message = reason, code, message
		}
	}
	switch t.State {
	case ledger.Pending:
		task.Attempts = t.Attempts()
	case ledger.Active:
		task.Attempts = t.Attempts() + 1
	case ledger.Succeeded:
		if task.Reason != v1alpha1.ReasonCompleted { // the attempts that are known are those before
			task.Attempts, task.Pod, task.Node = 0, "", ""
			task.Reason, task.ExitCode, task.Message = v1alpha1.ReasonCompleted, nil, ""
		}
	}
	return task, true
}

// execution is the present one of a task.
func (r *Run) execution(task int) int {
	if task >= len(r.tasks) {
		return 1
	}
	return int(r.tasks[task].Execution) + 1
}

// Attempt is one attempt of a task: what is recorded of it, its pod, or both.
type Attempt struct {
	Task, Execution int
	// Number is 0 for the last attempt where nobody remembers which that was.
	Number int
	Record *v1alpha1.Attempt
	Pod    *corev1.Pod
}

// String names the attempt as users do: "task 7, attempt 2", and after a rerun "task 7, execution 2, attempt 1".
func (a Attempt) String() string {
	text := fmt.Sprintf("task %d, ", a.Task)
	if a.Execution > 1 {
		text += fmt.Sprintf("execution %d, ", a.Execution)
	}
	if a.Number == 0 {
		return text + "last attempt"
	}
	return text + fmt.Sprintf("attempt %d", a.Number)
}

// PodName is the name of the attempt's pod.
func (a Attempt) PodName() string {
	if a.Pod != nil {
		return a.Pod.Name
	}
	return a.Record.Pod
}

// Node is the name of the node that the attempt ran on.
func (a Attempt) Node() string {
	if a.Pod != nil {
		return a.Pod.Spec.NodeName
	}
	return a.Record.Node
}

// end is how the attempt ended; there is no reason where it goes on.
func (a Attempt) end() (v1alpha1.Reason, *int32, string) {
	switch {
	case a.Record != nil:
		return a.Record.Reason, a.Record.ExitCode, a.Record.Message
	case outcome.Ended(a.Pod):
		ended := outcome.Of(a.Pod)
		return ended.Reason, ended.ExitCode, ended.Message
	}
	return "", nil, ""
}

// Attempts are the attempts of an execution of a task that are known, the first in front. Of one before a rerun these are
// the recorded ones.
func (r *Run) Attempts(task, execution int) []Attempt {
	records := r.recorded(task, execution)
	byPod := map[string]*v1alpha1.Attempt{}
	var attempts []Attempt
	for _, record := range records {
		byPod[record.Pod] = record
	}
	last := 0
	for i, pod := range r.pods[task] {
		attempt := Attempt{Task: task, Execution: execution, Number: last + 1, Pod: pod, Record: byPod[pod.Name]}
		switch {
		case attempt.Record != nil:
			attempt.Number = int(attempt.Record.Attempt)
			delete(byPod, pod.Name)
		case execution != r.execution(task), r.earlier(pod, task):
			continue // of another execution, or nobody knows
		case i == len(r.pods[task])-1 && task < len(r.tasks) && r.tasks[task].State == ledger.Active:
			attempt.Number = r.tasks[task].Attempts() + 1
		}
		last = attempt.Number
		attempts = append(attempts, attempt)
	}
	for _, record := range records {
		if byPod[record.Pod] == record {
			attempts = append(attempts, Attempt{Task: task, Execution: execution, Number: int(record.Attempt), Record: record})
		}
	}
	slices.SortStableFunc(attempts, func(a, b Attempt) int { return cmp.Compare(a.Number, b.Number) })
	return attempts
}

// recorded is what status.failures and status.successes hold of an execution of a task.
func (r *Run) recorded(task, execution int) []*v1alpha1.Attempt {
	var found []*v1alpha1.Attempt
	for _, list := range [][]v1alpha1.Attempt{r.Status.Failures, r.Status.Successes} {
		for i := range list {
			if int(list[i].Index) == task && task < len(r.tasks) && max(int(list[i].Execution), 1) == execution {
				found = append(found, &list[i])
			}
		}
	}
	slices.SortStableFunc(found, func(a, b *v1alpha1.Attempt) int { return cmp.Compare(a.Attempt, b.Attempt) })
	return found
}

// earlier is true for a pod that an earlier execution of the task had.
func (r *Run) earlier(pod *corev1.Pod, task int) bool {
	if task >= len(r.tasks) || r.tasks[task].Execution == 0 {
		return false
	}
	for i := range r.Status.Reruns {
		rerun := &r.Status.Reruns[i]
		if indexes, err := parseIndexes(rerun.Indexes); err == nil && indexes.Contains(task) && pod.CreationTimestamp.Before(&rerun.Time) {
			return true
		}
	}
	return false
}
