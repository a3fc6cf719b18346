package alerting_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/alerting/pushover"
	"github.com/lookoutlog/lookout/alerting/slack"
	"github.com/lookoutlog/lookout/internal/event"
)

var errKilled = errors.New("killed")

// crash is a store and a Slack that live on while engines are killed and started again on what the disk held.
type crash struct {
	t        *testing.T
	dir      string
	source   *alertingtest.Source
	slack    *alertingtest.FakeSlack
	pushover *alertingtest.FakePushover
	opts     alerting.Options
	lives    int
	state    string                 // the file the next life starts with
	points   int                    // hook points passed in all lives
	dead     string                 // the texts of the dead letters
	during   func(*alerting.Engine) // called beside Run, which ends after it
}

// mortal passes messages on until its engine is dead: what a killed process would have sent afterwards, it does not send.
type mortal struct {
	alerting.Mux
	dead *atomic.Bool
}

func (m mortal) Send(ctx context.Context, channel string, msg alerting.Message) (alerting.Receipt, error) {
	if m.dead.Load() {
		return alerting.Receipt{}, errKilled
	}
	return m.Mux.Send(ctx, channel, msg)
}

func (m mortal) Edit(ctx context.Context, r alerting.Receipt, msg alerting.Message) (alerting.Receipt, error) {
	if m.dead.Load() {
		return alerting.Receipt{}, errKilled
	}
	return m.Mux.Edit(ctx, r, msg)
}

func (m mortal) Reply(ctx context.Context, r alerting.Receipt, msg alerting.Message) error {
	if m.dead.Load() {
		return errKilled
	}
	return m.Mux.Reply(ctx, r, msg)
}

func (m mortal) Acknowledgement(ctx context.Context, r alerting.Receipt) (alerting.Ack, error) {
	if m.dead.Load() {
		return alerting.Ack{}, errKilled
	}
	return m.Mux.Acknowledgement(ctx, r)
}

// ways are Slack, and Pushover under its channel's name.
func (c *crash) ways() alerting.Mux {
	s, err := slack.New(slack.Options{Token: "xoxb-crash", Transport: c.slack.Transport()})
	if err != nil {
		c.t.Fatal(err)
	}
	key := strings.Repeat("k", 30)
	p, err := pushover.New(pushover.Options{Token: key, User: key, API: c.pushover.URL(), Transport: c.pushover.Transport()})
	if err != nil {
		c.t.Fatal(err)
	}
	return alerting.Mux{Default: s, Ways: map[string]alerting.Notifier{"pushover": p}}
}

// live runs an engine until it passes its killAt'th hook point, or for the time given. It tells whether it was killed.
// The next life finds the state as it was at that point: the committed transactions and nothing else.
func (c *crash) live(killAt int, lasts time.Duration) bool {
	c.t.Helper()
	c.lives++
	path := filepath.Join(c.dir, fmt.Sprintf("state-%d.db", c.lives))
	if c.state != "" {
		if err := os.Rename(c.state, path); err != nil {
			c.t.Fatal(err)
		}
	}
	db := openDB(c.t, path)
	defer func() {
		if err := db.Close(); err != nil {
			c.t.Error(err)
		}
	}()
	var dead atomic.Bool
	o := c.opts
	o.DB, o.Source, o.Notifier = db, c.source, mortal{c.ways(), &dead}
	e, err := alerting.New(o)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), lasts)
	defer cancel()
	var mu sync.Mutex
	n := 0
	e.SetHook(func(string) error {
		mu.Lock()
		defer mu.Unlock()
		if dead.Load() {
			return errKilled
		}
		c.points++
		if n++; n != killAt {
			return nil
		}
		dead.Store(true)
		c.snapshot(db)
		cancel()
		return errKilled
	})
	var beside sync.WaitGroup
	if c.during != nil {
		beside.Go(func() { c.during(e) })
	}
	err = e.Run(ctx)
	beside.Wait()
	if dead.Load() {
		return true
	}
	if err != nil {
		c.t.Errorf("Run: %v", err)
	}
	letters, err := e.DeadLetters()
	if err != nil {
		c.t.Error(err)
	}
	c.dead = ""
	for _, l := range letters {
		c.dead += l.Text + "\n"
	}
	c.snapshot(db)
	return false
}

func (c *crash) snapshot(db *bbolt.DB) {
	c.state = filepath.Join(c.dir, fmt.Sprintf("snapshot-%d.db", c.lives))
	f, err := os.Create(c.state)
	if err == nil {
		err = db.View(func(tx *bbolt.Tx) error {
			_, err := tx.WriteTo(f)
			return err
		})
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		c.t.Error(err)
	}
}

var marker = regexp.MustCompile(`mk[g-z]{4}`)

// check holds Slack's messages against the n events that should have been told.
func (c *crash) check(n int) {
	c.t.Helper()
	seen := map[string]int{}
	var held int64
	for _, m := range c.slack.Messages() {
		text := m.Content()
		if strings.Contains(text, "more held") {
			// Every flood has an overview of its own; a repeat of one counts once.
			if strings.Contains(text, alerting.NoteAgain) {
				held = 0
			}
			var more int64
			if _, err := fmt.Sscanf(text, "%d more held", &more); err != nil {
				c.t.Errorf("overview %q: %v", text, err)
			}
			held += more
			continue
		}
		inThis := map[string]bool{}
		for _, w := range marker.FindAllString(text, -1) {
			inThis[w] = true
		}
		for w := range inThis {
			if seen[w]++; seen[w] > 1 && !strings.Contains(text, alerting.NoteAgain) {
				c.t.Errorf("%s is told again, and the message does not say so:\n%s", w, text)
			}
		}
	}
	// An overview that was refused for good says its number among the dead letters.
	for _, m := range regexp.MustCompile(`(\d+) more held`).FindAllStringSubmatch(c.dead, -1) {
		if more, err := strconv.ParseInt(m[1], 10, 64); err == nil {
			held = max(held, more)
		}
	}
	missing := 0
	for i := range n {
		if seen[word(i)] == 0 && !strings.Contains(c.dead, word(i)) {
			missing++
			if held == 0 {
				c.t.Errorf("%s was never told", word(i))
			}
		}
	}
	if int64(missing) != held {
		c.t.Errorf("%d were not shown, and the overview says %d more were held", missing, held)
	}
}

func newCrash(t *testing.T) *crash {
	return &crash{
		t: t, dir: t.TempDir(), source: &alertingtest.Source{Batch: 3}, slack: alertingtest.NewUnlistening(), pushover: alertingtest.NewUnlisteningPushover(),
		opts: alerting.Options{
			Rules:  []alerting.Rule{rule(t, "errors", "level>=error", "#errors"), each(rule(t, "info", "level=info", "#info"))},
			Limits: alerting.Limits{Budget: 1000},
		},
	}
}

// feed adds events that are each told on their own, two in three as an incident.
func (c *crash) feed(from, to int) {
	for i := from; i < to; i++ {
		level := event.Error
		if i%3 == 0 {
			level = event.Info
		}
		c.source.Add(ev(level, "shop", "told "+word(i)), ev(event.Debug, "shop", "of no interest"))
	}
}

// A kill at each point of a run loses nothing, and what is told twice says so.
func TestKillAtEveryPoint(t *testing.T) {
	replies := []alertingtest.Reply{
		alertingtest.OK(), alertingtest.Lost(), alertingtest.Status(503), alertingtest.RateLimited(2 * time.Second), alertingtest.OK(),
		alertingtest.SlackError("not_in_channel"), alertingtest.Hang(), alertingtest.SlackError("invalid_blocks"), alertingtest.Lost(),
	}
	const n = 9
	points := 0
	for killAt := 1; killAt == 1 || killAt <= points; killAt++ {
		synctest.Test(t, func(t *testing.T) {
			c := newCrash(t)
			c.live(0, time.Second) // the first start sets the position
			c.slack.Script(replies...)
			c.feed(0, n)
			killed := c.live(killAt, 20*time.Minute)
			if !killed {
				points = c.points
			} else {
				points = killAt + 1
				c.live(0, 20*time.Minute)
			}
			c.check(n)
		})
	}
	if points < 40 {
		t.Errorf("only %d points", points)
	}
	t.Logf("%d points", points)
}

// Many kills in a row, with answers of all kinds, while events go on coming.
func TestKillsInARow(t *testing.T) {
	kinds := []alertingtest.Reply{
		alertingtest.OK(), alertingtest.OK(), alertingtest.OK(), alertingtest.Lost(), alertingtest.Status(500), alertingtest.RateLimited(-1),
		alertingtest.RateLimited(time.Second), alertingtest.SlackError("channel_not_found"), alertingtest.SlackError("fatal_error"),
		alertingtest.SlackError("msg_too_long"), alertingtest.Hang(), alertingtest.Body("<html>a proxy</html>"),
	}
	for seed := range uint64(10) {
		for _, budget := range []int{1000, 5} {
			t.Run(fmt.Sprintf("seed %d budget %d", seed, budget), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					random := rand.New(rand.NewPCG(seed, 1))
					c := newCrash(t)
					c.opts.Limits.Budget = budget
					c.opts.Limits.Window = 24 * time.Hour
					if budget < 1000 {
						// Alerts alone, so that what is not shown is what the overview counts.
						c.opts.Rules = []alerting.Rule{rule(t, "all", "told", "#all")}
					}
					c.live(0, time.Second)
					n := 0
					for range 8 {
						for range 6 {
							c.slack.Script(kinds[random.IntN(len(kinds))])
						}
						c.feed(n, n+6)
						n += 6
						c.live(1+random.IntN(25), 10*time.Minute)
					}
					c.live(0, 8*6*6*time.Minute) // if all answers are still to come, and each costs 30 s and the longest pause
					c.check(n)
				})
			})
		}
	}
}

// Issue 7: 500 crashes over an outage of six hours, in which every answer is 429, 5xx, ok:false, none, or lost on the way
// back, while services go down and up, errors come, people acknowledge and resolve, and quiet ends incidents. No incident is
// lost, what is told twice says so, and what a person did stays done.
func TestFiveHundredCrashes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random, answers := rand.New(rand.NewPCG(500, 7)), rand.New(rand.NewPCG(500, 8))
		c := newCrash(t)
		c.opts.Rules = []alerting.Rule{rule(t, "errors", "level>=error told", "#errors"), downRule(t, "#errors")}
		c.opts.Rules[0].Severity = alerting.Warning
		c.live(0, time.Second)
		var out atomic.Bool
		c.slack.Behave(func(alertingtest.Call) alertingtest.Reply {
			if !out.Load() {
				return alertingtest.OK()
			}
			switch answers.IntN(6) {
			case 0:
				return alertingtest.RateLimited(time.Duration(1+answers.IntN(60)) * time.Second)
			case 1:
				return alertingtest.RateLimited(-1)
			case 2:
				return alertingtest.Status(500 + answers.IntN(5))
			case 3:
				return alertingtest.SlackError([...]string{"channel_not_found", "fatal_error", "not_in_channel", "ratelimited"}[answers.IntN(4)])
			case 4:
				return alertingtest.Hang()
			}
			return alertingtest.Lost()
		})

		services := []string{"sales", "customers", "stock", "cart", "pay"}
		state, rang, unsure := map[string]alerting.State{}, map[string]int{}, map[string]bool{}
		// hand acknowledges or resolves by hand; when the kill comes first, it may or may not have been done.
		hand := func(service string, to alerting.State) {
			c.during = func(e *alerting.Engine) {
				infos, err := e.Incidents()
				if err != nil {
					return
				}
				for _, i := range infos {
					if i.Service != service || i.State == alerting.Resolved {
						continue
					}
					do := e.Acknowledge
					if to == alerting.Resolved {
						do = e.Resolve
					}
					if do(context.Background(), i.ID, "anna") != nil {
						unsure[service] = true
					} else if state[service] == alerting.Firing || to == alerting.Resolved {
						state[service] = to
					}
				}
			}
		}
		n, crashes, hands := 0, 0, 0
		out.Store(true)
		began := time.Now()
		const step = 6 * time.Hour / 500
		for ; crashes < 500; c.during = nil {
			next := time.Now().Add(step)
			service := services[random.IntN(len(services))]
			switch random.IntN(8) {
			case 0, 1:
				c.source.Add(ev(event.Error, "shop", "told "+word(n)))
				n++
			case 2, 3:
				if state[service] == "" || state[service] == alerting.Resolved {
					c.source.Add(down(service))
					state[service], unsure[service] = alerting.Firing, false
					rang[service]++
				}
			case 4:
				if state[service] != "" {
					c.source.Add(up(service))
					state[service], unsure[service] = alerting.Resolved, false
				}
			case 5, 6:
				hand(service, alerting.Acknowledged)
				hands++
			case 7:
				hand(service, alerting.Resolved)
				hands++
			}
			c.source.Add(ev(event.Debug, "shop", "of no interest"))
			if c.live(1+random.IntN(9), step) {
				crashes++
			}
			time.Sleep(time.Until(next))
		}
		lasted := time.Since(began)
		out.Store(false)
		c.live(0, 12*time.Hour)
		c.check(n)
		for _, service := range services {
			title := "[error] " + service + " is down: status 503"
			want := (alerting.Message{State: state[service], Title: title}).Heading()
			if last := c.last(service); last != want && !unsure[service] {
				t.Errorf("%s is %s, and Slack's message says %q", service, state[service], last)
			}
			c.told(service, 1, rang[service], 0)
		}
		if c.dead != "" {
			t.Errorf("dead letters: %s", c.dead)
		}
		if n < 50 || hands < 50 || lasted < 6*time.Hour {
			t.Errorf("%d errors, %d hands, %v: the test did too little", n, hands, lasted)
		}
		t.Logf("%d crashes in %d lives over %v: %d incidents of one event, %v downs, %d actions of people, %d messages", crashes, c.lives, lasted, n, rang, hands, len(c.slack.Messages()))
	})
}
