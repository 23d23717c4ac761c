package convert

import (
	"strings"

	yaml "go.yaml.in/yaml/v3"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// actions are those of a podFailurePolicy, and what they are called in a retryPolicy.
var actions = map[string]v1alpha1.RetryAction{
	"FailJob":   v1alpha1.ActionFailRun,
	"FailIndex": v1alpha1.ActionFailTask,
	"Ignore":    v1alpha1.ActionIgnore,
	"Count":     v1alpha1.ActionCount,
}

// disruptions are the reasons that pods with the condition DisruptionTarget have.
const disruptions = "[Evicted, Preempted, NodeLost]"

// convertFailurePolicy turns podFailurePolicy into retryPolicy, as far as there are rules for it.
func convertFailurePolicy(spec *object) {
	policy := spec.get("podFailurePolicy")
	if policy == nil {
		return
	}
	var rules []*yaml.Node
	var left []string
	for _, rule := range policy.get("rules").items() {
		converted, reason := convertRule(rule)
		if converted != nil {
			rules = append(rules, converted)
		}
		if reason != "" {
			left = append(left, reason)
		}
	}
	if len(rules) == 0 {
		spec.remove("podFailurePolicy", "podFailurePolicy: "+strings.Join(left, "; "))
		return
	}
	list := policy.get("rules").node
	list.Content = rules
	policy.node.Content = []*yaml.Node{scalar("rules"), list}
	spec.rename("podFailurePolicy", "retryPolicy", "was podFailurePolicy")
	for _, reason := range left {
		spec.comment("retryPolicy", "left out: "+reason)
	}
}

// convertRule is a rule of a retryPolicy, nil where there is none to match; left says what was left out.
func convertRule(rule *object) (converted *yaml.Node, left string) {
	action, known := actions[rule.get("action").text()]
	if !known {
		return nil, "a rule with the action " + rule.get("action").text()
	}
	node := &yaml.Node{Kind: yaml.MappingNode, Style: rule.node.Style, HeadComment: rule.node.HeadComment,
		LineComment: rule.node.LineComment, FootComment: rule.node.FootComment}
	if key := rule.find("action"); key == 0 {
		node.HeadComment = lines(node.HeadComment, rule.node.Content[key].HeadComment)
	}
	if codes := rule.get("onExitCodes"); codes != nil {
		container := codes.get("containerName").text()
		codes.remove("containerName", "")
		(&object{node}).append("exitCodes", codes.node, "")
		(&object{node}).append("action", scalar(string(action)), "")
		if container != "" {
			left = "containerName " + container + ": a rule holds for the container that failed first"
		}
		return node, left
	}
	for _, condition := range rule.get("onPodConditions").items() {
		kind := condition.get("type").text()
		if kind != "DisruptionTarget" {
			return nil, "a rule for the pod condition " + kind
		}
	}
	if action == v1alpha1.ActionIgnore {
		return nil, "Ignore for DisruptionTarget is the default: a disruption does not count"
	}
	reasons := &yaml.Node{}
	if err := yaml.Unmarshal([]byte(disruptions), reasons); err != nil { // it is a constant
		panic(err)
	}
	(&object{node}).append("reasons", reasons.Content[0], "was the pod condition DisruptionTarget")
	(&object{node}).append("action", scalar(string(action)), "")
	return node, ""
}
