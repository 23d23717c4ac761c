package main

import (
	"bytes"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestSummaries(t *testing.T) {
	hundred := make([]float64, 200)
	for i := range hundred {
		hundred[i] = float64(200 - i)
	}
	for name, test := range map[string]struct {
		figures []float64
		want    summary
	}{
		"of nothing":                              {nil, summary{}},
		"of one figure are that figure":           {[]float64{3}, summary{1, 3, 3, 3, 3}},
		"of two have the median between them":     {[]float64{4, 2}, summary{2, 3, 2, 4, 4}},
		"of few have the greatest as p99":         {[]float64{5, 1, 9}, summary{3, 5, 1, 9, 9}},
		"of many have a p99 below the greatest":   {hundred, summary{200, 100.5, 1, 200, 198}},
		"of the same figures are all that figure": {[]float64{1, 1, 1, 1}, summary{4, 1, 1, 1, 1}},
	} {
		if got := summarize(test.figures); got != test.want {
			t.Errorf("summaries %s: got %+v, want %+v", name, got, test.want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for got, want := range map[string]string{
		number(1.05, 2): "1.05", number(-0.001, 2): "0.00", number(12.5, 0): "13",
		thousands(0): "0", thousands(999): "999", thousands(1000): "1,000", thousands(100_000): "100,000", thousands(1_234_567): "1,234,567",
		spread(summary{}, 1): "", spread(summarize([]float64{2}), 1): "2.0", spread(summarize([]float64{1, 2, 4}), 1): "2.0 (1.0–4.0)",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// round is a round of 10,000 tasks.
func round(session string, pair int, kind string, wall float64) result {
	return result{Session: session, Pair: pair, Kind: kind, Limits: limitsRaised, Runs: 1, Tasks: 10_000, Wall: wall, Cores: 2,
		Lag: summarize([]float64{0.5}), Requests: requests{{partyOperator, verbCreate, "jobs"}: 10, {partyAll, verbCreate, anyResource}: 20_000}}
}

func TestRatiosAreOfRoundsInTurn(t *testing.T) {
	g := group([]result{
		round("a", 0, kindJob, 100), round("a", 0, kindArray, 110),
		round("a", 1, kindJob, 200), round("a", 1, kindArray, 200),
		round("b", 0, kindJob, 50), round("b", 0, kindArray, 60),
		round("b", 1, kindArray, 1), // without its pair
	})
	got := g.ratio(key{limitsRaised, 10_000, kindArray}, kindJob, wallSeconds)
	if got.Count != 3 || got.Median != 1.1 || got.Min != 1 || got.Max != 1.2 {
		t.Errorf("got %+v", got)
	}
}

func TestAims(t *testing.T) {
	array, slow := round("a", 0, kindArray, 104), round("a", 0, kindPacked, 106)
	array.Peak, slow.Lag = 90<<20, summarize([]float64{1.5})
	many := result{Kind: kindMany, Limits: limitsRaised, Runs: 1000, Tasks: 10_000, SettledSeconds: 600.1}
	text := group([]result{round("a", 0, kindJob, 100), array, slow, many}).aims()
	for name, line := range map[string]string{
		"met":                     "| wall time, array to a bare Indexed Job, 10,000 tasks | 1.05 | 1.04 (median of 1 pairs, 1.04–1.04) | met |",
		"missed":                  "| wall time, packed sweep to a bare Indexed Job, 10,000 tasks | 1.05 | 1.06 (median of 1 pairs, 1.06–1.06) | **missed** |",
		"not measured":            "| wall time, array to a bare Indexed Job, 1,000 tasks | 1.05 | not measured |  | not measured |  |",
		"of a quotient":           "1,000 tasks and more | 0.0200 | 0.0010 (worst of 2 rounds) | met |",
		"judged by the worst":     "10,000 tasks | 1.00 s | 1.50 s (worst of 2 rounds) | **missed** |",
		"of memory":               "| operator's peak memory, 10,000 tasks | 100 MiB | 90 MiB (worst of 3 rounds) | met |",
		"of the settled operator": "| API writes of the settled operator, 1,000 finished runs, 10 minutes | 0 | 0 | met |",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("%s: no %q in\n%s", name, line, text)
		}
	}
}

func TestThePageIsMadeOfKeptResults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "results.jsonl")
	results := []result{round("a", 0, kindJob, 100), round("a", 0, kindArray, 104), round("a", 0, kindManyJobs, 2), round("a", 0, kindMany, 3)}
	for _, r := range results {
		if err := keep(path, r); err != nil {
			t.Fatal(err)
		}
	}
	got, err := kept(path)
	if err != nil || !reflect.DeepEqual(got, results) {
		t.Fatalf("got %+v, %v", got, err)
	}
	text := &bytes.Buffer{}
	if err := report(text, got, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"on 2026-01-02, from 4 rounds", "2 cores",
		"| raised | 10,000 | BatchRun, array | 1 | 104.0 | 96 | 1.04 |  |", "| 2.00 |"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	// Every line of a table has as many cells as its header.
	cells := 0
	for line := range strings.Lines(text.String()) {
		n := strings.Count(line, "|")
		if n > 0 && cells > 0 && n != cells {
			t.Errorf("%d cells, not %d: %s", n, cells, line)
		}
		cells = n
	}
}

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"-sizes", "100", "-kinds", "job,array", "-limits=raised", "-default-sizes="}, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(o.sizes, []int{100}) || len(o.kinds) != 2 || o.kinds[1].name != kindArray || len(o.limits) != 1 || len(o.defaultSizes) != 0 {
		t.Errorf("got %+v", o)
	}
	for name, args := range map[string][]string{
		"an unknown kind": {"-kinds", "x"}, "unknown limits": {"-limits", "x"}, "a size that is none": {"-sizes", "x"}, "an argument": {"x"},
	} {
		if _, err := parseOptions(args, &bytes.Buffer{}); err == nil {
			t.Errorf("%s is no error", name)
		}
	}
}
