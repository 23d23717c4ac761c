package main

import (
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// page is the text of docs/benchmarks.md around the tables.
//
//go:embed benchmarks.md.tmpl
var page string

// report writes the page of all results.
func report(w io.Writer, results []result, now time.Time) error {
	text, err := template.New("benchmarks").Parse(page)
	if err != nil {
		return err
	}
	g := group(results)
	return text.Execute(w, map[string]any{
		"Date":   now.UTC().Format(time.DateOnly),
		"Rounds": len(results),
		"Machine": distinct(results, func(r result) string {
			return fmt.Sprintf("%d cores, %.0f GiB of memory", r.Cores, gibibytes(r.Memory))
		}),
		"Kubernetes":  distinct(results, func(r result) string { return r.Kubernetes }),
		"Revision":    distinct(results, func(r result) string { return r.Revision }),
		"Parallelism": distinct(results, func(r result) string { return strconv.Itoa(r.Parallelism) }),
		"Aims":        g.aims(),
		"Wall":        g.wall(),
		"Lag":         g.lag(),
		"Cost":        g.cost(),
		"Operator":    g.operator(),
		"Writes":      g.writes(),
		"Everybody":   g.everybody(),
		"Processors":  g.processors(),
		"Many":        g.manyRuns(),
		"Settled":     g.settled(),
	})
}

// key is what rounds have in common that are repetitions of each other.
type key struct {
	limits string
	tasks  int
	kind   string
}

// groups are the results by key.
type groups map[key][]result

func group(results []result) groups {
	g := groups{}
	for _, r := range results {
		k := key{r.Limits, r.Tasks, r.Kind}
		g[k] = append(g[k], r)
	}
	return g
}

// keys are those that want says yes to, in the order of the tables.
func (g groups) keys(want func(kind) bool) []key {
	var keys []key
	for k := range g {
		if named, err := kindNamed(k.kind); err == nil && want(named) {
			keys = append(keys, k)
		}
	}
	place := func(k key) int { return slices.IndexFunc(kinds, func(each kind) bool { return each.name == k.kind }) }
	slices.SortFunc(keys, func(a, b key) int {
		if a.limits != b.limits {
			return -strings.Compare(a.limits, b.limits) // raised before default
		}
		if a.tasks != b.tasks {
			return a.tasks - b.tasks
		}
		return place(a) - place(b)
	})
	return keys
}

func notMany(k kind) bool { return !k.many }

func ofOperator(k kind) bool { return k.operator && !k.many }

// figures are one figure of each round.
func (g groups) figures(k key, of func(result) float64) summary {
	var all []float64
	for _, r := range g[k] {
		all = append(all, of(r))
	}
	return summarize(all)
}

// wallSeconds is what most ratios are of.
func wallSeconds(r result) float64 { return r.Wall }

// ratio compares a figure of two kinds in each pair of rounds that were run in turn.
func (g groups) ratio(k key, base string, of func(result) float64) summary {
	type pair struct {
		session string
		number  int
	}
	bases := map[pair]float64{}
	for _, r := range g[key{k.limits, k.tasks, base}] {
		bases[pair{r.Session, r.Pair}] = of(r)
	}
	var ratios []float64
	for _, r := range g[k] {
		if figure := bases[pair{r.Session, r.Pair}]; figure > 0 {
			ratios = append(ratios, of(r)/figure)
		}
	}
	return summarize(ratios)
}

// wall is the table of wall times.
func (g groups) wall() string {
	t := table{"limits", "tasks", "kind", "rounds", "wall time, s", "tasks/s", "to the bare Indexed Job", "to single Jobs"}.new()
	for _, k := range g.keys(notMany) {
		s := g.figures(k, wallSeconds)
		t.add(k, strconv.Itoa(s.Count), spread(s, 1), number(float64(k.tasks)/s.Median, 0),
			spread(g.ratio(k, kindJob, wallSeconds), 2), spread(g.ratio(k, kindSingles, wallSeconds), 2))
	}
	return t.String()
}

// lag is the table of the times from the last pod's end to Complete.
func (g groups) lag() string {
	t := table{"limits", "tasks", "kind", "ends", "median, s", "p99, s", "longest, s"}.new()
	for _, k := range g.keys(notMany) {
		s := g.lags(k)
		t.add(k, thousands(s.Count), number(s.Median, 2), number(s.P99, 2), number(s.Max, 2))
	}
	return t.String()
}

// lags sums up the ends of all objects of all rounds. Rounds of many objects have been summed up already: of them it has
// the median of the medians and the median of the p99.
func (g groups) lags(k key) summary {
	medians := g.figures(k, func(r result) float64 { return r.Lag.Median })
	sum := summary{Median: medians.Median, P99: medians.P99, Max: g.figures(k, func(r result) float64 { return r.Lag.Max }).Max}
	for _, r := range g[k] {
		sum.Count += r.Lag.Count
	}
	if sum.Count > len(g[k]) {
		sum.P99 = g.figures(k, func(r result) float64 { return r.Lag.P99 }).Median
	}
	return sum
}

// cost is the table of what the operator takes.
func (g groups) cost() string {
	t := table{"limits", "tasks", "kind", "CPU, s per 1,000 tasks", "peak memory, MiB", "per 1,000 tasks, MiB",
		"status at the end, KiB", "largest status, KiB"}.new()
	for _, k := range g.keys(ofOperator) {
		peak := g.figures(k, func(r result) float64 { return mebibytes(r.Peak) })
		t.add(k, spread(g.figures(k, func(r result) float64 { return r.per1000(r.CPU) }), 2), spread(peak, 0),
			number(peak.Median*1000/float64(k.tasks), 1),
			number(g.figures(k, func(r result) float64 { return float64(r.Status) / 1024 }).Median, 1),
			number(g.figures(k, func(r result) float64 { return float64(r.LargestStatus) / 1024 }).Max, 1))
	}
	return t.String()
}

// operator is the table of the operator's requests.
func (g groups) operator() string {
	verbs := append(slices.Clone(writeVerbs), verbRead, verbWatch)
	t := append(append(table{"limits", "tasks", "kind"}, verbs...), "writes").new()
	for _, k := range g.keys(ofOperator) {
		var cells []string
		for _, verb := range verbs {
			cells = append(cells, g.perTask(k, partyOperator, verb))
		}
		t.add(k, append(cells, g.perTask(k, partyOperator, writeVerbs...))...)
	}
	return t.String()
}

func (g groups) perTask(k key, party string, verbs ...string) string {
	return number(g.figures(k, func(r result) float64 { return r.perTask(party, verbs...) }).Median, 4)
}

// writes is the table of what the operator writes in a round.
func (g groups) writes() string {
	what := []kindOf{
		{partyOperator, verbCreate, "jobs"}, {partyOperator, verbPatch, "jobs"}, {partyOperator, verbDelete, "jobs"},
		{partyOperator, verbPatch, "batchruns/status"}, {partyOperator, verbCreate, "controllerrevisions"},
		{partyOperator, verbCreate, "events"}, {partyOperator, verbPatch, "events"}, {partyOperator, verbDelete, "pods"},
	}
	header := table{"limits", "tasks", "kind"}
	for _, w := range what {
		header = append(header, w.verb+" "+w.resource)
	}
	t := append(header, "others").new()
	for _, k := range g.keys(ofOperator) {
		var cells []string
		named := func(r result) float64 {
			sum := 0.0
			for _, w := range what {
				sum += r.Requests[w]
			}
			return sum
		}
		for _, w := range what {
			cells = append(cells, number(g.figures(k, func(r result) float64 { return r.Requests[w] }).Median, 0))
		}
		others := g.figures(k, func(r result) float64 { return r.Requests.sum(partyOperator, writeVerbs...) - named(r) })
		t.add(k, append(cells, number(others.Median, 0))...)
	}
	return t.String()
}

// everybody is the table of all writes, by whose they are.
func (g groups) everybody() string {
	t := table{"limits", "tasks", "kind", "all writes", "controller manager", "scheduler", "operator", "this program", "others"}.new()
	for _, k := range g.keys(notMany) {
		var cells []string
		for _, party := range []string{partyAll, partyControl, partyScheduler, partyOperator, partyBench} {
			cells = append(cells, number(g.figures(k, func(r result) float64 { return r.perTask(party, writeVerbs...) }).Median, 2))
		}
		others := g.figures(k, func(r result) float64 {
			rest := r.perTask(partyAll, writeVerbs...)
			for party := range parties {
				rest -= r.perTask(party, writeVerbs...)
			}
			return rest
		})
		t.add(k, append(cells, number(others.Median, 2))...)
	}
	return t.String()
}

// processors is the table of who takes how much of the machine.
func (g groups) processors() string {
	parts := []string{"kube-apiserver", "etcd", "kube-controller-manager", "kube-scheduler", "kwok", partBench}
	t := append(append(table{"limits", "tasks", "kind"}, parts...), "operator", "all", "all, to the bare Indexed Job").new()
	for _, k := range g.keys(notMany) {
		var cells []string
		for _, part := range parts {
			cells = append(cells, number(g.figures(k, func(r result) float64 { return r.per1000(r.Parts[part]) }).Median, 2))
		}
		all := func(r result) float64 {
			sum := r.CPU
			for _, cpu := range r.Parts {
				sum += cpu
			}
			return r.per1000(sum)
		}
		t.add(k, append(cells, number(g.figures(k, func(r result) float64 { return r.per1000(r.CPU) }).Median, 2),
			spread(g.figures(k, all), 1), spread(g.ratio(k, kindJob, all), 2))...)
	}
	return t.String()
}

// manyRuns is the table of many runs at once.
func (g groups) manyRuns() string {
	t := table{"limits", "tasks", "kind", "objects", "wall time, s", "to the bare Jobs", "end to Complete: median, s", "p99, s",
		"operator's writes a task", "CPU, s per 1,000 tasks", "peak memory, MiB"}.new()
	for _, k := range g.keys(func(k kind) bool { return k.many }) {
		cells := []string{thousands(g[k][0].Runs), spread(g.figures(k, wallSeconds), 1),
			spread(g.ratio(k, kindManyJobs, wallSeconds), 2), number(g.lags(k).Median, 2), number(g.lags(k).P99, 2)}
		operator := []string{"", "", ""}
		if k.kind == kindMany {
			operator = []string{g.perTask(k, partyOperator, writeVerbs...),
				number(g.figures(k, func(r result) float64 { return r.per1000(r.CPU) }).Median, 2),
				number(g.figures(k, func(r result) float64 { return mebibytes(r.Peak) }).Median, 0)}
		}
		t.add(k, append(cells, operator...)...)
	}
	return t.String()
}

// settled is the table of what the operator asked for when all was finished.
func (g groups) settled() string {
	t := table{"limits", "tasks", "kind", "finished runs", "watched for", "writes", "reads"}.new()
	for _, k := range g.keys(func(k kind) bool { return k.name == kindMany }) {
		for _, r := range g[k] {
			if r.SettledSeconds > 0 {
				t.add(k, thousands(r.Runs), time.Duration(r.SettledSeconds*float64(time.Second)).Round(time.Second).String(),
					number(r.Settled.sum(partyOperator, writeVerbs...), 0), number(r.Settled.sum(partyOperator, verbRead), 0))
			}
		}
	}
	return t.String()
}

// distinct lists the different values of a text, without empty ones.
func distinct(results []result, of func(result) string) string {
	var all []string
	for _, r := range results {
		if text := of(r); text != "" && !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	return strings.Join(all, "; ")
}
