package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/internal/fleet"
)

// at is a program that writes nowhere, at a fixed time.
func at(now time.Time) *program {
	return &program{stdout: io.Discard, stderr: io.Discard, env: func(string) (string, bool) { return "", false }, now: func() time.Time { return now }}
}

func TestContainersTable(t *testing.T) {
	now := time.Date(2026, 11, 21, 14, 0, 0, 0, time.UTC)
	started, percent, memory := now.Add(-3*time.Hour-5*time.Minute), 3.14159, 21_400_000.0
	all := []fleet.Container{
		{Name: "shop-sales-1", Service: "sales", Host: "web-1", State: "running", Health: "healthy", Started: &started, CPUPercent: &percent, MemoryBytes: &memory, Version: "1.2", Image: "sales:1.2", Logs: "followed"},
		{Name: "shop-sales-2", Service: "sales", Host: "web-1", State: "running", Health: "unhealthy", Restarts: 1234},
		{Name: "shop-sales-3", Service: "sales", Host: "web-1", State: "running", Health: "starting"},
		{Name: "nginx", Service: "nginx", Host: "web-1", State: "exited", Started: &started, Image: "nginx:latest", Logs: "sent by its driver (gelf)"},
		{Name: "bare", State: "running"},
	}
	got := string(at(now).containersTable(false, all).bytes())
	want := `CONTAINER     SERVICE  HOST   STATE                UP    CPU   MEMORY  RESTARTS  VERSION       LOGS
shop-sales-1  sales    web-1  running (healthy)    3h5m  3.1%  21 MB   0         1.2           followed
shop-sales-2  sales    web-1  running (unhealthy)  -     -     -       1,234     -             -
shop-sales-3  sales    web-1  running (starting)   -     -     -       0         -             -
nginx         nginx    web-1  exited               -     -     -       0         nginx:latest  sent by its driver (gelf)
bare          -        -      running              -     -     -       0         -             -
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	colored := string(at(now).containersTable(true, all).bytes())
	for _, want := range []string{
		"\x1b[2mCONTAINER\x1b[m     \x1b[2mSERVICE\x1b[m", "\x1b[32mrunning (healthy)\x1b[m    3h5m", "\x1b[1;31mrunning (unhealthy)\x1b[m  -", "\x1b[33mrunning (starting)\x1b[m", "\x1b[1;31mexited\x1b[m",
		"bare          -        -      \x1b[32mrunning\x1b[m",
	} {
		if !strings.Contains(colored, want) {
			t.Errorf("no %q in\n%q", want, colored)
		}
	}
}

func TestProbesTable(t *testing.T) {
	now := time.Date(2026, 11, 21, 14, 0, 0, 0, time.UTC)
	since, days := now.Add(-26*time.Hour), 12.7
	all := []fleet.Probe{
		{Name: "sales", Target: "sales", URL: "http://sales/status", OK: true, State: "up", Since: &since, Last: now.Add(-4 * time.Second), DurationMS: 12.3456, Status: 200, CertDays: &days},
		{Name: "pay", Target: "pay", URL: "http://pay/status", State: "up", Last: now, DurationMS: 5001, Status: 503, Error: "status 503"},
		{Name: "mail", Target: "mail", URL: "tcp://mail:25", State: "down", Since: &since, Last: now, Error: "refused"},
		{Name: "web", Target: "web", URL: "http://web/", OK: true, State: "down", Last: now, Status: 200},
		{Name: "new", State: "unknown", Last: now.Add(time.Second)},
	}
	got := string(at(now).probesTable(false, all).bytes())
	want := `PROBE  SERVICE  STATE              FOR   LAST  TIME    STATUS  CERTIFICATE  WHAT
sales  sales    up                 1d2h  4s    12.3ms  200     13d          http://sales/status
pay    pay      up (failing)       -     0s    5s      503     -            status 503
mail   mail     down               1d2h  0s    0s      -       -            refused
web    web      down (recovering)  -     0s    0s      200     -            http://web/
new    -        unknown            -     0s    0s      -       -            -
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	colored := string(at(now).probesTable(true, all).bytes())
	for _, want := range []string{"\x1b[32mup\x1b[m  ", "\x1b[33mup (failing)\x1b[m  ", "\x1b[1;31mdown\x1b[m  ", "\x1b[1;31mdown (recovering)\x1b[m  ", "\x1b[33munknown\x1b[m  "} {
		if !strings.Contains(colored, want) {
			t.Errorf("no %q in\n%q", want, colored)
		}
	}
}

func TestAlertsTable(t *testing.T) {
	now := time.Date(2026, 11, 21, 14, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	all := []alerting.IncidentInfo{
		{ID: 12, Rule: "pages", Service: "sales", Title: "[error] sales: down", State: alerting.Firing, Count: 1, Since: ago(time.Minute), Last: ago(time.Minute)},
		{ID: 7, Rule: "pages", Service: "pay", Title: "[error] pay: down", State: alerting.Acknowledged, Count: 2, Since: ago(time.Hour), Acknowledged: ago(2 * time.Minute), By: "phone", Last: ago(time.Hour)},
		{
			ID: 9, Rule: "errors", Service: "web", Title: "[error] web: x", State: alerting.Resolved, Count: 17, Late: 3, Since: ago(time.Hour), Resolved: ago(time.Second), Last: ago(3 * time.Second),
			Marks: []alerting.IncidentMark{{Says: "deploy v2 by ann, 4 min before"}, {Says: "deploy v1 by ann, 9 min before"}},
		},
	}
	want := `ID  STATE                 FOR  SERVICE  EVENTS       LAST  RULE    WHAT
12  firing                1m   sales    1            1m    pages   [error] sales: down
7   acknowledged (phone)  2m   pay      2            1h    pages   [error] pay: down
9   resolved              1s   web      17 (3 late)  3s    errors  [error] web: x (deploy v2 by ann, 4 min before)
`
	if diff := cmp.Diff(want, string(at(now).alertsTable(false, all).bytes())); diff != "" {
		t.Error(diff)
	}
	colored := string(at(now).alertsTable(true, all).bytes())
	for _, want := range []string{"\x1b[1;31mfiring\x1b[m", "\x1b[33macknowledged (phone)\x1b[m", "\x1b[32mresolved\x1b[m"} {
		if !strings.Contains(colored, want) {
			t.Errorf("no %q in\n%q", want, colored)
		}
	}
}

func TestAgesAndTimes(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 0: "0s", 59 * time.Second: "59s", time.Minute: "1m", 61 * time.Second: "1m1s", time.Hour - 1: "59m59s", time.Hour + 59*time.Second: "1h", 25*time.Hour + time.Minute: "1d1h",
		24 * time.Hour: "1d", 1000 * 24 * time.Hour: "1000d",
	} {
		if got := ageText(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "0s", 999: "999ns", 1234: "1.23µs", 12345678: "12.3ms", 1234567890: "1.23s", 5 * time.Second: "5s", 72 * time.Second: "1m12s"} {
		if got := tookText(d); got != want {
			t.Errorf("%v: %s, want %s", int64(d), got, want)
		}
	}
}

// serveLists is a server that lists the same things each time.
func serveLists(t *testing.T, containers, probes string) *session {
	mux := http.NewServeMux()
	mux.HandleFunc("/api/v1/containers", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, containers) })
	mux.HandleFunc("/api/v1/probes", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, probes) })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "{}", http.StatusNotFound) })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return newSession(t, server.URL, "t")
}

func TestLists(t *testing.T) {
	s := serveLists(t, `{"containers":[{"container":"a<1>","service":"sales","host":"h","state":"running","restarts":0,"last":"2026-01-02T03:04:05Z"},
		{"container":"b\u001b[31m\t\u202ex y","service":"nginx","host":"h","state":"exited","restarts":2,"last":"2026-01-02T03:04:05Z"}]}`,
		`{"probes":[{"name":"p","target":"sales","ok":true,"state":"up","last":"2026-01-02T03:04:05Z","duration_ms":1,"page":false}]}`)
	for _, c := range []struct {
		args           string
		code           int
		stdout, stderr string // parts; an empty one is all
	}{
		{"containers", 0, "a<1>  ", ""},
		{"containers sal*", 0, "a<1>  ", ""},
		{"containers nginx --color never", 0, " exited ", ""},
		{"containers sales --color always", 0, "\x1b[32mrunning\x1b[m", ""},
		{"containers sales -o json", 0, `{"container":"a<1>","service":"sales","host":"h","state":"running","restarts":0,"last":"2026-01-02T03:04:05Z"}` + "\n", ""},
		{"containers sales --json", 0, `{"container":"a<1>",`, ""},
		{"containers slaes", 2, "", `no service "slaes"; did you mean sales?`},
		{"containers -o csv", 2, "", `-o: there is no form "csv"; use auto or json`},
		{"containers --color red", 2, "", `--color: there is no "red"`},
		{"probes", 0, "p      sales    up ", ""},
		{"probes sales --json", 0, `{"name":"p","target":"sales","ok":true,"state":"up","last":"2026-01-02T03:04:05Z","duration_ms":1,"page":false}` + "\n", ""},
		{"probes nginx", 2, "", `no service "nginx"`},
	} {
		code, stdout, stderr := s.run("", strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) || c.stdout == "" && stdout != "" || c.stderr == "" && stderr != "" {
			t.Errorf("%s: %d\n%s%s", c.args, code, stdout, stderr)
		}
	}
	if _, stdout, _ := s.run("", "containers", "sal*"); strings.Contains(stdout, "nginx") {
		t.Error("a service that was not asked for")
	}
	for name, c := range map[string]struct {
		answer, stderr string
		code           int
	}{
		"nothing":    {`{"containers":[]}`, "lookout: no containers are known here\n", 1},
		"no lookout": {`{"x":1}`, "is this the address of a lookout server, of a version that fits?", 2},
		"no answer":  {"", "is this the address of a lookout server, of a version that fits?", 2},
	} {
		s := serveLists(t, c.answer, "")
		if code, stdout, stderr := s.run("", "containers"); code != c.code || stdout != "" || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%s: %d %s%s", name, code, stdout, stderr)
		}
	}
	// A server of the version before this one.
	old := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotImplemented)
		io.WriteString(w, `{"error":{"code":"not_implemented","message":"probes is not built yet","mend":"x"}}`)
	}))
	t.Cleanup(old.Close)
	if code, _, stderr := newSession(t, old.URL, "t").run("", "probes"); code != 2 || !strings.Contains(stderr, "is a server of an earlier version, which does not know of probes") {
		t.Error(code, stderr)
	}
}

// The address logs a browser in, once.
func TestUI(t *testing.T) {
	s := withServer(t)
	code, stdout, stderr := s.run("", "ui")
	address, secret, ok := strings.Cut(strings.TrimSuffix(stdout, "\n"), "/#login=")
	if code != 0 || !ok || address != s.env["LOOKOUT_URL"] || !strings.Contains(stderr, "it works once, until ") || strings.Contains(stderr, secret) {
		t.Fatal(code, stdout, stderr)
	}
	login := func() *http.Response {
		t.Helper()
		resp, err := http.Post(address+"/api/v1/login", "application/json", strings.NewReader(`{"code":"`+secret+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	first, second := login(), login()
	if first.StatusCode != 204 || len(first.Cookies()) != 1 || second.StatusCode != 401 {
		t.Fatal(first.Status, second.Status)
	}
	r, err := http.NewRequest("GET", address+"/api/v1/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.AddCookie(first.Cookies()[0])
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var me struct{ Name, Role string }
	if err := json.NewDecoder(resp.Body).Decode(&me); err != nil || me.Name != "admin" || me.Role != "admin" {
		t.Error(resp.Status, me, err)
	}
	// What is no lookout gives no code.
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") }))
	t.Cleanup(server.Close)
	if code, stdout, stderr := newSession(t, server.URL, "t").run("", "ui"); code != 2 || stdout != "" || !strings.Contains(stderr, "gave no code") {
		t.Error(code, stdout, stderr)
	}
}
