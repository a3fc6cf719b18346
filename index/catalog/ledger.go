package catalog

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// The ledger's buckets. Kinds are numbered in order of their discovery, from 1; numbers are 8 bytes, the greatest first, so that what is
// seen together lies together.
//
//	meta      version (1 byte), id (16 random bytes), position, next (number), purge (there: the file and the index still hold what was forgotten)
//	kinds     number → hash (8 bytes), level, length of the service's name (uvarint), service, template; never changed
//	times     number → first, last (8 bytes each)
//	hashes    hash → number
//	services  hash of the name → its length (uvarint), name, kinds by level (10 × uvarint), 0 or 1, then first and last (8 bytes each)
//	          of what is beyond the limit
//
// Version 1: the first one.
const ledgerVersion = 1

// The versions of the ledger and of the index beside it that are written, and the only ones that are read; an index of another one is built
// anew.
const (
	LedgerVersion = ledgerVersion
	IndexVersion  = indexVersion
)

var (
	bucketMeta     = []byte("meta")
	bucketKinds    = []byte("kinds")
	bucketTimes    = []byte("times")
	bucketHashes   = []byte("hashes")
	bucketServices = []byte("services")
	buckets        = [][]byte{bucketMeta, bucketKinds, bucketTimes, bucketHashes, bucketServices}

	keyVersion  = []byte("version")
	keyID       = []byte("id")
	keyPosition = []byte("position")
	keyNext     = []byte("next")
	keyPurge    = []byte("purge")
)

// ledger is the file of all kinds. It is safe for concurrent use.
type ledger struct {
	path string
	o    *Options

	mu sync.RWMutex // guards db against being replaced
	db *bbolt.DB
	id string

	// facts are what the file says as well; under their own lock.
	facts    sync.Mutex
	at       uint64
	purge    bool
	services map[string]*serviceFacts
	known    map[uint64]knownKind // some of the kinds, by hash
}

type serviceFacts struct {
	kinds  [event.Debug + 1]int
	beyond *times
}

func (s *serviceFacts) total() (n int) {
	for _, k := range s.kinds {
		n += k
	}
	return n
}

type times = query.KindTimes

type knownKind struct {
	number uint64
	query.KindTimes
}

// maxKnown bounds the cache of known kinds: some 10 MB.
const maxKnown = 100_000

func openLedger(path string, o *Options) (*ledger, error) {
	l := &ledger{path: path, o: o}
	if err := os.Remove(path + ".tmp"); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a compaction that a crash ended
		return nil, fmt.Errorf("opening the ledger: %w", err)
	}
	err := l.open()
	if err == nil || errors.Is(err, errLedgerVersion) || errors.Is(err, bolterrors.ErrTimeout) || errors.Is(err, fs.ErrPermission) {
		return l, err
	}
	aside := path + ".damaged-" + time.Now().UTC().Format("20060102T150405")
	o.Log.Error("the ledger of patterns cannot be read; it is put aside and begun anew from what is stored: patterns beyond retention are only in the old file", "error", err, "aside", aside)
	if err := os.Rename(path, aside); err != nil {
		return nil, fmt.Errorf("opening the ledger: %w", err)
	}
	return l, l.open()
}

var errLedgerVersion = errors.New("the ledger was written by a later lookout")

// open opens the file and reads what is kept in memory. bbolt panics over some kinds of damage.
func (l *ledger) open() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("opening the ledger %s: %v", l.path, p)
		}
		if err != nil && l.db != nil {
			l.db.Close()
			l.db = nil
		}
	}()
	l.db, err = bbolt.Open(l.path, 0o600, &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return fmt.Errorf("opening the ledger %s: %w", l.path, err)
	}
	return l.load()
}

func (l *ledger) load() error {
	fresh := false
	if err := l.db.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if fresh = meta == nil; fresh {
			return nil
		}
		if v := meta.Get(keyVersion); len(v) != 1 || v[0] != ledgerVersion {
			return fmt.Errorf("%w: %s has version %v, this one reads %d", errLedgerVersion, l.path, v, ledgerVersion)
		}
		return nil
	}); err != nil {
		return err
	}
	if fresh {
		if err := l.db.Update(func(tx *bbolt.Tx) error {
			for _, name := range buckets {
				if _, err := tx.CreateBucketIfNotExists(name); err != nil {
					return err
				}
			}
			id := make([]byte, 16)
			_, _ = rand.Read(id) // never fails
			meta := tx.Bucket(bucketMeta)
			return errors.Join(meta.Put(keyVersion, []byte{ledgerVersion}), meta.Put(keyID, id), meta.Put(keyPosition, number(0)), meta.Put(keyNext, number(1)))
		}); err != nil {
			return fmt.Errorf("making the ledger: %w", err)
		}
	}
	l.facts.Lock()
	defer l.facts.Unlock()
	l.services, l.known = map[string]*serviceFacts{}, map[uint64]knownKind{}
	return l.db.View(func(tx *bbolt.Tx) error {
		for _, name := range buckets {
			if tx.Bucket(name) == nil {
				return fmt.Errorf("the ledger %s has no %s", l.path, name)
			}
		}
		meta := tx.Bucket(bucketMeta)
		l.id, l.at, l.purge = hex.EncodeToString(meta.Get(keyID)), readNumber(meta.Get(keyPosition)), meta.Get(keyPurge) != nil
		return tx.Bucket(bucketServices).ForEach(func(_, v []byte) error {
			name, s, err := decodeService(v)
			if err != nil {
				return err
			}
			l.services[name] = s
			return nil
		})
	})
}

func (l *ledger) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.db == nil {
		return nil
	}
	db := l.db
	l.db = nil
	return db.Close()
}

// view reads; it fails when the ledger was closed, or could not be opened again after it was written anew.
func (l *ledger) view(fn func(tx *bbolt.Tx) error) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.db == nil {
		return ErrClosed
	}
	if err := l.db.View(fn); err != nil {
		return fmt.Errorf("reading the ledger: %w", err)
	}
	return nil
}

// update writes in one transaction.
func (l *ledger) update(fn func(tx *bbolt.Tx) error) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.db == nil {
		return ErrClosed
	}
	if err := l.db.Update(fn); err != nil {
		return fmt.Errorf("writing the ledger: %w", err)
	}
	return nil
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func readNumber(p []byte) uint64 {
	if len(p) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(p)
}

func encodeTimes(t times) []byte {
	return binary.BigEndian.AppendUint64(number(uint64(t.First)), uint64(t.Last))
}

func decodeTimes(p []byte) (times, error) {
	if len(p) != 16 {
		return times{}, errDamaged
	}
	return times{First: int64(binary.BigEndian.Uint64(p)), Last: int64(binary.BigEndian.Uint64(p[8:]))}, nil
}

// errDamaged says that a record of the ledger is none.
var errDamaged = errors.New("a record of the ledger is damaged")

func encodeKind(k *query.Kind) []byte {
	p := binary.AppendUvarint(append(number(k.Hash), byte(k.Level)), uint64(len(k.Service)))
	return append(append(p, k.Service...), k.Template...)
}

// decodeKind reads what encodeKind wrote, as copies.
func decodeKind(p []byte) (k query.Kind, err error) {
	if len(p) < 9 || p[8] > byte(event.Debug) {
		return k, errDamaged
	}
	k.Hash, k.Level = readNumber(p[:8]), event.Level(p[8])
	n, m := binary.Uvarint(p[9:])
	if m <= 0 || n > uint64(len(p)-9-m) {
		return k, errDamaged
	}
	rest := p[9+m:]
	k.Service, k.Template = string(rest[:n]), string(rest[n:])
	return k, nil
}

// serviceKey is short, however long the name is.
func serviceKey(name string) []byte { return number(xxhash.Sum64String(name)) }

func encodeService(name string, s *serviceFacts) []byte {
	p := append(binary.AppendUvarint(nil, uint64(len(name))), name...)
	for _, n := range s.kinds {
		p = binary.AppendUvarint(p, uint64(n))
	}
	if s.beyond == nil {
		return append(p, 0)
	}
	return append(append(p, 1), encodeTimes(*s.beyond)...)
}

func decodeService(p []byte) (name string, s *serviceFacts, err error) {
	s = &serviceFacts{}
	n, m := binary.Uvarint(p)
	if m <= 0 || n > uint64(len(p)-m) {
		return "", nil, errDamaged
	}
	name, p = string(p[m:][:n]), p[m:][n:]
	for i := range s.kinds {
		n, m := binary.Uvarint(p)
		if m <= 0 || n > math.MaxInt32 {
			return "", nil, errDamaged
		}
		s.kinds[i] = int(n)
		p = p[m:]
	}
	if len(p) == 1 && p[0] == 0 {
		return name, s, nil
	}
	if len(p) != 17 {
		return "", nil, errDamaged
	}
	t, err := decodeTimes(p[1:])
	s.beyond = &t
	return name, s, err
}

func (l *ledger) position() uint64 {
	l.facts.Lock()
	defer l.facts.Unlock()
	return l.at
}

func (l *ledger) purging() bool {
	l.facts.Lock()
	defer l.facts.Unlock()
	return l.purge
}

// figures returns the numbers of kinds and services, and the services with more than the limit.
func (l *ledger) figures() (kinds, services int, beyond []query.KindsBeyond) {
	l.facts.Lock()
	defer l.facts.Unlock()
	for _, name := range slices.Sorted(maps.Keys(l.services)) {
		s := l.services[name]
		kinds += s.total()
		if s.beyond != nil {
			beyond = append(beyond, query.KindsBeyond{Service: name, KindTimes: *s.beyond})
		}
	}
	return kinds, len(l.services), beyond
}

// count returns the number of kinds.
func (l *ledger) count() (kinds int) {
	l.facts.Lock()
	defer l.facts.Unlock()
	for _, s := range l.services {
		kinds += s.total()
	}
	return kinds
}

// counts returns the numbers of kinds by service and level.
func (l *ledger) counts() map[string][event.Debug + 1]int {
	l.facts.Lock()
	defer l.facts.Unlock()
	out := make(map[string][event.Debug + 1]int, len(l.services))
	for name, s := range l.services {
		out[name] = s.kinds
	}
	return out
}

// write puts kinds into the ledger and, unless it is 0, the position up to which segments were read, in one transaction.
// Only one caller at a time.
func (l *ledger) write(kinds map[uint64]*query.Kind, position uint64) error {
	l.facts.Lock()
	defer l.facts.Unlock()
	w := &ledgerWrite{l: l, services: map[string]*serviceFacts{}, known: map[uint64]knownKind{}}
	if err := l.update(func(tx *bbolt.Tx) error { return w.all(tx, kinds, position) }); err != nil {
		return err
	}
	// In memory only what is on disk.
	maps.Copy(l.services, w.services)
	if len(l.known)+len(w.known) > maxKnown {
		clear(l.known)
	}
	maps.Copy(l.known, w.known)
	if position != 0 {
		l.at = position
	}
	return nil
}

// ledgerWrite is a transaction, and what it changes of the facts.
type ledgerWrite struct {
	l        *ledger
	services map[string]*serviceFacts
	known    map[uint64]knownKind
	next     uint64

	kinds, times, hashes *bbolt.Bucket
}

func (w *ledgerWrite) all(tx *bbolt.Tx, kinds map[uint64]*query.Kind, position uint64) error {
	meta := tx.Bucket(bucketMeta)
	w.kinds, w.times, w.hashes = tx.Bucket(bucketKinds), tx.Bucket(bucketTimes), tx.Bucket(bucketHashes)
	w.next = readNumber(meta.Get(keyNext))
	before := w.next
	var fresh []*query.Kind
	for _, k := range kinds {
		known, err := w.again(k)
		if err != nil {
			return err
		}
		if !known {
			fresh = append(fresh, k)
		}
	}
	// In an order of their own, so that the same segments give the same numbers.
	slices.SortFunc(fresh, compareKinds)
	for _, k := range fresh {
		if err := w.add(k); err != nil {
			return err
		}
	}
	for name, s := range w.services {
		if err := tx.Bucket(bucketServices).Put(serviceKey(name), encodeService(name, s)); err != nil {
			return err
		}
	}
	if w.next != before {
		if err := meta.Put(keyNext, number(w.next)); err != nil {
			return err
		}
	}
	if position != 0 {
		return meta.Put(keyPosition, number(position))
	}
	return nil
}

func compareKinds(a, b *query.Kind) int {
	return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Level, b.Level), cmp.Compare(a.Template, b.Template))
}

// service returns the facts of a service to be changed.
func (w *ledgerWrite) service(name string) *serviceFacts {
	s := w.services[name]
	if s == nil {
		s = &serviceFacts{}
		if old := w.l.services[name]; old != nil {
			*s = *old
		}
		w.services[name] = s
	}
	return s
}

// again notes that a kind was seen, if it is known.
func (w *ledgerWrite) again(k *query.Kind) (ok bool, err error) {
	known, ok := w.l.known[k.Hash]
	if !ok {
		n := w.hashes.Get(number(k.Hash))
		if n == nil {
			return false, nil
		}
		t, err := decodeTimes(w.times.Get(n))
		if err != nil {
			return false, err
		}
		known = knownKind{readNumber(n), t}
	}
	t := times{First: min(known.First, k.First), Last: max(known.Last, k.Last)}
	w.known[k.Hash] = knownKind{known.number, t}
	if t == known.KindTimes {
		return true, nil
	}
	return true, w.times.Put(number(known.number), encodeTimes(t))
}

// add adds a new kind.
func (w *ledgerWrite) add(k *query.Kind) error {
	old := w.services[k.Service]
	if old == nil {
		old = w.l.services[k.Service]
	}
	if old != nil && old.total() >= w.l.o.maxKinds {
		t := times{First: k.First, Last: k.Last}
		if b := old.beyond; b != nil {
			t = times{First: min(t.First, b.First), Last: max(t.Last, b.Last)}
			if t == *b {
				return nil
			}
		} else {
			w.l.o.Log.Error("a service has too many patterns; further ones are kept as one", "service", k.Service, "limit", w.l.o.maxKinds)
		}
		w.service(k.Service).beyond = &t
		return nil
	}
	w.service(k.Service).kinds[k.Level]++
	n := w.next
	w.next++
	w.known[k.Hash] = knownKind{n, times{First: k.First, Last: k.Last}}
	return errors.Join(
		w.kinds.Put(number(n), encodeKind(k)), w.times.Put(number(n), encodeTimes(times{First: k.First, Last: k.Last})), w.hashes.Put(number(k.Hash), number(n)),
	)
}

// after calls fn with the kinds of the numbers above one, in order, until it returns false. Times are not filled in.
func (l *ledger) after(n uint64, fn func(n uint64, k *query.Kind) bool) error {
	return l.view(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketKinds).Cursor()
		for key, v := c.Seek(number(n + 1)); key != nil; key, v = c.Next() {
			k, err := decodeKind(v)
			if err != nil {
				return err
			}
			if !fn(readNumber(key), &k) {
				break
			}
		}
		return nil
	})
}

// upTo counts the kinds of the numbers up to one.
func (l *ledger) upTo(n uint64) (kinds uint64, err error) {
	err = l.view(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketKinds).Cursor()
		for key, _ := c.First(); key != nil && readNumber(key) <= n; key, _ = c.Next() {
			kinds++
		}
		return nil
	})
	return kinds, err
}

// numbers returns the kinds of some numbers with their times; those that are not there are left out.
func (l *ledger) numbers(list []uint64) ([]query.Kind, error) {
	var out []query.Kind
	err := l.view(func(tx *bbolt.Tx) error {
		kinds, at := tx.Bucket(bucketKinds), tx.Bucket(bucketTimes)
		for _, n := range list {
			v := kinds.Get(number(n))
			if v == nil {
				continue
			}
			k, err := decodeKind(v)
			if err != nil {
				return err
			}
			t, err := decodeTimes(at.Get(number(n)))
			if err != nil {
				return err
			}
			k.First, k.Last = t.First, t.Last
			out = append(out, k)
		}
		return nil
	})
	return out, err
}

// each calls fn for every kind with its times, until it returns false.
func (l *ledger) each(fn func(k *query.Kind) bool) error {
	return l.view(func(tx *bbolt.Tx) error {
		kinds, at := tx.Bucket(bucketKinds).Cursor(), tx.Bucket(bucketTimes).Cursor()
		n, v := kinds.First()
		m, t := at.First()
		for n != nil {
			if !bytes.Equal(n, m) {
				return errDamaged
			}
			k, err := decodeKind(v)
			if err != nil {
				return err
			}
			seen, err := decodeTimes(t)
			if err != nil {
				return err
			}
			k.First, k.Last = seen.First, seen.Last
			if !fn(&k) {
				return nil
			}
			n, v = kinds.Next()
			m, t = at.Next()
		}
		return nil
	})
}

// seen returns when the kinds of some hashes were first and last seen; those that are not there are left out.
func (l *ledger) seen(hashes []uint64) (map[uint64]times, error) {
	out := make(map[uint64]times, len(hashes))
	err := l.view(func(tx *bbolt.Tx) error {
		numbers, at := tx.Bucket(bucketHashes), tx.Bucket(bucketTimes)
		for _, h := range hashes {
			if n := numbers.Get(number(h)); n != nil {
				t, err := decodeTimes(at.Get(n))
				if err != nil {
					return err
				}
				out[h] = t
			}
		}
		return nil
	})
	return out, err
}

// forget removes the kinds that match, and writes the file anew so that it does not hold them. The index must be built
// anew before purged is called.
func (l *ledger) forget(match func(service, template string) bool) (int, error) {
	forgotten := 0
	err := l.update(func(tx *bbolt.Tx) error {
		kinds, at, hashes, services := tx.Bucket(bucketKinds), tx.Bucket(bucketTimes), tx.Bucket(bucketHashes), tx.Bucket(bucketServices)
		var gone [][]byte
		left := map[string]*serviceFacts{}
		c := kinds.Cursor()
		for n, v := c.First(); n != nil; n, v = c.Next() {
			k, err := decodeKind(v)
			if err != nil {
				return err
			}
			if !match(k.Service, k.Template) {
				continue
			}
			s := left[k.Service]
			if s == nil {
				if _, s, err = decodeService(services.Get(serviceKey(k.Service))); err != nil {
					return err
				}
				left[k.Service] = s
			}
			s.kinds[k.Level]--
			gone = append(gone, bytes.Clone(n))
			if err := hashes.Delete(number(k.Hash)); err != nil {
				return err
			}
		}
		for _, n := range gone {
			if err := errors.Join(kinds.Delete(n), at.Delete(n)); err != nil {
				return err
			}
		}
		for name, s := range left {
			var err error
			if s.total() == 0 {
				err = services.Delete(serviceKey(name))
			} else {
				err = services.Put(serviceKey(name), encodeService(name, s))
			}
			if err != nil {
				return err
			}
		}
		if forgotten = len(gone); forgotten == 0 {
			return nil
		}
		return tx.Bucket(bucketMeta).Put(keyPurge, []byte{1})
	})
	if err != nil || forgotten == 0 {
		return 0, err
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	return forgotten, l.load()
}

// compact writes the file anew, without what is in its free pages.
func (l *ledger) compact() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.db == nil {
		return ErrClosed
	}
	tmp := l.path + ".tmp"
	err := func() error {
		fresh, err := bbolt.Open(tmp, 0o600, &bbolt.Options{Timeout: time.Second})
		if err != nil {
			return err
		}
		return errors.Join(bbolt.Compact(fresh, l.db, 1<<20), fresh.Sync(), fresh.Close())
	}()
	if err != nil {
		return fmt.Errorf("writing the ledger anew: %w", errors.Join(err, os.Remove(tmp)))
	}
	l.o.hook("compacted")
	db := l.db
	l.db = nil
	if err := db.Close(); err != nil {
		return fmt.Errorf("writing the ledger anew: %w", err)
	}
	err = os.Rename(tmp, l.path)
	if err == nil {
		err = syncDir(filepath.Dir(l.path))
	}
	l.o.hook("renamed")
	return errors.Join(err, l.open())
}

// purged says that neither the file nor the index holds what was forgotten.
func (l *ledger) purged() error {
	if err := l.update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Delete(keyPurge) }); err != nil {
		return err
	}
	l.facts.Lock()
	defer l.facts.Unlock()
	l.purge = false
	return nil
}

// syncDir makes a folder's names durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
