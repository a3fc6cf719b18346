package index

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/query/querytest"
	"github.com/lookoutlog/lookout/internal/event"
)

// The engine's first test: every search equals brute force over the events that were appended, row for row and byte for
// byte, whatever the corpus, the query, and the points where the store seals, compacts and restarts.
//
//	go test ./index -run TestDifferential -differential=5m            for so long, from a seed of its own
//	go test ./index -run TestDifferential -differential.seed=17       one corpus again
var (
	differentialTime = flag.Duration("differential", 4*time.Second, "how long TestDifferential tries corpora")
	differentialSeed = flag.Uint64("differential.seed", 0, "try only the corpus of this seed")
)

// A scenario is a store's life and a request at its end: what a failure is shrunk to.
type scenario struct {
	steps   []step
	text    string // the query
	request query.Request
}

type stepKind uint8

const (
	stepAppend  stepKind = iota
	stepSeal             // what is in memory
	stepCompact          // what there is to compact
	stepRestart          // which seals
	stepCrash            // a restart that finds the events in the log
	stepDelete           // what matches a query
)

type step struct {
	kind   stepKind
	events []event.Event // to append
	text   string        // to delete,
	scope  query.DeleteScope
}

func (s step) String() string {
	switch s.kind {
	case stepSeal:
		return "seal"
	case stepCompact:
		return "compact"
	case stepRestart:
		return "restart"
	case stepCrash:
		return "restart without sealing"
	case stepDelete:
		return fmt.Sprintf("delete %s %+v", s.text, s.scope)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "append %d events:", len(s.events))
	for i := range s.events {
		e := &s.events[i]
		if i == 12 {
			fmt.Fprintf(&b, "\n\t\t…")
			break
		}
		fmt.Fprintf(&b, "\n\t\t{Time: %d, Level: %d, Service: %q, Env: %q, Host: %q, Container: %q, Stream: %q, Message: %q", e.Time, e.Level, e.Service, e.Env, e.Host, e.Container, e.Stream, clip(e.Message))
		for _, f := range e.Fields {
			fmt.Fprintf(&b, ", %q=%q (kind %d)", f.Name, clip(f.Value), f.Kind)
		}
		b.WriteString("}")
	}
	return b.String()
}

// clip returns the beginning of what may be long.
func clip(p []byte) []byte {
	if len(p) > 300 {
		return fmt.Appendf(nil, "%s… (%d bytes)", p[:300], len(p))
	}
	return p
}

// life is a store that has gone through some steps, and what brute force knows of it.
type life struct {
	dir   string
	clock atomic.Int64
	s     *Store
	all   []event.Event // but those that were deleted
	last  uint64
}

func newLife() (*life, error) {
	dir, err := os.MkdirTemp("", "lookout-differential-*")
	if err != nil {
		return nil, err
	}
	l := &life{dir: dir}
	l.clock.Store(1_700_000_000e9)
	if err := l.open(); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return l, nil
}

func (l *life) open() (err error) {
	// A store on a disk that is given up anyway need not sync.
	l.s, err = Open(Options{Dir: l.dir, Free: plenty, NoSync: true, byHand: true, logSegment: 64 << 10, Classify: classified, Now: func() time.Time { return time.Unix(0, l.clock.Add(1000)) }})
	return err
}

func (l *life) end() {
	l.s.Close(context.Background())
	os.RemoveAll(l.dir)
}

func (l *life) step(st *step) error {
	ctx := context.Background()
	switch st.kind {
	case stepSeal:
		return sealByHand(l.s)
	case stepCompact:
		return compactByHand(l.s)
	case stepRestart, stepCrash:
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		if st.kind == stepCrash {
			cancel()
		}
		if err := l.s.Close(ctx); err != nil {
			return err
		}
		return l.open()
	}
	if st.kind == stepDelete {
		return l.delete(st)
	}
	if len(st.events) == 0 {
		return nil
	}
	if err := l.s.Append(ctx, &event.Batch{Events: slices.Clone(st.events)}); err != nil {
		return err
	}
	// Sequence and time of receipt are the log's to give: they are taken from there, and must be the same ever after.
	f := l.s.Follow(l.last)
	defer f.Close()
	for n := 0; n < len(st.events); {
		got, err := f.Next(ctx)
		if err != nil {
			return err
		}
		for i := range got {
			e := st.events[n]
			l.last++
			e.Seq, e.Received = l.last, got[i].Received
			if got[i].Seq != e.Seq || showRow(query.Row{Event: &got[i]}) != showRow(query.Row{Event: &e}) {
				return fmt.Errorf("the follower's event %d is %.300s, want %.300s", e.Seq, show(&got[i]), show(&e))
			}
			l.all = append(l.all, e)
			n++
		}
	}
	return nil
}

func (l *life) delete(st *step) (err error) {
	scope := st.scope
	if scope.Query, err = query.Parse(st.text); err != nil {
		return nil // shrunk
	}
	job, err := l.s.Delete(context.Background(), query.DeleteRequest{DeleteScope: scope})
	if err != nil {
		return err
	}
	if err := deleteByHand(l.s); err != nil {
		return err
	}
	scope.MaxSeq = job.MaxSeq
	n := len(l.all)
	l.all = slices.DeleteFunc(l.all, func(e event.Event) bool { return scope.Match(&e) })
	if now := l.s.Deletes()[0]; now.State != query.DeleteDone || now.Deleted != int64(n-len(l.all)) {
		return fmt.Errorf("%d events are to be deleted: %+v", n-len(l.all), now)
	}
	return nil
}

// sealByHand seals what is in memory of a store without a sealer: first what is frozen because it had become too much.
func sealByHand(s *Store) error {
	for {
		s.mu.Lock()
		if s.frozen == nil && s.active.bytes > 0 {
			s.freeze()
		}
		g := s.frozen
		s.mu.Unlock()
		if g == nil {
			return nil
		}
		if err := s.seal(g); err != nil {
			return err
		}
	}
}

// check compares the answer to a request, and to its count, with brute force.
func (l *life) check(text string, r query.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			buf := make([]byte, 16<<10)
			err = fmt.Errorf("panic: %v\n%s", p, buf[:runtime.Stack(buf, false)])
		}
	}()
	if r.Query, err = query.Parse(text); err != nil {
		return nil
	}
	if r.Beside != nil {
		if r.Query, err = query.Parse("(" + r.Query.String() + ") " + r.Beside.String()); err != nil {
			return nil
		}
	}
	var got, want []string
	sum, err := l.s.Search(context.Background(), r, func(row query.Row) error {
		got = append(got, showRow(row))
		return nil
	})
	if err != nil || !sum.Complete {
		return fmt.Errorf("%v, %+v", err, sum)
	}
	var matched int
	if r.Before > 0 || r.After > 0 {
		want, matched = bruteContext(l.all, r)
		byGroup := func(a, b string) int { return strings.Compare(a[:groupDigits], b[:groupDigits]) }
		if len(got) < waitingRows && !slices.IsSortedFunc(got, byGroup) {
			return fmt.Errorf("groups come out of order: %q", clip([]byte(strings.Join(got, "\n"))))
		}
		slices.SortStableFunc(got, func(a, b string) int { return strings.Compare(a[:groupDigits], b[:groupDigits]) })
	} else {
		for _, e := range brute(l.all, r) {
			want = append(want, showRow(query.Row{Event: &e}))
		}
		matched = len(want)
	}
	if err := sameRows(want, got); err != nil {
		return fmt.Errorf("%w (%+v)", err, sum)
	}
	if int(sum.Matched) != matched {
		return fmt.Errorf("%d counted as matched, %d are", sum.Matched, matched)
	}
	if sc := sum.Scan; sc.Range+sc.Filter+sc.Forms+sc.Counted+sc.Opened > sc.Blocks {
		return fmt.Errorf("the summary does not add up: %+v", sc)
	}
	if r.Before == 0 && r.After == 0 {
		if err := l.checkBudget(r, int64(len(text))*1000, want); err != nil {
			return err
		}
	}
	r.Limit, r.CountOnly = 0, true
	services := map[string]int64{}
	all := brute(l.all, r)
	for i := range all {
		services[string(all[i].Service)]++
	}
	sum, err = l.s.Search(context.Background(), r, nil)
	if err != nil || !sum.Complete || int(sum.Matched) != len(all) || fmt.Sprint(sum.Services) != fmt.Sprint(services) {
		return fmt.Errorf("count: %v, %+v; want %d, %v", err, sum, len(all), services)
	}
	if sc := sum.Scan; sc.Range+sc.Filter+sc.Forms+sc.Counted+sc.Opened != sc.Blocks {
		return fmt.Errorf("the summary of a count does not add up: %+v", sc)
	}
	for _, name := range sum.UnknownFields {
		for i := range l.all {
			if e := &l.all[i]; inRange(e, r) && r.Query.MayMatchService(e.Service) && e.Field(name) != nil {
				return fmt.Errorf("field %q is said to be unknown, but event %d has it", name, e.Seq)
			}
		}
	}
	return nil
}

// checkPages sees to it that pages of random sizes, with some of a store's life between them, join to the one answer that a search gives
// before it all. Deletions are left out: what they take is gone from the pages that come.
func (l *life) checkPages(rng *rand.Rand, text string, r query.Request, between func() error) (err error) {
	if r.Query, err = query.Parse(text); err != nil || r.MinSeq == r.MaxSeq && r.MinSeq > 0 {
		return nil // some of the texts are no queries
	}
	r.Limit, r.Before, r.After, r.MaxSeq = 0, 0, 0, l.last
	if r.MaxSeq == 0 {
		return nil
	}
	var got, want []string
	for _, e := range brute(l.all, r) {
		want = append(want, showRow(query.Row{Event: &e}))
	}
	for more := true; more; {
		r.Limit = 1 + rng.IntN(1+len(want)/2)
		n := 0
		sum, err := l.s.Search(context.Background(), r, func(row query.Row) error {
			n++
			got = append(got, showRow(row))
			r.Behind = &query.Place{Time: row.Event.Time, Seq: row.Event.Seq}
			return nil
		})
		if err != nil || !sum.Complete {
			return fmt.Errorf("a page of %d: %v, %+v", r.Limit, err, sum)
		}
		if more = n == r.Limit; more {
			if err := between(); err != nil {
				return err
			}
		}
	}
	return sameRows(want, got)
}

// checkBudget sees to it that a search with a limit of bytes delivers the answer's beginning, and says whether that is all.
func (l *life) checkBudget(r query.Request, budget int64, want []string) error {
	r.MaxBytes = budget
	n := 0
	sum, err := l.s.Search(context.Background(), r, func(row query.Row) error {
		if n == len(want) || showRow(row) != want[n] {
			return fmt.Errorf("row %d is not the answer's", n)
		}
		n++
		return nil
	})
	if err != nil || sum.Complete && n < len(want) {
		return fmt.Errorf("with %d bytes: %d of %d rows: %v, %+v", budget, n, len(want), err, sum)
	}
	return nil
}

// checkFollow compares what a follower reads from a position on.
func (l *life) checkFollow(after int) error {
	from := uint64(0)
	if after > 0 {
		from = l.all[after-1].Seq
	}
	f := l.s.Follow(from)
	defer f.Close()
	for after < len(l.all) {
		events, err := f.Next(context.Background())
		if err != nil {
			return fmt.Errorf("following: %w", err)
		}
		for i := range events {
			if after == len(l.all) {
				return fmt.Errorf("following: one event too many: %.300s", show(&events[i]))
			}
			if got, want := showRow(query.Row{Event: &events[i]}), showRow(query.Row{Event: &l.all[after]}); got != want {
				return fmt.Errorf("following: got %q\nwant %q", clip([]byte(got)), clip([]byte(want)))
			}
			after++
		}
		if at := f.Position(); at < l.all[after-1].Seq || after < len(l.all) && at >= l.all[after].Seq {
			return fmt.Errorf("following: position %d after event %d", at, l.all[after-1].Seq)
		}
	}
	return nil
}

const groupDigits = 6

// showRow returns all that is known of a row: its group, whether it is context, when it was received, its sequence, and the
// encoded event.
func showRow(r query.Row) string {
	head := fmt.Sprintf("%0*d %v %d %d ", groupDigits, r.Group, r.Context, r.Event.Received, r.Event.Seq)
	return string(event.AppendEvent([]byte(head), r.Event))
}

func sameRows(want, got []string) error {
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			return fmt.Errorf("row %d of %d (%d wanted)\ngot  %q\nwant %q", i, len(got), len(want), clip([]byte(got[i])), clip([]byte(want[i])))
		}
	}
	if len(want) > len(got) {
		return fmt.Errorf("%d rows, want %d; missing %q", len(got), len(want), clip([]byte(want[len(got)])))
	}
	if len(want) < len(got) {
		return fmt.Errorf("%d rows, want %d; too many: %q", len(got), len(want), clip([]byte(got[len(want)])))
	}
	return nil
}

// bruteContext returns the groups of a request with context, and the number of matches: for each source, or whatever else makes
// neighbours, the matches with so many rows before and after them; what touches is one group. Groups are numbered by their first match.
func bruteContext(all []event.Event, r query.Request) (rows []string, matched int) {
	every := r
	every.Query, every.Limit = nil, 0
	ordered := brute(all, every)
	bySource := map[string][]int{}
	group := make([]int, len(ordered)) // of each row; 0 for none, -1 for one not numbered yet
	hit := make([]bool, len(ordered))
	for i := range ordered {
		if r.Query.Match(&ordered[i]) && (r.Limit == 0 || matched < r.Limit) {
			hit[i] = true
			matched++
		}
		name, ok := r.ContextBy.AppendKey(nil, &ordered[i])
		if !ok {
			name = fmt.Append(nil, "alone ", i)
		}
		if hit[i] || r.Beside == nil || r.Beside.Match(&ordered[i]) {
			bySource[string(name)] = append(bySource[string(name)], i)
		}
	}
	before, after := r.Before, r.After
	if r.Newest {
		before, after = after, before
	}
	first := map[int][]int{} // the rows of a group, by its first match
	for _, list := range bySource {
		end, start := -1, 0 // of the group under way: the last row it takes, and its first match
		for k, i := range list {
			if !hit[i] {
				continue
			}
			from := max(k-before, 0)
			if end < 0 || from > end+1 {
				start = i
			} else {
				from = end + 1
			}
			end = min(k+after, len(list)-1)
			for ; from <= end; from++ {
				first[start] = append(first[start], list[from])
			}
		}
	}
	n := 0
	for i := range ordered {
		if members := first[i]; hit[i] && members != nil {
			n++
			for _, m := range members {
				group[m] = n
				rows = append(rows, showRow(query.Row{Event: &ordered[m], Context: !hit[m], Group: n}))
			}
		}
	}
	return rows, matched
}

func drawRequest(rng *rand.Rand, all []event.Event) query.Request {
	r := query.Request{Newest: rng.IntN(2) == 0}
	n := len(all)
	at := func() int64 {
		if n == 0 {
			return rng.Int64()
		}
		return all[rng.IntN(n)].Time + int64(rng.IntN(3)-1)
	}
	if rng.IntN(3) == 0 {
		r.Since = at()
	}
	if rng.IntN(3) == 0 {
		r.Until = at()
	}
	if r.Since != 0 && r.Until != 0 && r.Since > r.Until {
		r.Since, r.Until = r.Until, r.Since
	}
	if rng.IntN(3) == 0 {
		r.Limit = 1 + rng.IntN(150)
	}
	if rng.IntN(4) == 0 {
		r.MaxSeq = uint64(1 + rng.IntN(n+1))
	}
	if rng.IntN(4) == 0 {
		r.MinSeq = uint64(1 + rng.IntN(n+1))
		if rng.IntN(3) == 0 {
			r.MaxSeq = r.MinSeq
		}
	}
	if rng.IntN(4) == 0 {
		r.Behind = &query.Place{Time: at(), Seq: uint64(rng.IntN(n + 2))}
	}
	if rng.IntN(5) == 0 {
		r.Before, r.After = rng.IntN(4), rng.IntN(4)
		if rng.IntN(8) == 0 {
			r.After = rng.IntN(200)
		}
		var err error
		by := []string{"source", "source", "service", "host", "all", "level", "stream", "status", "a", "user.id", `"odd field"`, "k", "request_id"}
		if r.ContextBy, err = query.ParseContextBy(by[rng.IntN(len(by))]); err != nil {
			panic(err)
		}
		if rng.IntN(3) == 0 {
			if r.Beside, err = query.Parse(`-stream:stdout`); err != nil {
				panic(err)
			}
		}
	}
	return r
}

// try lives one corpus and returns the first scenario whose answer is wrong.
func try(seed uint64, searches *int) (*scenario, error) {
	rng := rand.New(rand.NewPCG(seed, 4))
	l, err := newLife()
	if err != nil {
		return nil, err
	}
	defer l.end()
	c := querytest.NewCorpus(rng)
	sc := &scenario{}
	small := rng.IntN(3) > 0
	for range 4 + rng.IntN(12) {
		var st step
		switch rng.IntN(11) {
		case 10:
			st.kind, st.text = stepDelete, querytest.Query(rng, &event.Event{})
			if len(l.all) > 0 {
				r := drawRequest(rng, l.all)
				st.text, st.scope = querytest.Query(rng, &l.all[rng.IntN(len(l.all))]), query.DeleteScope{Since: r.Since, Until: r.Until, MaxSeq: r.MaxSeq}
			}
		case 0, 1, 2:
			st.kind = stepSeal
		case 3:
			st.kind = stepCompact
		case 4:
			st.kind = stepRestart
		case 5:
			st.kind = stepCrash
		default:
			n := rng.IntN(60)
			if !small {
				n = rng.IntN(1500)
			}
			var b event.Batch
			for range n {
				c.Event(&b)
			}
			for i := range b.Events {
				st.events = append(st.events, b.Events[i].Clone())
			}
		}
		sc.steps = append(sc.steps, st)
		if err := l.step(&st); err != nil {
			return sc, err
		}
		if rng.IntN(4) == 0 && len(l.all) > 0 {
			r, text := drawRequest(rng, l.all), querytest.Query(rng, &l.all[rng.IntN(len(l.all))])
			err := l.checkPages(rng, text, r, func() error {
				var b event.Batch
				for range rng.IntN(20) {
					c.Event(&b)
				}
				st := step{kind: []stepKind{stepAppend, stepAppend, stepSeal, stepCompact, stepRestart, stepCrash}[rng.IntN(6)]}
				if st.kind == stepAppend {
					for i := range b.Events {
						st.events = append(st.events, b.Events[i].Clone())
					}
				}
				sc.steps = append(sc.steps, st)
				return l.step(&st)
			})
			if err != nil {
				return sc, fmt.Errorf("pages of %q %+v: %w", text, r, err)
			}
		}
		if rng.IntN(4) == 0 && len(l.all) > 0 {
			if err := l.checkFollow(rng.IntN(len(l.all))); err != nil {
				return sc, err
			}
		}
		for range 6 {
			e := &event.Event{}
			if len(l.all) > 0 {
				e = &l.all[rng.IntN(len(l.all))]
			}
			sc.text, sc.request = querytest.Query(rng, e), drawRequest(rng, l.all)
			*searches++
			if err := l.check(sc.text, sc.request); err != nil {
				return sc, err
			}
		}
		sc.text, sc.request = "", query.Request{}
	}
	return nil, nil
}

// run lives a scenario again.
func (sc *scenario) run() error {
	l, err := newLife()
	if err != nil {
		return err
	}
	defer l.end()
	for i := range sc.steps {
		if err := l.step(&sc.steps[i]); err != nil {
			return err
		}
	}
	for after := 0; after < len(l.all); after += 1 + len(l.all)/4 {
		if err := l.checkFollow(after); err != nil {
			return err
		}
	}
	return l.check(sc.text, sc.request)
}

// shrink takes away from a scenario what the failure does not need.
func (sc scenario) shrink(until time.Time) scenario {
	fails := func(c scenario) bool { return time.Now().Before(until) && c.run() != nil }
	if !fails(sc) {
		return sc
	}
	for changed := true; changed && time.Now().Before(until); {
		changed = false
		// The request first: a range of sequences loses its meaning when events are taken away.
		for _, simpler := range []func(r *query.Request){
			func(r *query.Request) { r.Since = 0 }, func(r *query.Request) { r.Until = 0 }, func(r *query.Request) { r.Limit = 0 },
			func(r *query.Request) { r.MinSeq, r.MaxSeq = 0, 0 }, func(r *query.Request) { r.MinSeq = 0 }, func(r *query.Request) { r.MaxSeq = 0 },
			func(r *query.Request) { r.Newest = false }, func(r *query.Request) { r.Before, r.After = 0, 0 },
			func(r *query.Request) { r.ContextBy = query.ContextBy{} }, func(r *query.Request) { r.Beside = nil },
		} {
			c := sc
			if simpler(&c.request); c.request != sc.request && fails(c) {
				sc, changed = c, true
			}
		}
		for _, text := range simplerTexts(sc.text) {
			c := sc
			if c.text = text; len(text) < len(sc.text) && fails(c) {
				sc, changed = c, true
			}
		}
		for i := len(sc.steps) - 1; i >= 0; i-- {
			c := sc
			c.steps = slices.Delete(slices.Clone(sc.steps), i, i+1)
			if fails(c) {
				sc, changed = c, true
			}
		}
		for i := range sc.steps {
			for size := len(sc.steps[i].events); size > 0; size /= 2 {
				for at := 0; at+size <= len(sc.steps[i].events); {
					c := sc
					c.steps = slices.Clone(sc.steps)
					c.steps[i].events = slices.Delete(slices.Clone(sc.steps[i].events), at, at+size)
					if fails(c) {
						sc, changed = c, true
					} else {
						at += size
					}
				}
			}
		}
	}
	// The parts of events last, when few are left.
	for i := range sc.steps {
		for k := range sc.steps[i].events {
			for _, simpler := range simplerEvents(&sc.steps[i].events[k]) {
				c := sc
				c.steps = slices.Clone(sc.steps)
				c.steps[i].events = slices.Clone(sc.steps[i].events)
				if simpler(&c.steps[i].events[k]); fails(c) {
					sc = c
				}
			}
		}
	}
	return sc
}

// simplerTexts returns queries with a piece left out; most do not parse, and then do not fail.
func simplerTexts(text string) []string {
	var out []string
	words := strings.Fields(text)
	for i := range words {
		out = append(out, words[i], strings.Join(words[:i], " "), strings.Join(words[i:], " "), strings.Join(slices.Delete(slices.Clone(words), i, i+1), " "))
	}
	for i := range text {
		for _, n := range []int{16, 4, 1} {
			if i+n <= len(text) && len(text) < 500 {
				out = append(out, text[:i]+text[i+n:])
			}
		}
	}
	return out
}

func simplerEvents(e *event.Event) []func(*event.Event) {
	list := []func(e *event.Event){
		func(e *event.Event) { e.Fields = nil }, func(e *event.Event) { e.Message = nil }, func(e *event.Event) { e.Level = 0 },
		func(e *event.Event) { e.Service = nil }, func(e *event.Event) { e.Env, e.Host, e.Container, e.Stream = nil, nil, nil, nil },
		func(e *event.Event) { e.Time = 1 }, func(e *event.Event) { e.Message = e.Message[:len(e.Message)/2] }, func(e *event.Event) { e.Message = e.Message[len(e.Message)/2:] },
	}
	for i := range e.Fields {
		list = append(list, func(e *event.Event) {
			if i < len(e.Fields) {
				e.Fields = slices.Delete(slices.Clone(e.Fields), i, i+1)
			}
		})
	}
	return list
}

func (sc *scenario) String() string {
	var b strings.Builder
	for _, st := range sc.steps {
		fmt.Fprintf(&b, "\t%s\n", st)
	}
	fmt.Fprintf(&b, "\tquery %s\n\trequest %+v behind %+v\n", sc.text, sc.request, sc.request.Behind)
	return b.String()
}

func TestDifferential(t *testing.T) {
	fail := func(t *testing.T, seed uint64, sc *scenario, err error) {
		t.Helper()
		if sc == nil {
			t.Fatal(err)
		}
		short := sc.shrink(time.Now().Add(20 * time.Second))
		again := short.run()
		t.Fatalf("seed %d: %v\nquery %s %+v\n\nshrunk to (%v):\n%s\nagain: go test ./index -run TestDifferential -differential.seed=%d", seed, err, sc.text, sc.request, again, &short, seed)
	}
	if seed := *differentialSeed; seed != 0 {
		var n int
		if sc, err := try(seed, &n); err != nil {
			fail(t, seed, sc, err)
		}
		return
	}
	// The default run tries the same corpora every time; a longer one is to find what is new.
	first := uint64(1)
	if *differentialTime > 10*time.Minute {
		first = uint64(time.Now().UnixNano()) >> 16
	}
	t.Logf("first seed %d", first)
	var corpora, searches atomic.Int64
	end := time.Now().Add(*differentialTime)
	t.Run("group", func(t *testing.T) {
		for w := range uint64(runtime.GOMAXPROCS(0)) {
			t.Run(fmt.Sprint(w), func(t *testing.T) {
				t.Parallel()
				for seed := first + w; time.Now().Before(end); seed += uint64(runtime.GOMAXPROCS(0)) {
					n := 0
					if sc, err := try(seed, &n); err != nil {
						fail(t, seed, sc, err)
					}
					searches.Add(int64(n))
					corpora.Add(1)
				}
			})
		}
	})
	t.Logf("%d corpora, %d searches and as many counts", corpora.Load(), searches.Load())
}
