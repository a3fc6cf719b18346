package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting/alertingtest"
)

// Probes through the real binary: a service goes down and comes back, over a kill -9 in between; one flaps; one is an
// address that serves cloud credentials. Each is searchable, and an incident in Slack exactly once.
func TestProbes(t *testing.T) {
	slack := alertingtest.New()
	defer slack.Close()

	var broken, flapping atomic.Bool
	var flips, got atomic.Int64
	flapping.Store(true)
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/status":
			got.Add(1)
			if r.Header.Get("Authorization") != "Bearer pass-word" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			if broken.Load() {
				http.Error(w, `{"db":"down"}`, http.StatusServiceUnavailable)
				return
			}
			fmt.Fprint(w, `{"db":"up"}`)
		case "/flaps":
			if flips.Add(1)%2 == 0 && flapping.Load() {
				w.WriteHeader(http.StatusBadGateway)
			}
		case "/away":
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data/", http.StatusFound)
		}
	}))
	defer shop.Close()
	address := strings.TrimPrefix(shop.URL, "http://")

	dir := t.TempDir()
	config := `
slack: { api: "` + slack.URL() + `", token: xoxb-test, channel: "#ops" }
docker: "off"
probes:
  - { name: sales, url: "` + shop.URL + `/status", headers: { Authorization: Bearer pass-word }, every: 1s, confirm: 2s, recover: 3s, env: test, expect: 'status:200..299 json.db:up' }
  - { name: flaps, url: "` + shop.URL + `/flaps", every: 1s, confirm: 2s, recover: 4s, service: wobbly }
  - { name: metadata, url: "http://169.254.169.254/latest/meta-data/", every: 1s }
  - { name: away, url: "` + shop.URL + `/away", every: 1s }
  - { name: port, url: "tcp://` + address + `", every: 1s }
`
	if err := os.WriteFile(filepath.Join(dir, "lookout.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, dir)
	const long = 40 * time.Second
	rows := func(q string) []row { return s.query(q, "since", "1h", "order", "oldest") }
	one := func(q string) row {
		t.Helper()
		r := rows(q)
		if len(r) != 1 {
			t.Fatalf("%d events for %s: %+v", len(r), q, r)
		}
		return r[0]
	}
	// told returns the messages of the channel that have the word; replies in threads are not counted.
	told := func(word string) (list []alertingtest.SlackMessage) {
		for _, m := range slack.Messages("#ops") {
			if m.ThreadTS == "" && strings.Contains(m.Content(), word) {
				list = append(list, m)
			}
		}
		return list
	}

	eventually(t, "good results of sales and port", long, func() bool {
		return len(rows("service:probe probe:sales ok:true state:up")) > 0 && len(rows("service:probe probe:port ok:true")) > 0
	})
	r := rows("service:probe probe:sales ok:true")[0].Event
	if f := r.Fields; r.Level != "debug" || !strings.HasPrefix(r.Message, "sales ok: 200 in ") || fmt.Sprint(f["status"]) != "200" || fmt.Sprint(f["size_bytes"]) != "11" ||
		f["url"] != shop.URL+"/status" || f["phase.connect_ms"] == nil || f["duration"] == nil || f["body"] != nil {
		t.Errorf("%+v", r)
	}

	broken.Store(true)
	eventually(t, "sales is down", long, func() bool { return len(rows("service:sales change:down")) > 0 && len(told("sales is down")) > 0 })
	because := "sales is down: status 503, json.db down, expected status:200..299 json.db:up (GET " + shop.URL + "/status), failing since "
	if r := one("service:sales change:down").Event; r.Level != "error" || !strings.HasPrefix(r.Message, because) || r.Fields["fingerprint"] != "probe:sales" || r.Fields["page"] != false {
		t.Errorf("%+v", r)
	}
	if r := rows("service:probe probe:sales ok:false state:down"); len(r) == 0 || !strings.Contains(fmt.Sprint(r[0].Event.Fields["body"]), `{"db":"down"}`) || r[0].Event.Level != "notice" {
		t.Errorf("%+v", r)
	}

	// Killed while it is down: nothing is told again.
	s.kill()
	s.start()
	before := got.Load()
	eventually(t, "four more checks of sales", long, func() bool { return got.Load() >= before+4 })
	one("service:sales change:*")

	broken.Store(false)
	eventually(t, "sales is up again", long, func() bool { return len(rows("service:sales change:up")) > 0 })
	if r := one("service:sales change:up").Event; r.Level != "info" || !strings.HasPrefix(r.Message, "sales is up again after ") || r.Fields["down_seconds"] == nil {
		t.Errorf("%+v", r)
	}
	eventually(t, "sales in Slack: resolved", long, func() bool {
		m := told("sales is down")
		return len(m) == 1 && m[0].Edits > 0
	})

	// What would be asked with lookout's own credentials is not asked.
	const refused = "refusing to connect to 169.254.169.254: link-local addresses serve cloud metadata; allow it with probe_allow"
	for _, name := range []string{"metadata", "away"} {
		eventually(t, name+" is refused", long, func() bool { return len(rows("service:probe ok:false probe:"+name)) > 0 })
		if r := rows("service:probe probe:" + name)[0].Event; r.Message != name+" failed: "+refused || r.Fields["error"] != refused {
			t.Errorf("%+v", r)
		}
	}

	eventually(t, "16 checks of the one that flaps", time.Minute, func() bool { return flips.Load() >= 16 })
	if r := one("service:wobbly change:*").Event; r.Fields["change"] != "down" {
		t.Errorf("%+v", r)
	}
	flapping.Store(false)
	eventually(t, "it comes up when it is done", long, func() bool { return len(rows("service:wobbly change:up")) == 1 })
	eventually(t, "one message in Slack, resolved", long, func() bool {
		m := told("flaps is down")
		return len(m) == 1 && m[0].Edits > 0
	})
	one("service:wobbly change:down")

	for _, m := range slack.Messages() {
		if strings.Contains(m.Content(), "pass-word") {
			t.Error("a password is in Slack")
		}
	}
	if len(rows("pass-word")) > 0 || strings.Contains(s.log.String(), "pass-word") {
		t.Error("a password is in an event or in the log")
	}
	if code, took := s.stop(); code != 0 || took > patience*10*time.Second {
		t.Errorf("SIGTERM: exit %d after %v", code, took)
	}
}
