package main

import (
	"fmt"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/utils/ptr"
)

// Bounds that no real pod reaches: the API server refuses validation rules whose cost it cannot bound.
const (
	maxContainers   = 64
	maxVolumes      = 256
	maxSources      = 32 // of a projected volume
	maxFiles        = 32 // of a downwardAPI volume or source
	maxMounts       = 256
	maxEnv          = 1000
	maxResources    = 32
	maxLabels       = 256
	maxQuantityLen  = 64
	maxFieldPathLen = 512
	maxLabelLen     = 63
	maxGates        = 64
)

const (
	dns1123Label = `^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	labelValue   = `^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$`
)

type schema = apiextensionsv1.JSONSchemaProps

// A change edits the schema at a path below the root, where [] stands for the items of a list and {} for the values
// of a map.
type change struct {
	path string
	edit func(*schema)
}

// finish adds what markers cannot express. It makes the schema of spec.template small enough for client-side apply,
// free of defaults (the object in the cluster stays what the user wrote), and as strict as the API server is with a
// Job's template, where that is cheap.
func finish(root *schema) error {
	changes := []change{
		{"metadata", restrictName},
		{"spec.maxFailedTasks", maxLength(maxQuantityLen)},
		{"spec.retryPolicy.rules.[].memory.max", maxLength(maxQuantityLen)},
		{"spec.template", require("spec")},
		{"spec.template.metadata", explainedByJob("metadata")},
		{"spec.template.metadata", allowNullCreationTimestamp},
		{"spec.template.metadata.labels", maxProperties(maxLabels)},
		{"spec.template.metadata.labels.{}", name(labelValue)},
		{"spec.template.metadata.labels", rule(operatorLabels)},
		{"spec.template.metadata.annotations", rule(operatorAnnotation)},
		{"spec.template.spec.schedulingGates", maxItems(maxGates)},
		{"spec.template.spec.schedulingGates.[].name", rule(operatorGate)},
		{"spec.template.spec", explainedByJob("spec")},
		{"spec.template.spec", rule(distinctContainers)},
		{"spec.template.spec", rule(knownVolumes)},
		{"spec.template.spec", rule(knownInitVolumes)},
		{"spec.template.spec.restartPolicy", rule(restartNever)},
		{"spec.template.spec.activeDeadlineSeconds", between(1, 1<<31-1)},
		{"spec.template.spec.terminationGracePeriodSeconds", between(0, 1<<31-1)},
		{"spec.template.spec.volumes", maxItems(maxVolumes)},
		{"spec.template.spec.volumes.[].name", name(dns1123Label)},
		{"spec.template.spec.volumes.[].projected.sources", maxItems(maxSources)},
		{"spec.template.spec.containers", minItems(1)},
		{"spec.template.spec.ephemeralContainers", forbidden},
	}
	for _, files := range []string{"downwardAPI", "projected.sources.[].downwardAPI"} {
		items := "spec.template.spec.volumes.[]." + files + ".items"
		changes = append(changes, change{items, maxItems(maxFiles)}, change{items + ".[].fieldRef.fieldPath", maxLength(maxFieldPathLen)},
			change{items + ".[].fieldRef.fieldPath", rule(taskIndexOnly)})
	}
	for _, list := range []string{"spec.template.spec.containers", "spec.template.spec.initContainers"} {
		changes = append(changes, containerChanges(list)...)
	}
	changes = append(changes, parameterChanges()...)
	for _, c := range changes {
		if !editAt(root, strings.Split(c.path, "."), c.edit) {
			return fmt.Errorf("the schema has no %s", c.path)
		}
	}
	unwrap(root)
	return nil
}

func containerChanges(list string) []change {
	container := list + ".[]"
	changes := []change{
		{list, maxItems(maxContainers)},
		{container, require("image")},
		{container + ".image", minLength(1)},
		{container + ".name", name(dns1123Label)},
		{container + ".volumeMounts", maxItems(maxMounts)},
		{container + ".volumeMounts.[].name", name(dns1123Label)},
		{container + ".env", maxItems(maxEnv)},
		{container + ".env.[].valueFrom.fieldRef.fieldPath", maxLength(maxFieldPathLen)},
		{container + ".env.[].valueFrom.fieldRef.fieldPath", rule(taskIndexOnly)},
		{container + ".resources", rule(requestsWithinLimits)},
	}
	for _, amounts := range []string{container + ".resources.limits", container + ".resources.requests"} {
		changes = append(changes,
			change{amounts, maxProperties(maxResources)},
			change{amounts + ".{}", maxLength(maxQuantityLen)},
			change{amounts + ".{}", rule(notNegative)},
		)
	}
	return changes
}

// editAt reports whether there is a schema at path.
func editAt(s *schema, path []string, edit func(*schema)) bool {
	if len(path) == 0 {
		edit(s)
		return true
	}
	switch path[0] {
	case "[]":
		return s.Items != nil && s.Items.Schema != nil && editAt(s.Items.Schema, path[1:], edit)
	case "{}":
		return s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil &&
			editAt(s.AdditionalProperties.Schema, path[1:], edit)
	}
	property, found := s.Properties[path[0]]
	found = found && editAt(&property, path[1:], edit)
	if found {
		s.Properties[path[0]] = property
	}
	return found
}

func maxItems(n int64) func(*schema)      { return func(s *schema) { s.MaxItems = ptr.To(n) } }
func minItems(n int64) func(*schema)      { return func(s *schema) { s.MinItems = ptr.To(n) } }
func maxLength(n int64) func(*schema)     { return func(s *schema) { s.MaxLength = ptr.To(n) } }
func minLength(n int64) func(*schema)     { return func(s *schema) { s.MinLength = ptr.To(n) } }
func maxProperties(n int64) func(*schema) { return func(s *schema) { s.MaxProperties = ptr.To(n) } }

func pattern(text string) func(*schema) { return func(s *schema) { s.Pattern = text } }

func between(low, high float64) func(*schema) {
	return func(s *schema) { s.Minimum, s.Maximum = ptr.To(low), ptr.To(high) }
}

func name(pattern string) func(*schema) {
	return func(s *schema) { s.MaxLength, s.Pattern = ptr.To[int64](maxLabelLen), pattern }
}

func require(property string) func(*schema) {
	return func(s *schema) { s.Required = append(s.Required, property) }
}

func rule(r apiextensionsv1.ValidationRule) func(*schema) {
	return func(s *schema) { s.XValidations = append(s.XValidations, r) }
}

// restrictName gives the name a schema: the API server adds the rest of the metadata.
func restrictName(s *schema) {
	s.Properties = map[string]schema{
		"name": {Type: "string", XValidations: apiextensionsv1.ValidationRules{shortName, hostName}},
	}
}

// forbidden leaves no room in a list that a pod has and a template must not have.
func forbidden(s *schema) {
	s.MaxItems = ptr.To[int64](0)
	s.XListType, s.XListMapKeys = ptr.To("atomic"), nil
	s.Items.Schema = &schema{Type: "object"}
}

// allowNullCreationTimestamp takes what kubectl create --dry-run wrote for many years.
func allowNullCreationTimestamp(s *schema) {
	s.Properties["creationTimestamp"] = schema{Type: "string", Format: "date-time", Nullable: true}
}

func explainedByJob(part string) func(*schema) {
	return func(s *schema) {
		plain(s)
		s.Description = "As in a Job: see kubectl explain job.spec.template." + part
	}
}

// unwrap takes the line breaks of the source out of the descriptions, so that kubectl explain can set its own.
func unwrap(s *schema) {
	s.Description = strings.ReplaceAll(s.Description, "\n", " ")
	if s.Items != nil && s.Items.Schema != nil {
		unwrap(s.Items.Schema)
	}
	for key, property := range s.Properties {
		unwrap(&property)
		s.Properties[key] = property
	}
}

// plain drops the descriptions and defaults of s and below. A list whose map key has a default becomes atomic: the API
// server wants such a key to be required or to have a default.
func plain(s *schema) {
	if s.Items != nil && s.Items.Schema != nil {
		for _, key := range s.XListMapKeys {
			if s.Items.Schema.Properties[key].Default != nil {
				s.XListType, s.XListMapKeys = ptr.To("atomic"), nil
				break
			}
		}
		plain(s.Items.Schema)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		plain(s.AdditionalProperties.Schema)
	}
	for key, property := range s.Properties {
		plain(&property)
		s.Properties[key] = property
	}
	s.Description, s.Default = "", nil
}
