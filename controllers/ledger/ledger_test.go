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
		state := State(rapid.IntRange(int(Pending), int(Failed)).Draw(t, "state"))
		if state == Succeeded || state == Failed {
			return Task{State: state}
		}
		unfinished := Task{
			State:       state,
			Failures:    rapid.Uint8().Draw(t, "failures"),
			Disruptions: rapid.Uint8().Draw(t, "disruptions"),
			Growth:      rapid.Uint8().Draw(t, "growth"),
		}
		if state == Active {
			unfinished.Wave = rapid.Uint32().Draw(t, "wave")
		} else {
			unfinished.Due = rapid.Uint32().Draw(t, "due")
		}
		return unfinished
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

func TestResizeKeepsWhatStays(t *testing.T) {
	l := Ledger{{State: Succeeded}, {State: Failed}}
	if got := l.Resize(3); !reflect.DeepEqual(got, Ledger{{State: Succeeded}, {State: Failed}, {}}) {
		t.Errorf("grown: %v", got)
	}
	if got := l.Clone().Resize(1); !reflect.DeepEqual(got, Ledger{{State: Succeeded}}) {
		t.Errorf("shrunk: %v", got)
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
		"half failed, at random":  func(int) Task { return Task{State: Succeeded + State(random.IntN(2))} },
		"each with up to 6 failures, retried within 6 minutes, a tenth of them waiting": func(int) Task {
			if random.IntN(10) > 0 {
				return Task{State: Succeeded + State(random.IntN(2))}
			}
			return Task{Failures: uint8(random.IntN(7)), Due: 1_800_000_000 + uint32(random.IntN(360))}
		},
	}
	for name, make100k := range cases {
		t.Run(name, func(t *testing.T) {
			l := Ledger(nil).Resize(100_000)
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
	l := Ledger(nil).Resize(100_000)
	for i := range l {
		l[i].State = Succeeded + State(i/1000%2)
	}
	for b.Loop() {
		if _, err := Decode(l.Encode()); err != nil {
			b.Fatal(err)
		}
	}
}
