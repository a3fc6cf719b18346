package index

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/vfs"
)

// The state file holds the little that cannot be told from the names of the segments: up to where events were removed for
// good, so that neither the log nor a file whose removal a crash took back brings them up again, and what is known of the clock.

const (
	stateName    = "state.json"
	stateVersion = 1
	maxState     = 1 << 20 // bytes
	maxJumps     = 256
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// state is what the state file holds.
type state struct {
	// Sealed is a floor: what is at or below it is in segments, or gone, and is never read from the log again.
	Sealed uint64 `json:"sealed"`
	// Expired says of each class up to which sequence, that one included, all of its events were removed by retention.
	Expired map[string]uint64 `json:"expired,omitempty"`
	// Jumps are the clock's, in order of sequence.
	Jumps []clockJump `json:"jumps,omitempty"`
	Look  clockLook   `json:"look"`
}

// clockJump says that the clock was put forward by Delta ns, back when it is negative, when Seq was the newest sequence.
type clockJump struct {
	Seq   uint64 `json:"sequence"`
	Delta int64  `json:"delta"`
	// Stop says that it was found after a stop, which may have been that long.
	Stop bool `json:"stop,omitempty"`
}

// clockLook is what was known of the clock when it was looked at last.
type clockLook struct {
	At int64 `json:"at"` // ns since the Unix epoch; 0 when it never was
	// Pause is for how long, in ns, the clock had to be steady from then on before anything is deleted by age.
	Pause int64 `json:"pause"`
}

// clone returns a copy that can be changed.
func (st *state) clone() *state {
	c := *st
	c.Expired, c.Jumps = maps.Clone(st.Expired), slices.Clone(st.Jumps)
	return &c
}

// jumped notes a jump of the clock. Of more than maxJumps the oldest are taken together, so that what was received between
// them seems younger than it is, never older.
func (st *state) jumped(j clockJump) {
	for i := range st.Jumps {
		st.Jumps[i].Stop = false // it was no stop, or else the clock is not to be trusted: both count
	}
	st.Jumps = append(st.Jumps, j)
	for n := len(st.Jumps); n > maxJumps; n-- {
		st.Jumps[1].Delta = addTimes(st.Jumps[1].Delta, max(st.Jumps[0].Delta, 0))
		st.Jumps = st.Jumps[1:]
	}
}

// trust is called when the clock has been steady for long: what was found after a stop was the stop itself.
func (st *state) trust() {
	st.Jumps = slices.DeleteFunc(st.Jumps, func(j clockJump) bool { return j.Stop })
}

// settled forgets the jumps from before a sequence, up to which no event is left.
func (st *state) settled(seq uint64) {
	st.Jumps = slices.DeleteFunc(st.Jumps, func(j clockJump) bool { return j.Seq <= seq })
}

// received returns when an event was received, by the clock as it is now.
func (st *state) received(r block.ReceivedRun) int64 {
	shift := st.shift(r.Seq)
	if shift < 0 {
		// The clock may have been put forward while the store was stopped, for less time than that is noticed.
		shift = min(addTimes(shift, int64(stopMost)), 0)
	}
	return addTimes(r.Received, shift)
}

// shift returns how far the clock has been put forward since the event of a sequence was received, in ns.
func (st *state) shift(seq uint64) (ns int64) {
	for _, j := range st.Jumps {
		if j.Seq >= seq {
			ns = addTimes(ns, j.Delta)
		}
	}
	return ns
}

// addTimes adds two times in ns; what does not fit becomes the least or the greatest.
func addTimes(a, b int64) int64 {
	sum := a + b
	switch {
	case a > 0 && b > 0 && sum < 0:
		return math.MaxInt64
	case a < 0 && b < 0 && sum >= 0:
		return math.MinInt64
	}
	return sum
}

// stateFile is the file around a state.
type stateFile struct {
	Version int             `json:"version"`
	CRC     string          `json:"crc32c"` // of the state's bytes, eight hex digits
	State   json.RawMessage `json:"state"`
}

func (st *state) encode() ([]byte, error) {
	inner, err := json.Marshal(st)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(stateFile{stateVersion, checksumText(inner), inner})
	return append(data, '\n'), err
}

func checksumText(data []byte) string { return fmt.Sprintf("%08x", crc32.Checksum(data, castagnoli)) }

// decodeState reads what encode wrote. The error wraps [block.ErrVersion] for a file of a later lookout, else [block.ErrCorrupt].
func decodeState(data []byte) (*state, error) {
	var f stateFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("%w: %w", block.ErrCorrupt, err)
	}
	switch {
	case f.Version > stateVersion:
		return nil, fmt.Errorf("%w: state version %d, this lookout reads %d", block.ErrVersion, f.Version, stateVersion)
	case f.Version != stateVersion:
		return nil, fmt.Errorf("%w: version %d", block.ErrCorrupt, f.Version)
	case f.CRC != checksumText(f.State):
		return nil, fmt.Errorf("%w: checksum", block.ErrCorrupt)
	}
	st := &state{}
	if err := json.Unmarshal(f.State, st); err != nil {
		return nil, fmt.Errorf("%w: %w", block.ErrCorrupt, err)
	}
	for class, seq := range st.Expired {
		if !segment.ValidClass(class) || seq > st.Sealed {
			return nil, fmt.Errorf("%w: class %q expired up to %d, sealed up to %d", block.ErrCorrupt, class, seq, st.Sealed)
		}
	}
	inOrder := slices.IsSortedFunc(st.Jumps, func(a, b clockJump) int { return cmp.Compare(a.Seq, b.Seq) })
	if !inOrder || len(st.Jumps) > maxJumps || st.Look.Pause < 0 {
		return nil, fmt.Errorf("%w: the clock's history", block.ErrCorrupt)
	}
	return st, nil
}

func (s *Store) statePath() string { return filepath.Join(s.o.Dir, stateName) }

// openState reads the state file. One that is damaged is said and replaced by the next that is written: the events matter more.
func (s *Store) openState() error {
	s.state = &state{}
	data, err := readWhole(s.o.FS, s.statePath(), maxState)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		var st *state
		if st, err = decodeState(data); err == nil {
			s.state = st
			return nil
		}
	}
	err = fmt.Errorf("reading %s: %w", s.statePath(), err)
	if !errors.Is(err, block.ErrCorrupt) {
		return fmt.Errorf("opening the store: %w", err)
	}
	s.o.Log.Error("the store's state is damaged and is made anew; events that retention removed shortly before may be back", "error", err)
	return nil
}

// saveState changes the store's state, durably. Only one goroutine may call it at a time: the compactor's, and Open and Close
// before and after it. When it fails the state stays as it was.
func (s *Store) saveState(change func(*state)) error {
	st := s.state.clone() // nobody else changes it
	change(st)
	data, err := st.encode()
	if err == nil {
		data = append(data, bytes.Repeat([]byte{'\n'}, spareSize(data)-len(data))...)
		err = writeWhole(s.o.FS, s.statePath(), data)
	}
	if errors.Is(err, syscall.ENOSPC) && len(data) <= s.spare {
		err = s.useSpare(data)
		s.keepSpare() // in the place of the file before
	}
	if err != nil {
		return fmt.Errorf("writing the store's state: %w", err)
	}
	s.mu.Lock()
	s.state = st
	s.mu.Unlock()
	return nil
}

// What retention removes is in the state file before it goes, and on a disk without a free block that file could not be written: nothing
// would ever go. So a file of blank space lies ready beside it, which can be written over and renamed without taking another block. Both
// are of one size, so that the next spare has room where the state file before was.

const spareName = stateName + ".spare"

// spareSize is the size of a state file, in bytes: that of its text and some room to grow, in blocks as most file systems have them.
func spareSize(data []byte) int {
	const unit, grows = 4 << 10, 512
	return (len(data) + grows + unit - 1) / unit * unit
}

// keepSpare makes the spare file, unless there is one that is large enough. Without it all goes on, but on a full disk.
func (s *Store) keepSpare() {
	data, err := s.state.encode()
	if err != nil || s.spare >= spareSize(data) {
		return
	}
	// One from before may have been renamed and still be the state file as well, when a crash has left both names: it is not written to.
	path := filepath.Join(s.o.Dir, spareName)
	s.spare = 0
	if err := s.o.FS.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return
	}
	f, err := s.o.FS.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	if _, err = f.Write(bytes.Repeat([]byte{'\n'}, spareSize(data))); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = s.o.FS.Remove(path) // tried again at the next look
		return
	}
	s.spare = spareSize(data)
}

// useSpare writes a state over the spare, and puts that in the place of the state file.
func (s *Store) useSpare(data []byte) error {
	path := filepath.Join(s.o.Dir, spareName)
	s.spare = 0
	f, err := s.o.FS.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = s.o.FS.Rename(path, s.statePath())
	}
	if err != nil {
		return err
	}
	return s.o.FS.SyncDir(s.o.Dir)
}

// writeWhole replaces a file: when it returns nil the new one is durable, else the old one or the new one is there, whole.
func writeWhole(fsys vfs.FS, path string, data []byte) error {
	tmp := path + ".tmp"
	// A crash may leave both names of a file that was renamed: emptied under the one it would be empty under the other.
	if err := fsys.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = fsys.Rename(tmp, path)
	}
	if err != nil {
		_ = fsys.Remove(tmp) // the next one replaces it anyway
		return err
	}
	return fsys.SyncDir(filepath.Dir(path))
}

// readWhole reads a file of at most so many bytes. The error wraps [block.ErrCorrupt] when it is longer or cannot be read to
// its end.
func readWhole(fsys vfs.FS, path string, most int64) ([]byte, error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > most {
		return nil, fmt.Errorf("%w: %d bytes", block.ErrCorrupt, size)
	}
	data := make([]byte, size)
	if n, err := f.ReadAt(data, 0); n < len(data) {
		return nil, fmt.Errorf("%w: %w", block.ErrCorrupt, err)
	}
	return data, nil
}
