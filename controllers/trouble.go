package controllers

import (
	"context"
	"fmt"
	"regexp"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/plan"
)

// observeTrouble asks the cluster's Events why a wave that should have pods has none, or why a pod's containers are not
// created: a quota, a missing volume. No status tells these.
func (r *BatchRunReconciler) observeTrouble(ctx context.Context, run *v1alpha1.BatchRun, w *plan.Wave) error {
	now := r.Clock.Now()
	if w.Idle() && !now.Before(w.Created.Add(plan.IdleAfter)) {
		event, err := r.lastWarning(ctx, run.Namespace, fields.Set{"involvedObject.uid": string(w.UID), "reason": "FailedCreate"})
		if err != nil || event == nil {
			return err
		}
		// The name of the pod is another one each time.
		podName := regexp.MustCompile(regexp.QuoteMeta(w.Name) + `-\d+-[a-z0-9]{5}`)
		w.Trouble = plan.Trouble{Reason: v1alpha1.RunPodsNotCreated, Message: fmt.Sprintf(
			"the pods of Job %s cannot be created: %s", w.Name, podName.ReplaceAllString(event.Message, w.Name+"-…"))}
		return nil
	}
	if w.Starting.IsZero() || now.Before(w.Starting.Add(plan.IdleAfter)) {
		return nil
	}
	var oldest *corev1.Pod
	var oldestTask int
	if err := r.eachPod(ctx, run, w, podStarting, func(pod *corev1.Pod, task int) bool {
		oldest, oldestTask = pod, task
		return !pod.CreationTimestamp.Time.Equal(w.Starting)
	}); err != nil || oldest == nil {
		return err
	}
	event, err := r.lastWarning(ctx, run.Namespace, fields.Set{"involvedObject.uid": string(oldest.UID)})
	if err != nil || event == nil {
		return err
	}
	w.Trouble = plan.Trouble{Reason: v1alpha1.RunStartFailing,
		Message: fmt.Sprintf("task %d (pod %s): %s: %s", oldestTask, oldest.Name, event.Reason, event.Message)}
	return nil
}

// lastWarning is the latest Warning among the Events that the fields select; nil where there is none.
func (r *BatchRunReconciler) lastWarning(ctx context.Context, namespace string, selected fields.Set) (*corev1.Event, error) {
	selected["type"] = corev1.EventTypeWarning
	var list corev1.EventList
	if err := r.Live.List(ctx, &list, client.InNamespace(namespace), client.MatchingFieldsSelector{Selector: selected.AsSelector()}); err != nil {
		return nil, fmt.Errorf("looking up Events: %w", err)
	}
	var last *corev1.Event
	for i := range list.Items {
		if last == nil || eventTime(last).Before(eventTime(&list.Items[i])) {
			last = &list.Items[i]
		}
	}
	return last, nil
}

// eventTime is when an Event was last seen; which field tells depends on who wrote it.
func eventTime(event *corev1.Event) time.Time {
	latest := event.EventTime.Time
	for _, t := range []time.Time{event.LastTimestamp.Time, event.CreationTimestamp.Time} {
		if t.After(latest) {
			latest = t
		}
	}
	return latest
}
