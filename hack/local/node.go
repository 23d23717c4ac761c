package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
)

//go:embed config
var configFiles embed.FS

// nodeService is the first process of the node, see nodeinit.go. It is a copy of
// this command, as `go run` removes the one that is running now.
func (c *Cluster) nodeService() service {
	return service{
		name: "node",
		path: c.path("node", "init"),
		args: []string{"node-init", c.dir, fmt.Sprint(c.Ports.Registry)},
		attr: &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID},
	}
}

// startNode starts containerd and the kubelet and waits until the node is Ready.
func (c *Cluster) startNode(ctx context.Context) error {
	running, err := c.processes()
	if err != nil {
		return err
	}
	if len(running["node"]) == 0 {
		// Whatever a node that was killed left behind must not disturb the next.
		if err := c.kill(ctx, isNodePart); err != nil {
			return err
		}
		if err := removeCgroups(ctx, c.id()); err != nil {
			return err
		}
		if err := c.prepareNode(ctx); err != nil {
			return err
		}
		if err := c.start(c.nodeService()); err != nil {
			return err
		}
	}
	// That process keeps the others running.
	needed := []string{"node"}
	err = c.waitFor(ctx, "containerd", "containerd", needed, func() error { return c.containerdReady(ctx) })
	if err != nil {
		return err
	}
	if err := c.importPause(ctx); err != nil {
		return err
	}
	api, err := c.apiClient()
	if err != nil {
		return err
	}
	return c.waitFor(ctx, "the node", "kubelet", needed, func() error { return c.nodeReady(ctx, api) })
}

func isNodePart(part string) bool {
	return part == "node" || part == "containerd" || part == "kubelet"
}

// prepareNode writes everything that the node's processes read.
func (c *Cluster) prepareNode(ctx context.Context) error {
	if err := makeCgroups(c.id()); err != nil {
		return err
	}
	if err := copySelf(c.path("node", "init")); err != nil {
		return err
	}
	if err := buildPause(ctx, c.home); err != nil {
		return err
	}
	if err := c.writeRegistryConfig(ctx); err != nil {
		return err
	}
	snapshotter := "overlayfs"
	if err := c.tryOverlay(); err != nil {
		fmt.Fprintf(os.Stderr, "Images take more space than they could, as overlayfs does not work on %s: %v\n", c.dir, err)
		snapshotter = "native"
	}
	values := map[string]any{
		"Dir": c.dir, "BinDir": binDir(c.home), "Group": c.id(), "Subnet": c.Subnet,
		"KubeletPort": c.Ports.Kubelet, "Snapshotter": snapshotter, "PauseImage": pauseImage,
	}
	for file, to := range map[string]string{
		"containerd.toml": "containerd.toml",
		"kubelet.yaml":    "kubelet.yaml",
		"cni.conflist":    "cni/10-ptp.conflist",
	} {
		t, err := template.ParseFS(configFiles, "config/"+file)
		if err != nil {
			return err
		}
		var out bytes.Buffer
		if err := t.Execute(&out, values); err != nil {
			return err
		}
		if err := writeFile(c.path("node", to), out.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func copySelf(to string) error {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	tmp := to + ".tmp"
	out, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, self); err != nil {
		return errors.Join(err, out.Close())
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Rename(tmp, to)
}

// tryOverlay finds out whether overlayfs works on the cluster's folder; inside
// a container it often does not.
func (c *Cluster) tryOverlay() error {
	dir := c.path("node", "overlay-test")
	defer os.RemoveAll(dir)
	var options []string
	for _, name := range []string{"lowerdir", "upperdir", "workdir"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return err
		}
		options = append(options, name+"="+filepath.Join(dir, name))
	}
	target := filepath.Join(dir, "target")
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("overlay", target, "overlay", 0, strings.Join(options, ",")); err != nil {
		return err
	}
	return syscall.Unmount(target, 0)
}

// nodeObject is what `up` reads of a Node.
type nodeObject struct {
	Spec struct {
		Taints []map[string]any `json:"taints"`
	} `json:"spec"`
	Status struct {
		Addresses []struct {
			Type, Address string
		} `json:"addresses"`
		Conditions []struct {
			Type, Status, Message string
		} `json:"conditions"`
	} `json:"status"`
}

// nodeReady gives the node its address, which a cloud provider would do, and
// asks whether it is Ready. The kubelet itself refuses a loopback address.
func (c *Cluster) nodeReady(ctx context.Context, api *apiClient) error {
	// What the API server says of a kubelet that has just died is old.
	kubelet := &apiClient{base: loopback("https", c.Ports.Kubelet), http: api.http}
	if err := kubelet.get(ctx, "/healthz", nil); err != nil {
		return fmt.Errorf("the kubelet: %w", err)
	}
	path := "/api/v1/nodes/" + c.Name
	var node nodeObject
	if err := api.get(ctx, path, &node); err != nil {
		return err
	}
	const patch = "application/merge-patch+json"
	if !node.hasAddress() {
		addresses := []map[string]string{{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": c.Name}}
		body := map[string]any{"status": map[string]any{"addresses": addresses}}
		return errors.Join(errors.New("the node had no address"), api.do(ctx, "PATCH", path+"/status", patch, body, nil))
	}
	taints := []map[string]any{}
	for _, t := range node.Spec.Taints {
		if t["key"] != "node.cloudprovider.kubernetes.io/uninitialized" {
			taints = append(taints, t)
		}
	}
	if len(taints) < len(node.Spec.Taints) {
		body := map[string]any{"spec": map[string]any{"taints": taints}}
		return errors.Join(errors.New("the node was tainted"), api.do(ctx, "PATCH", path, patch, body, nil))
	}
	if err := node.ready(); err != nil {
		return fmt.Errorf("node %s %w", c.Name, err)
	}
	return nil
}

func (n *nodeObject) hasAddress() bool {
	for _, a := range n.Status.Addresses {
		if a.Type == "InternalIP" {
			return true
		}
	}
	return false
}

// ready tells what keeps the node from taking pods.
func (n *nodeObject) ready() error {
	ready := false
	for _, condition := range n.Status.Conditions {
		if condition.Type == "Ready" && condition.Status != "True" {
			return fmt.Errorf("is not ready: %s", condition.Message)
		}
		ready = ready || condition.Type == "Ready"
	}
	if !ready {
		return errors.New("has not reported yet")
	}
	for _, t := range n.Spec.Taints {
		if t["key"] == "node.kubernetes.io/not-ready" || t["key"] == "node.kubernetes.io/unreachable" {
			return fmt.Errorf("still has the taint %s", t["key"])
		}
	}
	return nil
}

// containerdSocket is the way in from outside the node's mount namespace. It is
// short, however deep the checkout lies: a socket's path may have 107 bytes.
func (c *Cluster) containerdSocket() (string, error) {
	running, err := c.processes()
	if err != nil {
		return "", err
	}
	if len(running["node"]) == 0 {
		return "", fmt.Errorf("cluster %q has no running node", c.Name)
	}
	return fmt.Sprintf("/proc/%d/root/run/containerd/containerd.sock", running["node"][0].Pid), nil
}

func (c *Cluster) containerdReady(ctx context.Context) error {
	socket, err := c.containerdSocket()
	if err != nil {
		return err
	}
	if _, err := os.Stat(socket); errors.Is(err, fs.ErrNotExist) {
		return errors.New("containerd does not listen yet")
	}
	return c.ctr(ctx, nil, "version")
}
