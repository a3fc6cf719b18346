package app

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/internal/config"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/rehearse"
)

// allModes are rules of all modes and conditions over the corpus, with routes, quiet hours, a maintenance, parents, a pager and words of
// their own.
const allModes = `
slack: { token: xoxb-1 }
pushover: { token: azGDORePK8gMaC0QOYAMyEEuzJnyUi, user: uQiRzpo4DXghDmr9QzzfQu27cmVRsG }
base_url: https://lookout.example
channels: { errors: "#errors", warnings: "#warnings", events: "#events" }
templates: { short: "{{upper (print .Severity)}} {{.Service}}\n{{.Count}} times: {{cut 80 .Message}}" }
routes:
  - { match: 'service=~"sshd|linux"', channel: "#auth", quiet: nights }
  - { match: severity=critical, channel: "#ops", page: true }
quiet_hours:
  - { name: nights, from: "01:00", to: "05:30", match: severity=info }
maintenance:
  - { name: backup, match: service=zookeeper, from: "09:00", to: "10:00" }
rules:
  - { name: logins, query: 'service:sshd "Failed password"', labels: { team: ops } }
  - { name: strangers, query: 'service:sshd "Invalid user"', template: short, repeat: 4h }
  - { name: requests, query: 'service:web "GET /favicon.ico"', notify: each }
  - { name: memory, query: 'stream:docker action:die', resolve: 'stream:docker action:start', severity: critical }
  - { name: cluster, query: 'service:hadoop level>=error', severity: critical }
  - { name: retries, query: 'service:hadoop "Retrying connect"', parents: [cluster], equal: service, hold: 20s, channel: "#hadoop" }
  - { name: odd kernel, query: 'service:linux', mode: unexpected, severity: info, expect: ['"authentication failure"', { query: '~"session (opened|closed)"', author: ann, reason: usual }] }
  - { name: odd bgl, query: 'service:(bgl, hpc, thunderbird)', mode: unexpected, severity: warning, channel: "#machines", expect: ['parity', 'temperature', '~"(?i)crond?"'] }
  - { name: kinds, query: 'level>=warning', mode: new, channel: "#new" }
  - { name: everything new, query: 'service:(android, mac, proxifier)', mode: new, severity: info, channel: "#new" }
  - { name: hadoop fails, query: 'service:hadoop level>=warning', mode: rate, above: 100, window: 5m, by: [host], channel: "#hadoop" }
  - { name: few requests, query: 'service:web', mode: rate, below: 18, window: 1h, channel: "#web" }
  - { name: sources, query: 'service:web "GET"', mode: rate, above: 10, window: 30m, by: [container], channel: "#web", severity: info }
  - { name: bursts, query: 'level>=warning', mode: spike, by: [service], channel: "#spikes" }
  - { name: quick bursts, query: '*', mode: spike, window: 1m, by: [service, level], channel: "#spikes", severity: warning }
  - { name: blocks, query: 'service:hdfs', mode: absent, after: 1h, severity: critical }
  - { name: anybody, query: '*', mode: absent, by: [container], channel: "#absent" }
`

// corpusDays are two days of the corpus: the eleven services and what happens to them of TestDefaultRules, and those of the other six
// systems. What was received at once there has a time of its own in nanoseconds here: no two things that follow are due at one instant, for
// which live has no order.
func corpusDays(t *testing.T, begin time.Time) []event.Event {
	s := &simulated{t: t}
	for i, name := range []string{"android", "bgl", "hpc", "mac", "proxifier", "thunderbird"} {
		data, err := os.ReadFile(filepath.Join("..", "loadgen", "samples", name+".log"))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
		s.spread(name, lines, begin.Add(time.Duration(i)*time.Hour), begin.Add(48*time.Hour), time.Duration(15+2*i)*time.Minute)
	}
	events := s.events(begin)
	i := 0
	events = slices.DeleteFunc(events, func(e event.Event) bool { // to save time, two of three lines that say nothing bad
		i++
		return i%3 != 0 && (e.Level == event.None || e.Level > event.Warning) && string(e.Stream) == "stdout"
	})
	at := int64(0)
	for i := range events {
		e := &events[i]
		at = max(at+1, e.Received+1+int64(i)*7919%1_000_003)
		e.Received, e.Time = at, at
	}
	return events
}

// told are notifications as text, in the order of time; at one instant channels have no order among each other.
func told(list []alerting.Notification) []string {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b alerting.Notification) int {
		if c := a.At.Compare(b.At); c != 0 {
			return c
		}
		return strings.Compare(a.Channel, b.Channel)
	})
	lines := make([]string, len(list))
	for i, n := range list {
		lines[i] = fmt.Sprintf("%s %s %s %+v", n.At.UTC().Format(time.RFC3339Nano), n.Channel, n.Kind, n.Message)
	}
	return lines
}

// Issue 7: a backtest equals what went out live, notification for notification, on the corpus: what was received when it happened goes to
// an engine with all its goroutines and a clock of its own, by the way that serve takes it, and then the same is backtested.
func TestBacktestEqualsLive(t *testing.T) {
	defaults := options(t, map[string]string{"LOOKOUT_SLACK_TOKEN": "xoxb-1", "LOOKOUT_SLACK_CHANNEL": "#ops"}).Config
	modes, warnings, err := config.Parse([]byte(allModes), func(string) (string, bool) { return "", false })
	if err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	// Channels that wait for each other have no order live.
	apart := alerting.Limits{Workspace: 1, Edit: 1}
	for _, c := range []struct {
		name     string
		config   *config.Config
		limits   alerting.Limits
		channels int
		kinds    map[alerting.NotificationKind]int // at least so many
	}{
		{"default rules", defaults, alerting.Limits{}, 1, map[alerting.NotificationKind]int{alerting.Posted: 40, alerting.Edited: 40, alerting.Noted: 20}},
		{"default rules and all modes", modes, apart, 12, map[alerting.NotificationKind]int{alerting.Posted: 200, alerting.Replied: 5, alerting.Edited: 200, alerting.Noted: 50}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var live []alerting.Notification
			var events []event.Event
			var o alerting.Options
			var begin, end time.Time
			synctest.Test(t, func(t *testing.T) {
				begin = time.Now()
				events = corpusDays(t, begin)
				db, err := bbolt.Open(filepath.Join(t.TempDir(), "state.db"), 0o600, &bbolt.Options{NoSync: true, NoFreelistSync: true})
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				out := &alertingtest.Tape{}
				a := &App{ways: alerting.Mux{Default: alertingtest.ThreadedTape{Tape: out}, Ways: map[string]alerting.Notifier{config.ChannelPushover: out}}}
				o = a.engineOptions(c.config)
				o.Limits = c.limits
				source := &alertingtest.Source{}
				var log strings.Builder
				running := o
				running.DB, running.Source, running.Log = db, source, slog.New(slog.NewTextHandler(&log, nil))
				engine, err := alerting.New(running)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- engine.Run(ctx) }()
				for i := range events {
					time.Sleep(time.Until(time.Unix(0, events[i].Received)))
					source.Add(events[i])
					synctest.Wait()
				}
				time.Sleep(10*time.Minute + 1)
				synctest.Wait()
				end = time.Now()
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
				live = out.Took()
				if log.Len() > 0 {
					t.Errorf("the engine's log: %s", log.String())
				}
			})
			kinds, channels := map[alerting.NotificationKind]int{}, map[string]bool{}
			for _, n := range live {
				kinds[n.Kind]++
				channels[n.Channel] = true
			}
			t.Logf("%d events, %d rules: %d notifications, %v, into %d channels", len(events), len(o.Rules), len(live), kinds, len(channels))
			for kind, least := range c.kinds {
				if kinds[kind] < least {
					t.Errorf("only %d of kind %s: the events are too tame", kinds[kind], kind)
				}
			}
			if len(channels) < c.channels {
				t.Errorf("only %d channels: %v", len(channels), channels)
			}

			source := &alertingtest.Source{Batch: 512}
			source.Add(events...)
			var replayed []alerting.Notification
			test := alerting.Backtest{
				Source: source, Dir: t.TempDir(), Since: begin, Until: end, Engines: []alerting.Options{o},
				Take: func(_ int, n alerting.Notification) { replayed = append(replayed, n) },
			}
			if _, err := test.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			want, got := told(live), told(replayed)
			for i := range max(len(want), len(got)) {
				var a, b string
				if i < len(want) {
					a = want[i]
				}
				if i < len(got) {
					b = got[i]
				}
				if a != b {
					t.Fatalf("notification %d of %d live and %d of the backtest:\n  live:     %s\n  backtest: %s", i+1, len(want), len(got), a, b)
				}
			}
			if c.config == modes {
				return // to save time
			}
			// What lookout rule backtest prints is the same.
			n := 0
			_, err := rehearse.Backtest(t.Context(), rehearse.Options{Source: source, Dir: t.TempDir(), Since: begin, Until: end, Rules: o, Edits: true}, func(shown rehearse.Notification) error {
				if n < len(replayed) {
					if of := replayed[n]; !shown.At.Equal(of.At) || shown.Channel != of.Channel || shown.Kind != string(of.Kind) || shown.Title != of.Message.Heading() || !slices.Equal(shown.Lines, of.Message.Lines) {
						t.Fatalf("notification %d is shown as %+v, not as %+v", n+1, shown, of)
					}
				}
				n++
				return nil
			})
			if err != nil || n != len(replayed) {
				t.Errorf("%d notifications are shown of %d: %v", n, len(replayed), err)
			}
		})
	}
}
