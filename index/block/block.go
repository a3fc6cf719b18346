// Package block holds some thousand events of one service in one self-describing, checksummed run of bytes. The layout is
// in index/FORMAT.md.
//
// A [Builder] makes a block from encoded events and tells its [Info], by which a segment judges it; [Open] reads its header.
//
// A pattern block keeps its events in columns: texts as the forms they share and the values in their holes, numbers as
// numbers. [Block.Table] reads it, [Table.Select] finds the rows that match a query, [Table.AppendRow] gives an event back
// byte for byte. Blocks of plain rows, which lookout 0.1 wrote, are only read ([Block.Frame]).
//
// Every bit that is read is covered by a checksum: what is damaged is an error that wraps [ErrCorrupt], never another event.
package block

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"
	"sort"

	"github.com/lookoutlog/lookout/internal/event"
)

// Limits of a block, which its builder keeps.
const (
	MaxBytes = 8 << 20  // encoded events of a block, unless a single event is longer
	MaxRows  = 32 << 10 // events of a block
	maxHosts = 64       // hosts named in a block's meta
	maxNames = 1024     // field names in a block's meta; with more it names none and says so by anyField
)

// Version is the version of blocks that are written, and the only one that is read.
const Version = version

const (
	version     = 1
	kindPlain   = 1
	kindPattern = 2
	fixedLen    = 20        // magic to the header's CRC
	maxHeader   = 64 << 20  // longer headers are taken for damage
	maxFrame    = 8 << 20   // longer frames likewise: an event has at most 4 MiB
	maxBlock    = 256 << 20 // longer blocks likewise
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	// ErrCorrupt is wrapped by the errors for damaged bytes.
	ErrCorrupt = errors.New("corrupt block")
	// ErrVersion is wrapped by the errors for bytes that a later lookout wrote.
	ErrVersion = errors.New("unknown block format")
)

// Meta is what is known of a block without reading its rows.
type Meta struct {
	Service          string
	Rows             int
	Bytes            int64 // encoded events, uncompressed
	MinTime, MaxTime int64 // ns since the Unix epoch
	MinSeq, MaxSeq   uint64
	Levels           [event.Debug + 1]int64
	Hosts            []string // at most 64
	Fields           []string // names of the extra fields, sorted; only * when there are more than 1,024
}

// anyField stands for more names than a meta holds. A field of this very name means no harm: the block is then thought to
// have every field, which costs a warning and no event.
const anyField = "*"

// HasField tells whether an event of the block has an extra field of the name.
func (m *Meta) HasField(name string) bool {
	_, found := slices.BinarySearch(m.Fields, name)
	return found || len(m.Fields) == 1 && m.Fields[0] == anyField
}

// AppendMeta appends m's binary form.
func AppendMeta(dst []byte, m *Meta) []byte {
	dst = appendText(dst, m.Service)
	dst = binary.AppendUvarint(dst, uint64(m.Rows))
	dst = binary.AppendUvarint(dst, uint64(m.Bytes))
	dst = binary.AppendVarint(dst, m.MinTime)
	dst = binary.AppendUvarint(dst, uint64(m.MaxTime)-uint64(m.MinTime))
	dst = binary.AppendUvarint(dst, m.MinSeq)
	dst = binary.AppendUvarint(dst, m.MaxSeq-m.MinSeq)
	for _, n := range m.Levels {
		dst = binary.AppendUvarint(dst, uint64(n))
	}
	for _, list := range [][]string{m.Hosts, m.Fields} {
		dst = binary.AppendUvarint(dst, uint64(len(list)))
		for _, s := range list {
			dst = appendText(dst, s)
		}
	}
	return dst
}

// DecodeMeta reads the meta at data's start and returns what follows it.
func DecodeMeta(data []byte) (*Meta, []byte, error) {
	r := reader{data: data}
	m := &Meta{
		Service: r.text(), Rows: r.count(math.MaxInt32), Bytes: int64(r.count(math.MaxInt64)),
		MinTime: r.varint(),
	}
	m.MaxTime = int64(uint64(m.MinTime) + r.uvarint())
	m.MinSeq = r.uvarint()
	m.MaxSeq = m.MinSeq + r.uvarint()
	for i := range m.Levels {
		m.Levels[i] = int64(r.count(math.MaxInt64))
	}
	for _, list := range []*[]string{&m.Hosts, &m.Fields} {
		for range r.count(len(r.data)) {
			*list = append(*list, r.text())
		}
	}
	if r.bad || m.MaxTime < m.MinTime || m.MaxSeq < m.MinSeq {
		return nil, nil, fmt.Errorf("%w: meta", ErrCorrupt)
	}
	return m, r.data, nil
}

func headerCRC(head []byte) uint32 {
	crc := crc32.Update(0, castagnoli, head[:16])
	return crc32.Update(crc, castagnoli, head[fixedLen:])
}

func appendReceived(dst []byte, runs []ReceivedRun, lo, hi uint64) []byte {
	first := sort.Search(len(runs), func(i int) bool { return runs[i].Seq > lo })
	last := sort.Search(len(runs), func(i int) bool { return runs[i].Seq > hi })
	runs = runs[max(first-1, 0):last]
	dst = binary.AppendUvarint(dst, uint64(len(runs)))
	var prev ReceivedRun
	for _, r := range runs {
		dst = binary.AppendUvarint(dst, r.Seq-prev.Seq)
		dst = binary.AppendVarint(dst, r.Received-prev.Received)
		prev = r
	}
	return dst
}

// Block is an opened block: its header, and where its rows are.
type Block struct {
	Meta
	Frames   []Frame // of a block of plain rows
	received []ReceivedRun
	sections []section // of a pattern block
	src      io.ReaderAt
}

// Columnar tells whether this is a pattern block, which is read by [Block.Table]; the others are read by [Block.Frame].
func (b *Block) Columnar() bool { return b.sections != nil }

// Size returns the length of the block whose first bytes are data (20 are enough), for those who walk over blocks.
func Size(data []byte) (int64, error) {
	if len(data) < fixedLen || string(data[:3]) != "LKB" {
		return 0, fmt.Errorf("%w: no block begins here", ErrCorrupt)
	}
	if data[3] != version {
		return 0, fmt.Errorf("%w: block version %d, this lookout reads %d", ErrVersion, data[3], version)
	}
	n := binary.LittleEndian.Uint32(data[8:])
	if n < fixedLen || n > maxBlock {
		return 0, fmt.Errorf("%w: length %d", ErrCorrupt, n)
	}
	return int64(n), nil
}

// Open reads the header of the block of the given length at an offset of src.
func Open(src io.ReaderAt, at, length int64) (*Block, error) {
	fixed := make([]byte, min(length, 4096))
	if _, err := src.ReadAt(fixed, at); err != nil {
		return nil, fmt.Errorf("%w: header: %w", ErrCorrupt, err)
	}
	size, err := Size(fixed)
	if err != nil {
		return nil, err
	}
	n := int64(binary.LittleEndian.Uint32(fixed[12:]))
	if size != length || n > maxHeader || fixedLen+n > length {
		return nil, fmt.Errorf("%w: length %d, header %d, where %d bytes belong", ErrCorrupt, size, n, length)
	}
	head := fixed
	if int64(len(head)) < fixedLen+n {
		head = make([]byte, fixedLen+n)
		if _, err := src.ReadAt(head, at); err != nil {
			return nil, fmt.Errorf("%w: header: %w", ErrCorrupt, err)
		}
	}
	head = head[:fixedLen+n]
	if headerCRC(head) != binary.LittleEndian.Uint32(head[16:]) {
		return nil, fmt.Errorf("%w: checksum of the header", ErrCorrupt)
	}
	if head[4] != kindPlain && head[4] != kindPattern {
		return nil, fmt.Errorf("%w: block kind %d", ErrVersion, head[4])
	}
	m, rest, err := DecodeMeta(head[fixedLen:])
	if err != nil {
		return nil, err
	}
	b := &Block{Meta: *m, src: src}
	r := reader{data: rest}
	var run ReceivedRun
	for range r.count(len(r.data)) {
		run.Seq += r.uvarint()
		run.Received += r.varint()
		b.received = append(b.received, run)
	}
	end := int64(0)
	if head[4] == kindPlain {
		end = b.readFrames(&r, at+int64(len(head)))
	} else if b.sections, end = readSections(&r, at+int64(len(head))); len(b.sections) == 0 || m.Rows > MaxRows || m.Rows == 0 || m.Bytes > maxBlock {
		r.fail()
	}
	if r.bad || len(r.data) != 0 || end != at+length {
		return nil, fmt.Errorf("%w: header", ErrCorrupt)
	}
	return b, nil
}

// Received returns when the event of a sequence was received, in ns since the Unix epoch.
func (b *Block) Received(seq uint64) int64 { return ReceivedAt(b.received, seq) }

// AppendReceived appends the block's runs to those of blocks of lower sequences.
func (b *Block) AppendReceived(runs []ReceivedRun) []ReceivedRun {
	add := func(r ReceivedRun) {
		if n := len(runs); n == 0 || runs[n-1].Received != r.Received {
			runs = append(runs, r)
		}
	}
	add(ReceivedRun{b.MinSeq, b.Received(b.MinSeq)}) // its run may have begun with events of other blocks
	for _, r := range b.received {
		if r.Seq > b.MinSeq {
			add(r)
		}
	}
	return runs
}

// ReceivedAt looks a sequence up in runs; 0 when they begin behind it.
func ReceivedAt(runs []ReceivedRun, seq uint64) int64 {
	i := sort.Search(len(runs), func(i int) bool { return runs[i].Seq > seq })
	if i == 0 {
		return 0
	}
	return runs[i-1].Received
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}
