package block

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/klauspost/compress/zstd"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

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

const (
	// maxColumns bounds the columns of extra fields in a block, maxFields those of one event: the fields beyond are kept
	// beside one another.
	maxColumns = 2048
	maxFields  = 512
)

// Builder makes pattern blocks; it keeps its memory between them. It is not safe for concurrent use.
type Builder struct {
	// NoteMessages has [Builder.Append] fill [Info.Messages], whose texts are the builder's and the rows' own.
	NoteMessages bool
	// GiveWay is called while a block is built, after each piece of work of some tenths of a millisecond, and may wait. Nil for none.
	GiveWay func()

	sections sectionWriter
	keys     keySet
	scan     scanner
	hole     holeEncoder
	info     Info
	ev       event.Event
	join     joiner

	times  []uint64
	seqs   []uint64
	dicts  [dictColumns]dictColumn
	text   textColumn // the message
	fields []*fieldColumn
	free   []*fieldColumn // memory of earlier blocks
	byName map[string]int32
	guess  []int32 // by column + 1, 0 for the first: the column whose field came next the last time
	shapes shapes
	rest   [][]byte
	restAt []byte // memory of rest
	name   []byte

	// scratch memory
	tokens, ints          []uint64
	ids                   []uint16
	scratch               []byte
	work                  int // since others had their turn
	data, loose           []byte
	defs, chunks          []byte
	head, dir             []byte
	dataSections, offsets []int
	next                  []int
	order, locals         []int32
	spans                 []rowSpan
	byForm, raws          []int32
	column                []span
	holes                 []query.Hole
	numbers               map[int64]uint16
}

// The builtin columns that have a dictionary.
const (
	levelColumn = iota
	envColumn
	hostColumn
	containerColumn
	streamColumn
	dictColumns
)

// builtinNames are the dictionary columns' names as fields.
var builtinNames = [dictColumns]string{"level", "env", "host", "container", "stream"}

// NewBuilder returns a builder.
func NewBuilder() (*Builder, error) {
	// One goroutine: sealing runs beside ingest and search and must leave them the cores.
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithWindowSize(rawLen))
	if err != nil {
		return nil, err
	}
	b := &Builder{byName: map[string]int32{}, numbers: map[int64]uint16{}}
	b.sections.enc, b.sections.pays = enc, zstdPays
	for i := range b.dicts {
		b.dicts[i].index = map[string]uint16{}
	}
	return b, nil
}

// dictColumn is a column whose distinct values are few.
type dictColumn struct {
	index  map[string]uint16
	values [][]byte
	ids    []uint16
	recent [64]uint16 // ids of values by a cheap hash: events of a few sources take turns
}

func (c *dictColumn) reset() {
	clear(c.index)
	c.values, c.ids = c.values[:0], c.ids[:0]
}

func (c *dictColumn) add(v []byte) {
	if n := len(c.ids); n > 0 { // events come in runs of one source
		if last := c.ids[n-1]; string(c.values[last]) == string(v) {
			c.ids = append(c.ids, last)
			return
		}
	}
	slot := &c.recent[cheapHash(v)&63]
	if id := *slot; int(id) < len(c.values) && string(c.values[id]) == string(v) {
		c.ids = append(c.ids, id)
		return
	}
	*slot = c.place(v)
	c.ids = append(c.ids, *slot)
}

// place returns a value's place in the dictionary.
func (c *dictColumn) place(v []byte) uint16 {
	id, ok := c.index[string(v)]
	if !ok {
		id = uint16(len(c.values))
		c.index[string(v)] = id
		c.values = append(c.values, v)
	}
	return id
}

// cheapHash tells apart values that differ in their length or at their ends, as names with numbers do.
func cheapHash(v []byte) uint {
	n := uint(len(v))
	if n == 0 {
		return 0
	}
	return n + uint(v[n-1])*5 + uint(v[n/2])*3 + uint(v[0])
}

// fieldColumn holds the values of one name and kind of extra field.
type fieldColumn struct {
	name   string
	kind   event.Kind
	number numberColumn
	text   textColumn
	values [][]byte // of kind Number
	rows   []int32  // of each value
	from   []uint16 // the blocks that they come from, while blocks are joined
	multi  bool     // a row has several
}

func (c *fieldColumn) reset() {
	c.values, c.rows, c.from, c.multi = c.values[:0], c.rows[:0], c.from[:0], false
	c.number.reset()
	c.text.reset()
}

// addRow notes the row of the next value.
func (c *fieldColumn) addRow(i int32) {
	c.multi = c.multi || len(c.rows) > 0 && c.rows[len(c.rows)-1] == i
	c.rows = append(c.rows, i)
}

// rowsOf returns in how many rows the values are.
func (c *fieldColumn) rowsOf(values []int32) int {
	n := 0
	for i, v := range values {
		if i == 0 || c.rows[v] != c.rows[values[i-1]] {
			n++
		}
	}
	return n
}

// shapes numbers the lists of columns that events' fields make.
type shapes struct {
	nodes []shapeNode
	lists [][]int32
	ids   []uint16
}

// shapeNode is a list of columns, in a tree of what may follow.
type shapeNode struct {
	column int32 // followed last
	next   int32 // by this node
	kids   map[int32]int32
	shape  int32 // its number + 1, 0 for none yet
}

func (s *shapes) reset() {
	s.nodes = append(s.nodes[:0], shapeNode{column: -1})
	s.lists, s.ids = s.lists[:0], s.ids[:0]
}

func (s *shapes) step(node, column int32) int32 {
	n := &s.nodes[node]
	if n.next != 0 && n.column == column {
		return n.next
	}
	next, ok := n.kids[column]
	if !ok {
		next = int32(len(s.nodes))
		if n.kids == nil {
			n.kids = map[int32]int32{}
		}
		n.kids[column] = next
		n.column, n.next = column, next
		s.nodes = append(s.nodes, shapeNode{column: -1})
		return next
	}
	n.column, n.next = column, next
	return next
}

// restColumn stands in a shape for the fields that are kept beside one another.
const restColumn = -1

func (s *shapes) add(node int32, list []int32) {
	n := &s.nodes[node]
	if n.shape == 0 {
		s.lists = append(s.lists, append([]int32(nil), list...))
		n.shape = int32(len(s.lists))
	}
	s.ids = append(s.ids, uint16(n.shape-1))
}

// reset makes the builder ready for a block of so many rows.
func (b *Builder) reset(rows int) {
	b.sections.reset()
	b.keys.reset(rows)
	for i := range b.dicts {
		b.dicts[i].reset()
	}
	b.times, b.seqs = b.times[:0], b.seqs[:0]
	b.text.reset()
	b.free = append(b.free, b.fields...)
	b.fields = b.fields[:0]
	clear(b.byName)
	b.guess = append(b.guess[:0], restColumn)
	b.shapes.reset()
	b.rest, b.restAt = b.rest[:0], b.restAt[:0]
	b.holes = b.holes[:0]
	b.info = Info{Texts: b.info.Texts[:0], Keys: b.info.Keys[:0], Counts: b.info.Counts[:0], Messages: b.info.Messages[:0]}
}

var errOrder = errors.New("rows of a block are not in order of time")

// Append builds one block of rows, which are of one service, in order of (time, sequence) and not empty, and appends it to
// dst. received covers the rows' sequences, in order. The caller keeps to [MaxBytes] and [MaxRows]. The info is valid until
// the next block.
func (b *Builder) Append(dst []byte, rows []Row, received []ReceivedRun) ([]byte, *Info, error) {
	b.reset(len(rows))
	m := &b.info.Meta
	*m = Meta{Rows: len(rows), MinSeq: math.MaxUint64}
	for i, r := range rows {
		b.worked(rowWork)
		if err := b.addRow(i, r); err != nil {
			return nil, nil, err
		}
	}
	data, err := b.finish(dst, received)
	return data, &b.info, err
}

// workMost is how much is done at a stretch, in values that are put into a column; rowWork is what taking an event apart is in these.
const (
	workMost = 1024
	rowWork  = 8
)

// worked is called before so much is done.
func (b *Builder) worked(n int) {
	if b.work += n; b.work >= workMost && b.GiveWay != nil {
		b.work = 0
		b.GiveWay()
	}
}

// finish writes the block of what the columns hold.
func (b *Builder) finish(dst []byte, received []ReceivedRun) ([]byte, error) {
	m := &b.info.Meta
	m.MinTime, m.MaxTime = int64(b.times[0]), int64(b.times[len(b.times)-1])
	b.noteNames()

	dir := b.appendTimes(b.dir[:0])
	dir = b.appendSeqs(dir)
	b.worked(len(b.times))
	for i := range b.dicts {
		c := &b.dicts[i]
		dir = binary.AppendUvarint(dir, uint64(len(c.values)))
		for _, v := range c.values {
			dir = appendBytes(dir, v)
			if i != levelColumn {
				b.addFieldKey(builtinNames[i], v)
			}
		}
		dir, b.scratch = appendIDs(dir, &b.sections, c.ids, len(c.values), b.scratch)
	}
	dir = b.appendShapes(dir)
	dir = b.text.append(dir, 0, "", b, nil)
	if b.NoteMessages {
		b.noteMessages()
	}
	b.text.keys(b)
	dir = binary.AppendUvarint(dir, uint64(len(b.fields)))
	for i, c := range b.fields {
		b.worked(len(c.rows))
		dir = b.appendField(dir, i+1, c)
	}
	dir = b.appendRest(dir)
	b.dir = dir
	b.worked(workMost)
	b.sections.compress(dir)
	b.worked(workMost)
	b.info.Keys = b.keys.list(b.info.Keys)

	first := len(dst)
	dst = append(dst, 'L', 'K', 'B', version, kindPattern, 0, 0, 0)
	dst = append(dst, make([]byte, fixedLen-8)...)
	dst = AppendMeta(dst, m)
	dst = appendReceived(dst, received, m.MinSeq, m.MaxSeq)
	dst = b.sections.appendList(dst)
	head := dst[first:]
	if len(head)+len(b.sections.body) > maxBlock {
		return nil, fmt.Errorf("a block of %d bytes is too long", len(b.sections.body))
	}
	binary.LittleEndian.PutUint32(head[8:], uint32(len(head)+len(b.sections.body)))
	binary.LittleEndian.PutUint32(head[12:], uint32(len(head)-fixedLen))
	binary.LittleEndian.PutUint32(head[16:], headerCRC(head))
	return append(dst, b.sections.body...), nil
}

// rowSpan is the first row of something and the one behind its last; the zero value is none.
type rowSpan struct{ first, end int32 }

// noteMessages fills the info's messages, when their column has been written and no other.
func (b *Builder) noteMessages() {
	levels := &b.dicts[levelColumn]
	n := len(b.order) * len(levels.values)
	b.spans = append(b.spans[:0], make([]rowSpan, n)...)
	note := func(text []byte, form bool, level uint16, rows rowSpan) {
		b.info.Messages = append(b.info.Messages, MessageTimes{text, form, levels.values[level][0], int64(b.times[rows.first]), int64(b.times[rows.end-1])})
	}
	for row, form := range b.ids { // in order of time
		rows, level := rowSpan{int32(row), int32(row) + 1}, levels.ids[row]
		if int(form) == len(b.order) {
			note(b.text.values[row], false, level, rows)
			continue
		}
		s := &b.spans[int(form)*len(levels.values)+int(level)]
		if s.end > 0 {
			rows.first = s.first
		}
		*s = rows
	}
	for i, rows := range b.spans {
		if rows.end > 0 {
			note(b.info.Texts[i/len(levels.values)].Text, true, uint16(i%len(levels.values)), rows)
		}
	}
}

// addRow takes an event apart.
func (b *Builder) addRow(i int, r Row) error {
	e, m := &b.ev, &b.info.Meta
	if _, err := event.Decode(r.Data, e); err != nil {
		return err
	}
	if i == 0 {
		m.Service = string(e.Service)
	} else if e.Time < int64(b.times[i-1]) {
		return errOrder
	}
	m.Bytes += int64(len(r.Data))
	m.MinSeq, m.MaxSeq = min(m.MinSeq, r.Seq), max(m.MaxSeq, r.Seq)
	m.Levels[e.Level]++
	b.count(e.Time, uint8(e.Level))
	b.times = append(b.times, uint64(e.Time))
	b.seqs = append(b.seqs, r.Seq)
	b.dicts[levelColumn].add(r.Data[levelAt : levelAt+1])
	b.dicts[envColumn].add(e.Env)
	b.dicts[hostColumn].add(e.Host)
	b.dicts[containerColumn].add(e.Container)
	b.dicts[streamColumn].add(e.Stream)
	b.text.add(e.Message, &b.scan)

	node, prev := int32(0), int32(0)
	b.order = b.order[:0]
	for k := range e.Fields {
		f := &e.Fields[k]
		column := b.columnOf(f, prev, k)
		if column == restColumn {
			b.addRest(e.Fields[k:])
			node = b.shapes.step(node, restColumn)
			b.order = append(b.order, restColumn)
			break
		}
		c := b.fields[column]
		c.addRow(int32(i))
		b.addValue(c, f.Value)
		node = b.shapes.step(node, column)
		b.order = append(b.order, column)
		prev = column + 1
	}
	b.shapes.add(node, b.order)
	return nil
}

// addValue adds a value to a field's column. What can be done now is: the value's bytes are still in the processor's caches.
func (b *Builder) addValue(c *fieldColumn, value []byte) {
	if c.kind == event.Number {
		c.values = append(c.values, value) // in case they turn out to be no column of numbers
		c.number.add(value)
		b.addNumberKeys(c, value)
		return
	}
	c.text.add(value, &b.scan)
	b.addTextKey(c, value)
}

// addNumberKeys adds the keys of the value that was added last to a column of numbers.
func (b *Builder) addNumberKeys(c *fieldColumn, value []byte) {
	if len(value) >= minKey || c.number.scales[len(c.number.scales)-1] == badScale { // 1e5 has the key of 100000
		b.tokens = query.AppendTokenKeys(b.tokens[:0], value)
		b.keys.add(b.tokens)
		b.addFieldKey(c.name, value)
	}
}

// addTextKey adds the key of the value that was added last to a column of texts.
func (b *Builder) addTextKey(c *fieldColumn, value []byte) {
	if n := c.text.number[len(c.text.number)-1]; n != rawForm {
		if f := &c.text.forms.forms[n]; f.holes == 0 { // all values are this one
			if f.values > 1 {
				return
			}
		}
	}
	b.addFieldKey(c.name, value)
}

// levelAt is where an encoded event has its level (see event.AppendEvent).
const levelAt = 12

// count counts an event in its bucket.
func (b *Builder) count(t int64, level uint8) {
	bucket := Bucket(t)
	list := b.info.Counts
	for i := len(list) - 1; i >= 0 && list[i].Bucket == bucket; i-- {
		if list[i].Level == level {
			list[i].Rows++
			return
		}
	}
	list = append(list, Count{Bucket: bucket, Level: level, Rows: 1})
	for i := len(list) - 1; i > 0 && list[i-1].Bucket == bucket && list[i-1].Level > level; i-- {
		list[i], list[i-1] = list[i-1], list[i]
	}
	b.info.Counts = list
}

// columnOf returns a field's column; prev is the column + 1 of the event's field before it.
func (b *Builder) columnOf(f *event.Field, prev int32, place int) int32 {
	if g := b.guess[prev]; g >= 0 {
		if c := b.fields[g]; c.kind == f.Kind && c.name == string(f.Name) && place < maxFields {
			return g
		}
	}
	if place >= maxFields {
		return restColumn
	}
	column := b.columnNamed(f.Kind, f.Name)
	if column != restColumn {
		b.guess[prev] = column
	}
	return column
}

// columnNamed returns the column of a name and kind; restColumn when there is no room for another.
func (b *Builder) columnNamed(kind event.Kind, name []byte) int32 {
	b.name = append(append(b.name[:0], byte(kind)), name...)
	column, ok := b.byName[string(b.name)]
	if !ok {
		if len(b.fields) == maxColumns {
			return restColumn
		}
		column = int32(len(b.fields))
		c := &fieldColumn{}
		if n := len(b.free); n > 0 {
			c, b.free = b.free[n-1], b.free[:n-1]
		}
		c.reset()
		c.name, c.kind = string(name), kind
		b.fields = append(b.fields, c)
		b.byName[string(b.name)] = column
		b.guess = append(b.guess, restColumn)
	}
	return column
}

// addRest keeps fields beside one another.
func (b *Builder) addRest(fields []event.Field) {
	data := binary.AppendUvarint(nil, uint64(len(fields)))
	for i := range fields {
		f := &fields[i]
		data = appendBytes(append(data, byte(f.Kind)), f.Name)
		data = appendBytes(data, f.Value)
		b.tokens = query.AppendTokenKeys(b.tokens[:0], f.Value)
		b.keys.add(b.tokens)
		b.addFieldKey(string(f.Name), f.Value)
	}
	b.rest = append(b.rest, data)
}

func (b *Builder) addFieldKey(name string, value []byte) {
	b.name = append(b.name[:0], name...)
	if key, ok := query.FieldKey(b.name, value); ok {
		b.tokens = append(b.tokens[:0], key)
		b.keys.add(b.tokens)
	}
}

// noteNames fills the meta's names of hosts and fields.
func (b *Builder) noteNames() {
	m := &b.info.Meta
	for _, h := range b.dicts[hostColumn].values {
		if len(h) > 0 {
			m.Hosts = append(m.Hosts, string(h))
		}
	}
	sort.Strings(m.Hosts)
	m.Hosts = m.Hosts[:min(len(m.Hosts), maxHosts)]
	if len(b.rest) > 0 {
		m.Fields = []string{anyField}
		return
	}
	for _, c := range b.fields {
		m.Fields = append(m.Fields, c.name)
	}
	sort.Strings(m.Fields)
	m.Fields = slices.Compact(m.Fields)
	if len(m.Fields) > maxNames {
		m.Fields = []string{anyField}
	}
}

// appendTimes writes the times as differences, in units of their common divisor.
func (b *Builder) appendTimes(dir []byte) []byte {
	unit := uint64(0)
	b.ints = b.ints[:0]
	for i := 1; i < len(b.times); i++ {
		d := b.times[i] - b.times[i-1]
		b.ints = append(b.ints, d)
		if unit != 1 {
			unit = gcd(unit, d)
		}
	}
	unit = max(unit, 1)
	if unit > 1 {
		for i := range b.ints {
			b.ints[i] /= unit
		}
	}
	b.scratch = appendInts(b.scratch[:0], b.ints)
	dir = binary.AppendUvarint(dir, unit)
	return binary.AppendUvarint(dir, uint64(b.sections.add(b.scratch)))
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// How the differences of sequences are written.
const (
	seqsRising = iota // each − 1
	seqsAny           // zigzag
)

func (b *Builder) appendSeqs(dir []byte) []byte {
	prev := b.info.MinSeq
	mode := byte(seqsRising)
	for i, s := range b.seqs {
		if i > 0 && s <= b.seqs[i-1] || i == 0 && s != prev {
			mode = seqsAny
			break
		}
	}
	b.ints = b.ints[:0]
	for i, s := range b.seqs {
		if mode == seqsAny {
			b.ints = append(b.ints, zigzag(int64(s-prev)))
		} else if i > 0 {
			b.ints = append(b.ints, s-prev-1)
		}
		prev = s
	}
	b.scratch = appendInts(b.scratch[:0], b.ints)
	return binary.AppendUvarint(append(dir, mode), uint64(b.sections.add(b.scratch)))
}

func (b *Builder) appendShapes(dir []byte) []byte {
	dir = binary.AppendUvarint(dir, uint64(len(b.shapes.lists)))
	for _, list := range b.shapes.lists {
		dir = binary.AppendUvarint(dir, uint64(len(list)))
		for _, column := range list {
			if column == restColumn {
				column = int32(len(b.fields))
			}
			dir = binary.AppendUvarint(dir, uint64(column))
		}
	}
	dir, b.scratch = appendIDs(dir, &b.sections, b.shapes.ids, len(b.shapes.lists), b.scratch)
	return dir
}

// How a column of an extra field is written.
const (
	fieldText = iota
	fieldNumber
)

func (b *Builder) appendField(dir []byte, column int, c *fieldColumn) []byte {
	dir = append(dir, byte(c.kind))
	dir = appendBytes(dir, []byte(c.name))
	dir = binary.AppendUvarint(dir, uint64(len(c.rows)))
	if c.kind == event.Number {
		if c.number.pays() {
			lo, hi, ok := c.number.bounds()
			if !ok {
				lo, hi = math.Inf(-1), math.Inf(1)
			}
			rows := len(c.rows)
			if c.multi {
				rows = len(slices.Compact(slices.Clone(c.rows)))
			}
			text := Text{Column: column, Name: c.name, Kind: numbersKind(c.number.texts), Local: -1, Values: len(c.rows), Rows: rows, Lo: lo, Hi: hi}
			if text.Kind == Numbers {
				text.Holes = []query.Hole{c.number.facts()}
			}
			b.info.Texts = append(b.info.Texts, text)
			return c.number.append(append(dir, fieldNumber), &b.sections, b)
		}
		for _, v := range c.values {
			c.text.add(v, &b.scan)
			b.addTextKey(c, v)
		}
	}
	var rowsOf func([]int32) int
	if c.multi {
		rowsOf = c.rowsOf
	}
	dir = c.text.append(append(dir, fieldText), column, c.name, b, rowsOf)
	c.text.keys(b)
	return dir
}

// appendRest writes the fields that have no column.
func (b *Builder) appendRest(dir []byte) []byte {
	c := textColumn{values: b.rest}
	raws := b.raws[:0]
	for i := range b.rest {
		raws = append(raws, int32(i))
	}
	b.raws = raws
	column := len(b.fields) + 1
	texts := len(b.info.Texts)
	dir = c.appendRaw(dir, column, "", b, raws, func(values []int32) int { return len(values) })
	if len(raws) > 0 {
		b.info.Texts[texts].Kind = Rest
	}
	return dir
}
