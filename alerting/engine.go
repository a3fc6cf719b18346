package alerting

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

const (
	// positionEvery is how often the position is written while nothing matches.
	positionEvery = time.Second
	// forgetEvery is how often old incidents are looked for, and forgetBatch how many go in one transaction.
	forgetEvery = time.Hour
	forgetBatch = 500
	// grace is how long a message on its way may take when the engine stops.
	grace = 3 * time.Second
)

// Engine holds the store's events against the rules and delivers what they match.
type Engine struct {
	db        *bbolt.DB
	source    Source
	notifier  Notifier
	fallbacks atomic.Pointer[[]string]
	baseURL   string
	limits    Limits
	clock     Clock
	log       *slog.Logger
	writing   sync.Mutex      // held by update
	toWake    map[string]bool // channels, by due; only the engine's loop uses it

	rules       atomic.Pointer[[]*rule]
	deleted     atomic.Pointer[[]*query.DeleteScope] // see Forget
	position    atomic.Uint64                        // of the last event that is decided
	tellsDigest bool
	digestAt    atomic.Int64 // when the week's digest is due, ns; 0 before the first
	received    int64        // the latest Received of those, ns; only the engine's loop uses it
	durable     uint64       // position in the state; only the engine's loop uses it
	written     time.Time    // when
	families    families
	book        book
	modes       modes
	desk        desk
	asker       *asker
	silences    atomic.Pointer[[]Silence] // oldest first
	policy      atomic.Pointer[Policy]
	watcher     *watcher
	olds        atomic.Bool // there are incidents under m1
	c           counters

	workspace limiter
	lanes     lanes
	edits     sync.Map   // of *limiter by way: who limits edits does so for all channels together
	mu        sync.Mutex // guards what follows
	senders   map[string]*sender
	start     func(*sender) // nil before Run and after it

	journal      func(context.Context, []Record) error // nil for none
	journalWoken chan struct{}
	// oneTry is set in a replay, whose state is nobody's loss.
	oneTry bool
	// hook is called at named points in tests; an error stops the caller at once, as a kill would.
	hook func(point string) error
}

// rule is a Rule made ready.
type rule struct {
	Rule
	text    string  // its query in normal form
	own     bool    // it asks for lookout's own events
	marks   [2]bool // its query, and what resolves it, ask for marks
	parent  bool    // it suppresses others
	streams bool    // it asks for a stream
	matched *matches
}

// New checks the options, prepares the state and returns an engine that stands where the last one stopped; the very first
// one stands behind the newest event of the store.
func New(o Options) (*Engine, error) {
	switch {
	case o.DB == nil:
		return nil, errors.New("alerting needs a state file: set Options.DB")
	case o.Source == nil:
		return nil, errors.New("alerting needs a store to follow: set Options.Source")
	case o.Notifier == nil:
		return nil, errors.New("alerting needs a way out: set Options.Notifier")
	}
	if err := checkFallbacks(o.Fallbacks); err != nil {
		return nil, err
	}
	o.Limits.fill()
	if o.Clock == nil {
		o.Clock = systemClock{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	e := &Engine{
		db: o.DB, source: o.Source, notifier: o.Notifier, baseURL: o.BaseURL, tellsDigest: o.Digest,
		limits: o.Limits, clock: o.Clock, log: o.Log, senders: map[string]*sender{}, toWake: map[string]bool{},
	}
	e.journal, e.journalWoken = o.Journal, make(chan struct{}, 1)
	e.workspace = limiter{every: o.Limits.Workspace, burst: 10}
	e.lanes.every = o.Limits.Spacing
	e.asker = newAsker(e)
	if err := o.Policy.check(); err != nil {
		return nil, err
	}
	e.policy.Store(&o.Policy)
	e.fallbacks.Store(&o.Fallbacks)
	last := o.Source.LastSeq()
	e.watcher = newWatcher(last)
	if err := e.setRules(o.Rules); err != nil {
		return nil, err
	}
	position, err := prepare(o.DB, last)
	if err != nil {
		return nil, fmt.Errorf("opening the state of alerting: %w", err)
	}
	if position > last {
		// The store was put back to an older state. Waiting for the old position would be silence.
		e.log.Error("the store ends before the position of alerting: was it restored or emptied? alerting goes on with the next event",
			"position", position, "store", last)
		if err := e.db.Update(func(tx *bbolt.Tx) error { return e.stepBack(tx, position, last) }); err != nil {
			return nil, fmt.Errorf("writing the position of alerting: %w", err)
		}
		position = last
	}
	e.position.Store(position)
	e.durable = position
	e.modes.e = e
	if err := e.modes.load(e.db); err != nil {
		return nil, fmt.Errorf("reading the state of rules: %w", err)
	}
	if o.Pauses != nil {
		e.modes.pauses = o.Pauses
	}
	if err := e.readSilences(); err != nil {
		return nil, fmt.Errorf("reading silences: %w", err)
	}
	return e, e.readIncidents()
}

func checkFallbacks(channels []string) error {
	for _, c := range channels {
		if c == "" || !channelOK(c) {
			return fmt.Errorf("fallback channel %q is empty, has control characters or more than 200 bytes: write it as the destination shows it", c)
		}
	}
	return nil
}

// Position returns the sequence up to which every event is decided.
func (e *Engine) Position() uint64 { return e.position.Load() }

// stepBack puts the position back to the end of a store that ends before it, and tells.
func (e *Engine) stepBack(tx *bbolt.Tx, position, last uint64) error {
	fallbacks := *e.fallbacks.Load()
	if err := putNumber(tx.Bucket(bucketMeta), keyPosition, last); err != nil || len(fallbacks) == 0 {
		return err
	}
	return enqueue(tx, fmt.Sprintf("%s|position|%d|%d", Service, position, last), &entry{
		Kind: kindNotice, Channel: fallbacks[0], Created: e.clock.Now().UnixNano(), Rule: Service, Severity: Warning,
		Title: "lookout: the store is older than its alerts",
		Text: fmt.Sprintf("Alerting stood at event %d, the store ends with %d: was it restored or emptied? Alerting goes on with the next event.",
			position, last),
	})
}

func (e *Engine) setRules(rules []Rule) error {
	if err := validate(rules); err != nil {
		return err
	}
	ready := make([]*rule, len(rules))
	for i, r := range rules {
		ready[i] = &rule{Rule: r, text: r.Query.String(), own: asksForOwn(r.Query), streams: r.Query.Names("stream"), matched: e.c.rule(r.Name)}
		ready[i].marks = [2]bool{asksForMarks(r.Query), r.Resolve != nil && asksForMarks(r.Resolve)}
	}
	for _, r := range ready {
		r.parent = slices.ContainsFunc(rules, func(child Rule) bool { return slices.Contains(child.Parents, r.Name) })
	}
	e.rules.Store(&ready)
	e.c.forgetRules(ready)
	e.watcher.all.Store(true) // parents may have come and gone
	e.watcher.wake()
	return nil
}

// resolves tells whether a rule in force ends its incidents itself.
func (e *Engine) resolves(name string) bool {
	return slices.ContainsFunc(*e.rules.Load(), func(r *rule) bool { return r.Name == name && (r.Resolve != nil || r.Mode.timed()) })
}

// expects tells whether a rule in force has a list of what it expects.
func (e *Engine) expects(name string) bool {
	return slices.ContainsFunc(*e.rules.Load(), func(r *rule) bool { return r.Name == name && r.Mode == ModeUnexpected })
}

// resolvable tells whether an incident stays open until its rule ends it.
func (e *Engine) resolvable(inc *incident) bool {
	return named(inc.Fingerprint) && e.resolves(inc.Rule)
}

// way names how a channel is told; channels of one way share its limits and its failures.
func (e *Engine) way(channel string) string {
	if mux, ok := e.notifier.(interface{ Way(string) string }); ok {
		return mux.Way(channel)
	}
	return ""
}

// editsOf is what keeps the edits of a channel's way apart.
func (e *Engine) editsOf(channel string) *limiter {
	l, _ := e.edits.LoadOrStore(e.way(channel), &limiter{every: e.limits.Edit, burst: 5})
	return l.(*limiter)
}

// asksForOwn tells whether a query names lookout's service: it lets that through, but not any service whatever.
func asksForOwn(q *query.Query) bool {
	return q.MayMatchService([]byte(Service)) && !q.MayMatchService([]byte("\x00"))
}

// asksForMarks tells whether a query names the stream of marks, as asksForOwn.
func asksForMarks(q *query.Query) bool {
	return q.MayMatchStream([]byte(markStream)) && !q.MayMatchStream([]byte("\x00"))
}

// hears tells whether marks are matches of a rule, or of what resolves it: a mark is no line of its service.
func (r *rule) hears(resolves bool) bool {
	if resolves {
		return r.marks[1]
	}
	return r.marks[0]
}

// Reload puts other rules in force, from the next batch on, and tries parked channels at once. When a rule is wrong the
// old ones stay. Incidents and messages of rules that are gone are still delivered.
func (e *Engine) Reload(rules []Rule) error {
	if err := e.setRules(rules); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.senders {
		s.retry()
	}
	return nil
}

// Run follows the store and delivers until ctx ends; then it finishes the transaction and gives messages on their way
// three seconds. It returns nil unless the state could not be written. Call it once.
func (e *Engine) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sendCtx, cancelSend := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelSend()
	stopGrace := context.AfterFunc(ctx, func() {
		select {
		case <-e.clock.After(grace):
			cancelSend()
		case <-sendCtx.Done():
		}
	})
	defer stopGrace()

	var wg sync.WaitGroup
	e.mu.Lock()
	e.start = func(s *sender) { wg.Go(func() { s.run(ctx, sendCtx) }) }
	e.mu.Unlock()
	e.modes.resume(e.clock.Now().UnixNano())
	if err := e.resume(); err != nil {
		return err
	}
	wg.Go(func() { e.asker.run(ctx) })
	wg.Go(func() { e.watcher.run(ctx, e) })
	if e.journal != nil {
		wg.Go(func() { e.runJournal(ctx) })
	}
	err := e.follow(ctx)

	e.mu.Lock()
	e.start = nil
	e.mu.Unlock()
	cancel()
	wg.Wait()
	return err
}

// resume starts senders for what an earlier run left.
func (e *Engine) resume() error {
	channels := map[string]bool{}
	err := e.db.View(func(tx *bbolt.Tx) error {
		queue := tx.Bucket(bucketQueue).Cursor()
		for k, _ := queue.First(); k != nil; {
			channel := channelOf(k)
			channels[channel] = true
			k, _ = queue.Seek(append([]byte(channel), 1)) // behind all keys of the channel: they go on with a 0
		}
		return tx.Bucket(bucketChannel).ForEach(func(k, _ []byte) error {
			channels[string(k)] = true
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("reading the outbox: %w", err)
	}
	e.wake(channels)
	return nil
}

// wake tells the channels' senders that there is something for them.
func (e *Engine) wake(channels map[string]bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for channel := range channels {
		s := e.senders[channel]
		if s == nil {
			if e.start == nil {
				continue // it is in the outbox: the next run finds it
			}
			s = newSender(e, channel)
			e.senders[channel] = s
			e.start(s)
		}
		s.wake()
	}
}

// follow reads the store until ctx ends.
func (e *Engine) follow(ctx context.Context) error {
	f := e.source.Follow(e.position.Load())
	defer f.Close()
	pause := e.limits.Backoff
	var forgot time.Time
	wait, err := e.due(ctx)
	if err != nil {
		return err
	}
	for {
		events, err := e.next(ctx, f, wait)
		var gap *query.GapError
		switch {
		case ctx.Err() != nil:
			return e.savePosition(ctx) // one try, since ctx has ended
		case errors.As(err, &gap):
			err = e.skip(ctx, gap)
		case err != nil:
			e.c.readErrors.Add(1)
			e.log.Error("alerting cannot read the store; it tries again", "error", err, "in", pause)
			e.sleep(ctx, pause)
			pause = min(2*pause, e.limits.MaxBackoff)
			continue
		case len(events) > 0:
			err = e.decide(ctx, events)
		default:
			err = e.tick(ctx)
		}
		pause = e.limits.Backoff
		if err == nil && e.position.Load() != e.durable && e.elapsed(e.written, positionEvery) {
			err = e.savePosition(ctx)
		}
		if err == nil {
			wait, err = e.due(ctx)
		}
		if err == nil && len(events) > 0 && e.elapsed(forgot, forgetEvery) {
			forgot = e.clock.Now()
			err = e.forgetOld(ctx, events[len(events)-1].Received)
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil // nothing was lost: the state stands where it stood
			}
			return err
		}
	}
}

// elapsed tells whether d has passed since then. A clock that was set back ends it as well.
func (e *Engine) elapsed(since time.Time, d time.Duration) bool {
	passed := e.clock.Now().Sub(since)
	return passed < 0 || passed >= d
}

// next waits for events, but no longer than wait, than until the rules' clock ticks, and than until a position is to be written. It
// returns neither events nor an error then.
func (e *Engine) next(ctx context.Context, f query.Follower, wait time.Duration) ([]event.Event, error) {
	wait = min(wait, e.untilTick())
	if e.position.Load() != e.durable {
		wait = min(wait, positionEvery)
	}
	short, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	events, err := f.Next(short)
	if ctx.Err() == nil && short.Err() != nil && errors.Is(err, short.Err()) {
		return nil, nil
	}
	return events, err
}

// decide holds events against the rules, and writes what follows from it together with the position.
func (e *Engine) decide(ctx context.Context, events []event.Event) error {
	e.modes.mu.Lock()
	defer e.modes.mu.Unlock()
	position := events[len(events)-1].Seq
	for i := range events {
		e.received = max(e.received, events[i].Received)
	}
	matches := e.modes.decide(events)
	e.c.decided.Add(uint64(len(events)))
	if len(matches) == 0 {
		e.position.Store(position)
		return nil
	}
	return e.outcome(ctx, position, matches)
}

// skip goes on behind events that cannot be read.
func (e *Engine) skip(ctx context.Context, g *query.GapError) error {
	e.log.Error("alerting could not read events", "from", g.From, "to", g.To, "error", g.Err)
	e.modes.mu.Lock()
	defer e.modes.mu.Unlock()
	err := e.commit(ctx, g.To, func(a *application) error { return a.gap(g) })
	if err == nil {
		e.c.gaps.Add(1)
	}
	return err
}

// commit writes what follows from events together with the position behind them, and what the modes know by then. The caller
// has locked the modes. Senders are woken by due, which comes next: what happens at one moment is in the queues before any of it is sent,
// so that its order is always the same.
func (e *Engine) commit(ctx context.Context, position uint64, change func(*application) error) error {
	channels, err := e.changeQuietly(ctx, "writing matches", func(a *application) error {
		if err := change(a); err != nil {
			return err
		}
		if err := e.modes.write(a.tx); err != nil {
			return err
		}
		return putNumber(a.tx.Bucket(bucketMeta), keyPosition, position)
	})
	if err == nil {
		maps.Copy(e.toWake, channels)
		e.modes.written()
		e.position.Store(position)
		e.durable, e.written = position, e.clock.Now()
	}
	return err
}

func (e *Engine) savePosition(ctx context.Context) error {
	position := e.position.Load()
	if position == e.durable {
		return nil
	}
	e.modes.mu.Lock()
	defer e.modes.mu.Unlock()
	err := e.update(ctx, "writing the position", func(tx *bbolt.Tx) error {
		if err := e.modes.write(tx); err != nil {
			return err
		}
		return putNumber(tx.Bucket(bucketMeta), keyPosition, position)
	})
	if err == nil {
		e.modes.written()
		e.durable, e.written = position, e.clock.Now()
	}
	return err
}

// forgetOld drops incidents that were quiet for a week before now, an event's Received time.
func (e *Engine) forgetOld(ctx context.Context, now int64) error {
	before := now - int64(forgetAfter)
	var stale [][]byte
	err := e.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketIncident).ForEach(func(k, v []byte) error {
			var inc incident
			if decode(k, v, &inc) != nil || inc.stale(before) {
				stale = append(stale, bytes.Clone(k))
			}
			return nil
		})
	})
	for len(stale) > 0 && err == nil {
		n := min(len(stale), forgetBatch)
		err = e.update(ctx, "forgetting old incidents", func(tx *bbolt.Tx) error { return e.forget(tx, stale[:n], before) })
		stale = stale[n:]
	}
	if err == nil {
		err = e.update(ctx, "forgetting what was before", func(tx *bbolt.Tx) error {
			return errors.Join(forgetPast(tx, now), forgetMarks(tx, now))
		})
	}
	return err
}

// forget drops those of the incidents that are still old and told.
func (e *Engine) forget(tx *bbolt.Tx, keys [][]byte, before int64) error {
	var errs error
	b := tx.Bucket(bucketIncident)
	for _, k := range keys {
		var inc incident
		ok, err := get(b, k, &inc)
		if !ok || err == nil && !inc.stale(before) {
			continue
		}
		if err == nil {
			errs = errors.Join(errs, remember(tx, k, &inc))
		}
		errs = errors.Join(errs, b.Delete(k))
		tx.OnCommit(func() {
			e.families.remove(inc.family())
			e.book.remove(string(k))
			e.desk.forget(string(k), &inc)
		})
	}
	return errs
}

// update writes to the state, and tries again for as long as it fails: a full disk must not lose a match. It gives up
// when ctx ends, the state is closed, or change finds that what it is about is gone. change may be called several times; what it leaves to [bbolt.Tx.OnCommit] is done
// once, in the order of the transactions.
func (e *Engine) update(ctx context.Context, what string, change func(*bbolt.Tx) error) error {
	err := e.updateQuietly(ctx, what, change)
	if err == nil {
		e.wakeNews()
	}
	return err
}

// wakeNews wakes the senders that have something new to do: when all of a transaction is there to be looked at, as the worst comes first.
func (e *Engine) wakeNews() {
	if news := e.desk.takeNews(); news != nil {
		e.wake(news)
	}
}

// updateQuietly is update without waking anybody.
func (e *Engine) updateQuietly(ctx context.Context, what string, change func(*bbolt.Tx) error) error {
	for pause := e.limits.Backoff; ; pause = min(2*pause, e.limits.MaxBackoff) {
		e.writing.Lock()
		err := e.db.Update(change)
		e.writing.Unlock()
		var stop *stopError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &stop), errors.Is(err, ErrNotFound), errors.Is(err, bolterrors.ErrDatabaseNotOpen):
			return fmt.Errorf("%s: %w", what, err)
		}
		if e.oneTry {
			return fmt.Errorf("%s: %w", what, err)
		}
		e.c.stateErrors.Add(1)
		e.log.Error("the state of alerting cannot be written; it tries again", "doing", what, "error", err, "in", pause)
		if !e.sleep(ctx, pause) {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
}

// unreadable reports a record that is taken as absent.
func (e *Engine) unreadable(err error) {
	e.c.stateErrors.Add(1)
	e.log.Error("a record of alerting's state cannot be read and is made anew", "error", err)
}

func (e *Engine) channelState(tx *bbolt.Tx, channel string) *channelState {
	var s channelState
	if _, err := get(tx.Bucket(bucketChannel), []byte(channel), &s); err != nil {
		e.unreadable(err)
		return new(channelState)
	}
	return &s
}

// sleep waits for d and tells whether ctx is still going on.
func (e *Engine) sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-e.clock.After(d):
		return true
	}
}

// stopError is what a test's hook stops the engine with.
type stopError struct{ error }

func (e *Engine) at(point string) error {
	if e.hook == nil {
		return nil
	}
	if err := e.hook(point); err != nil {
		return &stopError{err}
	}
	return nil
}

// families counts the incidents of each rule and service.
type families struct {
	mu sync.Mutex
	n  map[string]int
}

func (f *families) full(family string, added, limit int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n[family]+added >= limit
}

func (f *families) add(added map[string]int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for family, n := range added {
		f.n[family] += n
	}
}

func (f *families) remove(family string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n[family]--; f.n[family] <= 0 {
		delete(f.n, family)
	}
}

// readIncidents fills what is kept of the incidents in memory.
func (e *Engine) readIncidents() error {
	e.families.n = map[string]int{}
	return e.db.View(func(tx *bbolt.Tx) error {
		var t tallies
		if _, err := get(tx.Bucket(bucketDigest), keyTallies, &t); err != nil {
			e.unreadable(err)
		}
		e.digestAt.Store(t.Next)
		return tx.Bucket(bucketIncident).ForEach(func(k, v []byte) error {
			var inc incident
			if err := decode(k, v, &inc); err != nil {
				e.unreadable(err)
				return nil
			}
			e.families.n[inc.family()]++
			if strings.HasPrefix(inc.Fingerprint, masked) {
				e.olds.Store(true)
			}
			e.noted(string(k), &inc)
			return nil
		})
	})
}

// incident returns a record, nil when there is none.
func (e *Engine) incident(tx *bbolt.Tx, key []byte) *incident {
	inc := new(incident)
	ok, err := get(tx.Bucket(bucketIncident), key, inc)
	if err != nil {
		e.unreadable(err)
	}
	if !ok || err != nil {
		return nil
	}
	return inc
}

func (e *Engine) putIncident(tx *bbolt.Tx, key []byte, inc *incident) error {
	if err := e.journalState(tx, inc); err != nil {
		return err
	}
	tx.OnCommit(func() { e.noted(string(key), inc) })
	return put(tx.Bucket(bucketIncident), key, inc)
}

// noted takes a stored incident up in memory.
func (e *Engine) noted(key string, inc *incident) {
	r := e.ruleNamed(inc.Rule)
	if changed, due := e.book.note(key, inc, r != nil && r.parent); changed && r != nil && r.parent {
		e.watcher.all.Store(true)
		e.watcher.wake()
	} else if due {
		e.watcher.wake()
	}
	e.desk.note(key, inc, e.limits.Window)
	for _, d := range inc.To {
		if d.Ringing {
			e.asker.add(question{key, d.Channel})
		}
	}
}
