package ledger

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func task() *rapid.Generator[Task] {
	return rapid.Custom(func(t *rapid.T) Task {
		task := Task{
			State:     State(rapid.IntRange(int(Pending), int(Withdrawn)).Draw(t, "state")),
			Execution: rapid.Uint8().Draw(t, "execution"),
		}
		if !task.unfinished() {
			return task
		}
		task.Failures = rapid.Uint8().Draw(t, "failures")
		task.Disruptions = rapid.Uint8().Draw(t, "disruptions")
		task.Growth = rapid.Uint8().Draw(t, "growth")
		task.Due = rapid.Uint32().Draw(t, "due")
		task.Wave = rapid.Uint32().Draw(t, "wave")
		return task
	})
}

func TestDecodeReturnsWhatWasEncoded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Ledger(rapid.SliceOfN(task(), 1, 300).Draw(t, "ledger"))
		got, err := Decode(want.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

func TestAnEmptyLedgerIsNothing(t *testing.T) {
	got, err := Decode(Ledger{}.Encode())
	if got != nil || err != nil {
		t.Fatalf("got %v, %v", got, err)
	}
}

func TestGrowKeepsWhatIsThere(t *testing.T) {
	l := Ledger{{State: Succeeded}, {State: Failed}}
	if got := l.Grow(3); !reflect.DeepEqual(got, Ledger{{State: Succeeded}, {State: Failed}, {}}) {
		t.Errorf("grown: %v", got)
	}
	if got := l.Grow(1); !reflect.DeepEqual(got, l) {
		t.Errorf("grown to less: %v", got)
	}
}

func TestATaskIsInTheWaveItEntered(t *testing.T) {
	var task Task
	if task.In(0) {
		t.Error("a new task is in wave 0")
	}
	task.Enter(0)
	if !task.In(0) || task.In(1) {
		t.Errorf("it entered wave 0: %v", task)
	}
}

func TestInListsTheTasksInAState(t *testing.T) {
	l := Ledger{{State: Succeeded}, {}, {State: Succeeded}}
	if got := slices.Collect(l.In(Succeeded)); !reflect.DeepEqual(got, []int{0, 2}) {
		t.Errorf("got %v", got)
	}
}

// The status has 100 KiB for everything; the ledger is base64 in it, four bytes for three.
func TestTheLedgerOfALargeRunFitsIntoTheStatus(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	cases := map[string]func(int) Task{
		"nothing started":         func(int) Task { return Task{} },
		"every other task failed": func(i int) Task { return Task{State: Succeeded + State(i%2)} },
		"a tenth rerun, at random": func(int) Task {
			return Task{State: Succeeded, Execution: uint8(max(random.IntN(11)-9, 0))}
		},
		"half failed, at random": func(int) Task { return Task{State: Succeeded + State(random.IntN(2))} },
		"each with up to 6 failures, retried within 6 minutes, a tenth of them waiting": func(int) Task {
			if random.IntN(10) > 0 {
				return Task{State: Succeeded + State(random.IntN(2))}
			}
			return Task{Failures: uint8(random.IntN(7)), Due: 1_800_000_000 + uint32(random.IntN(360))}
		},
	}
	for name, make100k := range cases {
		t.Run(name, func(t *testing.T) {
			l := Ledger(nil).Grow(100_000)
			for i := range l {
				l[i] = make100k(i)
			}
			size := len(l.Encode()) * 4 / 3
			t.Logf("%d bytes in the status", size)
			if size > 64<<10 {
				t.Errorf("%d bytes are too many for a status of 100 KiB", size)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Ledger{{State: Failed, Failures: 1, Due: 7}, {}}.Encode())
	f.Add([]byte{version, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := Decode(text)
		if err != nil {
			return
		}
		again, err := Decode(l.Encode())
		if err != nil || len(again) != len(l) {
			t.Fatalf("decoded %d tasks, then %d, %v", len(l), len(again), err)
		}
	})
}

func BenchmarkLedger100000(b *testing.B) {
	l := Ledger(nil).Grow(100_000)
	for i := range l {
		l[i].State = Succeeded + State(i/1000%2)
	}
	for b.Loop() {
		if _, err := Decode(l.Encode()); err != nil {
			b.Fatal(err)
		}
	}
}
