package v1alpha1

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// BatchRun runs a pod template to completion, once or as an array of tasks, and keeps the record of it.
// It takes the YAML of a batch/v1 Job: change apiVersion and kind, nothing else. It then retries with reason,
// keeps counts, exit codes and log tails in its status, and deletes its Jobs and pods after a time to live.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=br,categories=batchrun
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Completions",type=string,JSONPath=`.status.completions`
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.failed`
// +kubebuilder:printcolumn:name="Retries",type=integer,JSONPath=`.status.retries`
// +kubebuilder:printcolumn:name="Duration",type=string,JSONPath=`.status.duration`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Active",type=integer,JSONPath=`.status.active`,priority=1
// +kubebuilder:printcolumn:name="Evicted",type=integer,JSONPath=`.status.podStates[?(@.state=="Evicted")].count`,priority=1
// +kubebuilder:printcolumn:name="OOM",type=integer,JSONPath=`.status.podStates[?(@.state=="OOMKilled")].count`,priority=1
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,priority=1
type BatchRun struct {
	metav1.TypeMeta `json:",inline"`

	// Standard object's metadata. The name is at most 52 characters, because Jobs and pods append to it.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// What to run, and how to go on when an attempt fails.
	// +required
	Spec BatchRunSpec `json:"spec"`

	// What happened so far. Written by the operator; it stays when the Jobs and pods are gone.
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status BatchRunStatus `json:"status,omitempty"`
}

// BatchRunList is a list of BatchRuns.
//
// +kubebuilder:object:root=true
type BatchRunList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []BatchRun `json:"items"`
}

// BatchRunSpec says what to run. Fields that a batch/v1 Job has too bear the same name and meaning.
// It can be edited at any time; nothing has to be deleted first.
//
// +kubebuilder:validation:XValidation:rule="!has(self.retryPolicy) || !has(self.retryPolicy.rules) || self.retryPolicy.rules.all(r, !has(r.memory) || self.template.spec.containers.all(c, !has(c.resources) || [has(c.resources.limits) && 'memory' in c.resources.limits ? c.resources.limits['memory'] : 0, has(c.resources.requests) && 'memory' in c.resources.requests ? c.resources.requests['memory'] : 0].all(q, quantity(string(q)).compareTo(quantity(string(r.memory.max))) <= 0)))",message="memory.max of a rule must not be below the memory limit or request of a container: raise memory.max",fieldPath=".retryPolicy.rules"
// +kubebuilder:validation:XValidation:rule="!has(self.retryPolicy) || !has(self.retryPolicy.rules) || !has(self.template.spec.initContainers) || self.retryPolicy.rules.all(r, !has(r.memory) || self.template.spec.initContainers.all(c, !has(c.resources) || [has(c.resources.limits) && 'memory' in c.resources.limits ? c.resources.limits['memory'] : 0, has(c.resources.requests) && 'memory' in c.resources.requests ? c.resources.requests['memory'] : 0].all(q, quantity(string(q)).compareTo(quantity(string(r.memory.max))) <= 0)))",message="memory.max of a rule must not be below the memory limit or request of an init container: raise memory.max",fieldPath=".retryPolicy.rules"
// +kubebuilder:validation:XValidation:rule="!has(self.recordTTLSecondsAfterFinished) || self.recordTTLSecondsAfterFinished >= (has(self.ttlSecondsAfterFinished) ? self.ttlSecondsAfterFinished : 604800)",message="recordTTLSecondsAfterFinished must not be smaller than ttlSecondsAfterFinished (default 604800): the record outlives the Jobs and pods",fieldPath=".recordTTLSecondsAfterFinished"
// +kubebuilder:validation:XValidation:rule="!has(self.completions) || !has(self.parameters)",message="completions must not be set together with parameters: a run is an array of so many tasks, or a sweep, whose parameters say how many. Remove one of them",fieldPath=".completions"
type BatchRunSpec struct {
	// The pod that each attempt runs: a PodTemplateSpec, as in a Job, with the same fields (see kubectl explain
	// job.spec.template). restartPolicy is Never, the default here: the run retries with a new pod, so that the reason
	// of each failure can be read and kept.
	// Each container finds the index of its task in BATCHRUN_TASK_INDEX and JOB_COMPLETION_INDEX.
	// An edit holds for the waves that start next; attempts that could not start begin anew with it, uncounted.
	// +required
	Template corev1.PodTemplateSpec `json:"template"`

	// How many tasks the run has: an array with the indexes 0 to completions-1. Default 1, at most 100,000.
	// Raising it adds tasks; lowering it stops the tasks above, which are no longer counted.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	// +optional
	Completions *int32 `json:"completions,omitempty"`

	// Indexed, if anything: a run is always what a Job is with completionMode Indexed.
	// +kubebuilder:validation:Enum=Indexed
	// +optional
	CompletionMode *batchv1.CompletionMode `json:"completionMode,omitempty"`

	// A sweep instead of an array: one task for each combination of parameter values, at most 100,000. Not together with
	// completions. Give a matrix, or list the tasks as items.
	// Each container finds the values in environment variables of the parameters' names, in front of its own env, so that
	// $(NAME) expands in command, args and env.
	// Tasks are known by their values: values added later run as new tasks with new indexes, tasks whose values are
	// taken out are stopped and no longer counted, and the others stay what they are.
	// Example, six tasks: {matrix: [{name: LR, values: ["0.1", "0.01"]}, {name: SEED, range: {start: 1, end: 3}}]}
	// +optional
	Parameters *Parameters `json:"parameters,omitempty"`

	// So many tasks, those with the lowest indexes, have to succeed before the others start. If one of them fails for
	// good, so does the run, at once. At most 100,000; more than the run has tasks means all of them. Default 0: all
	// may start. Example: 1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	// +optional
	Pilot *int32 `json:"pilot,omitempty"`

	// Runs tasks again that have run already, with the present template and limits; what failed before does not count.
	// Each new token acts once, also on a finished run. Default: nothing runs again. Example: {token: "2", scope: Failed}
	// +optional
	Rerun *Rerun `json:"rerun,omitempty"`

	// How many tasks may be active at once, retries included. Default: all, up to the operator's ceiling.
	// Lowering it stops the youngest attempts above the new number, which run again later, as in a Job.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	// +optional
	Parallelism *int32 `json:"parallelism,omitempty"`

	// How many counted failures each task may have before it is failed: a task has at most backoffLimit+1 counted
	// attempts. Disruptions (evictions by the node, preemption, lost nodes) do not count. Default 6, as in a Job.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	// +optional
	BackoffLimit *int32 `json:"backoffLimit,omitempty"`

	// For how many seconds the whole run may be active before it is failed with reason DeadlineExceeded. The time
	// starts anew when a suspended run is resumed, as in a Job. Default: no limit.
	// For a limit on each attempt set template.spec.activeDeadlineSeconds.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2147483647
	// +optional
	ActiveDeadlineSeconds *int64 `json:"activeDeadlineSeconds,omitempty"`

	// Set to true to stop the active attempts and start no others; set back to false to go on. Tasks that succeeded
	// stay succeeded. Default false.
	// +optional
	Suspend *bool `json:"suspend,omitempty"`

	// How many seconds after the run has finished its Jobs and pods are deleted. The BatchRun stays, with its whole
	// status. Default 604800, one week.
	// +kubebuilder:validation:Minimum=0
	// +optional
	TTLSecondsAfterFinished *int32 `json:"ttlSecondsAfterFinished,omitempty"`

	// How many seconds after the run has finished the BatchRun itself is deleted. Not smaller than
	// ttlSecondsAfterFinished. Default: never. Leave it unset for files that a GitOps tool applies: it would create
	// the deleted BatchRun, and so run it, again.
	// +kubebuilder:validation:Minimum=0
	// +optional
	RecordTTLSecondsAfterFinished *int32 `json:"recordTTLSecondsAfterFinished,omitempty"`

	// Set to true to stop the run for good and keep the record. A finished run is not changed by it. Default false.
	// +optional
	Cancel *bool `json:"cancel,omitempty"`

	// How many tasks may fail for good, as a number or as a share of the tasks, such as "10%" (rounded down).
	// One more fails the run at once. Default: every task gets its chance.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 0 && self <= 100000 : self.matches('^(100|[0-9]{1,2})%$')",message="must be a number from 0 to 100000 or a share from \"0%\" to \"100%\""
	// +optional
	MaxFailedTasks *intstr.IntOrString `json:"maxFailedTasks,omitempty"`

	// What to do when an attempt fails, by its reason or exit code.
	// +optional
	RetryPolicy *RetryPolicy `json:"retryPolicy,omitempty"`

	// How long an attempt may take to start.
	// +optional
	Startup *StartupPolicy `json:"startup,omitempty"`

	// Which log tails the status keeps.
	// +optional
	Logs *LogPolicy `json:"logs,omitempty"`
}

// Parameters are the parameters of a sweep: a matrix, less what is excluded, plus what is included; or a list of items.
// The tasks' indexes follow the order in which they stand here: in a matrix the last parameter changes fastest, then
// come the included ones.
//
// +kubebuilder:validation:XValidation:rule="has(self.matrix) != has(self.items)",message="parameters needs exactly one of matrix and items: a matrix for every combination of values, or the tasks one by one as items"
// +kubebuilder:validation:XValidation:rule="!has(self.exclude) || has(self.matrix)",message="exclude goes with a matrix only, whose combinations it leaves out: remove exclude, and the items that are not wanted",fieldPath=".exclude"
// +kubebuilder:validation:XValidation:rule="!has(self.include) || has(self.matrix)",message="include goes with a matrix only, to whose combinations it adds: move its entries to items",fieldPath=".include"
type Parameters struct {
	// The parameters, each with its values: every combination of values is a task. The tasks' indexes follow the order
	// that is written here: the last parameter changes fastest, and what include adds comes behind. At most 16
	// parameters, and 100,000 combinations with those of include, counted before exclude leaves any out.
	// Example, four tasks: [{name: LR, values: ["0.1", "0.01"]}, {name: MODEL, values: [small, large]}]
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=name
	// +optional
	Matrix []Parameter `json:"matrix,omitempty"`

	// Combinations of the matrix that are left out: those that have all the values of one of these entries. An entry
	// need not name every parameter; the operator warns of one that leaves out nothing. At most 1,000.
	// Example: [{LR: "0.1", MODEL: large}]
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1000
	// +listType=atomic
	// +optional
	Exclude []Combination `json:"exclude,omitempty"`

	// Combinations that are added to the matrix. Each entry has a value for every parameter of the matrix, not
	// necessarily one of those listed there, and for no other. At most 1,000.
	// Example: [{LR: "0.5", MODEL: small}]
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1000
	// +listType=atomic
	// +optional
	Include []Combination `json:"include,omitempty"`

	// The tasks one by one, instead of a matrix, in the order of their indexes: each item has the values of one task, by
	// the parameters' names. All have the same parameters, at most 16. For names and values the same holds as in a
	// matrix. At most 100,000, as far as they fit into an object: 1.5 MB, or 256 KB where kubectl apply is used without
	// --server-side.
	// Example, two tasks: [{LR: "0.1", MODEL: small}, {LR: "0.2", MODEL: large}]
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100000
	// +listType=atomic
	// +optional
	Items []Combination `json:"items,omitempty"`
}

// Combination is a value for each of some parameters, by the parameter's name.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:MaxProperties=16
type Combination map[string]string

// Parameter is one parameter of a matrix: a name, and its values as a list or as a range.
//
// +kubebuilder:validation:XValidation:rule="has(self.values) != has(self.range)",message="a parameter needs exactly one of values and range: values as a list of texts, or a range of whole numbers"
type Parameter struct {
	// Name of the parameter, and of the environment variable that holds its value: letters, digits and '_', and no
	// digit at the start, at most 63 characters. Each name once. Example: LEARNING_RATE
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z_][A-Za-z0-9_]*$')",message="must be a name for an environment variable: letters, digits and '_', and no digit at the start. Choose another name"
	// +kubebuilder:validation:XValidation:rule="!(self in ['JOB_COMPLETION_INDEX', 'BATCHRUN_TASK_INDEX'])",message="must not be JOB_COMPLETION_INDEX or BATCHRUN_TASK_INDEX: the operator sets them to the index of the task. Choose another name"
	// +required
	Name string `json:"name"`

	// The values, in this order, each once: texts of at most 1,024 characters without line breaks and tabs; "" is one
	// too. What YAML takes for a number or a boolean needs quotes. At most 100,000, as far as they fit into an object
	// (see items). Example: ["0.1", "0.01"]
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100000
	// +listType=set
	// +optional
	Values []string `json:"values,omitempty"`

	// Whole numbers instead of values, such as seeds. Example, the numbers 0, 5 and 10: {start: 0, end: 10, step: 5}
	// +optional
	Range *Range `json:"range,omitempty"`
}

// Range is the whole numbers from start to end, both included, in steps.
//
// +kubebuilder:validation:XValidation:rule="!has(self.step) || self.step != 0",message="step must not be 0: the range would never end. Set a step that leads from start to end, such as 1 or -1",fieldPath=".step"
// +kubebuilder:validation:XValidation:rule="(has(self.step) ? self.step : 1) == 0 || self.start == self.end || (self.start < self.end) == ((has(self.step) ? self.step : 1) > 0)",message="step (default 1) must lead from start to end: set a negative step where end is below start, and a positive one where it is above, or swap start and end"
type Range struct {
	// The first number.
	// +kubebuilder:validation:Minimum=-1000000000000
	// +kubebuilder:validation:Maximum=1000000000000
	// +required
	Start int64 `json:"start"`

	// The last number; where the steps do not meet it, the last one before it.
	// +kubebuilder:validation:Minimum=-1000000000000
	// +kubebuilder:validation:Maximum=1000000000000
	// +required
	End int64 `json:"end"`

	// From one number to the next: negative where end is below start, never 0. Default 1.
	// +kubebuilder:validation:Minimum=-1000000000000
	// +kubebuilder:validation:Maximum=1000000000000
	// +optional
	Step *int64 `json:"step,omitempty"`
}

// RerunScope says which tasks a rerun runs again.
//
// +kubebuilder:validation:Enum=Failed;All
type RerunScope string

const (
	// RerunFailed runs the tasks again that failed for good.
	RerunFailed RerunScope = "Failed"
	// RerunAll runs every task again that has started.
	RerunAll RerunScope = "All"
)

// Rerun runs tasks again. They start as new, with the present template and limits: what failed before does not count.
// Attempts of theirs that are active are stopped.
//
// +kubebuilder:validation:XValidation:rule="!has(self.scope) || !has(self.indexes)",message="rerun must not have both scope and indexes: remove scope to run the tasks of indexes again, or remove indexes"
type Rerun struct {
	// Any text of at most 63 characters. A token that the run has not acted on yet makes it act; leave it in place
	// afterwards. Example: "2"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Token string `json:"token"`

	// Failed: the tasks that failed for good. All: every task that has started. Default Failed, unless indexes are given.
	// +optional
	Scope *RerunScope `json:"scope,omitempty"`

	// The indexes of the tasks instead of a scope: numbers and ranges, ascending, with commas between them, and no
	// spaces. Of an array those of a new rerun are below completions. At most 8,192 characters. Example: 3,7-9
	// +kubebuilder:validation:MaxLength=8192
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9]{1,6}(-[0-9]{1,6})?(,[0-9]{1,6}(-[0-9]{1,6})?)*$')",message="must be indexes of tasks, of at most 6 digits each, and ranges of them, with commas and no spaces, such as 3,7-9. Correct them, or remove indexes for a rerun of all failed tasks"
	// +optional
	Indexes string `json:"indexes,omitempty"`
}

// RetryPolicy says what to do when an attempt fails.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.rules) || self.rules.all(r, !has(r.reasons) || r.reasons.all(x, self.rules.exists_one(o, has(o.reasons) && x in o.reasons)))",message="a reason must be listed by one rule only: the first rule that matches decides, so a second would never match. Remove it from one of them",fieldPath=".rules"
// +kubebuilder:validation:XValidation:rule="!has(self.rules) || self.rules.all(r, !has(r.exitCodes) || r.exitCodes.operator != 'In' || self.rules.exists_one(o, has(o.exitCodes) && o.exitCodes.operator == 'In' && sets.intersects(r.exitCodes.values, o.exitCodes.values)))",message="an exit code must be listed by one rule with operator In only: the first rule that matches decides, so a second would never match. Remove it from one of them",fieldPath=".rules"
// +kubebuilder:validation:XValidation:rule="!has(self.rules) || self.rules.filter(r, has(r.exitCodes) && r.exitCodes.operator == 'NotIn').size() <= 1",message="at most one rule may have exitCodes with operator NotIn: the first of two decides on nearly every exit code. Remove one, or use operator In",fieldPath=".rules"
// +kubebuilder:validation:XValidation:rule="!has(self.rules) || !self.rules.exists(n, has(n.exitCodes) && n.exitCodes.operator == 'NotIn') || self.rules.map(r, has(r.exitCodes) && r.exitCodes.operator == 'In').lastIndexOf(true) < self.rules.map(r, has(r.exitCodes) && r.exitCodes.operator == 'NotIn').indexOf(true)",message="put the rules with exitCodes and operator In before the one with operator NotIn: the first rule that matches decides, so they would never match behind it",fieldPath=".rules"
// +kubebuilder:validation:XValidation:rule="!has(self.rules) || !self.rules.exists(e, has(e.reasons) && 'Error' in e.reasons) || self.rules.map(r, has(r.exitCodes)).lastIndexOf(true) < self.rules.map(r, has(r.reasons) && 'Error' in r.reasons).indexOf(true)",message="put the rules with exitCodes before the one with reason Error: an exit code belongs to reason Error, and the first rule that matches decides, so they would never match behind it",fieldPath=".rules"
type RetryPolicy struct {
	// The delay before a task's next attempt after a counted failure. The attempt may wait for half of it more, at most 5
	// seconds, so that attempts that are due about the same time start together.
	// +optional
	Backoff *Backoff `json:"backoff,omitempty"`

	// How many uncounted retries (disruptions, deleted pods) each task may have before it is failed. Default 20.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=200
	// +optional
	MaxDisruptions *int32 `json:"maxDisruptions,omitempty"`

	// The first rule that matches a failed attempt decides; where none does, these defaults hold: a disruption,
	// Deleted and Unknown are Ignore; Error, OOMKilled, Evicted and DeadlineExceeded are Count; ImagePullFailed,
	// StartFailed and Unschedulable are FailTask.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=20
	// +listType=atomic
	// +optional
	Rules []RetryRule `json:"rules,omitempty"`
}

// Backoff is the delay before a task's next attempt: baseSeconds, doubled with each counted failure of the task, at
// most maxSeconds, measured from the end of the failed attempt.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="(has(self.maxSeconds) ? self.maxSeconds : 360) >= (has(self.baseSeconds) ? self.baseSeconds : 10)",message="maxSeconds (default 360) must not be smaller than baseSeconds (default 10)"
type Backoff struct {
	// Seconds before the first retry. Default 10.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=86400
	// +optional
	BaseSeconds *int32 `json:"baseSeconds,omitempty"`

	// Most seconds before a retry. Default 360.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=86400
	// +optional
	MaxSeconds *int32 `json:"maxSeconds,omitempty"`
}

// RetryAction is what a rule does with a failed attempt.
//
// +kubebuilder:validation:Enum=Count;Ignore;FailTask;FailRun
type RetryAction string

const (
	// ActionCount retries the task and counts the failure against spec.backoffLimit.
	ActionCount RetryAction = "Count"
	// ActionIgnore retries the task at once and counts against spec.retryPolicy.maxDisruptions only.
	ActionIgnore RetryAction = "Ignore"
	// ActionFailTask fails the task without another attempt.
	ActionFailTask RetryAction = "FailTask"
	// ActionFailRun fails the whole run and stops its other tasks.
	ActionFailRun RetryAction = "FailRun"
)

// RetryRule says what to do with attempts that failed for some reasons or with some exit codes.
//
// +kubebuilder:validation:XValidation:rule="has(self.reasons) != has(self.exitCodes)",message="a rule needs exactly one of reasons and exitCodes, else it matches nothing or is ambiguous"
// +kubebuilder:validation:XValidation:rule="!has(self.memory) || (has(self.reasons) && self.reasons == ['OOMKilled'] && self.action == 'Count')",message="memory goes with reasons: [OOMKilled] and action: Count only: it is what the counted retry gets",fieldPath=".memory"
type RetryRule struct {
	// The rule matches attempts that ended for one of these reasons, disruptions too: one for Evicted also decides on
	// evictions by the node.
	// +kubebuilder:validation:items:Enum=Error;OOMKilled;Evicted;Preempted;NodeLost;DeadlineExceeded;ImagePullFailed;StartFailed;Unschedulable;Deleted;Unknown
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=11
	// +listType=set
	// +optional
	Reasons []Reason `json:"reasons,omitempty"`

	// The rule matches attempts that ended with reason Error and one of these exit codes.
	// +optional
	ExitCodes *ExitCodes `json:"exitCodes,omitempty"`

	// Count: retry, counted against backoffLimit. Ignore: retry, counted against maxDisruptions only.
	// FailTask: no further attempt of this task. FailRun: fail the whole run at once.
	// +required
	Action RetryAction `json:"action"`

	// How much more memory the next attempt gets after this one was OOMKilled.
	// +optional
	Memory *MemoryGrowth `json:"memory,omitempty"`
}

// ExitCodesOperator says how ExitCodes.values is read.
//
// +kubebuilder:validation:Enum=In;NotIn
type ExitCodesOperator string

const (
	// ExitCodesIn matches an exit code that is one of the values.
	ExitCodesIn ExitCodesOperator = "In"
	// ExitCodesNotIn matches an exit code that is none of the values.
	ExitCodesNotIn ExitCodesOperator = "NotIn"
)

// ExitCodes matches the exit code of the container that failed first.
type ExitCodes struct {
	// In or NotIn.
	// +required
	Operator ExitCodesOperator `json:"operator"`

	// The exit codes, 1 to 255. 0 is success and needs no rule.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=255
	// +listType=set
	// +required
	Values []int32 `json:"values"`
}

// MemoryGrowth is how much more memory the attempt after an OOMKilled one gets: limit and request of every container
// that has them grow by increasePercent with each OOMKilled attempt of the task, until the limit is at max.
type MemoryGrowth struct {
	// By how many percent of its present value the memory grows.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=900
	// +required
	IncreasePercent int32 `json:"increasePercent"`

	// The most memory a container grows to, such as 64Gi. Not below a container's memory request or limit.
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).isGreaterThan(quantity('0'))",message="must be more than 0"
	// +required
	Max resource.Quantity `json:"max"`
}

// StartupPolicy says how long an attempt may take to start.
//
// +kubebuilder:validation:MinProperties=1
type StartupPolicy struct {
	// For how many seconds after it was scheduled a pod may fail to pull an image, or to create a container (a
	// missing Secret or ConfigMap), before the attempt ends with reason ImagePullFailed or StartFailed. A slow pull
	// that goes on is no failure. As long a pod may stay pending whose node lost it before it started, as when the node
	// was restarted; the attempt then ends with reason NodeLost, which does not count. Default 600.
	// +kubebuilder:validation:Minimum=1
	// +optional
	ImagePullDeadlineSeconds *int32 `json:"imagePullDeadlineSeconds,omitempty"`

	// For how many seconds no node may fit a pod before the attempt ends with reason Unschedulable.
	// Default: it waits, and the run says so in its conditions.
	// +kubebuilder:validation:Minimum=1
	// +optional
	UnschedulableDeadlineSeconds *int32 `json:"unschedulableDeadlineSeconds,omitempty"`
}

// LogKeep says of which attempts log tails are kept.
//
// +kubebuilder:validation:Enum=All;Failed;None
type LogKeep string

const (
	// KeepAll keeps the tails of failed attempts and of the first successes.
	KeepAll LogKeep = "All"
	// KeepFailed keeps the tails of failed attempts.
	KeepFailed LogKeep = "Failed"
	// KeepNone keeps no tails.
	KeepNone LogKeep = "None"
)

// LogPolicy says which log tails the status keeps, and which whole logs the archive, where the operator has one.
//
// +kubebuilder:validation:MinProperties=1
type LogPolicy struct {
	// All: of failed and of succeeded attempts. Failed: of failed ones. None. Default All. The lists they are part
	// of are capped: status.failures holds the last 20, status.successes the first 5. The archive of logs keeps the
	// whole logs of the same kinds of attempts, of any number.
	// +optional
	Keep *LogKeep `json:"keep,omitempty"`

	// At most so many lines of a log's end are kept. Default and maximum 80: the kubelet keeps no more of a pod
	// that is gone.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=80
	// +optional
	TailLines *int32 `json:"tailLines,omitempty"`

	// At most so many bytes of a log's end are kept. Default and maximum 2048: the kubelet keeps no more of a pod
	// that is gone.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2048
	// +optional
	TailBytes *int32 `json:"tailBytes,omitempty"`

	// Archived logs are deleted so many seconds after the run has finished. By default they are kept as long as the
	// record of the run, the BatchRun, and never longer.
	// +kubebuilder:validation:Minimum=0
	// +optional
	ArchiveTTLSecondsAfterFinished *int32 `json:"archiveTTLSecondsAfterFinished,omitempty"`
}
