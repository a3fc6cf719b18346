package alerting_test

import (
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/internal/event"
)

// On Monday morning people are told what they were not told, once, over restarts; and nothing when there was nothing.
func TestWeeklyDigest(t *testing.T) {
	inDuo(t, func(r *duo) { // the bubble begins on Saturday 2000-01-01
		r.opts.Limits.Budget = 2
		r.opts.Fallbacks, r.opts.Digest = []string{"#ops"}, true
		r.opts.Rules[0].Channels = []string{"#errors"}
		r.opts.Rules = append(r.opts.Rules, rule(t, "errors", "level>=error service:shop", "#errors"))
		r.run()
		for range 4 { // two rings, two that come too soon
			r.source.Add(down("sales"))
			r.pass(time.Minute)
			r.source.Add(up("sales"))
			r.pass(time.Minute)
		}
		r.source.Add(ev(event.Error, "shop", "no stock"), ev(event.Error, "shop", "no money"), ev(event.Error, "shop", "no time"))
		r.pass(time.Minute)
		r.halt()
		r.run()
		r.pass(54 * time.Hour) // Monday 06:09
		if sent := r.out.Sent("#ops"); len(sent) != 0 {
			t.Fatalf("messages %+v", sent)
		}
		r.halt()
		r.run()
		r.pass(3 * time.Hour)
		sent := r.out.Sent("#ops")
		want := strings.Join([]string{
			"#errors: 1 kept from a channel by its budget: errors 1",
			"all channels: 2 came back too soon to ring: down 2",
			"all channels: 3 resolved by themselves, being quiet: errors 3",
		}, "\n")
		if len(sent) != 1 || sent[0].Message.Title != "lookout: what you were not told since Sat 2000-01-01" || strings.Join(sent[0].Message.Lines, "\n") != want ||
			sent[0].At.Sub(time.Date(2000, 1, 3, 8, 0, 0, 0, time.UTC)) > time.Minute || sent[0].Message.Severity != alerting.Info {
			t.Fatalf("messages %+v", sent)
		}
		// A week of which there is nothing to tell, and one of which there is.
		r.pass(7 * 24 * time.Hour)
		if n := len(r.out.Sent("#ops")); n != 1 {
			t.Errorf("%d digests, one of nothing", n)
		}
		r.source.Add(ev(event.Error, "shop", "no stock"))
		r.pass(7 * 24 * time.Hour)
		if sent := r.out.Sent("#ops"); len(sent) != 2 || sent[1].Message.Lines[0] != "all channels: 1 resolved by themselves, being quiet: errors 1" {
			t.Errorf("messages %+v", sent)
		}
	})
}
