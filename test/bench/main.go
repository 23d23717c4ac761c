// Command bench measures BatchRun against bare Jobs, in turn, on local clusters with fake nodes. `make bench` runs it;
// docs/benchmarks.md is what it writes, and says how it measures. Its parts can be run alone: what each round showed is
// kept in a file, and the page is made of all that is in it.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// options are the flags.
type options struct {
	name                string
	limits              []string
	sizes, defaultSizes []int
	kinds               []kind
	pairs               int
	parallelism         int
	large               int
	many, manyTasks     int
	settleFor           time.Duration
	timeout             time.Duration
	binary, revision    string
	results, out        string
	reportOnly          bool
	keepCluster         bool
}

func parseOptions(args []string, output io.Writer) (options, error) {
	o := options{
		limits: []string{limitsRaised, limitsDefault}, sizes: []int{1000, 10000}, defaultSizes: []int{1000},
	}
	all := []string{kindJob, kindSingles, kindArray, kindPacked, kindInlined, kindFailing, kindJobAgain}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(output)
	f.StringVar(&o.name, "name", "bench", "Name of the cluster; that with default limits has -defaults behind it.")
	listVar(f, &o.limits, "limits", "Client limits of the cluster's controllers: raised, default.", func(s string) (string, error) {
		if s != limitsRaised && s != limitsDefault {
			return "", errors.New("must be raised or default")
		}
		return s, nil
	})
	listVar(f, &o.sizes, "sizes", "Numbers of tasks, with raised limits.", strconv.Atoi)
	listVar(f, &o.defaultSizes, "default-sizes", "Numbers of tasks, with default limits, where 1,000 tasks take minutes.", strconv.Atoi)
	listVar(f, &o.kinds, "kinds", "What takes turns: "+strings.Join(all, ", ")+".", kindNamed)
	f.IntVar(&o.pairs, "pairs", 5, "How many turns each takes.")
	f.IntVar(&o.parallelism, "parallelism", 1000, "How many tasks may be active at once.")
	f.IntVar(&o.large, "large", 100000, "Number of tasks of one run each of the kinds array and packed, with raised limits; 0: none.")
	f.IntVar(&o.many, "many", 1000, "Number of runs at once, with raised limits; 0: none.")
	f.IntVar(&o.manyTasks, "many-tasks", 10, "Number of tasks of each of the many runs.")
	f.DurationVar(&o.settleFor, "settle", 10*time.Minute, "For how long the operator is watched when the many runs are finished.")
	f.DurationVar(&o.timeout, "timeout", 2*time.Hour, "For how long one round may take, with what goes before and after it.")
	f.StringVar(&o.binary, "operator", "", "The operator's binary, instead of one of the checkout.")
	f.StringVar(&o.revision, "revision", "unknown", "What -operator was built from.")
	f.StringVar(&o.results, "results", filepath.Join("docs", "benchmarks.jsonl"), "File that keeps what the rounds showed.")
	f.StringVar(&o.out, "out", filepath.Join("docs", "benchmarks.md"), "Page to write; empty: none.")
	f.BoolVar(&o.reportOnly, "report", false, "Only write the page, from the results that there are.")
	f.BoolVar(&o.keepCluster, "keep", false, "Leave the cluster running at the end, to look at it.")
	if len(o.kinds) == 0 {
		for _, name := range all {
			k, err := kindNamed(name)
			if err != nil {
				return o, err
			}
			o.kinds = append(o.kinds, k)
		}
	}
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", f.Arg(0))
	}
	return o, nil
}

// listVar is a flag of values with commas between them.
func listVar[T any](f *flag.FlagSet, list *[]T, name, usage string, parse func(string) (T, error)) {
	f.Func(name, usage, func(text string) error {
		*list = nil
		for word := range strings.SplitSeq(text, ",") {
			if word == "" {
				continue
			}
			value, err := parse(word)
			if err != nil {
				return err
			}
			*list = append(*list, value)
		}
		return nil
	})
}

func main() {
	ctrl.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	o, err := parseOptions(args, os.Stderr)
	if err != nil {
		return err
	}
	if err := errors.Join(checkRoot(), ensureDir()); err != nil {
		return err
	}
	if !o.reportOnly {
		if err := measureAll(ctx, o); err != nil {
			return err
		}
	}
	results, err := kept(o.results)
	if err != nil {
		return err
	}
	page := &bytes.Buffer{}
	if err := report(page, results, time.Now()); err != nil {
		return err
	}
	if o.out != "" {
		if err := os.WriteFile(o.out, page.Bytes(), 0o600); err != nil {
			return err
		}
	}
	_, err = stdout.Write(page.Bytes())
	return err
}

func measureAll(ctx context.Context, o options) error {
	if o.binary == "" {
		var err error
		if o.binary, o.revision, err = buildOperator(ctx); err != nil {
			return err
		}
	}
	id := time.Now().UTC().Format(time.RFC3339)
	for _, limits := range o.limits {
		s := &session{options: o, id: id, limits: limits}
		if err := s.run(ctx); err != nil {
			return err
		}
	}
	return nil
}
