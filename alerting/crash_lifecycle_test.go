package alerting_test

import (
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
)

func newLifecycle(t *testing.T) *crash {
	c := newCrash(t)
	c.opts.Rules = []alerting.Rule{downRule(t, "#errors", "pushover")}
	c.opts.Limits.Poll = 3 * time.Minute
	return c
}

// outage makes a fake answer 503 while it lasts. What lost says is lost on the way back instead: it has arrived.
type outage struct{ slack, pushover, lost atomic.Bool }

func (o *outage) of(c *crash) {
	reply := func(out *atomic.Bool) alertingtest.Reply {
		switch {
		case out.Load() && o.lost.Load():
			return alertingtest.Lost()
		case out.Load():
			return alertingtest.Status(503)
		}
		return alertingtest.OK()
	}
	c.slack.Behave(func(alertingtest.Call) alertingtest.Reply { return reply(&o.slack) })
	c.pushover.Behave(func(alertingtest.PushoverCall) alertingtest.Reply { return reply(&o.pushover) })
}

// acknowledge taps on whatever rings.
func (c *crash) acknowledge() (taps int) {
	for _, r := range c.pushover.Ringing() {
		if c.pushover.Acknowledge(r) {
			taps++
		}
	}
	return taps
}

// told checks that nothing of one service came twice without saying so: of its incidents, which rang so often in all.
func (c *crash) told(service string, incidents, rang, expired int) {
	c.t.Helper()
	var news, replies, pages int
	for _, m := range c.slack.Messages("#errors") {
		text := m.Content()
		switch {
		case !strings.Contains(text, service+" is down") || strings.Contains(text, alerting.NoteAgain):
		case m.ThreadTS != "":
			replies++
		default:
			news++
		}
	}
	for _, m := range c.pushover.Messages(2) {
		if strings.Contains(m.Title, service+" is down") && !strings.Contains(m.Message, alerting.NoteAgain) {
			pages++
		}
	}
	if news > incidents || news+replies > rang || pages > rang+expired {
		c.t.Errorf("%s: %d messages, %d replies and %d pages that do not say they may be a repeat, but %d incidents rang %d times, and %d pages expired",
			service, news, replies, pages, incidents, rang, expired)
	}
}

// last is what Slack's latest message about a service says, threads apart.
func (c *crash) last(service string) (text string) {
	for _, m := range c.slack.Messages("#errors") {
		if m.ThreadTS == "" && strings.Contains(m.Content(), service+" is down") {
			text = m.Text
		}
	}
	return text
}

// ends checks that each destination knows how things stand in the end: whatever Slack has last says so, and nothing rings
// that should not.
func (c *crash) ends(service string, state alerting.State) {
	c.t.Helper()
	last := c.last(service)
	title := "[error] " + service + " is down: status 503"
	if want := (alerting.Message{State: state, Title: title}).Heading(); last != want {
		c.t.Errorf("Slack's message says %q, want %q", last, want)
	}
	pages := c.pushover.Messages()
	if len(pages) == 0 || !strings.Contains(pages[len(pages)-1].Title, title) {
		c.t.Fatalf("Pushover has %+v", pages)
	}
	if ringing := c.pushover.Ringing(); state != alerting.Firing && len(ringing) > 0 {
		c.t.Errorf("%s is %s, and %d pages ring", service, state, len(ringing))
	}
	if last := pages[len(pages)-1].Title; (state == alerting.Resolved) != strings.HasPrefix(last, "Resolved: ") {
		c.t.Errorf("Pushover's last message says %q, but it is %s", last, state)
	}
	if f := c.pushover.Failures(); len(f) > 0 {
		c.t.Errorf("Pushover would not have liked: %q", f)
	}
}

// A kill at each point on the way from down to up and down again, through an outage of Pushover: nothing is lost, nothing
// comes twice without saying so, and in the end every destination knows how things stand.
func TestKillThroughALifecycle(t *testing.T) {
	for i, lost := range []bool{false, true} { // every second point each, to save time
		points := 0
		for killAt := 1 + i; killAt <= 2 || killAt <= points; killAt += 2 {
			synctest.Test(t, func(t *testing.T) {
				c := newLifecycle(t)
				var o outage
				o.of(c)
				o.lost.Store(lost)
				c.live(0, time.Second)
				var script sync.WaitGroup
				script.Go(func() {
					step := func(do func()) {
						do()
						time.Sleep(12 * time.Minute)
					}
					o.pushover.Store(true)
					step(func() { c.source.Add(down("sales")) })
					if n := len(c.slack.Messages("#errors")); n == 0 {
						t.Error("Slack was not told while Pushover was out")
					}
					step(func() { o.pushover.Store(false) })
					step(func() {
						if c.acknowledge() == 0 {
							t.Error("nothing rang after the outage")
						}
					})
					if last := c.last("sales"); !strings.HasPrefix(last, "Acknowledged: ") {
						t.Errorf("Slack's message says %q after it was acknowledged", last)
					}
					step(func() { c.source.Add(up("sales")) })
					c.ends("sales", alerting.Resolved)
					step(func() { c.source.Add(down("sales")) })
					c.ends("sales", alerting.Firing)
					if len(c.pushover.Ringing()) == 0 {
						t.Error("nothing rings when it is down again")
					}
					step(func() { c.source.Add(up("sales")) })
				})
				const all = 80 * time.Minute
				start := time.Now()
				killed := c.live(killAt, all)
				if killed {
					points = max(points, killAt+2)
					c.live(0, all-time.Since(start))
				} else {
					points = c.points
				}
				script.Wait()
				c.ends("sales", alerting.Resolved)
				c.told("sales", 1, 2, 0)
				replies, history := 0, ""
				for _, m := range c.slack.Messages("#errors") {
					if m.ThreadTS != "" && !m.Broadcast {
						history += m.Text + "\n"
					}
					if m.ThreadTS != "" && m.Broadcast && strings.HasPrefix(m.Text, "Again: ") {
						replies++
					}
				}
				for _, line := range []string{"acknowledged", "resolved"} {
					if !strings.Contains(history, "Z "+line) {
						t.Errorf("the thread does not say %q:\n%s", line, history)
					}
				}
				if pages := len(c.pushover.Messages(2)); replies < 1 || pages < 2 {
					t.Errorf("%d replies and %d pages, but it was down twice", replies, pages)
				}
			})
			if t.Failed() {
				t.Fatalf("killed at point %d, answers lost: %v", killAt, lost)
			}
		}
		if points < 45 {
			t.Errorf("only %d points", points)
		}
		t.Logf("%d points", points)
	}
}

// A random walk of several services through downs, ups, taps, outages and kills, held against a model that knows nothing of
// messages: who is down is firing, or acknowledged after a tap.
func TestRandomLifecycles(t *testing.T) {
	services := []string{"sales", "customers", "stock"}
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			random, kills := rand.New(rand.NewPCG(seed, 7)), rand.New(rand.NewPCG(seed, 8))
			c := newLifecycle(t)
			c.opts.Limits.Budget = 10_000
			var o outage
			o.of(c)
			c.live(0, time.Second)

			incidents, rang, resolved := map[string]int{}, map[string]int{}, map[string]time.Time{}
			// A page that nobody has acknowledged expires after 50 minutes and is sent again, if it is still firing.
			expired, fired := map[string]int{}, map[string]time.Time{}
			expire := func(service string) { expired[service] += int(time.Since(fired[service]) / (50 * time.Minute)) }
			state := map[string]alerting.State{}
			var tapped bool // something that rang was acknowledged: who is down may be acknowledged from then on
			var script sync.WaitGroup
			done := make(chan struct{})
			script.Go(func() {
				defer close(done)
				for range 60 {
					service := services[random.IntN(len(services))]
					switch random.IntN(8) {
					case 0, 1, 2:
						if state[service] == "" || state[service] == alerting.Resolved {
							c.source.Add(down(service))
							state[service] = alerting.Firing
							fired[service] = time.Now()
							rang[service]++
							if time.Since(resolved[service]) > 30*time.Minute {
								incidents[service]++
							}
						}
					case 3, 4:
						if state[service] == alerting.Firing {
							c.source.Add(up(service))
							expire(service)
							state[service] = alerting.Resolved
							resolved[service] = time.Now()
						}
					case 5:
						tapped = c.acknowledge() > 0 || tapped
					case 6:
						o.slack.Store(random.IntN(2) == 0)
						o.lost.Store(random.IntN(2) == 0)
					case 7:
						o.pushover.Store(random.IntN(2) == 0)
					}
					time.Sleep(time.Duration(random.IntN(180)) * time.Second)
				}
				o.slack.Store(false)
				o.pushover.Store(false)
				time.Sleep(20 * time.Minute)
			})
			for over := false; !over; {
				c.live(1+kills.IntN(60), time.Duration(1+kills.IntN(10))*time.Minute)
				select {
				case <-done:
					over = true
				default:
				}
			}
			script.Wait()
			c.live(0, 20*time.Minute)
			for _, service := range services {
				if rang[service] == 0 {
					continue
				}
				last := c.last(service)
				title := "[error] " + service + " is down: status 503"
				switch {
				case state[service] == alerting.Resolved && last == "Resolved: "+title:
				case state[service] == alerting.Firing && (last == title || tapped && last == "Acknowledged: "+title):
				default:
					t.Errorf("%s is %s, and Slack's message says %q", service, state[service], last)
				}
				if state[service] == alerting.Firing {
					expire(service)
				}
				c.told(service, incidents[service], rang[service], expired[service])
			}
			for _, m := range c.pushover.Messages(2) {
				for _, service := range services {
					if state[service] == alerting.Resolved && strings.Contains(m.Title, "] "+service+" is down") {
						for _, r := range c.pushover.Ringing() {
							if r == m.Receipt {
								t.Errorf("%s is up, and a page rings", service)
							}
						}
					}
				}
			}
			if f := c.pushover.Failures(); len(f) > 0 {
				t.Errorf("Pushover would not have liked: %q", f)
			}
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
