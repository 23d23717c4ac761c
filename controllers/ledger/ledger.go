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

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// State is what a task is doing.
type State uint8

const (
	// Pending: the task waits for its first or next attempt.
	Pending State = iota
	// Active: an open wave carries the task.
	Active
	// Succeeded and Failed are final.
	Succeeded
	Failed
)

// Task is the state of one task. A finished task remembers its State only.
type Task struct {
	State State
	// Failures counts against spec.backoffLimit.
	Failures uint8
	// Disruptions counts against spec.retryPolicy.maxDisruptions.
	Disruptions uint8
	// Growth is how often the task's memory grew.
	Growth uint8
	// Due is when a pending task may start, in seconds since 1970; 0 is at once.
	Due uint32
	// Wave is the number of the wave that carries an active task.
	Wave uint32
}

func (t Task) finished() bool { return t.State == Succeeded || t.State == Failed }

// Attempts is the number of attempts of an unfinished task that have ended.
func (t Task) Attempts() int { return int(t.Failures) + int(t.Disruptions) }

// Ledger holds the tasks of a run by their index.
type Ledger []Task

// Resize returns a ledger of n tasks: tasks above are forgotten, new ones are pending.
func (l Ledger) Resize(n int) Ledger {
	if n <= len(l) {
		return l[:n]
	}
	return append(l, make(Ledger, n-len(l))...)
}

// Clone returns a copy.
func (l Ledger) Clone() Ledger { return append(Ledger(nil), l...) }

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
const version = 1

// planes is the number of bytes that an unfinished task takes besides its state, before compression: three counts, and
// four bytes for Due, if it is pending, or Wave, if it is active.
const planes = 7

// Encode returns the compact form: a version, the number of tasks, the earliest Due, then the states of all tasks and
// the other fields of the unfinished ones, deflated byte plane by byte plane: most tasks are alike, so a plane
// compresses to almost nothing. An empty ledger is nil.
func (l Ledger) Encode() []byte {
	if len(l) == 0 {
		return nil
	}
	raw := make([]byte, len(l), 2*len(l))
	var open []Task
	var base uint32
	for i, t := range l {
		raw[i] = byte(t.State)
		if !t.finished() {
			open = append(open, t)
			if t.State == Pending && t.Due > 0 && (base == 0 || t.Due < base) {
				base = t.Due
			}
		}
	}
	n := len(open)
	rest := make([]byte, planes*n)
	for i, t := range open {
		last := t.Wave
		if t.State == Pending && t.Due > 0 { // 0 is at once, 1 is base
			last = t.Due - base + 1
		}
		rest[i], rest[n+i], rest[2*n+i] = t.Failures, t.Disruptions, t.Growth
		for plane := range 4 {
			rest[(3+plane)*n+i] = byte(last >> (8 * plane))
		}
	}
	var out bytes.Buffer
	out.WriteByte(version)
	out.Write(binary.AppendUvarint(nil, uint64(len(l))))
	out.Write(binary.AppendUvarint(nil, uint64(base)))
	deflate(&out, append(raw, rest...))
	return out.Bytes()
}

func deflate(out *bytes.Buffer, raw []byte) {
	w, err := flate.NewWriter(out, flate.BestSpeed)
	if err == nil {
		_, err = w.Write(raw)
	}
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
	if err != nil || tasks == 0 || tasks > v1alpha1.MaxTasks {
		return nil, errors.New("status.waves.ledger has no valid number of tasks")
	}
	base, err := binary.ReadUvarint(reader)
	if err != nil || base > math.MaxUint32 {
		return nil, errors.New("status.waves.ledger has no valid time")
	}
	inflated := flate.NewReader(reader)
	states := make([]byte, tasks)
	if _, err := io.ReadFull(inflated, states); err != nil {
		return nil, fmt.Errorf("status.waves.ledger: states: %w", err)
	}
	ledger := make(Ledger, tasks)
	var open []int
	for i, state := range states {
		ledger[i].State = State(state)
		if ledger[i].State > Failed {
			return nil, fmt.Errorf("status.waves.ledger: task %d has the unknown state %d", i, state)
		}
		if !ledger[i].finished() {
			open = append(open, i)
		}
	}
	n := len(open)
	rest := make([]byte, planes*n)
	if _, err := io.ReadFull(inflated, rest); err != nil {
		return nil, fmt.Errorf("status.waves.ledger: unfinished tasks: %w", err)
	}
	for i, index := range open {
		t := &ledger[index]
		t.Failures, t.Disruptions, t.Growth = rest[i], rest[n+i], rest[2*n+i]
		var last uint32
		for plane := range 4 {
			last |= uint32(rest[(3+plane)*n+i]) << (8 * plane)
		}
		switch {
		case t.State == Active:
			t.Wave = last
		case last > 0:
			t.Due = uint32(base) + last - 1
		}
	}
	return ledger, nil
}
