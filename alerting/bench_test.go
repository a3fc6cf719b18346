package alerting_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
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
