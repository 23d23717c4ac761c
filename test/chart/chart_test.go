// Package chart compares what the Helm chart installs with what kustomize does.
package chart

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const (
	root  = "../.."
	chart = "config/chart"
)

// objects are manifests by kind and name.
type objects map[string]map[string]any

func read(t *testing.T, manifests []byte) objects {
	t.Helper()
	all := objects{}
	for document := range strings.SplitSeq("\n"+string(manifests), "\n---") {
		var object map[string]any
		if err := yaml.UnmarshalStrict([]byte(document), &object); err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		if object == nil { // comments
			continue
		}
		key := fmt.Sprintf("%s %s", object["kind"], object["metadata"].(map[string]any)["name"])
		if all[key] != nil {
			t.Errorf("%s is there twice", key)
		}
		all[key] = object
	}
	return all
}

// without returns the objects but those that are named, each of which has to be there.
func (o objects) without(t *testing.T, keys ...string) objects {
	t.Helper()
	for _, key := range keys {
		if o[key] == nil {
			t.Errorf("there is no %s", key)
		}
		delete(o, key)
	}
	return o
}

func kustomize(t *testing.T, folder string) objects {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(root, "config", folder))
	if err != nil {
		t.Fatal(err)
	}
	manifests, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return read(t, manifests)
}

func helm(t *testing.T, args ...string) ([]byte, error) {
	t.Helper()
	modfile, err := filepath.Abs(filepath.Join(root, "hack", "tools", "helm", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"tool", "-modfile=" + modfile, "helm"}, args...)...)
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, stderr.Bytes())
	}
	return out, err
}

func render(t *testing.T, namespace string, args ...string) objects {
	t.Helper()
	out, err := helm(t, append([]string{"template", "batchrun", chart, "--namespace", namespace}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, out)
}

func same(t *testing.T, got, want objects) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kustomize (-) and chart (+) differ:\n%s", diff)
	}
}

// crd is the chart's CRD as kustomize has it: without the annotation that keeps it, which has to be there.
func (o objects) crd(t *testing.T) {
	t.Helper()
	annotations := o[crdKey]["metadata"].(map[string]any)["annotations"].(map[string]any)
	if annotations["helm.sh/resource-policy"] != "keep" {
		t.Error("Helm would delete the CRD, and with it every BatchRun, when the release is uninstalled")
	}
	delete(annotations, "helm.sh/resource-policy")
}

const (
	crdKey       = "CustomResourceDefinition batchruns.batchrun.io"
	namespaceKey = "Namespace batchrun-system" // helm makes it with --create-namespace
)

func TestDefaults(t *testing.T) {
	rendered := render(t, "batchrun-system")
	rendered.crd(t)
	same(t, rendered, kustomize(t, "default").without(t, namespaceKey))
}

func TestKubernetes135(t *testing.T) {
	rendered := render(t, "batchrun-system", "--kube-version", "1.35.2")
	rendered.crd(t)
	same(t, rendered, kustomize(t, "compat").without(t, namespaceKey))
}

func TestNamespaced(t *testing.T) {
	rendered := render(t, "default", "--set", "namespaced=true")
	same(t, rendered, kustomize(t, "namespaced"))
	for key, object := range rendered {
		if object["metadata"].(map[string]any)["namespace"] != "default" {
			t.Errorf("%s is not in the namespace", key)
		}
	}
}

func TestArchiveValues(t *testing.T) {
	rendered := render(t, "elsewhere", "--set", "logArchive.url=gs://b,logArchive.secret=keys,logArchive.spoolBytes=8388608,logArchive.ports={9000}",
		"--set", "serviceAccount.annotations.role=r")
	if text := fmt.Sprint(rendered); !strings.Contains(text, "sizeLimit:9437184") || !strings.Contains(text, "port:9000") ||
		!strings.Contains(text, "annotations:map[role:r]") || !strings.Contains(text, "map[name:keys optional:false]") {
		t.Error(text)
	}
}

func TestPrometheus(t *testing.T) {
	rendered := render(t, "batchrun-system", "--set", "metrics.serviceMonitor=true,metrics.rules=true")
	for key, object := range kustomize(t, "prometheus") {
		if diff := cmp.Diff(object, rendered[key]); diff != "" {
			t.Errorf("%s: kustomize (-) and chart (+) differ:\n%s", key, diff)
		}
	}
}

// archive are the values of an archive of logs.
const archive = "logArchive.url=s3://batchrun-logs?region=eu-west-1"

func TestArchive(t *testing.T) {
	rendered := render(t, "batchrun-system", "--set", archive)
	rendered.crd(t)
	same(t, rendered, kustomize(t, "archive").without(t, namespaceKey))
}

// The API that serves the archive is one for the whole cluster.
func TestNamespacedArchiveHasNoAPI(t *testing.T) {
	rendered := render(t, "default", "--set", "namespaced=true", "--set", archive)
	plain := render(t, "default", "--set", "namespaced=true")
	for key := range rendered {
		if plain[key] == nil {
			t.Errorf("%s is there", key)
		}
	}
	if diff := cmp.Diff(render(t, "default", "--set", "logArchive.api.enabled=false", "--set", archive)["NetworkPolicy batchrun-operator"],
		render(t, "default")["NetworkPolicy batchrun-operator"]); diff != "" {
		t.Errorf("without the API its port is open:\n%s", diff)
	}
}

// Without everything optional, only what the operator cannot do without is left.
func TestLeast(t *testing.T) {
	rendered := render(t, "elsewhere", "--set",
		"crd.enabled=false,policy.enabled=false,userRoles.enabled=false,metrics.enabled=false,networkPolicy.enabled=false,podDisruptionBudget.enabled=false")
	rendered.without(t, "ServiceAccount batchrun-operator", "ClusterRole batchrun-operator", "ClusterRoleBinding batchrun-operator",
		"Role batchrun-leader-election", "RoleBinding batchrun-leader-election", "Deployment batchrun-operator")
	for key := range rendered {
		t.Errorf("%s is there", key)
	}
}

func TestDeploymentValues(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0", 64)
	deployment := render(t, "elsewhere",
		"--set", "image.digest="+digest, "--set", "replicas=3", "--set", "flags.max-parallelism=500,flags.leader-elect=false",
		"--set", "flags.health-probe-bind-address=127.0.0.1:9000", "--set-json", "flags.kube-api-qps=0.5",
		"--set", "podSpec.nodeSelector.disk=ssd,podSpec.securityContext.runAsUser=7", "--set", "env[0].name=A,env[0].value=b",
	)["Deployment batchrun-operator"]
	spec := deployment["spec"].(map[string]any)
	pod := spec["template"].(map[string]any)["spec"].(map[string]any)
	container := pod["containers"].([]any)[0].(map[string]any)
	for what, values := range map[string][2]any{
		"replicas": {spec["replicas"], 3.0},
		"image":    {container["image"], "ghcr.io/batchrun/batchrun@" + digest},
		"args": {container["args"], []any{"--health-probe-bind-address=127.0.0.1:9000", "--kube-api-qps=0.5", "--leader-elect=false",
			"--max-parallelism=500", "--metrics-bind-address=:8443"}},
		"port":            {container["ports"].([]any)[0].(map[string]any)["containerPort"], 9000.0},
		"env":             {container["env"], []any{map[string]any{"name": "A", "value": "b"}}},
		"nodeSelector":    {pod["nodeSelector"], map[string]any{"disk": "ssd"}},
		"securityContext": {pod["securityContext"], map[string]any{"runAsNonRoot": true, "runAsUser": 7.0, "seccompProfile": map[string]any{"type": "RuntimeDefault"}}},
	} {
		if diff := cmp.Diff(values[1], values[0]); diff != "" {
			t.Errorf("%s: wanted (-), got (+):\n%s", what, diff)
		}
	}
}

func TestSchemaRefuses(t *testing.T) {
	wrong := map[string]string{ // and what is said of it
		"replica=3":                             "'replica'",
		"flags.max-paralelism=1":                "'max-paralelism'",
		"flags.max-parallelism=0":               "'/flags/max-parallelism'",
		"flags.metrics-bind-address=off":        "'/flags/metrics-bind-address'",
		"image.digest=latest":                   "'/image/digest'",
		"podSpec.containers[0].name=x":          "'/podSpec/containers'",
		"networkPolicy.apiServerPorts[0]=70000": "'/networkPolicy/apiServerPorts/0'",
		"logArchive.url=ftp://logs":             "'/logArchive/url'",
		"namespaced=team-a":                     "'/namespaced'",
	}
	args := []string{"template", chart}
	for value := range wrong {
		args = append(args, "--set", value)
	}
	_, err := helm(t, args...)
	if err == nil {
		t.Fatal("nothing was refused")
	}
	for value, said := range wrong {
		if !strings.Contains(err.Error(), said) {
			t.Errorf("%s was not refused: %v", value, err)
		}
	}
}

func TestLint(t *testing.T) {
	if out, err := helm(t, "lint", "--strict", chart); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
