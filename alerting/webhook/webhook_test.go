package webhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf16"

	"pgregory.net/rapid"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/alerting/webhook"
	"github.com/lookoutlog/lookout/internal/leak"
)

func TestMain(m *testing.M) { leak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden files")

const token = "key-4711-canary"

// service is a transport that keeps what was asked and answers as told.
type service struct {
	answer func(r *http.Request, body string) (*http.Response, error)
	calls  []call
}

type call struct {
	method, url, body string
	header            http.Header
}

func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	s.calls = append(s.calls, call{r.Method, r.URL.String(), string(body), r.Header.Clone()})
	if s.answer == nil {
		return reply(200, `{"id":"77"}`), nil
	}
	return s.answer(r, string(body))
}

func reply(status int, body string, header ...string) *http.Response {
	w := httptest.NewRecorder()
	for i := 0; i < len(header); i += 2 {
		w.Header().Set(header[i], header[i+1])
	}
	w.WriteHeader(status)
	_, _ = w.WriteString(body)
	return w.Result()
}

// setUp are the options that each shipped template needs.
func setUp(template string) webhook.Options {
	o := webhook.Options{Name: "team", Template: template, Token: token, Params: map[string]string{"topic": "ops", "replicas": "3"}}
	switch template {
	case "teams":
		o.URL = "https://prod.logic.azure.example/workflows/abc/triggers/manual/paths/invoke?api-version=2016-06-01&sig=S1gnatureCanary"
	case "discord":
		o.URL = "https://discord.com/api/webhooks/123/T0kenOfTheWebhookCanary?thread_id=9"
	case "gotify":
		o.URL = "https://gotify.example/push/"
	case "alertmanager":
		o.URL, o.Clock = "http://alertmanager:9093", func() time.Time { return time.Date(2026, 1, 2, 3, 10, 0, 0, time.UTC) }
	case "generic", "custom":
		o.URL = "https://hooks.example/lookout"
	case "restart":
		o.URL = "http://docker:2375/containers/{{.Labels.container}}/restart"
	case "scale":
		o.URL = "https://k8s.example/apis/apps/v1/namespaces/prod/deployments/{{.Labels.service}}/scale"
	}
	return o
}

func notifier(t testing.TB, o webhook.Options) (*webhook.Notifier, *service) {
	t.Helper()
	s := &service{}
	o.Transport = s
	n, err := webhook.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n, s
}

func message(s alerting.State) alerting.Message {
	m := alerting.Message{
		Severity: alerting.Error, State: s, Incident: "0123456789abcdef", ID: 42, Title: "[error] shop: no \"stock\"", Lines: []string{"no \"stock\" for 7\n\tat line 8", "sku=7"},
		Facts: []string{"3 times", "rule errors"}, Notes: []string{"delivered late"}, Link: "http://l/?q=level%3Aerror&since=x",
		Labels: alerting.Labels{"service": "shop", "container": "shop/1 a", "host": "web1", "rule": "errors"}, Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	if s == alerting.Resolved {
		m.Ended = m.Since.Add(time.Hour)
	}
	return m
}

// What each service gets when an incident fires, is acknowledged and is resolved, and when events are gathered.
func TestShipped(t *testing.T) {
	for _, name := range webhook.Names() {
		t.Run(name, func(t *testing.T) {
			n, s := notifier(t, setUp(name))
			var got strings.Builder
			write := func(what string) {
				fmt.Fprintf(&got, "# %s\n", what)
				for _, c := range s.calls {
					fmt.Fprintf(&got, "%s %s\n", c.method, c.url)
					for _, h := range slices.Sorted(maps.Keys(c.header)) {
						fmt.Fprintf(&got, "%s: %s\n", h, c.header.Get(h))
					}
					var pretty bytes.Buffer
					if err := json.Indent(&pretty, []byte(c.body), "", "  "); err != nil && c.body != "" {
						t.Errorf("%v: %s", err, c.body)
					}
					fmt.Fprintf(&got, "%s\n\n", pretty.String())
				}
				s.calls = nil
			}
			r, err := n.Send(t.Context(), "team", message(alerting.Firing))
			if err != nil {
				t.Fatal(err)
			}
			write("fires")
			for _, state := range []alerting.State{alerting.Acknowledged, alerting.Resolved} {
				if r, err = n.Edit(t.Context(), r, message(state)); err != nil {
					t.Fatal(err)
				}
				write("is " + string(state))
			}
			if _, err = n.Send(t.Context(), "team", alerting.Message{Severity: alerting.Info, Title: "shipped 2", Lines: []string{"a", "b"}}); err != nil {
				t.Fatal(err)
			}
			write("events")
			golden := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != string(want) {
				t.Errorf("%s differs; run with -update and look at the change. It is now:\n%s", golden, got.String())
			}
		})
	}
}

// The services' limits, for messages of any size.
func TestEveryMessageFits(t *testing.T) {
	units := func(v any) int { s, _ := v.(string); return len(utf16.Encode([]rune(s))) }
	check := map[string]func(t *rapid.T, body string, v map[string]any){
		"teams": func(t *rapid.T, body string, _ map[string]any) {
			if len(body) > 100<<10 { // escaped; counted below
				t.Fatalf("%d bytes", len(body))
			}
		},
		"discord": func(t *rapid.T, _ string, v map[string]any) {
			if units(v["content"]) > 2000 {
				t.Fatalf("content of %d", units(v["content"]))
			}
			for _, e := range v["embeds"].([]any) {
				embed := e.(map[string]any)
				footer, _ := embed["footer"].(map[string]any)
				title, description, foot := units(embed["title"]), units(embed["description"]), units(footer["text"])
				if title > 256 || description > 4096 || foot > 2048 || title+description+foot > 6000 {
					t.Fatalf("title %d, description %d, footer %d", title, description, foot)
				}
			}
		},
		"ntfy": func(t *rapid.T, _ string, v map[string]any) {
			if n := len(v["message"].(string)); n > 4096*2 {
				t.Fatalf("message of %d bytes", n)
			}
		},
		"pagerduty": func(t *rapid.T, body string, v map[string]any) {
			if p, ok := v["payload"].(map[string]any); ok && (units(p["summary"]) > 1024 || units(p["summary"]) == 0 || len(body) > 512<<10) {
				t.Fatalf("summary of %d, body of %d", units(p["summary"]), len(body))
			}
		},
		"opsgenie": func(t *rapid.T, _ string, v map[string]any) {
			if units(v["message"]) > 130 || units(v["description"]) > 15000 {
				t.Fatalf("message %d, description %d", units(v["message"]), units(v["description"]))
			}
		},
	}
	for name, fits := range check {
		t.Run(name, func(t *testing.T) {
			n, s := notifier(t, setUp(name))
			rapid.Check(t, func(t *rapid.T) {
				text := rapid.Custom(func(t *rapid.T) string {
					return strings.Repeat(rapid.SampledFrom([]string{"x", "`", "\"", "<&>", "\n", "漢", "💥", "\\"}).Draw(t, "of"), rapid.SampledFrom([]int{1, 7, 300, 5000}).Draw(t, "times"))
				})
				m := message(alerting.Firing)
				m.Title, m.Lines, m.Facts, m.Notes = text.Draw(t, "title"), rapid.SliceOfN(text, 0, 4).Draw(t, "lines"), rapid.SliceOfN(text, 0, 3).Draw(t, "facts"), rapid.SliceOfN(text, 0, 2).Draw(t, "notes")
				m.Plain = rapid.Bool().Draw(t, "plain")
				if _, err := n.Send(context.Background(), "team", m); err != nil {
					t.Fatal(err)
				}
				body := s.calls[len(s.calls)-1].body
				s.calls = nil
				var v map[string]any
				if err := json.Unmarshal([]byte(body), &v); err != nil {
					t.Fatalf("%v: %s", err, body)
				}
				fits(t, body, v)
			})
		})
	}
}

// A template's text arrives as it is, in each place, whatever it is.
func TestEscaping(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    webhook.Options
		read func(c call) string // the title, as a reader of the request gets it
	}{
		{"JSON", webhook.Options{Body: `{"a": {"b": "<{{.Title}}>"}}`}, func(c call) string {
			var v struct{ A struct{ B string } }
			if err := json.Unmarshal([]byte(c.body), &v); err != nil {
				return err.Error()
			}
			return strings.TrimSuffix(strings.TrimPrefix(v.A.B, "<"), ">")
		}},
		{"JSON, written whole", webhook.Options{Body: `{"b": {{json .Title}}, "l": {{json .Lines}}}`}, func(c call) string {
			var v struct{ B string }
			if err := json.Unmarshal([]byte(c.body), &v); err != nil {
				return err.Error()
			}
			return v.B
		}},
		{"in a condition and a variable", webhook.Options{Body: `{"b": "{{with $x := .Title}}{{$x}}{{end}}{{define "d"}}{{.Title}}{{end}}", "c": "{{template "d" .}}"}`}, func(c call) string {
			var v struct{ B, C string }
			if err := json.Unmarshal([]byte(c.body), &v); err != nil || v.B != v.C {
				return fmt.Sprint(err, v)
			}
			return v.B
		}},
		{"form", webhook.Options{Headers: map[string]string{"content-type": "application/x-www-form-urlencoded"}, Body: `x=1&title={{.Title}}&y=2`}, func(c call) string {
			v, err := url.ParseQuery(c.body)
			if err != nil || len(v) != 3 {
				return fmt.Sprint(err, v)
			}
			return v.Get("title")
		}},
		{"path", webhook.Options{URL: "https://x.example/a/{{.Title}}/b"}, func(c call) string {
			u, err := url.Parse(c.url)
			if err != nil || u.Host != "x.example" || strings.Count(u.EscapedPath(), "/") != 3 {
				return fmt.Sprint(err, c.url)
			}
			return strings.TrimSuffix(strings.TrimPrefix(u.Path, "/a/"), "/b")
		}},
		{"query", webhook.Options{URL: "https://x.example/a?t={{.Title}}&u=1"}, func(c call) string {
			u, err := url.Parse(c.url)
			if err != nil || len(u.Query()) != 2 {
				return fmt.Sprint(err, c.url)
			}
			return u.Query().Get("t")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Template, tt.o.Name = "custom", "x"
			if tt.o.URL == "" {
				tt.o.URL = "https://x.example/"
			}
			n, s := notifier(t, tt.o)
			rapid.Check(t, func(t *rapid.T) {
				m := message(alerting.Firing)
				m.Title = rapid.OneOf(rapid.StringN(1, 60, 200), rapid.SampledFrom([]string{`"}`, `\`, "a\nb", "{{.Token}}", "a b+c&d=e#f", "../..", "..", "%2e%2e/", "\u2028", "<script>"})).Draw(t, "title")
				if _, err := n.Send(context.Background(), "x", m); err != nil {
					t.Fatal(err)
				}
				got := tt.read(s.calls[len(s.calls)-1])
				s.calls = nil
				if want := strings.ToValidUTF8(m.Title, "\ufffd"); got != want {
					t.Fatalf("%q came as %q", want, got)
				}
			})
		})
	}
}

// A header is one line.
func TestHeaderForgesNothing(t *testing.T) {
	n, s := notifier(t, webhook.Options{Name: "x", Template: "custom", URL: "https://x.example", Headers: map[string]string{"X-Title": "{{.Title}}", "Content-Type": "text/plain"}, Body: "{{.Title}}"})
	m := message(alerting.Firing)
	m.Title = "a\r\nX-Forged: 1\x00"
	if _, err := n.Send(t.Context(), "x", m); err != nil {
		t.Fatal(err)
	}
	if c := s.calls[0]; c.header.Get("X-Title") != "a  X-Forged: 1" || c.header.Get("X-Forged") != "" || c.body != m.Title {
		t.Errorf("%+v", c)
	}
}

func TestWrongOptions(t *testing.T) {
	custom := func(change func(*webhook.Options)) webhook.Options {
		o := webhook.Options{Name: "x", Template: "custom", URL: "https://x.example/SecretPath4711"}
		change(&o)
		return o
	}
	for _, tt := range []struct {
		name string
		o    webhook.Options
		want string
	}{
		{"template", webhook.Options{Template: "teamz", URL: "https://x"}, "template: there is no template \"teamz\": use alertmanager, custom, discord"},
		{"no address", webhook.Options{Template: "teams"}, "url: template teams needs an address"},
		{"no key", webhook.Options{Template: "pagerduty"}, "token: template pagerduty needs a key: set token_file"},
		{"no topic", webhook.Options{Template: "ntfy"}, "params.topic: template ntfy needs it"},
		{"replicas that are no number", webhook.Options{Template: "scale", URL: "https://x.example", Params: map[string]string{"replicas": "many"}}, "not valid JSON"},
		{"address", custom(func(o *webhook.Options) { o.URL = "SecretPath4711" }), "url: it is not an http or https address"},
		{"other scheme", custom(func(o *webhook.Options) { o.URL = "ftp://SecretPath4711" }), "url: it is not an http or https address"},
		{"address that does not parse", custom(func(o *webhook.Options) { o.URL = "https://x/{{.SecretPath4711" }), "url: template"},
		{"JSON without quotes", custom(func(o *webhook.Options) { o.Body = `{"a": {{.Title}}}` }), "body: the text is not valid JSON"},
		{"JSON that is bad in one state", custom(func(o *webhook.Options) { o.Body = `{"a": 1 {{if eq .State "resolved"}} 2 {{end}}}` }), "tried with a resolved message"},
		{"JSON that is bad without lines", custom(func(o *webhook.Options) {
			o.Body = `{"a": [{{range .Lines}}"{{.}}",{{end}} {{if .Lines}}0{{else}},{{end}}]}`
		}), "as little as it can have"},
		{"a field that is not there", custom(func(o *webhook.Options) { o.Body = `{"a": "{{.Titel}}"}` }), "can't evaluate field Titel"},
		{"a function that is not there", custom(func(o *webhook.Options) { o.Body = `{"a": "{{env "HOME"}}"}` }), `function "env" not defined`},
		{"endless", custom(func(o *webhook.Options) { o.Body = `{{define "a"}}{{template "a" .}}{{end}}{{template "a" .}}` }), "it takes more than 10000 steps"},
		{"header's name", custom(func(o *webhook.Options) { o.Headers = map[string]string{"X Y": "1"} }), `"X Y" is not a header's name`},
		{"header's template", custom(func(o *webhook.Options) { o.Headers = map[string]string{"X-Y": "{{"} }), "headers.X-Y"},
		{"when", custom(func(o *webhook.Options) { o.When = []string{"gone"} }), `when: "gone" is no state`},
		{"method", custom(func(o *webhook.Options) { o.Method = "P OST" }), "cannot be made"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, err := webhook.New(tt.o)
			if err == nil {
				n.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			} else if strings.Contains(err.Error(), "SecretPath4711") {
				t.Errorf("the address is told: %v", err)
			}
		})
	}
}

func TestClasses(t *testing.T) {
	later := time.Now().Add(90 * time.Minute).UTC().Format(http.TimeFormat)
	for _, tt := range []struct {
		name   string
		reply  *http.Response
		class  alerting.Class
		after  time.Duration
		plain  bool
		unsent bool
	}{
		{name: "429", reply: reply(429, ""), class: alerting.Wait},
		{name: "429 with seconds", reply: reply(429, "", "Retry-After", "17"), class: alerting.Wait, after: 17 * time.Second},
		{name: "429 with a fraction", reply: reply(429, "", "Retry-After", "1.5"), class: alerting.Wait, after: 1500 * time.Millisecond},
		{name: "429 with nonsense", reply: reply(429, "", "Retry-After", "-1e99"), class: alerting.Wait},
		{name: "429 with NaN", reply: reply(429, "", "Retry-After", "NaN"), class: alerting.Wait},
		{name: "500", reply: reply(500, ""), class: alerting.Transient},
		{name: "503", reply: reply(503, "", "Retry-After", "9"), class: alerting.Transient},
		{name: "408", reply: reply(408, ""), class: alerting.Transient},
		{name: "400", reply: reply(400, "what?"), class: alerting.Fault},
		{name: "413", reply: reply(413, ""), class: alerting.Fault},
		{name: "422", reply: reply(422, ""), class: alerting.Fault},
		{name: "400 to plain text", reply: reply(400, ""), class: alerting.Broken, plain: true},
		{name: "401", reply: reply(401, ""), class: alerting.Broken},
		{name: "403", reply: reply(403, ""), class: alerting.Broken},
		{name: "404", reply: reply(404, ""), class: alerting.Broken},
		{name: "410", reply: reply(410, ""), class: alerting.Broken},
		{name: "302", reply: reply(302, "", "Location", "https://elsewhere.example/"), class: alerting.Broken},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, s := notifier(t, setUp("generic"))
			s.answer = func(*http.Request, string) (*http.Response, error) { return tt.reply, nil }
			m := message(alerting.Firing)
			m.Plain = tt.plain
			_, err := n.Send(t.Context(), "team", m)
			var d *alerting.DeliveryError
			if !errors.As(err, &d) || d.Class != tt.class || d.RetryAfter != tt.after || d.Unsent {
				t.Errorf("%#v", err)
			}
			if len(s.calls) != 1 {
				t.Errorf("%d calls", len(s.calls))
			}
		})
	}
	t.Run("429 with a date", func(t *testing.T) {
		n, s := notifier(t, setUp("generic"))
		s.answer = func(*http.Request, string) (*http.Response, error) { return reply(429, "", "Retry-After", later), nil }
		_, err := n.Send(t.Context(), "team", message(alerting.Firing))
		var d *alerting.DeliveryError
		if !errors.As(err, &d) || d.RetryAfter < 30*time.Minute || d.RetryAfter > 90*time.Minute {
			t.Errorf("%#v", err)
		}
	})
}

// Where there is nobody, or one that must not be connected to.
func TestNetwork(t *testing.T) {
	tls := httptest.NewUnstartedServer(http.NotFoundHandler())
	tls.Config.ErrorLog = log.New(io.Discard, "", 0)
	tls.StartTLS()
	defer tls.Close()
	for _, tt := range []struct {
		name, url string
		allow     []netip.Prefix
		class     alerting.Class
		unsent    bool
		says      string
	}{
		{"nobody listens", "http://127.0.0.1:1", nil, alerting.Transient, true, "refused"},
		{"metadata", "http://169.254.169.254/latest/", nil, alerting.Broken, false, "allow it with ways.team.allow"},
		{"metadata in IPv6", "http://[fd00:ec2::254]/", nil, alerting.Broken, false, "metadata"},
		{"a certificate that nobody knows", tls.URL, nil, alerting.Broken, false, "certificate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, err := webhook.New(webhook.Options{Name: "team", URL: tt.url, Allow: tt.allow})
			if err != nil {
				t.Fatal(err)
			}
			defer n.Close()
			_, err = n.Send(t.Context(), "team", message(alerting.Firing))
			var d *alerting.DeliveryError
			if !errors.As(err, &d) || d.Class != tt.class || d.Unsent != tt.unsent || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%#v: %v", err, err)
			}
		})
	}
	t.Run("lost answer", func(t *testing.T) {
		srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
		defer srv.Close()
		n, err := webhook.New(webhook.Options{Name: "team", URL: srv.URL})
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		_, err = n.Send(t.Context(), "team", message(alerting.Firing))
		var d *alerting.DeliveryError
		if !errors.As(err, &d) || d.Class != alerting.Transient || d.Unsent || strings.Contains(err.Error(), srv.URL) {
			t.Errorf("%#v: %v", err, err)
		}
	})
}

// A check connects and sends nothing; an Alertmanager is asked whether it is ready. No error has the address' secret.
func TestCheck(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.Method+" "+r.URL.Path+" "+r.Header.Get("Authorization"))
		if strings.HasPrefix(r.URL.Path, "/wrong") {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.Start()
	defer srv.Close()
	tls := httptest.NewUnstartedServer(http.NotFoundHandler())
	tls.Config.ErrorLog = log.New(io.Discard, "", 0)
	tls.StartTLS()
	defer tls.Close()
	const secret = "s3cr3t-canary-of-a-path"
	for _, tt := range []struct{ template, url, want, asked string }{
		{"generic", srv.URL + "/" + secret, "connected; nothing was sent", ""},
		{"generic", tls.URL + "/" + secret, "error: TLS: tls: failed to verify certificate", ""},
		{"generic", "http://127.0.0.1:1/" + secret, "error: dial tcp 127.0.0.1:1: connect: connection refused", ""},
		{"generic", "http://169.254.169.254/" + secret, "error: dial tcp 169.254.169.254:80: refusing to connect", ""},
		{"alertmanager", srv.URL, "the Alertmanager is ready", "GET /-/ready Bearer t-canary"},
		{"alertmanager", srv.URL + "/am/", "the Alertmanager is ready", "GET /am/-/ready Bearer t-canary"},
		{"alertmanager", srv.URL + "/wrong", "error: /-/ready answers 404 Not Found", "GET /wrong/-/ready Bearer t-canary"},
		{"alertmanager", "http://127.0.0.1:1", "error: dial tcp 127.0.0.1:1: connect: connection refused", ""},
	} {
		n, err := webhook.New(webhook.Options{Name: "team", Template: tt.template, URL: tt.url, Token: "t-canary"})
		if err != nil {
			t.Fatal(err)
		}
		got, err := n.Check(t.Context())
		n.Close()
		if err != nil {
			got = "error: " + err.Error()
		}
		if !strings.HasPrefix(got, tt.want) || strings.Contains(got, "canary") {
			t.Errorf("%s %s: %s, want %s", tt.template, tt.url, got, tt.want)
		}
		mu.Lock()
		if all := strings.Join(asked, ", "); all != tt.asked {
			t.Errorf("%s %s: asked %s, want %s", tt.template, tt.url, all, tt.asked)
		}
		asked = nil
		mu.Unlock()
	}
}

// Discord's messages are edited in place, and sent anew when somebody has deleted them.
func TestDiscord(t *testing.T) {
	n, s := notifier(t, setUp("discord"))
	r, err := n.Send(t.Context(), "team", message(alerting.Firing))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if r, err = n.Edit(t.Context(), r, message(alerting.Resolved)); err != nil {
			t.Fatal(err)
		}
	}
	last := s.calls[len(s.calls)-1]
	if len(s.calls) != 3 || last.method != "PATCH" || !strings.Contains(last.url, "/messages/77?thread_id=9") {
		t.Errorf("%+v", s.calls)
	}
	var d *alerting.DeliveryError
	s.answer = func(*http.Request, string) (*http.Response, error) {
		return reply(404, `{"message":"Unknown Message","code":10008}`), nil
	}
	if _, err = n.Edit(t.Context(), r, message(alerting.Resolved)); !errors.As(err, &d) || d.Class != alerting.EditRefused {
		t.Errorf("a deleted message: %v", err)
	}
	s.answer = func(*http.Request, string) (*http.Response, error) {
		return reply(404, `{"message":"Unknown Webhook","code":10015}`), nil
	}
	if _, err = n.Edit(t.Context(), r, message(alerting.Resolved)); !errors.As(err, &d) || d.Class != alerting.Broken {
		t.Errorf("a deleted webhook: %v", err)
	}
	for _, body := range []string{"<html>", `{"id":7}`, `{"id":"../../x"}`, ""} {
		s.answer = func(*http.Request, string) (*http.Response, error) { return reply(200, body), nil }
		if _, err = n.Send(t.Context(), "team", message(alerting.Firing)); !errors.As(err, &d) || d.Class != alerting.Transient {
			t.Errorf("%q: %v", body, err)
		}
	}
}

// A state is told once where each telling is a message; an incident that never fired here is not told as one that does.
func TestToldOnce(t *testing.T) {
	n, s := notifier(t, setUp("ntfy"))
	r, err := n.Send(t.Context(), "team", message(alerting.Firing))
	if err != nil {
		t.Fatal(err)
	}
	for _, state := range []alerting.State{alerting.Firing, alerting.Acknowledged, alerting.Resolved, alerting.Resolved} {
		if r, err = n.Edit(t.Context(), r, message(state)); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.calls) != 2 {
		t.Errorf("%d messages, want two: it fires, it is resolved", len(s.calls))
	}
	var refused *alerting.DeliveryError
	if err := n.Reply(t.Context(), r, message(alerting.Firing)); !errors.As(err, &refused) || refused.Class != alerting.EditRefused {
		t.Errorf("it fires again: %v", err)
	}

	n, s = notifier(t, setUp("pagerduty"))
	if _, err := n.Send(t.Context(), "team", message(alerting.Resolved)); err != nil {
		t.Fatal(err)
	}
	if len(s.calls) != 1 || !strings.Contains(s.calls[0].body, `"event_action": "resolve"`) {
		t.Errorf("PagerDuty was told %+v", s.calls)
	}
	o := setUp("ntfy")
	o.When = []string{"acknowledged"}
	n, s = notifier(t, o)
	for _, state := range []alerting.State{alerting.Acknowledged, alerting.Resolved} {
		if _, err := n.Edit(t.Context(), r, message(state)); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.calls) != 1 {
		t.Errorf("with when: acknowledged there were %d messages", len(s.calls))
	}
}

// What is open is told again each minute, while the service forgets it otherwise.
func TestKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, s := notifier(t, setUp("alertmanager"))
		var away atomic.Bool
		var calls atomic.Int64
		s.answer = func(_ *http.Request, body string) (*http.Response, error) {
			calls.Add(1)
			if !strings.Contains(body, `"endsAt": "2026-01-02T03:15:00Z"`) {
				t.Errorf("%s", body)
			}
			if away.Load() {
				return reply(503, ""), nil
			}
			return reply(200, ""), nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		open := []alerting.Message{message(alerting.Firing), message(alerting.Acknowledged)}
		go func() { done <- n.Keep(ctx, func() ([]alerting.Message, error) { return open, nil }) }()
		time.Sleep(3*time.Minute + time.Second)
		synctest.Wait()
		if calls.Load() != 6 {
			t.Errorf("%d calls", calls.Load())
		}
		// While it is away, one try a round.
		away.Store(true)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if calls.Load() != 8 {
			t.Errorf("%d calls", calls.Load())
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		other, _ := notifier(t, setUp("teams"))
		if err := other.Keep(t.Context(), nil); err != nil {
			t.Error(err)
		}
	})
}

// A hook runs at most once an incident, and only while that fires.
func TestHook(t *testing.T) {
	n, s := notifier(t, setUp("restart"))
	for _, m := range []alerting.Message{message(alerting.Resolved), message(alerting.Acknowledged), {Title: "5 more held"}} {
		if _, err := n.Send(t.Context(), "team", m); err != nil {
			t.Fatal(err)
		}
	}
	again := message(alerting.Firing)
	again.MayRepeat = true
	r, err := n.Send(t.Context(), "team", again)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.calls) != 0 {
		t.Fatalf("it ran: %+v", s.calls)
	}
	if err := n.Reply(t.Context(), r, message(alerting.Firing)); err != nil {
		t.Errorf("it may have run, and is to run again: %v", err)
	}
	// One that was too late the first time may run when the incident fires again.
	r, err = n.Send(t.Context(), "team", message(alerting.Resolved))
	if err == nil {
		err = n.Reply(t.Context(), r, message(alerting.Firing))
	}
	var d *alerting.DeliveryError
	if !errors.As(err, &d) || d.Class != alerting.EditRefused {
		t.Errorf("%v", err)
	}
	r, err = n.Send(t.Context(), "team", message(alerting.Firing))
	if err != nil || len(s.calls) != 1 || s.calls[0].url != "http://docker:2375/containers/shop%2F1%20a/restart" || s.calls[0].body != "" {
		t.Fatalf("%+v, %v", s.calls, err)
	}
	for _, state := range []alerting.State{alerting.Firing, alerting.Acknowledged, alerting.Resolved} {
		if r, err = n.Edit(t.Context(), r, message(state)); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Reply(t.Context(), r, message(alerting.Firing)); err != nil || len(s.calls) != 1 {
		t.Errorf("%d runs, %v", len(s.calls), err)
	}
	// What is not there is about this incident, not about all.
	s.answer = func(*http.Request, string) (*http.Response, error) { return reply(404, "no such container"), nil }
	if _, err = n.Send(t.Context(), "team", message(alerting.Firing)); !errors.As(err, &d) || d.Class != alerting.Fault {
		t.Errorf("%v", err)
	}
}

// An incident without the label that an address is made of is told to no other address.
func TestAddressWithoutItsLabel(t *testing.T) {
	for address, ok := range map[string]bool{
		"http://docker:2375/containers/{{.Labels.container}}/restart": false,
		"http://k8s/pods/{{.Labels.container}}":                       false,
		"http://k8s/pods/{{.Labels.container}}?force=1":               false,
		"http://k8s/pods/?name={{.Labels.container}}":                 true,
		"http://k8s//pods/{{.Labels.service}}":                        true,
		"http://k8s/{{.Labels.service}}/":                             true,
	} {
		o := setUp("restart")
		o.URL = address
		n, s := notifier(t, o)
		m := message(alerting.Firing)
		m.Labels = alerting.Labels{"service": "shop"}
		_, err := n.Send(t.Context(), "team", m)
		var d *alerting.DeliveryError
		if !ok && (!errors.As(err, &d) || d.Class != alerting.Fault || len(s.calls) != 0) || ok && (err != nil || len(s.calls) != 1) {
			t.Errorf("%s: %v, %d calls", address, err, len(s.calls))
		}
	}
}

// Neither key nor address is in any error, even when the service repeats them.
func TestSecretsAreNowhere(t *testing.T) {
	secrets := []alertingtest.Secret{token, "S1gnatureCanary", "T0kenOfTheWebhookCanary", "H3aderCanary"}
	for shift, name := range webhook.Names() {
		o := setUp(name)
		o.Headers = map[string]string{"X-Key": "Basic H3aderCanary"}
		n, s := notifier(t, o)
		for _, answer := range []func(r *http.Request, body string) (*http.Response, error){
			func(r *http.Request, body string) (*http.Response, error) {
				return reply(400, r.URL.String()+"\n"+body), nil
			},
			func(r *http.Request, _ string) (*http.Response, error) {
				return reply(401, "you sent "+r.Header.Get("X-Key")+" "+r.Header.Get("Authorization")+" "+token), nil
			},
			func(r *http.Request, _ string) (*http.Response, error) {
				return nil, fmt.Errorf("cannot reach %s with %s", r.URL, url.QueryEscape(token))
			},
			func(r *http.Request, _ string) (*http.Response, error) {
				return reply(302, "", "Location", r.URL.String()), nil
			},
			func(*http.Request, string) (*http.Response, error) { return reply(200, "<html>"+token), nil },
			func(*http.Request, string) (*http.Response, error) { // an error shows its beginning and its end: wherever it is cut, it is in a token
				return reply(400, strings.Repeat("x", shift)+strings.Repeat(token, 30)), nil
			},
		} {
			s.answer = answer
			_, err := n.Send(t.Context(), "team", message(alerting.Firing))
			for e := err; e != nil; e = errors.Unwrap(e) {
				for _, text := range []string{e.Error(), fmt.Sprintf("%+v", e), fmt.Sprintf("%#v", e)} {
					for _, secret := range append(secrets, alertingtest.Secret(token[:len(token)/2])) {
						if leak := secret.Leak(text); leak != "" {
							t.Errorf("%s: %s", name, leak)
						}
					}
				}
			}
		}
	}
}
