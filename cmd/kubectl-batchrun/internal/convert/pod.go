package convert

import (
	"strings"

	yaml "go.yaml.in/yaml/v3"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// completionIndex is what a container of an Indexed Job may refer to; in a BatchRun it is only a position in one of the
// run's Jobs.
const completionIndex = "batch.kubernetes.io/job-completion-index"

// convertPod changes the spec of the pod template.
func convertPod(pod *object) {
	if policy := pod.get("restartPolicy"); policy != nil && policy.text() != "Never" {
		was := policy.text()
		policy.setText("Never")
		pod.comment("restartPolicy", "was "+was+": the run retries with a new pod")
	}
	for _, list := range []string{"initContainers", "containers"} {
		for _, container := range pod.get(list).items() {
			convertContainer(container)
		}
	}
}

func convertContainer(container *object) {
	for _, variable := range container.get("env").items() {
		path := variable.get("valueFrom").get("fieldRef").get("fieldPath").text()
		if strings.Contains(path, completionIndex) {
			variable.remove("valueFrom", "")
			value := scalar("$(" + v1alpha1.EnvTaskIndex + ")")
			variable.append("value", value, "was a fieldRef to the completion index: the index of the task")
		}
	}
	resources := container.get("resources")
	for _, list := range []string{"limits", "requests"} {
		quoteFractions(resources.get(list))
	}
}

// quoteFractions puts amounts such as 0.5 into quotes: the API server takes a whole number or a text.
func quoteFractions(amounts *object) {
	if amounts == nil || amounts.node.Kind != yaml.MappingNode {
		return
	}
	for i := 1; i < len(amounts.node.Content); i += 2 {
		if amount := amounts.node.Content[i]; amount.Kind == yaml.ScalarNode && amount.ShortTag() == "!!float" {
			amount.Tag, amount.Style = "!!str", yaml.DoubleQuotedStyle
			if amounts.node.Style&yaml.FlowStyle == 0 {
				note(amounts.node.Content[i-1], amount, "needs quotes")
			}
		}
	}
}
