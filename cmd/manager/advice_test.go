package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestFlagsAreChecked(t *testing.T) {
	for args, want := range map[string]string{
		"":                                      "",
		"--concurrency=1 --max-parallelism=400": "",
		"--namespaces=a,b":                      "",
		"--metrics-bind-address=:8443 --health-probe-bind-address=0":  "",
		"--health-probe-bind-address=127.0.0.1:1 --tracing-endpoint=": "",
		"--max-parallelism=0":              "--max-parallelism",
		"--max-tasks=-1":                   "--max-tasks",
		"--max-ttl=-1s":                    "--max-ttl",
		"--default-ttl=week":               "default-ttl",
		"--concurrency=-3":                 "--concurrency",
		"--kube-api-qps=0":                 "--kube-api-qps",
		"--kube-api-burst=0":               "--kube-api-burst",
		"--tracing-samples-per-million=-1": "--tracing-samples-per-million",
		"--tracing-endpoint=collector":     "--tracing-endpoint",
		"--namespaces=a,,b":                "--namespaces",
		"--leader-election-namespace=A":    "--leader-election-namespace",
		"--leader-elect true":              `"true" is no flag`,
	} {
		t.Run(args, func(t *testing.T) {
			_, err := parse(flag.NewFlagSet("", flag.ContinueOnError), strings.Fields(args))
			if got := fmt.Sprint(err); err != nil && want == "" || want != "" && !strings.Contains(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	if _, err := parse(flag.NewFlagSet("", flag.ContinueOnError), []string{"--help"}); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("--help: %v", err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	runs := schema.GroupResource{Group: "batchrun.io", Resource: "batchruns"}
	for want, err := range map[string]error{
		"renew its token":                apierrors.NewUnauthorized("no"),
		"apply its roles":                apierrors.NewForbidden(runs, "", errors.New("no")),
		"CustomResourceDefinition":       &meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: "batchrun.io", Kind: "BatchRun"}},
		"is not installed":               apierrors.NewNotFound(runs, ""),
		"of the CA":                      fmt.Errorf("get: %w", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}),
		"client certificate: renew":      errors.New("remote error: tls: expired certificate"),
		"cannot be reached or does not ": errors.New("connection refused"),
	} {
		if got := advised("listing", err).Error(); !strings.Contains(got, want) || !strings.Contains(got, "listing: "+err.Error()) {
			t.Errorf("%v: got %q, want %q", err, got, want)
		}
	}
}

func TestTheEndIsExplainedByWhatWasWrong(t *testing.T) {
	r := &readiness{}
	r.note(errors.New("the caches are not filled yet"))
	if got := r.explain(errors.New("timed out")).Error(); got != "timed out (the caches are not filled yet)" {
		t.Errorf("got %q", got)
	}
	if err := r.explain(nil); err != nil {
		t.Errorf("a good end is %v", err)
	}
	r.note(nil)
	if got := r.explain(errors.New("leader election lost")).Error(); got != "leader election lost" {
		t.Errorf("got %q", got)
	}
}

func TestRightsAreThoseOfTheRole(t *testing.T) {
	all, inOne := rights(""), rights("team-a")
	if len(all)-len(inOne) != 4 { // list and watch, the policy and its binding
		t.Errorf("%d rights in all namespaces, %d in one", len(all), len(inOne))
	}
	found := false
	for _, right := range inOne {
		found = found || right.Verb == "patch" && right.Resource == "batchruns" && right.Subresource == "status" && right.Namespace == "team-a"
	}
	if !found {
		t.Errorf("no right to write the status: %+v", inOne)
	}
}

func TestOnlyAnUnreachableAPIServerMayPass(t *testing.T) {
	for err, want := range map[error]bool{
		errors.New("connection refused"):                                     true,
		apierrors.NewInternalError(errors.New("no")):                         true,
		apierrors.NewUnauthorized("no"):                                      false,
		apierrors.NewForbidden(schema.GroupResource{}, "", errors.New("no")): false,
		apierrors.NewNotFound(schema.GroupResource{}, ""):                    false,
	} {
		if got := passes(advised("listing", err)); got != want {
			t.Errorf("%v: got %t, want %t", err, got, want)
		}
	}
}
