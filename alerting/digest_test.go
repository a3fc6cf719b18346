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

// Whatever mutes is in the digest, also of an incident that people knew from before.
func TestDigestOfWhatWasMuted(t *testing.T) {
	inBubble(t, func(r *rig) { // from Saturday midnight
		parent, page := downRule(t, "#errors"), downRule(t, "#child")
		page.Name, page.Parents, page.Query = "page", []string{"down"}, parsed(t, "change:broken")
		child := rule(t, "timeouts", "timeout", "#child")
		child.Parents = []string{"down"}
		shipped := rule(t, "shipped", "shipped", "#events")
		shipped.Notify = alerting.Each
		r.opts.Rules = []alerting.Rule{rule(t, "errors", "level=error -change:* service:(shop, db, pay)", "#errors"), shipped, parent, child, page}
		r.opts.Policy = alerting.Policy{
			Maintenance: []alerting.Maintenance{{Name: "backup", Match: matchers(t, "service=db"), Schedule: schedule(t, "sat", "05:00", "06:00", "")}},
			Quiet:       []alerting.QuietHours{{Name: "mornings", Match: matchers(t, "service=pay"), Schedule: schedule(t, "sat", "10:00", "11:00", "")}},
		}
		r.opts.Fallbacks, r.opts.Digest = []string{"#ops"}, true
		r.run()
		at := func(hour, minute int) {
			r.pass(time.Until(time.Date(2000, 1, 1, hour, minute, 0, 0, time.UTC)))
		}
		r.source.Add(down("shop"))
		r.pass(time.Minute)
		r.source.Add(up("shop"))
		at(1, 0)
		r.silence("service=shop", 2*time.Hour)
		r.source.Add(down("shop"), ev(event.Error, "shop", "no stock"), ev(event.Info, "shop", "order shipped"), ev(event.Info, "shop", "another is shipped"))
		at(2, 0)
		r.source.Add(up("shop"))
		at(4, 0)
		r.wantTitles("#errors", "[error] shop is down: status 503")
		at(5, 10)
		r.source.Add(ev(event.Error, "db", "gone"))
		at(7, 0)
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		r.source.Add(ev(event.Error, "sales", "timeout"))
		at(8, 0)
		r.source.Add(up("sales"))
		at(8, 30)
		r.source.Add(change("api", "broken", "api is broken"))
		r.pass(10 * time.Second)
		r.source.Add(up("api"))
		at(10, 10)
		r.source.Add(ev(event.Error, "pay", "refused"))
		r.halt()
		r.run()
		at(56, 5)
		sent := r.out.Sent("#ops")
		want := strings.Join([]string{
			"all channels: 4 silenced and over before the silence was: shipped 2, down 1, errors 1",
			"all channels: 1 over within a maintenance: errors 1",
			"all channels: 1 had a cause that was told: timeouts 1",
			"all channels: 1 over while they waited for what may have caused them: page 1",
			"#errors: 1 waited for the end of quiet hours: errors 1",
			"all channels: 4 resolved by themselves, being quiet: errors 3, timeouts 1",
		}, "\n")
		if len(sent) != 1 || strings.Join(sent[0].Message.Lines, "\n") != want {
			t.Fatalf("messages %+v, want\n%s", sent, want)
		}
		if got := r.stats().Suppressed; got["silence"] != 0 { // counted since the start
			t.Errorf("suppressed %v", got)
		}
	})
}
