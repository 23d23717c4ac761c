package v1alpha1

// Labels and annotations that the operator sets on a run's Jobs and pods, and variables it sets in their containers.
const (
	// LabelRun is the name of the run that a Job or pod belongs to.
	LabelRun = "batchrun.io/run"
	// LabelRunUID is the UID of that run.
	LabelRunUID = "batchrun.io/run-uid"
	// LabelWave is the number of the wave.
	LabelWave = "batchrun.io/wave"
	// AnnotationTasks lists the indexes of the tasks that a wave's Job carries, as ranges: 0-99,104.
	// The task at position i of the list is the Job's completion index i.
	AnnotationTasks = "batchrun.io/tasks"
	// AnnotationAttempts tells which attempts of its tasks the pods of a wave's Job are, by execution and number:
	// 1.2:3,17 2.1:204. Tasks that it does not name have their first attempt.
	AnnotationAttempts = "batchrun.io/attempts"
	// AnnotationTemplate is a hash of the spec.template that a wave's Job was made of.
	AnnotationTemplate = "batchrun.io/template"
	// AnnotationSweep is on the Job of a wave whose tasks have parameters.
	AnnotationSweep = "batchrun.io/sweep"
	// AnnotationPacked is on the Job of a wave whose pods get their index and parameters when they are admitted.
	AnnotationPacked = "batchrun.io/packed"
	// AnnotationSuspended is on the Job of a wave that the operator suspended, and may resume.
	AnnotationSuspended = "batchrun.io/suspended"
	// AnnotationParameters is the table of a wave's task indexes and parameter values, on the template of its pods.
	AnnotationParameters = "batchrun.io/parameters"
	// GateParameters is the scheduling gate of a pod that has not got its parameters yet.
	GateParameters = "batchrun.io/parameters"
	// PolicyParameters is the name of the MutatingAdmissionPolicy, and of its binding, that gives a pod its parameters.
	PolicyParameters = "batchrun-parameters"

	// EnvTaskIndex is the index of the task, in every container of every wave.
	EnvTaskIndex = "BATCHRUN_TASK_INDEX"
	// EnvCompletionIndex is the same number under the name that an Indexed Job gives it.
	EnvCompletionIndex = "JOB_COMPLETION_INDEX"
)

// Limits of the API.
const (
	// MaxTasks is the most tasks a run can have.
	MaxTasks = 100_000
	// MaxIndexes is the most task indexes that a run can use up over its life: values that are added to a sweep get new
	// ones.
	MaxIndexes = 1_000_000
	// MaxReruns is the most entries of status.reruns.
	MaxReruns = 10
	// MaxFailures is the most entries of status.failures.
	MaxFailures = 20
	// MaxSuccesses is the most entries of status.successes.
	MaxSuccesses = 5
	// MaxProgress is the most entries of status.progress.
	MaxProgress = 5
)
