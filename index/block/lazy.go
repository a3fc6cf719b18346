package block

import (
	"sync"
	"sync/atomic"
)

// lazy is something that is read when it is first needed, by one of those who need it, and then kept.
type lazy[T any] struct {
	mu    sync.Mutex
	value atomic.Pointer[T]
}

// ready returns it when it has been read, nil before.
func (l *lazy[T]) ready() *T { return l.value.Load() }

func (l *lazy[T]) get(load func() (T, error)) (T, error) {
	if v := l.value.Load(); v != nil {
		return *v, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if v := l.value.Load(); v != nil {
		return *v, nil
	}
	v, err := load()
	if err == nil {
		l.value.Store(&v)
	}
	return v, err
}
