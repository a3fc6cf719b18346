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
	"sync"

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

// Writing.

// maxForms is what the forms of a segment may take in its writer's memory, in bytes; further ones are unlisted. Most
// segments have less than 4 MiB.
var maxForms = 24 << 20

// formKey says which texts are of one column and kind.
type formKey struct {
	service, name string
	message       bool
	kind          block.TextKind
	unlisted      bool
}

// formColumn is the forms of one key.
type formColumn struct {
	formKey
	forms map[string]*merging // by text
}

// merging is a form to which blocks are being added.
type merging struct {
	*formColumn
	text         string
	holes        []heldHole
	constants    string  // of the holes that were fixed in the first block
	lo, hi       float64 // of numbers
	rows, values int     // of all places
	n            int     // places
	places       []byte  // encoded
	last         int     // block of the newest place
	// pending are the places of an unlisted form in the newest block: one for each column, for all of its patterns.
	pending []place
}

// heldHole is a hole without what many holes have in common.
type heldHole struct {
	set      *query.CharSet // shared, so that it is not changed; nil for a constant
	min, max uint32         // of a constant: where it stands in the form's constants, from and to
}

// formSet merges the forms of blocks.
type formSet struct {
	columns map[formKey]*formColumn
	last    *formColumn // that was asked for last: thousands of forms of one follow one another
	names   map[string]struct{}
	sets    map[query.CharSet]*query.CharSet
	size    int // of texts and holes, about

	// What is left of memory that is taken for many at a time: a segment has tens of thousands of forms.
	forms     []merging
	holes     []heldHole
	places    []byte
	constants []byte // scratch memory
}

// column returns the forms of a key, nil when there are none yet.
func (s *formSet) column(key formKey) *formColumn {
	if s.last == nil || s.last.formKey != key {
		c := s.columns[key]
		if c == nil {
			return nil
		}
		s.last = c
	}
	return s.last
}

// take returns memory for n of what is taken for many at a time.
func take[T any](left *[]T, n, many int) []T {
	if len(*left) < n {
		*left = make([]T, max(n, many))
	}
	taken := (*left)[:n:n]
	*left = (*left)[n:]
	return taken
}

// usualPlaces is the room that a form's places get at first: most have one.
const usualPlaces = 8

// maxSharedSets bounds the sets of which there is one for all holes.
const maxSharedSets = 1 << 14

// share returns a set equal to c that nobody changes.
func (s *formSet) share(c *query.CharSet) *query.CharSet {
	if *c == digitSet { // as most are
		return &digitSet
	}
	if own := s.sets[*c]; own != nil {
		return own
	}
	own := new(query.CharSet)
	*own = *c
	s.size += 32
	if len(s.sets) < maxSharedSets {
		if s.sets == nil {
			s.sets = map[query.CharSet]*query.CharSet{}
		}
		s.sets[*own] = own
	}
	return own
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
	column := s.column(key)
	var m *merging
	if column != nil {
		m = column.forms[string(p.Text)]
	}
	if m != nil && len(m.holes) != len(p.Holes) { // no builder does it
		s.addUnlisted(key, at)
		return
	}
	if m == nil {
		if cost := 256 + len(p.Text) + 24*len(p.Holes); key.kind == block.Patterned {
			if s.size+cost > maxForms {
				s.addUnlisted(key, at)
				return
			}
			s.size += cost
		}
		if s.columns == nil {
			s.columns, s.names = map[formKey]*formColumn{}, map[string]struct{}{}
		}
		if column == nil {
			column = &formColumn{key, map[string]*merging{}}
			s.columns[key], s.last = column, column
			if !key.message && key.kind != block.Rest {
				s.names[key.name] = struct{}{}
			}
		}
		m = &take(&s.forms, 1, 64)[0]
		*m = merging{formColumn: column, text: string(p.Text), lo: at.lo, hi: at.hi, places: take(&s.places, usualPlaces, 64*usualPlaces)[:0]}
		s.hold(m, p.Holes)
		column.forms[m.text] = m
	} else {
		for i := range p.Holes {
			s.join(m, &m.holes[i], &p.Holes[i])
		}
		m.lo, m.hi = min(m.lo, at.lo), max(m.hi, at.hi)
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
	first := uint64(at.Block-m.last) << 1
	m.last = at.Block
	if at.Values != at.Rows {
		first |= 1
	}
	m.places = binary.AppendUvarint(m.places, first)
	if !m.message {
		m.places = binary.AppendUvarint(m.places, uint64(at.Column))
	}
	m.places = binary.AppendUvarint(m.places, uint64(at.Local+1))
	m.places = binary.AppendUvarint(m.places, uint64(at.Rows))
	if at.Values != at.Rows {
		m.places = binary.AppendUvarint(m.places, uint64(at.Values-at.Rows))
	}
	if m.kind == block.Numbers {
		m.places = binary.LittleEndian.AppendUint64(m.places, math.Float64bits(at.lo))
		m.places = binary.LittleEndian.AppendUint64(m.places, math.Float64bits(at.hi))
	}
	m.n++
	m.rows += at.Rows
	m.values += at.Values
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

// hold keeps the holes of a new form.
func (s *formSet) hold(m *merging, holes []query.Hole) {
	m.holes = take(&s.holes, len(holes), 128)
	constants := s.constants[:0]
	for i := range holes {
		h := &holes[i]
		if h.Fixed {
			from := len(constants)
			constants = append(constants, h.Const...)
			m.holes[i] = heldHole{min: uint32(from), max: uint32(len(constants))}
			continue
		}
		least := min(h.Min, math.MaxInt32) // no value is longer than an event
		m.holes[i] = heldHole{s.share(&h.Set), uint32(least), uint32(max(min(h.Max, math.MaxInt32), least))}
	}
	m.constants, s.constants = string(constants), constants
	s.size += len(constants)
}

// join makes h true of o's values as well.
func (s *formSet) join(m *merging, h *heldHole, o *query.Hole) {
	var set query.CharSet
	least, most := min(o.Min, math.MaxInt32), min(o.Max, math.MaxInt32)
	if o.Fixed {
		if h.set == nil && m.constants[h.min:h.max] == o.Const {
			return
		}
		least, most = len(o.Const), len(o.Const)
		add(&set, o.Const)
	} else {
		set = o.Set
	}
	if h.set == nil {
		constant := m.constants[h.min:h.max]
		*h = heldHole{min: uint32(len(constant)), max: uint32(len(constant))}
		add(&set, constant)
	} else {
		set.Union(h.set)
	}
	if h.set == nil || *h.set != set {
		h.set = s.share(&set)
	}
	h.min, h.max = min(h.min, uint32(least)), max(h.max, uint32(most))
}

// add puts the bytes of a constant into a set.
func add(set *query.CharSet, constant string) {
	for i := range len(constant) {
		set.Add(constant[i])
	}
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

func (m *merging) appendHole(dst, consts []byte, h *heldHole) (out, constants []byte) {
	if h.set == nil {
		return binary.AppendUvarint(append(dst, fixedHole), uint64(h.max-h.min)), append(consts, m.constants[h.min:h.max]...)
	}
	switch bits, ok := wordBits(h.set); {
	case !ok:
		dst = append(dst, explicitHole)
		for _, w := range h.set {
			dst = binary.LittleEndian.AppendUint64(dst, w)
		}
	case bits == digitBits:
		dst = append(dst, digitsHole)
	case bits == hexBits:
		dst = append(dst, hexHole)
	default:
		dst = binary.LittleEndian.AppendUint64(append(dst, wordHole), bits)
	}
	dst = binary.AppendUvarint(dst, uint64(h.min))
	return binary.AppendUvarint(dst, uint64(h.max-h.min)), consts
}

// unlistedKind stands in the footer for unlisted patterns; the other kinds have their own numbers.
const unlistedKind = 4

// number returns the kind's number in the footer.
func (k *formKey) number() byte {
	if k.unlisted {
		return unlistedKind
	}
	return byte(k.kind)
}

// Numbers of a group's column in the footer.
const (
	columnMessage = iota
	columnUnknown
	columnNamed
)

// listedColumn is a column with its numbers in the footer.
type listedColumn struct {
	*formColumn
	service, column int
}

// listedForm is a form with those of its column.
type listedForm struct {
	*merging
	service, column int
}

// write writes all forms in order.
func (s *formSet) write(p *pageWriter, enc *zstd.Encoder, t *tables, giveWay func()) []part {
	column := func(k formKey) int {
		switch {
		case k.message:
			return columnMessage
		case k.kind == block.Rest:
			return columnUnknown
		}
		return columnNamed + t.names[k.name]
	}
	// The columns first, which are few, then the texts of each.
	columns := make([]listedColumn, 0, len(s.columns))
	for key, c := range s.columns {
		columns = append(columns, listedColumn{c, t.services[key.service], column(key)})
	}
	slices.SortFunc(columns, func(a, b listedColumn) int {
		// By number last: unlisted forms are raw ones, too, and neither have a text.
		return cmp.Or(cmp.Compare(a.service, b.service), cmp.Compare(a.column, b.column), cmp.Compare(a.kind, b.kind), cmp.Compare(a.number(), b.number()))
	})
	var forms []listedForm
	for _, c := range columns {
		first := len(forms)
		for _, m := range c.forms {
			m.flush()
			forms = append(forms, listedForm{m, c.service, c.column})
		}
		slices.SortFunc(forms[first:], func(a, b listedForm) int { return strings.Compare(a.text, b.text) })
	}
	pw := &partWriter{dst: p, enc: enc}
	var texts, consts, groups, group, raw []byte
	inGroup, first := 0, 0
	for i, m := range forms {
		if len(texts)+len(groups)+len(group) == 0 {
			first = m.service
		}
		group = append(group, m.number())
		switch m.kind {
		case block.Patterned:
			texts = append(texts, m.text...)
			group = binary.AppendUvarint(group, uint64(len(m.text)))
			for k := range m.holes {
				group, consts = m.appendHole(group, consts, &m.holes[k])
			}
		case block.Numbers:
			group = binary.LittleEndian.AppendUint64(group, math.Float64bits(m.lo))
			group = binary.LittleEndian.AppendUint64(group, math.Float64bits(m.hi))
			group, consts = m.appendHole(group, consts, &m.holes[0])
		}
		group = binary.AppendUvarint(group, uint64(m.rows))
		group = binary.AppendUvarint(group, uint64(m.values))
		group = binary.AppendUvarint(group, uint64(m.n))
		group = binary.AppendUvarint(group, uint64(len(m.places)))
		group = append(group, m.places...)
		inGroup++
		full := len(texts)+len(consts)+len(groups)+len(group) >= partLen
		last := i == len(forms)-1
		if last || full || forms[i+1].service != m.service || forms[i+1].column != m.column {
			groups = binary.AppendUvarint(groups, uint64(m.service))
			groups = binary.AppendUvarint(groups, uint64(m.column))
			groups = binary.AppendUvarint(groups, uint64(inGroup))
			groups = append(groups, group...)
			group, inGroup = group[:0], 0
		}
		if last || full {
			raw = binary.AppendUvarint(raw[:0], uint64(len(texts)))
			raw = binary.AppendUvarint(raw, uint64(len(consts)))
			raw = append(append(append(raw, texts...), consts...), groups...)
			giveWay()
			pw.write(raw, first, m.service)
			texts, consts, groups = texts[:0], consts[:0], groups[:0]
		}
	}
	return pw.parts
}

// Reading.

// forms is a part of the forms, parsed. They are in order, those of a group one behind the other.
type forms struct {
	groups   []group
	patterns query.Patterns // of each form; empty for one that has none
	list     []packed
	ranges   []numbers
	facts    []byte // of each form: rows, values and places as in the footer
}

// group is the forms of one column of one service.
type group struct {
	service int // in the directory's services
	column  int // as in the footer
	lo, hi  int // its forms: from lo to below hi
}

// packed is a form without its pattern.
type packed struct {
	facts  uint32 // where its facts begin
	kind   byte   // as in the footer
	ranged uint32 // in ranges, of numbers
}

// numbers are the least and the greatest of a form's numbers.
type numbers struct{ lo, hi float64 }

// size returns how many bytes of memory the part takes.
func (s *forms) size() int64 {
	return s.patterns.MemSize() + int64(len(s.facts)+12*len(s.list)+16*len(s.ranges)+32*len(s.groups))
}

// fill makes f form i of the group without its pattern. It refers to s.
func (s *forms) fill(f *Form, d *directory, g *group, i int) {
	k := &s.list[i]
	*f = Form{Service: d.services[g.service], Message: g.column == columnMessage, Kind: block.TextKind(k.kind), Pattern: f.Pattern}
	if g.column >= columnNamed {
		f.Name = d.names[g.column-columnNamed]
	}
	switch k.kind {
	case unlistedKind:
		f.Kind, f.unlisted = block.Raw, true
	case byte(block.Numbers):
		f.Lo, f.Hi = s.ranges[k.ranged].lo, s.ranges[k.ranged].hi
	}
	r := reader{data: s.facts[k.facts:]}
	f.readFacts(&r)
}

// readFacts reads what is written of every form.
func (f *Form) readFacts(r *reader) {
	f.Rows, f.Values = int(r.uvarint()&math.MaxInt64), int(r.uvarint()&math.MaxInt64)
	f.n = r.count(len(r.data))
	f.places = r.bytes(r.count(len(r.data)))
}

// formDecoders keep the memory in which the last part grew.
var formDecoders = sync.Pool{New: func() any { return new(forms) }}

// decodeForms parses a part. The forms keep nothing of raw.
func (d *directory) decodeForms(raw []byte) (*forms, error) {
	s := formDecoders.Get().(*forms)
	defer formDecoders.Put(s)
	s.patterns.Reset()
	s.groups, s.list, s.ranges, s.facts = s.groups[:0], s.list[:0], s.ranges[:0], s.facts[:0]
	r := reader{data: raw}
	textLen, constLen := r.count(len(r.data)), 0
	constLen = r.count(len(r.data))
	texts := reader{data: r.bytes(textLen)}
	constants := string(r.bytes(constLen))
	var f Form
	for len(r.data) > 0 && !r.bad {
		g := group{service: r.index(len(d.services)), column: r.index(len(d.names) + columnNamed), lo: len(s.list)}
		n := r.count(len(r.data) / 5) // a form takes more
		if r.bad {
			break
		}
		for range n {
			f = Form{Service: d.services[g.service], Message: g.column == columnMessage, Pattern: query.Pattern{Holes: f.Holes[:0]}}
			k := packed{facts: uint32(len(s.facts)), kind: r.uint8()}
			switch f.Kind = block.TextKind(k.kind); f.Kind {
			case block.Patterned:
				f.Text = texts.bytes(r.count(len(texts.data)))
				if constants = r.holes(&f, constants); texts.bad {
					r.fail()
				}
			case block.Numbers:
				k.ranged = uint32(len(s.ranges))
				s.ranges = append(s.ranges, numbers{r.float(), r.float()})
				f.Text = number.Text
				constants = r.holes(&f, constants)
			case block.Raw, block.Rest, unlistedKind:
			default:
				r.fail()
			}
			facts := r.data
			f.readFacts(&r)
			if r.bad || !f.placesFit(d) {
				return nil, fmt.Errorf("%w: forms", block.ErrCorrupt)
			}
			s.facts = append(s.facts, facts[:len(facts)-len(r.data)]...)
			s.list = append(s.list, k)
			s.patterns.Add(&f.Pattern)
		}
		g.hi = len(s.list)
		s.groups = append(s.groups, g)
	}
	if r.bad || len(texts.data) != 0 || len(constants) != 0 {
		return nil, fmt.Errorf("%w: forms", block.ErrCorrupt)
	}
	return &forms{
		groups: slices.Clone(s.groups), patterns: s.patterns.Clone(), list: slices.Clone(s.list), ranges: slices.Clone(s.ranges), facts: slices.Clone(s.facts),
	}, nil
}

// holes reads a form's holes and returns the constants behind theirs.
func (r *reader) holes(f *Form, constants string) string {
	n := bytes.Count(f.Text, []byte{query.HoleMark})
	f.Holes = slices.Grow(f.Holes, n)[:n]
	for i := range f.Holes {
		h := &f.Holes[i]
		*h = query.Hole{}
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
func (s *Segment) formPart(i int) (*forms, error) {
	if kept, ok := parsed.get(cacheKey{s, i}).(*forms); ok {
		return kept, nil
	}
	part, err := s.readForms(i)
	if err == nil {
		part.patterns.CollectWords()
		parsed.put(cacheKey{s, i}, part, part.size())
	}
	return part, err
}

// readForms reads and parses a part of the forms.
func (s *Segment) readForms(i int) (*forms, error) {
	raw, err := s.readPart(&s.formParts[i])
	if err == nil {
		var part *forms
		if part, err = s.decodeForms(raw); err == nil {
			return part, nil
		}
	}
	return nil, s.damaged(err, "forms")
}

// Forms calls fn for each form of the segment's texts, in order of service, column, kind and text, until it returns false.
// The form is fn's own. A segment of version 1 or without a readable directory has none. The error is a *[CorruptError].
func (s *Segment) Forms(fn func(f *Form) bool) error {
	for i := range s.formParts {
		part, err := s.formPart(i)
		if err != nil {
			return err
		}
		for g := range part.groups {
			g := &part.groups[g]
			for k := g.lo; k < g.hi; k++ {
				f := &Form{}
				part.patterns.Pattern(k, &f.Pattern)
				if part.fill(f, &s.directory, g, k); !fn(f) {
					return nil
				}
			}
		}
	}
	return nil
}
