package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// ofAttempt says why an attempt failed.
func ofAttempt(run *v1alpha1.BatchRun, a *v1alpha1.Attempt) Cause {
	cause := Cause{Evidence: cmp.Or(a.Message, lastLine(a.LogTail))}
	where := fmt.Sprintf("task %d", a.Index)
	if a.Node != "" {
		where += " on node " + a.Node
	}
	switch a.Reason {
	case v1alpha1.ReasonOOMKilled:
		cause.What = "A container needed more memory than it may have: " + where + " was killed."
		cause.Next = memorySteps(run)
	case v1alpha1.ReasonEvicted, v1alpha1.ReasonPreempted, v1alpha1.ReasonNodeLost:
		evicted(run, a, where, &cause)
	case v1alpha1.ReasonDeadlineExceeded:
		cause.What = "An attempt took longer than spec.template.spec.activeDeadlineSeconds: " + where + "."
		cause.Next = []string{
			deadlineStep(run.Spec.Template.Spec.ActiveDeadlineSeconds, "spec.template.spec.activeDeadlineSeconds"),
			"If it hangs, see where: kubectl batchrun logs " + run.Name + fmt.Sprintf(" --task %d.", a.Index)}
	case v1alpha1.ReasonImagePullFailed:
		cause.What, cause.Next = "An image could not be pulled until the deadline: "+where+".", imageSteps(run)
	case v1alpha1.ReasonStartFailed:
		cause.What = "A container could not be started: " + where + "."
		cause.Next = []string{"Check the command, Secret, ConfigMap or volume of spec.template that the message names, and apply the corrected file.",
			"Then: kubectl batchrun retry " + run.Name + "."}
	case v1alpha1.ReasonUnschedulable:
		cause.What = "No node fitted until startup.unschedulableDeadlineSeconds: " + where + "."
		cause.Next = []string{"Lower resources.requests or correct nodeSelector, affinity and tolerations; or raise the deadline."}
	case v1alpha1.ReasonDeleted:
		cause.What = "Somebody or something deleted the pod or its Job: " + where + "."
		cause.Next = []string{"It does not count against the task. Look for what cleans up in the namespace: kubectl get events."}
	case v1alpha1.ReasonError:
		exited(run, a, where, &cause)
	default:
		cause.What = "The pod ended and nothing tells why: " + where + "."
		cause.Next = []string{"It does not count against the task. See the node: kubectl describe node " + cmp.Or(a.Node, "NODE") + "."}
	}
	return cause
}

// memorySteps say how much memory to ask for: half as much again as the largest limit.
func memorySteps(run *v1alpha1.BatchRun) []string {
	name, limit := largestLimit(&run.Spec.Template.Spec)
	growth := run.Spec.MemoryGrowth()
	if limit == nil {
		return []string{"No container has a memory limit, so the node itself was out of memory: set resources.requests.memory and " +
			"resources.limits.memory in spec.template to what a task needs."}
	}
	more := moreMemory(*limit)
	if growth != nil && growth.Max.Cmp(*limit) > 0 {
		return []string{
			fmt.Sprintf("The retries get %d%% more each time, up to %s. If that was not enough, raise max in spec.retryPolicy.rules.",
				growth.IncreasePercent, growth.Max.String()),
			fmt.Sprintf("To lose fewer attempts, begin with more: container %s has a limit of %s, ask for %s.", name, limit, more)}
	}
	return []string{
		fmt.Sprintf("Raise resources.limits.memory of container %s from %s to %s, and the request with it, and apply the file.", name, limit, more),
		fmt.Sprintf("Or let each retry have more: spec.retryPolicy.rules with reasons: [OOMKilled], action: Count, "+
			"memory: {increasePercent: 50, max: %s}.", moreMemory(moreQuantity(*limit))),
		"Then: kubectl batchrun retry " + run.Name + "."}
}

// largestLimit is the largest memory limit of a container, and the container's name.
func largestLimit(pod *corev1.PodSpec) (name string, limit *resource.Quantity) {
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		if memory, ok := c.Resources.Limits[corev1.ResourceMemory]; ok && (limit == nil || memory.Cmp(*limit) > 0) {
			name, limit = c.Name, &memory
		}
	}
	return name, limit
}

const mebibyte = 1 << 20

// moreQuantity is half as much memory again, in whole mebibytes; from 8Gi on in whole gibibytes.
func moreQuantity(limit resource.Quantity) resource.Quantity {
	step := int64(mebibyte)
	if limit.Value() >= 8<<30 {
		step = 1 << 30
	}
	steps := (limit.Value()*3/2 + step - 1) / step
	return *resource.NewQuantity(steps*step, resource.BinarySI)
}

func moreMemory(limit resource.Quantity) string {
	more := moreQuantity(limit)
	return more.String()
}

// evicted tells apart what the pod did itself and what was done to it.
func evicted(run *v1alpha1.BatchRun, a *v1alpha1.Attempt, where string, cause *Cause) {
	switch {
	case !a.Disruption:
		cause.What = "The pod used more than it may, and the node evicted it: " + where + "."
		cause.Next = []string{"Raise the limit that the message names, or write less: " + overrun(a.Message) + ".",
			"Then: kubectl batchrun retry " + run.Name + "."}
	case a.Reason == v1alpha1.ReasonPreempted:
		cause.What = "A pod of higher priority needed the room: " + where + "."
		cause.Next = []string{"Nothing needs to be done: it does not count, the task runs again. A priorityClassName in " +
			"spec.template.spec would protect it."}
	case a.Reason == v1alpha1.ReasonNodeLost:
		cause.What = "The node went away: " + where + "."
		cause.Next = []string{"Nothing needs to be done: it does not count, the task runs again."}
	case strings.Contains(a.Message, "low on resource"):
		cause.What = "The node was short of something and evicted the pod: " + where + "."
		cause.Next = []string{"It does not count, the task runs again. It happens less with resources.requests that say what a task really uses: " +
			"pods that use more than they asked for go first."}
	default:
		cause.What = "The pod was evicted, such as for a drained node: " + where + "."
		cause.Next = []string{"Nothing needs to be done: it does not count, the task runs again."}
	}
	if a.Disruption {
		cause.Next = append(cause.Next, fmt.Sprintf("A task that this happens to more than %d times fails: "+
			"spec.retryPolicy.maxDisruptions.", run.Spec.DisruptionLimit()))
	}
}

// overrun names the field of the limit that a message of the kubelet is about.
func overrun(message string) string {
	switch lower := strings.ToLower(message); {
	case strings.Contains(lower, "emptydir"):
		return "emptyDir.sizeLimit of the volume in spec.template.spec.volumes"
	case strings.Contains(lower, "ephemeral"):
		return "resources.limits.ephemeral-storage of the container"
	case strings.Contains(lower, "memory"):
		return "resources.limits.memory of the container"
	}
	return "resources.limits of the container, or sizeLimit of the volume"
}

// Exit codes that shells and the kernel give a meaning.
const (
	exitGeneric     = 1
	exitNotRunnable = 126
	exitNotFound    = 127
	exitSignal      = 128
	exitAborted     = exitSignal + 6
	exitKilled      = exitSignal + 9
	exitSegfault    = exitSignal + 11
	exitTerminated  = exitSignal + 15
)

// exited explains an exit code.
func exited(run *v1alpha1.BatchRun, a *v1alpha1.Attempt, where string, cause *Cause) {
	if a.ExitCode == nil {
		cause.What = "A container failed: " + where + "."
		cause.Next = []string{logsStep(run, a)}
		return
	}
	code := *a.ExitCode
	what := fmt.Sprintf("exited with %d", code)
	switch code {
	case exitGeneric:
		what += ", which programs use for any error of their own"
	case exitNotRunnable:
		what += ": the command is there and cannot be run"
		cause.Next = []string{"Check that the file is executable (chmod +x), that its first line names an interpreter that the image " +
			"has, and that it is built for the node's architecture."}
	case exitNotFound:
		what += ": the shell did not find the command"
		cause.Next = []string{"Check the command's name and PATH in the image; a program that the image lacks has to be installed in it."}
	case exitAborted:
		what += " (SIGABRT): the program gave itself up, as after a failed assertion"
	case exitKilled:
		what += " (SIGKILL): it was killed, and not for its memory limit as far as the node saw"
		cause.Next = []string{"A child process may have been out of memory, or the program has a time limit of its own. See its memory, " +
			"and raise resources.limits.memory if it is near the limit."}
	case exitSegfault:
		what += " (SIGSEGV): the program used memory that is not its own"
	case exitTerminated:
		what += " (SIGTERM): it was told to stop"
		cause.Next = []string{"Look for a time limit in the program or its shell script, such as timeout."}
	default:
		if code > exitSignal {
			what += fmt.Sprintf(" (signal %d)", code-exitSignal)
		}
	}
	cause.What = "The program " + what + ": " + where + "."
	cause.Next = append(cause.Next, logsStep(run, a))
	if cause.Evidence == a.Message && a.LogTail != "" {
		cause.Evidence = lastLine(a.LogTail) // the program's own last words say more
	}
}

func logsStep(run *v1alpha1.BatchRun, a *v1alpha1.Attempt) string {
	return fmt.Sprintf("Read its log: kubectl batchrun logs %s --task %d --attempt %d. Once mended: kubectl batchrun retry %s.",
		run.Name, a.Index, a.Attempt, run.Name)
}

func lastLine(text string) string {
	text = strings.TrimRight(text, "\n ")
	return text[strings.LastIndexByte(text, '\n')+1:]
}

func joinWords(words []string) string {
	return strings.Join(words, ", ")
}
