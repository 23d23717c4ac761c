package main

import (
	"fmt"
	"strings"
)

// aim is a figure that BatchRun is to keep to.
type aim struct {
	title string
	limit float64
	// digits of the figure, and its unit.
	digits int
	unit   string
	// figure is what was measured, and of what; not ok where nothing was.
	figure func(g groups, limits string) (figure float64, of string, ok bool)
}

// allAims are those of the benchmark. Those of a ratio are judged by the median of the pairs, the others by the worst.
func allAims() []aim {
	var all []aim
	for _, tasks := range []int{1000, 10000} {
		all = append(all,
			ratioAim(kindArray, "array", kindJob, "a bare Indexed Job", tasks, 1.05),
			ratioAim(kindPacked, "packed sweep", kindJob, "a bare Indexed Job", tasks, 1.05),
			ratioAim(kindPacked, "packed sweep", kindSingles, "single Jobs", tasks, 0.6),
			ratioAim(kindInlined, "inlined sweep", kindSingles, "single Jobs", tasks, 1.05))
	}
	writes := func(r result) float64 { return r.perTask(partyOperator, writeVerbs...) }
	peak := func(r result) float64 { return mebibytes(r.Peak) }
	return append(all,
		worstAim("operator's API writes a task, array and packed sweep, 1,000 tasks and more", 0.02, 4, "", atLeast(1000), writes,
			kindArray, kindPacked),
		worstAim("the same where 5% of the attempts fail", 0.05, 4, "", atLeast(1000), writes, kindFailing),
		worstAim("last pod's end to Complete, array and packed sweep, 10,000 tasks", 1, 2, " s", exactly(10000),
			func(r result) float64 { return r.Lag.Max }, kindArray, kindPacked),
		worstAim("operator's peak memory, 10,000 tasks", 100, 0, " MiB", exactly(10000), peak,
			kindArray, kindPacked, kindInlined, kindFailing, kindMany),
		worstAim("operator's peak memory, 100,000 tasks", 300, 0, " MiB", exactly(100000), peak, kindArray, kindPacked),
		aim{title: "API writes of the settled operator, 1,000 finished runs, 10 minutes", figure: settledWrites})
}

func ratioAim(kind, title, base, baseTitle string, tasks int, limit float64) aim {
	return aim{
		title: fmt.Sprintf("wall time, %s to %s, %s tasks", title, baseTitle, thousands(tasks)), limit: limit, digits: 2,
		figure: func(g groups, limits string) (float64, string, bool) {
			s := g.ratio(key{limits, tasks, kind}, base, wallSeconds)
			return s.Median, fmt.Sprintf("median of %d pairs, %.2f–%.2f", s.Count, s.Min, s.Max), s.Count > 0
		},
	}
}

func exactly(tasks int) func(key) bool { return func(k key) bool { return k.tasks == tasks } }

func atLeast(tasks int) func(key) bool { return func(k key) bool { return k.tasks >= tasks } }

// worstAim is judged by the worst of all rounds of these kinds.
func worstAim(title string, limit float64, digits int, unit string, want func(key) bool, of func(result) float64, names ...string) aim {
	return aim{title: title, limit: limit, digits: digits, unit: unit, figure: func(g groups, limits string) (float64, string, bool) {
		var all []float64
		for k := range g {
			for _, name := range names {
				if k.limits == limits && k.kind == name && want(k) {
					for _, r := range g[k] {
						all = append(all, of(r))
					}
				}
			}
		}
		s := summarize(all)
		return s.Max, fmt.Sprintf("worst of %d rounds", s.Count), s.Count > 0
	}}
}

// settledSeconds is for how long a settled operator is to be watched, a little of which may be missing.
const settledSeconds = 599

func settledWrites(g groups, limits string) (writes float64, of string, ok bool) {
	for k, results := range g {
		for _, r := range results {
			if k.limits == limits && k.kind == kindMany && r.Runs >= 1000 && r.SettledSeconds >= settledSeconds {
				writes, ok = max(writes, r.Settled.sum(partyOperator, writeVerbs...)), true
			}
		}
	}
	return writes, "", ok
}

// aims is the table of the aims.
func (g groups) aims() string {
	t := &rows{}
	t.line([]string{"aim", "at most", "with raised limits", "", "with default limits", ""})
	t.line([]string{"---", "---", "---", "---", "---", "---"})
	for _, a := range allAims() {
		cells := []string{a.title, a.text(a.limit)}
		for _, limits := range []string{limitsRaised, limitsDefault} {
			figure, of, ok := a.figure(g, limits)
			switch {
			case !ok:
				cells = append(cells, "not measured", "")
				continue
			case of != "":
				of = " (" + of + ")"
			}
			verdict := "met"
			if figure > a.limit {
				verdict = "**missed**"
			}
			cells = append(cells, a.text(figure)+of, verdict)
		}
		t.line(cells)
	}
	return t.String()
}

func (a aim) text(figure float64) string { return strings.TrimSpace(number(figure, a.digits) + a.unit) }
