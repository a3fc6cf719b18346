package segment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/bitset"
	"github.com/lookoutlog/lookout/internal/event"
)

// Flaw is a part of a segment that is damaged or contradicts another.
type Flaw struct {
	Block  *Entry // nil for the footer
	Offset int64  // in the file
	Err    error
}

// sampleRows is one of how many rows of a block are looked up in its filter.
const sampleRows = 16

// maxSeen bounds the range of sequences in which Verify looks for one that is there twice.
const maxSeen = 1 << 31

// Verify reads the whole segment and returns what is wrong with it: each checksum; and with deep set every event, and what the footer says of
// the blocks: times, sequences, levels, hosts, names of fields, forms and where they are, counts, of one row of 16 whether its tokens and
// values are in the block's filter, and of two rows whether a search for their messages comes to the block. progress is called with bytes as they are done. The error is that of ctx.
func (s *Segment) Verify(ctx context.Context, deep bool, progress func(bytes int64)) ([]Flaw, error) {
	v := &verifying{s: s}
	for _, err := range s.Damage {
		v.flaw(nil, err)
	}
	if s.version > 1 && s.directory.blocks != nil {
		v.pages()
	}
	if s.Hi-s.Lo <= maxSeen && deep {
		v.seen = bitset.New(int(s.Hi - s.Lo))
	}
	if deep && s.directory.blocks != nil {
		v.openFooter()
	}
	at := int64(0)
	for _, e := range s.Blocks {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		b, err := block.Open(s.file, e.Offset, e.Length)
		if err == nil {
			err = b.Checksums()
		}
		if err == nil && deep {
			err = v.block(e, b)
		}
		if err != nil {
			v.flaws = append(v.flaws, Flaw{e, e.Offset, err})
		}
		progress(e.Offset + e.Length - at)
		at = e.Offset + e.Length
	}
	if v.forms != nil {
		v.compareForms()
	}
	progress(s.size - at)
	return v.flaws, nil
}

type verifying struct {
	s     *Segment
	flaws []Flaw
	seen  bitset.Set // sequences, from Lo+1 on; nil when they are not looked at

	// Of the footer; nil when it cannot be read, which is a flaw of its own.
	source *source
	counts [][]block.Count
	forms  map[formAt]formIs // what the blocks have; those that the footer names are taken out

	data []byte
	ev   event.Event
	keys []uint64
}

// formAt is where a form is, formIs what is there.
type formAt struct {
	block, column, local int
	kind                 block.TextKind
}

type formIs struct {
	name         string
	text         []byte
	holes        []query.Hole
	rows, values int
	lo, hi       float64
}

func (v *verifying) flaw(e *Entry, err error) {
	f := Flaw{Block: e, Offset: v.s.footer, Err: err}
	if c := (*CorruptError)(nil); errors.As(err, &c) {
		f.Offset, f.Err = c.Offset, c.Err
	}
	if e != nil {
		f.Offset = e.Offset
	}
	v.flaws = append(v.flaws, f)
}

// pages reads every page of the footer.
func (v *verifying) pages() {
	s := v.s
	r := s.pages()
	for no := int64(0); no*pagePayload < s.stream; no++ {
		if _, err := r.page(no); err != nil {
			v.flaws = append(v.flaws, Flaw{Offset: s.footer + no*pageLen, Err: err})
		}
	}
	// What a page holds may be wrong as well.
	for i := range s.formParts {
		if _, err := s.readForms(i); err != nil {
			v.flaw(nil, err)
		}
	}
}

func (v *verifying) openFooter() {
	src, err := openSource(v.s)
	if err != nil {
		v.flaw(nil, err)
		return
	}
	v.source, v.counts, v.forms = src, src.counts, map[formAt]formIs{}
	if len(v.counts) != len(v.s.Blocks) {
		v.counts = nil
		if v.s.directory.counts != nil {
			v.flaw(nil, fmt.Errorf("%w: counts of %d blocks, there are %d", block.ErrCorrupt, len(src.counts), len(v.s.Blocks)))
		}
	}
}

// block compares a block's rows with what it says of itself, and that with what the footer says.
func (v *verifying) block(e *Entry, b *block.Block) error {
	if err := sameMeta(&b.Meta, &e.Meta); err != nil {
		return fmt.Errorf("%w: the footer says otherwise: %w", block.ErrCorrupt, err)
	}
	var rows rowCheck
	rows.meta = block.Meta{Service: b.Service}
	if !b.Columnar() {
		return v.plain(e, b, &rows)
	}
	t, err := b.Table()
	if err != nil {
		return err
	}
	seqs, err := t.Seqs()
	if err != nil {
		return err
	}
	var filter []byte
	if v.source != nil {
		if filter, err = v.source.filter(v.s, e.index); err != nil {
			v.flaw(nil, err)
			v.source = nil
		}
	}
	for row, seq := range seqs {
		if v.data, err = t.AppendRow(v.data[:0], row); err != nil {
			return err
		}
		if _, err := v.row(e, &rows, v.data, seq); err != nil {
			return fmt.Errorf("row %d: %w", row, err)
		}
		if v.source != nil && row%sampleRows == 0 {
			if err := v.inFilter(filter); err != nil {
				return fmt.Errorf("row %d: %w", row, err)
			}
		}
		if v.forms != nil && (row == 0 || row == len(seqs)/2) {
			if err := v.found(e); err != nil {
				return fmt.Errorf("row %d: %w", row, err)
			}
		}
	}
	if err := rows.compare(&b.Meta); err != nil {
		return err
	}
	info, err := t.Info()
	if err != nil {
		return err
	}
	if v.counts != nil && !slices.Equal(v.counts[e.index], info.Counts) {
		v.flaw(nil, fmt.Errorf("%w: the counts of the block at byte %d are not those of its events", block.ErrCorrupt, e.Offset))
	}
	if v.forms != nil {
		for i := range info.Texts {
			x := &info.Texts[i]
			v.forms[formAt{e.index, x.Column, localOf(x), x.Kind}] = formIs{x.Name, x.Pattern.Text, x.Holes, x.Rows, x.Values, x.Lo, x.Hi}
		}
	}
	return nil
}

func (v *verifying) plain(e *Entry, b *block.Block, rows *rowCheck) error {
	var page block.Rows
	for i := range b.Frames {
		if err := b.Frame(i, &page); err != nil {
			return err
		}
		data := page.Data
		for _, seq := range page.Seqs {
			rest, err := v.row(e, rows, data, seq)
			if err != nil {
				return fmt.Errorf("frame %d: %w", i, err)
			}
			data = rest
		}
		if len(data) > 0 {
			return fmt.Errorf("%w: frame %d: %d bytes too many", block.ErrCorrupt, i, len(data))
		}
	}
	return rows.compare(&b.Meta)
}

// row looks at the event at data's start.
func (v *verifying) row(e *Entry, rows *rowCheck, data []byte, seq uint64) (rest []byte, err error) {
	if rest, err = event.Decode(data, &v.ev); err != nil {
		return nil, err
	}
	s := v.s
	if seq <= s.Lo || seq > s.Hi {
		return nil, fmt.Errorf("%w: the sequence %d is not the segment's", block.ErrCorrupt, seq)
	}
	if v.seen != nil {
		if at := int(seq - s.Lo - 1); v.seen.Has(at) {
			return nil, fmt.Errorf("%w: the sequence %d is there twice", block.ErrCorrupt, seq)
		} else {
			v.seen.Add(at)
		}
	}
	return rest, rows.add(&v.ev, seq, len(data)-len(rest), &e.Meta)
}

// inFilter tells whether the tokens and values of the event that was read last are in a filter.
func (v *verifying) inFilter(filter []byte) error {
	ev := &v.ev
	v.keys = query.AppendTokenKeys(v.keys[:0], ev.Message)
	field := func(name, value []byte) {
		if key, ok := query.FieldKey(name, value); ok {
			v.keys = append(v.keys, key)
		}
	}
	for i := range ev.Fields {
		f := &ev.Fields[i]
		v.keys = query.AppendTokenKeys(v.keys, f.Value)
		field(f.Name, f.Value)
	}
	for name, value := range map[string][]byte{"env": ev.Env, "host": ev.Host, "container": ev.Container, "stream": ev.Stream} {
		if len(value) > 0 {
			field([]byte(name), value)
		}
	}
	c := class{size: int64(len(filter))}
	if c.size == 0 && len(v.keys) > 0 {
		return fmt.Errorf("%w: the filter in the footer is empty", block.ErrCorrupt)
	}
	for _, key := range v.keys {
		held := true
		_ = c.probe([]uint64{key}, func(bit uint64) (bool, error) { // the function has no error
			held = filter[bit>>3]&(1<<(bit&7)) != 0
			return held, nil
		})
		if !held {
			return fmt.Errorf("%w: a token of the event is not in the block's filter in the footer", block.ErrCorrupt)
		}
	}
	return nil
}

// found tells whether a search for the message that was read last comes to its block, as the footer's forms and their holes have it.
func (v *verifying) found(e *Entry) error {
	const longest = 4 << 10 // longer ones are no patterns, and slow to look for
	text := string(v.ev.Message)
	if text == "" || len(text) > longest || !utf8.ValidString(text) {
		return nil
	}
	q, err := query.Parse(query.Quote(text))
	if err != nil {
		return nil // what cannot be asked for cannot be missed
	}
	blocks := bitset.New(len(v.s.Blocks))
	blocks.Add(e.index)
	j, err := v.s.Judge(q, blocks)
	if err != nil {
		return nil // a flaw of the footer's already
	}
	facts, _ := j.Block(e.index)
	if _, most := q.Bounds(facts); most == 0 {
		return fmt.Errorf("%w: the footer says that the block holds no %q", block.ErrCorrupt, text)
	}
	return nil
}

// rowCheck gathers what a meta says.
type rowCheck struct {
	meta   block.Meta
	time   int64
	seq    uint64
	hosts  map[string]bool
	fields map[string]bool
}

func (c *rowCheck) add(e *event.Event, seq uint64, size int, said *block.Meta) error {
	m := &c.meta
	first := m.Rows == 0
	switch {
	case string(e.Service) != m.Service:
		return fmt.Errorf("%w: an event of service %q in a block of %q", block.ErrCorrupt, e.Service, m.Service)
	case int(e.Level) >= len(m.Levels):
		return fmt.Errorf("%w: level %d", block.ErrCorrupt, e.Level)
	case !first && (e.Time < c.time || e.Time == c.time && seq < c.seq):
		return fmt.Errorf("%w: the events are not in order", block.ErrCorrupt)
	}
	c.time, c.seq = e.Time, seq
	if first {
		m.MinTime, m.MinSeq, m.MaxSeq = e.Time, seq, seq
		c.hosts, c.fields = map[string]bool{}, map[string]bool{}
	}
	m.Rows++
	m.Bytes += int64(size)
	m.MaxTime, m.MinSeq, m.MaxSeq = e.Time, min(m.MinSeq, seq), max(m.MaxSeq, seq)
	m.Levels[e.Level]++
	if len(e.Host) > 0 && !c.hosts[string(e.Host)] {
		c.hosts[string(e.Host)] = true
	}
	for i := range e.Fields {
		if name := e.Fields[i].Name; !c.fields[string(name)] {
			c.fields[string(name)] = true
			if !said.HasField(string(name)) {
				return fmt.Errorf("%w: the field %q is not among the names of the block's fields", block.ErrCorrupt, name)
			}
		}
	}
	return nil
}

// compare compares what was gathered with a meta. Of hosts and names a meta may hold fewer: these are bounded.
func (c *rowCheck) compare(said *block.Meta) error {
	m := c.meta
	for _, h := range said.Hosts {
		if !c.hosts[h] {
			return fmt.Errorf("%w: the host %q is named and no event has it", block.ErrCorrupt, h)
		}
	}
	if len(c.hosts) != len(said.Hosts) && len(c.hosts) <= 64 {
		return fmt.Errorf("%w: %d hosts are named, the events have %d", block.ErrCorrupt, len(said.Hosts), len(c.hosts))
	}
	m.Hosts, m.Fields = said.Hosts, said.Fields
	if err := sameMeta(&m, said); err != nil {
		return fmt.Errorf("%w: the header says otherwise: %w", block.ErrCorrupt, err)
	}
	return nil
}

func sameMeta(is, said *block.Meta) error {
	switch {
	case is.Service != said.Service:
		return fmt.Errorf("service %q, said to be %q", is.Service, said.Service)
	case is.Rows != said.Rows, is.Bytes != said.Bytes:
		return fmt.Errorf("%d events of %d bytes, said to be %d of %d", is.Rows, is.Bytes, said.Rows, said.Bytes)
	case is.MinTime != said.MinTime, is.MaxTime != said.MaxTime:
		return fmt.Errorf("times from %d to %d, said to be from %d to %d", is.MinTime, is.MaxTime, said.MinTime, said.MaxTime)
	case is.MinSeq != said.MinSeq, is.MaxSeq != said.MaxSeq:
		return fmt.Errorf("sequences from %d to %d, said to be from %d to %d", is.MinSeq, is.MaxSeq, said.MinSeq, said.MaxSeq)
	case is.Levels != said.Levels:
		return fmt.Errorf("%d events of the levels, said to be %d", is.Levels, said.Levels)
	case !slices.Equal(is.Hosts, said.Hosts), !slices.Equal(is.Fields, said.Fields):
		return errors.New("other hosts or names of fields")
	}
	return nil
}

// compareForms compares the forms of the blocks with those of the footer. Each place of the footer is one of a block; what is left then is
// not in the footer, and must be covered by an unlisted form of its column.
func (v *verifying) compareForms() {
	type column struct{ block, column int }
	unlisted := map[column]formIs{}
	bad := func(e *Entry, format string, args ...any) {
		v.flaw(nil, fmt.Errorf("%w: forms of the block at byte %d: "+format, append([]any{block.ErrCorrupt, e.Offset}, args...)...))
	}
	flaws := len(v.flaws)
	err := v.s.Forms(func(f *Form) bool {
		rows, values := 0, 0
		f.Places(func(p Place) bool {
			e := v.s.Blocks[p.Block]
			rows, values = rows+p.Rows, values+p.Values
			if f.unlisted {
				unlisted[column{p.Block, p.Column}] = formIs{name: f.Name, rows: p.Rows, values: p.Values}
				return true
			}
			at := formAt{p.Block, p.Column, p.Local, f.Kind}
			is, ok := v.forms[at]
			if !ok && e.Damaged() == nil && !v.damaged(e) {
				bad(e, "the footer has one in column %d that the block does not have", p.Column)
			}
			if !ok {
				return true
			}
			delete(v.forms, at)
			switch {
			case is.rows != p.Rows, is.values != p.Values:
				bad(e, "%d events and %d values, the footer says %d and %d", is.rows, is.values, p.Rows, p.Values)
			case f.Kind != block.Rest && is.name != f.Name, f.Message != (p.Column == 0 && f.Kind != block.Rest), e.Service != f.Service:
				bad(e, "a column of %q, the footer says %q", is.name, f.Name)
			case f.Kind == block.Patterned && !bytes.Equal(is.text, f.Text):
				bad(e, "%q, the footer says %q", is.text, f.Text)
			case f.Kind == block.Numbers && (is.lo < f.Lo || is.hi > f.Hi):
				bad(e, "numbers from %g to %g, the footer says %g to %g", is.lo, is.hi, f.Lo, f.Hi)
			case f.Kind == block.Patterned && !holesCover(f.Holes, is.holes):
				bad(e, "the footer says of %q that other values stand in it", f.Text)
			}
			return len(v.flaws)-flaws < 10
		})
		if rows != f.Rows || values != f.Values {
			v.flaw(nil, fmt.Errorf("%w: forms: %d events and %d values in the blocks, said to be %d and %d", block.ErrCorrupt, rows, values, f.Rows, f.Values))
		}
		return len(v.flaws)-flaws < 10
	})
	if err != nil || len(v.flaws)-flaws >= 10 { // which is a flaw already; or enough is known
		return
	}
	for at, is := range v.forms {
		u := column{at.block, at.column}
		left, ok := unlisted[u]
		left.rows, left.values = left.rows-is.rows, left.values-is.values
		if unlisted[u] = left; !ok || at.kind != block.Patterned || left.values < 0 {
			bad(v.s.Blocks[at.block], "the footer does not have %q of column %d", is.text, at.column)
			return
		}
	}
}

// damaged tells whether a block is among the flaws: its forms are not known.
func (v *verifying) damaged(e *Entry) bool {
	return slices.ContainsFunc(v.flaws, func(f Flaw) bool { return f.Block == e })
}

// holesCover tells whether what the footer says of holes is true of those of a block that hold one value alone. Of the others a block tells
// bounds that are wider than the values.
func holesCover(said, is []query.Hole) bool {
	if len(said) != len(is) {
		return false
	}
	for i := range said {
		s, value := &said[i], is[i].Const
		if !is[i].Fixed || s.Fixed && s.Const == value {
			continue
		}
		if s.Fixed || len(value) < s.Min || len(value) > s.Max {
			return false
		}
		for k := range len(value) {
			if !s.Set.Has(value[k]) {
				return false
			}
		}
	}
	return true
}
