package index

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/bitset"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/mask"
)

// Patterns reads, for the ledger of patterns, which kinds of lines are in the next of the segments behind a sequence, and returns
// the sequence to go on from: after itself when nothing behind it is sealed. It calls fn for each kind of each block, with when the block
// has it first and last; the kind is valid during the call. Between two blocks it calls rest, which may wait. An event
// behind after may be told again, also one at or below it; an error of fn or rest ends the reading and is returned. What cannot be read is left
// out and said in the log. A sequence above the newest there is, as after the store was removed, is taken for the beginning.
//
// What was sealed since the call before, which the seals have noted, is told at once, without reading it again. Of other segments'
// blocks it reads the forms of the messages, levels and times, and the messages that have no form.
func (s *Store) Patterns(ctx context.Context, after uint64, rest func() error, fn func(*query.Kind) error) (next uint64, err error) {
	if err := s.enter(); err != nil {
		return after, err
	}
	defer s.running.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(ErrClosed) })()

	s.mu.RLock()
	segments, release := s.snapshot()
	last := s.last
	s.mu.RUnlock()
	defer release()
	asked := after
	if after > last {
		after = 0
	}
	if noted, upTo := s.sealed.take(after); upTo > 0 {
		for i := range noted {
			if err := fn(&noted[i]); err != nil {
				return asked, err
			}
		}
		if err := rest(); err != nil {
			return asked, err
		}
		return upTo, nil
	}
	// The nearest end of a segment: in order of sequence nothing is left out, whatever the ranges of the others are.
	next = math.MaxUint64
	for _, seg := range segments {
		if seg.Hi > after {
			next = min(next, seg.Hi)
		}
	}
	s.kinds.Lock()
	defer s.kinds.Unlock()
	if next == math.MaxUint64 {
		s.kinds.kindReader = kindReader{} // it may be long until the next segment
		return asked, nil
	}
	r := &s.kinds.kindReader
	for _, seg := range segments {
		if seg.Hi <= after || seg.Lo >= next {
			continue
		}
		for _, e := range seg.Blocks {
			if e.MaxSeq <= after || e.MinSeq > next || e.Damaged() != nil {
				continue
			}
			if ctx.Err() != nil {
				return asked, context.Cause(ctx)
			}
			s.kinds.blocks++
			if err := r.read(e); err != nil {
				s.quarantine(e, err)
				continue
			}
			for i := range r.kinds {
				if err := fn(&r.kinds[i]); err != nil {
					return asked, err
				}
			}
			if err := rest(); err != nil {
				return asked, err
			}
		}
	}
	return next, nil
}

// Sealed returns the highest sequence that is in a segment.
func (s *Store) Sealed() (sealed uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, seg := range s.segments {
		sealed = max(sealed, seg.Hi)
	}
	return sealed
}

// sealedKinds are the kinds of lines of what was sealed lately, so that [Store.Patterns] need not read it again. Seals note them once
// somebody has asked for any.
type sealedKinds struct {
	mu       sync.Mutex
	wanted   bool
	from, to uint64 // kinds are those of the sequences above from, up to to
	kindReader
}

// maxSealedKinds bounds what is kept until it is taken: some 5 MB. What is beyond is read from the segments.
const maxSealedKinds = 20_000

// note returns what notes the kinds of the next seal; nil when nobody wants them. Only the sealer calls it.
func (k *sealedKinds) note() *kindReader {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.wanted {
		return nil
	}
	if k.patterns == nil {
		k.patterns = map[uint64]string{}
	}
	return &kindReader{byHash: map[uint64]int{}, patterns: k.patterns}
}

// add adds the kinds of what was sealed, above lo up to hi; nil when they were not noted.
func (k *sealedKinds) add(lo, hi uint64, noted *kindReader) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if noted == nil || k.to != lo || len(k.kinds)+len(noted.kinds) > maxSealedKinds {
		k.forget(hi)
		return
	}
	if k.to = hi; k.byHash == nil {
		k.kinds, k.byHash = noted.kinds, noted.byHash
		return
	}
	for _, n := range noted.kinds {
		if !k.again(n.Hash, n.First, n.Last) {
			k.fresh(n)
		}
	}
}

// forget lets go of everything up to a sequence.
func (k *sealedKinds) forget(upTo uint64) {
	k.from, k.to, k.kinds, k.byHash = upTo, upTo, nil, nil
}

// drop lets go of everything, since some of it may have been deleted.
func (k *sealedKinds) drop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.forget(k.to)
}

// take returns all kinds behind a sequence, and up to which one they are; 0 when it does not have them all.
func (k *sealedKinds) take(after uint64) (kinds []query.Kind, upTo uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wanted = true
	if after < k.from || after >= k.to {
		return nil, 0
	}
	kinds, upTo = k.kinds, k.to
	k.forget(upTo)
	return kinds, upTo
}

// kindsShared is the reader that calls of Patterns share, one at a time: what one segment has the next one mostly has as well.
type kindsShared struct {
	sync.Mutex
	kindReader
	blocks int // read so far, for tests
}

// kindReader finds the kinds of lines in one block after the other.
type kindReader struct {
	kinds    []query.Kind // of the block read last
	byHash   map[uint64]int
	first    []int32 // by form and level: the row, -1 for none
	last     []int32
	patterns map[uint64]string // by form: those of the blocks before, which are often the same
	buf, raw []byte
	scratch  []byte
}

// maxCachedPatterns bounds what a reader remembers of the blocks before: some 4 MB.
const maxCachedPatterns = 20_000

const levels = int(event.Debug) + 1

// read reads a block. The error is a *segment.CorruptError.
func (r *kindReader) read(e *segment.Entry) error {
	r.kinds = r.kinds[:0]
	if r.byHash == nil {
		r.byHash, r.patterns = map[uint64]int{}, map[uint64]string{}
	}
	clear(r.byHash)
	b, err := e.Open()
	if err != nil {
		return err
	}
	if !b.Columnar() {
		if err := r.readPlain(b); err != nil {
			return e.Corrupt(err)
		}
		return nil
	}
	t, err := b.Table()
	if err == nil {
		err = r.readTable(t)
	}
	if err != nil {
		return e.Corrupt(err)
	}
	return nil
}

func (r *kindReader) readTable(t *block.Table) error {
	m, err := t.Messages()
	if err != nil {
		return err
	}
	times, err := t.Times()
	if err != nil {
		return err
	}
	of, err := t.Levels()
	if err != nil {
		return err
	}
	n := m.Forms * levels
	r.first = append(r.first[:0], make([]int32, n)...)
	r.last = append(r.last[:0], make([]int32, n)...)
	service := t.Service()
	for row, form := range m.Form {
		if int(form) >= m.Forms {
			if r.raw, err = m.Append(r.raw[:0], row); err != nil {
				return err
			}
			r.buf = mask.Pattern(r.buf[:0], r.raw)
			r.add(service, event.Level(of[row]), r.buf, times[row], times[row])
			continue
		}
		at := int(form)*levels + int(of[row])
		r.last[at] = int32(row) + 1 // rows are in order of time
		if r.first[at] == 0 {
			r.first[at] = int32(row) + 1
		}
	}
	for form := range m.Forms {
		pattern := ""
		for level := range levels {
			at := form*levels + level
			if r.first[at] == 0 {
				continue
			}
			if pattern == "" {
				text, err := m.FormText(form)
				if err != nil {
					return err
				}
				pattern = r.pattern(text)
			}
			r.addForm(service, event.Level(level), pattern, times[r.first[at]-1], times[r.last[at]-1])
		}
	}
	return nil
}

// readInfo adds the kinds of a block that was built.
func (r *kindReader) readInfo(info *block.Info) {
	for i := range info.Messages {
		m := &info.Messages[i]
		if m.Form {
			r.addForm(info.Service, event.Level(m.Level), r.pattern(m.Text), m.First, m.Last)
			continue
		}
		r.buf = mask.Pattern(r.buf[:0], m.Text)
		r.add(info.Service, event.Level(m.Level), r.buf, m.First, m.Last)
	}
}

// pattern masks a form's text.
func (r *kindReader) pattern(text []byte) string {
	h := xxhash.Sum64(text)
	p, ok := r.patterns[h]
	if !ok {
		if len(r.patterns) >= maxCachedPatterns {
			clear(r.patterns)
		}
		r.buf = mask.Pattern(r.buf[:0], text)
		p = string(r.buf)
		r.patterns[h] = p
	}
	return p
}

// add puts together what has one hash.
func (r *kindReader) add(service string, level event.Level, pattern []byte, first, last int64) {
	if h := mask.Hash(service, level, pattern, &r.scratch); !r.again(h, first, last) {
		r.fresh(query.Kind{Hash: h, Service: service, Level: level, Template: string(pattern), First: first, Last: last})
	}
}

// addForm is add of a pattern that is kept.
func (r *kindReader) addForm(service string, level event.Level, pattern string, first, last int64) {
	if h := mask.Hash(service, level, pattern, &r.scratch); !r.again(h, first, last) {
		r.fresh(query.Kind{Hash: h, Service: service, Level: level, Template: pattern, First: first, Last: last})
	}
}

// again tells whether there is a kind of a hash already, which was seen at these times as well.
func (r *kindReader) again(h uint64, first, last int64) bool {
	i, ok := r.byHash[h]
	if ok {
		k := &r.kinds[i]
		k.First, k.Last = min(k.First, first), max(k.Last, last)
	}
	return ok
}

func (r *kindReader) fresh(k query.Kind) {
	r.byHash[k.Hash] = len(r.kinds)
	r.kinds = append(r.kinds, k)
}

func (r *kindReader) readPlain(b *block.Block) error {
	var rows block.Rows
	var e event.Event
	for i := range b.Frames {
		if err := b.Frame(i, &rows); err != nil {
			return err
		}
		for data := rows.Data; len(data) > 0; {
			var err error
			if data, err = event.Decode(data, &e); err != nil {
				return fmt.Errorf("%w: %w", block.ErrCorrupt, err)
			}
			r.buf = mask.Pattern(r.buf[:0], e.Message)
			r.add(string(e.Service), e.Level, r.buf, e.Time, e.Time)
		}
	}
	return nil
}

// Kinds counts the events that match by kind of line. It is a scan that reads of a pattern block which forms the messages have. The answer holds what
// could be read, and its summary says what could not, limits included. The error is ctx's.
func (s *Store) Kinds(ctx context.Context, r query.KindsRequest) (*query.Kinds, error) {
	v := &kindVisitor{r: r, step: r.StepLen(), workers: make([]kindWorker, scanWorkers()), memory: query.NewBudget(query.Memory(r.MaxMemory))}
	for i := range v.workers {
		v.workers[i].kinds = map[uint64]*query.KindCount{}
	}
	sum, err := s.scan(ctx, query.Request{Query: r.Query, Since: r.Since, Until: r.Until, MaxBytes: r.MaxBytes}, v)
	if err != nil {
		return nil, err
	}
	return v.answer(sum), nil
}

// kindVisitor is the visitor of a scan that counts kinds of lines.
type kindVisitor struct {
	r       query.KindsRequest
	step    int64 // ns, 0 for none
	memory  *query.Budget
	full    atomic.Bool // the memory is used up
	workers []kindWorker
}

// kindWorker is one worker's part.
type kindWorker struct {
	kinds    map[uint64]*query.KindCount
	other    int64
	matched  int64
	byForm   []*query.KindCount // of the block at hand, by form and level
	buf, raw []byte
	scratch  []byte
	_        [64]byte // workers write to neighbours
}

// beyond takes the events of the kinds for which there is no room, ignored those that are not asked for.
var beyond, ignored = new(query.KindCount), new(query.KindCount)

func (v *kindVisitor) segment(int, *plan, *segment.Segment) (bool, error) { return false, nil }
func (v *kindVisitor) piece(int, *piece) bool                             { return false }
func (v *kindVisitor) head(int, string, int) bool                         { return false }

// kind returns the count of a kind.
func (v *kindVisitor) kind(w *kindWorker, service string, level event.Level, pattern []byte) *query.KindCount {
	h := mask.Hash(service, level, pattern, &w.scratch)
	k := w.kinds[h]
	switch {
	case k != nil:
		return k
	case v.r.Only != nil && !v.r.Only[h]:
		return ignored
	case len(w.kinds) >= query.MaxKinds:
		return beyond
	case v.full.Load():
		return beyond
	}
	steps := 0
	if v.step > 0 {
		steps = v.r.Steps
	}
	if !v.memory.Take(kindCost + int64(len(service)+len(pattern)+8*steps)) {
		v.full.Store(true)
		return beyond
	}
	k = &query.KindCount{Kind: query.Kind{Hash: h, Service: service, Level: level, Template: string(pattern), First: math.MaxInt64, Last: math.MinInt64}}
	if steps > 0 {
		k.Steps = make([]int64, steps)
	}
	w.kinds[h] = k
	return k
}

// kindCost is what a kind takes beside its texts and steps, roughly, its sample included, in bytes.
const kindCost = 256 + maxSample/4

// count counts an event.
func (v *kindVisitor) count(w *kindWorker, k *query.KindCount, at int64) {
	w.matched++
	switch k {
	case ignored:
		return
	case beyond:
		w.other++
		return
	}
	k.Events++
	k.First, k.Last = min(k.First, at), max(k.Last, at)
	if k.Steps != nil {
		if i := uint64(at-v.r.Since) / uint64(v.step); i < uint64(len(k.Steps)) {
			k.Steps[i]++
		}
	}
}

func (v *kindVisitor) rows(w int, _ *piece, t *block.Table, rows bitset.Set) error {
	me := &v.workers[w]
	m, err := t.Messages()
	if err != nil {
		return err
	}
	times, err := t.Times()
	if err != nil {
		return err
	}
	of, err := t.Levels()
	if err != nil {
		return err
	}
	service := t.Service()
	clear(me.byForm)
	me.byForm = append(me.byForm[:0], make([]*query.KindCount, m.Forms*levels)...)
	for row := rows.Next(0); row >= 0; row = rows.Next(row + 1) {
		form, level := int(m.Form[row]), event.Level(of[row])
		var k *query.KindCount
		if form < m.Forms {
			place := &me.byForm[form*levels+int(level)]
			if *place == nil {
				text, err := m.FormText(form)
				if err != nil {
					return err
				}
				me.buf = mask.Pattern(me.buf[:0], text)
				*place = v.kind(me, service, level, me.buf)
			}
			k = *place
		} else {
			if me.raw, err = m.Append(me.raw[:0], row); err != nil {
				return err
			}
			me.buf = mask.Pattern(me.buf[:0], me.raw)
			k = v.kind(me, service, level, me.buf)
		}
		v.count(me, k, times[row])
		if k.Sample == nil && k != ignored && k != beyond {
			if k.Sample, err = m.Append([]byte{}, row); err != nil {
				return err
			}
			k.Sample = slices.Clip(k.Sample[:min(len(k.Sample), maxSample)])
		}
	}
	return nil
}

// maxSample is how much of an event's message is a sample, in bytes.
const maxSample = 1024

func (v *kindVisitor) event(w int, e *event.Event) {
	me := &v.workers[w]
	me.buf = mask.Pattern(me.buf[:0], e.Message)
	k := v.kind(me, string(e.Service), e.Level, me.buf)
	v.count(me, k, e.Time)
	if k.Sample == nil && k != ignored && k != beyond {
		k.Sample = append([]byte{}, e.Message[:min(len(e.Message), maxSample)]...)
	}
}

// answer merges what the workers have.
func (v *kindVisitor) answer(sum query.Summary) *query.Kinds {
	all := &v.workers[0]
	for i := range v.workers[1:] {
		w := &v.workers[i+1]
		all.other += w.other
		all.matched += w.matched
		for h, k := range w.kinds {
			mine := all.kinds[h]
			switch {
			case mine != nil:
				mine.Events += k.Events
				mine.First, mine.Last = min(mine.First, k.First), max(mine.Last, k.Last)
				for s, n := range k.Steps {
					mine.Steps[s] += n
				}
			case len(all.kinds) >= query.MaxKinds:
				all.other += k.Events
			default:
				all.kinds[h] = k
			}
		}
	}
	if v.full.Load() {
		sum.Budget, sum.Complete = query.BudgetMemory, false
		sum.Reasons = append(slices.Clip(sum.Reasons), fmt.Sprintf("the patterns need more than %s, as much as they may: the events of further ones are counted as others; "+
			"search a shorter range or one service, or raise limits.query_memory", sizeText(query.Memory(v.r.MaxMemory))))
	}
	out := &query.Kinds{Other: all.other, Summary: sum}
	out.Summary.Matched = all.matched
	for _, k := range all.kinds {
		out.List = append(out.List, *k)
	}
	return out
}

// Fields tells which extra fields the events that match have. It is a scan: how many events have a field comes from the lists of columns, how
// many values are different from the values. The answer holds what could be read, and its summary says what could not. The error is ctx's.
func (s *Store) Fields(ctx context.Context, r query.FieldsRequest) (*query.Fields, error) {
	v := make(fieldVisitor, scanWorkers())
	budget := query.NewBudget(query.Memory(r.MaxMemory))
	for i := range v {
		v[i].tally = query.NewFieldTally(budget)
	}
	sum, err := s.scan(ctx, query.Request{Query: r.Query, Since: r.Since, Until: r.Until, MaxBytes: r.MaxBytes}, v)
	if err != nil {
		return nil, err
	}
	for i := range v[1:] {
		v[0].tally.Merge(v[i+1].tally)
	}
	out := v[0].tally.Fields()
	sum.Matched = out.Summary.Matched
	out.Summary = sum
	return out, nil
}

// fieldVisitor is the visitor of a scan that looks at fields.
type fieldVisitor []fieldWorker

type fieldWorker struct {
	tally *query.FieldTally
	_     [64]byte // workers write to neighbours
}

func (v fieldVisitor) segment(int, *plan, *segment.Segment) (bool, error) { return false, nil }
func (v fieldVisitor) piece(int, *piece) bool                             { return false }
func (v fieldVisitor) head(int, string, int) bool                         { return false }

func (v fieldVisitor) event(w int, e *event.Event) { v[w].tally.Add(e) }

func (v fieldVisitor) rows(w int, _ *piece, t *block.Table, rows bitset.Set) error {
	tally := v[w].tally
	var names []string
	err := t.FieldCounts(rows, func(name string, events int, values [event.JSON + 1]int64) {
		tally.Count(name, events, values)
		names = append(names, name)
	})
	if err != nil {
		return err
	}
	tally.Matched(rows.Count())
	for _, name := range names {
		for _, c := range t.Column(name) {
			if !tally.Wants(name) {
				break
			}
			if err := c.Each(rows, func(_ int, value []byte) error {
				tally.Value(name, value)
				return nil
			}); err != nil {
				return err
			}
		}
	}
	return nil
}
