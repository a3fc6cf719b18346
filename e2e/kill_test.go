package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting/alertingtest"
)

// A producer sends batches and counts, as an agent does: a batch without an answer is sent again until it has one.
type producer struct {
	name  string
	next  uint64 // its count of the next event, from 1; everything below is acknowledged
	sent  int    // requests, for the report
	again int

	shipped, broke time.Time // when one was told last
	broken         int       // how many
}

// TestKill kills a loaded server again and again. In the end every acknowledged event is there once, in its producer's
// order, no sequence was used twice, and every alert has reached the fake Slack, which outlives the kills.
func TestKill(t *testing.T) {
	slack := alertingtest.New()
	defer slack.Close()
	// It answers as badly as Slack may, now and then.
	behaviour := rand.New(rand.NewPCG(1, 2))
	var turn sync.Mutex
	slack.Behave(func(alertingtest.Call) alertingtest.Reply {
		turn.Lock()
		defer turn.Unlock()
		switch behaviour.IntN(12) {
		case 0:
			return alertingtest.Status(http.StatusBadGateway)
		case 1:
			return alertingtest.RateLimited(time.Second)
		case 2:
			return alertingtest.Lost()
		}
		return alertingtest.OK()
	})
	dir := t.TempDir()
	rules := `
slack: { api: "` + slack.URL() + `", token: xoxb-test }
channels: { events: "#shop" }
rules:
  - { name: shipped, query: '"order shipped"', notify: each }
  - { name: broken, query: 'level>=error', channel: "#errors" }
`
	if err := os.WriteFile(filepath.Join(dir, "lookout.yaml"), []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, dir)
	token := s.token()
	var mu sync.Mutex // the address changes with each start
	address := func() string {
		mu.Lock()
		defer mu.Unlock()
		return s.http
	}

	stop := make(chan struct{})
	var wg sync.WaitGroup
	producers := make([]*producer, 4)
	client := &http.Client{Timeout: 10 * time.Second}
	for i := range producers {
		p := &producer{name: "p-" + string(rune('a'+i)), next: 1} // no digit: it would be masked in an incident
		producers[i] = p
		rng := rand.New(rand.NewPCG(uint64(i), uint64(time.Now().UnixNano())))
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				p.send(t, client, address, token, 1+rng.IntN(200), stop)
			}
		})
	}
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	for range *kills {
		time.Sleep(time.Duration(20+rng.IntN(300)) * time.Millisecond) // a kill comes at any moment: this is not a wait for something
		s.kill()
		mu.Lock()
		s.start()
		mu.Unlock()
	}
	close(stop)
	wg.Wait()

	want := 0
	for _, p := range producers {
		want += int(p.next - 1)
		t.Logf("%s: %d events acknowledged, %d requests, %d of them again", p.name, p.next-1, p.sent, p.again)
	}
	rows := s.query("service:kill")
	next := map[string]uint64{}
	for _, p := range producers {
		next[p.name] = 1
	}
	sequences := map[string]bool{}
	alerts := map[string]bool{}
	for _, r := range rows {
		if sequences[r.Event.ID] {
			t.Fatalf("sequence %s twice", r.Event.ID)
		}
		sequences[r.Event.ID] = true
		name, count, _ := strings.Cut(r.Event.Host, "/")
		n, err := strconv.ParseUint(count, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if n != next[name] {
			t.Fatalf("%s: event %d where %d belongs: lost, doubled or out of order", name, n, next[name])
		}
		next[name] = n + 1
		if w, ok := strings.CutSuffix(r.Event.Message, " broke"); ok {
			alerts[w] = true
		}
		if strings.HasPrefix(r.Event.Message, "order shipped ") {
			alerts[strings.TrimPrefix(r.Event.Message, "order ")] = true
		}
	}
	for _, p := range producers {
		if next[p.name] < p.next {
			t.Errorf("%s: %d events acknowledged, %d there", p.name, p.next-1, next[p.name]-1)
		}
	}
	if want == 0 || len(alerts) == 0 {
		t.Fatalf("%d events and %d alerts: the test did nothing", want, len(alerts))
	}
	var missing []string
	t.Cleanup(func() {
		if len(missing) > 0 {
			t.Errorf("%d of %d alerts are not in Slack: %q", len(missing), len(alerts), missing)
			for _, m := range slack.Messages() {
				t.Logf("Slack: %s", m.Content())
			}
		}
	})
	eventually(t, "every alert in Slack", 2*time.Minute, func() bool {
		var all strings.Builder
		for _, m := range slack.Messages() {
			fmt.Fprintln(&all, m.Content())
		}
		text := all.String()
		missing = missing[:0]
		for id := range alerts {
			if !strings.Contains(text, id) {
				missing = append(missing, id)
			}
		}
		return len(missing) == 0
	})
	t.Logf("%d kills, %d events acknowledged, %d stored, %d alerts, %d Slack messages", *kills, want, len(rows), len(alerts), len(slack.Messages()))
	if code, took := s.stop(); code != 0 || took > patience*10*time.Second {
		t.Errorf("SIGTERM: exit %d after %v", code, took)
	}
}

// send sends n events until they are acknowledged, or the test is over.
func (p *producer) send(t *testing.T, client *http.Client, address func() string, token string, n int, stop chan struct{}) {
	var body bytes.Buffer
	for i := range n {
		count := p.next + uint64(i)
		message, level := fmt.Sprintf("request %d done", count), "info"
		switch now := time.Now(); { // so many alerts, however fast the machine is
		case now.Sub(p.shipped) >= 2*time.Second:
			p.shipped = now
			message = fmt.Sprintf("order shipped %s-%d!", p.name, count)
		case now.Sub(p.broke) >= time.Second: // 16 incidents in all: more than 20 in 5 min would be taken together
			p.broke = now
			p.broken++
			message, level = fmt.Sprintf("disk %s-%s broke", p.name, strings.Repeat("x", 1+p.broken%4)), "error"
		}
		line, err := json.Marshal(map[string]any{
			// Time is the count: the answer is then in the producer's order.
			"time": time.Unix(1_790_000_000, int64(count)*1000).UTC().Format(time.RFC3339Nano), "service": "kill",
			"host": fmt.Sprintf("%s/%d", p.name, count), "message": message, "level": level,
		})
		if err != nil {
			t.Error(err)
			return
		}
		body.Write(append(line, '\n'))
	}
	for try := 0; ; try++ {
		p.sent++
		if try > 0 {
			p.again++
		}
		req, err := http.NewRequest("POST", address()+"/api/v1/events", bytes.NewReader(body.Bytes()))
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Lookout-Producer", p.name)
		req.Header.Set("Lookout-First-Sequence", strconv.FormatUint(p.next, 10))
		resp, err := client.Do(req)
		if err == nil {
			answer, readErr := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode == 200 && readErr == nil {
				p.next += uint64(n)
				return
			}
			if resp.StatusCode != 429 && resp.StatusCode != 503 && readErr == nil {
				t.Errorf("%s: %d %s", p.name, resp.StatusCode, answer)
				return
			}
		}
		select {
		case <-stop: // the last batch may stay unanswered
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}
