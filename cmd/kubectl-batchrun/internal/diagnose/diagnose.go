// Package diagnose tells in words why a run failed or does not go on, and what to do next.
package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// Cause is one cause of trouble.
type Cause struct {
	// What happened, in a sentence.
	What string
	// Evidence is what the run, the kubelet or the program said of it; "" where there is none.
	Evidence string
	// Next are the next steps, the best one in front.
	Next []string
}

// Run finds the causes of a run's trouble, the most likely one in front. There are none where all is well.
func Run(run *v1alpha1.BatchRun) []Cause {
	var causes []Cause
	causes = append(causes, ofConditions(run)...)
	causes = append(causes, ofFailures(run)...)
	if warning := meta.FindStatusCondition(run.Status.Conditions, v1alpha1.ConditionSpecWarning); warning != nil &&
		warning.Status == metav1.ConditionTrue {
		causes = append(causes, Cause{What: "The spec says something that has no effect.", Evidence: warning.Message,
			Next: []string{"Correct the field that the message names."}})
	}
	return causes
}

// ofConditions are the causes that the run itself tells.
func ofConditions(run *v1alpha1.BatchRun) []Cause {
	ready := meta.FindStatusCondition(run.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil {
		return []Cause{{What: "The operator has not looked at the run yet.",
			Next: []string{"See whether it runs: kubectl get pods -n batchrun-system."}}}
	}
	known, ok := ofReason(run)[ready.Reason]
	switch {
	case ok:
		known.Evidence = ready.Message
		return []Cause{known}
	case meta.IsStatusConditionTrue(run.Status.Conditions, v1alpha1.ConditionStalled) && run.Status.CompletionTime == nil:
		return []Cause{{What: "The run cannot go on: " + ready.Reason + ".", Evidence: ready.Message,
			Next: []string{"Do what the message asks for; the run then goes on by itself."}}}
	}
	return nil
}

// ofReason says what the reasons of the Ready condition mean, but for those that the failed attempts explain better.
func ofReason(run *v1alpha1.BatchRun) map[string]Cause {
	again := fmt.Sprintf("To run what is left, raise the limit and then: kubectl batchrun retry %s.", run.Name)
	return map[string]Cause{
		v1alpha1.RunUnschedulable: {What: "No node fits the pods of the run.", Next: []string{
			"Compare what the message says is missing with resources.requests, nodeSelector, affinity and tolerations in " +
				"spec.template.spec; lower or correct them and apply the file again.",
			"If the nodes are only full, wait: the run starts by itself. startup.unschedulableDeadlineSeconds gives it up after a while."}},
		v1alpha1.RunImagePullFailing: {What: "An image cannot be pulled.", Next: imageSteps(run)},
		v1alpha1.RunStartFailing: {What: "A container cannot be created.", Next: []string{
			"Create the Secret or ConfigMap that the message names, or correct its name in spec.template, and apply the file again."}},
		v1alpha1.RunPodsNotCreated: {What: "The pods of the run are refused before they exist, by a quota or an admission policy.", Next: []string{
			"Read what the message asks for. A quota: kubectl describe quota. Lower resources or spec.parallelism, or ask your admin for more."}},
		v1alpha1.RunPilotFailed: {What: "A task of spec.pilot failed for good, so the others were not started.", Next: []string{
			"Mend what made the pilot fail (below), apply the file and run: kubectl batchrun retry " + run.Name + "."}},
		v1alpha1.RunMaxFailedTasksExceeded: {What: "More tasks failed than spec.maxFailedTasks allows, so the others were stopped.", Next: []string{
			"Mend what made them fail (below).", again}},
		v1alpha1.RunDeadlineExceeded: {What: "The run was active for longer than spec.activeDeadlineSeconds.", Next: []string{
			deadlineStep(run.Spec.ActiveDeadlineSeconds, "spec.activeDeadlineSeconds"), again}},
		v1alpha1.RunFailRunRule: {What: "A rule of spec.retryPolicy with the action FailRun matched an attempt.", Next: []string{
			"See the attempt below; mend its cause, or change the rule, and then: kubectl batchrun retry " + run.Name + "."}},
		v1alpha1.RunCancelled: {What: "The run was cancelled: spec.cancel is true.", Next: []string{
			"To go on, set spec.cancel to false and then: kubectl batchrun retry " + run.Name + "."}},
		v1alpha1.RunSuspended: {What: "The run is suspended: spec.suspend is true.", Next: []string{
			"To go on: kubectl batchrun resume " + run.Name + "."}},
		v1alpha1.RunQueued: {What: "A queue, or whoever suspended its Job, has not let the run start.", Next: []string{
			"Wait: it starts by itself once the queue admits it. What the message says is missing, compare with resources.requests and " +
				"spec.parallelism; lower them, or name another queue in metadata.labels, and apply the file again."}},
	}
}

func imageSteps(run *v1alpha1.BatchRun) []string {
	var images []string
	for _, containers := range [][]string{imagesOf(run, true), imagesOf(run, false)} {
		images = append(images, containers...)
	}
	return []string{
		fmt.Sprintf("Check the name and the tag: %s. \"not found\" means that there is no such image.", joinWords(images)),
		"\"unauthorized\" or \"denied\" mean that the registry wants a password: name a Secret in spec.template.spec.imagePullSecrets.",
		"Apply the corrected file: attempts that could not start begin anew, uncounted.",
	}
}

func imagesOf(run *v1alpha1.BatchRun, initial bool) []string {
	containers := run.Spec.Template.Spec.Containers
	if initial {
		containers = run.Spec.Template.Spec.InitContainers
	}
	images := make([]string, 0, len(containers))
	for i := range containers {
		images = append(images, containers[i].Image)
	}
	return images
}

func deadlineStep(limit *int64, field string) string {
	if limit == nil {
		return "Raise " + field + "."
	}
	return fmt.Sprintf("Raise %s, which is %d: what is needed is more than that.", field, *limit)
}

// ofFailures are the causes that the failed attempts tell. Each reason and exit code is one cause, told by its last
// attempt; what happened most often stands in front.
func ofFailures(run *v1alpha1.BatchRun) []Cause {
	type group struct {
		last  *v1alpha1.Attempt
		count int
		tasks map[int32]bool
	}
	groups := map[string]*group{}
	var order []string
	for i := range run.Status.Failures {
		a := &run.Status.Failures[i]
		key := string(a.Reason) + fmt.Sprint(a.Disruption)
		if a.Reason == v1alpha1.ReasonError && a.ExitCode != nil {
			key += fmt.Sprint(*a.ExitCode)
		}
		if groups[key] == nil {
			groups[key] = &group{tasks: map[int32]bool{}}
			order = append(order, key)
		}
		g := groups[key]
		g.last, g.count, g.tasks[a.Index] = a, g.count+1, true
	}
	slices.SortStableFunc(order, func(a, b string) int {
		if x, y := groups[a].last.Disruption, groups[b].last.Disruption; x != y { // faults before disruptions
			if x {
				return 1
			}
			return -1
		}
		return groups[b].count - groups[a].count
	})
	causes := make([]Cause, 0, len(order))
	for _, key := range order {
		g := groups[key]
		cause := ofAttempt(run, g.last)
		cause.What = fmt.Sprintf("%s (%s of %s, of the last %d).", strings.TrimSuffix(cause.What, "."),
			counted(g.count, "attempt"), counted(len(g.tasks), "task"), len(run.Status.Failures))
		causes = append(causes, cause)
	}
	return causes
}

func counted(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
