package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting/alertingtest"
)

// moody stands before a fake Slack or Pushover: it knows which life of lookout a call is of, by the address that each life has of its
// own, and has every second one answered 503 or 429, or taken and never answered.
type moody struct {
	to   http.Handler
	path string // of the calls that make new messages

	mu    sync.Mutex
	rng   *rand.Rand
	calm  bool
	calls []moodyCall
}

// moodyCall is a call that was to make a new message. Those of one life and channel are in order.
type moodyCall struct {
	life    string
	channel string
	text    string // all that it says
	taken   bool   // the fake has the message
	lost    bool   // nobody was told that
}

func (m *moody) base(server *httptest.Server, life int, path string) string {
	return fmt.Sprintf("%s/life-%d%s", server.URL, life, path)
}

func (m *moody) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	life, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	r.URL.Path = "/" + path
	body, err := io.ReadAll(io.LimitReader(r.Body, 4<<20))
	if err != nil {
		panic(http.ErrAbortHandler) // killed while it wrote
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	news := strings.HasSuffix(path, m.path)
	if !news && !strings.HasSuffix(path, "chat.update") {
		m.to.ServeHTTP(w, r)
		return
	}
	form, _ := url.ParseQuery(string(body))
	call := moodyCall{life: life, channel: form.Get("channel")}
	for _, name := range []string{"title", "message", "text", "attachments", "blocks"} {
		call.text += form.Get(name) + "\n"
	}
	news = news && form.Get("thread_ts") == ""

	m.mu.Lock()
	mood := m.rng.IntN(6)
	if m.calm {
		mood = 5
	}
	m.mu.Unlock()
	answer := httptest.NewRecorder()
	switch mood {
	case 0:
		answer.WriteHeader(http.StatusServiceUnavailable)
	case 1:
		answer.Header().Set("Retry-After", "1")
		answer.WriteHeader(http.StatusTooManyRequests)
	default:
		m.to.ServeHTTP(answer, r)
		text := answer.Body.String()
		call.taken = strings.Contains(text, `"ok":true`) || strings.Contains(text, `"status":1`)
		call.lost = mood == 2 || r.Context().Err() != nil
	}
	if news {
		m.mu.Lock()
		m.calls = append(m.calls, call)
		m.mu.Unlock()
	}
	if call.lost {
		panic(http.ErrAbortHandler) // net/http cuts the connection
	}
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes()) // lookout may be dead
}

// calmDown answers everything well from now on.
func (m *moody) calmDown() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calm = true
}

func (m *moody) seen() []moodyCall {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.calls)
}

// arrived checks what became of the alert with a word in a channel: it is there, and there again only where nobody could know that it was,
// and saying so. It returns how often it is there.
func (m *moody) arrived(t *testing.T, channel, word string) (n int) {
	t.Helper()
	var before *moodyCall // that took it
	excused := false      // whether lookout could not know
	for _, c := range m.seen() {
		if c.channel != channel {
			continue
		}
		if before != nil && c.life == before.life && !before.lost {
			excused = false // it went on to the next message, so it had noted that this one was taken
		}
		if !c.taken || !strings.Contains(c.text, word) {
			continue
		}
		if n++; before != nil {
			if !excused {
				t.Errorf("%s: the alert about %s was sent again in %s, though the answer in %s was seen", channel, word, c.life, before.life)
			}
			if !strings.Contains(c.text, "may be a repeat") {
				t.Errorf("%s: the alert about %s was sent again and does not say so: %s", channel, word, c.text)
			}
		}
		one := c
		before, excused = &one, true // a kill may come before the answer is noted
	}
	if n == 0 {
		t.Errorf("%s: the alert about %s is lost", channel, word)
	}
	return n
}

// wordOf names a round without digits, which would be masked.
func wordOf(i int) string {
	word := []byte("xxxxq")
	for k := range 4 {
		word[k] = 'g' + byte(i%16) // from g on it is no hex
		i /= 16
	}
	return string(word)
}

// killAlert is an alert as the command line shows it.
type killAlert struct {
	ID                      uint64
	Rule, Service, Title    string
	State, By, Acknowledged string
	ResolvedBy              string `json:"resolved_by"`
}

// TestKillAlerts kills lookout again and again while Slack and Pushover answer badly, each time while somebody silences, acknowledges or
// expects something or right behind the answer. What was answered well is there after each kill, no alert is lost, and one comes twice
// only where the answer was lost, and says so.
func TestKillAlerts(t *testing.T) {
	slack, phone := alertingtest.New(), alertingtest.NewUnlisteningPushover()
	defer slack.Close()
	slack.Require(slackToken)
	slack.RequireApp(slackAppToken)
	phone.Require(pushoverToken, pushoverUser)
	inSlack := &moody{to: slack, path: "chat.postMessage", rng: rand.New(rand.NewPCG(7, 1))}
	onPhone := &moody{to: phone, path: "messages.json", rng: rand.New(rand.NewPCG(7, 2))}
	slackServer, phoneServer := httptest.NewServer(inSlack), httptest.NewServer(onPhone)
	defer slackServer.Close()
	defer phoneServer.Close()

	// A channel takes 20 new messages in five minutes.
	const aChannel, pages, kinds = 10, 6, 15
	dir := t.TempDir()
	config := `
slack: { token: ` + slackToken + `, app_token: ` + slackAppToken + ` }
pushover: { token: ` + pushoverToken + `, user: ` + pushoverUser + ` }
rules:
  - { name: farm, query: 'service:farm level>=error', channel: "#farm", page: true }
  - { name: muted, query: 'service~"^muted-" level>=error', channel: "#muted" }
  - { name: system, query: 'service:kernel', mode: unexpected, expect: ['"booting linux"'], severity: warning, channel: "#kernel" }
`
	for i := range *kills/aChannel + 1 {
		config += fmt.Sprintf("  - { name: team-%d, query: 'service:team-%[1]d level>=error', channel: \"#team-%[1]d\" }\n", i)
	}
	if err := os.WriteFile(filepath.Join(dir, "lookout.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	life := 0
	env := func() []string {
		return []string{"LOOKOUT_SLACK_API=" + inSlack.base(slackServer, life, "/api/"), "LOOKOUT_PUSHOVER_API=" + onPhone.base(phoneServer, life, "/1/")}
	}
	s := serve(t, dir, env()...)

	tell := func(service, level, message string) {
		t.Helper()
		if code, c, text := s.post(strings.NewReader(fmt.Sprintf(`{"service":%q,"level":%q,"message":%q}`, service, level, message))); code != http.StatusOK || c.Accepted != 1 {
			t.Fatalf("%d %s", code, text)
		}
	}
	list := func() []killAlert {
		t.Helper()
		out, errs, code := s.cli("", "alerts", "--json")
		if code > 1 {
			t.Fatalf("lookout alerts: %d %s", code, errs)
		}
		var all []killAlert
		for dec := json.NewDecoder(strings.NewReader(out)); ; {
			var one killAlert
			if err := dec.Decode(&one); err == io.EOF {
				return all
			} else if err != nil {
				t.Fatalf("lookout alerts: %v: %s", err, out)
			}
			all = append(all, one)
		}
	}
	// about waits for a service's alert about a word.
	about := func(service, word string) (found killAlert) {
		t.Helper()
		eventually(t, "an alert of "+service+" about "+word, time.Minute, func() bool {
			for _, a := range list() {
				if a.Service == service && strings.Contains(a.Title, word) {
					found = a
					return true
				}
			}
			return false
		})
		return found
	}

	type told struct{ channel, word string }
	var alerts []told               // must arrive
	var paged []string              // must arrive on the phone too
	var silenced, expected []string // must never be told any more
	acked := map[uint64]string{}    // by whom
	expectedID := map[uint64]bool{}
	var meanwhile [3]int // actions that a kill came into: silence, acknowledge, expect
	rng := rand.New(rand.NewPCG(7, 3))
	for round := range *kills {
		word := wordOf(round)
		team := fmt.Sprintf("team-%d", round/aChannel)
		tell(team, "error", "disk "+word+" broke")
		alerts = append(alerts, told{"#" + team, word})
		if len(paged) < pages {
			tell("farm", "error", "machine "+word+" is down")
			alerts, paged = append(alerts, told{"#farm", word}), append(paged, word)
		}
		what := round % 3
		if what == 2 && len(expected) >= kinds {
			what = 0
		}
		var do func() bool
		var done func()
		switch what {
		case 0:
			do = func() bool {
				_, _, code := s.cli("", "silence", "add", `service="muted-`+word+`"`, "--for", "24h", "--comment", "for "+word)
				return code == 0
			}
			done = func() { silenced = append(silenced, word) }
		case 1:
			id, by := about(team, word).ID, "ann-"+word
			do = func() bool {
				_, _, code := s.cli("", "alerts", "ack", fmt.Sprint(id), "--by", by)
				return code == 0
			}
			done = func() { acked[id] = by }
		case 2:
			tell("kernel", "warning", "module "+word+" has no signature")
			alerts = append(alerts, told{"#kernel", word})
			id := about("kernel", word).ID
			var message alertingtest.SlackMessage
			eventually(t, "a message about "+word, 2*time.Minute, func() bool {
				for _, m := range slack.Messages("#kernel") {
					if m.ThreadTS == "" && strings.Contains(m.Text, word) {
						message = m
						return true
					}
				}
				return false
			})
			eventually(t, "a connection for buttons", time.Minute, func() bool { return slack.Connections() > 0 })
			var press alertingtest.Press
			pressed := false
			do = func() bool {
				var err error
				if pressed { // a slow machine, or the connection was that of before the kill: ann sees a warning sign, and presses again
					err = slack.Deliver(t.Context(), press)
				} else {
					press, err = slack.Press(t.Context(), message, "This is expected", alertingtest.SlackUser{ID: "U7", Name: "ann-" + word})
					pressed = true
				}
				return err == nil
			}
			done = func() {
				expected = append(expected, word)
				expectedID[id] = true
			}
		}
		// A kill comes right behind the answer, or at any moment before: the latter is not a wait for something.
		if pause := time.Duration(rng.IntN(60)) * time.Millisecond; round/3%2 == 0 {
			killed := make(chan struct{})
			go func() {
				time.Sleep(pause)
				s.kill()
				close(killed)
			}()
			if do() {
				done()
			} else {
				meanwhile[what]++
			}
			<-killed
		} else {
			eventually(t, "it is answered", time.Minute, do)
			done()
			s.kill()
		}
		life++
		s.env = env()
		s.start()

		out, errs, code := s.cli("", "silence", "list", "--json")
		if code > 1 {
			t.Fatalf("lookout silence list: %d %s", code, errs)
		}
		for _, word := range silenced {
			if !strings.Contains(out, `"for `+word+`"`) {
				t.Errorf("kill %d: the silence for %s is gone: %s", life, word, out)
			}
		}
		there := 0
		for _, a := range list() {
			if by := acked[a.ID]; by != "" {
				there++
				if !strings.HasPrefix(a.By, by) || a.Acknowledged == "" {
					t.Errorf("kill %d: it is forgotten that %s has acknowledged: %+v", life, by, a)
				}
			}
			if expectedID[a.ID] {
				there++
				if a.State != "resolved" || !strings.HasPrefix(a.ResolvedBy, "ann-") {
					t.Errorf("kill %d: it is forgotten that somebody expects this: %+v", life, a)
				}
			}
		}
		if there != len(acked)+len(expectedID) {
			t.Errorf("kill %d: %d of %d alerts that people saw to are there", life, there, len(acked)+len(expectedID))
		}
		// What is silenced and what is expected goes on.
		if len(silenced) > 0 {
			tell("muted-"+silenced[len(silenced)-1], "error", "nobody wants to know")
		}
		if len(expected) > 0 {
			tell("kernel", "warning", "module "+expected[len(expected)-1]+" has no signature")
		}
	}
	inSlack.calmDown()
	onPhone.calmDown()
	for _, word := range silenced {
		tell("muted-"+word, "error", "nobody wants to know")
	}
	for _, word := range expected {
		tell("kernel", "warning", "module "+word+" has no signature")
	}
	eventually(t, "everything is decided and told", 2*time.Minute, func() bool {
		m := s.metrics()
		return m["lookout_alerting_lag_events"] == 0 && m["lookout_alerting_outbox_messages"] == 0
	})

	again := 0
	for _, a := range alerts {
		again += inSlack.arrived(t, a.channel, a.word) - 1
	}
	for _, word := range paged {
		again += onPhone.arrived(t, "", word) - 1
	}
	if m := slack.Messages("#muted"); len(m) != 0 {
		t.Errorf("what is silenced is told: %s", m[0].Content())
	}
	for _, m := range slack.Messages("#kernel") {
		if m.ThreadTS != "" && m.Broadcast {
			t.Errorf("what is expected is told again: %s", m.Content())
		}
	}
	for _, a := range list() {
		if expectedID[a.ID] && a.State != "resolved" {
			t.Errorf("what is expected has fired again: %+v", a)
		}
	}
	if f := phone.Failures(); len(f) != 0 {
		t.Errorf("Pushover would not like that: %q", f)
	}
	if len(silenced) == 0 || len(acked) == 0 || len(expected) == 0 {
		t.Errorf("%d silences, %d acknowledgements, %d expectations: the test did too little", len(silenced), len(acked), len(expected))
	}
	lost, refused := 0, 0
	for _, m := range []*moody{inSlack, onPhone} {
		for _, c := range m.seen() {
			if c.lost {
				lost++
			}
			if !c.taken {
				refused++
			}
		}
	}
	t.Logf("%d kills, %d alerts in Slack and %d on the phone, %d of them again; %d answers lost, %d calls refused; %d silences, %d acknowledgements, %d expectations, all there after each kill; %v killed before their answer",
		*kills, len(alerts), len(paged), again, lost, refused, len(silenced), len(acked), len(expected), meanwhile)
}
