package app

import (
	"context"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/internal/event"
)

// A pattern that was sealed is found by its words, and known of before the range that is asked for.
func TestPatternsOverARestart(t *testing.T) {
	o := options(t, nil)
	a := start(t, o)
	var b event.Batch
	for _, age := range []time.Duration{48 * time.Hour, 47 * time.Hour} {
		e := b.Add()
		e.Time, e.Service, e.Level, e.Message = time.Now().Add(-age).UnixNano(), []byte("shop"), event.Error, []byte("refund of order 17 failed")
	}
	if err := a.sink.Append(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	if err := a.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	a = start(t, o)
	ask := func(params string) (answer struct {
		Patterns []struct {
			Template string
			Count    int
			New      bool
		}
	}) {
		t.Helper()
		code, text := get(t, a, "/api/v1/patterns?"+params, true)
		if code == 503 { // the index is being built
			return answer
		}
		if err := json.Unmarshal([]byte(text), &answer); err != nil || code != 200 {
			t.Fatalf("%d %s %v", code, text, err)
		}
		return answer
	}
	for { // until the catalogue has read the segment
		if found := ask("since=1h&search=" + url.QueryEscape(`refudn~ "of order"`)); len(found.Patterns) == 1 {
			if p := found.Patterns[0]; p.Template != "refund of order # failed" || p.Count != 0 || p.New {
				t.Errorf("%+v", p)
			}
			break
		}
		if t.Context().Err() != nil {
			return
		}
	}
	if found := ask("since=72h"); len(found.Patterns) != 1 || found.Patterns[0].Count != 2 || !found.Patterns[0].New {
		t.Errorf("%+v", found)
	}
	if _, text := get(t, a, "/api/v1/catalog", true); !strings.Contains(text, `"patterns":1,`) || !strings.Contains(text, `"sequence":2,`) {
		t.Error(text)
	}
}
