package index

import (
	"slices"
	"time"
)

// Age is counted by the clock, and the clock may be wrong: for a while, or since a start. So a store compares it with a time that
// goes on evenly, and with what it showed before a stop, and notes each jump with the sequence at which it happened. What was
// received before a jump is counted as if the clock had been right by now's measure, so that a jump and its way back leave no trace;
// and until the clock has been steady for a day, nothing is removed by age at all.

const (
	// jumpLeast is the least difference that is a jump, and not a correction of what crystals do.
	jumpLeast = time.Hour
	// stopMost is the longest stop after which the clock is taken to be right.
	stopMost = 24 * time.Hour
	// steadyFor is how long the clock must be steady after a jump.
	steadyFor = 24 * time.Hour
	// lookEvery is how often what the clock shows is written down.
	lookEvery = 10 * time.Minute
)

var started = time.Now()

// sinceStart is a time that goes on evenly, in ns, but perhaps not while the machine sleeps.
func sinceStart() int64 { return int64(time.Since(started)) }

// clock watches the clock. Its fields are guarded by the store's lock.
type clock struct {
	known      bool
	wall, mono int64 // as they were at the last look, in ns
	steady     int64 // the mono from which on age counts again; 0 when nothing is in the way
	fresh      []clockJump
	jumps      int64 // since the start
}

// look compares the clock with a time that goes on evenly; seq is the newest sequence received by the clock as it was before.
func (c *clock) look(wall, mono int64, seq uint64) {
	if c.known {
		if d := (wall - c.wall) - (mono - c.mono); d > int64(jumpLeast) || d < -int64(jumpLeast) {
			c.jumped(clockJump{Seq: seq, Delta: d}, mono)
		}
	}
	c.known, c.wall, c.mono = true, wall, mono
}

// doubtful tells whether the clock, as it is now, may have jumped since the last look, which is some seconds ago.
func (c *clock) doubtful(wall int64) bool {
	d := wall - c.wall
	return d > int64(jumpLeast) || d < -int64(jumpLeast)/2
}

func (c *clock) jumped(j clockJump, mono int64) {
	c.fresh = append(c.fresh, j)
	c.steady = mono + int64(steadyFor)
	c.jumps++
}

// start is the look after a stop; seq is the newest sequence from before it, newest when it was received, 0 when that is not known.
func (c *clock) start(st *state, wall, mono int64, seq uint64, newest int64) {
	last := st.Look
	c.known, c.wall, c.mono = true, wall, mono
	if last.Pause > 0 {
		c.steady = mono + last.Pause
	}
	at := last.At
	if at == 0 {
		at = newest
	}
	if at == 0 {
		return
	}
	if d := wall - at; d > int64(stopMost) || d < -int64(jumpLeast) {
		// What follows a jump back may be its way forward.
		back := slices.ContainsFunc(st.Jumps, func(j clockJump) bool { return j.Delta < 0 })
		c.jumped(clockJump{Seq: seq, Delta: d, Stop: d > 0 && !back}, mono)
	}
}

// pause returns for how long the clock must still be steady before age counts.
func (c *clock) pause(mono int64) time.Duration {
	return time.Duration(max(c.steady-mono, 0))
}

// startClock looks at the clock for the first time: nothing else changes the store's state or segments meanwhile but commits and seals.
func (s *Store) startClock() {
	newest := int64(0)
	if s.state.Look.At == 0 { // a store from before there was retention
		last := uint64(0)
		s.mu.RLock()
		segments, release := s.snapshot()
		s.mu.RUnlock()
		defer release()
		for _, seg := range segments {
			if _, r, err := seg.Received(); err == nil && r.Seq > last {
				last, newest = r.Seq, r.Received
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock.start(s.state, s.o.Now().UnixNano(), s.o.mono(), s.last, newest)
}

// watchClock looks at the clock and writes down what must be remembered of it. It returns for how long nothing may be removed by
// age; an error means not at all for now.
func (c *compactor) watchClock() (pause time.Duration, err error) {
	s := c.s
	s.mu.RLock()
	known := s.clock.known
	s.mu.RUnlock()
	if !known { // nothing was removed by age until now
		s.startClock()
	}
	now, mono := s.o.Now().UnixNano(), s.o.mono()
	s.mu.Lock()
	s.clock.look(now, mono, s.last)
	pause = s.clock.pause(mono)
	fresh := s.clock.fresh
	s.mu.Unlock()
	st := s.state
	over := pause == 0 && slices.ContainsFunc(st.Jumps, func(j clockJump) bool { return j.Stop })
	if since := now - st.Look.At; len(fresh) == 0 && !over && since >= 0 && since < int64(lookEvery) {
		return pause, nil
	}
	err = s.saveState(func(st *state) {
		if over {
			st.trust()
		}
		for _, j := range fresh {
			st.jumped(j)
		}
		st.Look = clockLook{At: now, Pause: int64(pause)}
	})
	if err != nil {
		return pause, err
	}
	s.mu.Lock()
	s.clock.fresh = s.clock.fresh[len(fresh):]
	s.mu.Unlock()
	for _, j := range fresh {
		s.o.Log.Warn("the clock has jumped; nothing is removed by age until it has been steady for a day", "by", time.Duration(j.Delta), "steady_for", steadyFor)
	}
	return pause, nil
}
