// Package catalog knows every kind of line that the store has ever had: the ledger keeps them, and a full-text index finds
// them by their words.
//
// # Use
//
// [Open] opens both in the data folder; [Catalog.Run] feeds them in the background from the store's sealed segments.
// [Catalog.Search] finds kinds by words, phrases, beginnings of words and words with slips, also those whose events retention has taken away;
// [Catalog.Lookup] tells when kinds were first and last seen. Counts are not here: they come from the segments, when asked for (index.Store.Kinds).
//
//	segments ─(Source.Patterns)─► ledger.db (bbolt): kinds, first and last seen, position ─► catalog/N (bleve): words
//
// # What it guarantees
//
// The ledger is the truth: what was read from segments, and up to which sequence, is written in one transaction, so that a
// crash repeats at most one segment; repeating changes nothing, because first and last seen are the least and the greatest time. A merge of segments is not read again. At
// most [MaxKinds] kinds of a service are told apart; the others are one.
//
// The index is derived: one document a kind, which never changes. It is built in a folder of its own and used only when it
// is whole; one that is missing, of another version, of another ledger or damaged is built anew by Run, and searches are
// meanwhile answered by the one before, if there is one. Memory does not grow with the number of kinds, but for some bytes a
// kind that is cached.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/index/query"
)

// Source is the store, as far as the catalogue reads it. *index.Store is one.
type Source interface {
	// Patterns tells the kinds of lines in the next of what is sealed behind a sequence, and returns the sequence to go on
	// from, after itself when there is nothing. Between pieces of work it calls rest.
	Patterns(ctx context.Context, after uint64, rest func() error, fn func(*query.Kind) error) (next uint64, err error)
	// Sealed returns the highest sequence that is sealed.
	Sealed() uint64
}

// Options configure a catalogue. Dir and Source are needed.
type Options struct {
	// Dir is the data folder, which exists; ledger.db and catalog/ are made in it. The caller sees to it that no other
	// process uses it.
	Dir    string
	Source Source
	// Share is the part of one core's time that reading segments takes at most, above 0 and at most 1. Default 0.25.
	Share float64
	// Every is how often Run looks for new segments. Default 5 s. While each look finds newer ones it waits, for a minute at most: what
	// was merged meanwhile is cheaper to read, and many kinds are cheaper to index than few.
	Every time.Duration
	// Log takes what an operator should know; silent unless set.
	Log *slog.Logger

	// For tests.
	maxKinds int             // of a service
	hook     func(at string) // called between the steps of what a crash may interrupt
}

// MaxKinds is how many kinds of lines a service has in the ledger. What is beyond is kept as one, without a template.
const MaxKinds = 10_000

// Catalog is the ledger and the index. It is safe for concurrent use.
type Catalog struct {
	o      Options
	ledger *ledger

	// feeding is held by whoever reads segments into the ledger, kinds into the index, or forgets; wanted asks the reader to
	// let go of it between two blocks.
	feeding sync.Mutex
	wanted  atomic.Int32
	worked  time.Time // since when the reader works
	fresh   int       // kinds that Run has read since it extended the index
	sealed  uint64    // as Run saw it last
	waiting time.Time // since when there is something that Run has not read

	building sync.Mutex // held by whoever builds an index
	progress atomic.Int64
	total    atomic.Int64 // of what is being built; 0 when nothing is

	mu      sync.RWMutex // guards index against being closed while it is searched
	index   *textIndex   // nil when there is none yet
	damaged atomic.Bool  // a search failed: the index is to be built anew
	closed  bool
}

// ErrClosed is returned by a catalogue that was closed.
var ErrClosed = errors.New("the catalogue is closed")

// errWanted ends the reading of a segment so that another may have the catalogue.
var errWanted = errors.New("wanted by another")

// Open opens ledger and index. A ledger of a later version is refused, and no file is touched; one that cannot be read is put
// aside and begun anew from the segments, which is said in the log. An index that cannot be used is removed; [Catalog.Run] builds it.
func Open(o Options) (*Catalog, error) {
	if o.Share == 0 {
		o.Share = 0.25
	}
	if o.Every == 0 {
		o.Every = 5 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.maxKinds == 0 {
		o.maxKinds = MaxKinds
	}
	if o.hook == nil {
		o.hook = func(string) {}
	}
	l, err := openLedger(filepath.Join(o.Dir, "ledger.db"), &o)
	if err != nil {
		return nil, err
	}
	c := &Catalog{o: o, ledger: l, sealed: o.Source.Sealed()}
	if c.index, err = c.openIndex(); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return c, nil
}

func (c *Catalog) dir() string { return filepath.Join(c.o.Dir, "catalog") }

// Close closes ledger and index. [Catalog.Run] has returned before.
func (c *Catalog) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	var err error
	if c.index != nil {
		err = c.index.close()
	}
	return errors.Join(err, c.ledger.close())
}

// Run reads what is sealed into the ledger and the index until ctx ends. A failure is said in the log and tried again.
func (c *Catalog) Run(ctx context.Context) error {
	tick := time.NewTicker(c.o.Every)
	defer tick.Stop()
	failing := ""
	for {
		var err error
		if c.due(time.Now()) {
			err = c.catchUp(ctx)
		}
		if ctx.Err() != nil {
			return nil
		}
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != failing && err != nil {
			c.o.Log.Error("the catalogue of patterns could not be fed; it is tried again", "error", err)
		}
		failing = text
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// patience is how long Run waits for a pause in which nothing is sealed.
const patience = time.Minute

// due tells whether Run is to work now.
func (c *Catalog) due(now time.Time) bool {
	sealed := c.o.Source.Sealed()
	quiet := sealed == c.sealed
	c.sealed = sealed
	switch {
	case sealed == c.ledger.position():
		quiet = true // there may be an index to be built
	case c.waiting.IsZero():
		c.waiting = now
	}
	if !quiet && now.Sub(c.waiting) < patience {
		return false
	}
	c.waiting = time.Time{}
	return true
}

// catchUp reads all that is sealed, and sees to it that there is an index.
func (c *Catalog) catchUp(ctx context.Context) error {
	if c.needsIndex() {
		if err := c.Rebuild(ctx, nil); err != nil {
			return err
		}
	}
	for more := true; more; {
		before := c.ledger.count()
		var err error
		if more, err = c.step(ctx); err != nil {
			return err
		}
		// Many at a time: an index is the cheaper the fewer times it is added to. At the end also what a crash has left.
		if c.fresh += c.ledger.count() - before; !more || c.fresh >= batchKinds {
			if err := c.extendIndex(ctx); err != nil {
				return err
			}
			c.fresh = 0
		}
	}
	return nil
}

// extendIndex indexes what the ledger has beyond the index.
func (c *Catalog) extendIndex(ctx context.Context) error {
	c.feeding.Lock()
	defer c.feeding.Unlock()
	c.mu.RLock()
	x := c.index
	c.mu.RUnlock()
	if x == nil {
		return nil
	}
	return c.extend(ctx, x, nil)
}

func (c *Catalog) needsIndex() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.index == nil || c.damaged.Load() || c.ledger.purging()
}

// step reads what is next into the ledger and tells whether there may be more.
func (c *Catalog) step(ctx context.Context) (more bool, err error) {
	c.feeding.Lock()
	defer c.feeding.Unlock()
	position := c.ledger.position()
	f := &feed{c: c}
	c.worked = time.Now()
	next, err := c.o.Source.Patterns(ctx, position, func() error { return c.rest(ctx) }, f.add)
	if errors.Is(err, errWanted) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading the patterns behind event %d: %w", position, err)
	}
	if next == position {
		return false, nil
	}
	return true, c.ledger.write(f.kinds, next)
}

// rest keeps reading to its share of a core.
func (c *Catalog) rest(ctx context.Context) error {
	if c.wanted.Load() > 0 {
		return errWanted
	}
	if c.o.Share < 1 {
		pause := time.Duration(float64(time.Since(c.worked)) * (1/c.o.Share - 1))
		timer := time.NewTimer(min(pause, time.Second))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
	c.worked = time.Now()
	return nil
}

// feed is what was read of a segment and is not in the ledger yet.
type feed struct {
	c     *Catalog
	kinds map[uint64]*query.Kind
}

// feedMost is how many kinds a feed holds: some MB.
const feedMost = 10_000

func (f *feed) add(k *query.Kind) error {
	if old := f.kinds[k.Hash]; old != nil {
		old.First, old.Last = min(old.First, k.First), max(old.Last, k.Last)
		return nil
	}
	if len(f.kinds) >= feedMost { // before the segment is read to its end: the position stays, and they may be read again
		if err := f.c.ledger.write(f.kinds, 0); err != nil {
			return err
		}
		f.kinds = nil
	}
	if f.kinds == nil {
		f.kinds = map[uint64]*query.Kind{}
	}
	kind := *k
	f.kinds[k.Hash] = &kind
	return nil
}

// Forget removes the kinds that match from ledger and index, from their files as well, and returns how many there were. It is
// durable when it returns: a crash in between is mended by the next start. What is sealed by then must not hold events of
// these kinds any more that have not been read, or they come back.
func (c *Catalog) Forget(ctx context.Context, match func(service, template string) bool) (int, error) {
	c.wanted.Add(1)
	c.feeding.Lock()
	c.wanted.Add(-1)
	n, err := c.ledger.forget(match)
	c.feeding.Unlock()
	if err != nil || n == 0 {
		return n, err
	}
	c.o.hook("forgotten")
	return n, c.Rebuild(ctx, nil)
}

// View reads the ledger's file at one moment, for a copy of it.
func (c *Catalog) View(fn func(tx *bbolt.Tx) error) error { return c.ledger.view(fn) }

// Status returns how things stand.
func (c *Catalog) Status() (query.CatalogStatus, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return query.CatalogStatus{}, ErrClosed
	}
	s := query.CatalogStatus{Position: c.ledger.position(), Ready: c.index != nil, Total: c.total.Load(), Done: c.progress.Load()}
	s.Kinds, s.Services, s.Beyond = c.ledger.figures()
	s.Building = s.Total > 0
	if c.index != nil {
		n, err := c.index.count()
		if err != nil {
			return s, err
		}
		s.Indexed = int(n)
	}
	for _, root := range []string{filepath.Join(c.o.Dir, "ledger.db"), c.dir()} {
		// Files come and go while an index is being built or merged: what is gone counts nothing.
		_ = filepath.WalkDir(root, func(_ string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				if info, err := d.Info(); err == nil {
					s.Bytes += info.Size()
				}
			}
			return nil
		})
	}
	return s, nil
}
