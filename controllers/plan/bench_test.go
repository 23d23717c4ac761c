package plan

import (
	"testing"

	"github.com/batchrun/batchrun/controllers/indexset"
	"github.com/batchrun/batchrun/controllers/ledger"
)

// BenchmarkMake is a look at a run of 100,000 tasks, half of which have succeeded, and of which a thousand are active.
func BenchmarkMake(b *testing.B) {
	const n, at = 100_000, 50_000
	for name, edit := range map[string]func(*spec){
		"array": tasks(n),
		"sweep": func(s *spec) {
			sweep("LR=1,2,3,4,5,6,7,8,9,10")(s)
			s.Parameters.Matrix = append(s.Parameters.Matrix, rangeOf("SEED", n/10))
		},
	} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(edit)
			w.record(w.fresh(), w.snapshot(w.fresh()))
			stored := make(ledger.Ledger, n)
			for task := range stored {
				switch {
				case task < at:
					stored[task].State = ledger.Succeeded
				case task < at+1000:
					stored[task].State = ledger.Active
					stored[task].Enter(50)
				}
			}
			s := w.snapshot(w.fresh())
			s.Ledger = stored
			s.Run.Status.Waves.Next, s.Run.Status.Waves.Open, s.Run.Status.Waves.Sweep = 51, "50", name == "sweep"
			s.Run.Status.Waves.Ledger = stored.Encode()
			for number := range 50 {
				s.Waves = append(s.Waves, Wave{Number: number, Finished: "Complete", Stopped: true})
			}
			s.Waves = append(s.Waves, Wave{Number: 50, Tasks: indexset.Interval(at, at+999), Succeeded: indexset.Interval(at, at+499),
				Parallelism: 1000, Active: 500, Sweep: name == "sweep"})
			b.ReportAllocs()
			for b.Loop() {
				p := Make(s, w.now)
				if len(p.Start) == 0 {
					b.Fatal("nothing starts")
				}
			}
		})
	}
}
