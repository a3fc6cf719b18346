package segment

import (
	"errors"
	"sync"

	"github.com/lookoutlog/lookout/index/block"
)

// ErrNoEvents is the error of [Segment.Received] for a segment without events.
var ErrNoEvents = errors.New("the segment has no events")

// receipt is when a segment's events were received, as far as it was asked.
type receipt struct {
	once        sync.Once
	first, last block.ReceivedRun
	err         error
}

// Received returns the segment's lowest and highest sequence that have an event, and when these were received. It reads the headers of
// two blocks, the first time only. The error is [ErrNoEvents], or says what cannot be read.
func (s *Segment) Received() (first, last block.ReceivedRun, err error) {
	r := &s.receipt
	r.once.Do(func() { r.first, r.last, r.err = s.received() })
	return r.first, r.last, r.err
}

func (s *Segment) received() (first, last block.ReceivedRun, err error) {
	if len(s.Damage) > 0 {
		return first, last, s.Damage[0]
	}
	if len(s.Blocks) == 0 {
		return first, last, ErrNoEvents
	}
	lo, hi := s.Blocks[0], s.Blocks[0]
	for _, e := range s.Blocks {
		if e.MinSeq < lo.MinSeq {
			lo = e
		}
		if e.MaxSeq > hi.MaxSeq {
			hi = e
		}
	}
	at := func(e *Entry, seq uint64) (block.ReceivedRun, error) {
		b, err := e.Open()
		if err != nil {
			return block.ReceivedRun{}, err
		}
		return block.ReceivedRun{Seq: seq, Received: b.Received(seq)}, nil
	}
	if first, err = at(lo, lo.MinSeq); err == nil {
		last, err = at(hi, hi.MaxSeq)
	}
	return first, last, err
}
