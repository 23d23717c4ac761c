package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/cobra"
)

// operatorImage is the image that config/local names.
const operatorImage = "ghcr.io/batchrun/batchrun:latest"

func deployCommand() *cobra.Command {
	var cluster string
	cmd := &cobra.Command{
		Use:   "deploy",
		Short: "Build the operator, put its image on the node and install config/local",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := openCluster(cluster)
			if err != nil {
				return err
			}
			return c.deploy(cmd.Context())
		},
	}
	nameFlag(cmd, &cluster)
	return cmd
}

// repository is the root of the checkout.
func repository(home string) string { return filepath.Dir(filepath.Dir(home)) }

// deploy installs the operator as it is in the checkout and waits until it is available.
func (c *Cluster) deploy(ctx context.Context) error {
	binary, err := buildOperator(ctx, c.home)
	if err != nil {
		return err
	}
	ref, err := name.ParseReference(operatorImage)
	if err != nil {
		return err
	}
	if err := makeBinaryImage(c.home, ref, binary, []string{"/manager"}); err != nil {
		return err
	}
	if err := c.importImage(ctx, ref); err != nil {
		return err
	}
	manifests, err := c.kubectlOutput(ctx, "kustomize", filepath.Join(repository(c.home), "config", "local"))
	if err != nil {
		return err
	}
	if err := c.kubectl(ctx, c.fitPorts(manifests), "apply", "--server-side", "--force-conflicts", "-f", "-"); err != nil {
		return err
	}
	// The image has the same name each time, so only a restart takes a new one.
	if err := c.kubectl(ctx, "", "-n", "batchrun-system", "rollout", "restart", "deployment/batchrun-operator"); err != nil {
		return err
	}
	return c.kubectl(ctx, "", "-n", "batchrun-system", "rollout", "status", "deployment/batchrun-operator", "--timeout=120s")
}

// fitPorts puts the cluster's own ports where config/local has stand-ins: the operator shares the machine's network
// with the operators of other clusters.
func (c *Cluster) fitPorts(manifests string) string {
	probes := strconv.Itoa(c.Ports.Probes)
	return strings.NewReplacer(`"6443"`, strconv.Quote(strconv.Itoa(c.Ports.API)), "127.0.0.1:8081", "127.0.0.1:"+probes,
		"containerPort: 8081", "containerPort: "+probes).Replace(manifests)
}

// buildOperator builds the operator's static binary from the checkout.
func buildOperator(ctx context.Context, home string) (path string, err error) {
	path = filepath.Join(home, ".local", "operator", "manager")
	// As .ko.yaml has the image built.
	cmd := exec.CommandContext(ctx, "go", "build", "-tags=disable_grpc_modules", "-ldflags=-s -w", "-o", path, "./cmd/manager")
	cmd.Dir = repository(home)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	done := showProgress("operator")
	out, err := cmd.CombinedOutput()
	done(err)
	if err != nil {
		return "", fmt.Errorf("building the operator: %w\n%s", err, lastLines(string(out), 20))
	}
	return path, nil
}

// kubectl runs kubectl on the cluster and shows what it prints.
func (c *Cluster) kubectl(ctx context.Context, stdin string, args ...string) error {
	cmd := c.kubectlCommand(ctx, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("kubectl %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// kubectlOutput runs kubectl on the cluster and returns what it prints.
func (c *Cluster) kubectlOutput(ctx context.Context, args ...string) (string, error) {
	cmd := c.kubectlCommand(ctx, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

func (c *Cluster) kubectlCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.bin("kubectl"), args...)
	if c.Name != "" { // else the cluster is the user's own
		cmd.Env = append(os.Environ(), "KUBECONFIG="+c.path("kubeconfig"))
	}
	return cmd
}
