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
type BatchRunSpec struct {
	// The pod that each attempt runs: a PodTemplateSpec, as in a Job, with the same fields (see kubectl explain
	// job.spec.template). restartPolicy is Never, the default here: the run retries with a new pod, so that the reason
	// of each failure can be read and kept.
	// Each container finds the index of its task in BATCHRUN_TASK_INDEX and JOB_COMPLETION_INDEX.
	// An edit holds for retries, for added tasks and for attempts that could not start; tasks that the first wave's Job
	// is still to start keep the template that it was made of.
	// +required
	Template corev1.PodTemplateSpec `json:"template"`

	// How many tasks the run has: an array with the indexes 0 to completions-1. Default 1, at most 100,000.
	// Raising it adds tasks; lowering it stops and forgets the tasks above.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	// +optional
	Completions *int32 `json:"completions,omitempty"`

	// Indexed, if anything: a run is always what a Job is with completionMode Indexed.
	// +kubebuilder:validation:Enum=Indexed
	// +optional
	CompletionMode *batchv1.CompletionMode `json:"completionMode,omitempty"`

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

// RetryPolicy says what to do when an attempt fails.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.rules) || self.rules.all(r, !has(r.reasons) || r.reasons.all(x, self.rules.exists_one(o, has(o.reasons) && x in o.reasons)))",message="a reason must be listed by one rule only: the first rule that matches decides, so a second would never match. Remove it from one of them",fieldPath=".rules"
// +kubebuilder:validation:XValidation:rule="!has(self.rules) || self.rules.all(r, !has(r.exitCodes) || r.exitCodes.operator != 'In' || self.rules.exists_one(o, has(o.exitCodes) && o.exitCodes.operator == 'In' && sets.intersects(r.exitCodes.values, o.exitCodes.values)))",message="an exit code must be listed by one rule with operator In only: the first rule that matches decides, so a second would never match. Remove it from one of them",fieldPath=".rules"
// +kubebuilder:validation:XValidation:rule="!has(self.rules) || self.rules.filter(r, has(r.exitCodes) && r.exitCodes.operator == 'NotIn').size() <= 1",message="at most one rule may have exitCodes with operator NotIn: the first of two decides on nearly every exit code. Remove one, or use operator In",fieldPath=".rules"
// +kubebuilder:validation:XValidation:rule="!has(self.rules) || !self.rules.exists(n, has(n.exitCodes) && n.exitCodes.operator == 'NotIn') || self.rules.map(r, has(r.exitCodes) && r.exitCodes.operator == 'In').lastIndexOf(true) < self.rules.map(r, has(r.exitCodes) && r.exitCodes.operator == 'NotIn').indexOf(true)",message="put the rules with exitCodes and operator In before the one with operator NotIn: the first rule that matches decides, so they would never match behind it",fieldPath=".rules"
// +kubebuilder:validation:XValidation:rule="!has(self.rules) || !self.rules.exists(e, has(e.reasons) && 'Error' in e.reasons) || self.rules.map(r, has(r.exitCodes)).lastIndexOf(true) < self.rules.map(r, has(r.reasons) && 'Error' in r.reasons).indexOf(true)",message="put the rules with exitCodes before the one with reason Error: an exit code belongs to reason Error, and the first rule that matches decides, so they would never match behind it",fieldPath=".rules"
type RetryPolicy struct {
	// The delay before a task's next attempt after a counted failure.
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
	// that goes on is no failure. Default 600.
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

// LogPolicy says which log tails the status keeps.
//
// +kubebuilder:validation:MinProperties=1
type LogPolicy struct {
	// All: of failed and of succeeded attempts. Failed: of failed ones. None. Default All. The lists they are part
	// of are capped: status.failures holds the last 20, status.successes the first 5.
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
}
