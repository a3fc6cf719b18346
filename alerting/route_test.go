package alerting_test

import (
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/internal/event"
)

func schedule(t testing.TB, days, from, to, zone string) alerting.Schedule {
	t.Helper()
	s, err := alerting.ParseSchedule(days, from, to, zone)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRoutesPickChannels(t *testing.T) {
	p := alerting.Policy{Routes: []alerting.Route{
		{Match: matchers(t, `service=audit`), Channels: []string{"#audit"}, Continue: true},
		{Match: matchers(t, `severity=critical`), Channels: []string{"#ops", "pushover"}},
		{Match: matchers(t, `env=~"test|stage"`), Channels: []string{"#test"}},
	}}
	for _, c := range []struct {
		labels alerting.Labels
		want   string
	}{
		{alerting.Labels{"severity": "critical"}, "#ops pushover"},
		{alerting.Labels{"severity": "critical", "service": "audit"}, "#audit #ops pushover"},
		{alerting.Labels{"severity": "error", "service": "audit"}, "#audit"},
		{alerting.Labels{"severity": "error", "env": "stage"}, "#test"},
		{alerting.Labels{"severity": "error"}, "#own"},
	} {
		var got []string
		for _, target := range p.Targets(c.labels, []string{"#own"}) {
			got = append(got, target.Channel)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%v goes to %v, want %s", c.labels, got, c.want)
		}
	}
	inBubble(t, func(r *rig) {
		routed := r.opts.Rules[0]
		routed.Routed = true
		own := rule(t, "own", "stock", "#own")
		shipped := r.opts.Rules[1]
		shipped.Routed = true
		r.opts.Rules = []alerting.Rule{routed, own, shipped}
		r.opts.Policy = p
		r.run()
		r.source.Add(ev(event.Critical, "shop", "no stock"), ev(event.Error, "shop", "no money"), ev(event.Info, "audit", "order shipped"))
		r.pass(time.Minute)
		r.wantTitles("#ops", "[critical] shop: no stock")
		r.wantTitles("#errors", "[error] shop: no money")
		r.wantTitles("#own", "[critical] shop: no stock") // its own channel wins
		r.wantTitles("#audit", "shipped: audit order shipped")
		r.wantTitles("#shop")
		// What is wrong changes nothing.
		if err := r.engine.Configure(r.opts.Rules, alerting.Policy{Routes: []alerting.Route{{}}}, nil); err == nil {
			t.Error("a route without a channel is taken")
		}
		r.source.Add(ev(event.Critical, "shop", "no people"))
		r.pass(time.Minute)
		r.wantTitles("#ops", "[critical] shop: no stock", "[critical] shop: no people")
		if err := r.engine.Configure(r.opts.Rules, alerting.Policy{}, nil); err != nil {
			t.Error(err)
		}
		r.source.Add(ev(event.Critical, "shop", "no paper"))
		r.pass(time.Minute)
		r.wantTitles("#errors", "[error] shop: no money", "[critical] shop: no paper")
	})
}

func TestRoutesThatAreRefused(t *testing.T) {
	a := []string{"#a"}
	for _, c := range []struct {
		p    alerting.Policy
		want string
	}{
		{alerting.Policy{Routes: []alerting.Route{{}}}, "route 1 has no channel"},
		{alerting.Policy{Routes: []alerting.Route{{Channels: []string{"#a\n"}}}}, "a channel that is none"},
		{alerting.Policy{Routes: []alerting.Route{{Channels: a, Quiet: "nights"}}}, `quiet hours "nights", which there are not`},
		{alerting.Policy{Routes: []alerting.Route{{Channels: a}, {Match: matchers(t, "service=x"), Channels: a}}}, "route 2 is never come to: route 1"},
		{alerting.Policy{Routes: []alerting.Route{{Match: matchers(t, "service=~x.*"), Channels: a}, {Match: matchers(t, "env=p,service=xy"), Channels: a}}}, "route 2 is never come to"},
		{alerting.Policy{Routes: []alerting.Route{{Match: matchers(t, "service=x"), Channels: a, Continue: true}, {Match: matchers(t, "service=x"), Channels: a}}}, ""},
		{alerting.Policy{Routes: []alerting.Route{{Match: matchers(t, "service=x,env=p"), Channels: a}, {Match: matchers(t, "service=x"), Channels: a}}}, ""},
		{alerting.Policy{Maintenance: []alerting.Maintenance{{Name: "x"}}}, "matches everything"},
		{alerting.Policy{Quiet: []alerting.QuietHours{{}}}, "no name"},
	} {
		inBubble(t, func(r *rig) {
			r.opts.Policy = c.p
			_, err := alerting.New(r.opts)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%+v: %v, want %q", c.p, err, c.want)
			}
		})
	}
}

func TestQuietHoursEndInADigest(t *testing.T) {
	inBubble(t, func(r *rig) { // it is midnight
		r.opts.Rules = append(r.opts.Rules, rule(t, "warnings", "level=warning", "#errors"))
		r.opts.Policy.Quiet = []alerting.QuietHours{{Name: "nights", Match: matchers(t, `severity=~"warning|error|info"`), Schedule: schedule(t, "", "22:00", "07:00", "")}}
		r.run()
		r.source.Add(ev(event.Warning, "shop", "low stock"), ev(event.Critical, "shop", "on fire"), ev(event.Error, "pay", "refused"), ev(event.Warning, "shop", "low stock"),
			ev(event.Info, "shop", "order shipped"))
		r.pass(time.Hour)
		r.wantTitles("#errors", "[critical] shop: on fire")
		r.wantTitles("#shop")
		r.halt() // they wait over a restart
		r.run()
		r.pass(5 * time.Hour)
		r.wantTitles("#errors", "[critical] shop: on fire")
		r.pass(time.Hour + time.Minute)
		r.wantTitles("#errors", "[critical] shop: on fire", "2 alerts waited for the end of quiet hours, 0 still open")
		got := strings.Join(r.out.Sent("#errors")[1].Message.Lines, "\n")
		want := "resolved [error] pay: refused (1 time)\nresolved [warning] shop: low stock (2 times)"
		if got != want {
			t.Errorf("the digest says\n%s\nwant\n%s", got, want)
		}
		r.wantTitles("#shop", "shipped: shop order shipped")
		// By day nothing waits.
		r.source.Add(ev(event.Warning, "shop", "less stock"))
		r.pass(time.Minute)
		if got := len(r.titles("#errors")); got != 3 {
			t.Errorf("%d messages", got)
		}
	})
}

// One alone comes as itself, and a silence wins over the morning.
func TestOneThatWaitedComesAsItself(t *testing.T) {
	inBubble(t, func(r *rig) {
		routed := r.opts.Rules[0]
		routed.Routed = true
		r.opts.Rules = []alerting.Rule{routed}
		r.opts.Policy = alerting.Policy{
			Routes: []alerting.Route{{Match: matchers(t, "service=~shop|pay"), Channels: []string{"#shop"}, Quiet: "nights"}},
			Quiet:  []alerting.QuietHours{{Name: "nights", Schedule: schedule(t, "sat", "00:00", "02:00", "")}},
		}
		r.run()
		r.silence("service=pay", 3*time.Hour)
		r.source.Add(ev(event.Error, "shop", "no stock"), ev(event.Error, "pay", "refused"), ev(event.Error, "web", "slow"))
		r.pass(time.Hour)
		r.wantTitles("#shop")
		r.wantTitles("#errors", "[error] web: slow")
		for range 10 {
			r.source.Add(ev(event.Error, "shop", "no stock"), ev(event.Error, "pay", "refused"))
			r.pass(10 * time.Minute)
		}
		r.wantTitles("#shop", "[error] shop: no stock")
		r.pass(25 * time.Minute)
		r.wantTitles("#shop", "[error] shop: no stock", "[error] pay: refused")
	})
}

func TestMaintenanceComesAgain(t *testing.T) {
	inBubble(t, func(r *rig) { // a Saturday, midnight
		r.opts.Policy.Maintenance = []alerting.Maintenance{{Name: "backup", Match: matchers(t, "service=db"), Schedule: schedule(t, "mon, sat", "01:00", "01:30", "")}}
		r.run()
		at := func(d time.Duration, want int) {
			t.Helper()
			r.pass(time.Until(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(d)))
			r.source.Add(ev(event.Error, "db", "gone at "+word(int(d/time.Minute))))
			r.pass(time.Minute)
			if got := len(r.titles("#errors")); got != want {
				t.Errorf("after %v: %d messages, want %d", d, got, want)
			}
		}
		at(30*time.Minute, 1)
		at(70*time.Minute, 1)
		at(95*time.Minute, 3) // the one of 01:10 still fires when it ends
		at(25*time.Hour+10*time.Minute, 4)
		at(49*time.Hour+10*time.Minute, 4)
	})
}

// parents is a rig with a rule whose incidents a host's being down explains.
func inParents(t *testing.T, test func(r *rig)) {
	t.Helper()
	inBubble(t, func(r *rig) {
		parent := downRule(t, "#errors")
		child := rule(t, "timeouts", `timeout`, "#child")
		child.Parents, child.ParentsEqual = []string{"down"}, []string{"service"}
		r.opts.Rules = []alerting.Rule{child, parent}
		test(r)
	})
}

func TestAParentExplainsItsChild(t *testing.T) {
	inParents(t, func(r *rig) {
		r.run()
		r.pass(time.Minute)
		// Both at once, the child first: it waits, and finds its parent.
		r.source.Add(ev(event.Error, "sales", "timeout"), down("sales"), ev(event.Error, "web", "timeout"))
		r.pass(29 * time.Second)
		r.wantTitles("#child")
		r.pass(2 * time.Second)
		r.wantTitles("#child", "[error] web: timeout") // another service
		if s := r.stats(); s.Muted["parent"] != 1 {
			t.Errorf("muted %v", s.Muted)
		}
		r.halt()
		r.run()
		r.pass(10 * time.Minute)
		r.source.Add(ev(event.Error, "sales", "timeout"))
		r.pass(10 * time.Minute)
		r.wantTitles("#child", "[error] web: timeout")
		// The parent is over, the child's next event tells that it goes on.
		r.source.Add(up("sales"))
		r.pass(time.Minute)
		r.wantTitles("#child", "[error] web: timeout")
		r.source.Add(ev(event.Error, "sales", "timeout"))
		r.pass(time.Minute)
		r.wantTitles("#child", "[error] web: timeout", "[error] sales: timeout")
	})
}

// A child that only an event resolves is told when its parent is over and it still fires, and not when it is over as well.
func TestAChildThatOutlastsItsParent(t *testing.T) {
	inParents(t, func(r *rig) {
		child := downRule(t, "#child")
		child.Name, child.Parents, child.Query = "page", []string{"down"}, rule(t, "x", "change:broken", "#x").Query
		r.opts.Rules[0] = child
		r.run()
		r.source.Add(down("host"), change("sales", "broken", "sales is broken"), change("web", "broken", "web is broken"))
		r.pass(time.Hour)
		r.wantTitles("#child")
		r.source.Add(up("host"))
		r.pass(10 * time.Second)
		r.source.Add(up("web"))
		r.pass(time.Minute)
		r.wantTitles("#child", "[error] sales is broken")
		if got := r.stats().Suppressed; got["hold"] != 1 {
			t.Errorf("suppressed %v, want web's", got)
		}
	})
}

// After a start a child waits until everything stored is read, and its parents had their chance.
func TestNothingLeaksAfterAStart(t *testing.T) {
	inParents(t, func(r *rig) {
		r.run()
		r.halt()
		r.source.Add(ev(event.Error, "sales", "timeout"))
		r.pass(time.Hour)
		r.run()
		r.pass(20 * time.Second)
		r.wantTitles("#child")
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		r.wantTitles("#child")
		r.wantTitles("#errors", "[error] sales is down: status 503")
	})
}

func TestSchedules(t *testing.T) {
	for _, c := range []struct{ days, from, to, zone, at, want string }{
		{"", "22:00", "07:00", "", "2026-11-21T23:00:00Z", "2026-11-22T07:00:00Z"},
		{"", "22:00", "07:00", "", "2026-11-21T06:59:59Z", "2026-11-21T07:00:00Z"},
		{"", "22:00", "07:00", "", "2026-11-21T07:00:00Z", ""},
		{"sat", "22:00", "07:00", "", "2026-11-22T06:00:00Z", "2026-11-22T07:00:00Z"}, // it began on Saturday
		{"sun", "22:00", "07:00", "", "2026-11-22T06:00:00Z", ""},
		{"fri-mon", "08:00", "09:00", "", "2026-11-22T08:30:00Z", "2026-11-22T09:00:00Z"},
		{"sat, sun", "00:00", "24:00", "", "2026-11-21T12:00:00Z", "2026-11-23T00:00:00Z"},
		{"", "00:00", "00:00", "", "2026-11-21T12:00:00Z", "2026-11-29T00:00:00Z"}, // always: as far as it looks
		{"", "22:00", "07:00", "Europe/Berlin", "2026-11-21T21:30:00Z", "2026-11-22T06:00:00Z"},
		{"", "01:30", "03:30", "Europe/Berlin", "2026-03-29T00:45:00Z", "2026-03-29T01:30:00Z"}, // clocks go forward
		{"", "02:00", "03:00", "Europe/Berlin", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"}, // and back
	} {
		s := schedule(t, c.days, c.from, c.to, c.zone)
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if until, ok := s.During(at); ok {
			got = until.UTC().Format(time.RFC3339)
		}
		if got != c.want {
			t.Errorf("%+v: until %q, want %q", c, got, c.want)
		}
	}
	for _, c := range [][4]string{{"someday", "01:00", "02:00", ""}, {"", "25:00", "02:00", ""}, {"", "1", "02:00", ""}, {"", "01:00", "", ""}, {"", "01:00", "02:00", "Mars/Crater"}, {"mon-", "01:00", "02:00", ""}} {
		if _, err := alerting.ParseSchedule(c[0], c[1], c[2], c[3]); err == nil {
			t.Errorf("%q is taken", c)
		}
	}
}
