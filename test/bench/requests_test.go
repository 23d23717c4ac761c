package main

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
)

const metricsText = `# HELP apiserver_flowcontrol_dispatched_requests_total [BETA] Number of requests executed
# TYPE apiserver_flowcontrol_dispatched_requests_total counter
apiserver_flowcontrol_dispatched_requests_total{flow_schema="bench-operator-create-jobs",priority_level="workload-low"} 3
apiserver_flowcontrol_dispatched_requests_total{flow_schema="bench-operator-create",priority_level="workload-low"} 1
apiserver_flowcontrol_dispatched_requests_total{flow_schema="bench-operator-patch-batchruns-status",priority_level="workload-low"} 5
apiserver_flowcontrol_dispatched_requests_total{flow_schema="bench-controller-manager-delete",priority_level="workload-high"} 7
apiserver_flowcontrol_dispatched_requests_total{flow_schema="exempt",priority_level="exempt"} 90
# HELP apiserver_request_total [STABLE] Counter of apiserver requests
# TYPE apiserver_request_total counter
apiserver_request_total{code="201",component="apiserver",resource="jobs",verb="POST"} 4
apiserver_request_total{code="409",component="apiserver",resource="jobs",verb="POST"} 1
apiserver_request_total{code="200",component="apiserver",resource="pods",verb="PATCH"} 10
apiserver_request_total{code="200",component="apiserver",resource="pods",verb="APPLY"} 1
apiserver_request_total{code="200",component="apiserver",resource="pods",verb="LIST"} 2
apiserver_request_total{code="200",component="apiserver",resource="pods",verb="CONNECT"} 2
# HELP process_cpu_seconds_total [STABLE] Total user and system CPU time spent in seconds.
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 12.5
`

func TestRequestsAreReadOffTheMetrics(t *testing.T) {
	got, err := parseRequests(strings.NewReader(metricsText))
	if err != nil {
		t.Fatal(err)
	}
	want := requests{
		{partyOperator, verbCreate, "jobs"}:            3,
		{partyOperator, verbCreate, anyResource}:       1,
		{partyOperator, verbPatch, "batchruns/status"}: 5,
		{partyControl, verbDelete, anyResource}:        7,
		{partyAll, verbCreate, anyResource}:            5,
		{partyAll, verbPatch, anyResource}:             11,
		{partyAll, verbRead, anyResource}:              2,
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if writes := got.sum(partyOperator, writeVerbs...); writes != 9 {
		t.Errorf("the operator wrote %v times, want 9", writes)
	}
}

func TestMetricsWithoutCountsAreAnError(t *testing.T) {
	for name, text := range map[string]string{"none": "", "others": "up 1\n", "no metrics": "<html>"} {
		if _, err := parseRequests(strings.NewReader(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestRequestsSinceAnEarlierCount(t *testing.T) {
	created, patched := kindOf{partyOperator, verbCreate, "jobs"}, kindOf{partyOperator, verbPatch, "jobs"}
	got := requests{created: 5, patched: 2}.since(requests{created: 3, patched: 2})
	if !maps.Equal(got, requests{created: 2}) {
		t.Errorf("got %v", got)
	}
}

func TestRequestsSurviveTheFileOfResults(t *testing.T) {
	want := requests{{partyOperator, verbPatch, "batchruns/status"}: 5, {partyAll, verbRead, anyResource}: 2}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got requests
	if err := json.Unmarshal(text, &got); err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v from %s", got, err, text)
	}
	if err := json.Unmarshal([]byte(`{"operator create": 1}`), &got); err == nil {
		t.Error("a key of two words is no error")
	}
}

func TestEachRequestHasItsFlowSchema(t *testing.T) {
	all := schemas()
	if want := len(parties)*len(apiVerbs) + 9; len(all) != want {
		t.Errorf("%d FlowSchemas, want %d: two of them have the same name", len(all), want)
	}
	for name, kind := range all {
		spec := flowSchema(name, kind).Spec
		if len(spec.Rules[0].ResourceRules[0].Verbs) == 0 || spec.PriorityLevelConfiguration.Name == "" {
			t.Errorf("%s: %+v", name, spec)
		}
		every := spec.Rules[0].ResourceRules[0].Resources[0] == flowcontrolv1.ResourceAll
		if one := spec.MatchingPrecedence == 10; one == every {
			t.Errorf("%s: one resource goes before all resources, but its precedence is %d", name, spec.MatchingPrecedence)
		}
	}
}
