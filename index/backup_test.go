package index

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/vfs"
)

// copySnapshot writes a snapshot's files into a new folder.
func copySnapshot(t *testing.T, snap *Snapshot) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for i := range snap.Files {
		f := &snap.Files[i]
		path := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(f.Open())
		if err != nil || int64(len(data)) != f.Size {
			t.Fatalf("%s: %d of %d bytes, %v", f.Path, len(data), f.Size, err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// waitFor waits for the next generation to be sealed.
func waitFor(t *testing.T, s *Store) {
	t.Helper()
	s.mu.RLock()
	changed := s.changed
	s.mu.RUnlock()
	select {
	case <-changed:
	case <-t.Context().Done():
		t.Fatal("nothing is sealed any more")
	}
}

// answers is what a store says of the events up to a sequence.
func answers(t *testing.T, s *Store, sequence uint64) (all []string) {
	t.Helper()
	for _, text := range []string{"*", "error", "GET -error", "user:connection", "level>=error", `"items 7"`, "service:a"} {
		r := query.Request{Query: parse(t, text), MaxSeq: sequence}
		sum, err := s.Search(t.Context(), r, func(r query.Row) error {
			all = append(all, fmt.Sprint(text, ": ", r.Event.Seq, " ", r.Event.Received, " ", show(r.Event)))
			return nil
		})
		if err != nil || !sum.Complete {
			t.Fatalf("%s: %+v, %v", text, sum, err)
		}
		r.CountOnly = true
		if sum, err = s.Search(t.Context(), r, nil); err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprint(text, ": ", sum.Matched))
	}
	return all
}

// Snapshots are taken while events come in, are sealed and merged: a store opened in a copy has the events up to the snapshot's sequence,
// no other, and takes none of its producers' a second time.
func TestSnapshotUnderLoad(t *testing.T) {
	s := open(t, Options{HeadBytes: 128 << 10, logSegment: 32 << 10, CompactShare: 1, SegmentBytes: 1 << 20})
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	var acked atomic.Uint64
	acked.Store(1)
	var appending sync.Mutex // held where answers are compared: on a slow machine more would come meanwhile than could be looked at
	running.Go(func() {
		c := corpus{rand.New(rand.NewPCG(1, 2))}
		for ctx.Err() == nil {
			var b event.Batch
			b.Producer, b.FirstSeq = "p", acked.Load()
			for range 40 {
				c.event(&b)
			}
			appending.Lock()
			if s.Append(context.WithoutCancel(ctx), &b) == nil {
				acked.Add(40)
			}
			appending.Unlock()
		}
	})
	for s.Stats().Compactions == 0 {
		waitFor(t, s)
	}
	for range 4 {
		before := acked.Load() - 1
		merges := s.Stats().Compactions
		snap, err := s.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		if snap.Sequence < before {
			t.Fatalf("the snapshot ends with %d, %d were acknowledged", snap.Sequence, before)
		}
		for s.Stats().Compactions < merges+2 { // what was merged is removed meanwhile
			waitFor(t, s)
		}
		appending.Lock()
		dir := copySnapshot(t, snap)
		if err := snap.Close(); err != nil {
			t.Fatal(err)
		}
		if v, err := Verify(t.Context(), vfs.OS, dir, true, nil); err != nil || len(v.Problems) != 0 {
			t.Errorf("%+v, %v", v, err)
		}
		again := open(t, Options{Dir: dir, byHand: true})
		if again.LastSeq() != snap.Sequence {
			t.Errorf("the copy ends with %d where %d belongs", again.LastSeq(), snap.Sequence)
		}
		if diff := cmp.Diff(answers(t, s, snap.Sequence), answers(t, again, 0)); diff != "" {
			t.Fatal(diff)
		}
		if next, _, ok := again.Producer("p"); !ok || next != snap.Sequence+1 {
			t.Errorf("the producer goes on with %d, %v, where %d belongs", next, ok, snap.Sequence+1)
		}
		appending.Unlock()
	}
	stop()
	running.Wait()
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Snapshot(); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}

	// Nobody has it open: the same, and nothing is touched.
	before := listing(t, s.o.Dir)
	snap, err := OpenSnapshot(vfs.OS, s.o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	dir := copySnapshot(t, snap)
	if diff := cmp.Diff(before, listing(t, s.o.Dir)); diff != "" {
		t.Error(diff)
	}
	again := open(t, Options{Dir: dir, byHand: true})
	if again.LastSeq() != acked.Load()-1 || snap.Sequence != again.LastSeq() {
		t.Errorf("the copy ends with %d, the snapshot with %d, where %d belongs", again.LastSeq(), snap.Sequence, acked.Load()-1)
	}
}

// What is not sealed is in a snapshot, and so is the state beside the segments.
func TestSnapshotOfMemory(t *testing.T) {
	s := open(t, Options{byHand: true})
	inSegments(t, s, 2, 10)
	var b event.Batch
	line(&b, "a", "in memory", 1000)
	if err := s.Append(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(s.o.Dir, "deletes"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"deletes/1.json": "{}", "deletes/1.json.tmp": "half"} {
		if err := os.WriteFile(filepath.Join(s.o.Dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	if snap.Sequence != 21 {
		t.Error(snap.Sequence)
	}
	names := map[string]int{}
	for _, f := range snap.Files {
		names[filepath.ToSlash(filepath.Dir(f.Path))]++
		if filepath.Ext(f.Path) == ".seg" && f.ModTime.IsZero() {
			t.Error(f.Path, "has no time")
		}
	}
	if names["segments"] != 2 || names["wal"] == 0 || names["deletes"] != 1 {
		t.Error(names)
	}
}

func listing(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			list = append(list, fmt.Sprint(path, " ", info.Size(), " ", info.ModTime().UnixNano()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}
