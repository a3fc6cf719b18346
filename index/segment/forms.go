package segment

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	mathbits "math/bits"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/query"
)

// Form is what some texts of a segment's blocks look like.
type Form struct {
	Service string
	Name    string // of the field; empty for the message and for fields of unknown names
	Message bool
	Kind    block.TextKind
	// Pattern of a [block.Patterned] or [block.Numbers] form. Its holes are true of all blocks together.
	query.Pattern
	Lo, Hi float64 // of [block.Numbers], over all blocks
	// Rows is the sum of its places' rows, Values of their values.
	Rows, Values int

	n      int    // of places
	places []byte // encoded
	// unlisted: the footer does not name the patterns that the places stand for; the blocks do. Kind is Raw.
	unlisted bool
}

// Place is a form in one column of one block.
type Place struct {
	Block  int // Segment.Blocks[Block]
	Column int // the block's number of the column, 0 the message
	Local  int // the number of the pattern in the column; -1 when it has none
	// Rows is how many events of the block have a value of the form, Values how many values there are.
	Rows, Values int
}

// place is a Place with what only some forms have.
type place struct {
	Place
	lo, hi float64 // of Numbers
}

// Places calls fn for each place that the form has, in order of blocks, until it returns false.
func (f *Form) Places(fn func(p Place) bool) {
	it := f.iterate()
	for p := it.next(); p != nil; p = it.next() {
		if !fn(p.Place) {
			return
		}
	}
}

// placeReader decodes the places of a form.
type placeReader struct {
	r       reader
	n       int
	message bool
	numbers bool
	p       place
}

func (f *Form) iterate() placeReader {
	return placeReader{r: reader{data: f.places}, n: f.n, message: f.Message, numbers: f.Kind == block.Numbers}
}

// next returns the next place, nil after the last. It is valid until the next call.
func (it *placeReader) next() *place {
	if it.n == 0 || it.r.bad {
		return nil
	}
	it.n--
	p, r := &it.p, &it.r
	v := r.uvarint()
	p.Block += int(v >> 1 & math.MaxInt32)
	if !it.message {
		p.Column = int(r.uvarint() & math.MaxInt32)
	}
	p.Local = int(r.uvarint()&math.MaxInt32) - 1
	p.Rows = int(r.uvarint() & math.MaxInt32)
	p.Values = p.Rows
	if v&1 != 0 {
		p.Values += int(r.uvarint() & math.MaxInt32)
	}
	if it.numbers {
		p.lo, p.hi = r.float(), r.float()
	}
	if r.bad { // cannot be: the places were checked when they were read
		return nil
	}
	return p
}

func (f *Form) appendPlace(p *place) {
	it := uint64(p.Block) << 1 // the writer makes it the difference
	if p.Values != p.Rows {
		it |= 1
	}
	f.places = binary.AppendUvarint(f.places, it)
	if !f.Message {
		f.places = binary.AppendUvarint(f.places, uint64(p.Column))
	}
	f.places = binary.AppendUvarint(f.places, uint64(p.Local+1))
	f.places = binary.AppendUvarint(f.places, uint64(p.Rows))
	if p.Values != p.Rows {
		f.places = binary.AppendUvarint(f.places, uint64(p.Values-p.Rows))
	}
	if f.Kind == block.Numbers {
		f.places = binary.LittleEndian.AppendUint64(f.places, math.Float64bits(p.lo))
		f.places = binary.LittleEndian.AppendUint64(f.places, math.Float64bits(p.hi))
	}
	f.n++
	f.Rows += p.Rows
	f.Values += p.Values
}

// Writing.

// maxForms is what the forms of a segment may take in its writer's memory, in bytes; further ones are unlisted. Most
// segments have less than 4 MiB.
var maxForms = 48 << 20

// formKey says which texts are of one column and kind.
type formKey struct {
	service, name string
	message       bool
	kind          block.TextKind
	unlisted      bool
}

// merging is a form to which blocks are being added.
type merging struct {
	Form
	last int // block of the newest place
	// pending are the places of an unlisted form in the newest block: one for each column, for all of its patterns.
	pending []place
}

// formSet merges the forms of blocks.
type formSet struct {
	columns map[formKey]map[string]*merging // by text
	names   map[string]struct{}
	size    int // of texts and holes, about
}

// add puts a place of a form into the set. It keeps nothing of p.
func (s *formSet) add(key formKey, p *query.Pattern, at place) {
	switch key.kind {
	case block.Patterned:
	case block.Numbers:
		p = &query.Pattern{Text: number.Text, Holes: p.Holes}
		if len(p.Holes) != 1 { // nothing is known of how they are written
			p = number
		}
	default:
		p = &query.Pattern{}
	}
	column := s.columns[key]
	m := column[string(p.Text)]
	if m != nil && len(m.Holes) != len(p.Holes) { // no builder does it
		s.addUnlisted(key, at)
		return
	}
	if m == nil {
		if cost := 256 + len(p.Text) + 80*len(p.Holes); key.kind == block.Patterned {
			if s.size+cost > maxForms {
				s.addUnlisted(key, at)
				return
			}
			s.size += cost
		}
		if s.columns == nil {
			s.columns, s.names = map[formKey]map[string]*merging{}, map[string]struct{}{}
		}
		if column == nil {
			column = map[string]*merging{}
			s.columns[key] = column
			if !key.message && key.kind != block.Rest {
				s.names[key.name] = struct{}{}
			}
		}
		m = &merging{Form: Form{Service: key.service, Name: key.name, Message: key.message, Kind: key.kind, Lo: at.lo, Hi: at.hi, unlisted: key.unlisted}}
		m.Text = bytes.Clone(p.Text)
		m.Holes = make([]query.Hole, len(p.Holes))
		for i := range p.Holes {
			m.Holes[i] = p.Holes[i]
			m.Holes[i].Const = strings.Clone(p.Holes[i].Const)
		}
		column[string(m.Text)] = m
	} else {
		for i := range p.Holes {
			join(&m.Holes[i], &p.Holes[i])
		}
		m.Lo, m.Hi = min(m.Lo, at.lo), max(m.Hi, at.hi)
	}
	if m.unlisted {
		m.pend(at)
	} else {
		m.append(at)
	}
}

// addUnlisted puts a place of a form into the set that is not kept itself.
func (s *formSet) addUnlisted(key formKey, at place) {
	key.kind, key.unlisted = block.Raw, true
	at.Local = -1
	s.add(key, nil, at)
}

// append adds a place behind the others.
func (m *merging) append(at place) {
	prev := m.last
	m.last = at.Block
	at.Block -= prev
	m.appendPlace(&at)
}

// pend adds up the places of one column.
func (m *merging) pend(at place) {
	if len(m.pending) > 0 && m.pending[0].Block != at.Block {
		m.flush()
	}
	for i := range m.pending {
		if p := &m.pending[i]; p.Column == at.Column {
			p.Rows, p.Values = p.Rows+at.Rows, p.Values+at.Values
			return
		}
	}
	m.pending = append(m.pending, at)
}

func (m *merging) flush() {
	for _, p := range m.pending {
		m.append(p)
	}
	m.pending = m.pending[:0]
}

// join makes h true of o's values as well.
func join(h, o *query.Hole) {
	if h.Fixed && o.Fixed && h.Const == o.Const {
		return
	}
	loosen(h)
	other := *o
	loosen(&other)
	h.Set.Union(&other.Set)
	h.Min, h.Max = min(h.Min, other.Min), max(h.Max, other.Max)
}

// loosen makes a constant a set.
func loosen(h *query.Hole) {
	if !h.Fixed {
		return
	}
	loose := query.Hole{Min: len(h.Const), Max: len(h.Const)}
	for i := range len(h.Const) {
		loose.Set.Add(h.Const[i])
	}
	*h = loose
}

// wordBytes are the bytes that nearly all holes consist of. A set of them takes 8 bytes, bit i for byte i of these.
const wordBytes = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"

// wordBits returns a set of word bytes as bits; ok is false when it has others.
func wordBits(s *query.CharSet) (bits uint64, ok bool) {
	n := 0
	for i := range len(wordBytes) {
		if s.Has(wordBytes[i]) {
			bits |= 1 << i
			n++
		}
	}
	for _, w := range s {
		n -= mathbits.OnesCount64(w)
	}
	return bits, n == 0
}

func fromWordBits(bits uint64) (s query.CharSet) {
	for ; bits != 0; bits &= bits - 1 {
		s.Add(wordBytes[mathbits.TrailingZeros64(bits)])
	}
	return s
}

// How a hole's set is written.
const (
	digitsHole   = 0 // all ten digits
	hexHole      = 1 // the digits and a to f
	wordHole     = 2 // 8 bytes, see wordBytes
	explicitHole = 3 // 32 bytes
	fixedHole    = 4 // none: it is a constant
)

const (
	digitBits = 1<<10 - 1
	hexBits   = 1<<16 - 1
)

var digitSet, hexSet = fromWordBits(digitBits), fromWordBits(hexBits)

func appendHole(dst, consts []byte, h *query.Hole) (out, constants []byte) {
	if h.Fixed {
		return binary.AppendUvarint(append(dst, fixedHole), uint64(len(h.Const))), append(consts, h.Const...)
	}
	switch bits, ok := wordBits(&h.Set); {
	case !ok:
		dst = append(dst, explicitHole)
		for _, w := range h.Set {
			dst = binary.LittleEndian.AppendUint64(dst, w)
		}
	case bits == digitBits:
		dst = append(dst, digitsHole)
	case bits == hexBits:
		dst = append(dst, hexHole)
	default:
		dst = binary.LittleEndian.AppendUint64(append(dst, wordHole), bits)
	}
	dst = binary.AppendUvarint(dst, uint64(h.Min))
	return binary.AppendUvarint(dst, uint64(h.Max-h.Min)), consts
}

// unlistedKind stands in the footer for unlisted patterns; the other kinds have their own numbers.
const unlistedKind = 4

// kind returns the kind's number in the footer.
func (f *Form) kind() byte {
	if f.unlisted {
		return unlistedKind
	}
	return byte(f.Kind)
}

// Numbers of a group's column in the footer.
const (
	columnMessage = iota
	columnUnknown
	columnNamed
)

// write writes all forms in order.
func (s *formSet) write(p *pageWriter, enc *zstd.Encoder, t *tables) []part {
	var forms []*merging
	for _, column := range s.columns {
		for _, m := range column {
			m.flush()
			forms = append(forms, m)
		}
	}
	column := func(m *merging) int {
		switch {
		case m.Message:
			return columnMessage
		case m.Kind == block.Rest:
			return columnUnknown
		}
		return columnNamed + t.names[m.Name]
	}
	slices.SortFunc(forms, func(a, b *merging) int {
		return cmp.Or(cmp.Compare(t.services[a.Service], t.services[b.Service]), cmp.Compare(column(a), column(b)), cmp.Compare(a.Kind, b.Kind),
			bytes.Compare(a.Text, b.Text), cmp.Compare(a.kind(), b.kind()))
	})
	pw := &partWriter{dst: p, enc: enc}
	var texts, consts, groups, group, raw []byte
	inGroup, first := 0, 0
	for i, m := range forms {
		if len(texts)+len(groups)+len(group) == 0 {
			first = t.services[m.Service]
		}
		group = append(group, m.kind())
		switch m.Kind {
		case block.Patterned:
			texts = append(texts, m.Text...)
			group = binary.AppendUvarint(group, uint64(len(m.Text)))
			for k := range m.Holes {
				group, consts = appendHole(group, consts, &m.Holes[k])
			}
		case block.Numbers:
			group = binary.LittleEndian.AppendUint64(group, math.Float64bits(m.Lo))
			group = binary.LittleEndian.AppendUint64(group, math.Float64bits(m.Hi))
			group, consts = appendHole(group, consts, &m.Holes[0])
		}
		group = binary.AppendUvarint(group, uint64(m.Rows))
		group = binary.AppendUvarint(group, uint64(m.Values))
		group = binary.AppendUvarint(group, uint64(m.n))
		group = binary.AppendUvarint(group, uint64(len(m.places)))
		group = append(group, m.places...)
		inGroup++
		service := t.services[m.Service]
		full := len(texts)+len(consts)+len(groups)+len(group) >= partLen
		last := i == len(forms)-1
		if last || full || t.services[forms[i+1].Service] != service || column(forms[i+1]) != column(m) {
			groups = binary.AppendUvarint(groups, uint64(service))
			groups = binary.AppendUvarint(groups, uint64(column(m)))
			groups = binary.AppendUvarint(groups, uint64(inGroup))
			groups = append(groups, group...)
			group, inGroup = group[:0], 0
		}
		if last || full {
			raw = binary.AppendUvarint(raw[:0], uint64(len(texts)))
			raw = binary.AppendUvarint(raw, uint64(len(consts)))
			raw = append(append(append(raw, texts...), consts...), groups...)
			pw.write(raw, first, service)
			texts, consts, groups = texts[:0], consts[:0], groups[:0]
		}
	}
	return pw.parts
}

// Reading.

// group is the forms of one column of one service.
type group struct {
	service int // in the directory's services
	column  int // as in the footer
	forms   []Form
}

// decodeForms parses a part. The forms refer to raw.
func (d *directory) decodeForms(raw []byte) ([]group, int64, error) {
	r := &reader{data: raw}
	textLen, constLen := r.count(len(r.data)), 0
	constLen = r.count(len(r.data))
	texts := reader{data: r.bytes(textLen)}
	constants := string(r.bytes(constLen))
	var groups []group
	size := int64(len(raw) + len(constants))
	for len(r.data) > 0 && !r.bad {
		g := group{service: r.index(len(d.services)), column: r.index(len(d.names) + columnNamed)}
		g.forms = make([]Form, r.count(len(r.data)/5)) // a form takes more
		if r.bad {
			break
		}
		service, name := d.services[g.service], ""
		if g.column >= columnNamed {
			name = d.names[g.column-columnNamed]
		}
		for i := range g.forms {
			f := &g.forms[i]
			f.Service, f.Name, f.Message, f.Kind = service, name, g.column == columnMessage, block.TextKind(r.uint8())
			switch f.Kind {
			case block.Patterned:
				f.Text = texts.bytes(r.count(len(texts.data)))
				if constants = r.holes(f, constants); texts.bad {
					r.fail()
				}
			case block.Numbers:
				f.Lo, f.Hi = r.float(), r.float()
				f.Text = number.Text
				constants = r.holes(f, constants)
			case block.Raw, block.Rest:
			case unlistedKind:
				f.Kind, f.unlisted = block.Raw, true
			default:
				r.fail()
			}
			f.Rows, f.Values = int(r.uvarint()&math.MaxInt64), int(r.uvarint()&math.MaxInt64)
			f.n = r.count(len(r.data))
			f.places = r.bytes(r.count(len(r.data)))
			if r.bad || !f.placesFit(d) {
				return nil, 0, fmt.Errorf("%w: forms", block.ErrCorrupt)
			}
			size += int64(216 + 72*len(f.Holes))
		}
		groups = append(groups, g)
	}
	if r.bad || len(texts.data) != 0 || len(constants) != 0 {
		return nil, 0, fmt.Errorf("%w: forms", block.ErrCorrupt)
	}
	return groups, size, nil
}

// holes reads a form's holes and returns the constants behind theirs.
func (r *reader) holes(f *Form, constants string) string {
	f.Holes = make([]query.Hole, bytes.Count(f.Text, []byte{query.HoleMark}))
	for i := range f.Holes {
		h := &f.Holes[i]
		switch r.uint8() {
		case fixedHole:
			n := r.count(len(constants))
			h.Fixed, h.Const = true, constants[:n]
			constants = constants[n:]
			continue
		case digitsHole:
			h.Set = digitSet
		case hexHole:
			h.Set = hexSet
		case wordHole:
			h.Set = fromWordBits(r.uint64() & (1<<len(wordBytes) - 1))
		case explicitHole:
			for w := range h.Set {
				h.Set[w] = r.uint64()
			}
		default:
			r.fail()
		}
		h.Min = r.count(math.MaxInt32)
		h.Max = h.Min + r.count(math.MaxInt32)
	}
	return constants
}

// placesFit tells whether the places are in order and in the segment's blocks of the form's service.
func (f *Form) placesFit(d *directory) bool {
	it := f.iterate()
	prev := 0
	for range f.n {
		p := it.next()
		if p == nil || p.Block < prev || p.Block >= len(d.blocks) || d.blocks[p.Block].Service != f.Service {
			return false
		}
		prev = p.Block
	}
	return len(it.r.data) == 0
}

// formPart returns a part of the forms, parsed; the caller must not change it.
func (s *Segment) formPart(i int) ([]group, error) {
	if kept, ok := parsed.get(cacheKey{s, i}).([]group); ok {
		return kept, nil
	}
	groups, size, err := s.readForms(i)
	if err == nil {
		parsed.put(cacheKey{s, i}, groups, size)
	}
	return groups, err
}

// readForms reads and parses a part of the forms, of so many bytes in memory.
func (s *Segment) readForms(i int) (groups []group, size int64, err error) {
	raw, err := s.readPart(&s.formParts[i])
	if err == nil {
		groups, size, err = s.decodeForms(raw)
	}
	if err != nil {
		return nil, 0, s.damaged(err, "forms")
	}
	return groups, size, nil
}

// Forms calls fn for each form of the segment's texts, in order of service, column, kind and text, until it returns false.
// fn must not change the form, which stays valid. A segment of version 1 or without a readable directory has none. The error is a
// *[CorruptError].
func (s *Segment) Forms(fn func(f *Form) bool) error {
	for i := range s.formParts {
		groups, err := s.formPart(i)
		if err != nil {
			return err
		}
		for g := range groups {
			for k := range groups[g].forms {
				if !fn(&groups[g].forms[k]) {
					return nil
				}
			}
		}
	}
	return nil
}
