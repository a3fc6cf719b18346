package query

import "github.com/lookoutlog/lookout/internal/event"

// Set holds an event against many queries. It is not safe for concurrent use.
type Set struct {
	queries []*Query
}

// NewSet returns a set of the queries; a nil one matches nothing.
func NewSet(queries []*Query) *Set { return &Set{queries: queries} }

// Match appends to dst the indices of the queries that the event satisfies, in order. It keeps no reference to e.
func (s *Set) Match(dst []int, e *event.Event) []int {
	for i, q := range s.queries {
		if q != nil && q.Match(e) {
			dst = append(dst, i)
		}
	}
	return dst
}
