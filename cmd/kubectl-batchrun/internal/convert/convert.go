// Package convert turns the YAML of a batch/v1 Job into that of a BatchRun. It keeps the order of the fields and the
// comments, and writes a comment where it changed something.
package convert

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	yaml "go.yaml.in/yaml/v3"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/manifest"
)

// Result is what became of a document.
type Result struct {
	// Text is the YAML to go on with.
	Text []byte
	// Converted is false where the document stayed what it was.
	Converted bool
	// Run is true where the text is that of a BatchRun.
	Run bool
	// Note tells of what is not to be seen in the text; "" where there is nothing to tell.
	Note string
}

// ErrNoJob is the error for a Job or CronJob that cannot be converted.
var ErrNoJob = errors.New("cannot be converted")

// Document converts a document that holds a Job or a CronJob. Every other one stays as it is.
func Document(d *manifest.Document) (Result, error) {
	if d.Err != nil {
		return Result{}, d.Err
	}
	unchanged := Result{Text: d.Text}
	switch apiVersion, kind := d.APIVersion(), d.Kind(); {
	case kind == "BatchRun":
		unchanged.Run = true
		return unchanged, nil
	case apiVersion != "batch/v1" || kind != "Job" && kind != "CronJob":
		unchanged.Note = fmt.Sprintf("%s %s stays as it is: only a batch/v1 Job or CronJob becomes a BatchRun", kind, d.Name())
		return unchanged, nil
	}
	root := &object{d.Node}
	note := ""
	if d.Kind() == "CronJob" {
		schedule := root.get("spec").get("schedule").text()
		if err := unwrapCronJob(root); err != nil {
			return Result{}, err
		}
		note = fmt.Sprintf("CronJob %s: its schedule %q is left out: a BatchRun runs once, when it is created", d.Name(), schedule)
	}
	if err := convertJob(root); err != nil {
		return Result{}, err
	}
	text, err := encode(d.Node)
	return Result{Text: text, Converted: true, Run: true, Note: note}, err
}

func encode(node *yaml.Node) ([]byte, error) {
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	encoder.CompactSeqIndent()
	if err := encoder.Encode(node); err != nil {
		return nil, err
	}
	err := encoder.Close()
	return out.Bytes(), err
}

// unwrapCronJob puts the Job that a CronJob creates in its place.
func unwrapCronJob(root *object) error {
	spec := root.get("spec").get("jobTemplate").get("spec")
	if spec == nil {
		return fmt.Errorf("CronJob %w: it has no spec.jobTemplate.spec", ErrNoJob)
	}
	if labels := root.get("spec").get("jobTemplate").get("metadata").get("labels"); labels != nil {
		if metadata := root.get("metadata"); metadata != nil && metadata.get("labels") == nil {
			metadata.append("labels", labels.node, "")
		}
	}
	root.set("spec", spec.node)
	return nil
}

// serverFields are what the API server writes into metadata, as kubectl get -o yaml shows it.
var serverFields = []string{
	"creationTimestamp", "generation", "managedFields", "ownerReferences", "resourceVersion", "selfLink", "uid",
}

// controllerLabels are what the Job controller writes into the labels of a Job's pod template.
var controllerLabels = []string{
	"controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name",
}

func convertJob(root *object) error {
	spec := root.get("spec")
	if spec == nil || spec.get("template").get("spec") == nil {
		return fmt.Errorf("Job %w: it has no spec.template.spec", ErrNoJob)
	}
	root.get("apiVersion").setText(v1alpha1.GroupVersion.String())
	root.get("kind").setText("BatchRun")
	root.remove("status", "")
	if metadata := root.get("metadata"); metadata != nil {
		for _, field := range serverFields {
			metadata.remove(field, "")
		}
		metadata.get("labels").removeAll(controllerLabels)
		metadata.dropEmpty("labels")
		metadata.get("annotations").removeAll([]string{"batch.kubernetes.io/job-tracking",
			"kubectl.kubernetes.io/last-applied-configuration"})
		metadata.dropEmpty("annotations")
	}
	convertSpec(spec)
	template := spec.get("template")
	if metadata := template.get("metadata"); metadata != nil {
		metadata.remove("creationTimestamp", "")
		metadata.get("labels").removeAll(controllerLabels)
		metadata.dropEmpty("labels")
	}
	template.dropEmpty("metadata")
	convertPod(template.get("spec"))
	return nil
}

// convertSpec changes the fields of a Job's spec, but for the template.
func convertSpec(spec *object) {
	convertCounts(spec)
	convertFailures(spec)
	if mode := spec.get("completionMode"); mode != nil && mode.text() != "Indexed" {
		spec.remove("completionMode", "completionMode: each task of a BatchRun has an index, as with Indexed")
	}
	if spec.get("ttlSecondsAfterFinished") != nil {
		spec.comment("ttlSecondsAfterFinished", "deletes the Jobs and pods; the BatchRun and its record stay")
	}
	spec.remove("podReplacementPolicy", "podReplacementPolicy: a task's next pod starts when its last one has ended")
	spec.remove("selector", "selector: the operator selects the pods")
	spec.remove("manualSelector", "manualSelector: the operator selects the pods")
	spec.remove("managedBy", "managedBy: the BatchRun operator runs it")
	spec.remove("successPolicy", "successPolicy: there is none, a run succeeds when every task did")
}

// convertCounts changes what says how many tasks there are and how many run at once.
func convertCounts(spec *object) {
	completions, parallelism := spec.get("completions"), spec.get("parallelism")
	many := completions != nil && completions.text() != "1"
	switch n, _ := strconv.Atoi(parallelism.text()); {
	case parallelism == nil && many:
		spec.insertBehind("completions", "parallelism", "1", "a Job's default; a BatchRun without it runs all tasks at once")
	case parallelism != nil && n == 0:
		spec.remove("parallelism", "")
		if spec.get("suspend") != nil {
			spec.get("suspend").setText("true")
			spec.comment("suspend", "was parallelism: 0")
		} else {
			spec.prepend("suspend", "true", "was parallelism: 0")
		}
	case parallelism != nil && completions == nil && n > 1:
		spec.insertBehind("parallelism", "completions", parallelism.text(),
			"a task for each worker; a Job without completions is a work queue, which is done once a worker succeeded")
	}
}

// convertFailures changes what says what happens when something fails.
func convertFailures(spec *object) {
	if spec.get("backoffLimitPerIndex") != nil {
		spec.remove("backoffLimit", "backoffLimit: there is no limit for all tasks together")
		spec.rename("backoffLimitPerIndex", "backoffLimit", "was backoffLimitPerIndex")
	} else if spec.get("backoffLimit") != nil {
		spec.comment("backoffLimit", "for each task, not for all together")
	}
	const most = 100
	if n, err := strconv.Atoi(spec.get("backoffLimit").text()); err == nil && n > most {
		spec.get("backoffLimit").setText(strconv.Itoa(most))
		spec.comment("backoffLimit", fmt.Sprintf("was %d, more than there can be", n))
	}
	spec.rename("maxFailedIndexes", "maxFailedTasks", "was maxFailedIndexes")
	convertFailurePolicy(spec)
}
