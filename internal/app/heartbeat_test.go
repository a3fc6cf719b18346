package app

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// The watcher hears of lookout while its rules go on, and no more when they stand still; no error tells its address.
func TestHeartbeat(t *testing.T) {
	asked, status := 0, http.StatusOK
	watcher := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/canary" {
			t.Errorf("asked for %s", r.URL)
		}
		asked++
		w.WriteHeader(status)
	}))
	defer watcher.Close()
	var position, last uint64
	var said []string
	tick := make(chan time.Time)
	h := &heartbeat{
		url: watcher.URL + "/canary", every: time.Minute, position: func() uint64 { return position }, last: func() uint64 { return last },
		after: func(time.Duration) <-chan time.Time { return tick }, log: func(s string) { said = append(said, s) }, client: watcher.Client(),
	}
	h.wasPosition, h.wasLast = position, last
	for i, c := range []struct {
		position, last uint64
		status         int
		beats          bool
	}{
		{0, 0, 200, true},    // an empty store
		{0, 10, 200, true},   // they have just come
		{0, 20, 200, false},  // and nothing was done in a whole period
		{5, 30, 200, true},   // it goes on, if late
		{30, 30, 200, true},  // it is done
		{30, 30, 500, true},  // the watcher fails
		{30, 30, 500, true},  // which is said once
		{30, 40, 200, true},  // and is over
		{30, 40, 200, false}, // it stands still again
		{100, 100, 200, true},
	} {
		position, last, status = c.position, c.last, c.status
		before := asked
		if h.goesOn() {
			h.beat(t.Context())
		}
		if beat := asked > before; beat != c.beats {
			t.Errorf("step %d: beat is %v", i, beat)
		}
	}
	want := []string{"alerting stands still at event 0", "the watcher answered 500", "alerting stands still at event 30"}
	if !slices.EqualFunc(said, want, strings.Contains) {
		t.Errorf("said %q", said)
	}
	h.url = "http://127.0.0.1:1/canary"
	if err := h.get(t.Context()); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("nobody listens: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.run(ctx); err != nil {
		t.Error(err)
	}
}
