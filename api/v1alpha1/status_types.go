package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BatchRunStatus is the record of a run. It stays under 100 KiB for any number of tasks: lists are capped, and texts
// that had to be cut end in "…".
type BatchRunStatus struct {
	// The metadata.generation of the spec that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Pending, Suspended, Queued, Running, Succeeded, Failed or Cancelled: for people. Machines read the conditions.
	// +optional
	Phase Phase `json:"phase,omitempty"`

	// Succeeded tasks of all tasks, such as 187/199.
	// +optional
	Completions string `json:"completions,omitempty"`

	// Number of tasks. tasks = succeeded + failed + active + pending, in every status.
	// +kubebuilder:default=0
	// +optional
	Tasks int32 `json:"tasks"`

	// Tasks that wait for their first or next attempt; in a finished run, those that were stopped or never ran.
	// +kubebuilder:default=0
	// +optional
	Pending int32 `json:"pending"`

	// Tasks with an active attempt: its pod is created and has not ended.
	// +kubebuilder:default=0
	// +optional
	Active int32 `json:"active"`

	// Tasks that succeeded.
	// +kubebuilder:default=0
	// +optional
	Succeeded int32 `json:"succeeded"`

	// Tasks that failed for good.
	// +kubebuilder:default=0
	// +optional
	Failed int32 `json:"failed"`

	// Attempts that were followed, or will be, by another attempt of the same execution of the task.
	// +kubebuilder:default=0
	// +optional
	Retries int32 `json:"retries"`

	// Indexes of the succeeded tasks, such as 0-186,190. Ends in "…" where it was cut.
	// +optional
	SucceededIndexes string `json:"succeededIndexes,omitempty"`

	// Indexes of the tasks that failed for good. Ends in "…" where it was cut.
	// +optional
	FailedIndexes string `json:"failedIndexes,omitempty"`

	// How many attempts ended for which reason.
	// +listType=map
	// +listMapKey=state
	// +optional
	PodStates []PodState `json:"podStates,omitempty"`

	// The last failed attempts, at most 20, newest last.
	// +listType=atomic
	// +optional
	Failures []Attempt `json:"failures,omitempty"`

	// The first succeeded attempts, at most 5.
	// +listType=atomic
	// +optional
	Successes []Attempt `json:"successes,omitempty"`

	// What active attempts say of themselves, by lines such as "::batchrun progress=0.37 message=epoch 3" in their logs: at
	// most 5, those of the lowest indexes. Looked for about once a minute, but not where logs.keep is None.
	// +listType=map
	// +listMapKey=index
	// +optional
	Progress []TaskProgress `json:"progress,omitempty"`

	// When the operator started the run's first attempt, or the first after it was resumed; where a queue such as Kueue's
	// decides, when that let the first one start.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`

	// When the run finished: succeeded, failed or cancelled.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`

	// How long a finished run took, from its start to its end, such as 3m20s.
	// +optional
	Duration string `json:"duration,omitempty"`

	// When the Jobs and pods of the finished run had been deleted.
	// +optional
	CleanupTime *metav1.Time `json:"cleanupTime,omitempty"`

	// The reruns that the run has acted on, at most the last 10, newest last.
	// +listType=atomic
	// +optional
	Reruns []RerunRecord `json:"reruns,omitempty"`

	// What the operator has to remember of the waves.
	// +optional
	Waves WavesStatus `json:"waves,omitzero"`

	// Complete, Failed and Suspended mean what they mean for a Job. Ready, Reconciling and Stalled follow kstatus:
	// Ready is true once the run is complete; Reconciling while it goes on; Stalled when it failed or cannot go on.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// TaskProgress is what an active attempt said of itself last.
type TaskProgress struct {
	// The index of its task.
	Index int32 `json:"index"`
	// How much is done, in percent, rounded down.
	Percent int32 `json:"percent"`
	// What it said besides, at most 200 bytes.
	// +optional
	Message string `json:"message,omitempty"`
	// The name of its pod.
	Pod string `json:"pod"`
}

// WavesStatus is what the operator has to remember of a run's waves, for machines.
type WavesStatus struct {
	// The number of the next wave: one more than the highest ever used.
	// +optional
	Next int32 `json:"next"`

	// The numbers of the waves that have tasks whose end is not recorded yet.
	// +optional
	Open string `json:"open,omitempty"`

	// The state of each task that is not told by the fields above, compressed: how often it failed and was disrupted,
	// how often its memory grew, when its next attempt is due, how often it was rerun. Exact for any number of tasks.
	// +optional
	Ledger []byte `json:"ledger,omitempty"`

	// True when the tasks in the ledger are those of a sweep, not of an array.
	// +optional
	Sweep bool `json:"sweep,omitempty"`
}

// RerunRecord is the record of one rerun.
type RerunRecord struct {
	// Its token.
	Token string `json:"token"`
	// When the run acted on it.
	Time metav1.Time `json:"time"`
	// How many tasks it ran again. They are in their next execution since.
	Tasks int32 `json:"tasks"`
	// The indexes of these tasks. Ends in "…" where it was cut.
	// +optional
	Indexes string `json:"indexes,omitempty"`
}

// Phase sums up a run in one word, for people.
//
// +kubebuilder:validation:Enum=Pending;Suspended;Queued;Running;Succeeded;Failed;Cancelled
type Phase string

// The phases of a run.
const (
	PhasePending   Phase = "Pending"
	PhaseSuspended Phase = "Suspended"
	PhaseQueued    Phase = "Queued"
	PhaseRunning   Phase = "Running"
	PhaseSucceeded Phase = "Succeeded"
	PhaseFailed    Phase = "Failed"
	PhaseCancelled Phase = "Cancelled"
)

// Reason is why an attempt ended.
type Reason string

// The reasons why an attempt ends.
const (
	// ReasonCompleted: every container exited with code 0.
	ReasonCompleted Reason = "Completed"
	// ReasonError: a container exited with another code.
	ReasonError Reason = "Error"
	// ReasonOOMKilled: the kernel killed a container that was over its memory limit, or the node out of memory.
	ReasonOOMKilled Reason = "OOMKilled"
	// ReasonEvicted: the kubelet or the Eviction API took the pod away. It is a disruption unless the pod itself
	// had used more than it may.
	ReasonEvicted Reason = "Evicted"
	// ReasonPreempted: the scheduler made room for a pod of higher priority.
	ReasonPreempted Reason = "Preempted"
	// ReasonNodeLost: the node went away or was not reachable.
	ReasonNodeLost Reason = "NodeLost"
	// ReasonDeadlineExceeded: the pod ran longer than its activeDeadlineSeconds.
	ReasonDeadlineExceeded Reason = "DeadlineExceeded"
	// ReasonImagePullFailed: an image could not be pulled until the deadline.
	ReasonImagePullFailed Reason = "ImagePullFailed"
	// ReasonStartFailed: a container could not be created or started.
	ReasonStartFailed Reason = "StartFailed"
	// ReasonUnschedulable: no node fitted the pod until the deadline.
	ReasonUnschedulable Reason = "Unschedulable"
	// ReasonDeleted: the pod or its Job was deleted by somebody else.
	ReasonDeleted Reason = "Deleted"
	// ReasonUnknown: the pod ended and nothing tells why.
	ReasonUnknown Reason = "Unknown"
)

// PodState counts the attempts that ended for one reason.
type PodState struct {
	// The reason why the attempts ended.
	State Reason `json:"state"`
	// How many attempts.
	Count int32 `json:"count"`
}

// Attempt is the record of one ended attempt of a task: one pod.
type Attempt struct {
	// Index of the task.
	Index int32 `json:"index"`
	// Number of the attempt among those of the task's execution, the first is 1.
	Attempt int32 `json:"attempt"`
	// Number of the task's execution: 1, and one more with each rerun of the task.
	// +optional
	Execution int32 `json:"execution,omitempty"`
	// The values of the task's parameters. Long ones end in "…" where they were cut.
	// +optional
	Parameters map[string]string `json:"parameters,omitempty"`
	// Why the attempt ended.
	Reason Reason `json:"reason"`
	// True when the attempt ended for no fault of its own: its pod had the DisruptionTarget condition.
	// +optional
	Disruption bool `json:"disruption,omitempty"`
	// Exit code of the container that failed first.
	// +optional
	ExitCode *int32 `json:"exitCode,omitempty"`
	// What the kubelet or the control plane said about it.
	// +optional
	Message string `json:"message,omitempty"`
	// Name of the pod.
	// +optional
	Pod string `json:"pod,omitempty"`
	// Name of the node it ran on.
	// +optional
	Node string `json:"node,omitempty"`
	// When it ended.
	// +optional
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`
	// The end of its log.
	// +optional
	LogTail string `json:"logTail,omitempty"`
}

// The condition types of a run.
const (
	// ConditionComplete is true once every task succeeded.
	ConditionComplete = "Complete"
	// ConditionFailed is true once the run failed or was cancelled.
	ConditionFailed = "Failed"
	// ConditionFailureTarget is true once the run is known to fail, or was cancelled, and its pods are being stopped.
	// A Job has it too.
	ConditionFailureTarget = "FailureTarget"
	// ConditionSuspended is true while spec.suspend holds the run.
	ConditionSuspended = "Suspended"
	// ConditionPacked is true while tasks go out many to a Job, and false where the cluster does not let them, so that
	// each has a Job of its own. A run that needs neither has no such condition.
	ConditionPacked = "Packed"
	// ConditionSpecWarning is true while the spec says something that has no effect.
	ConditionSpecWarning = "SpecWarning"
	// ConditionLogsArchived is true once the run has finished and the logs of its attempts are archived, and false while
	// some cannot be stored, or once some were lost. It is there only where the operator has an archive.
	ConditionLogsArchived = "LogsArchived"
	// ConditionReady is true once the run is complete (kstatus: Current).
	ConditionReady = "Ready"
	// ConditionReconciling is true while the run goes on (kstatus: InProgress).
	ConditionReconciling = "Reconciling"
	// ConditionStalled is true when the run failed or cannot go on (kstatus: Failed).
	ConditionStalled = "Stalled"
)

// The reasons that conditions and Events of a run carry.
const (
	// RunCompleted: every task succeeded.
	RunCompleted = "Completed"
	// RunTasksFailed: tasks failed for good, and the others have ended.
	RunTasksFailed = "TasksFailed"
	// RunMaxFailedTasksExceeded: more tasks failed than spec.maxFailedTasks allows.
	RunMaxFailedTasksExceeded = "MaxFailedTasksExceeded"
	// RunFailRunRule: an attempt matched a rule with action FailRun.
	RunFailRunRule = "FailRunRule"
	// RunDeadlineExceeded: the run was active for longer than spec.activeDeadlineSeconds.
	RunDeadlineExceeded = "DeadlineExceeded"
	// RunCancelled: spec.cancel was set.
	RunCancelled = "Cancelled"
	// RunSuspended: spec.suspend is set.
	RunSuspended = "Suspended"
	// RunResumed: spec.suspend was taken back.
	RunResumed = "Resumed"
	// RunQueued: nothing is active, and a queue such as Kueue's has not let the next attempts start.
	RunQueued = "Queued"
	// RunProgressing: attempts are active or about to start.
	RunProgressing = "Progressing"
	// RunWaitingForRetry: nothing is active, the next attempts wait for their backoff.
	RunWaitingForRetry = "WaitingForRetry"
	// RunUnschedulable: no node fits the waiting pods.
	RunUnschedulable = "Unschedulable"
	// RunImagePullFailing: pods wait for an image that cannot be pulled.
	RunImagePullFailing = "ImagePullFailing"
	// RunStartFailing: pods wait for a container that cannot be created.
	RunStartFailing = "StartFailing"
	// RunPodsNotCreated: the Job controller cannot create pods, for example over quota.
	RunPodsNotCreated = "PodsNotCreated"
	// RunStarted: the first wave was started (Event).
	RunStarted = "Started"
	// RunAttemptFailed: attempts failed (Event).
	RunAttemptFailed = "AttemptFailed"
	// RunPilotFailed: a task of spec.pilot failed for good.
	RunPilotFailed = "PilotFailed"
	// RunNoTasks: spec.parameters excludes every combination.
	RunNoTasks = "NoTasks"
	// RunTooManyTasks: spec.parameters has more tasks than a run can have, or had so over its life.
	RunTooManyTasks = "TooManyTasks"
	// RunParametersLost: somebody deleted or changed what tells which task has which parameter values.
	RunParametersLost = "ParametersLost"
	// RunRerun: tasks run again because of spec.rerun (Event).
	RunRerun = "Rerun"
	// RunTemplateEdited: attempts that could not start begin anew with the edited spec.template (Event).
	RunTemplateEdited = "TemplateEdited"
	// RunReopened: a finished run has new tasks (Event).
	RunReopened = "Reopened"
	// RunCleanedUp: the Jobs and pods of the finished run are deleted (Event).
	RunCleanedUp = "CleanedUp"
	// RunPodNotEnding: a pod that is being deleted does not end: its node does not answer.
	RunPodNotEnding = "PodNotEnding"
	// RunWaitingForPods: pods of a deleted Job still run.
	RunWaitingForPods = "WaitingForPods"
	// RunWaveUnreadable: somebody changed what the Job of a wave says about its tasks.
	RunWaveUnreadable = "WaveUnreadable"
	// RunNameTaken: an object that the run does not control has the name of its next Job.
	RunNameTaken = "NameTaken"
	// RunJobRefused: the API server refused the run's next Job.
	RunJobRefused = "JobRefused"

	// LogsStored: all logs that could be read are archived.
	LogsStored = "Stored"
	// LogsNotStored: logs cannot be stored now, which is tried again.
	LogsNotStored = "NotStored"
	// LogsIncomplete: some logs are not whole, or lost.
	LogsIncomplete = "Incomplete"

	// PackedPolicyInstalled: the policy that gives each pod its parameters is there.
	PackedPolicyInstalled = "PolicyInstalled"
	// PackedPolicyMissing: that policy or its binding is not there, or is being installed, or this Kubernetes has none
	// (before 1.36).
	PackedPolicyMissing = "PolicyMissing"
	// PackedPolicyDiffers: the policy or its binding is not the one that belongs to this operator.
	PackedPolicyDiffers = "PolicyDiffers"
	// PackedPolicyIneffective: pods were created, or refused, without their parameters although the policy is there.
	PackedPolicyIneffective = "PolicyIneffective"

	// WarningExcludeMatchesNothing: an entry of spec.parameters.exclude matches no combination.
	WarningExcludeMatchesNothing = "ExcludeMatchesNothing"
	// WarningDuplicateTasks: spec.parameters names a combination more than once; it is one task.
	WarningDuplicateTasks = "DuplicateTasks"
	// WarningRerunOutOfRange: spec.rerun.indexes names tasks that the run does not have; nothing was rerun.
	WarningRerunOutOfRange = "RerunOutOfRange"
	// WarningParameterHidden: a container sets a variable of a parameter's name itself, so it does not see the parameter.
	WarningParameterHidden = "ParameterHidden"
	// WarningAboveLimit: the cluster's admin allows less than the spec says, which holds instead.
	WarningAboveLimit = "AboveLimit"
	// WarningQueueSettingIgnored: a label or annotation for a queue speaks of one Job, so it does not pass to those of a run.
	WarningQueueSettingIgnored = "QueueSettingIgnored"
	// WarningRerunWithoutEffect: the run would fail again at once, or spec.cancel holds it; nothing was rerun.
	WarningRerunWithoutEffect = "RerunWithoutEffect"
)
