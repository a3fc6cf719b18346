package index

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// match is one row of an answer. data is the encoded event.
type match struct {
	time     int64
	seq      uint64
	received int64
	data     []byte
	size     int // of data
	context  bool
}

// rowTime returns the time of an encoded event (see event.AppendEvent for its place).
func rowTime(data []byte) int64 { return int64(binary.LittleEndian.Uint64(data[4:])) }

func (m *match) decode(e *event.Event) error {
	if _, err := event.Decode(m.data, e); err != nil {
		return errPart(m.seq, err)
	}
	e.Seq, e.Received = m.seq, m.received
	return nil
}

// stream is some rows in the search's order.
type stream struct {
	service string
	matched int64 // of its rows, delivered
	rows    []match
	next    int
	buf     []byte
}

// merger is the heap of the streams that are being merged, by each one's next row.
type merger struct {
	newest  bool
	streams []*stream
	fresh   int // streams of which no row was delivered
}

func (h *merger) less(a, b *stream) bool {
	x, y := &a.rows[a.next], &b.rows[b.next]
	if h.newest {
		x, y = y, x
	}
	return x.time < y.time || x.time == y.time && x.seq < y.seq
}

func (h *merger) push(s *stream) {
	h.fresh++
	h.streams = append(h.streams, s)
	l := h.streams
	for i := len(l) - 1; i > 0; {
		up := (i - 1) / 2
		if !h.less(l[i], l[up]) {
			return
		}
		l[up], l[i] = l[i], l[up]
		i = up
	}
}

// step moves on to the next row; it returns the first stream when that has no more.
func (h *merger) step() (ended *stream) {
	l := h.streams
	if l[0].next == 0 {
		h.fresh--
	}
	if l[0].next++; l[0].next == len(l[0].rows) {
		ended = l[0]
		n := len(l) - 1
		l[0] = l[n]
		l[n] = nil
		l = l[:n]
		h.streams = l
	}
	for i := 0; ; {
		k := 2*i + 1
		if k >= len(l) {
			return ended
		}
		if k+1 < len(l) && h.less(l[k+1], l[k]) {
			k++
		}
		if !h.less(l[k], l[i]) {
			return ended
		}
		l[i], l[k] = l[k], l[i]
		i = k
	}
}

// add puts rows into the merge; s is nil when the search ends before they were looked for.
func (q *search) add(s *stream) {
	if s != nil && len(s.rows) > 0 {
		q.active.push(s)
	}
}

// stream returns an empty stream, with the memory of one that has been delivered.
func (q *search) stream(service string) *stream {
	n := len(q.spare)
	if n == 0 {
		return &stream{service: service}
	}
	s := q.spare[n-1]
	q.spare = q.spare[:n-1]
	*s = stream{service: service, rows: s.rows[:0], buf: s.buf[:0]}
	return s
}

// recycle takes back a stream that has been delivered. Few are kept: no more than are in work.
func (q *search) recycle(s *stream) {
	q.services[s.service] += s.matched
	if cap(s.buf) > 0 && cap(s.buf) <= maxPooled && len(q.spare) < q.window() {
		q.spare = append(q.spare, s)
	}
}

// place returns a stream's place in the order.
func (q *search) place(s *stream) int64 {
	t := s.rows[s.next].time
	return q.key(t, t)
}

// merged calls fn for every row in order until it returns an error; errStop ends without one. The match is valid during the
// call.
func (q *search) merged(fn func(s *stream, m *match) error) error {
	defer func() {
		for _, s := range q.active.streams {
			q.services[s.service] += s.matched
		}
		for service, n := range q.services {
			if n == 0 {
				delete(q.services, service)
			}
		}
	}()
	for q.ctx.Err() == nil {
		for len(q.results) > 0 { // so that the workers have something to do
			q.await()
		}
		q.dispatch()
		bound, waits := q.bound()
		if waits && (len(q.active.streams) == 0 || bound <= q.place(q.active.streams[0])) {
			if q.passed != nil {
				if err := q.passed(bound); err != nil {
					return err
				}
			}
			if len(q.running) > 0 {
				q.await()
			}
			continue
		}
		if len(q.active.streams) == 0 {
			return q.ended()
		}
		for ended := (*stream)(nil); ended == nil && len(q.active.streams) > 0; {
			s := q.active.streams[0]
			at := q.place(s)
			if waits && bound <= at || q.ctx.Err() != nil {
				break
			}
			if q.wasCut && at >= q.cut {
				return q.ended()
			}
			if err := fn(s, &s.rows[s.next]); err != nil {
				if err == errStop {
					return nil
				}
				return err
			}
			if ended = q.active.step(); ended != nil {
				q.recycle(ended)
			}
		}
	}
	return nil
}

// sizeText writes a number of bytes for people.
func sizeText(bytes int64) string {
	switch {
	case bytes < 1e6:
		return fmt.Sprintf("%d bytes", bytes)
	case bytes < 10e9:
		return fmt.Sprintf("%d MB", bytes/1e6)
	}
	return fmt.Sprintf("%d GB", bytes/1e9)
}

// ended says what was left out at the end of an answer.
func (q *search) ended() error {
	if q.wasCut {
		const mend = "; search a shorter range or one service, or raise limits.query_scan"
		looked := "the search has looked at " + sizeText(q.total.bytes) + " of events, as much as it may"
		reason := looked + ", and not at the others" + mend
		if q.visitor == nil {
			at, side := q.cut, "from %s on"
			if q.r.Newest {
				at, side = ^at, "of %s and before"
			}
			reason = looked + ": events " + fmt.Sprintf(side, time.Unix(0, at).UTC().Format(time.RFC3339Nano)) + " are left out" + mend
			q.cutAt = at
		}
		q.budget = query.BudgetScan
		q.mu.Lock()
		defer q.mu.Unlock()
		q.reasons = append(q.reasons, reason)
	}
	return nil
}

func (q *search) merge(fn func(query.Row) error) error {
	var e event.Event
	return q.merged(func(s *stream, m *match) error {
		if err := m.decode(&e); err != nil {
			return err
		}
		if err := fn(query.Row{Event: &e}); err != nil {
			return err
		}
		s.matched++
		if q.matched++; q.r.Limit > 0 && q.matched == int64(q.r.Limit) {
			return errStop
		}
		return nil
	})
}
