package ledger

import (
	"bytes"
	"encoding/binary"
	"math"
	"reflect"
	"testing"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// header is the start of an encoded ledger: a version, a number of tasks and the earliest Due.
func header(version byte, tasks, base uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint([]byte{version}, tasks), base)
}

func TestDecodeRefuses(t *testing.T) {
	body := func(raw ...byte) []byte {
		var out bytes.Buffer
		deflate(&out, raw)
		return out.Bytes()
	}
	one := body(append([]byte{byte(Pending), 0}, make([]byte, planes)...)...)
	for name, test := range map[string]struct {
		text []byte
		ok   bool
	}{
		"nothing wrong":                     {append(header(version, 1, 0), one...), true},
		"the latest of all times":           {append(header(version, 1, math.MaxUint32), one...), true},
		"a later time":                      {append(header(version, 1, math.MaxUint32+1), one...), false},
		"another version":                   {append(header(version+1, 1, 0), one...), false},
		"no task":                           {append(header(version, 0, 0), one...), false},
		"more tasks than a run can have":    {append(header(version, v1alpha1.MaxIndexes+1, 0), body(make([]byte, 20*v1alpha1.MaxIndexes)...)...), false},
		"as many tasks as a run can have":   {append(header(version, v1alpha1.MaxIndexes, 0), body(make([]byte, 13*v1alpha1.MaxIndexes)...)...), true},
		"a number of tasks that never ends": {[]byte{version, 0xff}, false},
		"a time that never ends":            {[]byte{version, 1, 0xff}, false},
		"states that break off":             {append(header(version, 2, 0), body(0, 0, 0)...), false},
		"an unknown state":                  {append(header(version, 1, 0), body(byte(Withdrawn)+1, 0)...), false},
		"the last state":                    {append(header(version, 1, 0), body(byte(Withdrawn), 0)...), true},
		"unfinished tasks that break off":   {append(header(version, 1, 0), body(byte(Pending), 0, 1)...), false},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Decode(test.text); (err == nil) != test.ok {
				t.Errorf("got error %v", err)
			}
		})
	}
}

func TestATaskThatEndedRemembersItsStateAndExecutionOnly(t *testing.T) {
	full := Task{Execution: 2, Failures: 3, Disruptions: 4, Growth: 5, Due: 6, Wave: 7}
	for state, want := range map[State]Task{
		Pending: full, Active: full, Removed: full,
		Succeeded: {Execution: 2}, Failed: {Execution: 2}, Withdrawn: {Execution: 2},
	} {
		task := full
		task.State, want.State = state, state
		got, err := Decode(Ledger{task}.Encode())
		if err != nil || !reflect.DeepEqual(got, Ledger{want}) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}

// Times that are close to each other take little more than none.
func TestCloseTimesAreShort(t *testing.T) {
	l := Ledger(nil).Grow(1000)
	for i := range l {
		l[i].Due = 1_800_000_000 + uint32(i%7)
	}
	if size := len(l.Encode()); size > 600 {
		t.Errorf("%d bytes", size)
	}
}
