// Package recent finds again what was found by its name a moment ago, without hashing the name and looking into a map: events come
// from few services that take turns.
//
//	s, ok := cache.Get(name)
//	if !ok {
//		s = table[string(name)]
//		cache.Put(name, s)
//	}
package recent

// Names holds a few values by name; each name has one place, which the newest takes. The zero value is empty. It keeps no memory but
// its own, 4 KB, and is not safe for concurrent use.
type Names[T any] struct {
	slots [64]slot[T]
}

// maxName is the length of the longest name that is kept.
const maxName = 46

type slot[T any] struct {
	held  bool
	n     uint8
	name  [maxName]byte
	value T
}

// Get returns the value put last under a name, unless another name has taken its place.
func (n *Names[T]) Get(name []byte) (value T, ok bool) {
	s := &n.slots[place(name)]
	if !s.held || string(s.name[:min(s.n, maxName)]) != string(name) {
		return value, false
	}
	return s.value, true
}

// Put keeps a value under a name, unless that is longer than names usually are.
func (n *Names[T]) Put(name []byte, value T) {
	if len(name) > maxName {
		return
	}
	s := &n.slots[place(name)]
	s.held, s.n, s.value = true, uint8(len(name)), value
	copy(s.name[:], name)
}

// place tells apart names that differ in their length or at some places, as names with numbers do.
func place(name []byte) uint {
	n := uint(len(name))
	if n == 0 {
		return 0
	}
	return (n + uint(name[n-1])*5 + uint(name[n/2])*3 + uint(name[0])) % 64
}
