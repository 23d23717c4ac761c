// Package cli is the commands of the kubectl plugin.
package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

// plugin is what every command has: where it reads and writes, and how to reach the cluster.
type plugin struct {
	genericiooptions.IOStreams

	flags *genericclioptions.ConfigFlags
	clock clock.WithTicker
	// archive opens the archive of logs; tests play it.
	archive func(*cluster) archive
	// notes lets one note be written at a time.
	notes sync.Mutex
}

// Run runs the command line, the first argument being the name of the program, and returns the exit code.
func Run(ctx context.Context, args []string, streams genericiooptions.IOStreams) int {
	ctrllog.SetLogger(logr.Discard()) // it would complain that nobody did
	streams.Out, streams.ErrOut = safe(streams.Out), safe(streams.ErrOut)
	command := New(args[0], streams) //nolint:contextcheck // the commands get theirs when they run
	command.SetArgs(args[1:])
	return exitCode(ctx, command.ExecuteContext(ctx), streams)
}

// New is the command with all its subcommands. invoked is the name that it was called by: kubectl-br is kubectl br.
func New(invoked string, streams genericiooptions.IOStreams) *cobra.Command {
	p := &plugin{IOStreams: streams, flags: genericclioptions.NewConfigFlags(true), clock: clock.RealClock{}, archive: openArchive}
	return p.command(invoked)
}

func (p *plugin) command(invoked string) *cobra.Command {
	name := displayName(invoked)
	root := &cobra.Command{
		Use:   strings.ReplaceAll(name, " ", "-"),
		Short: "Run batches of tasks on Kubernetes, and see what became of them",
		Long: "Run batches of tasks on Kubernetes, and see what became of them.\n\n" +
			"A run is a BatchRun object; it has one task or many; each execution of a task is an attempt, which is a pod.",
		Annotations:       map[string]string{cobra.CommandDisplayNameAnnotation: name},
		SilenceUsage:      true,
		SilenceErrors:     true,
		DisableAutoGenTag: true,
	}
	root.SetIn(p.In)
	root.SetOut(p.Out)
	root.SetErr(p.ErrOut)
	p.flags.AddFlags(root.PersistentFlags())
	p.completeFlags(root)
	groups := []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"start", "Start a run:", []*cobra.Command{p.createCommand(), p.convertCommand(), p.lintCommand()}},
		{"see", "See what it does:", []*cobra.Command{p.listCommand(), p.getCommand(), p.tasksCommand(), p.watchCommand(),
			p.waitCommand(), p.logsCommand(), p.explainCommand()}},
		{"change", "Change it:", []*cobra.Command{p.retryCommand(), p.suspendCommand(), p.resumeCommand(), p.cancelCommand(), p.deleteCommand()}},
	}
	for _, group := range groups {
		root.AddGroup(&cobra.Group{ID: group.id, Title: group.title})
		for _, command := range group.commands {
			command.GroupID = group.id
			root.AddCommand(command)
		}
	}
	root.AddCommand(p.versionCommand())
	root.InitDefaultCompletionCmd()
	return root
}

// displayName is what the user types: "kubectl batchrun" or "kubectl br".
func displayName(invoked string) string {
	base := strings.TrimSuffix(filepath.Base(invoked), ".exe")
	if base == "kubectl-br" {
		return "kubectl br"
	}
	return "kubectl batchrun"
}

// example is the text of examples, a line each.
func example(lines ...string) string {
	return "  " + strings.Join(lines, "\n  ")
}

// note tells on the error output, so that what goes to the output stays what was asked for.
func (p *plugin) note(format string, args ...any) {
	p.notes.Lock()
	defer p.notes.Unlock()
	_, _ = fmt.Fprintf(p.ErrOut, format+"\n", args...)
}

// oneRun asks for the name of one run.
func oneRun(cmd *cobra.Command, args []string) error {
	if len(args) == 1 {
		return nil
	}
	return fmt.Errorf("%s needs the name of one run, and got %d: list shows those there are", cmd.CommandPath(), len(args))
}

// someRuns asks for the names of runs.
func someRuns(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return nil
	}
	return fmt.Errorf("%s needs the name of a run: list shows those there are", cmd.CommandPath())
}

// each does something with each of the named runs. It goes on where one fails, and tells of all that did.
func (p *plugin) each(names []string, do func(c *cluster, name string) error) error {
	c, err := p.cluster()
	if err != nil {
		return err
	}
	var failed []error
	for _, name := range names {
		failed = append(failed, do(c, nameOf(name)))
	}
	return errors.Join(failed...)
}

// now is the present time.
func (p *plugin) now() time.Time { return p.clock.Now() }
