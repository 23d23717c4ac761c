package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// kwok plays the kubelets of the fake nodes. What becomes of their pods is said
// by Stage objects in the cluster, which tests may add to and change. It has a
// certificate that the API server trusts, so that asking it for a log is
// answered, if only by that it has none.
func (c *Cluster) kwok() service {
	return c.service("kwok",
		"--kubeconfig="+c.path("kubeconfig"), fmt.Sprintf("--server-address=127.0.0.1:%d", c.Ports.Fake),
		"--tls-cert-file="+c.cert("apiserver"), "--tls-private-key-file="+c.key("apiserver"),
		"--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
		"--enable-crds=Stage", "--node-ip=127.0.0.1", fmt.Sprintf("--node-port=%d", c.Ports.Fake),
		"--node-lease-duration-seconds=40", "--cidr="+c.Subnet)
}

// startFakeNodes starts kwok and waits until all the fake nodes are Ready.
func (c *Cluster) startFakeNodes(ctx context.Context) error {
	api, err := c.apiClient()
	if err != nil {
		return err
	}
	// Stages that are there already may have been changed by their user.
	err = api.get(ctx, "/apis/kwok.x-k8s.io/v1alpha1/stages/pod-ready", nil)
	if _, answered := errors.AsType[*statusError](err); answered {
		err = c.applyStages(ctx)
	}
	if err != nil {
		return err
	}
	if err := c.ensure(c.kwok()); err != nil {
		return err
	}
	for i := range c.Nodes {
		name := fmt.Sprintf("fake-%d", i)
		if err := api.apply(ctx, "/api/v1/nodes/"+name, fakeNode(name)); err != nil {
			return fmt.Errorf("make node %s: %w", name, err)
		}
	}
	return c.waitFor(ctx, "the fake nodes", "kwok", []string{"kwok"}, func() error {
		for i := range c.Nodes {
			var node nodeObject
			name := fmt.Sprintf("fake-%d", i)
			if err := api.get(ctx, "/api/v1/nodes/"+name, &node); err != nil {
				return err
			}
			if err := node.ready(); err != nil {
				return fmt.Errorf("node %s %w", name, err)
			}
		}
		return nil
	})
}

// applyStages installs kwok's own definition of a Stage and its quick stages,
// as they come with the pinned version.
func (c *Cluster) applyStages(ctx context.Context) error {
	download := exec.CommandContext(ctx, "go", "mod", "download", "-json", "sigs.k8s.io/kwok")
	download.Dir = filepath.Join(c.home, "parts", "kwok")
	download.Env = append(download.Environ(), "GOFLAGS=", "GOWORK=off")
	out, err := download.Output()
	var module struct{ Dir string }
	if err := errors.Join(err, json.Unmarshal(out, &module)); err != nil {
		return fmt.Errorf("find the sources of kwok: %w", err)
	}
	dir := filepath.Join(module.Dir, "kustomize")
	for _, args := range [][]string{
		{"apply", "--server-side", "-f", filepath.Join(dir, "crd", "bases", "kwok.x-k8s.io_stages.yaml")},
		{"wait", "--for=condition=Established", "--timeout=60s", "crd/stages.kwok.x-k8s.io"},
		{"apply", "--server-side", "-k", filepath.Join(dir, "stage", "fast")},
	} {
		cmd := exec.CommandContext(ctx, c.bin("kubectl"), append([]string{"--kubeconfig", c.path("kubeconfig")}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, lastLines(string(out), 5))
		}
	}
	return nil
}

// fakeNode is big, so that what a test waits for is never room on a node.
func fakeNode(name string) map[string]any {
	room := map[string]string{"cpu": "1000", "memory": "4Ti", "ephemeral-storage": "10Ti", "pods": "10000"}
	return map[string]any{
		"apiVersion": "v1",
		"kind":       "Node",
		"metadata": map[string]any{
			"name":        name,
			"annotations": map[string]string{"kwok.x-k8s.io/node": "fake"},
			"labels": map[string]string{
				"type": "kwok", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
			},
		},
		"status": map[string]any{"capacity": room, "allocatable": room},
	}
}
