package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/index"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/leak"
	"github.com/lookoutlog/lookout/internal/mask"
)

func TestMain(m *testing.M) { leak.VerifyTestMain(m) }

// source is a store of kinds: entry i is sealed at sequence i+1.
type source struct {
	sealed [][]query.Kind
	reads  int
}

func (s *source) Patterns(_ context.Context, after uint64, rest func() error, fn func(*query.Kind) error) (uint64, error) {
	if int(after) >= len(s.sealed) {
		return after, nil
	}
	s.reads++
	for _, k := range s.sealed[after] {
		if err := fn(&k); err != nil {
			return after, err
		}
		if err := rest(); err != nil {
			return after, err
		}
	}
	return after + 1, nil
}

func (s *source) Sealed() uint64 { return uint64(len(s.sealed)) }

func kind(service string, level event.Level, template string, first, last int64) query.Kind {
	return query.Kind{Hash: mask.Hash(service, level, []byte(template), new([]byte)), Service: service, Level: level, Template: template, First: first, Last: last}
}

func open(t testing.TB, o Options) *Catalog {
	t.Helper()
	o.Share = 1
	c, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func catchUp(t testing.TB, c *Catalog) {
	t.Helper()
	if err := c.catchUp(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// all returns what the ledger has.
func all(t testing.TB, c *Catalog) map[uint64]query.Kind {
	t.Helper()
	out := map[uint64]query.Kind{}
	if err := c.Each(func(k *query.Kind) bool {
		if _, twice := out[k.Hash]; twice {
			t.Errorf("%+v is there twice", k)
		}
		out[k.Hash] = *k
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// found returns the templates that a search finds, sorted.
func found(t testing.TB, c *Catalog, r query.KindSearch) []string {
	t.Helper()
	if r.Limit == 0 {
		r.Limit = query.MaxFoundKinds
	}
	a, err := c.Search(t.Context(), r)
	if err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	if min(a.Total, r.Limit) != len(a.Kinds) {
		t.Errorf("%+v: %d kinds of %d", r, len(a.Kinds), a.Total)
	}
	var out []string
	for _, k := range a.Kinds {
		out = append(out, k.Template)
	}
	slices.Sort(out)
	return out
}

func TestSearch(t *testing.T) {
	s := &source{sealed: [][]query.Kind{{
		kind("shop", event.Error, "refund of order # failed", 1, 5),
		kind("shop", event.Info, "card refund done", 2, 2),
		kind("shop-web", event.Warning, "RefundService: gateway timeout after #", 3, 4),
		kind("pay", event.Error, "HTTPServer größe refund_failed", 3, 4),
		kind("pay", event.None, "", 3, 4),
	}, {
		kind("pay", event.Error, "failed refund", 9, 9),
	}}}
	c := open(t, Options{Dir: t.TempDir(), Source: s})
	if _, err := c.Search(t.Context(), query.KindSearch{Text: "refund"}); err != query.ErrCatalogBuilding {
		t.Fatalf("before there is an index: %v", err)
	}
	catchUp(t, c)
	const order, card, web, server, back = "refund of order # failed", "card refund done", "RefundService: gateway timeout after #", "HTTPServer größe refund_failed", "failed refund"
	for _, tt := range []struct {
		r    query.KindSearch
		want []string
	}{
		{query.KindSearch{}, []string{"", order, card, web, server, back}},
		{query.KindSearch{Text: "refund"}, []string{order, card, web, server, back}},
		{query.KindSearch{Text: "REFUND"}, []string{order, card, web, server, back}},
		{query.KindSearch{Text: "refund failed"}, []string{order, server, back}},
		{query.KindSearch{Text: `"refund failed"`}, []string{server}},
		{query.KindSearch{Text: `"order failed"`}, nil},
		{query.KindSearch{Text: `"of order"`}, []string{order}},
		{query.KindSearch{Text: `"order # failed"`}, []string{order}},
		{query.KindSearch{Text: `"# failed"`}, []string{order, server, back}},
		{query.KindSearch{Text: `"refund # failed"`}, nil},
		{query.KindSearch{Text: "refund -failed"}, []string{card, web}},
		{query.KindSearch{Text: "-refund"}, []string{""}},
		{query.KindSearch{Text: `refund -"failed refund"`}, []string{order, card, web, server}},
		{query.KindSearch{Text: "RefundService"}, []string{web}},
		{query.KindSearch{Text: "refundservice"}, []string{web}},
		{query.KindSearch{Text: "service"}, []string{web}},
		{query.KindSearch{Text: `"refund service gateway"`}, []string{web}},
		{query.KindSearch{Text: `"RefundService gateway"`}, []string{web}},
		{query.KindSearch{Text: "http"}, []string{server}},
		{query.KindSearch{Text: "httpserver"}, []string{server}},
		{query.KindSearch{Text: "GRÖSSE"}, nil},
		{query.KindSearch{Text: "GRÖßE"}, []string{server}},
		{query.KindSearch{Text: "refund_failed"}, []string{server}},
		{query.KindSearch{Text: "gate*"}, []string{web}},
		{query.KindSearch{Text: "refund_fai*"}, []string{order, server, back}},
		{query.KindSearch{Text: "RefundS*"}, []string{web}},
		{query.KindSearch{Text: "gatewya~"}, []string{web}},
		{query.KindSearch{Text: "gatweay~1"}, []string{web}},
		{query.KindSearch{Text: "gtwya~1"}, nil},
		{query.KindSearch{Text: "gtewy~2"}, []string{web}},
		{query.KindSearch{Text: "refund", Service: "shop"}, []string{order, card}},
		{query.KindSearch{Text: "refund", Service: "shop*"}, []string{order, card, web}},
		{query.KindSearch{Service: "p?y", Levels: []event.Level{event.Error}}, []string{server, back}},
		{query.KindSearch{Levels: []event.Level{event.Warning, event.Info}}, []string{card, web}},
		{query.KindSearch{Service: "nosuch"}, nil},
	} {
		slices.Sort(tt.want)
		if got := found(t, c, tt.r); !slices.Equal(got, tt.want) {
			t.Errorf("%+v: %q, want %q", tt.r, got, tt.want)
		}
	}
	for _, tt := range []struct {
		r    query.KindSearch
		want []string // in this order
	}{
		{query.KindSearch{Order: query.ByFirst, Limit: 1}, []string{back}},
		{query.KindSearch{Order: query.ByFirst, Limit: 9, Service: "shop*"}, []string{web, card, order}},
		{query.KindSearch{Order: query.ByLast, Limit: 2}, []string{back, order}},
		{query.KindSearch{Order: query.ByLast, Limit: 2, Levels: []event.Level{event.Warning, event.Info}}, []string{web, card}},
	} {
		a, err := c.Search(t.Context(), tt.r)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, k := range a.Kinds {
			got = append(got, k.Template)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%+v: %q, want %q", tt.r, got, tt.want)
		}
	}
	for _, bad := range []string{`"open`, `""`, "*", "~", "#", "- x", strings.Repeat("x ", 33), strings.Repeat("x", 1001), "\xff"} {
		if _, err := c.Search(t.Context(), query.KindSearch{Text: bad}); !errors.As(err, new(*query.KindTextError)) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	a, err := c.Search(t.Context(), query.KindSearch{Text: "refund", Limit: 2, Facets: true})
	if err != nil || a.Total != 5 || len(a.Kinds) != 2 {
		t.Fatal(a, err)
	}
	if d := cmp.Diff([]query.KindFacet{{Name: "pay", Kinds: 2}, {Name: "shop", Kinds: 2}, {Name: "shop-web", Kinds: 1}}, a.Services); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]query.KindFacet{{Name: "error", Kinds: 3}, {Name: "info", Kinds: 1}, {Name: "warning", Kinds: 1}}, a.Levels); d != "" {
		t.Error(d)
	}
	if a, err = c.Search(t.Context(), query.KindSearch{Facets: true}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]query.KindFacet{{Name: "pay", Kinds: 3}, {Name: "shop", Kinds: 2}, {Name: "shop-web", Kinds: 1}}, a.Services); d != "" {
		t.Error(d)
	}
	seen, err := c.Lookup([]uint64{s.sealed[0][0].Hash, 17})
	if err != nil || len(seen) != 1 || seen[s.sealed[0][0].Hash] != (query.KindTimes{First: 1, Last: 5}) {
		t.Error(seen, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Search(ctx, query.KindSearch{Text: "refund"}); !errors.Is(err, context.Canceled) || c.damaged.Load() {
		t.Errorf("a search that ended: %v", err)
	}
}

// Beyond the limit of a service there is one more kind, whatever comes.
func TestTooManyKinds(t *testing.T) {
	var many []query.Kind
	for i := range 20 {
		many = append(many, kind("a", event.Info, fmt.Sprint("word", i), int64(100+i), int64(200+i)))
	}
	dir := t.TempDir()
	s := &source{sealed: [][]query.Kind{many, {kind("b", event.Info, "x", 1, 1), many[3]}, {kind("a", event.Error, "late", 50, 500)}}}
	for range 2 { // the second time from the file
		c := open(t, Options{Dir: dir, Source: s, maxKinds: 10})
		catchUp(t, c)
		st, err := c.Status()
		if err != nil || st.Kinds != 11 || st.Services != 2 || st.Indexed != 11 || st.Position != 3 || !st.Ready || st.Building || st.Bytes == 0 {
			t.Fatalf("%+v, %v", st, err)
		}
		if d := cmp.Diff([]query.KindsBeyond{{Service: "a", KindTimes: query.KindTimes{First: 50, Last: 500}}}, st.Beyond); d != "" {
			t.Error(d)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A feed that is larger than memory may be is written in parts, with the position last.
func TestLargeFeed(t *testing.T) {
	var many []query.Kind
	for i := range feedMost + 5 {
		many = append(many, kind(fmt.Sprint("s", i%3), event.Info, fmt.Sprint("word", i), int64(i), int64(i)))
	}
	c := open(t, Options{Dir: t.TempDir(), Source: &source{sealed: [][]query.Kind{many}}})
	catchUp(t, c)
	if n := len(all(t, c)); n != len(many) {
		t.Errorf("%d kinds, want %d", n, len(many))
	}
	if n := len(found(t, c, query.KindSearch{Text: "word17"})); n != 1 {
		t.Errorf("found %d", n)
	}
}

// TestLedgerEqualsBruteForce compares the ledger with all events that were ever sealed, over a store's seals, merges and restarts,
// and restarts of the catalogue at any point.
func TestLedgerEqualsBruteForce(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 4))
			dir, data := t.TempDir(), t.TempDir()
			openStore := func() *index.Store {
				s, err := index.Open(index.Options{Dir: dir, Free: func() (uint64, uint64, error) { return 0, 0, nil }, NoSync: true, HeadBytes: 256 << 10, CompactShare: 1})
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			s := openStore()
			want := map[uint64]query.Kind{}
			words := strings.Fields("order user card refund failed done added dead größe timeout HTTPServer")
			var b event.Batch
			now := int64(1_700_000_000e9)
			for range 25 {
				for range 1 + rng.IntN(3) {
					b.Reset()
					for range 1 + rng.IntN(400) {
						e := b.Add()
						now += rng.Int64N(1e9)
						e.Time, e.Level = now-rng.Int64N(60e9), event.Level(rng.IntN(int(event.Debug)+1))
						e.Service = b.CopyString([]string{"", "a", "b", "c"}[rng.IntN(4)])
						var text strings.Builder
						for range rng.IntN(4) {
							text.WriteString(words[rng.IntN(len(words))] + " ")
							if rng.IntN(2) == 0 {
								fmt.Fprintf(&text, "%x ", rng.Uint32())
							}
						}
						e.Message = b.CopyString(text.String())
						template := mask.Pattern(nil, e.Message)
						k := kind(string(e.Service), e.Level, string(template), e.Time, e.Time)
						if old, ok := want[k.Hash]; ok {
							k.First, k.Last = min(old.First, k.First), max(old.Last, k.Last)
						}
						want[k.Hash] = k
					}
					for err := s.Append(t.Context(), &b); err != nil; err = s.Append(t.Context(), &b) {
						var pressure interface{ RetryAfter() time.Duration }
						if !errors.As(err, &pressure) { // else a seal takes longer than Append waits: it has waited for a while
							t.Fatal(err)
						}
					}
				}
				switch rng.IntN(4) {
				case 0, 1: // what is in memory is sealed, and merges go on
					if err := s.Close(t.Context()); err != nil {
						t.Fatal(err)
					}
					s = openStore()
				}
				if rng.IntN(2) == 0 {
					c := open(t, Options{Dir: data, Source: s})
					if c.index == nil {
						catchUp(t, c)
					}
					for range rng.IntN(4) {
						if _, err := c.step(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
					if err := c.Close(); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := s.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			s = openStore()
			defer s.Close(t.Context())
			c := open(t, Options{Dir: data, Source: s})
			catchUp(t, c)
			if d := cmp.Diff(want, all(t, c)); d != "" {
				t.Fatal(d)
			}
			templates := map[string]bool{}
			for _, k := range want {
				if k.Service == "a" && slices.Contains(strings.Fields(k.Template), "refund") {
					templates[k.Template] = true
				}
			}
			got := slices.Compact(found(t, c, query.KindSearch{Text: "refund", Service: "a"}))
			if !slices.Equal(got, slices.Sorted(maps.Keys(templates))) {
				t.Errorf("%d templates are found, want %d", len(got), len(templates))
			}
		})
	}
}

func TestForget(t *testing.T) {
	s := &source{sealed: [][]query.Kind{{
		kind("shop", event.Error, "secret of alice", 1, 5), kind("shop", event.Info, "secret of alice", 1, 5), kind("shop", event.Info, "open", 1, 5),
		kind("gone", event.Error, "secret of bob", 1, 5),
	}}}
	dir := t.TempDir()
	c := open(t, Options{Dir: dir, Source: s})
	catchUp(t, c)
	secret := func(_, template string) bool { return strings.HasPrefix(template, "secret") }
	if n, err := c.Forget(t.Context(), func(string, string) bool { return false }); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := c.Forget(t.Context(), secret); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	check := func(c *Catalog) {
		t.Helper()
		if got := found(t, c, query.KindSearch{}); !slices.Equal(got, []string{"open"}) {
			t.Errorf("left: %q", got)
		}
		st, err := c.Status()
		if err != nil || st.Kinds != 1 || st.Services != 1 || st.Indexed != 1 || st.Position != 1 {
			t.Errorf("%+v, %v", st, err)
		}
		if seen, err := c.Lookup([]uint64{s.sealed[0][0].Hash}); err != nil || len(seen) != 0 {
			t.Error(seen, err)
		}
	}
	check(c)
	holds(t, dir, "alice", false)
	holds(t, dir, "open", true)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = open(t, Options{Dir: dir, Source: s})
	catchUp(t, c)
	check(c)
	// What is seen again is there again.
	s.sealed = append(s.sealed, []query.Kind{kind("shop", event.Error, "secret of alice", 7, 8)})
	catchUp(t, c)
	if k := all(t, c)[s.sealed[1][0].Hash]; k.First != 7 || k.Last != 8 {
		t.Errorf("seen again: %+v", k)
	}
}

// holds tells whether some file below dir has a text.
func holds(t *testing.T, dir, text string, want bool) {
	t.Helper()
	found := false
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(text)) {
			found = true
			if !want {
				t.Errorf("%s holds %q", path, text)
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if want && !found {
		t.Errorf("no file holds %q", text)
	}
}

// TestCrash copies the files at each step of building and forgetting, and opens the copies: what a kill leaves.
func TestCrash(t *testing.T) {
	s := &source{sealed: [][]query.Kind{{
		kind("shop", event.Error, "secret of alice", 1, 5), kind("shop", event.Info, "open", 1, 5), kind("pay", event.Info, "door", 1, 5),
	}}}
	dir := t.TempDir()
	copies := map[string]string{}
	crashing := false
	o := Options{Dir: dir, Source: s, hook: func(at string) {
		if crashing {
			to := filepath.Join(t.TempDir(), "data")
			if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			copies[fmt.Sprint(len(copies), " ", at)] = to
		}
	}}
	c := open(t, o)
	catchUp(t, c)
	crashing = true
	if err := c.Rebuild(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	rebuilds := len(copies)
	if _, err := c.Forget(t.Context(), func(_, template string) bool { return template == "secret of alice" }); err != nil {
		t.Fatal(err)
	}
	crashing = false
	if rebuilds < 3 || len(copies) < rebuilds+6 {
		t.Fatalf("%d and %d points", rebuilds, len(copies))
	}
	for at, data := range copies {
		var n int
		if _, err := fmt.Sscan(at, &n); err != nil {
			t.Fatal(err)
		}
		c := open(t, Options{Dir: data, Source: s})
		catchUp(t, c)
		want := []string{"door", "open"}
		if n < rebuilds {
			want = append(want, "secret of alice")
		}
		if got := found(t, c, query.KindSearch{}); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", at, got, want)
		}
		if n := len(all(t, c)); n != len(want) {
			t.Errorf("%s: %d kinds in the ledger, want %d", at, n, len(want))
		}
		if n >= rebuilds {
			holds(t, data, "alice", false)
		}
		list, err := c.generations()
		if err != nil || len(list) != 1 {
			t.Errorf("%s: indexes %v, %v", at, list, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Searches are answered while an index is built, and what is fed meanwhile is in it.
func TestRebuild(t *testing.T) {
	s := &source{sealed: [][]query.Kind{{kind("shop", event.Error, "one", 1, 5)}}}
	dir := t.TempDir()
	meanwhile := func() {}
	o := Options{Dir: dir, Source: s, hook: func(at string) {
		if at == "built" {
			meanwhile()
		}
	}}
	c := open(t, o)
	catchUp(t, c)
	meanwhile = func() {
		s.sealed = append(s.sealed, []query.Kind{kind("shop", event.Error, "two", 1, 5)})
		if _, err := c.step(t.Context()); err != nil {
			t.Error(err)
		}
		if err := c.extendIndex(t.Context()); err != nil {
			t.Error(err)
		}
		if got := found(t, c, query.KindSearch{Text: "one"}); !slices.Equal(got, []string{"one"}) {
			t.Errorf("meanwhile: %q", got)
		}
		if got := found(t, c, query.KindSearch{Text: "two"}); !slices.Equal(got, []string{"two"}) {
			t.Errorf("meanwhile: %q", got)
		}
		if st, err := c.Status(); err != nil || !st.Building || st.Done != 1 || st.Total != 1 {
			t.Errorf("%+v %v", st, err)
		}
	}
	var told []string
	if err := c.Rebuild(t.Context(), func(done, total int64) { told = append(told, fmt.Sprint(done, "/", total)) }); err != nil {
		t.Fatal(err)
	}
	if got := found(t, c, query.KindSearch{}); !slices.Equal(got, []string{"one", "two"}) || strings.Join(told, " ") != "0/1 1/1 2/2" {
		t.Errorf("%q %q", got, told)
	}
	// One that is ended leaves the old one.
	meanwhile = func() {}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Rebuild(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if got := found(t, c, query.KindSearch{}); len(got) != 2 {
		t.Errorf("%q", got)
	}
	if list, err := c.generations(); err != nil || len(list) != 1 {
		t.Error(list, err)
	}
}

// Two catalogues of one process build their indexes at once, each in its own folder.
func TestTwoRebuilds(t *testing.T) {
	var building sync.WaitGroup
	for _, template := range []string{"one", "two"} {
		c := open(t, Options{Dir: t.TempDir(), Source: &source{sealed: [][]query.Kind{{kind("shop", event.Error, template, 1, 5)}}}})
		building.Go(func() {
			for range 3 {
				if err := c.catchUp(context.Background()); err != nil {
					t.Error(err)
				}
				if err := c.Rebuild(context.Background(), nil); err != nil {
					t.Error(err)
				}
			}
			if a, err := c.Search(context.Background(), query.KindSearch{Limit: 10}); err != nil || len(a.Kinds) != 1 || a.Kinds[0].Template != template {
				t.Errorf("%+v %v, want %q", a, err, template)
			}
		})
	}
	building.Wait()
}

// An index that is missing, flipped, of another version or of another ledger is built anew.
func TestIndexThatCannotBeUsed(t *testing.T) {
	s := &source{sealed: [][]query.Kind{{kind("shop", event.Error, "one of some words", 1, 5), kind("shop", event.Info, "two of others", 1, 5)}}}
	dir := t.TempDir()
	c := open(t, Options{Dir: dir, Source: s})
	catchUp(t, c)
	path := c.index.path
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	zaps, err := filepath.Glob(filepath.Join(path, "store", "*.zap"))
	if err != nil || len(zaps) == 0 {
		t.Fatal(zaps, err)
	}
	name, err := filepath.Rel(dir, zaps[0])
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(zaps[0])
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, spoil func(data string)) {
		t.Helper()
		data := filepath.Join(t.TempDir(), "data")
		if err := os.CopyFS(data, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		spoil(data)
		var log bytes.Buffer
		c := open(t, Options{Dir: data, Source: s, Log: slog.New(slog.NewTextHandler(&log, nil))})
		if used := c.index != nil; used != (what == "") && what != "a file missing" {
			t.Errorf("%s: the index is used: %v\n%s", what, used, log.String())
		}
		catchUp(t, c)
		if got := found(t, c, query.KindSearch{}); len(got) != 2 {
			t.Errorf("%s: %q", what, got)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check("", func(string) {})
	check("missing", func(data string) { must(os.RemoveAll(filepath.Join(data, "catalog"))) })
	// bleve may then go back to the empty index of before, which is right, and is extended.
	check("a file missing", func(data string) { must(os.Remove(filepath.Join(data, name))) })
	check("a file cut", func(data string) { must(os.Truncate(filepath.Join(data, name), 3)) })
	for i := 0; i < len(whole); i += max(len(whole)/20, 1) {
		check(fmt.Sprint("bit flipped in byte ", i), func(data string) {
			flipped := bytes.Clone(whole)
			flipped[i] ^= 1 << (i % 8)
			must(os.WriteFile(filepath.Join(data, name), flipped, 0o600))
		})
	}
	check("meta cut", func(data string) {
		rel, err := filepath.Rel(dir, filepath.Join(path, "index_meta.json"))
		must(err)
		must(os.Truncate(filepath.Join(data, rel), 0))
	})
	for what, change := range map[string]func(x *textIndex){
		"another version": func(x *textIndex) { x.state.Version++ },
		"another ledger":  func(x *textIndex) { x.state.Ledger = "x" },
		"not whole":       func(x *textIndex) { x.state.Whole = false },
		"one too many":    func(x *textIndex) { must(x.add([]uint64{0}, []query.Kind{{}}, false)) },
	} {
		check(what, func(data string) {
			c := open(t, Options{Dir: data, Source: s})
			change(c.index)
			must(c.index.add(nil, nil, false))
			must(c.Close())
		})
	}
}

// What a crash has left between ledger and index is indexed by the next start.
func TestLedgerAheadOfIndex(t *testing.T) {
	s := &source{sealed: [][]query.Kind{{kind("shop", event.Error, "one", 1, 5)}}}
	dir := t.TempDir()
	c := open(t, Options{Dir: dir, Source: s})
	catchUp(t, c)
	two := kind("shop", event.Error, "two", 1, 5)
	if err := c.ledger.write(map[uint64]*query.Kind{two.Hash: &two}, 2); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = open(t, Options{Dir: dir, Source: s})
	before := c.index
	catchUp(t, c)
	if got := found(t, c, query.KindSearch{}); !slices.Equal(got, []string{"one", "two"}) || c.index != before {
		t.Errorf("%q", got)
	}
}

func TestLedgerThatCannotBeRead(t *testing.T) {
	s := &source{sealed: [][]query.Kind{{kind("shop", event.Error, "one", 1, 5)}}}
	dir := t.TempDir()
	c := open(t, Options{Dir: dir, Source: s})
	catchUp(t, c)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "ledger.db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	setVersion := func(v byte) {
		if err := db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Put(keyVersion, []byte{v}) }); err != nil {
			t.Fatal(err)
		}
	}
	setVersion(2)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir, Source: s}); !errors.Is(err, errLedgerVersion) {
		t.Fatalf("a later version: %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Error("the file has changed", err)
	}
	for what, data := range map[string][]byte{"no bbolt": []byte("hello"), "pages gone": append(bytes.Clone(before[:8192]), make([]byte, len(before)-8192)...)} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		c := open(t, Options{Dir: dir, Source: s, Log: slog.New(slog.NewTextHandler(&log, nil))})
		catchUp(t, c)
		if n := len(all(t, c)); n != 1 || !strings.Contains(log.String(), "put aside") {
			t.Errorf("%s: %d kinds, %s", what, n, log.String())
		}
		asides, err := filepath.Glob(path + ".damaged-*")
		if err != nil || len(asides) != 1 {
			t.Fatal(what, asides, err)
		}
		if kept, err := os.ReadFile(asides[0]); err != nil || !bytes.Equal(kept, data) {
			t.Errorf("%s: what was put aside has changed", what)
		}
		if err := errors.Join(c.Close(), os.Remove(asides[0])); err != nil {
			t.Fatal(err)
		}
	}
}

// While much comes in, what is sealed is read only now and then.
func TestDue(t *testing.T) {
	s := &source{}
	c := open(t, Options{Dir: t.TempDir(), Source: s})
	at := time.Unix(1000, 0)
	for i, tt := range []struct {
		after time.Duration
		seals int
		due   bool
	}{
		{0, 0, true},                // an index may be missing
		{5 * time.Second, 1, false}, // something new: there may be more
		{5 * time.Second, 0, true},
		{5 * time.Second, 0, true},
		{5 * time.Second, 2, false},
		{5 * time.Second, 1, false},
		{40 * time.Second, 1, false},
		{10 * time.Second, 1, false},
		{5 * time.Second, 1, true}, // it has waited for long enough
		{5 * time.Second, 1, false},
	} {
		at = at.Add(tt.after)
		for range tt.seals {
			s.sealed = append(s.sealed, nil)
		}
		due := c.due(at)
		if due != tt.due {
			t.Errorf("%d: due %v", i, due)
		}
		if due {
			catchUp(t, c)
		}
	}
}

// Run feeds until it is told to stop, and lets go of a segment for whoever wants to forget.
func TestRun(t *testing.T) {
	s := &source{sealed: [][]query.Kind{{kind("shop", event.Error, "one", 1, 5), kind("shop", event.Error, "two", 1, 5)}}}
	c := open(t, Options{Dir: t.TempDir(), Source: s})
	c.wanted.Add(1)
	if more, err := c.step(t.Context()); !more || err != nil {
		t.Error(more, err)
	}
	if c.ledger.position() != 0 {
		t.Error("read, although another wants it")
	}
	c.wanted.Add(-1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	for {
		st, err := c.Status()
		if err != nil {
			t.Fatal(err)
		}
		if st.Position == 1 && st.Indexed == 2 {
			break
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
