// Command local runs complete Kubernetes clusters on one machine, built from
// Go modules: no container engine, no image registry and no download of
// releases is needed. See README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := newCommand().ExecuteContext(ctx)
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted; run the same command again to continue")
	}
	return err
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "local",
		Short:         "Run Kubernetes clusters on this machine, built from Go modules",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(buildCommand(), upCommand(), downCommand(), kubeconfigCommand(), listCommand(),
		imageCommand(), deployCommand(), demoCommand(), nodeInitCommand())
	return root
}

// nameFlag adds the flag that every command about one cluster has.
func nameFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVar(name, "name", "dev", "name of the cluster")
}

func buildCommand() *cobra.Command {
	var kubernetes Kubernetes
	cmd := &cobra.Command{
		Use:   "build [part...]",
		Short: "Build the pinned parts; all of them if none is named",
		RunE: func(cmd *cobra.Command, args []string) error {
			home, err := findHome()
			if err != nil {
				return err
			}
			if len(args) == 0 {
				args = allParts()
			}
			return build(cmd.Context(), home, kubernetes, args)
		},
	}
	kubernetesFlag(cmd, &kubernetes)
	return cmd
}

func upCommand() *cobra.Command {
	var name string
	opts := Options{}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a cluster, or what is missing of it, and wait until it is ready",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			given := func(flag string) bool { return cmd.Flags().Changed(flag) }
			return up(cmd.Context(), name, opts, given)
		},
	}
	nameFlag(cmd, &name)
	kubernetesFlag(cmd, &opts.Kubernetes)
	f := cmd.Flags()
	f.Var(&opts.Node, "node", "real: pods run; fake: pods are played by kwok; none: no node")
	f.IntVar(&opts.Nodes, "nodes", 1, "number of fake nodes")
	f.BoolVar(&opts.DefaultLimits, "default-limits", false, "leave the client limits of the controllers at Kubernetes' own defaults")
	f.BoolVar(&opts.EtcdFsync, "etcd-fsync", false, "let etcd wait for the disk, as a cluster that must not lose data does")
	f.BoolVar(&opts.Audit, "audit", false, "write an audit log of every request (metadata only)")
	return cmd
}

func downCommand() *cobra.Command {
	var name string
	var all bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop a cluster and remove everything it left on the machine",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			home, err := findHome()
			if err != nil {
				return err
			}
			names := []string{name}
			if all {
				if names, err = clusterNames(home); err != nil {
					return err
				}
			}
			var errs []error
			for _, n := range names {
				errs = append(errs, down(cmd.Context(), home, n))
			}
			return errors.Join(errs...)
		},
	}
	nameFlag(cmd, &name)
	cmd.Flags().BoolVar(&all, "all", false, "every cluster")
	return cmd
}

func kubeconfigCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the path of a cluster's kubeconfig",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := openCluster(name)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), c.path("kubeconfig"))
			return nil
		},
	}
	nameFlag(cmd, &name)
	return cmd
}

func listCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the clusters and what state they are in",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return list(cmd.Context(), cmd.OutOrStdout()) },
	}
}
