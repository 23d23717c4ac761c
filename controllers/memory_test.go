package controllers

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

func TestMemory(t *testing.T) {
	run, now := types.NamespacedName{Name: "r"}, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for rule, test := range map[string]struct {
		later time.Duration
		known bool
	}{
		"a value is known at once":                     {0, true},
		"a value is known for its lifetime":            {time.Minute - 1, true},
		"a value is forgotten after its lifetime":      {time.Minute, false},
		"a value of a clock that was put back is lost": {-time.Second, false},
	} {
		t.Run(rule, func(t *testing.T) {
			m := memory[int]{lifetime: time.Minute}
			m.put(run, 7, now)
			value, known := m.get(run, now.Add(test.later))
			if known != test.known || known && value != 7 {
				t.Errorf("got %d, %t", value, known)
			}
			m.forget(run)
			if _, known := m.get(run, now); known {
				t.Error("known after it was forgotten")
			}
		})
	}
}
