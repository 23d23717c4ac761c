package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The API server does not tell in its metrics who sent a request, but to which FlowSchema it belongs; and a FlowSchema
// is chosen by user, verb and resource. So each party whose requests are counted gets FlowSchemas of its own, one a
// verb, with the priority level that its requests have anyway.

// Those whose requests are told apart.
const (
	partyOperator   = "operator"
	partyBench      = "bench"
	partyControl    = "controller-manager"
	partyScheduler  = "scheduler"
	partyAll        = "all"
	anyResource     = "*"
	dispatchedTotal = "apiserver_flowcontrol_dispatched_requests_total"
	requestTotal    = "apiserver_request_total"
)

// Verbs as they are counted: read is get and list.
const (
	verbCreate = "create"
	verbUpdate = "update"
	verbPatch  = "patch"
	verbDelete = "delete"
	verbRead   = "read"
	verbWatch  = "watch"
)

var writeVerbs = []string{verbCreate, verbUpdate, verbPatch, verbDelete}

// apiVerbs are the verbs of the API that are counted as one.
var apiVerbs = map[string][]string{
	verbCreate: {"create"}, verbUpdate: {"update"}, verbPatch: {"patch"}, verbDelete: {"delete", "deletecollection"},
	verbRead: {"get", "list"}, verbWatch: {"watch"},
}

// countedVerbs are the verbs of apiserver_request_total.
var countedVerbs = map[string]string{
	"POST": verbCreate, "PUT": verbUpdate, "PATCH": verbPatch, "APPLY": verbPatch, "DELETE": verbDelete,
	"DELETECOLLECTION": verbDelete, "GET": verbRead, "LIST": verbRead, "WATCH": verbWatch,
}

// kindOf is a kind of requests: whose, what, and, where that is told apart, of what.
type kindOf struct{ party, verb, resource string }

// MarshalText makes it a key of JSON.
func (k kindOf) MarshalText() ([]byte, error) { //nolint:unparam // that is the interface
	return []byte(k.party + " " + k.verb + " " + k.resource), nil
}

// UnmarshalText is the opposite of MarshalText.
func (k *kindOf) UnmarshalText(text []byte) error {
	words := strings.Fields(string(text))
	if len(words) != 3 {
		return fmt.Errorf("%q is not party, verb and resource", text)
	}
	*k = kindOf{words[0], words[1], words[2]}
	return nil
}

// requests counts requests by kind.
type requests map[kindOf]float64

// sum adds up what a party asked for with these verbs.
func (r requests) sum(party string, verbs ...string) float64 {
	sum := 0.0
	for kind, n := range r {
		for _, verb := range verbs {
			if kind.party == party && kind.verb == verb {
				sum += n
			}
		}
	}
	return sum
}

// since is what was added to an earlier count.
func (r requests) since(before requests) requests {
	added := requests{}
	for kind, n := range r {
		if n != before[kind] {
			added[kind] = n - before[kind]
		}
	}
	return added
}

// party is somebody whose requests are counted apart.
type party struct {
	subjects []flowcontrolv1.Subject
	// level and distinguisher are those of the FlowSchema that Kubernetes has for it.
	level         string
	distinguisher flowcontrolv1.FlowDistinguisherMethodType
}

func account(ns, name string) flowcontrolv1.Subject {
	return flowcontrolv1.Subject{Kind: flowcontrolv1.SubjectKindServiceAccount,
		ServiceAccount: &flowcontrolv1.ServiceAccountSubject{Namespace: ns, Name: name}}
}

func user(name string) flowcontrolv1.Subject {
	return flowcontrolv1.Subject{Kind: flowcontrolv1.SubjectKindUser, User: &flowcontrolv1.UserSubject{Name: name}}
}

var parties = map[string]party{
	partyOperator: {[]flowcontrolv1.Subject{account(operatorNamespace, operatorAccount)},
		"workload-low", flowcontrolv1.FlowDistinguisherMethodByUserType},
	partyBench: {[]flowcontrolv1.Subject{account(namespace, serviceAccount)},
		"workload-low", flowcontrolv1.FlowDistinguisherMethodByUserType},
	partyControl: {[]flowcontrolv1.Subject{user("system:kube-controller-manager"), account("kube-system", "*")},
		"workload-high", flowcontrolv1.FlowDistinguisherMethodByNamespaceType},
	partyScheduler: {[]flowcontrolv1.Subject{user("system:kube-scheduler")},
		"workload-high", flowcontrolv1.FlowDistinguisherMethodByNamespaceType},
}

// operatorResources are what the operator's writes are told apart by.
var operatorResources = map[string][]string{
	verbCreate: {"jobs", "events", "controllerrevisions"},
	verbPatch:  {"jobs", "events", "batchruns/status"},
	verbDelete: {"jobs", "pods", "batchruns"},
}

// schemas maps the names of the FlowSchemas to what they count.
func schemas() map[string]kindOf {
	all := map[string]kindOf{}
	add := func(kind kindOf) {
		name := strings.Join([]string{"bench", kind.party, kind.verb, strings.ReplaceAll(kind.resource, "/", "-")}, "-")
		all[strings.TrimSuffix(name, "-"+anyResource)] = kind
	}
	for name := range parties {
		for verb := range apiVerbs {
			add(kindOf{name, verb, anyResource})
		}
	}
	for verb, resources := range operatorResources {
		for _, resource := range resources {
			add(kindOf{partyOperator, verb, resource})
		}
	}
	return all
}

func flowSchema(name string, kind kindOf) *flowcontrolv1.FlowSchema {
	who := parties[kind.party]
	// Before all of Kubernetes' own but "exempt"; one resource goes before all resources.
	precedence := int32(10)
	if kind.resource == anyResource {
		precedence++
	}
	return &flowcontrolv1.FlowSchema{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: flowcontrolv1.FlowSchemaSpec{
			MatchingPrecedence:         precedence,
			PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: who.level},
			DistinguisherMethod:        &flowcontrolv1.FlowDistinguisherMethod{Type: who.distinguisher},
			Rules: []flowcontrolv1.PolicyRulesWithSubjects{{
				Subjects: who.subjects,
				ResourceRules: []flowcontrolv1.ResourcePolicyRule{{
					Verbs: apiVerbs[kind.verb], APIGroups: []string{flowcontrolv1.APIGroupAll}, Resources: []string{kind.resource},
					ClusterScope: true, Namespaces: []string{flowcontrolv1.NamespaceEvery},
				}},
			}},
		},
	}
}

// installSchemas creates the FlowSchemas and waits until the API server goes by them.
func installSchemas(ctx context.Context, admin client.Client) error {
	all := schemas()
	for name, kind := range all {
		if err := admin.Create(ctx, flowSchema(name, kind)); err != nil {
			return fmt.Errorf("creating FlowSchema %s: %w", name, err)
		}
	}
	err := wait.PollUntilContextTimeout(ctx, time.Second, time.Minute, true, func(ctx context.Context) (bool, error) {
		list := &flowcontrolv1.FlowSchemaList{}
		if err := admin.List(ctx, list); err != nil {
			return false, err
		}
		taken := 0
		for _, schema := range list.Items {
			if _, ours := all[schema.Name]; ours && len(schema.Status.Conditions) > 0 {
				taken++
			}
		}
		return taken == len(all), nil
	})
	if err != nil {
		return fmt.Errorf("waiting for the FlowSchemas: %w", err)
	}
	return nil
}

// readRequests reads off the API server's metrics what it was asked for since it started.
func readRequests(ctx context.Context, config *rest.Config) (requests, error) {
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(config.Host, "/")+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := httpClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("reading the API server's metrics: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, errors.New("reading the API server's metrics: " + response.Status)
	}
	return parseRequests(response.Body)
}

// parseRequests reads the counts off the text of the metrics.
func parseRequests(text io.Reader) (requests, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(text)
	if err != nil {
		return nil, fmt.Errorf("parsing the API server's metrics: %w", err)
	}
	counted := requests{}
	ours := schemas()
	for _, metric := range families[dispatchedTotal].GetMetric() {
		if kind, ok := ours[labels(metric)["flow_schema"]]; ok {
			counted[kind] += metric.GetCounter().GetValue()
		}
	}
	for _, metric := range families[requestTotal].GetMetric() {
		if verb, ok := countedVerbs[labels(metric)["verb"]]; ok {
			counted[kindOf{partyAll, verb, anyResource}] += metric.GetCounter().GetValue()
		}
	}
	if len(counted) == 0 {
		return nil, errors.New("the API server's metrics have no counts of requests")
	}
	return counted, nil
}

func labels(metric *dto.Metric) map[string]string {
	all := map[string]string{}
	for _, label := range metric.GetLabel() {
		all[label.GetName()] = label.GetValue()
	}
	return all
}
