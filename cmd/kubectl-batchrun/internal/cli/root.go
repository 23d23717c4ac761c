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

// exitError is an error with an exit code of its own.
type exitError struct {
	error
	code int
}

// Unwrap gives the error without its code.
func (e exitError) Unwrap() error { return e.error }

// errSilent ends a command that has said all there is to say.
var errSilent = errors.New("")

// exitFailure is the exit code where a command says no other.
const exitFailure = 1

// Run runs the command line, the first argument being the name of the program, and returns the exit code.
func Run(ctx context.Context, args []string, streams genericiooptions.IOStreams) int {
	ctrllog.SetLogger(logr.Discard()) // it would complain that nobody did
	command := New(args[0], streams)  //nolint:contextcheck // the commands get theirs when they run
	command.SetArgs(args[1:])
	return exitCode(command.ExecuteContext(ctx), streams)
}

func exitCode(err error, streams genericiooptions.IOStreams) int {
	if err == nil {
		return 0
	}
	code := exitFailure
	if coded := (exitError{}); errors.As(err, &coded) {
		code, err = coded.code, coded.error
	}
	if !errors.Is(err, errSilent) {
		_, _ = fmt.Fprintln(streams.ErrOut, "error: "+err.Error())
	}
	return code
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

// now is the present time.
func (p *plugin) now() time.Time { return p.clock.Now() }
