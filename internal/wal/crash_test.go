package wal

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/vfs"
)

var crashSeeds = flag.Int("seeds", 8, "workloads of each crash test; more of them take longer")

// history is what the world outside knows of a log, through all crashes: what senders were told and readers saw.
type history struct {
	rng     *rand.Rand
	senders []*sender
	seen    map[uint64]id // by sequence: every event that was acknowledged or read
	where   map[id]uint64 // the other way round
	trimmed uint64        // the highest sequence that was given to Trim
	unnamed int           // events sent without a producer; each is sent once
}

// id names an event. Events without a producer are x's.
type id struct {
	sender string
	count  uint64
}

func (i id) String() string { return i.sender + ":" + strconv.FormatUint(i.count, 10) }

// parse reads the id that a message starts with.
func parse(message []byte) (id, error) {
	text, _, _ := strings.Cut(string(message), " ")
	name, count, _ := strings.Cut(text, ":")
	n, err := strconv.ParseUint(count, 10, 64)
	return id{name, n}, err
}

// sender counts its events, and sends again what was not acknowledged.
type sender struct {
	name  string
	first uint64 // where it started to count
	next  uint64 // counts below were sent at least once
	acked uint64 // counts below were acknowledged
}

func newHistory(seed uint64) *history {
	h := &history{rng: rand.New(rand.NewPCG(seed, 1)), seen: map[uint64]id{}, where: map[id]uint64{}}
	for i := range 3 {
		first := uint64(i * 100) // any start
		h.senders = append(h.senders, &sender{name: fmt.Sprintf("p%d", i), first: first, next: first, acked: first})
	}
	return h
}

// see notes that a sequence was acknowledged or read as an event.
func (h *history) see(seq uint64, ev id) error {
	old, known := h.seen[seq]
	if known && old == ev {
		return nil
	}
	if known {
		return fmt.Errorf("sequence %d was %s and is %s now", seq, old, ev)
	}
	if at, ok := h.where[ev]; ok {
		return fmt.Errorf("%s stands at %d and at %d", ev, at, seq)
	}
	h.seen[seq], h.where[ev] = ev, seq
	return nil
}

// encode makes n events whose messages name them, count by count; some batches are long enough to be compressed.
func (h *history) encode(name string, first uint64, n int) []byte {
	var data []byte
	pad := strings.Repeat(".", h.rng.IntN(2)*h.rng.IntN(400))
	for i := range n {
		data = event.AppendEvent(data, &event.Event{Message: []byte(id{name, first + uint64(i)}.String() + " " + pad)})
	}
	return data
}

func ids(e *Entry) ([]id, error) {
	out := make([]id, 0, e.Count)
	for data := e.Data; len(data) > 0; {
		var ev event.Event
		var err error
		if data, err = event.Decode(data, &ev); err != nil {
			return nil, err
		}
		found, err := parse(ev.Message)
		if err != nil {
			return nil, err
		}
		out = append(out, found)
	}
	if len(out) != e.Count {
		return nil, fmt.Errorf("an entry of %d events holds %d", e.Count, len(out))
	}
	return out, nil
}

func cursorAt(name string, next uint64) string { return "at " + id{name, next}.String() }

// send lets a random sender send a batch: often new events, sometimes with some the log has already.
func (h *history) send(l *Log) error {
	if h.rng.IntN(4) == 0 {
		n := 1 + h.rng.IntN(3)
		e := &Entry{Count: n, Data: h.encode("x", uint64(h.unnamed), n)}
		first := h.unnamed
		h.unnamed += n
		seq, kept, err := l.Append(context.Background(), e)
		if err != nil {
			return err
		}
		if kept != n || e.First != seq {
			return fmt.Errorf("%d of %d events without a producer were kept", kept, n)
		}
		for i := range n {
			if err := h.see(seq+uint64(i), id{"x", uint64(first + i)}); err != nil {
				return err
			}
		}
		return nil
	}
	s := h.senders[h.rng.IntN(len(h.senders))]
	n := 1 + h.rng.IntN(5)
	from := s.acked
	if h.rng.IntN(3) == 0 {
		from -= min(uint64(h.rng.IntN(8)), from-s.first)
	}
	end := from + uint64(n)
	s.next = max(s.next, end)
	seq, kept, err := l.Append(context.Background(), &Entry{
		Count: n, Producer: s.name, ProducerSeq: from, Cursor: []byte(cursorAt(s.name, end)), Data: h.encode(s.name, from, n),
	})
	if err != nil {
		return err
	}
	if end > s.acked {
		s.acked = end
	}
	for i := range kept {
		if err := h.see(seq+uint64(i), id{s.name, end - uint64(kept) + uint64(i)}); err != nil {
			return err
		}
	}
	// What was not kept must be there: the log has said so.
	for c := from; c < end-uint64(kept); c++ {
		if ev := (id{s.name, c}); h.where[ev] == 0 {
			return fmt.Errorf("%s was taken for a repeat and was never seen", ev)
		}
	}
	return nil
}

// check reads a whole log and holds it against the history.
func (h *history) check(l *Log) error {
	r := l.Reader(0)
	defer r.Close()
	next, started := uint64(0), false
	counts := map[string]uint64{}
	for {
		e, ok, err := r.TryNext()
		if trimmed := (*TrimmedError)(nil); errors.As(err, &trimmed) && !started {
			if trimmed.Oldest > h.trimmed+1 {
				return fmt.Errorf("trimmed to %d, and the log starts at %d", h.trimmed, trimmed.Oldest)
			}
			next, started = trimmed.Oldest, true
			continue
		}
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if !started {
			next, started = 1, true
		}
		if e.First != next {
			return fmt.Errorf("sequence %d follows %d", e.First, next-1)
		}
		found, err := ids(e)
		if err != nil {
			return err
		}
		for i, ev := range found {
			if err := h.see(next, ev); err != nil {
				return err
			}
			next++
			if e.Producer != "" {
				if want := (id{e.Producer, e.ProducerSeq + uint64(i)}); ev != want {
					return fmt.Errorf("%s where %s belongs", ev, want)
				}
				if old, ok := counts[ev.sender]; ok && ev.count != old+1 {
					return fmt.Errorf("%s follows count %d", ev, old)
				}
				counts[ev.sender] = ev.count
			}
		}
		if e.Producer != "" && string(e.Cursor) != cursorAt(e.Producer, e.ProducerSeq+uint64(e.Count)) {
			return fmt.Errorf("cursor %q behind %s:%d", e.Cursor, e.Producer, e.ProducerSeq+uint64(e.Count)-1)
		}
	}
	if started && l.Last() != next-1 {
		return fmt.Errorf("the log's last event is %d, reading ended at %d", l.Last(), next-1)
	}
	for seq, ev := range h.seen {
		if seq >= next {
			return fmt.Errorf("%s at %d is lost: the log ends at %d", ev, seq, l.Last())
		}
	}
	for _, s := range h.senders {
		end := uint64(0)
		for c := s.next; c > 0; c-- {
			if h.where[id{s.name, c - 1}] != 0 {
				end = c
				break
			}
		}
		if end < s.acked && s.acked > s.first {
			return fmt.Errorf("%s was told that all below %d is durable; the log has %d", s.name, s.acked, end)
		}
		mark, cursor, ok := l.Producer(s.name)
		if ok != (end > 0) || mark != end || ok && string(cursor) != cursorAt(s.name, end) {
			return fmt.Errorf("%s: the log expects %d next, with cursor %q, and has all below %d", s.name, mark, cursor, end)
		}
	}
	if st := l.Stats(); st.Corrupt != 0 {
		return fmt.Errorf("%d corrupt places", st.Corrupt)
	}
	return nil
}

// machine runs a log on a file system that may die under it.
type machine struct {
	*history
	fs     *vfs.Crash
	log    *Log
	noSync bool
	opened int // how often: a log of batches of both kinds is read
}

func (m *machine) open() error {
	m.opened++
	l, err := Open(Options{Dir: "/data/wal", FS: m.fs, SegmentBytes: 2500, NoSync: m.noSync, Compress: m.opened%2 == 0,
		Now: func() time.Time { return time.Unix(1e9, 0) }})
	if err == nil {
		m.log = l
	}
	return err
}

// close ends the log's goroutine; on a dead file system that is all it does.
func (m *machine) close() {
	if m.log != nil {
		_ = m.log.Close()
		m.log = nil
	}
}

// work does n random things, until one fails.
func (m *machine) work(n int) error {
	for range n {
		if m.log == nil {
			if err := m.open(); err != nil {
				return err
			}
			// What was not acknowledged may be there; then it counts as seen.
			if err := m.check(m.log); err != nil {
				return err
			}
		}
		var err error
		switch m.rng.IntN(16) {
		case 0:
			m.close()
		case 1:
			m.close()
			m.fs = m.fs.Kill()
		case 2:
			upTo := m.log.Last() - min(m.log.Last(), uint64(m.rng.IntN(20)))
			m.trimmed = max(m.trimmed, upTo)
			err = m.log.Trim(upTo)
		case 3:
			err = m.check(m.log)
		case 4:
			err = m.rollOver()
		default:
			err = m.send(m.log)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// rollOver leaves no file that holds an event.
func (m *machine) rollOver() error {
	last, err := m.log.Roll()
	if err != nil {
		return err
	}
	m.trimmed = max(m.trimmed, last)
	if err := m.log.Trim(last); err != nil {
		return err
	}
	names, err := m.fs.ReadDir("/data/wal")
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, suffix) && name != fmt.Sprintf("%020d%s", last+1, suffix) {
			return fmt.Errorf("rolled over at %d, and there is %s", last, name)
		}
	}
	if oldest := m.log.Oldest(); oldest != last+1 {
		return fmt.Errorf("rolled over at %d, and the oldest event is %d", last, oldest)
	}
	return nil
}

const workSteps = 50

// point runs a workload that dies at the n-th call, and what comes after: a crash, perhaps one more while opening, the
// check, resending, and a last crash and check. done is true when the workload ended before the n-th call.
func point(seed uint64, n int, noSync bool) (done bool, err error) {
	m := &machine{history: newHistory(seed), fs: vfs.NewCrash(seed*1000 + uint64(n)), noSync: noSync}
	defer func() { m.close() }()
	if err := m.prepare(); err != nil {
		return false, err
	}
	m.fs.StopAt(n)
	switch err := m.work(workSteps); {
	case err == nil:
		done = true
	case !errors.Is(err, vfs.ErrStopped):
		return false, fmt.Errorf("at work: %w", err)
	}
	m.rng = rand.New(rand.NewPCG(seed, uint64(n)))
	m.close()
	m.fs.StopAt(0)
	if m.rng.IntN(3) == 0 { // only the process died, and was started again before the power went
		m.fs = m.fs.Kill()
		if err := m.work(m.rng.IntN(4)); err != nil {
			return done, fmt.Errorf("after the kill: %w", err)
		}
		m.close()
	}
	m.fs = m.fs.Crash()
	if m.rng.IntN(2) == 0 {
		m.fs.StopAt(1 + m.rng.IntN(12))
		if err := m.work(3); err != nil && !errors.Is(err, vfs.ErrStopped) {
			return done, fmt.Errorf("opening after the crash: %w", err)
		}
		m.close()
		m.fs = m.fs.Crash()
	}
	for _, when := range []string{"after the crash", "after going on"} {
		if err := m.open(); err != nil {
			return done, fmt.Errorf("%s: %w", when, err)
		}
		if err := m.check(m.log); err != nil {
			return done, fmt.Errorf("%s: %w", when, err)
		}
		if err := m.work(8); err != nil {
			return done, fmt.Errorf("%s: going on: %w", when, err)
		}
		m.close()
		m.fs = m.fs.Crash()
	}
	return done, nil
}

// prepare makes the folder durable, as the data folder's owner does.
func (m *machine) prepare() error {
	if err := m.fs.MkdirAll("/data", 0o700); err != nil {
		return err
	}
	return m.fs.SyncDir("/")
}

// TestFaults lets the disk fail at random while the workload goes on: writes, fsyncs and other calls, once or until it is
// healed, and full disks; and takes the power away at the end.
func TestFaults(t *testing.T) {
	var refused, reopened int
	for seed := range uint64(*crashSeeds * 25) {
		m := &machine{history: newHistory(seed), fs: vfs.NewCrash(seed)}
		err := m.prepare()
		if err == nil {
			err = m.faults(&refused, &reopened)
		}
		m.close()
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, m.fs.Dump())
		}
	}
	t.Logf("%d batches refused, %d times not opened", refused, reopened)
	if refused == 0 || reopened == 0 {
		t.Error("the faults did not reach the log")
	}
}

func (m *machine) faults(refused, reopened *int) error {
	for range 60 {
		switch m.rng.IntN(12) {
		case 0:
			m.fs.FailSyncs(1+m.rng.IntN(4), 1)
		case 1:
			m.fs.FailSyncs(1+m.rng.IntN(4), -1)
		case 2:
			m.fs.SetSpace(int64(m.rng.IntN(3000)))
		case 3:
			kinds, p := []string{"write", "rename", "create", "truncate", "remove", "syncdir"}, 1+m.rng.IntN(3)
			kind, rng := kinds[m.rng.IntN(len(kinds))], rand.New(rand.NewPCG(m.rng.Uint64(), 1))
			m.fs.Inject(func(op vfs.Op) error {
				if op.Kind == kind && rng.IntN(p) == 0 {
					return syscall.EIO
				}
				return nil
			})
		case 4, 5, 6:
			m.fs.Inject(nil)
			m.fs.SetSpace(-1)
		}
		var pressure *PressureError
		switch err := m.work(1); {
		case err == nil:
		case errors.As(err, &pressure):
			*refused++
		case errors.Is(err, syscall.EIO) || errors.Is(err, syscall.ENOSPC):
			if m.log == nil {
				*reopened++
			}
		default:
			return err
		}
	}
	m.close()
	for range 2 {
		m.fs = m.fs.Crash()
		if err := m.open(); err != nil {
			return fmt.Errorf("after the crash: %w", err)
		}
		if err := m.check(m.log); err != nil {
			return fmt.Errorf("after the crash: %w", err)
		}
		if err := m.send(m.log); err != nil {
			return err
		}
		m.close()
	}
	return nil
}

// TestCrash takes the power away at every call of some workloads.
func TestCrash(t *testing.T) {
	points, start := 0, time.Now()
	for seed := range uint64(*crashSeeds) {
		for n := 3; ; n++ {
			done, err := point(seed, n, false)
			if err != nil {
				t.Fatalf("workload %d stopped at call %d: %v", seed, n, err)
			}
			points++
			if done {
				break
			}
		}
	}
	t.Logf("%d crash points, %.0f a second", points, float64(points)/time.Since(start).Seconds())
}

// TestCrashConcurrent is TestCrash with several senders at once, so that commits hold several batches, and a reader whose
// events must not vanish either.
func TestCrashConcurrent(t *testing.T) {
	for seed := range uint64(*crashSeeds * 15) {
		if err := concurrentPoint(seed); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func concurrentPoint(seed uint64) error {
	m := &machine{history: newHistory(seed), fs: vfs.NewCrash(seed)}
	defer func() { m.close() }()
	if err := m.prepare(); err != nil {
		return err
	}
	if err := m.open(); err != nil {
		return err
	}
	m.fs.StopAt(m.fs.Ops() + 1 + m.rng.IntN(60))
	var mu sync.Mutex // guards the history
	var failed []error
	note := func(seq uint64, ev id) {
		mu.Lock()
		defer mu.Unlock()
		if err := m.see(seq, ev); err != nil {
			failed = append(failed, err)
		}
	}
	reading, stop := context.WithCancel(context.Background())
	var senders, readers sync.WaitGroup
	for i, s := range m.senders {
		own := newHistory(seed*100 + uint64(i)) // only for its random numbers
		senders.Go(func() {
			for {
				n := 1 + own.rng.IntN(4)
				e := &Entry{Count: n, Producer: s.name, ProducerSeq: s.acked, Data: own.encode(s.name, s.acked, n)}
				e.Cursor = []byte(cursorAt(s.name, s.acked+uint64(n)))
				s.next = s.acked + uint64(n)
				seq, kept, err := m.log.Append(context.Background(), e)
				if err != nil {
					return
				}
				for k := range kept {
					note(seq+uint64(k), id{s.name, s.acked + uint64(n-kept+k)})
				}
				s.acked = s.next
			}
		})
	}
	readers.Go(func() {
		r := m.log.Reader(0)
		defer r.Close()
		for {
			e, err := r.Next(reading)
			if err != nil {
				return
			}
			found, err := ids(e)
			if err != nil {
				mu.Lock()
				failed = append(failed, err)
				mu.Unlock()
			}
			for k, ev := range found {
				note(e.First+uint64(k), ev)
			}
		}
	})
	senders.Wait()
	stop()
	readers.Wait()
	m.close()
	if len(failed) > 0 {
		return errors.Join(failed...)
	}
	for range 2 {
		m.fs = m.fs.Crash()
		if err := m.open(); err != nil {
			return err
		}
		if err := m.check(m.log); err != nil {
			return err
		}
		if err := m.work(5); err != nil {
			return err
		}
		m.close()
	}
	return nil
}

// TestCrashWithoutSync holds the harness itself to its word: without fsync it must find losses.
func TestCrashWithoutSync(t *testing.T) {
	points, bad := 0, 0
	for n := 3; n < 150; n++ {
		if _, err := point(1, n, true); err != nil {
			bad++
		}
		points++
	}
	t.Logf("losses found at %d of %d crash points", bad, points)
	if bad < points/3 {
		t.Errorf("without fsync only %d of %d crash points lose something: the harness is blind", bad, points)
	}
}
