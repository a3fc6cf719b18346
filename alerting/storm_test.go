package alerting_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// storm is a store that gets errors from 50 services for a minute, and nothing afterwards. Each service has stormKinds kinds
// of them; 5 services are critical, 20 err, the others warn.
type storm struct {
	total, batch int
	start        time.Time
	events       []event.Event
	seq          atomic.Uint64
}

const stormServices, stormKinds = 50, 40

func stormSeverity(service int) alerting.Severity {
	switch {
	case service < 5:
		return alerting.Critical
	case service < 25:
		return alerting.Error
	}
	return alerting.Warning
}

func (s *storm) Follow(uint64) query.Follower { return s }
func (s *storm) LastSeq() uint64              { return s.seq.Load() }
func (s *storm) Position() uint64             { return s.seq.Load() }
func (s *storm) Close()                       {}

// Next returns the next batch when its time has come: all take a minute.
func (s *storm) Next(ctx context.Context) ([]event.Event, error) {
	from := int(s.seq.Load())
	n := min(s.batch, s.total-from)
	due := time.Hour
	if n > 0 {
		due = time.Until(s.start.Add(time.Duration(int64(time.Minute) * int64(from) / int64(s.total))))
	}
	timer := time.NewTimer(due)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
	}
	if n <= 0 {
		return nil, nil
	}
	now := time.Now().UnixNano()
	s.events = s.events[:0]
	for i := from; i < from+n; i++ {
		service, kind := i%stormServices, i/stormServices%stormKinds
		e := ev(event.Error, fmt.Sprintf("shop-%s", word(service)), fmt.Sprintf("%s: %s is broken: request %d took %d ms", stormSeverity(service), word(kind), i, i%977))
		e.Seq, e.Time, e.Received = uint64(i+1), now, now
		s.events = append(s.events, e)
	}
	s.seq.Store(uint64(from + n))
	return s.events, nil
}

// Issue 7: errors of 50 services within a minute make at most 20 new messages a channel in 5 minutes, and 20 of what is
// critical, the worst first; all are counted, and memory is bounded. LOOKOUT_STORM=1000000 has it with the full million.
func TestStorm(t *testing.T) {
	total := 20_000
	if text := os.Getenv("LOOKOUT_STORM"); text != "" {
		var err error
		if total, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	inBubble(t, func(r *rig) {
		s := &storm{total: total, batch: max(total/500, 2*stormServices*stormKinds/10), start: time.Now()}
		h := alertingtest.NewHistorian(r.out)
		channels := []string{"#errors", "#ops"}
		r.opts.Source, r.opts.Notifier, r.opts.Rules = s, h, nil
		for _, severity := range []alerting.Severity{alerting.Warning, alerting.Error, alerting.Critical} {
			one := rule(t, string(severity), fmt.Sprintf("%q", string(severity)+": "), channels[0])
			one.Severity, one.Channels = severity, channels
			r.opts.Rules = append(r.opts.Rules, one)
		}
		before := liveHeap()
		r.run()
		r.pass(time.Minute + time.Second)
		grown := liveHeap() - before
		if r.engine.Position() != uint64(total) {
			t.Fatalf("the engine stands at %d of %d", r.engine.Position(), total)
		}
		r.pass(4*time.Minute - 2*time.Second) // up to a moment before the budget is there again

		counts, kinds := map[string]int64{}, map[string]int{}
		infos, err := r.engine.Incidents()
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range infos {
			counts[i.Service] += i.Count
			kinds[i.Rule]++
		}
		for service := range stormServices {
			want := int64(total / stormServices)
			if service < total%stormServices {
				want++
			}
			if got := counts["shop-"+word(service)]; got != want {
				t.Errorf("service %d: %d events are counted, want %d", service, got, want)
			}
		}
		if len(infos) != stormServices*stormKinds {
			t.Errorf("%d incidents, want %d", len(infos), stormServices*stormKinds)
		}
		for _, channel := range channels {
			shown := map[string]int{}
			for _, m := range r.out.Sent(channel) {
				if strings.Contains(m.Message.Title, " held: ") {
					shown["overview"]++
					want := fmt.Sprintf("%d more held: this channel is full", kinds["error"]+kinds["warning"]-20)
					if m.Message.Severity == alerting.Critical {
						want = fmt.Sprintf("%d more critical held: this channel is full", kinds["critical"]-20)
					}
					if m.Message.Title != want {
						t.Errorf("%s: the overview says %q, want %q", channel, m.Message.Title, want)
					}
					continue
				}
				shown[string(m.Message.Severity)]++
			}
			if fmt.Sprint(shown) != "map[critical:20 error:20 overview:2]" {
				t.Errorf("%s has %v, want 20 critical ones, 20 errors as they are worse than warnings, and two overviews", channel, shown)
			}
		}
		// Nothing more comes when it is over: it does not go on.
		sent := r.stats().Sent
		r.pass(20 * time.Minute)
		if now := r.stats().Sent; now != sent {
			t.Errorf("%d messages after the storm", now-sent)
		}
		if grown > 64<<20 {
			t.Errorf("%d MiB more memory is in use", grown>>20)
		}
		t.Logf("%d events: %d incidents, %d messages, %d edits, %.1f MiB more in use", total, len(infos), sent, r.stats().Edited, float64(grown)/(1<<20))
	})
}

// liveHeap is what is in use, bytes.
func liveHeap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
