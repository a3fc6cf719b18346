// Package segment keeps many blocks in one file, with a footer that tells which of them a search needs. The layout is in
// index/FORMAT.md.
//
// A segment holds all events of a range of sequences. It is written once, by [Create], and appears under its name whole and
// durable or not at all. A damaged footer is replaced by a walk over the blocks; a damaged block costs only itself.
package segment

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/internal/vfs"
)

const (
	magic      = "LKSEG\x00\x00\x01"
	trailerLen = 4 + 4 + len(magic)
	suffix     = ".seg"
	tmpSuffix  = ".seg.tmp"
	maxFooter  = 1 << 30
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

// Name returns the file name of the segment that holds the sequences above lo up to hi.
func Name(lo, hi uint64) string { return fmt.Sprintf("%020d-%020d%s", lo, hi, suffix) }

// ParseName is the reverse of [Name]; ok is false for another file's name.
func ParseName(name string) (lo, hi uint64, ok bool) {
	a, b, found := strings.Cut(strings.TrimSuffix(name, suffix), "-")
	lo, errA := strconv.ParseUint(a, 10, 64)
	hi, errB := strconv.ParseUint(b, 10, 64)
	ok = found && errA == nil && errB == nil && lo < hi && Name(lo, hi) == name
	return lo, hi, ok
}

// IsTemporary tells whether a file is what a crash left of a segment that was being written.
func IsTemporary(name string) bool { return strings.HasSuffix(name, tmpSuffix) }

// Create writes a segment for the sequences above lo up to hi. next appends one block to a buffer and returns it, nil
// after the last. The segment is durable when Create returns nil; after an error nothing is left but perhaps a temporary
// file.
func Create(fsys vfs.FS, dir string, lo, hi uint64, next func(dst []byte) ([]byte, *block.Meta, error)) (err error) {
	final := filepath.Join(dir, Name(lo, hi))
	tmp := strings.TrimSuffix(final, suffix) + tmpSuffix
	f, err := fsys.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("creating segment: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
			_ = fsys.Remove(tmp) // it is ignored, and removed at the next start
			err = fmt.Errorf("writing segment %s: %w", tmp, err)
		}
	}()
	buf := []byte(magic)
	var entries []byte
	at, n := int64(0), uint64(0)
	for {
		start := len(buf)
		out, m, err := next(buf)
		if err != nil {
			return err
		}
		if m == nil {
			break
		}
		buf = out
		entries = binary.AppendUvarint(entries, uint64(at+int64(start)))
		entries = binary.AppendUvarint(entries, uint64(len(buf)-start))
		entries = block.AppendMeta(entries, m)
		n++
		if _, err := f.Write(buf); err != nil {
			return err
		}
		at += int64(len(buf))
		buf = buf[:0]
	}
	footer := append(binary.AppendUvarint(nil, n), entries...)
	buf = append(buf, footer...)
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(footer)))
	buf = binary.LittleEndian.AppendUint32(buf, crc32.Checksum(footer, castagnoli))
	buf = append(buf, magic...)
	if _, err := f.Write(buf); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := fsys.Rename(tmp, final); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}

// Segment is an open segment. It is safe for concurrent use.
type Segment struct {
	Lo, Hi uint64 // it holds the sequences above Lo up to Hi
	Blocks []*Entry
	// Damage lists what of the segment cannot be read, found at Open.
	Damage []error

	path string
	file vfs.File
	size int64
}

// Entry is one block of a segment, as the footer names it.
type Entry struct {
	block.Meta
	Offset, Length int64
	seg            *Segment
}

// Open opens the segment of the name in a folder. A file of a later version is an error that wraps [block.ErrVersion];
// damage is not an error but listed in [Segment.Damage], and what can be read is served.
func Open(fsys vfs.FS, dir, name string) (*Segment, error) {
	lo, hi, ok := ParseName(name)
	if !ok {
		return nil, fmt.Errorf("segment %s: not a segment's name", name)
	}
	s := &Segment{Lo: lo, Hi: hi, path: filepath.Join(dir, name)}
	var err error
	if s.file, err = fsys.OpenFile(s.path, os.O_RDONLY, 0); err != nil {
		return nil, fmt.Errorf("opening segment: %w", err)
	}
	if s.size, err = s.file.Size(); err != nil {
		s.file.Close()
		return nil, fmt.Errorf("segment %s: %w", s.path, err)
	}
	head := make([]byte, len(magic))
	if _, err := s.file.ReadAt(head, 0); err == nil && string(head[:7]) == magic[:7] && head[7] != magic[7] {
		s.file.Close()
		return nil, &CorruptError{File: s.path, Err: fmt.Errorf("%w: segment version %d, this lookout reads %d", block.ErrVersion, head[7], magic[7])}
	}
	if string(head) != magic {
		s.Damage = append(s.Damage, s.corrupt(0, "magic"))
	}
	if err := s.readFooter(); err != nil {
		s.Damage = append(s.Damage, err)
		s.walk()
	}
	return s, nil
}

func (s *Segment) corrupt(at int64, format string, args ...any) error {
	return &CorruptError{File: s.path, Offset: at, Err: fmt.Errorf("%w: "+format, append([]any{block.ErrCorrupt}, args...)...)}
}

func (s *Segment) readFooter() error {
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
	count, k := binary.Uvarint(footer)
	if k <= 0 || count > uint64(len(footer)) {
		return s.corrupt(at-n, "footer")
	}
	rest := footer[k:]
	blocks := make([]*Entry, 0, count)
	for range count {
		offset, a := binary.Uvarint(rest)
		length, b := binary.Uvarint(rest[max(a, 0):])
		if a <= 0 || b <= 0 || offset > math.MaxInt64 || length > uint64(at-n) || offset > uint64(at-n)-length {
			return s.corrupt(at-n, "footer")
		}
		var m *block.Meta
		var err error
		if m, rest, err = block.DecodeMeta(rest[a+b:]); err != nil {
			return s.corrupt(at-n, "footer: %v", err)
		}
		blocks = append(blocks, &Entry{Meta: *m, Offset: int64(offset), Length: int64(length), seg: s})
	}
	if len(rest) != 0 {
		return s.corrupt(at-n, "footer: %d bytes too many", len(rest))
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
			s.Blocks = append(s.Blocks, &Entry{Meta: b.Meta, Offset: at, Length: n, seg: s})
		}
		at += n
	}
}

// Open reads the block's header. An error is a *[CorruptError].
func (e *Entry) Open() (*block.Block, error) {
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

// Size returns the file's length in bytes.
func (s *Segment) Size() int64 { return s.size }

// Close closes the file.
func (s *Segment) Close() error { return s.file.Close() }
