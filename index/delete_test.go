package index

import (
	"bytes"
	"errors"
	"github.com/google/go-cmp/cmp"
	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/internal/vfs"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"context"
	"fmt"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/query/querytest"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/event"
)

// deleteByHand does all that the jobs of a store without goroutines have to do.
func deleteByHand(s *Store) error {
	c := newCompactor(s)
	for range 10_000 {
		if s.nextDeletion() == nil {
			return nil
		}
		if !c.deleter.step(context.Background()) {
			if c.deleter.said != "" {
				return fmt.Errorf("deleting: %s", c.deleter.said)
			}
			if err := sealByHand(s); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("the deletion does not end: %+v", s.Deletes())
}

// Deleting is stepped by hand while searches run: what is kept is in every answer once, what is deleted goes bit by bit and never
// comes back, and paging by a cursor shows every kept event once.
func TestSearchesDuringADeletion(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 7))
			o := Options{byHand: true, logSegment: 8 << 10, NoSync: true}
			if seed%2 == 1 {
				o.Classify = func(service string) (string, func(*event.Event) string) {
					return []string{segment.DefaultClass, "audit", "noise"}[len(service)%3], nil
				}
			}
			s := open(t, o)
			c := querytest.NewCorpus(rng)
			var all []event.Event
			for range 8 {
				var b event.Batch
				for range 1 + rng.IntN(400) {
					if e := c.Event(&b); e.Time == 0 {
						e.Time = 1 // Since 0 is no bound
					}
				}
				if err := s.Append(t.Context(), &b); err != nil {
					t.Fatal(err)
				}
				for i := range b.Events {
					e := b.Events[i].Clone()
					e.Seq = uint64(len(all) + 1)
					all = append(all, e)
				}
				if rng.IntN(3) > 0 {
					seal(t, s)
				}
			}
			var scope query.DeleteScope
			for gone := 0; gone == 0 || gone == len(all); {
				text := querytest.Query(rng, &all[rng.IntN(len(all))])
				var err error
				if scope.Query, err = query.Parse(text); err != nil {
					continue
				}
				gone = 0
				for i := range all {
					if scope.MaxSeq = uint64(len(all)); scope.Match(&all[i]) {
						gone++
					}
				}
			}
			job, err := s.Delete(t.Context(), query.DeleteRequest{DeleteScope: scope})
			if err != nil {
				t.Fatal(err)
			}
			// What arrives behind the job stays, match or not.
			var b event.Batch
			for range 50 {
				if e := c.Event(&b); e.Time == 0 {
					e.Time = 1
				}
			}
			again := all[0].Clone()
			b.Events = append(b.Events, again)
			if err := s.Append(t.Context(), &b); err != nil {
				t.Fatal(err)
			}
			for i := range b.Events {
				e := b.Events[i].Clone()
				e.Seq = uint64(len(all) + 1)
				all = append(all, e)
			}
			kept := slices.DeleteFunc(slices.Clone(all), func(e event.Event) bool { return scope.Match(&e) })

			done := make(chan struct{})
			var readers sync.WaitGroup
			for range 2 {
				before := all
				reading := rand.New(rand.NewPCG(rng.Uint64(), 1))
				readers.Go(func() {
					for last := false; !last; {
						select {
						case <-done:
							last = true
						default:
						}
						got, err := readAll(s, reading)
						if err == nil {
							err = between(kept, got, before)
						}
						if err != nil {
							t.Error(err)
							return
						}
						before = got
					}
					if err := between(kept, before, kept); err != nil {
						t.Errorf("at the end: %v", err)
					}
				})
			}
			err = deleteByHand(s)
			close(done)
			readers.Wait()
			if err != nil {
				t.Fatal(err)
			}
			if now := s.Deletes()[0]; now.ID != job.ID || now.State != query.DeleteDone || now.Deleted != int64(len(all)-len(kept)) || now.Query != "" || now.Hash == "" {
				t.Errorf("%+v", now)
			}
			compare(t, s, kept, rng)
			if oldest := s.log.Oldest(); oldest <= scope.MaxSeq {
				t.Errorf("the log begins at %d", oldest)
			}
		})
	}
}

// readAll reads all events in order of time, at once or page by page, some of which come while the store changes.
func readAll(s *Store, rng *rand.Rand) ([]event.Event, error) {
	var got []event.Event
	page := 0
	if rng.IntN(2) == 0 {
		page = 1 + rng.IntN(300)
	}
	r := query.Request{Limit: page}
	for {
		n, at := 0, int64(0)
		// The next page begins with the time that the last one ended with: what it showed of that is left out, as clients do.
		shown := map[uint64]bool{}
		for i := len(got) - 1; i >= 0 && got[i].Time == r.Since; i-- {
			shown[got[i].Seq] = true
		}
		if page > 0 {
			r.Limit = page + len(shown)
		}
		sum, err := s.Search(context.Background(), r, func(row query.Row) error {
			n++
			at = row.Event.Time
			if !shown[row.Event.Seq] || r.Since == 0 {
				got = append(got, row.Event.Clone())
			}
			return nil
		})
		if err == nil && !sum.Complete {
			err = fmt.Errorf("incomplete: %q", sum.Reasons)
		}
		if err != nil || page == 0 || n < r.Limit {
			return got, err
		}
		r.Since = at
	}
}

// between checks that an answer holds each of least and only of most, once and in order.
func between(least, got, most []event.Event) error {
	count := map[uint64]int{}
	for i := range got {
		if count[got[i].Seq]++; count[got[i].Seq] > 1 {
			return fmt.Errorf("event %d is there twice", got[i].Seq)
		}
		if i > 0 && (got[i].Time < got[i-1].Time || got[i].Time == got[i-1].Time && got[i].Seq < got[i-1].Seq) {
			return fmt.Errorf("event %d stands behind %d", got[i].Seq, got[i-1].Seq)
		}
	}
	may := map[uint64]string{}
	for i := range most {
		may[most[i].Seq] = show(&most[i])
	}
	for i := range got {
		if may[got[i].Seq] != show(&got[i]) {
			return fmt.Errorf("event %d is there: %s", got[i].Seq, show(&got[i]))
		}
	}
	for i := range least {
		if count[least[i].Seq] != 1 {
			return fmt.Errorf("event %d of %d is missing", least[i].Seq, len(least))
		}
	}
	return nil
}

// deletingWorld is a disk that dies, a producer that counts its events, and jobs that delete those whose number ends with a digit.
type deletingWorld struct {
	fs     *vfs.Crash
	clock  ticks
	rng    *rand.Rand
	acked  uint64            // events that were acknowledged
	seqs   map[uint64]uint64 // number → sequence, of all that were seen
	asked  map[uint64]scopeOf
	told   map[uint64][]query.DeleteState // by job
	broken error
	ended  int
}

// scopeOf is what a job was asked to delete.
type scopeOf struct {
	digit  string
	maxSeq uint64
}

func (w *deletingWorld) open() (*Store, error) {
	return Open(Options{Dir: "/data/store", FS: w.fs, logSegment: 2048, byHand: true, CompactShare: 1, Now: w.clock.now,
		OnDelete: func(_ context.Context, d query.Deletion) error {
			w.told[d.ID] = append(w.told[d.ID], d.State)
			return nil
		},
		Reach: []Reach{{Name: "beside", Forget: func(context.Context, *query.DeleteScope, []byte) error {
			// A call of the disk, so that the power goes here as well.
			return w.fs.SyncDir("/data")
		}}},
	})
}

// live appends, seals, merges, asks for deletions and does some of their steps, until the disk stops it.
func (w *deletingWorld) live(t *testing.T, finish bool) {
	s, err := w.open()
	if err != nil {
		if finish {
			w.broken = err
		}
		return
	}
	defer func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		s.Close(ended)
	}()
	if w.check(t, s); w.broken != nil {
		return
	}
	err = w.work(t, s)
	if finish {
		if w.broken = errors.Join(err, deleteByHand(s)); w.broken != nil {
			return
		}
		// Every sequence was an event, and each that is not there was deleted once.
		deleted := int64(0)
		for _, d := range s.Deletes() {
			deleted += d.Deleted
		}
		if left := int64(count(t, s, "*")); int64(s.LastSeq()) != left+deleted {
			w.broken = fmt.Errorf("%d events are left of %d, and %d are said to be deleted", left, s.LastSeq(), deleted)
			return
		}
	}
	w.check(t, s)
}

func (w *deletingWorld) work(t *testing.T, s *Store) error {
	c := newCompactor(s)
	c.deleter.step(t.Context()) // which the compactor does before it merges
	for range 8 {
		b := event.Batch{Producer: "p", FirstSeq: w.acked}
		for i := range 1 + w.rng.IntN(12) {
			e := b.Add()
			e.Service = []byte([]string{"a", "b"}[w.rng.IntN(2)])
			e.Time = int64(1 + w.rng.IntN(1000))
			e.Message = fmt.Appendf(nil, "number%d.", w.acked+uint64(i))
		}
		if err := s.Append(t.Context(), &b); err != nil {
			return err
		}
		w.acked += uint64(len(b.Events))
		if w.rng.IntN(3) == 0 {
			if err := sealByHand(s); err != nil {
				return err
			}
		}
		if n := len(s.segments); n > 1 && w.rng.IntN(3) == 0 {
			if err := mergeByHand(s, 0, n); err != nil {
				return err
			}
		}
		if w.rng.IntN(4) == 0 {
			scope := query.DeleteScope{Query: parse(t, fmt.Sprintf("message:*%d.", w.rng.IntN(10)))}
			if _, err := s.Delete(t.Context(), query.DeleteRequest{DeleteScope: scope, KeepQuery: true}); err != nil {
				return err
			}
		}
		for range w.rng.IntN(6) {
			if !c.deleter.step(t.Context()) {
				break
			}
		}
	}
	return nil
}

// check finds the first broken promise: a kept event lost or doubled, or one that is there though a job that deletes it is done.
func (w *deletingWorld) check(t *testing.T, s *Store) {
	state := map[uint64]query.DeleteState{}
	for _, d := range s.Deletes() {
		state[d.ID] = d.State
		if d.Query == "" { // the disk died while the job was read
			return
		}
		w.asked[d.ID] = scopeOf{d.Query[len(d.Query)-2:][:1], d.MaxSeq}
		if d.State == query.DeleteDone {
			w.ended++
		}
	}
	err := func() error {
		count, newest := map[uint64]int{}, uint64(0)
		for _, read := range []func(func(*event.Event) error) error{
			func(fn func(*event.Event) error) error {
				sum, err := s.Search(t.Context(), query.Request{}, func(r query.Row) error { return fn(r.Event) })
				if err == nil && !sum.Complete {
					err = fmt.Errorf("incomplete: %q", sum.Reasons)
				}
				return err
			},
			func(fn func(*event.Event) error) error {
				f := s.Follow(0)
				defer f.Close()
				for f.Position() < newest {
					events, err := f.Next(t.Context())
					if err != nil {
						return fmt.Errorf("following: %w", err)
					}
					for i := range events {
						if err := fn(&events[i]); err != nil {
							return err
						}
					}
				}
				return nil
			},
		} {
			clear(count)
			err := read(func(e *event.Event) error {
				var n uint64
				if _, err := fmt.Sscanf(string(e.Message), "number%d.", &n); err != nil {
					return err
				}
				if was, ok := w.seqs[n]; ok && was != e.Seq {
					return fmt.Errorf("event %d had sequence %d, now %d", n, was, e.Seq)
				}
				w.seqs[n], newest = e.Seq, max(newest, e.Seq)
				count[n]++
				return nil
			})
			if err != nil {
				return err
			}
			for n := range w.acked {
				digit := fmt.Sprint(n % 10)
				gone, may := false, false // deleted; to be deleted by a job that goes on
				for id, scope := range w.asked {
					if seq, seen := w.seqs[n]; scope.digit == digit && (!seen || seq <= scope.maxSeq) {
						gone = gone || state[id] == query.DeleteDone && seen
						may = true
					}
				}
				switch c := count[n]; {
				case c > 1, c == 1 && gone, c == 0 && !may:
					return fmt.Errorf("event %d of %d acknowledged is there %d times; deleted %v, being deleted %v", n, w.acked, c, gone, may)
				}
			}
		}
		return nil
	}()
	if _, dead := w.fs.ReadDir("/"); dead == nil && w.broken == nil {
		w.broken = err
	}
}

// Power is taken away at every operation of the disk while events are appended, sealed, merged and deleted: what is kept is there
// once, a job goes on by itself and ends, and what it has deleted never comes back.
func TestCrashWhileDeleting(t *testing.T) {
	worlds, ended := 0, 0
	for seed := range uint64(3) {
		for at := 1; at <= 170; at++ {
			w := &deletingWorld{fs: vfs.NewCrash(seed), rng: rand.New(rand.NewPCG(seed, 3)),
				seqs: map[uint64]uint64{}, asked: map[uint64]scopeOf{}, told: map[uint64][]query.DeleteState{}}
			if err := errors.Join(w.fs.MkdirAll("/data", 0o700), w.fs.SyncDir("/")); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				w.fs.StopAt(at)
				if w.live(t, false); w.broken != nil {
					break
				}
				if w.fs = w.fs.Crash(); w.rng.IntN(2) == 0 {
					at := w.rng.IntN(60)
					w.fs.StopAt(1 + at)
					w.live(t, false)
					w.fs = w.fs.Crash()
				}
			}
			for range 2 {
				if w.broken == nil {
					w.live(t, true)
					w.fs = w.fs.Crash()
				}
			}
			if w.broken != nil {
				t.Fatalf("seed %d, power cut at operation %d: %v", seed, at, w.broken)
			}
			for id, states := range w.told {
				if states[0] != query.DeleteRunning || states[len(states)-1] != query.DeleteDone {
					t.Fatalf("seed %d, power cut at operation %d: of deletion %d was told %v", seed, at, id, states)
				}
			}
			worlds, ended = worlds+1, ended+w.ended
		}
	}
	if ended == 0 {
		t.Error("no deletion ended: the test did nothing")
	}
	t.Logf("%d worlds", worlds)
}

// A segment of the first format that is rebuilt alone keeps its name, and so its file.
func TestARebuiltSegmentKeepsItsFile(t *testing.T) {
	o := Options{Dir: t.TempDir(), byHand: true}
	s := open(t, o)
	var b event.Batch
	line(&b, "a", "one", 1)
	if err := s.Append(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	seal(t, s)
	last, err := s.log.Roll()
	if err := errors.Join(err, s.log.Trim(last), mergeByHand(s, 0, 1)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := everything(t, open(t, o)); len(got) != 1 {
		t.Errorf("after a restart there is %q", got)
	}
}

// fill appends generations of events "secret N" and "plain N" of services a and b and seals each.
func fill(t *testing.T, s *Store, generations int) {
	t.Helper()
	for g := range generations {
		var b event.Batch
		for i := range 20 {
			line(&b, []string{"a", "b"}[i%2], fmt.Sprint([]string{"secret ", "plain "}[i/10], g*20+i), int64(1+g*20+i))
		}
		if err := s.Append(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		seal(t, s)
	}
}

func mustDelete(t *testing.T, s *Store, r query.DeleteRequest) query.Deletion {
	t.Helper()
	job, err := s.Delete(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return job
}

func count(t *testing.T, s *Store, text string) int {
	t.Helper()
	sum, err := s.Search(t.Context(), query.Request{Query: parse(t, text), CountOnly: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return int(sum.Matched)
}

// A segment with damage is left as it is, which the job says, and the others lose their events.
func TestDeletionAroundDamage(t *testing.T) {
	o := Options{Dir: t.TempDir(), byHand: true}
	s := open(t, o)
	fill(t, s, 3)
	victim := filepath.Join(s.segmentDir(), s.segments[1].Name())
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(victim)
	if err != nil {
		t.Fatal(err)
	}
	data[bytes.Index(data, []byte("LKB"))+24] ^= 1
	if err := os.WriteFile(victim, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, o)
	mustDelete(t, s, query.DeleteRequest{DeleteScope: query.DeleteScope{Query: parse(t, "secret")}})
	if err := deleteByHand(s); err != nil {
		t.Fatal(err)
	}
	job := s.Deletes()[0]
	if job.State != query.DeleteIncomplete || job.Deleted != 20 || len(job.Skipped) != 1 || !strings.HasPrefix(job.Skipped[0], filepath.Base(victim)) {
		t.Errorf("%+v", job)
	}
	if after, err := os.ReadFile(victim); err != nil || !bytes.Equal(data, after) {
		t.Errorf("the damaged file was touched: %v", err)
	}
	// One that has damage, but no match, is not in the way.
	mustDelete(t, s, query.DeleteRequest{DeleteScope: query.DeleteScope{Query: parse(t, "plain service:a"), Since: 1, Until: 21}})
	if err := deleteByHand(s); err != nil {
		t.Fatal(err)
	}
	if job := s.Deletes()[0]; job.ID != 2 || job.State != query.DeleteDone || job.Deleted != 5 {
		t.Errorf("%+v", job)
	}
}

// What loses everything stays as an empty segment: followers, merges and the services' counts go on.
func TestDeletingEverything(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, byHand: true, CompactShare: 1})
	fill(t, s, 3)
	job := mustDelete(t, s, query.DeleteRequest{})
	fill(t, s, 1)
	if err := deleteByHand(s); err != nil {
		t.Fatal(err)
	}
	if now := s.Deletes()[0]; now.Deleted != 60 || now.MaxSeq != 60 || job.Query != "*" {
		t.Errorf("%+v", now)
	}
	if got := s.Services(); len(got) != 2 || got[0].Events != 10 || got[0].FirstSeen != 1 {
		t.Errorf("%+v", got)
	}
	if err := mergeByHand(s, 0, len(s.segments)); err != nil {
		t.Fatal(err)
	}
	f := s.Follow(0)
	defer f.Close()
	if events, err := f.Next(t.Context()); err != nil || events[0].Seq != 61 {
		t.Errorf("%v, %v", events, err)
	}
	// Its bytes are in no file either: neither the store's nor the log's are compressed when they are that few.
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte("secret 59")) || filepath.Ext(path) == ".wal" && bytes.Contains(data, []byte("secret 9")) {
			t.Errorf("%s still holds it", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A job goes on after a restart where it was, and what it is told to do beside the store is done in order, each until it succeeds.
func TestDeletionGoesOn(t *testing.T) {
	var did []string
	var fails error
	o := Options{Dir: t.TempDir(), byHand: true, CompactShare: 1}
	reach := func(name string) Reach {
		return Reach{Name: name, Forget: func(_ context.Context, scope *query.DeleteScope, looked []byte) error {
			did = append(did, fmt.Sprintf("%s %s %d %d %s", name, scope.Query, scope.Since, scope.MaxSeq, looked))
			return fails
		}}
	}
	o.Reach = []Reach{reach("one"), reach("two")}
	o.Reach[1].Look = func(context.Context, *query.DeleteScope) ([]byte, error) {
		did = append(did, "look")
		return []byte("seen"), nil
	}
	var told []string
	o.OnDelete = func(_ context.Context, d query.Deletion) error {
		told = append(told, fmt.Sprintf("%s %q %d", d.State, d.Query, d.Deleted))
		return fails
	}
	s := open(t, o)
	fill(t, s, 2)
	mustDelete(t, s, query.DeleteRequest{DeleteScope: query.DeleteScope{Query: parse(t, "secret"), Since: 15}, By: "somebody"})
	fails = errors.New("not now")
	c := newCompactor(s)
	for range 2 {
		if c.deleter.step(t.Context()) {
			t.Error("it goes on though nobody was told")
		}
	}
	if job := s.Deletes()[0]; job.State != query.DeleteWaiting || job.Error != "the audit: not now" || count(t, s, "secret") != 20 {
		t.Errorf("%+v", job)
	}
	fails = nil
	for s.Deletes()[0].Deleted == 0 {
		c.deleter.step(t.Context())
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s = open(t, o)
	fails = errors.New("broken")
	if err := deleteByHand(s); err == nil || !strings.Contains(err.Error(), "one: broken") {
		t.Errorf("%v", err)
	}
	fails = nil
	if err := deleteByHand(s); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{`look`, `one secret 15 40 `, `one secret 15 40 `, `two secret 15 40 seen`}, did); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{`running "" 0`, `running "" 0`, `running "" 0`, `done "" 10`}, told); diff != "" {
		t.Error(diff)
	}
	job := s.Deletes()[0]
	if job.State != query.DeleteDone || job.Error != "" || job.By != "somebody" || job.Query != "" || count(t, s, "secret") != 10 {
		t.Errorf("%+v", job)
	}
	if data, err := os.ReadFile(s.jobPath(job.ID)); err != nil || bytes.Contains(data, []byte("secret")) {
		t.Errorf("the job's file: %s, %v", data, err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now := open(t, o).Deletes()[0]; !cmp.Equal(now, job) {
		t.Error(cmp.Diff(now, job))
	}
}

// A cancelled job ends, over a restart too, and no other one.
func TestCancelDelete(t *testing.T) {
	o := Options{Dir: t.TempDir(), byHand: true, CompactShare: 1}
	s := open(t, o)
	fill(t, s, 3)
	first := mustDelete(t, s, query.DeleteRequest{DeleteScope: query.DeleteScope{Query: parse(t, "secret")}})
	second := mustDelete(t, s, query.DeleteRequest{DeleteScope: query.DeleteScope{Query: parse(t, "secret service:b")}, KeepQuery: true})
	c := newCompactor(s)
	for s.Deletes()[1].Deleted == 0 {
		c.deleter.step(t.Context())
	}
	if _, err := s.CancelDelete(first.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CancelDelete(77); !errors.Is(err, query.ErrNoDeletion) {
		t.Error(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s = open(t, o)
	if err := deleteByHand(s); err != nil {
		t.Fatal(err)
	}
	list := s.Deletes()
	if list[1].State != query.DeleteCancelled || list[1].Deleted != 10 || list[0].State != query.DeleteDone || list[0].Deleted != 10 || list[0].Query != "secret service:b" {
		t.Errorf("%+v", list)
	}
	if again, err := s.CancelDelete(second.ID); err != nil || again.State != query.DeleteDone {
		t.Errorf("%+v, %v", again, err)
	}
	if list[0].Hash == list[1].Hash || len(list[0].Hash) != 32 {
		t.Errorf("hashes %q and %q", list[0].Hash, list[1].Hash)
	}
	if count(t, s, "secret") != 10 {
		t.Errorf("%d are left", count(t, s, "secret"))
	}
}

// A job's file of a later lookout is refused; one that is damaged is said, and the store opens.
func TestJobFiles(t *testing.T) {
	o := Options{Dir: t.TempDir(), byHand: true}
	s := open(t, o)
	fill(t, s, 1)
	job := mustDelete(t, s, query.DeleteRequest{DeleteScope: query.DeleteScope{Query: parse(t, "secret")}})
	path := s.jobPath(job.ID)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"version":2,"id":"1"}`)
	if _, err := Open(o); !errors.Is(err, block.ErrVersion) {
		t.Errorf("a later version: %v", err)
	}
	write(`{"version":1,"id":"1","state":"run`)
	s = open(t, o)
	if job := s.Deletes()[0]; job.ID != 1 || job.State != query.DeleteFailed || job.Error == "" {
		t.Errorf("%+v", job)
	}
	if job := mustDelete(t, s, query.DeleteRequest{DeleteScope: query.DeleteScope{Query: parse(t, "plain")}}); job.ID != 2 {
		t.Errorf("%+v", job)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	write(`{"version":1,"id":"1","state":"running","query":"((("}`)
	s = open(t, o)
	if err := deleteByHand(s); err != nil {
		t.Fatal(err)
	}
	if list := s.Deletes(); list[1].State != query.DeleteFailed || !strings.Contains(list[1].Error, "query") || list[0].State != query.DeleteDone {
		t.Errorf("%+v", list)
	}
}

// A full disk costs a deletion nothing but time.
func TestDeletionOnAFullDisk(t *testing.T) {
	disk := vfs.NewCrash(1)
	s := open(t, Options{Dir: "/store", FS: disk, byHand: true, CompactShare: 1})
	fill(t, s, 3)
	mustDelete(t, s, query.DeleteRequest{DeleteScope: query.DeleteScope{Query: parse(t, "secret")}})
	for _, space := range []int64{0, 100, 300} {
		disk.SetSpace(space)
		if err := deleteByHand(s); err == nil || !strings.Contains(err.Error(), "no space") {
			t.Errorf("with room for %d bytes: %v", space, err)
		}
		if n := count(t, s, "plain"); n != 30 {
			t.Errorf("%d events of 30 are left", n)
		}
	}
	disk.SetSpace(-1)
	if err := deleteByHand(s); err != nil {
		t.Fatal(err)
	}
	if d := s.Deletes()[0]; d.State != query.DeleteDone || d.Deleted != 30 || d.Error != "" || count(t, s, "secret") != 0 || count(t, s, "plain") != 30 {
		t.Errorf("%+v", d)
	}
}
