package index

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/query"
)

// Deleting is a job that outlives the process. It runs in the compactor's goroutine, one step at a time:
//
//	look       what is beside the store looks at what is to go
//	log        the log is rolled over and what is in memory sealed: then no file of the log holds an event of the job any more
//	segments   each segment with matches is rewritten without them, under its own name; one rename is the whole transaction
//	…          what keeps events beside the store forgets them, in the order of Options.Reach
//
// The log goes first, so that nothing deleted can come back by replay, whenever the process dies. Each step may be repeated; which
// of them are behind is in the job's file.

const (
	jobVersion = 1
	maxJob     = 32 << 20 // bytes of a job's file
	maxJobs    = 100      // that are kept, ended ones; older ones go
	maxSkipped = 100      // that a job lists
	deletesDir = "deletes"
	jobSuffix  = ".json"
	keyFile    = "key"
	keyBytes   = 32
)

// MaxLooked is how many bytes [Reach.Look] may return.
const MaxLooked = 8 << 20

// Reach is something beside the store that keeps what events say.
type Reach struct {
	Name string // of the step; it stays the same over restarts
	// Look, when it is set, is called before anything is deleted, and returns what Forget will need to know of the events: at most
	// [MaxLooked] bytes. It is kept in the job's file until the job ends.
	Look func(context.Context, *query.DeleteScope) ([]byte, error)
	// Forget removes what it keeps of the events of a scope, which no search finds any more. It may be called again for the same.
	Forget func(ctx context.Context, scope *query.DeleteScope, looked []byte) error
}

// deletion is a job with what its file holds.
type deletion struct {
	Version int `json:"version"`
	query.Deletion
	Since     int64             `json:"since_ns,omitempty"`
	Until     int64             `json:"until_ns,omitempty"`
	KeepQuery bool              `json:"keep_query,omitempty"`
	Done      []string          `json:"steps_done,omitempty"`
	Told      bool              `json:"told,omitempty"`      // that it begins
	Cancelled bool              `json:"cancelled,omitempty"` // it is to end
	Rewriting *rewritingNow     `json:"rewriting,omitempty"`
	Seen      map[string][]byte `json:"noted,omitempty"` // what Reach.Look returned, by name

	scope  query.DeleteScope
	broken error              // why it cannot go on
	stop   context.CancelFunc // ends the step under way; nil while there is none
}

// rewritingNow says that a segment is being replaced by one without so many events. Whether it was is seen when they are
// looked for again.
type rewritingNow struct {
	Segment string `json:"segment"`
	Events  int64  `json:"events"`
}

// deletions are the jobs, by ID.
type deletions struct {
	mu   sync.Mutex
	jobs []*deletion
	key  []byte // of hashes
}

func (s *Store) deletesPath(name string) string { return filepath.Join(s.o.Dir, deletesDir, name) }

func (s *Store) jobPath(id uint64) string {
	return s.deletesPath(strconv.FormatUint(id, 10) + jobSuffix)
}

// Delete makes a job that deletes events, and returns it. It has begun to exist when this returns nil, and goes on over restarts.
func (s *Store) Delete(ctx context.Context, r query.DeleteRequest) (query.Deletion, error) {
	if err := ctx.Err(); err != nil {
		return query.Deletion{}, err
	}
	if err := s.enter(); err != nil {
		return query.Deletion{}, err
	}
	defer s.running.Done()
	last := s.LastSeq()
	if r.MaxSeq == 0 || r.MaxSeq > last {
		r.MaxSeq = last
	}
	if r.Query == nil {
		var err error
		if r.Query, err = query.Parse(""); err != nil {
			return query.Deletion{}, err
		}
	}
	d := &s.deletes
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := s.makeKey(); err != nil {
		return query.Deletion{}, err
	}
	j := &deletion{Version: jobVersion, Since: r.Since, Until: r.Until, KeepQuery: r.KeepQuery, scope: r.DeleteScope}
	j.Deletion = query.Deletion{
		ID: 1, State: query.DeleteWaiting, Query: r.Query.String(), Fields: fieldsOf(r.Query), By: r.By, MaxSeq: r.MaxSeq, Created: s.o.Now().UTC(),
		Since: timeOf(r.Since), Until: timeOf(r.Until),
	}
	mac := hmac.New(sha256.New, d.key)
	mac.Write([]byte(j.Query))
	j.Hash = hex.EncodeToString(mac.Sum(nil)[:16])
	if n := len(d.jobs); n > 0 {
		j.ID = d.jobs[n-1].ID + 1
	}
	if err := s.saveJob(j); err != nil {
		// Who was told that there is no job does not expect one to begin with the next start, though after a crash it may.
		_ = s.o.FS.Remove(s.jobPath(j.ID))
		return query.Deletion{}, err
	}
	d.jobs = append(d.jobs, j)
	kick(s.compacts)
	return j.view(), nil
}

// builtins are the names that [query.Query.Fields] leaves out.
var builtins = []string{"service", "level", "host", "env", "container", "stream", "message", "id"}

// fieldsOf returns the names of what a query asks for.
func fieldsOf(q *query.Query) []string {
	var names []string
	for _, name := range builtins {
		if q.Names(name) {
			names = append(names, name)
		}
	}
	for _, f := range q.Fields() {
		names = append(names, f.Name)
	}
	return names
}

func timeOf(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

func (j *deletion) view() query.Deletion {
	v := j.Deletion
	v.Fields, v.Skipped = slices.Clone(v.Fields), slices.Clone(v.Skipped)
	return v
}

// Deletes lists the jobs, the newest first: those that go on, and the last that have ended.
func (s *Store) Deletes() []query.Deletion {
	d := &s.deletes
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]query.Deletion, 0, len(d.jobs))
	for _, j := range slices.Backward(d.jobs) {
		list = append(list, j.view())
	}
	return list
}

// CancelDelete ends a job between two blocks: what has been deleted until then is gone, the rest stays. The error wraps
// [query.ErrNoDeletion] when there is no such job; one that has ended already stays as it is.
func (s *Store) CancelDelete(id uint64) (query.Deletion, error) {
	d := &s.deletes
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, j := range d.jobs {
		if j.ID != id {
			continue
		}
		if j.State.Ended() || j.Cancelled {
			return j.view(), nil
		}
		j.Cancelled = true
		if err := s.saveJob(j); err != nil {
			j.Cancelled = false
			return j.view(), err
		}
		if j.stop != nil {
			j.stop()
		}
		kick(s.compacts)
		return j.view(), nil
	}
	return query.Deletion{}, fmt.Errorf("%w: %d", query.ErrNoDeletion, id)
}

// saveJob writes a job's file; the caller holds the lock.
func (s *Store) saveJob(j *deletion) error {
	c := *j
	if c.State.Ended() {
		if c.Seen = nil; !c.KeepQuery {
			c.Query = ""
		}
	}
	data, err := json.Marshal(&c)
	if err == nil {
		err = writeWhole(s.o.FS, s.jobPath(j.ID), append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("writing deletion %d: %w", j.ID, err)
	}
	j.Query, j.Seen = c.Query, c.Seen
	return nil
}

// makeKey makes the folder and the key of hashes, which stays in the store: a hash alone would let a card's number be found by
// trying them all. The caller holds the lock.
func (s *Store) makeKey() error {
	d := &s.deletes
	if d.key != nil {
		return nil
	}
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // it never fails
	err := s.o.FS.MkdirAll(filepath.Join(s.o.Dir, deletesDir), 0o700)
	if err == nil {
		err = s.o.FS.SyncDir(s.o.Dir)
	}
	if err == nil {
		err = writeWhole(s.o.FS, s.deletesPath(keyFile), key)
	}
	if err != nil {
		return fmt.Errorf("making the folder of deletions: %w", err)
	}
	d.key = key
	return nil
}

// openDeletes reads the jobs. A file of a later lookout is an error that wraps [block.ErrVersion]; one that is damaged is said and
// left alone.
func (s *Store) openDeletes() error {
	names, err := s.o.FS.ReadDir(filepath.Join(s.o.Dir, deletesDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the deletions: %w", err)
	}
	for _, name := range names {
		path := s.deletesPath(name)
		if name == keyFile {
			if key, err := readWhole(s.o.FS, path, maxJob); err == nil && len(key) == keyBytes {
				s.deletes.key = key
			}
			continue
		}
		number, ok := strings.CutSuffix(name, jobSuffix)
		id, err := strconv.ParseUint(number, 10, 64)
		if !ok || err != nil {
			continue
		}
		j, err := s.readJob(path)
		if err == nil && j.ID != id {
			err = fmt.Errorf("%w: it says that it is %d", block.ErrCorrupt, j.ID)
		}
		switch {
		case err != nil && !errors.Is(err, block.ErrCorrupt):
			return fmt.Errorf("reading deletion %s: %w", path, err)
		case err != nil:
			// What it was about is not known any more; its number is not given again.
			s.o.Log.Error("a deletion cannot be read, and does not go on", "file", path, "error", err)
			j = &deletion{Version: jobVersion, Deletion: query.Deletion{ID: id, State: query.DeleteFailed, Error: err.Error()}}
		}
		s.deletes.jobs = append(s.deletes.jobs, j)
	}
	slices.SortFunc(s.deletes.jobs, func(a, b *deletion) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return nil
}

func (s *Store) readJob(path string) (*deletion, error) {
	data, err := readWhole(s.o.FS, path, maxJob)
	if err != nil {
		return nil, err
	}
	var version struct{ Version int }
	if err := json.Unmarshal(data, &version); err != nil {
		return nil, fmt.Errorf("%w: %w", block.ErrCorrupt, err)
	}
	if version.Version != jobVersion {
		return nil, fmt.Errorf("%w: version %d, this lookout reads %d", block.ErrVersion, version.Version, jobVersion)
	}
	j := &deletion{}
	if err := json.Unmarshal(data, j); err != nil {
		return nil, fmt.Errorf("%w: %w", block.ErrCorrupt, err)
	}
	if j.State.Ended() {
		return j, nil
	}
	q, err := query.Parse(j.Query)
	if err != nil { // a later lookout's words
		j.broken = fmt.Errorf("its query cannot be read: %w", err)
		return j, nil
	}
	j.scope = query.DeleteScope{Query: q, Since: j.Since, Until: j.Until, MaxSeq: j.MaxSeq}
	return j, nil
}
