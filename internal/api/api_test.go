package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/auth"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/leak"
	"github.com/lookoutlog/lookout/internal/rehearse"
)

func TestMain(m *testing.M) { leak.VerifyTestMain(m) }

const (
	token  = auth.Prefix + "canary-0123456789-admin"
	writer = auth.Prefix + "canary-0123456789-writer"
	start  = int64(1_800_000_000_000_000_000) // 2027-01-15T08:00:00Z
)

func line(service, message string, seconds int64) event.Event {
	return event.Event{Time: start + seconds*int64(time.Second), Level: event.Info, Service: []byte(service), Message: []byte(message)}
}

// locked is a log that handlers write to while the test reads.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// noRules is a rulebook without rules.
type noRules struct{}

func (noRules) Rules() []alerting.RuleInfo { return []alerting.RuleInfo{} }

func (noRules) Backtest(context.Context, BacktestRequest, func(done, total int64), func(rehearse.Notification) error) (*rehearse.Summary, error) {
	return nil, &AskError{Field: "rule", Message: "names no rule in force", Mend: "there are none"}
}

func (noRules) TestRules(context.Context, RuleTestRequest) (*RuleTest, error) {
	return nil, &AskError{Message: "there is no rule", Mend: "make one"}
}

// nobody has no channels.
type nobody struct{}

func (nobody) Channels() ([]ChannelInfo, error) { return []ChannelInfo{}, nil }

func (nobody) SendTest(context.Context, string, alerting.Test) (alerting.TestResult, error) {
	return alerting.TestResult{}, &AskError{Field: "channel", Message: "is not configured", Mend: "there are none"}
}

type fixture struct {
	*API
	t     testing.TB
	store *memory
	log   *locked
}

func newFixture(t testing.TB, change ...func(*Options)) *fixture {
	t.Helper()
	f := &fixture{t: t, store: newMemory(), log: &locked{}}
	o := Options{
		Store: f.store, Rulebook: noRules{}, Notifier: nobody{},
		Events: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				http.Error(w, "", http.StatusBadRequest)
				return
			}
			f.store.append(line("in", string(body), 0))
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"accepted":1}`)
		}),
		Auth: auth.New(auth.Token{Identity: auth.Identity{Name: "admin", Role: auth.Admin}, Secret: token},
			auth.Token{Identity: auth.Identity{Name: "writer", Role: auth.Write}, Secret: writer}),
		Saved:    &searches{},
		Version:  "v9",
		Registry: prometheus.NewRegistry(),
		Log:      slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Clock:    func() time.Time { return time.Unix(0, start) },
	}
	for _, c := range change {
		c(&o)
	}
	f.API = New(o)
	t.Cleanup(f.Close)
	return f
}

// do sends a request with the token, straight to the handler.
func (f *fixture) do(method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	conforms(f.t, r, w)
	return w
}

type answer struct {
	Error struct {
		Code, Message, Mend, Field string
		Text                       *string
		Position, End              *int
	}
}

func errorOf(t testing.TB, body []byte) answer {
	t.Helper()
	var a answer
	if err := json.Unmarshal(body, &a); err != nil || a.Error.Code == "" || a.Error.Message == "" || a.Error.Mend == "" {
		t.Errorf("not an error of the API: %s", body)
	}
	return a
}

// server is the API behind a real connection.
func (f *fixture) server(t testing.TB) *httptest.Server {
	s := httptest.NewServer(f)
	t.Cleanup(func() {
		f.Close()
		s.Close()
	})
	return s
}

func (f *fixture) get(t testing.TB, ctx context.Context, address string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, "GET", address, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		resp.Body.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return resp
}

func TestQuery(t *testing.T) {
	f := newFixture(t)
	f.store.append(line("b", "two timeout", 2), line("a", "one timeout", 1), line("a", "three", 3), line("a", "four timeout", 4))
	f.store.events[3].Fields = []event.Field{{Name: []byte("status"), Value: []byte("200"), Kind: event.Number}}
	for _, c := range []struct{ params, want string }{
		{"", "2 1 3 4"},
		{"q=timeout", "2 1 4"},
		{"q=timeout&order=newest", "4 1 2"},
		{"q=timeout&order=oldest&limit=2", "2 1"},
		{"q=timeout&order=newest&limit=1", "4"},
		{"q=service:a&sequence=3", "2 3"},
		{"after_sequence=2", "3 4"},
		{"after_sequence=1&sequence=3", "2 3"},
		{"after_sequence=3&sequence=3", ""},
		{"after_sequence=9", ""},
		{"since=2027-01-15T08:00:03Z", "3 4"},
		{"since=2027-01-15T08:00:03%2B00:00", "3 4"},
		{"until=2027-01-15T09:00:03%2B01:00", "2 1"},
		{"since=1800000002", "1 3 4"},
		{"since=1800000002.5", "3 4"},
		{"since=1800000002500", "3 4"},
		{"since=1800000002500000", "3 4"},
		{"since=1800000002500000000", "3 4"},
		{"since=15m", "2 1 3 4"},
		{"since=0&until=0", "2 1 3 4"},
		{"q=nothing", ""},
	} {
		// Ids are the order of arrival: the first event that came is the second by time.
		want := c.want
		want = strings.NewReplacer("1", "B", "2", "A").Replace(want)
		want = strings.NewReplacer("A", "2", "B", "1").Replace(want)
		for _, way := range []string{"GET", "POST"} {
			var w *httptest.ResponseRecorder
			if way == "GET" {
				w = f.do("GET", "/api/v1/query?"+c.params, "")
			} else {
				w = f.do("POST", "/api/v1/query", c.params, "Content-Type", "application/x-www-form-urlencoded")
			}
			ids, summary := readAnswer(t, w.Body.Bytes())
			if w.Code != 200 || strings.Join(ids, " ") != want || w.Header().Get("Content-Type") != "application/x-ndjson; charset=utf-8" {
				t.Errorf("%s %s: %d, %q, want %q", way, c.params, w.Code, ids, want)
			}
			if !summary.Complete || summary.Matched != int64(len(ids)) {
				t.Errorf("%s %s: summary %+v", way, c.params, summary)
			}
		}
	}
}

type summary struct {
	Searched struct{ Events, Bytes, Blocks, Pruned int64 }
	Matched  int64
	Complete bool
	Reasons  []string
	Sequence uint64
	TookMS   *float64 `json:"took_ms"`
	Services map[string]int64
	Warnings []string
}

// readAnswer returns the ids of the events and the summary, which must be the last line.
func readAnswer(t testing.TB, body []byte) (ids []string, s *summary) {
	t.Helper()
	for text := range strings.Lines(string(body)) {
		var l struct {
			Event   *struct{ ID string }
			Summary *summary
		}
		if err := json.Unmarshal([]byte(text), &l); err != nil || (l.Event == nil) == (l.Summary == nil) || s != nil || !strings.HasSuffix(text, "\n") {
			t.Fatalf("line %q, %v", text, err)
		}
		if s = l.Summary; s == nil {
			ids = append(ids, l.Event.ID)
		}
	}
	if s == nil {
		t.Fatalf("no summary in %s", body)
	}
	return ids, s
}

// What probes and containers say regularly is left out on request, but not from who asks for it.
func TestReports(t *testing.T) {
	f := newFixture(t)
	for _, e := range []struct{ service, stream, text string }{
		{"sales", "stdout", "sales line"}, {"probe", "probe", "sales ok"}, {"docker", "stats", "sales-1 cpu"}, {"sales", "probe", "sales is down"},
		{"probe", "stdout", "a sales service of this name"}, {"sales", "docker", "sales died"},
	} {
		l := line(e.service, e.text, 0)
		l.Stream = []byte(e.stream)
		f.store.append(l)
	}
	for _, c := range []struct {
		params string
		want   int64
	}{
		{"q=sales", 6}, {"q=sales&reports=true", 6}, {"q=sales&reports=false", 4}, {"reports=false", 4}, {"q=-down&reports=false", 3},
		{"q=stream:stats&reports=false", 1}, {"q=service:probe&reports=false", 2}, {"q=ok OR line&reports=false", 1},
	} {
		w := f.do("GET", "/api/v1/query?count=true&"+strings.ReplaceAll(c.params, " ", "%20"), "")
		var got struct{ Summary struct{ Matched int64 } }
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Summary.Matched != c.want {
			t.Errorf("%s: %s, want %d", c.params, w.Body, c.want)
		}
	}
	if w := f.do("GET", "/api/v1/query?reports=no", ""); w.Code != 400 {
		t.Errorf("reports=no: %d", w.Code)
	}
}

func TestSummary(t *testing.T) {
	f := newFixture(t)
	f.store.scan = query.Summary{Bytes: 5, Blocks: 6, Pruned: 7, Reasons: []string{"a block is corrupt"}, UnknownFields: []string{"main.go"}}
	f.store.append(line("a", "x", 1), line("b", "y", 2), line("a", "z", 3))
	w := f.do("GET", "/api/v1/query?count=true&q=-main.go:42", "")
	ids, s := readAnswer(t, w.Body.Bytes())
	if len(ids) != 0 || s.Matched != 3 || s.Sequence != 3 || s.Complete || !slices.Equal(s.Reasons, []string{"a block is corrupt"}) || s.Services["a"] != 2 || s.TookMS == nil ||
		s.Searched != (struct{ Events, Bytes, Blocks, Pruned int64 }{3, 5, 6, 7}) {
		t.Errorf("%s", w.Body)
	}
	if len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], `no field "main.go" here; for text quote it`) {
		t.Errorf("warnings %q", s.Warnings)
	}
	_, s = readAnswer(t, f.do("GET", "/api/v1/query?q=timeo*", "").Body.Bytes())
	if len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "substring") {
		t.Errorf("warnings %q", s.Warnings)
	}
}

func TestRows(t *testing.T) {
	f := newFixture(t)
	f.store.append(line("a", "one", 1), line("a", "two", 2))
	got := f.do("POST", "/api/v1/query", `{"q":"two","before":1,"limit":5,"count":false,"order":null}`, "Content-Type", "application/json; charset=utf-8").Body.String()
	want := `{"event":{"id":"1","time":"2027-01-15T08:00:01.000000000Z","received":"2027-01-15T08:00:01.000000001Z","level":"info","service":"a","message":"one"},"context":true,"group":1}
{"event":{"id":"2","time":"2027-01-15T08:00:02.000000000Z","received":"2027-01-15T08:00:02.000000001Z","level":"info","service":"a","message":"two"},"group":1}
`
	if rows, _, _ := strings.Cut(got, `{"summary"`); rows != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestBadParameters(t *testing.T) {
	f := newFixture(t)
	form, object := "application/x-www-form-urlencoded", "application/json"
	for _, c := range []struct {
		method, target, kind, body string
		status                     int
		code, field                string
	}{
		{"GET", "/api/v1/query?limit=ten", "", "", 400, "bad_parameter", "limit"},
		{"GET", "/api/v1/query?limit=-1", "", "", 400, "bad_parameter", "limit"},
		{"GET", "/api/v1/query?limit=1.5", "", "", 400, "bad_parameter", "limit"},
		{"GET", "/api/v1/query?limit=99999999999", "", "", 400, "bad_parameter", "limit"},
		{"GET", "/api/v1/query?limit=1&limit=2", "", "", 400, "bad_parameter", "limit"},
		{"GET", "/api/v1/query?limt=1", "", "", 400, "bad_parameter", ""},
		{"GET", "/api/v1/query?before=1001", "", "", 400, "bad_parameter", "before"},
		{"GET", "/api/v1/query?after=x", "", "", 400, "bad_parameter", "after"},
		{"GET", "/api/v1/query?sequence=99999999999999999999", "", "", 400, "bad_parameter", "sequence"},
		{"GET", "/api/v1/query?after_sequence=18446744073709551615", "", "", 400, "bad_parameter", "after_sequence"},
		{"GET", "/api/v1/query?after_sequence=4&sequence=3", "", "", 400, "bad_parameter", "after_sequence"},
		{"GET", "/api/v1/stats?after_sequence=4&sequence=3", "", "", 400, "bad_parameter", "after_sequence"},
		{"GET", "/api/v1/query?count=maybe", "", "", 400, "bad_parameter", "count"},
		{"GET", "/api/v1/query?order=Newest", "", "", 400, "bad_parameter", "order"},
		{"GET", "/api/v1/query?since=yesterday", "", "", 400, "bad_parameter", "since"},
		{"GET", "/api/v1/query?since=-5m", "", "", 400, "bad_parameter", "since"},
		{"GET", "/api/v1/query?since=2027-01-15T08:00:03+01:00", "", "", 400, "bad_parameter", "since"}, // + is a space
		{"GET", "/api/v1/query?until=2027-13-15T08:00:03Z", "", "", 400, "bad_parameter", "until"},
		{"GET", "/api/v1/query?since=5m&until=10m", "", "", 400, "bad_parameter", "since"},
		{"GET", "/api/v1/query?q=%zz", "", "", 400, "bad_parameter", ""},
		{"GET", "/api/v1/query?q=a;b=c", "", "", 400, "bad_parameter", ""},
		{"GET", "/api/v1/query?q=foo(bar)", "", "", 400, "bad_query", "q"},
		{"GET", "/api/v1/query?q=~%22(%22", "", "", 400, "bad_regex", "q"},
		{"POST", "/api/v1/query?q=a", form, "q=b", 400, "bad_parameter", "q"},
		{"POST", "/api/v1/query", form, "limit=x", 400, "bad_parameter", "limit"},
		{"POST", "/api/v1/query", form, "%", 400, "bad_body", ""},
		{"POST", "/api/v1/query", "text/plain", "q=b", 415, "bad_body", ""},
		{"POST", "/api/v1/query", "/;;", "q=b", 415, "bad_body", ""},
		{"POST", "/api/v1/query", form, strings.Repeat("x", maxForm+1), 413, "too_large", ""},
		{"POST", "/api/v1/query", object, `[]`, 400, "bad_body", ""},
		{"POST", "/api/v1/query", object, `"q"`, 400, "bad_body", ""},
		{"POST", "/api/v1/query", object, `null`, 400, "bad_body", ""},
		{"POST", "/api/v1/query", object, `{"q":["a"]}`, 400, "bad_body", ""},
		{"POST", "/api/v1/query", object, `{"q":{"a":1}}`, 400, "bad_body", ""},
		{"POST", "/api/v1/query", object, `{"q":"a","q":"b"}`, 400, "bad_parameter", "q"},
		{"POST", "/api/v1/query", object, `{"q":"a"`, 400, "bad_body", ""},
		{"POST", "/api/v1/query", object, `{"q":"a"}{}`, 400, "bad_body", ""},
		{"POST", "/api/v1/query", object, `{"q":}`, 400, "bad_body", ""},
		{"POST", "/api/v1/query", object, `{1:2}`, 400, "bad_body", ""},
		{"POST", "/api/v1/query", object, strings.Repeat(`{"q":`, 100_000), 400, "bad_body", ""},
		{"POST", "/api/v1/query", object, `{"limit":1e3}`, 400, "bad_parameter", "limit"},
		{"POST", "/api/v1/query", object, `{"limit":true}`, 400, "bad_parameter", "limit"},
		{"POST", "/api/v1/query", object, `{"limit":"x"}`, 400, "bad_parameter", "limit"},
		{"POST", "/api/v1/query", object, `{"count":2}`, 400, "bad_parameter", "count"},
		{"POST", "/api/v1/query", object, `{"since":false}`, 400, "bad_parameter", "since"},
		{"GET", "/api/v1/tail?after=x", "", "", 400, "bad_parameter", "after"},
		{"GET", "/api/v1/tail?after=1", "", "", 400, "bad_parameter", "after"}, // the store is empty
		{"GET", "/api/v1/tail?last=10001", "", "", 400, "bad_parameter", "last"},
		{"GET", "/api/v1/tail?after=0&last=1", "", "", 400, "bad_parameter", "last"},
		{"GET", "/api/v1/tail?since=1", "", "", 400, "bad_parameter", ""},
		{"GET", "/api/v1/tail?q=foo+OR", "", "", 400, "bad_query", "q"},
		{"GET", "/api/v1/services?x=1", "", "", 400, "bad_parameter", ""},
		{"PUT", "/api/v1/query", "", "", 405, "bad_method", ""},
		{"HEAD", "/api/v1/query", "", "", 405, "bad_method", ""},
		{"POST", "/api/v1/tail", "", "", 405, "bad_method", ""},
		{"POST", "/api/v1/services", "", "", 405, "bad_method", ""},
		{"GET", "/api/v1/events", "", "", 405, "bad_method", ""},
		{"POST", "/status", "", "", 405, "bad_method", ""},
		{"POST", "/", "", "", 405, "bad_method", ""},
		{"BREW", "/", "", "", 405, "bad_method", ""},
	} {
		w := f.do(c.method, c.target, c.body, "Content-Type", c.kind)
		if w.Code != c.status {
			t.Errorf("%s %s %.60s: %d %s", c.method, c.target, c.body, w.Code, w.Body)
		}
		if a := errorOf(t, w.Body.Bytes()); a.Error.Code != c.code || a.Error.Field != c.field {
			t.Errorf("%s %s %.60s: %s", c.method, c.target, c.body, w.Body)
		}
		if (w.Header().Get("Allow") != "") != (c.status == 405) {
			t.Errorf("%s %s: Allow %q", c.method, c.target, w.Header().Get("Allow"))
		}
	}
	if running, n := f.searches.counts(); n != 0 || running != 0 || f.openTails() != 0 {
		t.Error("something is still counted as running")
	}
}

func TestQueryErrorHasItsPlace(t *testing.T) {
	f := newFixture(t)
	for _, text := range []string{"timeout foo(bar)", "(", `ä "x`} {
		a := errorOf(t, f.do("GET", "/api/v1/query?q="+url.QueryEscape(text), "").Body.Bytes()).Error
		_, err := query.Parse(text)
		want := err.(*query.Error)
		if a.Text == nil || *a.Text != text || a.Position == nil || *a.Position != want.Pos || a.End == nil || *a.End != want.End || a.Mend != want.Mend {
			t.Errorf("%s: %+v, want %+v", text, a, want)
		}
	}
}

func TestParseTimes(t *testing.T) {
	now := time.Unix(0, start)
	for _, c := range []struct {
		text string
		want int64 // -7: an error
	}{
		{"", 0}, {"0", 0}, {"1", 1e9}, {"-1", -1e9}, {"-1.5", -1.5e9}, {"99999999999", 9223372036854775807}, {"9223372035", 9223372035e9}, {"9223372036", 9223372036854775807}, {"100000000000", 100000000000e6},
		{"1800000000.123456789", start + 123456789}, {"1800000000123.5", start + 123500000}, {"1800000000123456.5", start + 123456500}, {"1800000000123456789", start + 123456789},
		{"9223372036854775807", 9223372036854775807}, {"9223372036854775808", -7}, {"1.", -7}, {".5", -7}, {"+5", -7}, {"1.x", -7}, {"1e9", -7}, {"1,5", -7},
		{"2027-01-15T08:00:00Z", start}, {"2027-01-15T08:00:00.000000001Z", start + 1}, {"2027-01-15T09:00:00+01:00", start}, {"0001-01-01T00:00:00Z", -9223372036854775808},
		{"9999-01-01T00:00:00Z", 9223372036854775807}, {"2027-01-15", -7}, {"2027-01-15 08:00:00Z", -7},
		{"15m", start - 15*60e9}, {"1h30m", start - 90*60e9}, {"7d", start - 7*86400e9}, {"1d12h", start - 36*3600e9}, {"0s", start}, {"65535d", start - 65535*86400e9}, {"65536d", -7}, {"d", -7},
		{"-5m", -7}, {"1d-5m", -7}, {"5", 5e9}, {"m", -7}, {"now", -7}, {"9999999h", -7}, {"60000d2000000h", -7},
	} {
		got, err := params{"since": c.text}.time("since", now)
		if err != nil {
			got = -7
		}
		if got != c.want {
			t.Errorf("%q: %d, %v, want %d", c.text, got, err, c.want)
		}
	}
}

// Every route wants a token, those that do not exist included; the three public ones do not.
func TestTokens(t *testing.T) {
	f := newFixture(t)
	paths := []string{"/nothing", "/api", "/api/v1", "/api/v1/", "/loki", "/favicon.ico", "/status/", "/healthz/x", "/debug/pprof/", "/api/v1/query/", "/API/V1/QUERY", "/api/v1/%71uery"}
	for path := range f.exact {
		paths = append(paths, path)
	}
	for _, rt := range slices.Concat(f.templates, f.prefixes) {
		paths = append(paths, rt.pattern, rt.pattern+"x", rt.pattern+"x/y")
	}
	if len(paths) < 60 {
		t.Fatalf("only %d paths: the walk misses routes", len(paths))
	}
	for _, path := range paths {
		public := path == "/status" || path == "/healthz" || path == "/readyz" || path == "/api/v1/login"
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND"} {
			for _, header := range []string{"", "Bearer wrong", "Basic " + token} {
				r := httptest.NewRequest(method, path, nil)
				if header != "" {
					r.Header.Set("Authorization", header)
				}
				w := httptest.NewRecorder()
				f.ServeHTTP(w, r)
				if !public && (w.Code != 401 || !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Bearer")) || public && w.Code == 401 {
					t.Errorf("%s %s with %q: %d", method, path, header, w.Code)
				}
			}
		}
		// A token that may only write reads nothing.
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Authorization", "Bearer "+writer)
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		if !public && w.Code == 200 && path != "/api/v1/me" && path != "/api/v1/openapi.json" {
			t.Errorf("GET %s with a token for writing: 200", path)
		}
	}
	if w := f.do("POST", "/api/v1/events", "x", "Authorization", "Bearer "+writer); w.Code != 200 {
		t.Errorf("a token for writing cannot write: %d", w.Code)
	}
	if w := f.do("POST", "/api/v1/query", "", "Sec-Fetch-Site", "cross-site"); w.Code != 403 {
		t.Errorf("POST from another site: %d", w.Code)
	}
	if w := f.do("GET", "/api/v1/query?token="+token, ""); w.Code != 401 || !strings.Contains(w.Body.String(), "token_in_url") {
		t.Errorf("a token in the address: %d", w.Code)
	}
}

func TestReserved(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"/loki/api/v1/push", "/loki/api/v1/query_range", "/elastic/_bulk", "/elastic/", "/_bulk", "/v1/logs", "/services/collector", "/services/collector/event", "/gelf", "/upload",
		"/api/v2/alerts", "/page"} {
		for _, method := range []string{"GET", "POST"} {
			w := f.do(method, path, "")
			if a := errorOf(t, w.Body.Bytes()); w.Code != 501 || a.Error.Code != "not_implemented" || !strings.Contains(a.Error.Message, "is not built yet") {
				t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
			}
		}
	}
	if w := f.do("POST", "/", "{}", "X-Amz-Target", "Logs_20140328.PutLogEvents"); w.Code != 501 || !strings.Contains(w.Body.String(), "CloudWatch") {
		t.Errorf("CloudWatch: %d %s", w.Code, w.Body)
	}
	for _, path := range []string{"/nothing", "/lokix", "/api/v1", "/api/v1/", "/api/v1/query/", "/api/v1/queryx", "/API/V1/QUERY", "/gelf/", "/status/"} {
		if w := f.do("GET", path, ""); w.Code != 404 || errorOf(t, w.Body.Bytes()).Error.Code != "not_found" {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := newFixture(t, func(o *Options) { o.Events = nil }).do("POST", "/api/v1/events", ""); w.Code != 501 {
		t.Errorf("events without an input: %d", w.Code)
	}
}

// An agent has no store: it takes events, says how it is, and sends who searches to its server.
func TestAgent(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Store = nil })
	for _, path := range []string{"/api/v1/query", "/api/v1/tail", "/api/v1/services", "/api/v1/context?id=1"} {
		if w := f.do("GET", path, ""); w.Code != 501 || errorOf(t, w.Body.Bytes()).Error.Code != "agent" {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	for _, path := range []string{"/status", "/metrics", "/api/v1/check?q=x"} {
		if w := f.do("GET", path, ""); w.Code != 200 {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

// A path that another reader could take for something else is refused, and nothing is redirected.
func TestPathTricks(t *testing.T) {
	f := newFixture(t)
	s := f.server(t)
	for _, c := range []struct {
		path   string
		status int
	}{
		{"//api/v1/query", 400}, {"/api//v1/query", 400}, {"/api/v1/query//", 400}, {"//", 400},
		{"/api/../api/v1/query", 400}, {"/status/../api/v1/query", 400}, {"/./api/v1/query", 400}, {"/api/v1/..", 400}, {"/..", 400},
		{"/%2e%2e/api/v1/query", 400}, {"/status/%2E%2E/api/v1/query", 400}, {"/%252e%252e/x", 400}, {"/status/%252e", 400},
		{"/api%2fv1%2fquery", 400}, {"/status%2F..%2Fapi", 400}, {"/%2fstatus", 400}, {"/status%5c..%5capi", 400}, {`/status\x`, 400},
		{"/status%00", 400}, {"/status%0a", 400}, {"/status%7f", 400}, {"/status%ff", 400}, {"/status%25", 400},
		{"/" + strings.Repeat("a", 4096), 414},
		{"/stat%75s", 200},       // one decoding, for the router and the check alike
		{"/api/v1/%71uery", 401}, //
		{"/status;x", 401}, {"/status%3fx", 401}, {"/...", 401}, {"/status/", 401}, {"/STATUS", 401}, {"/status%20", 401},
	} {
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", c.path) // no client tidies it up
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", c.path, err)
		}
		body, err := io.ReadAll(resp.Body)
		conn.Close()
		if err != nil || resp.StatusCode != c.status {
			t.Errorf("%.60s: %d %.200s", c.path, resp.StatusCode, body)
		}
		if c.status != 200 {
			errorOf(t, body)
		}
	}
}

func TestHealth(t *testing.T) {
	ready := errors.New("replaying the log")
	f := newFixture(t, func(o *Options) { o.Ready = func() error { return ready } })
	for _, c := range []struct {
		path   string
		ready  error
		status int
		body   string
	}{
		{"/status", nil, 200, `{"status":"ok","version":"v9"}`},
		{"/status", ready, 503, `{"message":"replaying the log","status":"down","version":"v9"}`},
		{"/readyz", nil, 200, `{"status":"ready"}`},
		{"/readyz", ready, 503, `{"message":"replaying the log","status":"not ready"}`},
		{"/healthz", nil, 200, `{"status":"ok"}`},
		{"/healthz", ready, 200, `{"status":"ok"}`},
	} {
		ready = c.ready
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequest("GET", c.path, nil))
		if w.Code != c.status || strings.TrimSpace(w.Body.String()) != c.body {
			t.Errorf("%s with %v: %d %s", c.path, c.ready, w.Code, w.Body)
		}
	}
	if w := f.do("GET", "/", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "lookout grep") || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Errorf("/: %d %s", w.Code, w.Body)
	}
}

func TestServices(t *testing.T) {
	f := newFixture(t)
	if got := strings.TrimSpace(f.do("GET", "/api/v1/services", "").Body.String()); got != `{"services":[]}` {
		t.Error(got)
	}
	f.store.info = []query.ServiceInfo{{Name: "b<", Hosts: []string{"h1", "h2"}, Events: 3, Bytes: 99, FirstSeen: start, LastSeen: start + 1}, {Name: "a"}}
	f.store.info[0].Levels[event.Error] = 2
	f.store.info[0].Levels[event.None] = 1
	want := `{"services":[{"name":"a","hosts":[],"events":0,"bytes":0,"levels":{}},` +
		`{"name":"b<","hosts":["h1","h2"],"events":3,"bytes":99,"first_seen":"2027-01-15T08:00:00.000000000Z","last_seen":"2027-01-15T08:00:00.000000001Z","levels":{"error":2}}]}`
	if got := strings.TrimSpace(f.do("GET", "/api/v1/services", "").Body.String()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestMetrics(t *testing.T) {
	f := newFixture(t)
	f.do("GET", "/api/v1/query?q=x", "")
	f.do("GET", "/nothing-"+token, "")
	f.do("BREW", "/api/v1/services", "")
	f.do("GET", "//", "")
	f.do("GET", "/api/v1/tail?q=(", "")
	got := f.do("GET", "/metrics", "").Body.String()
	for _, want := range []string{
		`lookout_http_requests_total{code="200",method="GET",route="/api/v1/query"} 1`,
		`lookout_http_requests_total{code="404",method="GET",route="unknown"} 1`,
		`lookout_http_requests_total{code="405",method="other",route="/api/v1/services"} 1`,
		`lookout_http_requests_total{code="400",method="GET",route="bad path"} 1`,
		`lookout_http_request_duration_seconds_count{route="/api/v1/query"} 1`,
		"lookout_search_duration_seconds_count 1",
		"lookout_searches_running 0", "lookout_searches_waiting 0", "lookout_searches_refused_total 0", "lookout_tails_open 0", "lookout_http_panics_total 0",
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if strings.Contains(got, `duration_seconds_count{route="/api/v1/tail"}`) {
		t.Error("a live tail's length is taken for the time of a request")
	}
}

func TestNoQueue(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Limits = Limits{Searches: 1, Queue: -1} })
	inner := 0
	f.store.hook = func(context.Context, query.Request) error {
		inner = f.do("GET", "/api/v1/query", "").Code
		return nil
	}
	if w := f.do("GET", "/api/v1/query", ""); w.Code != 200 || inner != 429 {
		t.Errorf("%d, inside %d", w.Code, inner)
	}
}

func TestStoreErrors(t *testing.T) {
	f := newFixture(t)
	f.store.hook = func(context.Context, query.Request) error { return errors.New("disk gone") }
	w := f.do("GET", "/api/v1/query", "")
	if a := errorOf(t, w.Body.Bytes()); w.Code != 500 || a.Error.Code != "store" || !strings.Contains(a.Error.Message, "disk gone") || !strings.Contains(f.log.String(), "disk gone") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// failing breaks a search in the middle.
type failing struct {
	*memory
	err error
}

func (f failing) Search(ctx context.Context, r query.Request, fn func(query.Row) error) (query.Summary, error) {
	if s, err := f.memory.Search(ctx, r, fn); err != nil {
		return s, err
	}
	if f.err == nil {
		panic("in the middle")
	}
	return query.Summary{}, f.err
}

func TestBrokenAnswer(t *testing.T) {
	m := newMemory()
	m.append(line("a", "x", 1))
	f := newFixture(t, func(o *Options) { o.Store = failing{m, errors.New("disk gone")} })
	w := f.do("GET", "/api/v1/query", "")
	lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	if w.Code != 200 || len(lines) != 2 || !strings.HasPrefix(lines[0], `{"event"`) {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if a := errorOf(t, []byte(lines[1])); a.Error.Code != "store" {
		t.Errorf("%s", lines[1])
	}
}

func TestPanics(t *testing.T) {
	f := newFixture(t)
	f.store.hook = func(context.Context, query.Request) error { panic(errors.New("kaputt")) }
	w := f.do("GET", "/api/v1/query", "", "X-Request-Id", "my-id.1")
	if a := errorOf(t, w.Body.Bytes()); w.Code != 500 || a.Error.Code != "internal" || !strings.Contains(a.Error.Mend, "my-id.1") || strings.Contains(w.Body.String(), "kaputt") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if log := f.log.String(); !strings.Contains(log, "kaputt") || !strings.Contains(log, "my-id.1") || !strings.Contains(log, "goroutine") {
		t.Error(log)
	}
	if n, _ := f.searches.counts(); n != 0 {
		t.Error("the place was not given back")
	}
	// In the middle of an answer the connection is cut: what was sent must not look complete.
	m := newMemory()
	m.append(line("a", "x", 1))
	f = newFixture(t, func(o *Options) { o.Store = failing{m, nil} })
	resp := f.get(t, t.Context(), f.server(t).URL+"/api/v1/query")
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("the answer looks complete: %s", body)
	}
	if got := f.do("GET", "/metrics", "").Body.String(); !strings.Contains(got, "lookout_http_panics_total 1\n") {
		t.Error("the panic is not counted")
	}
}

func TestRequestIDs(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		given string
		kept  bool
	}{
		{"abc-DEF_1.2", true}, {strings.Repeat("a", 64), true}, {"", false}, {strings.Repeat("a", 65), false}, {"a b", false}, {"a\x01", false}, {"é", false}, {token, false}, {"a\"", false},
	} {
		got := f.do("GET", "/status", "", "X-Request-Id", c.given).Header().Get("X-Request-Id")
		if (got == c.given) != c.kept || got == "" {
			t.Errorf("%q: %q", c.given, got)
		}
		if !strings.Contains(f.log.String(), "request_id="+got) {
			t.Errorf("%q is not in the log", got)
		}
	}
	if a, b := f.do("GET", "/status", "").Header().Get("X-Request-Id"), f.do("GET", "/status", "").Header().Get("X-Request-Id"); a == b {
		t.Error("two requests have one id")
	}
}

// Rows arrive while the search goes on: the first at once, later ones after a moment at most.
func TestRowsComeAsTheyAreFound(t *testing.T) {
	m := newMemory()
	m.append(line("a", "x", 1), line("a", "y", 2))
	next := make(chan struct{})
	f := newFixture(t, func(o *Options) { o.Store = paced{m, next} })
	resp := f.get(t, t.Context(), f.server(t).URL+"/api/v1/query")
	r := bufio.NewReader(resp.Body)
	for range 2 {
		text, err := r.ReadString('\n')
		if err != nil || !strings.HasPrefix(text, `{"event"`) {
			t.Fatalf("%q, %v", text, err)
		}
		next <- struct{}{} // the store waits for this behind each row
	}
	if text, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(text, `{"summary"`) {
		t.Fatalf("%q, %v", text, err)
	}
}

type paced struct {
	*memory
	next chan struct{}
}

func (p paced) Search(ctx context.Context, r query.Request, fn func(query.Row) error) (query.Summary, error) {
	return p.memory.Search(ctx, r, func(row query.Row) error {
		err := fn(row)
		<-p.next
		return err
	})
}

// The token stands nowhere but in the request.
func TestNoTokenInLogsAndAnswers(t *testing.T) {
	f := newFixture(t)
	f.store.append(line("a", "x", 1))
	var answers strings.Builder
	for _, target := range []string{"/api/v1/query?q=x", "/api/v1/query?token=" + token, "/" + token, "/api/v1/query?limit=" + token, "/api/v1/query?" + token + "=1", "/api/v1/query?since=" + token,
		"/api/v1/tail?after=" + token, "/api/v1/tail?last=" + token, "/" + token + "//", "/loki/" + token, "/api/v1/services?" + token, "/metrics", "/"} {
		for _, method := range []string{"GET", "POST", token} {
			w := f.do(method, target, token+"="+token, "Content-Type", token, "X-Request-Id", token, "Origin", "http://"+token)
			fmt.Fprintln(&answers, w.Header(), w.Body)
			r := httptest.NewRequest(method, target, strings.NewReader(`{"`+token+`":1}`))
			r.Header.Set("Authorization", token)
			r.Header.Set("Content-Type", "application/json")
			w = httptest.NewRecorder()
			f.ServeHTTP(w, r)
			fmt.Fprintln(&answers, w.Header(), w.Body)
		}
	}
	f.store.hook = func(context.Context, query.Request) error { panic(strings.Repeat("x", 3)) }
	fmt.Fprintln(&answers, f.do("GET", "/api/v1/query", "").Body)
	if all := answers.String() + f.log.String(); strings.Contains(all, "canary") {
		i := strings.Index(all, "canary")
		t.Errorf("the token is in …%s…", all[max(0, i-200):i+50])
	}
}

func TestEventsComeIn(t *testing.T) {
	f := newFixture(t)
	if w := f.do("POST", "/api/v1/events", "hello"); w.Code != 200 || w.Body.String() != `{"accepted":1}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if string(f.store.events[0].Message) != "hello" {
		t.Errorf("%+v", f.store.events)
	}
}

func TestNoAllocationPerRow(t *testing.T) {
	e := line("shop", "GET /api/v1/orders/4711 failed", 1)
	s := newStream(newResponse(discard{}, httptest.NewRequest("GET", "/", nil)))
	defer s.end()
	row := query.Row{Event: &e, Group: 1}
	add := func() {
		if err := s.add(func(dst []byte) []byte { return appendRow(dst, row, true) }); err != nil {
			t.Fatal(err)
		}
	}
	for range 1000 {
		add()
	}
	if n := testing.AllocsPerRun(1000, add); n >= 0.5 { // a flush each few hundred rows starts a timer
		t.Errorf("%v allocations a row", n)
	}
}

// BenchmarkQuery is an answer of 100,000 rows without the store's work, which hands the same event in again and again.
func BenchmarkQuery(b *testing.B) {
	const rows = 100_000
	e := line("shop", "GET /api/v1/orders/4711 failed: connection refused after 3 tries", 1)
	e.Host, e.Fields = []byte("host-1"), []event.Field{{Name: []byte("status"), Value: []byte("500"), Kind: event.Number}, {Name: []byte("request_id"), Value: []byte("0f8fad5b-d9cb-469f-a165-70867728950e")}}
	f := newFixture(b, func(o *Options) { o.Store = repeat{o.Store.(*memory), &e, rows} })
	r := httptest.NewRequest("GET", "/api/v1/query", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	b.ReportAllocs()
	for b.Loop() {
		f.ServeHTTP(discard{}, r)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
}

type repeat struct {
	*memory
	event *event.Event
	rows  int
}

func (r repeat) Search(_ context.Context, _ query.Request, fn func(query.Row) error) (query.Summary, error) {
	for range r.rows {
		if err := fn(query.Row{Event: r.event}); err != nil {
			return query.Summary{}, err
		}
	}
	return query.Summary{Complete: true}, nil
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}
func (discard) Flush()                      {}

func FuzzRequests(f *testing.F) {
	f.Add("/api/v1/query", "q=a&limit=1", "application/x-www-form-urlencoded", "since=1")
	f.Add("/api/v1/query", "", "application/json", `{"q":"a OR","limit":[]}`)
	f.Add("/api/v1/tail", "after=%ff&last=", "", "")
	f.Add("/api/v1/services", "%", "multipart/form-data", "")
	f.Add("/api/v1/context", "id=1&before=2&after=0", "", "")
	f.Add("/api/v1/check", "", "application/json", `{"q":"(a"}`)
	f.Add("/api/v1/login", "", "application/json", `{"code":"x"}`)
	f.Add("/api/v1/logout", "x", "application/json", `{}`)
	f.Add("/api/v1/openapi.json", "", "", "")
	f.Add("/api/v1/export", "form=csv&cursor=AQ&limit=1", "", "")
	f.Add("/api/v1/top", "by=a,b", "", "")
	f.Add("/api/v1/saved/a", "", "application/json", `{"q":"x"}`)
	f.Add("/%2e%2e//", "token=x", "x", "")
	f.Add("/loki/\x00", "a;b", "", "")
	x := newFixture(f)
	x.store.append(line("a", "x", 1))
	x.Close() // a live tail that is accepted ends at once
	f.Fuzz(func(t *testing.T, path, params, kind, body string) {
		for _, method := range []string{"GET", "POST"} {
			r := &http.Request{Method: method, URL: &url.URL{Path: path, RawQuery: params}, Header: http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {kind}},
				Body: io.NopCloser(strings.NewReader(body)), Host: "h"}
			w := httptest.NewRecorder()
			x.ServeHTTP(w, r)
			if w.Code == 500 || w.Code >= 300 && w.Code < 400 {
				t.Fatalf("%s %q?%q %q: %d %s", method, path, params, body, w.Code, w.Body)
			}
			if strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") && !json.Valid(w.Body.Bytes()) {
				t.Fatalf("%q is no JSON", w.Body)
			}
			for text := range strings.Lines(w.Body.String()) {
				if strings.Contains(w.Header().Get("Content-Type"), "ndjson") && !json.Valid([]byte(text)) {
					t.Fatalf("%q is no JSON", text)
				}
			}
		}
	})
}

// Whatever goes wrong, the answer is JSON with the request's id, and what the server is to blame for is in its log under that id.
func TestErrorsOfEveryStatus(t *testing.T) {
	f := newFixture(t)
	f.store.append(line("a", "x", 1))
	f.exact["/panics"] = &route{pattern: "/panics", handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("kaputt") })}
	broken := newFixture(t, func(o *Options) { o.Store = failing{f.store, errors.New("disk gone")} })
	busy := newFixture(t, func(o *Options) { o.Limits.Searches, o.Limits.Queue = 1, -1 })
	if _, err := busy.searches.enter(t.Context(), "somebody"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		f                    *fixture
		method, target, body string
		header               []string
		status               int
		code                 string
	}{
		{f, "GET", "/api/v1/query?limit=x", "", nil, 400, "bad_parameter"},
		{f, "GET", "/api/v1/query?q=(", "", nil, 400, "bad_query"},
		{f, "GET", "/api/v1/query", "", []string{"Authorization", "Bearer x"}, 401, "unauthorized"},
		{f, "GET", "/api/v1/query", "", []string{"Authorization", "Bearer " + writer}, 403, "forbidden"},
		{f, "GET", "/nowhere", "", nil, 404, "not_found"},
		{f, "GET", "/api/v1/context?id=7", "", nil, 404, "no_event"},
		{f, "PUT", "/api/v1/query", "", nil, 405, "bad_method"},
		{f, "DELETE", "/", "", nil, 405, "bad_method"},
		{f, "POST", "/api/v1/query", strings.Repeat("x", maxForm+1), []string{"Content-Type", "application/json"}, 413, "too_large"},
		{f, "GET", "/" + strings.Repeat("x", maxPath), "", nil, 414, "bad_path"},
		{f, "POST", "/api/v1/query", "x", []string{"Content-Type", "text/plain"}, 415, "bad_body"},
		{busy, "GET", "/api/v1/query", "", nil, 429, "busy"},
		{f, "GET", "/panics", "", nil, 500, "internal"},
		{broken, "GET", "/api/v1/query?count=true", "", nil, 500, "store"},
		{broken, "GET", "/api/v1/query", "", nil, 200, "store"},
		{f, "GET", "/loki/x", "", nil, 501, "not_implemented"},
	} {
		w := c.f.do(c.method, c.target, c.body, append(c.header, "X-Request-Id", "id-17")...)
		lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
		var a struct {
			Error struct {
				RequestID string `json:"request_id"`
			}
		}
		err := json.Unmarshal([]byte(lines[len(lines)-1]), &a)
		if got := errorOf(t, []byte(lines[len(lines)-1])); err != nil || w.Code != c.status || got.Error.Code != c.code || a.Error.RequestID != "id-17" || w.Header().Get("X-Request-Id") != "id-17" {
			t.Errorf("%s %.50s: %d %s", c.method, c.target, w.Code, w.Body)
		}
		if (w.Code == 405) != (w.Header().Get("Allow") != "") || (w.Code == 429) != (w.Header().Get("Retry-After") != "") {
			t.Errorf("%s %.50s: %v", c.method, c.target, w.Header())
		}
	}
	if n := strings.Count(broken.log.String(), `level=ERROR msg="a request failed" request_id=id-17 route=/api/v1/query`); n != 2 {
		t.Errorf("%d of 2 failures are logged:\n%s", n, broken.log)
	}
	if n := strings.Count(f.log.String(), "level=ERROR"); n != 1 { // the panic
		t.Errorf("%d errors are logged:\n%s", n, f.log)
	}
}
