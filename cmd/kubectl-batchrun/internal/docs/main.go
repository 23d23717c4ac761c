// Command docs writes the reference page of the kubectl plugin from its commands.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/cli"
)

func main() {
	out := flag.String("out", "docs/cli.md", "the file to write")
	flag.Parse()
	if err := os.WriteFile(*out, []byte(cli.Reference()), 0o644); err != nil { //nolint:gosec // everybody may read the page
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
