package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/e2e/internal/peer"
)

const (
	// alertChannels share the alerts, so that no channel's pace (1 s) or budget (20 in 5 min) holds one up.
	alertChannels = 20
	// alertEvery is more than the pace of all calls (250 ms).
	alertEvery = 300 * time.Millisecond
)

// alerts: how soon a line that alerts is a call at Slack, here a fake one. Nothing throttles: each is a new incident, and channels and
// calls have time between them.
func (b *bench) alerts(dir string, n int) error {
	slack := alertingtest.New()
	defer slack.Close()
	var rules []string
	for i := range alertChannels {
		rules = append(rules, fmt.Sprintf(`{name: r%d, query: "service:alerts%d level>=error", channel: "#c%d"}`, i, i, i))
	}
	s, err := peer.StartLookout(b.ctx, b.binary, dir, "LOOKOUT_SLACK_API="+slack.URL(), "LOOKOUT_SLACK_TOKEN=xoxb-bench", "LOOKOUT_RULES=["+strings.Join(rules, ", ")+"]")
	if err != nil {
		return err
	}
	defer s.Stop()
	others := otherPrograms(s)
	if err := b.lineToSlack(s, slack, "idle", 0, n); err != nil {
		return err
	}
	events := newFeed(longLoad)
	events.rate = 20_000
	ctx, stop := context.WithCancel(b.ctx)
	defer stop()
	loaded := make(chan error, 1)
	go func() { loaded <- s.InsertFrom(ctx, events.until(1<<40), 2) }()
	err = b.lineToSlack(s, slack, "beside 20,000 events/s", n, n)
	stop()
	if loadErr := <-loaded; err == nil && !errors.Is(loadErr, context.Canceled) {
		err = loadErr
	}
	b.report("alerts: other programs", "took %.0f %% of the machine", others())
	return err
}

// lineToSlack sends n lines from a number on, one request each, and says how long after the request began each was at Slack.
func (b *bench) lineToSlack(s *peer.Lookout, slack *alertingtest.FakeSlack, when string, from, n int) error {
	sent := make(map[string]time.Time, n)
	for i := from; i < from+n; i++ {
		time.Sleep(alertEvery + rand.N(50*time.Millisecond))
		word := letters(i)
		sent[word] = time.Now()
		resp, err := s.Do(b.ctx, http.MethodPost, "/api/v1/events", fmt.Appendf(nil, `{"service":"alerts%d","level":"error","message":"disk %s broke"}`, i%alertChannels, word))
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %w", resp.Status, err)
		}
	}
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	messages, err := slack.Wait(ctx, func(m []alertingtest.SlackMessage) bool { return len(m) >= from+n })
	if err != nil {
		return err
	}
	var walls []time.Duration
	for _, m := range messages[from:] {
		_, word, _ := strings.Cut(m.Text, "disk ")
		word, _, _ = strings.Cut(word, " ")
		at, ok := sent[word]
		if !ok {
			return fmt.Errorf("a message is of no line that was sent: %q", m.Text)
		}
		walls = append(walls, m.At.Sub(at))
		b.lines.Line("Alert/when="+when, 1, "ns/op", float64(m.At.Sub(at)))
	}
	b.report("alerts: line to Slack, "+when, "p50 %.0f ms, p99 %.0f ms (goal 1,000), at most %.0f ms, of %d lines",
		ms(quantile(walls, 0.5)), ms(quantile(walls, 0.99)), ms(quantile(walls, 1)), len(walls))
	return nil
}

// letters writes a number without digits: those would be masked, and all lines one incident.
func letters(i int) string {
	word := []byte("xxxx")
	for k := len(word) - 1; k >= 0; k-- {
		word[k] = 'g' + byte(i%16) // from g on it is no hex
		i /= 16
	}
	return string(word)
}
