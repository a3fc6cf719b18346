package alertmanager_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/collector/alertmanager"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/leak"
)

func TestMain(m *testing.M) { leak.VerifyTestMain(m) }

// sink keeps a line of each event.
type sink struct {
	mu    sync.Mutex
	lines []string
	last  event.Event
	fail  error
}

func (s *sink) Append(_ context.Context, b *event.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	for i := range b.Events {
		e := &b.Events[i]
		s.lines = append(s.lines, fmt.Sprintf("%s %s %s %s: %s", e.Field("status").Value, e.Level, e.Stream, e.Service, e.Message))
		s.last = e.Clone()
	}
	return nil
}

func (s *sink) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := strings.Join(s.lines, "\n")
	s.lines = nil
	return text
}

func open(t *testing.T, file string) *bbolt.DB {
	t.Helper()
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func input(t *testing.T, s *sink, db *bbolt.DB) *alertmanager.Input {
	t.Helper()
	in, err := alertmanager.New(alertmanager.Options{Sink: s, DB: db})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func alert(name string, change ...func(*alertmanager.Alert)) alertmanager.Alert {
	a := alertmanager.Alert{
		Labels: map[string]string{"alertname": name, "job": "shop", "instance": "10.0.0.1:9100", "severity": "critical", "env": "prod", "empty": ""}, Annotations: map[string]string{"summary": "it is " + name},
	}
	for _, c := range change {
		c(&a)
	}
	return a
}

// The fingerprint is that of prometheus/common: the one Alertmanager 0.25 shows for these labels.
func TestFingerprint(t *testing.T) {
	a := alertmanager.Alert{Labels: map[string]string{"alertname": "DiskFull", "service": "db", "severity": "warning"}}
	if got := a.Fingerprint(); got != "fea87206e6e9c5ec" {
		t.Error(got)
	}
}

// An event is made when an alert begins, and when it ends: as its sender says, or because nobody sends it again.
func TestChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "state.db")
		db := open(t, file)
		s := &sink{}
		in := input(t, s, db)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- in.Run(ctx) }()
		post := func(want string, alerts ...alertmanager.Alert) {
			t.Helper()
			if err := in.Post(ctx, alerts); err != nil {
				t.Error(err)
			}
			if got := s.take(); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		ended := func(a *alertmanager.Alert) { a.EndsAt = time.Now().Add(-time.Second) }
		post("firing critical alertmanager shop: down: it is down", alert("down"))
		e := s.last
		for name, want := range map[string]string{"labels.alertname": "down", "labels.instance": "10.0.0.1:9100", "annotations.summary": "it is down", "labels.empty": ""} {
			if f := e.Field(name); (f == nil) != (want == "") || f != nil && string(f.Value) != want {
				t.Errorf("%s: %v", name, f)
			}
		}
		if string(e.Host) != "10.0.0.1" || string(e.Env) != "prod" || len(e.Field("fingerprint").Value) != 16 {
			t.Errorf("%+v", e)
		}
		post("", alert("down", func(a *alertmanager.Alert) { a.Annotations["summary"] = "it is down still" }))
		if list := in.Alerts(); len(list) != 1 || list[0].Annotations["summary"] != "it is down still" {
			t.Errorf("%+v", list)
		}
		post("resolved info alertmanager shop: resolved: down: it is down", alert("down", ended))
		post("", alert("down", ended), alert("unknown", ended))
		// Twice in one request, and again.
		post("firing critical alertmanager shop: a: it is a\nresolved info alertmanager shop: resolved: a: it is a", alert("a"), alert("a", ended))
		post("firing critical alertmanager shop: a: it is a", alert("a"), alert("a"))
		time.Sleep(4 * time.Minute)
		post("", alert("a"))
		time.Sleep(4 * time.Minute)
		post("", alert("a"))
		if got := s.take(); got != "" {
			t.Errorf("resolved while it was sent: %q", got)
		}
		time.Sleep(6 * time.Minute)
		if got := s.take(); got != "resolved info alertmanager shop: resolved: a: it is a" {
			t.Errorf("nobody sends it: %q", got)
		}
		// A restart forgets nothing, and leaves time to send again.
		post("firing critical alertmanager shop: b: it is b", alert("b", func(a *alertmanager.Alert) { a.EndsAt = time.Now().Add(time.Minute) }))
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		db = open(t, file)
		in = input(t, s, db)
		ctx, stop = context.WithCancel(t.Context())
		go func() { done <- in.Run(ctx) }()
		time.Sleep(4 * time.Minute)
		post("", alert("b"))
		time.Sleep(6 * time.Minute)
		if got := s.take(); got != "resolved info alertmanager shop: resolved: b: it is b" {
			t.Errorf("after the restart: %q", got)
		}
		if st := in.Stats(); st.Firing != 0 || st.Events != 1 {
			t.Errorf("%+v", st)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// What the store does not take is not taken: it is told when it is sent again, or resolved later.
func TestStoreRefuses(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "state.db"))
	defer db.Close()
	s := &sink{fail: errors.New("full")}
	in := input(t, s, db)
	if err := in.Post(t.Context(), []alertmanager.Alert{alert("a")}); err == nil || len(in.Alerts()) != 0 {
		t.Errorf("%v, %v", err, in.Alerts())
	}
	s.fail = nil
	if err := in.Post(t.Context(), []alertmanager.Alert{alert("a")}); err != nil || s.take() == "" {
		t.Error(err)
	}
}

func TestBadAlerts(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "state.db"))
	defer db.Close()
	s := &sink{}
	in := input(t, s, db)
	many := map[string]string{}
	for i := range 101 {
		many[fmt.Sprint("l", i)] = "x"
	}
	bad := []alertmanager.Alert{
		{}, {Labels: map[string]string{"a": ""}}, {Labels: many}, {Labels: map[string]string{"": "x"}}, {Labels: map[string]string{"a\n": "x"}}, {Labels: map[string]string{"a": "\xff"}},
		{Labels: map[string]string{"a": strings.Repeat("x", 20<<10)}}, {Labels: map[string]string{"a": "x"}, StartsAt: time.Now().Add(time.Hour), EndsAt: time.Now()},
	}
	for i, a := range bad {
		err := in.Post(t.Context(), []alertmanager.Alert{alert(fmt.Sprint("good", i)), a})
		var invalid *alertmanager.InvalidError
		if !errors.As(err, &invalid) || !strings.HasPrefix(err.Error(), "alert 2: ") || !strings.Contains(s.take(), "good") {
			t.Errorf("%d: %v", i, err)
		}
	}
	var flood []alertmanager.Alert
	for i := range 10_000 {
		flood = append(flood, alertmanager.Alert{Labels: map[string]string{"a": fmt.Sprint(i)}})
	}
	if err := in.Post(t.Context(), flood); !errors.Is(err, alertmanager.ErrFull) || s.take() != "" {
		t.Error(err)
	}
	// A label that says lookout does not make it lookout's own event.
	if err := in.Post(t.Context(), []alertmanager.Alert{{Labels: map[string]string{"job": "lookout"}}}); err != nil || string(s.last.Service) != "alertmanager" {
		t.Errorf("%v, %q", err, s.last.Service)
	}
}
