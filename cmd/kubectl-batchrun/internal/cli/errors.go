package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// The exit codes of all commands but wait, which has more.
const (
	// exitFailure is that of a command which says no other.
	exitFailure = 1
	// exitInterrupted is that after SIGINT, as of shells.
	exitInterrupted = 130
)

// exitError is an error with an exit code of its own.
type exitError struct {
	error
	code int
}

// Unwrap gives the error without its code.
func (e exitError) Unwrap() error { return e.error }

// errSilent ends a command that has said all there is to say.
var errSilent = errors.New("")

// exitCode tells of an error, and is the exit code for it. Nothing is told after a signal.
func exitCode(ctx context.Context, err error, streams genericiooptions.IOStreams) int {
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		return exitInterrupted
	}
	code := exitFailure
	if coded := (exitError{}); errors.As(err, &coded) {
		code, err = coded.code, coded.error
	}
	for _, err := range separate(err) {
		if !errors.Is(err, errSilent) {
			_, _ = fmt.Fprintln(streams.ErrOut, "error: "+inWords(err))
		}
	}
	return code
}

// separate takes joined errors apart.
func separate(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error }) // one that wraps it has words of its own
	if !ok {
		return []error{err}
	}
	var all []error
	for _, one := range joined.Unwrap() {
		all = append(all, separate(one)...)
	}
	return all
}

// inWords says what to do about what may go wrong with any request.
func inWords(err error) string {
	var request *url.Error
	switch {
	case clientcmd.IsEmptyConfig(err):
		return "no cluster is configured: name a kubeconfig file with --kubeconfig or KUBECONFIG"
	case apierrors.IsUnauthorized(err):
		return fmt.Sprintf("the cluster does not know you: log in anew, or choose another --context (%s)", err)
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), " cannot "): // a quota, for one, forbids too
		return fmt.Sprintf("%s; whoever runs the cluster can give you the role batchrun-viewer, or batchrun-editor to change runs", err)
	case errors.As(err, &request):
		return fmt.Sprintf("the API server does not answer: is it the right one, and is it running? --context and --kubeconfig choose "+
			"another (%s)", err)
	}
	return err.Error()
}

// explained puts what commonly goes wrong with a run into words that say what to do.
func (c *cluster) explained(err error, name string) error {
	noKind, status := (*meta.NoKindMatchError)(nil), apierrors.APIStatus(nil)
	switch {
	case errors.As(err, &noKind) && noKind.GroupKind.Group != v1alpha1.GroupVersion.Group:
		return err
	case apierrors.IsNotFound(err) && errors.As(err, &status) && status.Status().Details != nil && status.Status().Details.Name != "":
		return c.noRun(name)
	case meta.IsNoMatchError(err) || apierrors.IsNotFound(err):
		return fmt.Errorf("this cluster has no BatchRuns: the operator is not installed there, or --context names another cluster (%w)", err)
	}
	return err
}

func (c *cluster) noRun(name string) error {
	return fmt.Errorf("there is no run %q in namespace %q: list shows those there are, -n chooses another namespace", name, c.namespace)
}
