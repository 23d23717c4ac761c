package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/cobra"
)

func demoCommand() *cobra.Command {
	var cluster string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the tutorial's pi as a BatchRun, on a local cluster or on that of KUBECONFIG",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return demo(cmd.Context(), cluster)
		},
	}
	nameFlag(cmd, &cluster)
	return cmd
}

// demo shows the main job whole: install, apply, look, and read the result off the record.
func demo(ctx context.Context, cluster string) error {
	kubeconfig := os.Getenv("KUBECONFIG")
	if own, ok := ownCluster(kubeconfig); ok { // it was pasted from an earlier demo
		cluster, kubeconfig = own, ""
	}
	d, err := newDemo(ctx, cluster, kubeconfig)
	if err != nil {
		return err
	}
	if kubeconfig == "" {
		err = d.installLocally(ctx)
	} else {
		var stop func()
		stop, err = d.installOn(ctx, kubeconfig)
		defer stop()
	}
	if err != nil {
		return err
	}
	return d.run(ctx)
}

// ownCluster is the name of the local cluster that a kubeconfig is of.
func ownCluster(kubeconfig string) (cluster string, ok bool) {
	home, err := findHome()
	if err != nil || kubeconfig == "" {
		return "", false
	}
	names, err := clusterNames(home)
	if err != nil {
		return "", false
	}
	for _, n := range names {
		if c, err := newCluster(home, n); err == nil && c.path("kubeconfig") == kubeconfig {
			return n, true
		}
	}
	return "", false
}

// demonstration is a demo on one cluster. Only home and dir of the cluster are set where it is the user's own.
type demonstration struct{ *Cluster }

func newDemo(ctx context.Context, cluster, kubeconfig string) (demonstration, error) {
	if kubeconfig == "" {
		if err := up(ctx, cluster, Options{Node: NodeReal}, func(flag string) bool { return flag == "node" }); err != nil {
			return demonstration{}, err
		}
		c, err := openCluster(cluster)
		return demonstration{c}, err
	}
	home, err := findHome()
	if err != nil {
		return demonstration{}, err
	}
	return demonstration{&Cluster{home: home}}, build(ctx, home, "", []string{"kubectl"})
}

func (d demonstration) installLocally(ctx context.Context) error {
	if d.OfflineImages {
		ref, err := name.ParseReference("docker.io/library/perl:latest")
		if err != nil {
			return err
		}
		if err := makePerlImage(ctx, d.home, ref); err != nil {
			return err
		}
	}
	fmt.Println("\nInstalling the operator ...")
	return d.deploy(ctx)
}

// installOn installs the CRD on the user's cluster and runs the operator here while the demo lasts: its image is in no
// registry that the cluster could pull from.
func (d demonstration) installOn(ctx context.Context, kubeconfig string) (stop func(), err error) {
	stop = func() {}
	binary, err := buildOperator(ctx, d.home)
	if err != nil {
		return stop, err
	}
	fmt.Printf("\nInstalling the CRD on the cluster of %s; the operator runs here while the demo lasts ...\n", kubeconfig)
	if err := d.show(ctx, "apply", "--server-side", "-k", filepath.Join(repository(d.home), "config", "crd")); err != nil {
		return stop, err
	}
	if err := d.waitForAPI(ctx); err != nil {
		return stop, err
	}
	log, err := os.Create(filepath.Join(d.home, ".local", "operator", "demo.log"))
	if err != nil {
		return stop, err
	}
	operator := exec.Command(binary, "--health-probe-bind-address=0")
	operator.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	operator.Stdout, operator.Stderr = log, log
	if err := operator.Start(); err != nil {
		return stop, fmt.Errorf("starting the operator: %w", err)
	}
	return func() {
		_ = operator.Process.Signal(os.Interrupt)
		_ = operator.Wait()
		log.Close()
	}, nil
}

// waitForAPI waits until the API server serves BatchRuns, a moment after their CRD was created.
func (d demonstration) waitForAPI(ctx context.Context) error {
	for deadline := time.Now().Add(30 * time.Second); ; {
		_, err := d.kubectlOutput(ctx, "get", "batchruns")
		if err == nil || time.Now().After(deadline) {
			return err
		}
		if err := sleep(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
}

const sample = "config/samples/pi.yaml"

func (d demonstration) run(ctx context.Context) error {
	// A finished run is not run again by applying it again, which is the point of it; the demo wants to see it run.
	fmt.Println("\n$ kubectl delete batchrun pi --ignore-not-found")
	if err := d.show(ctx, "delete", "batchrun", "pi", "--ignore-not-found", "--cascade=foreground"); err != nil {
		return err
	}
	fmt.Printf("\n$ kubectl apply -f %s\n", sample)
	if err := d.show(ctx, "apply", "-f", filepath.Join(repository(d.home), sample)); err != nil {
		return err
	}
	if err := d.follow(ctx); err != nil {
		return err
	}
	fmt.Println("\n$ kubectl get batchruns,jobs,pods")
	if err := d.show(ctx, "get", "batchruns,jobs,pods"); err != nil {
		return err
	}
	digits, err := d.kubectlOutput(ctx, "get", "batchrun", "pi", "-o", "jsonpath={.status.successes[0].logTail}")
	if err != nil {
		return err
	}
	if !strings.HasPrefix(digits, "3.14159") {
		return fmt.Errorf("the status of the BatchRun has no digits of pi but %q", digits)
	}
	fmt.Printf("\n$ kubectl get batchrun pi -o jsonpath='{.status.successes[0].logTail}'\n%s\n", digits)
	d.next()
	return nil
}

// follow shows the run's status whenever it changes, until the run is finished.
func (d demonstration) follow(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 5*time.Minute, errors.New("pi has not finished within 5 minutes"))
	defer cancel()
	start, last := time.Now(), ""
	for {
		out, err := d.kubectlOutput(ctx, "get", "batchrun", "pi", "-o",
			`jsonpath={.status.phase} {.status.completions} {.status.conditions[?(@.type=="Ready")].message}`)
		if err != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		if out = strings.TrimSpace(out); out != last && out != "" {
			fmt.Printf("%4.0fs  %s\n", time.Since(start).Seconds(), out)
			last = out
		}
		switch phase, _, _ := strings.Cut(out, " "); phase {
		case "Succeeded":
			return nil
		case "Failed", "Cancelled":
			return fmt.Errorf("pi has not succeeded: %s", out)
		}
		if err := sleep(ctx, 500*time.Millisecond); err != nil {
			return context.Cause(ctx)
		}
	}
}

func (d demonstration) next() {
	if d.Name == "" {
		fmt.Print(`
The operator ran for the demo only. To go on:
  make run          # runs it here, on the cluster of KUBECONFIG; docs/install.md tells how to install it
  make uninstall    # removes what the demo installed, and all BatchRuns
`)
		return
	}
	fmt.Printf(`
The record stays when Jobs and pods are cleaned up. What to try next:
  export KUBECONFIG=%s
  export PATH=%s:$PATH
  kubectl get batchruns -o wide
  kubectl describe batchrun pi
  kubectl apply -f config/samples/retries.yaml     # fails now and then, and says why
  kubectl apply -f config/samples/array.yaml       # 60 tasks, 5 at once
  kubectl explain batchrun.spec.retryPolicy
  make cluster-down                                # when you are done
`, d.path("kubeconfig"), binDir(d.home))
}

func (d demonstration) show(ctx context.Context, args ...string) error {
	return d.kubectl(ctx, "", args...)
}
