// Package segment keeps many blocks in one file, with a footer that tells which of them a search needs. The layout is in
// index/FORMAT.md.
//
// A segment holds all events that one class has in a range of sequences. It is written once, by a [Writer], and appears under its name whole and
// durable or not at all.
//
// The footer answers a search before a block is read: [Segment.Candidates] says which blocks may hold some tokens,
// [Segment.Judge] what the forms of their texts say of a query's terms, [Segment.Counts] how many events there are. It is read
// page by page. A damaged directory is replaced by a walk over the blocks; damaged filters or forms let all blocks through;
// a damaged block costs only itself.
package segment

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/internal/vfs"
)

// Version is the version of segments that are written, and the newest that is read; OldestVersion the oldest.
const (
	Version       = version
	OldestVersion = 1
)

const (
	version    = 2
	magic      = "LKSEG\x00\x00\x02"
	magicV1    = "LKSEG\x00\x00\x01"
	trailerLen = 8 + 8 + 8 + 4 + int64(len(magic))
	suffix     = ".seg"
	tmpSuffix  = ".seg.tmp"
	maxFooter  = 1 << 30 // of version 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CorruptError says which part of a segment cannot be read. It wraps [block.ErrCorrupt] or [block.ErrVersion].
type CorruptError struct {
	File   string
	Offset int64
	Err    error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("segment %s at byte %d: %v", e.File, e.Offset, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

// DefaultClass is the class of what belongs to no other. Its segments cover every sequence, the others only have files where
// they have events.
const DefaultClass = "default"

const maxClass = 32

// ValidClass tells whether a class can have the name: 1 to 32 of a-z, 0-9, _ and -, of which the first is a letter or a digit.
func ValidClass(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || i > 0 && (c == '_' || c == '-')) {
			return false
		}
	}
	return name != "" && len(name) <= maxClass
}

// Name returns the file name of the segment that holds a class's events with sequences above lo up to hi.
func Name(lo, hi uint64, class string) string {
	if class == DefaultClass {
		return fmt.Sprintf("%020d-%020d%s", lo, hi, suffix)
	}
	return fmt.Sprintf("%020d-%020d.%s%s", lo, hi, class, suffix)
}

// ParseName is the reverse of [Name]; ok is false for another file's name.
func ParseName(name string) (lo, hi uint64, class string, ok bool) {
	numbers, class, other := strings.Cut(strings.TrimSuffix(name, suffix), ".")
	if !other {
		class = DefaultClass
	}
	a, b, found := strings.Cut(numbers, "-")
	lo, errA := strconv.ParseUint(a, 10, 64)
	hi, errB := strconv.ParseUint(b, 10, 64)
	ok = found && errA == nil && errB == nil && lo < hi && ValidClass(class) && Name(lo, hi, class) == name
	return lo, hi, class, ok
}

// IsTemporary tells whether a file is what a crash left of a segment that was being written.
func IsTemporary(name string) bool { return strings.HasSuffix(name, tmpSuffix) }

// Segment is an open segment. It is safe for concurrent use.
type Segment struct {
	Lo, Hi uint64 // it holds its class's sequences above Lo up to Hi
	Class  string
	Blocks []*Entry
	// Damage lists what of the segment cannot be read, found at Open.
	Damage []error

	path    string
	file    vfs.File
	size    int64
	version int
	closed  atomic.Bool
	receipt receipt

	// Of version 2 with a whole directory:
	footer, stream int64 // where the footer begins in the file, and the length of its stream
	directory
}

// Entry is one block of a segment, as the footer names it.
type Entry struct {
	block.Meta
	Offset, Length int64

	seg     *Segment
	index   int // in seg.Blocks
	service int // in the directory's services
	bad     atomic.Pointer[error]
}

// Open opens the segment of the name in a folder. A file of a later version is an error that wraps [block.ErrVersion];
// damage is not an error but listed in [Segment.Damage], and what can be read is served.
func Open(fsys vfs.FS, dir, name string) (*Segment, error) {
	return openAs(fsys, filepath.Join(dir, name), dir, name)
}

// openAs opens the segment in the file, which has the name or is to get it.
func openAs(fsys vfs.FS, file, dir, name string) (*Segment, error) {
	lo, hi, class, ok := ParseName(name)
	if !ok {
		return nil, fmt.Errorf("segment %s: not a segment's name", name)
	}
	s := &Segment{Lo: lo, Hi: hi, Class: class, path: filepath.Join(dir, name)}
	var err error
	if s.file, err = fsys.OpenFile(file, os.O_RDONLY, 0); err != nil {
		return nil, fmt.Errorf("opening segment: %w", err)
	}
	if s.size, err = s.file.Size(); err != nil {
		s.file.Close()
		return nil, fmt.Errorf("segment %s: %w", s.path, err)
	}
	if err := s.readVersion(); err != nil {
		s.file.Close()
		return nil, err
	}
	if s.version == 1 {
		err = s.readFooterV1()
	} else {
		err = s.readFooter()
	}
	if err != nil {
		s.Damage = append(s.Damage, err)
		s.walk()
	}
	for i, e := range s.Blocks {
		e.seg, e.index = s, i
	}
	return s, nil
}

// readVersion looks at the magic at both ends of the file: one of them is enough.
func (s *Segment) readVersion() error {
	var found [2]int
	for i, at := range []int64{0, s.size - int64(len(magic))} {
		m := make([]byte, len(magic))
		if _, err := s.file.ReadAt(m, max(at, 0)); err == nil && string(m[:7]) == magic[:7] {
			found[i] = int(m[7])
		}
	}
	s.version = found[0]
	switch {
	case found[0] == 0 && found[1] != 0:
		s.version = found[1]
		s.Damage = append(s.Damage, s.corrupt(0, "magic"))
	case found[0] == 0:
		s.version = version
		s.Damage = append(s.Damage, s.corrupt(0, "magic"))
	}
	if s.version > version {
		return &CorruptError{File: s.path, Err: fmt.Errorf("%w: segment version %d, this lookout reads 1 to %d", block.ErrVersion, s.version, version)}
	}
	return nil
}

// Name returns the name of the segment's file.
func (s *Segment) Name() string { return Name(s.Lo, s.Hi, s.Class) }

// Version returns the version of the file's format, 1 or 2.
func (s *Segment) Version() int { return s.version }

func (s *Segment) corrupt(at int64, format string, args ...any) error {
	return &CorruptError{File: s.path, Offset: at, Err: fmt.Errorf("%w: "+format, append([]any{block.ErrCorrupt}, args...)...)}
}

// damaged wraps an error of a section of the footer.
func (s *Segment) damaged(err error, section string) error {
	return &CorruptError{File: s.path, Offset: s.footer, Err: fmt.Errorf("%s in the footer: %w", section, err)}
}

// pages returns a reader of the footer.
func (s *Segment) pages() *pageReader {
	return &pageReader{src: s.file, start: s.footer, length: s.stream}
}

// readFooter reads the directory.
func (s *Segment) readFooter() error {
	at := s.size - trailerLen
	if at < int64(len(magic)) {
		return s.corrupt(0, "%d bytes are too few", s.size)
	}
	trailer := make([]byte, trailerLen)
	if _, err := s.file.ReadAt(trailer, at); err != nil {
		return s.corrupt(at, "trailer: %v", err)
	}
	footer, stream, directory := int64(binary.LittleEndian.Uint64(trailer)), int64(binary.LittleEndian.Uint64(trailer[8:])), int64(binary.LittleEndian.Uint64(trailer[16:]))
	switch {
	case string(trailer[28:]) != magic, crc32.Checksum(trailer[:24], castagnoli) != binary.LittleEndian.Uint32(trailer[24:]),
		footer < int64(len(magic)) || footer > at, stream <= 0 || stream > at, directory < 0 || directory > stream, footer+pagesLen(stream) != at:
		return s.corrupt(at, "trailer")
	}
	s.footer, s.stream = footer, stream
	data, err := s.pages().read(nil, directory, stream-directory)
	if err != nil {
		return s.damaged(err, "directory")
	}
	d, err := decodeDirectory(data, limits{lo: s.Lo, blocks: footer, stream: directory})
	if err != nil {
		return s.damaged(err, "directory")
	}
	s.directory, s.Blocks = *d, d.blocks
	return nil
}

func (s *Segment) readFooterV1() error {
	const trailerLen = 4 + 4 + len(magic)
	const magic = magicV1
	if s.size < int64(len(magic)+trailerLen) {
		return s.corrupt(0, "%d bytes are too few", s.size)
	}
	trailer := make([]byte, trailerLen)
	at := s.size - int64(trailerLen)
	if _, err := s.file.ReadAt(trailer, at); err != nil {
		return s.corrupt(at, "trailer: %v", err)
	}
	n := int64(binary.LittleEndian.Uint32(trailer))
	if string(trailer[8:]) != magic || n > maxFooter || n > at-int64(len(magic)) {
		return s.corrupt(at, "trailer")
	}
	footer := make([]byte, n)
	if _, err := s.file.ReadAt(footer, at-n); err != nil {
		return s.corrupt(at-n, "footer: %v", err)
	}
	if crc32.Checksum(footer, castagnoli) != binary.LittleEndian.Uint32(trailer[4:]) {
		return s.corrupt(at-n, "checksum of the footer")
	}
	r := reader{data: footer}
	var blocks []*Entry
	for range r.count(len(footer)) {
		offset, length := r.count(int(at-n)), r.count(int(at-n))
		m, rest, err := block.DecodeMeta(r.data)
		if r.bad || err != nil || int64(offset) > at-n-int64(length) {
			return s.corrupt(at-n, "footer")
		}
		r.data = rest
		blocks = append(blocks, &Entry{Meta: *m, Offset: int64(offset), Length: int64(length)})
	}
	if r.bad || len(r.data) != 0 {
		return s.corrupt(at-n, "footer: %d bytes too many", len(r.data))
	}
	s.Blocks = blocks
	return nil
}

// walk finds the blocks without the footer. It ends where no block can be read: what follows is damage.
func (s *Segment) walk() {
	fixed := make([]byte, 20)
	for at := int64(len(magic)); at+int64(len(fixed)) <= s.size; {
		if _, err := s.file.ReadAt(fixed, at); err != nil {
			return
		}
		n, err := block.Size(fixed)
		if err != nil || n > s.size-at {
			return
		}
		b, err := block.Open(s.file, at, n)
		if err != nil {
			s.Damage = append(s.Damage, &CorruptError{File: s.path, Offset: at, Err: err})
		} else {
			s.Blocks = append(s.Blocks, &Entry{Meta: b.Meta, Offset: at, Length: n})
		}
		at += n
	}
}

// Open reads the block's header. An error is a *[CorruptError]; of a block in quarantine, the one that put it there.
func (e *Entry) Open() (*block.Block, error) {
	if err := e.Damaged(); err != nil {
		return nil, err
	}
	b, err := block.Open(e.seg.file, e.Offset, e.Length)
	if err != nil {
		return nil, e.Corrupt(err)
	}
	return b, nil
}

// Corrupt wraps an error of the block's with the segment's file and the block's place.
func (e *Entry) Corrupt(err error) error {
	return &CorruptError{File: e.seg.path, Offset: e.Offset, Err: err}
}

// Quarantine marks the block as one that cannot be read, for as long as the segment is open: it is not tried again and
// again. The first error stays.
func (e *Entry) Quarantine(err error) { e.bad.CompareAndSwap(nil, &err) }

// Damaged returns the error that put the block into quarantine, nil for a block that is not.
func (e *Entry) Damaged() error {
	if err := e.bad.Load(); err != nil {
		return *err
	}
	return nil
}

// Columnar tells whether the block is of patterns and columns, as all blocks of version 2 are.
func (e *Entry) Columnar() bool { return e.seg.version >= 2 }

// Size returns the file's length in bytes.
func (s *Segment) Size() int64 { return s.size }

// Close closes the file.
func (s *Segment) Close() error {
	s.closed.Store(true)
	parsed.forget(s)
	return s.file.Close()
}
