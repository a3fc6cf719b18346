package index

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/mask"
)

// kindOf is an event's kind.
func kindOf(e *event.Event) query.Kind {
	pattern := mask.Pattern(nil, e.Message)
	return query.Kind{
		Hash: mask.Hash(string(e.Service), e.Level, pattern, new([]byte)), Service: string(e.Service), Level: e.Level, Template: string(pattern), First: e.Time, Last: e.Time,
	}
}

// addKind puts together the first and last times of kinds.
func addKind(kinds map[uint64]query.Kind, k query.Kind) {
	if old, ok := kinds[k.Hash]; ok {
		k.First, k.Last = min(old.First, k.First), max(old.Last, k.Last)
	}
	kinds[k.Hash] = k
}

// TestKindsEqualBruteForce compares what the ledger is told, and the counts of kinds and fields, with what the events say.
func TestKindsEqualBruteForce(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 99))
			c := corpus{rng}
			dir := t.TempDir()
			s := open(t, Options{Dir: dir, byHand: true})
			var all []event.Event
			told := map[uint64]query.Kind{}
			position := uint64(0)
			read := func(steps int) {
				for range steps {
					next, err := s.Patterns(t.Context(), position, func() error { return nil }, func(k *query.Kind) error {
						addKind(told, *k)
						return nil
					})
					if err != nil {
						t.Fatal(err)
					}
					if next == position {
						break
					}
					position = next
				}
				want := map[uint64]query.Kind{}
				for i := range all {
					if e := &all[i]; e.Seq <= position {
						addKind(want, kindOf(e))
					}
				}
				for h, k := range want {
					got := told[h]
					if got.First > k.First || got.Last < k.Last || got.Template != k.Template || got.Service != k.Service || got.Level != k.Level {
						t.Fatalf("up to %d: told of %+v, want %+v", position, got, k)
					}
				}
			}
			var b event.Batch
			for range 12 {
				b.Reset()
				for range rng.IntN(500) {
					e := c.event(&b)
					if rng.IntN(3) > 0 {
						e.Message = b.CopyString(fmt.Sprintf([]string{"order %d failed", "user added %x", "GET /a/%d took 5ms", "Traceback (most recent call last):\n x\nKeyError: %d", "\n\nfirst %d"}[rng.IntN(5)], rng.Uint32()))
					}
				}
				if err := s.Append(t.Context(), &b); err != nil {
					t.Fatal(err)
				}
				for i := range b.Events {
					e := b.Events[i].Clone()
					e.Seq = uint64(len(all) + 1)
					all = append(all, e)
				}
				if rng.IntN(3) > 0 {
					seal(t, s)
				}
				if rng.IntN(2) == 0 {
					read(1 + rng.IntN(3))
				}
				if rng.IntN(4) == 0 {
					if err := compactByHand(s); err != nil {
						t.Fatal(err)
					}
				}
				if rng.IntN(5) == 0 {
					if err := s.Close(t.Context()); err != nil {
						t.Fatal(err)
					}
					s = open(t, Options{Dir: dir, byHand: true})
				}
				for range 6 {
					r := query.KindsRequest{Query: parse(t, queries[rng.IntN(len(queries))])}
					if rng.IntN(2) == 0 {
						r.Since = 1 + int64(rng.IntN(60))*1e9
						r.Until = r.Since + 1 + int64(rng.IntN(60))*1e9
						r.Steps = rng.IntN(10)
					}
					compareKinds(t, s, all, r)
					compareFields(t, s, all, query.FieldsRequest{Query: r.Query, Since: r.Since, Until: r.Until})
				}
			}
			seal(t, s)
			read(100)
			if len(told) == 0 || position != uint64(len(all)) {
				t.Fatalf("%d kinds up to %d of %d", len(told), position, len(all))
			}
			want := map[uint64]query.Kind{}
			for i := range all {
				addKind(want, kindOf(&all[i]))
			}
			if d := cmp.Diff(want, told); d != "" {
				t.Error(d)
			}
		})
	}
}

func compareKinds(t *testing.T, s *Store, all []event.Event, r query.KindsRequest) {
	t.Helper()
	got, err := s.Kinds(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	want := map[uint64]*query.KindCount{}
	matched := int64(0)
	for _, e := range brute(all, query.Request{Query: r.Query, Since: r.Since, Until: r.Until}) {
		matched++
		k := kindOf(&e)
		w := want[k.Hash]
		if w == nil {
			w = &query.KindCount{Kind: k}
			if r.Steps > 0 {
				w.Steps = make([]int64, r.Steps)
			}
			want[k.Hash] = w
		}
		w.First, w.Last = min(w.First, e.Time), max(w.Last, e.Time)
		w.Events++
		if r.Steps > 0 {
			step := (r.Until - r.Since + int64(r.Steps) - 1) / int64(r.Steps)
			w.Steps[(e.Time-r.Since)/step]++
		}
	}
	if got.Summary.Matched != matched || got.Other != 0 || len(got.List) != len(want) {
		t.Fatalf("%s: %d matched of %d kinds, want %d of %d", r.Query, got.Summary.Matched, len(got.List), matched, len(want))
	}
	for _, k := range got.List {
		if p := mask.Pattern(nil, k.Sample); len(k.Sample) < maxSample && string(p) != k.Template {
			t.Fatalf("%s: sample %q of %q", r.Query, k.Sample, k.Template)
		}
		k.Sample = nil
		if d := cmp.Diff(want[k.Hash], &k); d != "" {
			t.Fatalf("%s: %s", r.Query, d)
		}
	}
}

func compareFields(t *testing.T, s *Store, all []event.Event, r query.FieldsRequest) {
	t.Helper()
	got, err := s.Fields(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	type facts struct {
		events int64
		values [event.JSON + 1]int64
		texts  map[string]bool
	}
	want := map[string]*facts{}
	matched := int64(0)
	for _, e := range brute(all, query.Request{Query: r.Query, Since: r.Since, Until: r.Until}) {
		matched++
		seen := map[string]bool{}
		for _, f := range e.Fields {
			w := want[string(f.Name)]
			if w == nil {
				w = &facts{texts: map[string]bool{}}
				want[string(f.Name)] = w
			}
			w.values[f.Kind]++
			w.texts[string(f.Value)] = true
			if !seen[string(f.Name)] {
				seen[string(f.Name)] = true
				w.events++
			}
		}
	}
	if got.Summary.Matched != matched || got.More {
		t.Fatalf("%s: %d matched, want %d", r.Query, got.Summary.Matched, matched)
	}
	var names []string
	for _, f := range got.List {
		names = append(names, f.Name)
		w := want[f.Name]
		if w == nil || f.Events != w.events || f.Values != w.values || f.Distinct != float64(len(w.texts)) || f.AtLeast {
			t.Fatalf("%s: %+v, want %+v", r.Query, f, w)
		}
	}
	if wanted := slices.Sorted(maps.Keys(want)); !slices.Equal(names, wanted) {
		t.Fatalf("%s: fields %q, want %q", r.Query, names, wanted)
	}
}

// What seals have noted is told without reading segments, and never what is not there any more.
func TestPatternsOfSeals(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, byHand: true})
	position := uint64(0)
	patterns := func() (list []string) {
		t.Helper()
		for {
			next, err := s.Patterns(t.Context(), position, func() error { return nil }, func(k *query.Kind) error {
				list = append(list, fmt.Sprintf("%s %d-%d", k.Template, k.First, k.Last))
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if next == position {
				slices.Sort(list)
				return slices.Compact(list)
			}
			position = next
		}
	}
	at := int64(0)
	say := func(texts ...string) {
		t.Helper()
		var b event.Batch
		for _, text := range texts {
			at++
			line(&b, "shop", text, at)
		}
		if err := s.Append(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		seal(t, s)
	}
	want := func(read bool, want ...string) {
		t.Helper()
		if d := cmp.Diff(want, patterns()); d != "" {
			t.Error(d)
		}
		if was := s.kinds.blocks > 0; was != read {
			t.Errorf("segments were read: %v", was)
		}
		s.kinds.blocks = 0
	}
	say("order 1 sent", "order 2 sent")
	want(true, "order # sent 1-2") // nobody had asked
	say("order 3 sent", "order 4 lost")
	say("order 5 sent", strings.Repeat("long ", 10_000))
	want(false, strings.TrimSpace("long "+strings.Repeat("long ", 101)+"lo")+" 6-6", "order # lost 4-4", "order # sent 3-5")
	want(false)

	// After a start, and when an answer did not come through, it is read.
	say("order 7 sent")
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s = open(t, Options{Dir: dir, byHand: true})
	say("order 8 sent")
	want(true, "order # sent 7-7", "order # sent 8-8")
	say("order 9 sent")
	stop := errors.New("stop")
	if next, err := s.Patterns(t.Context(), position, func() error { return stop }, func(*query.Kind) error { return nil }); next != position || err != stop {
		t.Fatal(next, err)
	}
	want(true, "order # sent 9-9")

	// Too many to be kept.
	say("order 10 sent")
	var texts []string
	for i := range maxSealedKinds {
		texts = append(texts, "kind "+strings.Map(func(r rune) rune { return 'g' + r - '0' }, fmt.Sprint(i)))
	}
	say(texts...)
	if got := patterns(); len(got) != len(texts)+1 {
		t.Errorf("%d patterns of %d", len(got), len(texts)+1)
	}
	s.kinds.blocks = 0
	say("order 11 sent")
	want(false, fmt.Sprintf("order # sent %d-%d", at, at))

	// What was deleted before it was told is not told.
	say("secret word", "order 12 sent")
	if _, err := s.Delete(t.Context(), query.DeleteRequest{DeleteScope: query.DeleteScope{Query: parse(t, "secret")}}); err != nil {
		t.Fatal(err)
	}
	if err := deleteByHand(s); err != nil {
		t.Fatal(err)
	}
	want(true, fmt.Sprintf("order # sent %d-%d", at, at))
}

// An error of the caller's ends the reading, and nothing is taken for read.
func TestPatternsStop(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), byHand: true})
	var b event.Batch
	for range 10 {
		e := b.Add()
		e.Service, e.Message, e.Time = []byte("a"), []byte("x"), 5
	}
	if err := s.Append(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	ok, fail := func() error { return nil }, func() error { return stop }
	none := func(*query.Kind) error { return nil }
	if next, err := s.Patterns(t.Context(), 0, fail, none); next != 0 || err != nil {
		t.Errorf("before a seal: %d, %v", next, err)
	}
	seal(t, s)
	if next, err := s.Patterns(t.Context(), 0, fail, none); next != 0 || err != stop {
		t.Errorf("rest fails: %d, %v", next, err)
	}
	if next, err := s.Patterns(t.Context(), 0, ok, func(*query.Kind) error { return stop }); next != 0 || err != stop {
		t.Errorf("fn fails: %d, %v", next, err)
	}
	if next, err := s.Patterns(t.Context(), 0, ok, none); next != 10 || err != nil {
		t.Errorf("read: %d, %v", next, err)
	}
	if next, err := s.Patterns(t.Context(), 11, ok, none); next != 10 || err != nil {
		t.Errorf("from beyond the end: %d, %v", next, err)
	}
	if next, err := s.Patterns(t.Context(), 10, ok, none); next != 10 || err != nil {
		t.Errorf("nothing new: %d, %v", next, err)
	}
}

// Words that look like ids stay in forms and in patterns, and are found all the same, with filters that have their keys.
func TestWordsInForms(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), byHand: true, CompactShare: 1})
	texts := []string{"user added to s3 over HTTP2", "the feed node3 is dead: utf8 or sha256", "ADDED by crc32c", "nothing of the kind", "abcdef beefed http4"}
	for round := range 3 {
		var b event.Batch
		for i := range 50 {
			for _, text := range texts {
				line(&b, "web", fmt.Sprint(text, " ", i), int64(round*100+i+1))
				b.AddField(&b.Events[len(b.Events)-1], event.Field{Name: []byte("proto"), Value: []byte(text)})
			}
		}
		if err := s.Append(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		seal(t, s)
	}
	for _, merged := range []bool{false, true} {
		for q, want := range map[string]int{
			"added": 300, "Added": 0, "ADDED": 150, "http2": 150, "s3": 150, "feed dead": 150, "sha256": 150, `"\bcrc32c\b"`: 0, `~"\bcrc32c\b"`: 150, `~"\badded\b"`: 150, "crc32": 150, "node3": 150, "http4": 150,
			"proto:*added*": 300, `proto~"\bhttp2"`: 0, `proto~"HTTP2$"`: 150, `proto:"nothing of the kind"`: 150, "-feed": 600, "cafe": 0, "message:ed25519": 0,
		} {
			n := 0
			if _, err := s.Search(t.Context(), query.Request{Query: parse(t, q)}, func(query.Row) error { n++; return nil }); err != nil || n != want {
				t.Errorf("%s, merged %v: %d found, want %d, %v", q, merged, n, want, err)
			}
		}
		if err := mergeByHand(s, 0, len(s.segments)); !merged && err != nil {
			t.Fatal(err)
		}
	}
	kinds, err := s.Kinds(t.Context(), query.KindsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range kinds.List {
		got = append(got, k.Template)
	}
	slices.Sort(got)
	if d := cmp.Diff([]string{"# # # #", "ADDED by crc32c #", "nothing of the kind #", "the feed # is dead: utf8 or sha256 #", "user added to s3 over HTTP2 #"}, got); d != "" {
		t.Error(d)
	}
	if v, err := s.Verify(t.Context(), true, nil); err != nil || len(v.Problems) > 0 {
		t.Errorf("%+v, %v", v, err)
	}
}
