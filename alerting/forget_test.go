package alerting_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

func (r *rig) forget(text string, maxSeq uint64) {
	r.t.Helper()
	q, err := query.Parse(text)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.engine.Forget(context.Background(), &query.DeleteScope{Query: q, MaxSeq: maxSeq}); err != nil {
		r.t.Fatal(err)
	}
}

// down is a way out that refuses everything until it is up.
func (r *rig) down() (up *atomic.Bool) {
	up = new(atomic.Bool)
	r.out.Answer = func(context.Context, string, alerting.Message, alerting.Receipt) error {
		if !up.Load() {
			return &alerting.DeliveryError{Class: alerting.Transient, Unsent: true, Err: errors.New("connection refused")}
		}
		return nil
	}
	return up
}

// What is deleted is neither sent any more nor in the state's file; that it happened is told, and the rest as ever.
func TestForget(t *testing.T) {
	inBubble(t, func(r *rig) {
		up := r.down()
		r.run()
		secret := ev(event.Error, "shop", "login of hunter2 failed")
		secret.Fields = []event.Field{{Name: []byte("user"), Value: []byte("anna")}}
		inField := ev(event.Error, "shop", "no password")
		inField.Fields = []event.Field{{Name: []byte("given"), Value: []byte("hunter2")}}
		hidden := ev(event.Error, "web", "the container ended")
		hidden.Stream, hidden.Fields = []byte("docker"), inField.Fields // which no message shows
		labelled := ev(event.Error, "mail", "the queue is long")        // what another system labels it with is the incident's as well
		labelled.Stream, labelled.Fields = []byte("alertmanager"), []event.Field{{Name: []byte("labels.user"), Value: []byte("hunter2")}}
		r.source.Add(secret, ev(event.Error, "shop", "no stock"), inField, hidden, labelled,
			ev(event.Info, "shop", "order shipped to hunter2"), ev(event.Info, "shop", "order shipped to anna"))
		r.pass(time.Second)
		last := r.source.LastSeq()
		r.forget("hunter2", last)
		r.forget("hunter2", last) // again, as after a crash
		data, err := os.ReadFile(r.db.Path())
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(data, []byte("hunter2")); n > 0 {
			t.Errorf("the state's file still has it %d times", n)
		}
		up.Store(true)
		r.pass(10 * time.Minute)
		r.wantTitles("#errors", "[error] shop: (deleted)", "[error] shop: no stock", "[error] shop: (deleted)", "[error] web: (deleted)", "[error] mail: (deleted)")
		sent := r.out.Sent("#shop")
		if len(sent) != 1 || !strings.Contains(sent[0].Message.Text(), "order shipped to anna") {
			t.Errorf("%+v", sent)
		}
		for _, s := range r.out.Sent("#errors", "#shop") {
			if text := s.Message.Title + s.Message.Text(); strings.Contains(text, "hunter2") || strings.Contains(text, "user=anna") {
				t.Errorf("it was sent: %s", text)
			}
		}
	})
}

// What certainly is not of the scope stays: another service's, what is younger, and what is outside of its time.
func TestForgetKeepsTheRest(t *testing.T) {
	for _, c := range []struct {
		name, query  string
		since, until int64
		back         uint64 // events before the newest that the scope reaches to
		want         string
	}{
		{"another service", "service:pay", 0, 0, 0, "[error] shop: no stock"},
		{"the service", "service:shop", 0, 0, 0, "[error] shop: (deleted)"},
		{"another word", "sold", 0, 0, 0, "[error] shop: no stock"},
		{"words that are cut or quoted otherwise", `"no  stock"`, 0, 0, 0, "[error] shop: (deleted)"},
		{"without a word", "-sold", 0, 0, 0, "[error] shop: (deleted)"},
		{"a host, of which no text tells", "host:h1", 0, 0, 0, "[error] shop: (deleted)"},
		{"younger", "stock", 0, 0, 1, "[error] shop: no stock"},
		{"later", "stock", 2, 0, 0, "[error] shop: no stock"},
		{"before", "stock", 0, 1, 0, "[error] shop: no stock"},
		{"then", "stock", 1, 2, 0, "[error] shop: (deleted)"},
		{"everything", "", 0, 0, 0, "[error] shop: (deleted)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				up := r.down()
				r.run()
				e := ev(event.Error, "shop", "no stock")
				before := time.Now().UnixNano() - 2 // the event is at 1 from it
				e.Time = before + 1
				r.source.Add(ev(event.Info, "x", "before"), e)
				r.pass(time.Second)
				q, err := query.Parse(c.query)
				if err != nil {
					t.Fatal(err)
				}
				scope := &query.DeleteScope{Query: q, MaxSeq: r.source.LastSeq() - c.back}
				if c.since != 0 {
					scope.Since = before + c.since
				}
				if c.until != 0 {
					scope.Until = before + c.until
				}
				if err := r.engine.Forget(context.Background(), scope); err != nil {
					t.Fatal(err)
				}
				up.Store(true)
				r.pass(10 * time.Minute)
				r.wantTitles("#errors", c.want)
			})
		})
	}
}

// A batch that was read before the deletion, and is decided after it, brings nothing back; what is younger counts.
func TestForgetIsAheadOfTheBatch(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.forget("hunter2", r.source.LastSeq()+1)
		r.source.Add(ev(event.Error, "shop", "hunter2"), ev(event.Error, "pay", "hunter2"))
		r.pass(time.Minute)
		r.wantTitles("#errors", "[error] pay: hunter2")
	})
}

// A state that no engine has open, since there are no rules any more, forgets as well; one that alerting never had stays as it is.
func TestForgetWithoutAnEngine(t *testing.T) {
	inBubble(t, func(r *rig) {
		up := r.down()
		r.run()
		r.source.Add(ev(event.Error, "shop", "login of hunter2 failed"), ev(event.Error, "shop", "no stock"))
		r.pass(time.Second)
		last := r.source.LastSeq()
		r.halt()
		q, err := query.Parse("hunter2")
		if err != nil {
			t.Fatal(err)
		}
		scope := &query.DeleteScope{Query: q, MaxSeq: last}
		if err := alerting.Forget(context.Background(), r.db, scope); err != nil {
			t.Fatal(err)
		}
		if data, err := os.ReadFile(r.db.Path()); err != nil || bytes.Contains(data, []byte("hunter2")) {
			t.Errorf("the state's file still has it, %v", err)
		}
		up.Store(true)
		r.run()
		r.pass(10 * time.Minute)
		r.wantTitles("#errors", "[error] shop: (deleted)", "[error] shop: no stock")

		fresh := openDB(t, filepath.Join(t.TempDir(), "fresh.db"))
		defer fresh.Close()
		if err := alerting.Forget(context.Background(), fresh, scope); err != nil {
			t.Error(err)
		}
	})
}
