package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// referenceHead is what the reference page begins with.
const referenceHead = `<!-- Written by make plugin-docs from the commands: do not edit. -->

# kubectl batchrun

Everything that the plugin does can also be done with ` + "`kubectl`" + ` alone (see [recipes](recipes.md)); the plugin is shorter and
tells more.

Install it:

    go install github.com/batchrun/batchrun/cmd/kubectl-batchrun@latest

or, in a clone, ` + "`make plugin`" + `, which builds it into ` + "`bin/`" + ` with the short name ` + "`kubectl br`" + ` and the completion script
` + "`kubectl_complete-batchrun`" + `. What is in a folder of ` + "`PATH`" + ` is found by kubectl. The shell completes names of runs and
namespaces too once kubectl's own completion is set up (` + "`kubectl completion --help`" + `).

Every command takes kubectl's flags for the cluster: ` + "`--kubeconfig`, `--context`, `--namespace` (`-n`), `--as`" + ` and so on; put
them behind the name of the plugin.
`

// Reference is the reference page of all commands.
func Reference() string {
	root := New("kubectl-batchrun", genericiooptions.NewTestIOStreamsDiscard())
	var page strings.Builder
	page.WriteString(referenceHead)
	page.WriteString("\n| command | what it does |\n| --- | --- |\n")
	commands := documented(root)
	for _, command := range commands {
		fmt.Fprintf(&page, "| [%s](#%s) | %s |\n", command.Name(), anchor(command), command.Short)
	}
	for _, command := range commands {
		describe(&page, command)
	}
	return page.String()
}

// documented are the commands in the order of the help.
func documented(root *cobra.Command) []*cobra.Command {
	var commands []*cobra.Command
	for _, group := range root.Groups() {
		for _, command := range root.Commands() {
			if command.GroupID == group.ID {
				commands = append(commands, command)
			}
		}
	}
	for _, command := range root.Commands() {
		if command.GroupID == "" && command.Name() != "help" {
			commands = append(commands, command)
		}
	}
	return commands
}

func anchor(command *cobra.Command) string {
	return strings.ReplaceAll(command.CommandPath(), " ", "-")
}

func describe(page *strings.Builder, command *cobra.Command) {
	fmt.Fprintf(page, "\n## %s\n\n", command.CommandPath())
	text := command.Long
	if text == "" {
		text = command.Short + "."
	}
	if command.Name() == "completion" { // cobra's text is for its subcommands
		text = "Print the completion script of a shell: bash, zsh, fish or powershell. It is for the name kubectl-batchrun; " +
			"kubectl itself uses kubectl_complete-batchrun."
	}
	page.WriteString(strings.TrimSpace(text) + "\n")
	if command.Name() != "completion" {
		fmt.Fprintf(page, "\n    %s\n", command.UseLine())
	}
	if command.Example != "" {
		page.WriteString("\nFor example:\n\n")
		for line := range strings.SplitSeq(command.Example, "\n") {
			page.WriteString("    " + strings.TrimSpace(line) + "\n")
		}
	}
	var flags []string
	command.LocalNonPersistentFlags().VisitAll(func(flag *pflag.Flag) {
		if flag.Name != "help" && !flag.Hidden {
			flags = append(flags, flagRow(flag))
		}
	})
	if len(flags) > 0 {
		page.WriteString("\n| flag | what it does |\n| --- | --- |\n" + strings.Join(flags, ""))
	}
}

func flagRow(flag *pflag.Flag) string {
	name := "`--" + flag.Name + "`"
	if flag.Shorthand != "" {
		name = "`-" + flag.Shorthand + "`, " + name
	}
	_, usage := pflag.UnquoteUsage(flag)
	return fmt.Sprintf("| %s | %s |\n", name, strings.ReplaceAll(usage, "|", "\\|"))
}
