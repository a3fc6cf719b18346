package index

import (
	"sync"
	"sync/atomic"
	"time"
)

// What computes beside searches gives way to them. Sealing and merging take milliseconds on end, and the operating system takes a core away
// from what has it only when its slice is over: on two cores a search of 3 ms, whose goroutines hand over to one another all the time, waited
// for several of these. So sealer and compactor ask between pieces of some tenths of a millisecond, and wait until no search is under way.
// They wait for no more than half of their time and not when memory runs short or many segments wait to be merged, so that neither
// constant searches nor a long one keep them from coming on (docs/adr/0010-giving-way.md). A request that has arrived is no search yet: so they
// also let go of the core at each piece, for a thread that has been woken. Inputs whose senders wait for an answer do the same, for shorter
// (docs/adr/0012-shorter-searches.md).
const (
	// wayTime is for how long a search is given way to. A longer one shares the cores: what it loses is little beside what it takes, and
	// a client that reads an export slowly holds nobody up.
	wayTime = 50 * time.Millisecond
	// wayMost is the longest wait at a stretch, wayLeast the shortest that is worth it.
	wayMost  = 20 * time.Millisecond
	wayLeast = 100 * time.Microsecond
	// wayInputs is wayMost for inputs: most searches are shorter, and a sender's answer is not to take long.
	wayInputs = 10 * time.Millisecond
)

// underway counts the searches that are given way to.
type underway struct {
	n     atomic.Int32
	mu    sync.Mutex
	ended chan struct{} // closed when none is left; nil while nobody waits for that
}

// begin counts a search until its time is up or end is called.
func (u *underway) begin() (end func()) {
	u.n.Add(1)
	leave := sync.OnceFunc(u.leave)
	timer := time.AfterFunc(wayTime, leave)
	return func() {
		timer.Stop()
		leave()
	}
}

func (u *underway) leave() {
	if u.n.Add(-1) > 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended != nil {
		close(u.ended)
		u.ended = nil
	}
}

// wait returns what is closed when no search is under way any more; nil when none is.
func (u *underway) wait() <-chan struct{} {
	if u.n.Load() == 0 {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.n.Load() == 0 { // leave may have had the lock before
		return nil
	}
	if u.ended == nil {
		u.ended = make(chan struct{})
	}
	return u.ended
}

// polite is how one goroutine gives way.
type polite struct {
	searches *underway
	done     <-chan struct{} // nothing is waited for any more
	most     time.Duration   // the longest wait at a stretch
	hurry    func() bool     // nothing is waited for now
	since    time.Time       // of the last wait's end
	credit   time.Duration   // that it may wait beside as much as it has worked since then
	waited   time.Duration   // in all
}

// giveWay lets go of the core, and waits until no search is under way, for as long as it has worked before at most.
func (p *polite) giveWay() {
	if !p.hurry() { // what lets go gets less than its share of a core that others want
		letGo()
		p.wait()
	}
}

// wait is what giveWay does beside letting go.
func (p *polite) wait() {
	ended := p.searches.wait()
	if ended == nil {
		return
	}
	begin := time.Now()
	credit := min(p.credit+begin.Sub(p.since), p.most)
	if credit < wayLeast {
		return
	}
	timer := time.NewTimer(credit)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	case <-p.done:
	}
	p.since = time.Now()
	p.credit = max(0, credit-p.since.Sub(begin))
	p.waited += p.since.Sub(begin)
}

// polite returns a new account of giving way.
func (s *Store) polite(hurry func() bool) *polite {
	return &polite{searches: &s.searches, done: s.ctx.Done(), most: wayMost, hurry: hurry}
}

// inputs is how all inputs that can wait give way: as one, that waits for half of the time at most.
type inputs struct {
	turn   chan struct{} // has one in it while an input waits or asks whether it has to
	polite *polite
}

func (s *Store) newInputs() inputs {
	p := s.polite(func() bool { return false }) // what waits takes no memory
	p.most = wayInputs
	return inputs{turn: make(chan struct{}, 1), polite: p}
}

// GiveWay is for inputs whose senders wait for an answer, between pieces of work of some tenths of a millisecond. It lets go of the core, and waits
// until no search is under way, for 10 ms at a stretch and half of the time at most.
func (s *Store) GiveWay() {
	letGo()
	if s.searches.n.Load() == 0 {
		return
	}
	s.inputs.turn <- struct{}{}
	defer func() { <-s.inputs.turn }()
	s.inputs.polite.wait()
}

// pressed tells whether the events in memory have come so near to their bound that sealing must not wait.
func (s *Store) pressed() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	used := s.active.bytes
	if s.frozen != nil {
		used += s.frozen.bytes
	}
	return used >= s.o.HeadBytes/4*3
}
