package api

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/index/query"
)

// A search of which no line came for long says how far it has come, when it is asked to.
func TestProgress(t *testing.T) {
	f := newFixture(t)
	f.store.append(line("web", "order shipped", start))
	f.store.hook = func(_ context.Context, r query.Request) error {
		if r.Progress != nil {
			time.Sleep(leastProgress) // it is not told before that
			r.Progress(3, 7)
		}
		return nil
	}
	const said = `{"progress":{"done":3,"total":7,"unit":"events"}}` + "\n"
	for _, c := range []struct{ target, kind, begins string }{
		{"/api/v1/query?q=shipped", "application/x-ndjson", `{"event":`},
		{"/api/v1/query?q=shipped&progress=100ms", "application/x-ndjson", said + `{"event":`},
		{"/api/v1/query?q=shipped&count=true&progress=100ms", "application/x-ndjson", said + `{"summary":`},
		{"/api/v1/query?q=shipped&progress=1h", "application/x-ndjson", `{"event":`},
		{"/api/v1/stats?q=shipped", "application/json", `{"groups":[{"by":{},"count":1}],"summary":`},
		{"/api/v1/stats?q=shipped&progress=100ms", "application/x-ndjson", said + `{"groups":[{"by":{},"count":1}],"summary":`},
		{"/api/v1/top?by=service&progress=100ms", "application/x-ndjson", said + `{"groups":[{"by":{"service":"web"},"count":1}],"summary":`},
	} {
		w := f.do(http.MethodGet, c.target, "")
		if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), c.kind) || !strings.HasPrefix(w.Body.String(), c.begins) || !strings.HasSuffix(w.Body.String(), "}\n") {
			t.Errorf("%s: %d %s %s", c.target, w.Code, w.Header().Get("Content-Type"), w.Body)
		}
	}
	// What fails behind it ends the answer with its error.
	f.store.hook = func(_ context.Context, r query.Request) error {
		time.Sleep(leastProgress)
		r.Progress(3, 7)
		return context.DeadlineExceeded
	}
	for _, target := range []string{"/api/v1/query?progress=100ms", "/api/v1/stats?progress=100ms"} {
		if w := f.do(http.MethodGet, target, ""); w.Code != http.StatusOK || !strings.HasPrefix(w.Body.String(), said+`{"error":{"code":`) {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
	for _, bad := range []string{"1", "99ms", "-1s", "x"} {
		for _, path := range []string{"query", "stats", "top"} {
			w := f.do(http.MethodGet, "/api/v1/"+path+"?by=service&progress="+url.QueryEscape(bad), "")
			if path == "query" {
				w = f.do(http.MethodGet, "/api/v1/query?progress="+url.QueryEscape(bad), "")
			}
			if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), `"field":"progress"`) {
				t.Errorf("%s, %s: %d %s", path, bad, w.Code, w.Body)
			}
		}
	}
}
