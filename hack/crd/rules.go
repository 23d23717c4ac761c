package main

import apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

// The validation rules for fields that cannot carry markers: the object's name and those of the embedded pod template.
var (
	shortName = apiextensionsv1.ValidationRule{
		Rule: `self.size() <= 52`,
		Message: "must be at most 52 characters: the names of the run's Jobs and pods append a wave and a task index to it. " +
			"Choose a shorter name",
	}
	hostName = apiextensionsv1.ValidationRule{
		Rule: `self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')`,
		Message: "must consist of lower case letters, digits and '-', and start and end with a letter or digit: it becomes " +
			"part of the pods' host names. Choose a name without '.'",
	}
	restartNever = apiextensionsv1.ValidationRule{
		Rule: `self == 'Never'`,
		Message: "must be Never: the run retries with a new pod, so that the reason of each failure can be read and " +
			"kept. Remove the field or set it to Never",
	}
	operatorLabels = apiextensionsv1.ValidationRule{
		Rule: `!['controller-uid', 'job-name', 'batch.kubernetes.io/controller-uid', 'batch.kubernetes.io/job-name', ` +
			`'batchrun.io/run', 'batchrun.io/run-uid', 'batchrun.io/wave'].exists(key, key in self)`,
		Message: "must not have controller-uid or job-name, with or without batch.kubernetes.io/ in front, batchrun.io/run, " +
			"batchrun.io/run-uid or batchrun.io/wave: " +
			"the Job controller and the operator set them. Remove these labels",
	}
	operatorAnnotation = apiextensionsv1.ValidationRule{
		Rule:    `!('batchrun.io/parameters' in self)`,
		Message: "must not have batchrun.io/parameters: the operator sets it, from spec.parameters. Remove this annotation",
	}
	operatorGate = apiextensionsv1.ValidationRule{
		Rule:    `self != 'batchrun.io/parameters'`,
		Message: "must not be batchrun.io/parameters: the operator sets that gate and takes it away. Remove this scheduling gate",
	}
	distinctContainers = apiextensionsv1.ValidationRule{
		Rule: `!has(self.initContainers) || ` +
			`self.initContainers.all(i, !self.containers.exists(c, c.name == i.name))`,
		Message:   "an init container must not have the name of a container: rename one of them",
		FieldPath: ".initContainers",
	}
	knownVolumes = apiextensionsv1.ValidationRule{
		Rule: `[has(self.volumes) ? self.volumes.map(v, v.name) : []].all(names, ` +
			`self.containers.all(c, !has(c.volumeMounts) || c.volumeMounts.all(m, m.name in names)))`,
		Message: "the name of each of a container's volumeMounts must be the name of one of " +
			"spec.template.spec.volumes: add the volume or correct the name",
		FieldPath: ".containers",
	}
	knownInitVolumes = apiextensionsv1.ValidationRule{
		Rule: `!has(self.initContainers) || [has(self.volumes) ? self.volumes.map(v, v.name) : []].all(names, ` +
			`self.initContainers.all(c, !has(c.volumeMounts) || c.volumeMounts.all(m, m.name in names)))`,
		Message: "the name of each of an init container's volumeMounts must be the name of one of " +
			"spec.template.spec.volumes: add the volume or correct the name",
		FieldPath: ".initContainers",
	}
	taskIndexOnly = apiextensionsv1.ValidationRule{
		Rule: `!(self in ["metadata.annotations['batch.kubernetes.io/job-completion-index']", ` +
			`"metadata.labels['batch.kubernetes.io/job-completion-index']"])`,
		Message: "must not refer to batch.kubernetes.io/job-completion-index, which is a position in one of the run's " +
			"Jobs and changes with each retry. Remove it and use $BATCHRUN_TASK_INDEX, or $(BATCHRUN_TASK_INDEX) in " +
			"command and args",
	}
	requestsWithinLimits = apiextensionsv1.ValidationRule{
		Rule: `!has(self.limits) || !has(self.requests) || self.requests.all(key, !(key in self.limits) || ` +
			`quantity(string(self.requests[key])).compareTo(quantity(string(self.limits[key]))) <= 0)`,
		Message:   "must not be above the limits: raise the limit or lower the request",
		FieldPath: ".requests",
	}
	notNegative = apiextensionsv1.ValidationRule{
		Rule:    `!string(self).startsWith('-')`,
		Message: "must not be negative",
	}
)
