package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/vfs"
)

// tightDisk is a file system that tells how full it is, and a store on it whose goroutines do not run by themselves.
type tightDisk struct {
	fs   *vfs.Crash
	free atomic.Uint64
	said bytes.Buffer
}

const tightSize = 1000 << 10

func newTightDisk() *tightDisk {
	d := &tightDisk{fs: vfs.NewCrash(1)}
	d.free.Store(tightSize)
	return d
}

func (d *tightDisk) options() Options {
	return Options{
		Dir: "/store", FS: d.fs, byHand: true, logSegment: 4096, CompactShare: 1, Log: slog.New(slog.NewTextHandler(&d.said, nil)),
		Free: func() (uint64, uint64, error) { return d.free.Load(), tightSize, nil },
	}
}

func appendOne(t *testing.T, s *Store, text string) error {
	t.Helper()
	var b event.Batch
	line(&b, "a", text, 1)
	return s.Append(t.Context(), &b)
}

// wantFull tells whether an append was refused because the disk is full.
func wantFull(t *testing.T, err error) {
	t.Helper()
	var p interface {
		Full() bool
		RetryAfter() time.Duration
	}
	if !errors.As(err, &p) || !p.Full() || p.RetryAfter() <= 0 || !strings.Contains(err.Error(), "full") || !strings.Contains(err.Error(), "free space") {
		t.Errorf("%v", err)
	}
}

// With less than the reserve free nothing is accepted, searches go on, what is in memory is sealed to free the log, and no merge
// begins. When space returns all goes on, also over a start.
func TestReserve(t *testing.T) {
	d := newTightDisk()
	s := open(t, d.options())
	for i := range 5 {
		if err := appendOne(t, s, fmt.Sprint("event ", i)); err != nil {
			t.Fatal(err)
		}
	}
	seal(t, s)
	if err := appendOne(t, s, "in memory"); err != nil {
		t.Fatal(err)
	}
	d.free.Store(tightSize/20 - 1)
	s.lookAtSpace()
	wantFull(t, appendOne(t, s, "refused"))
	before := everything(t, s)
	if len(before) != 6 {
		t.Errorf("%q", before)
	}
	s.freezeOld()
	s.sealFrozen()
	if s.active.bytes != 0 || s.frozen != nil {
		t.Error("what is in memory was not sealed")
	}
	if merged, err := newCompactor(s).next(t.Context()); merged || err != nil {
		t.Errorf("a merge on a full disk: %v, %v", merged, err)
	}
	if st := s.Stats(); st.RefusedFull != 1 || st.Refused != 0 || st.DiskFree != tightSize/20-1 || st.DiskBytes != tightSize {
		t.Errorf("%+v", st)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	s = open(t, d.options())
	wantFull(t, appendOne(t, s, "refused"))
	if diff := cmp.Diff(before, everything(t, s)); diff != "" {
		t.Error(diff)
	}
	d.free.Store(tightSize / 20)
	s.lookAtSpace()
	if err := appendOne(t, s, "accepted"); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"the disk is full", "takes events again"} {
		if !strings.Contains(d.said.String(), want) {
			t.Errorf("%q was not said: %s", want, &d.said)
		}
	}
}

// What fills the disk between two looks meets the disk's refusal: nothing acknowledged is lost, sealing is tried again, and a start
// on the full disk finds everything.
func TestFullDisk(t *testing.T) {
	d := newTightDisk()
	o := d.options()
	o.Retention = Retention{Age: time.Hour} // its state cannot be written either
	s := open(t, o)
	said := 0
	for ; said < 3; said++ {
		if err := appendOne(t, s, fmt.Sprint("event ", said)); err != nil {
			t.Fatal(err)
		}
	}
	before := everything(t, s)
	d.fs.SetSpace(0)
	wantFull(t, appendOne(t, s, "refused"))
	s.mu.Lock()
	s.freeze()
	s.mu.Unlock()
	s.sealFrozen()
	s.sealFrozen()
	if st := s.Stats(); st.SealErrors != 2 || strings.Count(d.said.String(), "sealing failed") != 1 {
		t.Errorf("%+v\n%s", st, &d.said)
	}
	if err := newCompactor(s).retain(); err == nil {
		t.Error("retention has written its state onto a full disk")
	}
	if diff := cmp.Diff(before, everything(t, s)); diff != "" {
		t.Error(diff)
	}
	if err := s.Close(context.Background()); err == nil {
		t.Error("closed as if all had been sealed")
	}
	s = open(t, o)
	if diff := cmp.Diff(before, everything(t, s)); diff != "" {
		t.Error(diff)
	}
	wantFull(t, appendOne(t, s, "refused"))
	d.fs.SetSpace(-1)
	if err := appendOne(t, s, "accepted"); err != nil {
		t.Error(err)
	}
	seal(t, s)
	if got := everything(t, s); len(got) != 4 {
		t.Errorf("%q", got)
	}
}

// Without a free byte retention still removes what is due, by age and by bytes, each time, also after a kill; when the power fails meanwhile
// what has gone stays away.
func TestRetentionOnAFullDisk(t *testing.T) {
	a := newAging(t, Retention{Age: 2 * days, Classes: map[string]ClassRetention{"audit": {Age: 10 * days, MaxBytes: 1}}})
	disk := a.o.FS.(*vfs.Crash)
	a.look()
	for range 4 {
		a.say("default")
		a.pass(days / 2)
	}
	a.say("always")
	fill := func() { disk.SetSpace(0) }
	fill()
	a.pass(days / 2)
	a.want(3, 4, 5)
	fill() // what has become free is others'
	a.pass(days / 2)
	a.want(4, 5)
	a.s.SetRetention(Retention{MaxBytes: 1}, byName)
	a.look()
	a.want()
	disk.SetSpace(-1)
	a.say("default")
	fill()
	a.reopen()
	a.want(6)
	a.look()
	a.want(6)
	a.wall, a.mono = a.wall.Add(3*days), a.mono+int64(3*days)
	if err := a.c.retain(); err == nil || !strings.Contains(err.Error(), "rolling the log over") { // which needs more than what was freed here
		t.Error(err)
	}
	a.want()
	disk = disk.Crash()
	a.o.FS = disk
	a.open()
	a.want()
}

// Where nobody can tell how full the disk is, no reserve is kept.
func TestNoReserveWithoutAnswer(t *testing.T) {
	for _, c := range []struct {
		err  error
		said bool
	}{{errors.ErrUnsupported, false}, {errors.New("statfs has failed"), true}} {
		d := newTightDisk()
		o := d.options()
		d.free.Store(0)
		failed := false
		free := o.Free
		o.Free = func() (uint64, uint64, error) {
			if failed {
				return 0, 0, c.err
			}
			return free()
		}
		s := open(t, o)
		wantFull(t, appendOne(t, s, "refused"))
		failed = true
		s.lookAtSpace()
		s.lookAtSpace()
		if err := appendOne(t, s, "accepted"); err != nil {
			t.Error(err)
		}
		if got := strings.Contains(d.said.String(), "cannot be asked"); got != c.said {
			t.Errorf("%v: %s", c.err, &d.said)
		}
	}
}
