package api

import (
	"context"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

func statsFixture(t *testing.T) *fixture {
	f := newFixture(t)
	number := func(e event.Event, ms, user string) event.Event {
		e.Fields = append(e.Fields, event.Field{Name: []byte("duration_ms"), Value: []byte(ms), Kind: event.Number})
		if user != "" {
			e.Fields = append(e.Fields, event.Field{Name: []byte("user"), Value: []byte(user)})
		}
		return e
	}
	f.store.append(
		number(line("pay", "one", 0), "10", "anna"), number(line("pay", "two", 61), "20.5", "ben"), number(line("web", "three", 62), "7", "anna"),
		line("web", "four", 130), line("", "five", 131))
	f.store.events[4].Level = event.None
	return f
}

func TestStats(t *testing.T) {
	f := statsFixture(t)
	for _, c := range []struct{ params, want string }{
		{"", `{"groups":[{"by":{},"count":5}]`},
		{"q=nothing", `{"groups":[{"by":{},"count":0}]`},
		{"q=nothing&by=service", `{"groups":[]`},
		{"by=service", `{"groups":[{"by":{"service":"pay"},"count":2},{"by":{"service":"web"},"count":2},{"by":{"service":null},"count":1}]`},
		{"by=level,user&agg=count,avg(duration_ms)", `{"groups":[{"by":{"level":"info","user":"anna"},"count":2,"avg(duration_ms)":8.5},{"by":{"level":"info","user":"ben"},"count":1,"avg(duration_ms)":20.5},` +
			`{"by":{"level":"info","user":null},"count":1,"avg(duration_ms)":null},{"by":{"level":null,"user":null},"count":1,"avg(duration_ms)":null}]`},
		{"by=service&agg=max(duration_ms)&q=duration_ms:*", `{"groups":[{"by":{"service":"pay"},"max(duration_ms)":20.5},{"by":{"service":"web"},"max(duration_ms)":7}]`},
		{"by=service&after_sequence=2&sequence=5", `{"groups":[{"by":{"service":"web"},"count":2},{"by":{"service":null},"count":1}]`},
		{"every=1m", `{"groups":[{"by":{},"time":"2027-01-15T08:00:00.000000000Z","count":1},{"by":{},"time":"2027-01-15T08:01:00.000000000Z","count":2},{"by":{},"time":"2027-01-15T08:02:00.000000000Z","count":2}]`},
		{"by=user&top=1", `{"groups":[{"by":{"user":"anna"},"count":2}],"other":{"groups":2,"values":[{"count":3}]}`},
		{"by=user&top=1&every=1h", `{"groups":[{"by":{"user":"anna"},"time":"2027-01-15T08:00:00.000000000Z","count":2}],"other":{"groups":2,"values":[{"time":"2027-01-15T08:00:00.000000000Z","count":3}]}`},
		{"by=user&top=3", `{"groups":[{"by":{"user":"anna"},"count":2},{"by":{"user":null},"count":2},{"by":{"user":"ben"},"count":1}]`},
		{"since=1800000061&until=1800000131&agg=sum(duration_ms),p50(duration_ms),distinct(service)", `{"groups":[{"by":{},"sum(duration_ms)":27.5,"p50(duration_ms)":7,"distinct(service)":2}]`},
	} {
		for _, way := range []string{"GET", "POST", "JSON"} {
			w := f.do("GET", "/api/v1/stats?"+strings.ReplaceAll(c.params, "(", "%28"), "")
			switch values, _ := url.ParseQuery(c.params); way {
			case "POST":
				w = f.do("POST", "/api/v1/stats", c.params, "Content-Type", "application/x-www-form-urlencoded")
			case "JSON":
				flat := map[string]string{}
				for name := range values {
					flat[name] = values.Get(name)
				}
				body, _ := json.Marshal(flat)
				w = f.do("POST", "/api/v1/stats", string(body), "Content-Type", "application/json")
			}
			got := w.Body.String()
			var whole struct {
				Summary *struct {
					Complete bool
					Sequence uint64
				}
			}
			if w.Code != 200 || !strings.HasPrefix(got, c.want+`,"summary":{`) || strings.Index(got, "\n") != len(got)-1 || w.Header().Get("Content-Type") != "application/json; charset=utf-8" {
				t.Errorf("%s %s: %d\n%swant\n%s", way, c.params, w.Code, got, c.want)
			} else if err := json.Unmarshal([]byte(got), &whole); err != nil || !whole.Summary.Complete || whole.Summary.Sequence != 5 {
				t.Errorf("%s %s: %v, %s", way, c.params, err, got)
			}
		}
	}
}

func TestStatsErrors(t *testing.T) {
	f := statsFixture(t)
	for _, c := range []struct {
		params, field, code, message string
		place                        string // of the text, "-" for none
	}{
		{"q=(a", "q", "bad_query", "", "-"},
		{"by=service,message", "by", "bad_parameter", "message is the line itself", "message"},
		{"agg=count,median(x)", "agg", "bad_parameter", "there is no aggregate", "median"},
		{"every=5", "every", "bad_parameter", "every is not a step of time", "-"},
		{"every=0s", "every", "bad_parameter", "every is not a step of time", "-"},
		{"top=-1", "top", "bad_parameter", "top is not a whole number", "-"},
		{"top=1000000", "top", "bad_parameter", "top is too large", "-"},
		{"since=5m&until=10m", "since", "bad_parameter", "since is later than until", "-"},
		{"limit=5", "", "bad_parameter", "there is a parameter that is not known here", "-"},
	} {
		w := f.do("GET", "/api/v1/stats?"+c.params, "")
		a := errorOf(t, w.Body.Bytes())
		if w.Code != 400 || a.Error.Code != c.code || a.Error.Field != c.field || !strings.HasPrefix(a.Error.Message, c.message) {
			t.Errorf("%s: %d %s", c.params, w.Code, w.Body)
		}
		if c.place != "-" && (a.Error.Text == nil || (*a.Error.Text)[*a.Error.Position:*a.Error.End] != c.place) {
			t.Errorf("%s: not the place: %s", c.params, w.Body)
		}
	}
	if w := f.do("DELETE", "/api/v1/stats", ""); w.Code != 405 {
		t.Errorf("DELETE: %d", w.Code)
	}
	if w := f.do("GET", "/api/v1/stats", "", "Authorization", "Bearer "+writer); w.Code != 403 {
		t.Errorf("with a writer's token: %d", w.Code)
	}
}

// TestStatsLeavesReportsOut is for pages that show what people mean by everything.
func TestStatsLeavesReportsOut(t *testing.T) {
	f := statsFixture(t)
	probe := line("probe", "up", 5)
	probe.Stream = []byte("probe")
	f.store.append(probe)
	for params, want := range map[string]string{"": `"count":6`, "reports=false": `"count":5`, "reports=false&q=service:probe": `"count":1`} {
		if w := f.do("GET", "/api/v1/stats?"+params, ""); !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %s", params, w.Body)
		}
	}
}

func TestStatsWarnings(t *testing.T) {
	f := statsFixture(t)
	f.store.scan.Reasons = []string{"a segment is damaged"}
	f.store.scan.UnknownFields = []string{"nosuch"}
	w := f.do("GET", "/api/v1/stats?by=usr&agg=avg(user),distinct(x)&q=nosuch:1+OR+*", "")
	for _, want := range []string{`no field \"nosuch\" here`, `no event that matches has a field \"usr\"`, `no event that matches has a number in a field \"user\"`, `no event that matches has a field \"x\"`,
		`"complete":false,"reasons":["a segment is damaged"]`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s in %s", want, w.Body)
		}
	}
}

func TestStatsLimits(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Limits.QueryTimeout = 20 * time.Millisecond })
	f.store.append(line("a", "x", 0))
	f.store.hook = func(ctx context.Context, _ query.Request) error {
		<-ctx.Done()
		return ctx.Err()
	}
	if w := f.do("GET", "/api/v1/stats", ""); w.Code != 504 || errorOf(t, w.Body.Bytes()).Error.Code != "timeout" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestStatsAnyText(t *testing.T) {
	f := newFixture(t)
	e := line("a", "x", 0)
	e.Fields = []event.Field{{Name: []byte(`odd "name"`), Value: []byte("v\xff\n\"")}, {Name: []byte("d"), Value: []byte("1e300"), Kind: event.Number}, {Name: []byte("d"), Value: []byte("1.5e-9"), Kind: event.Number}}
	f.store.append(e)
	w := f.do("GET", "/api/v1/stats?"+url.Values{"by": {`'odd "name"'`}, "agg": {"max(d),min(d)"}}.Encode(), "")
	if want := `{"groups":[{"by":{"odd \"name\"":"v` + "�" + `\n\""},"max(d)":1e+300,"min(d)":1.5e-09}]`; !strings.HasPrefix(w.Body.String(), want) {
		t.Errorf("%s\nwant %s", w.Body, want)
	}
}

func TestExplain(t *testing.T) {
	f := statsFixture(t)
	f.store.scan.UnknownFields = []string{"nosuch"}
	w := f.do("GET", "/api/v1/explain?q=nosuch:1+OR+three&since=1800000061", "")
	var got struct {
		Normal   string
		Terms    []string
		Warnings []string
		Reading  struct {
			Segments, Blocks, Open int
			Memory                 int64
			Complete               bool
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	if got.Normal != "nosuch:1 OR three" || len(got.Terms) != 2 || len(got.Warnings) != 1 || got.Reading.Segments != 3 || got.Reading.Blocks != 9 || got.Reading.Open != 2 || got.Reading.Memory != 5 || !got.Reading.Complete {
		t.Errorf("%s", w.Body)
	}
	for params, code := range map[string]string{"q=(a": "bad_query", "since=x": "bad_parameter", "limit=5": "bad_parameter", "since=5m&until=10m": "bad_parameter"} {
		if w := f.do("GET", "/api/v1/explain?"+params, ""); w.Code != 400 || errorOf(t, w.Body.Bytes()).Error.Code != code {
			t.Errorf("%s: %d %s", params, w.Code, w.Body)
		}
	}
}
