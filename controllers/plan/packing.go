package plan

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// Packing says whether tasks can go out many to a Job: whether the cluster gives each pod the parameters of its task.
type Packing struct {
	// OK is true when it does.
	OK bool
	// Reason is the reason of the condition Packed.
	Reason string
	// Message says what is missing, and the fix.
	Message string
}

// distrust is for how long a run goes on without a policy that turned out not to work.
const distrust = 10 * time.Minute

// packing is the way in which waves of several tasks go out. Once the policy turned out not to work for a run, the run
// goes on without it for a while, or until it is opened again.
func (p *planner) packing() Packing {
	c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionPacked)
	if c != nil && c.Reason == v1alpha1.PackedPolicyIneffective && p.now.Before(c.LastTransitionTime.Add(distrust)) {
		return Packing{Reason: c.Reason, Message: c.Message}
	}
	return p.Packing
}

// tellPacking sets the condition Packed.
func (p *planner) tellPacking(packing Packing) {
	p.setCondition(v1alpha1.ConditionPacked, packing.OK, packing.Reason, packing.Message)
}

// keepPacking has the condition Packed, where there is one, speak of the present generation.
func (p *planner) keepPacking() {
	if c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionPacked); c != nil {
		c.ObservedGeneration = p.Run.Generation
	}
}

// undeliver puts tasks back whose pods did not get their index and parameters, so that they never ran. Nothing is
// counted. Their pods are taken away once that is recorded.
func (p *planner) undeliver(w *Wave) {
	var without []int
	for _, pod := range w.Pods {
		if pod.Gated && !pod.Ended {
			without = append(without, pod.Task)
		}
	}
	if w.Refused && w.Active == 0 {
		without = slices.AppendSeq(without, w.unfinished().All())
	}
	found := false
	for _, task := range without {
		if p.carriedBy(w, task) {
			p.putBack(task)
			found = true
		}
	}
	if found && p.Packing.OK {
		message := fmt.Sprintf("pods of Job %s were created or refused without their parameters although the policy %s is "+
			"there; each task has a Job of its own for the next %s", w.Name, v1alpha1.PolicyParameters, distrust)
		p.tellPacking(Packing{Reason: v1alpha1.PackedPolicyIneffective, Message: message})
		p.event(true, v1alpha1.PackedPolicyIneffective, message)
	}
}
