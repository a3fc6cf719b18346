package probe

import (
	"encoding/json"
	"fmt"
	"time"
)

type status uint8

const (
	unknown status = iota // not checked yet
	up
	down
)

var statusNames = [...]string{"unknown", "up", "down"}

func (s status) String() string { return statusNames[s] }

// periods are how long a target must be bad or good.
type periods struct {
	confirm, recover time.Duration
	// most is what the time between two checks counts at most: more passes only when the prober did not run.
	most time.Duration
}

type change uint8

const (
	noChange change = iota
	wentDown
	cameUp
	wentGone
)

var changeNames = [...]string{"", "down", "up", "gone"}

func (c change) String() string { return changeNames[c] }

// state is what is known of a target. It is decided by step alone, from one check after the other.
type state struct {
	status status
	since  time.Time // when status began
	// failing is the first failed check since the target was last good for its recovery period; zero when there is none.
	failing time.Time
	// good is the first of the good checks after the last failed one; zero when the last one failed, or failing is zero.
	good time.Time
	// failed is how long it has been failing since then, healthy how long it has been good since good.
	failed, healthy time.Duration

	last   time.Time // the last check of this process
	lastOK bool
}

// step takes one check into account.
func (s *state) step(at time.Time, ok bool, p periods) change {
	var passed time.Duration // since the last check
	if !s.last.IsZero() {
		passed = min(max(at.Sub(s.last), 0), p.most)
	}
	wasOK := s.lastOK
	known := !s.last.IsZero()
	s.last, s.lastOK = at, ok
	if known && !wasOK {
		s.failed += passed
	}

	if !ok {
		s.good, s.healthy = time.Time{}, 0
		if s.failing.IsZero() {
			s.failing = at
		}
		if s.status != down && s.failed >= p.confirm {
			s.status, s.since = down, at
			return wentDown
		}
		return noChange
	}

	if s.status == unknown {
		s.status, s.since = up, at
	}
	if s.failing.IsZero() {
		return noChange
	}
	if s.good.IsZero() {
		s.good, s.healthy = at, 0
	} else {
		s.healthy += passed
	}
	if s.healthy < p.recover {
		return noChange
	}
	if s.status == down {
		s.status, s.since = up, at
		return cameUp // failing and good are still there to be told; settle forgets them
	}
	s.settle()
	return noChange
}

// settle forgets the failing time of a target that has recovered.
func (s *state) settle() {
	s.failing, s.good, s.failed, s.healthy = time.Time{}, time.Time{}, 0, 0
}

// undecided tells whether the next checks decide about a change of state.
func (s *state) undecided() bool {
	if s.status == down {
		return s.last.IsZero() || s.lastOK
	}
	return !s.failing.IsZero()
}

// cursor is the state as it is stored with a target's events.
type cursor struct {
	Version int    `json:"v"` // 1
	State   string `json:"state"`
	Since   int64  `json:"since,omitempty"`   // unix ns
	Failing int64  `json:"failing,omitempty"` // unix ns
	Failed  int64  `json:"failed,omitempty"`  // ns
	// What a change to gone is told with when the target is not known any more; only while it is down.
	Gone *identity `json:"gone,omitempty"`
}

type identity struct {
	Service   string `json:"service"`
	Env       string `json:"env,omitempty"`
	Container string `json:"container,omitempty"`
	URL       string `json:"url"`
	Page      bool   `json:"page,omitempty"`
}

// encode returns the state as a cursor.
func (s *state) encode(t *target) []byte {
	c := cursor{Version: 1, State: s.status.String(), Failed: int64(s.failed)}
	if !s.since.IsZero() {
		c.Since = s.since.UnixNano()
	}
	if !s.failing.IsZero() {
		c.Failing = s.failing.UnixNano()
	}
	if s.status == down {
		c.Gone = &identity{t.Service, t.Env, t.Container, t.shown, t.Page}
	}
	b, err := json.Marshal(&c)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return b
}

// decodeCursor reads what encode wrote. t is what a target that is not known any more was; nil unless it is down.
func decodeCursor(name string, b []byte) (s state, t *target, err error) {
	var c cursor
	if err := json.Unmarshal(b, &c); err != nil {
		return s, nil, fmt.Errorf("the stored state of probe %q: %w", name, err)
	}
	if c.Version != 1 {
		return s, nil, fmt.Errorf("the stored state of probe %q has version %d; this lookout knows 1", name, c.Version)
	}
	switch c.State {
	case "up":
		s.status = up
	case "down":
		s.status = down
	case "unknown":
	default:
		return s, nil, fmt.Errorf("the stored state of probe %q is %q", name, c.State)
	}
	if c.Since != 0 {
		s.since = time.Unix(0, c.Since)
	}
	if c.Failing != 0 {
		s.failing, s.failed = time.Unix(0, c.Failing), time.Duration(max(c.Failed, 0))
	}
	if s.status == down {
		if s.failing.IsZero() {
			s.failing = s.since
		}
		g := c.Gone
		if g == nil {
			g = &identity{Service: name}
		}
		t = &target{Target: Target{Name: name, Service: g.Service, Env: g.Env, Container: g.Container, Page: g.Page}, shown: g.URL}
	}
	return s, t, nil
}
