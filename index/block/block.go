// Package block holds some thousand events of one service in one self-describing, checksummed run of bytes. The layout is
// in index/FORMAT.md.
//
// A [Builder] makes a block from encoded events; [Open] reads its header, [Block.Frame] one frame of its rows. A block is
// judged by its [Meta] and its filter first, and only what may match is read.
//
// Every bit is covered by a checksum: what is damaged is an error that wraps [ErrCorrupt], never another event.
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
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// Limits of a block, which its builder keeps.
const (
	MaxBytes = 2 << 20   // encoded events of a block, unless a single event is longer
	MaxRows  = 32 << 10  // events of a block
	frameLen = 256 << 10 // a frame uncompressed, unless a single event is longer; 128 KiB takes 5 % more on disk
	maxHosts = 64        // hosts named in a block's meta
	maxNames = 1024      // field names in a block's meta; with more it names none and says so by anyField
)

const (
	version   = 1
	kindPlain = 1
	fixedLen  = 20        // magic to the header's CRC
	maxHeader = 64 << 20  // longer headers are taken for damage
	maxFrame  = 8 << 20   // longer frames likewise: an event has at most 4 MiB
	maxBlock  = 256 << 20 // longer blocks likewise
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

// Row is one event for a [Builder].
type Row struct {
	Seq  uint64
	Data []byte // the encoded event
}

// ReceivedRun says when the events from a sequence on were received, up to the next run.
type ReceivedRun struct {
	Seq      uint64
	Received int64 // ns since the Unix epoch
}

// Builder makes blocks; it keeps its memory between them. It is not safe for concurrent use.
type Builder struct {
	enc    *zstd.Encoder
	frame  []byte
	body   []byte
	keys   keySet
	ev     event.Event
	values [len(builtins)]map[string]struct{} // of the block's rows
	fields map[string]struct{}
	tokens []uint64
}

// NewBuilder returns a builder.
func NewBuilder() (*Builder, error) {
	// One goroutine: sealing runs beside ingest and search and must leave them the cores.
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithWindowSize(frameLen))
	if err != nil {
		return nil, err
	}
	b := &Builder{enc: enc, fields: map[string]struct{}{}}
	for i := range b.values {
		b.values[i] = map[string]struct{}{}
	}
	return b, nil
}

type frameInfo struct {
	size, raw, rows int
	crc             uint32
	min, max        int64
}

// Append builds one block of rows, which are of one service, in order of (time, sequence) and not empty, and appends it to
// dst. received covers the rows' sequences, in order. The caller keeps to [MaxBytes] and [MaxRows].
func (b *Builder) Append(dst []byte, rows []Row, received []ReceivedRun) ([]byte, *Meta, error) {
	m := &Meta{Rows: len(rows), MinSeq: math.MaxUint64, MinTime: math.MaxInt64, MaxTime: math.MinInt64}
	b.body = b.body[:0]
	b.keys.reset()
	for i := range b.values {
		clear(b.values[i])
	}
	clear(b.fields)
	for _, r := range rows {
		m.MinSeq, m.MaxSeq = min(m.MinSeq, r.Seq), max(m.MaxSeq, r.Seq)
	}
	var frames []frameInfo
	for start := 0; start < len(rows); {
		f := frameInfo{min: math.MaxInt64, max: math.MinInt64}
		b.frame = b.frame[:0]
		end, size := start, 0
		prev := m.MinSeq
		for end < len(rows) && (end == start || len(b.frame)+binary.MaxVarintLen64+size+len(rows[end].Data) <= frameLen) {
			b.frame = binary.AppendVarint(b.frame, int64(rows[end].Seq-prev))
			prev = rows[end].Seq
			size += len(rows[end].Data)
			end++
		}
		for _, r := range rows[start:end] {
			if err := b.note(m, r.Data); err != nil {
				return nil, nil, err
			}
			f.min, f.max = min(f.min, b.ev.Time), max(f.max, b.ev.Time)
			b.frame = append(b.frame, r.Data...)
		}
		f.rows, f.raw = end-start, len(b.frame)
		at := len(b.body)
		b.body = b.enc.EncodeAll(b.frame, b.body)
		f.size, f.crc = len(b.body)-at, crc32.Checksum(b.body[at:], castagnoli)
		m.MinTime, m.MaxTime = min(m.MinTime, f.min), max(m.MaxTime, f.max)
		m.Bytes += int64(size)
		frames = append(frames, f)
		start = end
	}
	delete(b.values[hostIndex], "")
	m.Hosts, m.Fields = sorted(b.values[hostIndex]), sorted(b.fields)
	m.Hosts = m.Hosts[:min(len(m.Hosts), maxHosts)]
	if len(m.Fields) > maxNames {
		m.Fields = []string{anyField}
	}

	first := len(dst)
	dst = append(dst, 'L', 'K', 'B', version, kindPlain, 0, 0, 0)
	dst = append(dst, make([]byte, fixedLen-8)...)
	dst = AppendMeta(dst, m)
	dst = appendReceived(dst, received, m.MinSeq, m.MaxSeq)
	dst = binary.AppendUvarint(dst, uint64(len(frames)))
	for _, f := range frames {
		dst = binary.AppendUvarint(dst, uint64(f.size))
		dst = binary.AppendUvarint(dst, uint64(f.raw))
		dst = binary.AppendUvarint(dst, uint64(f.rows))
		dst = binary.LittleEndian.AppendUint32(dst, f.crc)
		dst = binary.AppendVarint(dst, int64(uint64(f.min)-uint64(m.MinTime)))
		dst = binary.AppendUvarint(dst, uint64(f.max)-uint64(f.min))
	}
	filter := b.keys.filter()
	dst = binary.AppendUvarint(dst, uint64(len(filter)))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(filter, castagnoli))
	head := dst[first:]
	binary.LittleEndian.PutUint32(head[8:], uint32(len(head)+len(b.body)+len(filter)))
	binary.LittleEndian.PutUint32(head[12:], uint32(len(head)-fixedLen))
	binary.LittleEndian.PutUint32(head[16:], headerCRC(head))
	dst = append(dst, b.body...)
	return append(dst, filter...), m, nil
}

// note takes from an encoded event what the meta and the filter need; b.ev holds the event afterwards.
func (b *Builder) note(m *Meta, data []byte) error {
	e := &b.ev
	if _, err := event.Decode(data, e); err != nil {
		return err
	}
	m.Levels[e.Level]++
	if m.Service == "" {
		m.Service = string(e.Service)
	}
	b.tokens = b.tokens[:0]
	for i, value := range builtinValues(e) {
		if _, ok := b.values[i][string(value)]; !ok {
			b.values[i][string(value)] = struct{}{}
			if k, ok := query.FieldKey(builtins[i], value); ok {
				b.tokens = append(b.tokens, k)
			}
		}
	}
	for i := range e.Fields {
		if _, ok := b.fields[string(e.Fields[i].Name)]; !ok && len(b.fields) <= maxNames {
			b.fields[string(e.Fields[i].Name)] = struct{}{}
		}
	}
	b.tokens = appendTextKeys(b.tokens, e)
	b.keys.add(b.tokens)
	return nil
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
	Frames   []Frame
	received []ReceivedRun
	src      io.ReaderAt
	at       int64 // of the block in src
	filterAt int64
	filter   int
	crc      uint32
}

// Frame is one compressed run of a block's rows.
type Frame struct {
	MinTime, MaxTime int64
	Rows             int
	offset           int64
	size, raw        int
	crc              uint32
}

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
	if head[4] != kindPlain {
		return nil, fmt.Errorf("%w: block kind %d", ErrVersion, head[4])
	}
	m, rest, err := DecodeMeta(head[fixedLen:])
	if err != nil {
		return nil, err
	}
	b := &Block{Meta: *m, src: src, at: at}
	r := reader{data: rest}
	var run ReceivedRun
	for range r.count(len(r.data)) {
		run.Seq += r.uvarint()
		run.Received += r.varint()
		b.received = append(b.received, run)
	}
	offset, rows := at+int64(len(head)), 0
	for range r.count(len(r.data)) {
		f := Frame{offset: offset, size: r.count(maxBlock), raw: r.count(maxFrame), Rows: r.count(math.MaxInt32)}
		f.crc = r.uint32()
		f.MinTime = int64(uint64(m.MinTime) + uint64(r.varint()))
		f.MaxTime = int64(uint64(f.MinTime) + r.uvarint())
		offset += int64(f.size)
		rows += f.Rows
		b.Frames = append(b.Frames, f)
	}
	b.filterAt, b.filter, b.crc = offset, r.count(maxBlock), r.uint32()
	if r.bad || len(r.data) != 0 || rows != m.Rows || offset+int64(b.filter) != at+length {
		return nil, fmt.Errorf("%w: header", ErrCorrupt)
	}
	return b, nil
}

// Rows are the uncompressed rows of one frame. Its memory is used again by the next read into it.
type Rows struct {
	Seqs []uint64
	Data []byte // the encoded events, one behind the other
	buf  []byte
	comp []byte
}

var decoders = sync.Pool{New: func() any {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(2*maxFrame))
	if err != nil { // only wrong options fail
		panic(err)
	}
	return d
}}

// Frame reads frame i into rows.
func (b *Block) Frame(i int, rows *Rows) error {
	f := &b.Frames[i]
	rows.comp = slices.Grow(rows.comp[:0], f.size)[:f.size]
	if _, err := b.src.ReadAt(rows.comp, f.offset); err != nil {
		return fmt.Errorf("%w: frame %d: %w", ErrCorrupt, i, err)
	}
	if crc32.Checksum(rows.comp, castagnoli) != f.crc {
		return fmt.Errorf("%w: checksum of frame %d", ErrCorrupt, i)
	}
	d := decoders.Get().(*zstd.Decoder)
	defer decoders.Put(d)
	var err error
	if rows.buf, err = d.DecodeAll(rows.comp, slices.Grow(rows.buf[:0], f.raw)); err != nil || len(rows.buf) != f.raw {
		return fmt.Errorf("%w: frame %d: %d of %d bytes: %v", ErrCorrupt, i, len(rows.buf), f.raw, err)
	}
	r := reader{data: rows.buf}
	rows.Seqs = rows.Seqs[:0]
	seq := b.MinSeq
	for range f.Rows {
		seq += uint64(r.varint())
		rows.Seqs = append(rows.Seqs, seq)
	}
	if r.bad {
		return fmt.Errorf("%w: sequences of frame %d", ErrCorrupt, i)
	}
	rows.Data = r.data
	return nil
}

// Received returns when the event of a sequence was received, in ns since the Unix epoch.
func (b *Block) Received(seq uint64) int64 { return ReceivedAt(b.received, seq) }

// ReceivedAt looks a sequence up in runs; 0 when they begin behind it.
func ReceivedAt(runs []ReceivedRun, seq uint64) int64 {
	i := sort.Search(len(runs), func(i int) bool { return runs[i].Seq > seq })
	if i == 0 {
		return 0
	}
	return runs[i-1].Received
}

type reader struct {
	data []byte
	bad  bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.data)
	if n <= 0 {
		r.bad, r.data = true, nil
		return 0
	}
	r.data = r.data[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.data)
	if n <= 0 {
		r.bad, r.data = true, nil
		return 0
	}
	r.data = r.data[n:]
	return v
}

// count reads a uvarint that counts or measures something; more than limit is damage.
func (r *reader) count(limit int) int {
	v := r.uvarint()
	if v > uint64(limit) {
		r.bad, r.data = true, nil
		return 0
	}
	return int(v)
}

func (r *reader) uint32() uint32 {
	if len(r.data) < 4 {
		r.bad, r.data = true, nil
		return 0
	}
	v := binary.LittleEndian.Uint32(r.data)
	r.data = r.data[4:]
	return v
}

func (r *reader) text() string {
	n := r.count(len(r.data))
	if n > len(r.data) {
		r.bad, r.data = true, nil
		return ""
	}
	s := string(r.data[:n])
	r.data = r.data[n:]
	return s
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func sorted(set map[string]struct{}) []string {
	if len(set) == 0 {
		return nil
	}
	list := make([]string, 0, len(set))
	for s := range set {
		list = append(list, s)
	}
	sort.Strings(list)
	return list
}
