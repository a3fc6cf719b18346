package alerting_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/loadgen"
)

// feed hands out one batch again and again, up to a number of events.
type feed struct {
	batch []event.Event
	left  int
	seq   uint64
	done  context.CancelFunc
}

func (f *feed) Follow(uint64) query.Follower { return f }
func (f *feed) LastSeq() uint64              { return 0 }
func (f *feed) Position() uint64             { return f.seq }
func (f *feed) Close()                       {}

func (f *feed) Next(ctx context.Context) ([]event.Event, error) {
	if f.left <= 0 {
		f.done()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	n := min(f.left, len(f.batch))
	f.left -= n
	for i := range n {
		f.seq++
		f.batch[i].Seq = f.seq
	}
	return f.batch[:n], nil
}

// BenchmarkFollow is the cost of an event under the two default rules and one for events of interest.
func BenchmarkFollow(b *testing.B) {
	for _, bm := range []struct {
		name    string
		matches int // in a batch of 1,000
	}{{"no match", 0}, {"1 in 1000", 1}, {"all", 1000}} {
		b.Run(bm.name, func(b *testing.B) {
			db := openDB(b, filepath.Join(b.TempDir(), "state.db"))
			defer db.Close()
			rules := []alerting.Rule{rule(b, "errors", "level>=error", "#errors"), rule(b, "warnings", "level=warning", "#warnings")}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			f := &feed{left: b.N, done: cancel}
			for i := range 1000 {
				e := ev(event.Info, "shop", fmt.Sprintf("GET /products/%d took %d ms", i, i%97))
				if i < bm.matches {
					e = ev(event.Error, "shop", fmt.Sprintf("GET /products/%d failed after %d ms: connection refused", i, i%97))
				}
				e.Received = int64(i)
				f.batch = append(f.batch, e)
			}
			e, err := alerting.New(alerting.Options{
				DB: db, Source: f, Notifier: new(alertingtest.Recorder), Rules: append(rules, each(rule(b, "shipped", `"order shipped"`, "#shop"))),
			})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			if err := e.Run(ctx); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// load is realistic events, each with its number of bytes as they came.
func load(b *testing.B, n int) []event.Event {
	g := loadgen.New(loadgen.Options{Seed: 5})
	events := make([]event.Event, 0, n)
	for range n {
		var fields map[string]any
		if err := json.Unmarshal(g.NDJSON(nil), &fields); err != nil {
			b.Fatal(err)
		}
		e := event.Event{}
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			value := []byte(fmt.Sprint(fields[name]))
			switch name {
			case "time":
			case "service":
				e.Service = value
			case "env":
				e.Env = value
			case "host":
				e.Host = value
			case "container":
				e.Container = value
			case "stream":
				e.Stream = value
			case "message":
				e.Message = value
			case "level":
				e.Level, _ = event.ParseLevel(value)
			default:
				e.Fields = append(e.Fields, event.Field{Name: []byte(name), Value: value})
			}
		}
		events = append(events, e)
	}
	return events
}

// manyRules are 100 rules of all modes, of which few events match those that tell each one.
func manyRules(b *testing.B, events []event.Event) (rules []alerting.Rule) {
	services := map[string]bool{}
	for _, e := range events {
		services[string(e.Service)] = true
	}
	names := slices.Sorted(maps.Keys(services))
	add := func(mode alerting.Mode, text string) *alerting.Rule {
		r := rule(b, fmt.Sprintf("%s %d", mode, len(rules)), text, "#c")
		r.Mode = mode
		rules = append(rules, r)
		return &rules[len(rules)-1]
	}
	words := []string{"deadlock", "out of memory", "connection reset by peer", "panic:", "segfault", "disk full", "certificate expired", "quota exceeded", "no route to host", "too many open files"}
	for i := range 40 {
		add(alerting.ModeMatch, fmt.Sprintf("service=%q %q", names[i%len(names)], words[i%len(words)]+" "+word(i)))
	}
	for i, w := range words {
		add(alerting.ModeMatch, fmt.Sprintf("%q -%q", w, word(i)))
		add(alerting.ModeMatch, fmt.Sprintf("level>=warning ~'%s (of|at) [a-z]+%d'", w, i))
		add(alerting.ModeMatch, fmt.Sprintf("status:5%02d duration_ms>%d", i, 90_000+i))
		r := add(alerting.ModeRate, fmt.Sprintf("service=%q %q", names[i%len(names)], w))
		r.Above, r.By = 1_000_000, []string{"host"}
	}
	for i := range 5 {
		r := add(alerting.ModeRate, fmt.Sprintf("level>=%s", []string{"error", "warning", "critical", "alert", "notice"}[i]))
		r.Above, r.By = 1_000_000_000, []string{"service"}
		add(alerting.ModeSpike, fmt.Sprintf("service=%q level>=error", names[i])).By = []string{"host"}
	}
	for range 2 {
		add(alerting.ModeAbsent, "*")
		add(alerting.ModeNew, "level>=warning")
	}
	for i := range 6 {
		r := add(alerting.ModeUnexpected, fmt.Sprintf("service=%q level>=error host:nowhere%d", names[i], i))
		r.Expect = []alerting.Expectation{{Query: parsed(b, words[i])}}
	}
	return rules
}

// BenchmarkRules is what 100 rules cost: at 50,000 events a second 10,000 ns an event more than without are half a core.
func BenchmarkRules(b *testing.B) {
	events := load(b, 20_000)
	for _, n := range []int{0, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			db := openDB(b, filepath.Join(b.TempDir(), "state.db"))
			defer db.Close()
			rules := manyRules(b, events)
			if len(rules) != 100 {
				b.Fatalf("%d rules", len(rules))
			}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			f := &paced{feed: feed{batch: slices.Clone(events), left: b.N, done: cancel}}
			e, err := alerting.New(alerting.Options{DB: db, Source: f, Notifier: new(alertingtest.Recorder), Rules: rules[:n]})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			if err := e.Run(ctx); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// paced hands out 500 events at once, received as if 50,000 came in a second.
type paced struct {
	feed
	at int
}

func (p *paced) Follow(uint64) query.Follower { return p }

func (p *paced) Next(ctx context.Context) ([]event.Event, error) {
	all := p.batch
	from := p.at % len(all)
	p.batch = all[from:min(from+500, len(all))]
	events, err := p.feed.Next(ctx)
	p.batch = all
	for i := range events {
		p.at++
		events[i].Received = time.Date(2026, 11, 2, 8, 0, 0, 0, time.UTC).UnixNano() + int64(p.at)*20_000
		events[i].Time = events[i].Received
	}
	return events, err
}
