// Package ledger holds what a run has to remember of each of its tasks, and its compact form for the status.
package ledger

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"sync"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// State is what a task is doing.
type State uint8

const (
	// Pending: the task waits for its first or next attempt.
	Pending State = iota
	// Active: an open wave carries the task.
	Active
	// Succeeded and Failed are final, until a rerun.
	Succeeded
	Failed
	// Removed: the run does not have the task any more. Its index is not used again.
	Removed
	// Withdrawn: the same of a task that has succeeded. Should it come back, it has.
	Withdrawn
)

// Task is the state of one task. A task that succeeded or failed remembers its State and Execution only.
type Task struct {
	State State
	// Execution is how often the task was rerun.
	Execution uint8
	// Failures counts against spec.backoffLimit.
	Failures uint8
	// Disruptions counts against spec.retryPolicy.maxDisruptions.
	Disruptions uint8
	// Growth is how often the task's memory grew.
	Growth uint8
	// Due is when a pending task may start, in seconds since 1970; 0 is at once.
	Due uint32
	// Wave is one more than the number of the wave that carries an active task, or that may still end an attempt of
	// another one, which was given up or taken out; 0 is none.
	Wave uint32
}

// In is true for a task whose Wave is the wave of that number.
func (t Task) In(wave int) bool { return t.Wave == uint32(wave)+1 }

// Enter makes the wave of that number the task's Wave.
func (t *Task) Enter(wave int) { t.Wave = uint32(wave) + 1 }

// Present is true for a task that the run has.
func (t Task) Present() bool { return t.State != Removed && t.State != Withdrawn }

func (t Task) unfinished() bool {
	return t.State != Succeeded && t.State != Failed && t.State != Withdrawn
}

// Attempts is the number of attempts of an unfinished task that have ended.
func (t Task) Attempts() int { return int(t.Failures) + int(t.Disruptions) }

// Ledger holds the tasks of a run by their index.
type Ledger []Task

// Grow returns a ledger of at least n tasks; new ones are pending.
func (l Ledger) Grow(n int) Ledger { return append(l, make(Ledger, max(n-len(l), 0))...) }

// In lists the indexes of the tasks in a state, in ascending order.
func (l Ledger) In(state State) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range l {
			if l[i].State == state && !yield(i) {
				return
			}
		}
	}
}

// version is the first byte of an encoded ledger.
const version = 2

// planes is the number of bytes that an unfinished task takes besides its state and execution, before compression:
// three counts, and four bytes each for Due and Wave.
const planes = 11

// Encode returns the compact form: a version, the number of tasks, the earliest Due, then the states and executions of
// all tasks and the other fields of the unfinished ones, deflated byte plane by byte plane: most tasks are alike, so a
// plane compresses to almost nothing. An empty ledger is nil.
func (l Ledger) Encode() []byte {
	if len(l) == 0 {
		return nil
	}
	raw := make([]byte, 2*len(l), 3*len(l))
	var open []Task
	var base uint32
	for i, t := range l {
		raw[i], raw[len(l)+i] = byte(t.State), t.Execution
		if t.unfinished() {
			open = append(open, t)
			if t.Due > 0 && (base == 0 || t.Due < base) {
				base = t.Due
			}
		}
	}
	n := len(open)
	rest := make([]byte, planes*n)
	for i, t := range open {
		if t.Due > 0 { // 0 is at once, 1 is base
			t.Due = t.Due - base + 1
		}
		rest[i], rest[n+i], rest[2*n+i] = t.Failures, t.Disruptions, t.Growth
		for plane := range 4 {
			rest[(3+plane)*n+i] = byte(t.Due >> (8 * plane))
			rest[(7+plane)*n+i] = byte(t.Wave >> (8 * plane))
		}
	}
	var out bytes.Buffer
	out.WriteByte(version)
	out.Write(binary.AppendUvarint(nil, uint64(len(l))))
	out.Write(binary.AppendUvarint(nil, uint64(base)))
	deflate(&out, append(raw, rest...))
	return out.Bytes()
}

// writers are deflaters, each of some 100 KB, for use again.
var writers = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil { // the level is a constant
		panic(err)
	}
	return w
}}

func deflate(out *bytes.Buffer, raw []byte) {
	w := writers.Get().(*flate.Writer)
	defer writers.Put(w)
	w.Reset(out)
	_, err := w.Write(raw)
	if err == nil {
		err = w.Close()
	}
	if err != nil { // a bytes.Buffer takes everything
		panic(err)
	}
}

// Decode reads what Encode wrote. It fails on anything else.
func Decode(text []byte) (Ledger, error) {
	if len(text) == 0 {
		return nil, nil
	}
	if text[0] != version {
		return nil, fmt.Errorf("status.waves.ledger has version %d, this operator reads version %d", text[0], version)
	}
	reader := bytes.NewReader(text[1:])
	tasks, err := binary.ReadUvarint(reader)
	if err != nil || tasks == 0 || tasks > v1alpha1.MaxIndexes {
		return nil, errors.New("status.waves.ledger has no valid number of tasks")
	}
	base, err := binary.ReadUvarint(reader)
	if err != nil || base > math.MaxUint32 {
		return nil, errors.New("status.waves.ledger has no valid time")
	}
	inflated := flate.NewReader(reader)
	states := make([]byte, 2*tasks)
	if _, err := io.ReadFull(inflated, states); err != nil {
		return nil, fmt.Errorf("status.waves.ledger: states: %w", err)
	}
	ledger := make(Ledger, tasks)
	var open []int
	for i := range ledger {
		t := Task{State: State(states[i]), Execution: states[len(ledger)+i]}
		if t.State > Withdrawn {
			return nil, fmt.Errorf("status.waves.ledger: task %d has the unknown state %d", i, t.State)
		}
		if t.unfinished() {
			open = append(open, i)
		}
		ledger[i] = t
	}
	n := len(open)
	rest := make([]byte, planes*n)
	if _, err := io.ReadFull(inflated, rest); err != nil {
		return nil, fmt.Errorf("status.waves.ledger: unfinished tasks: %w", err)
	}
	for i, index := range open {
		t := &ledger[index]
		t.Failures, t.Disruptions, t.Growth = rest[i], rest[n+i], rest[2*n+i]
		for plane := range 4 {
			t.Due |= uint32(rest[(3+plane)*n+i]) << (8 * plane)
			t.Wave |= uint32(rest[(7+plane)*n+i]) << (8 * plane)
		}
		if t.Due > 0 {
			t.Due += uint32(base) - 1
		}
	}
	return ledger, nil
}
