package controllers

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// memory holds a value for each run for a while. What it forgets in a restart is only asked, or done, again.
type memory[T any] struct {
	lifetime time.Duration

	mutex  sync.Mutex
	values map[types.NamespacedName]remembered[T]
}

type remembered[T any] struct {
	value T
	at    time.Time
}

// get returns the value that was put less than the lifetime before now. One that was put later than now is not known: the
// clock was put back.
func (m *memory[T]) get(run types.NamespacedName, now time.Time) (value T, ok bool) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	found, ok := m.values[run]
	age := now.Sub(found.at)
	return found.value, ok && age >= 0 && age < m.lifetime
}

func (m *memory[T]) put(run types.NamespacedName, value T, now time.Time) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.values == nil {
		m.values = map[types.NamespacedName]remembered[T]{}
	}
	m.values[run] = remembered[T]{value, now}
}

func (m *memory[T]) forget(run types.NamespacedName) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	delete(m.values, run)
}
