package alerting_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// testdata/state-1.db was written by the last lookout with format 1 and holds, at 2000-01-01 00:01: an incident of shop's
// field fingerprint probe:shop that was told in #errors by message 1, one on its way there whose answer was lost, one and a
// notice that wait, five of #flood of which two were held, one of the broken channel #gone, a dead letter, gathered
// events of #shop, and position 13.
func openOld(r *rig) {
	golden, err := os.ReadFile("testdata/state-1.db")
	if err != nil {
		r.t.Fatal(err)
	}
	path := filepath.Join(r.t.TempDir(), "old.db")
	if err := os.WriteFile(path, golden, 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := r.db.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.db = openDB(r.t, path)
	r.opts.DB = r.db
	for range 13 {
		r.source.Add(ev(event.Debug, "shop", "what happened before"))
	}
	resolve, err := query.Parse("change:up")
	if err != nil {
		r.t.Fatal(err)
	}
	r.opts.Rules = append(r.opts.Rules, rule(r.t, "gone", "level=warning service:gone", "#gone"), rule(r.t, "flood", "level=warning service:flood", "#flood"))
	r.opts.Rules[0].Resolve = resolve
	r.opts.Limits.Budget = 3
	r.pass(10 * time.Minute) // so that there is budget again
}

func TestStateOfFormat1(t *testing.T) {
	inBubble(t, func(r *rig) {
		openOld(r)
		var mu sync.Mutex
		var edits []string
		r.opts.Notifier = alertingtest.Threads{Recorder: r.out}
		r.out.Answer = func(_ context.Context, _ string, m alerting.Message, to alerting.Receipt) error {
			mu.Lock()
			defer mu.Unlock()
			if to.ID == "1" && to.Channel == "#errors" {
				edits = append(edits, string(m.State)+" "+m.Facts[0])
			}
			return nil
		}
		r.run()
		r.pass(time.Minute)
		r.wantTitles("#errors", "[error] shop: on its way", "[error] shop: waiting", "lookout: alerts for #gone cannot be delivered")
		r.wantTitles("#gone", "[warning] gone: parked")
		r.wantTitles("#shop", "shipped 2")
		for i, s := range r.out.Sent("#errors") {
			if got := strings.Contains(s.Message.Text(), alerting.NoteAgain); got != (i == 0) {
				t.Errorf("message %d says that it may be a repeat: %v", i, got)
			}
		}
		// What was told is not told again, what was held is, and what is resolved is edited where it was told.
		told := change("shop", "down", "no stock")
		told.Fields = told.Fields[1:]
		r.source.Add(told, ev(event.Warning, "flood", "one"))
		r.pass(6 * time.Minute)
		r.source.Add(ev(event.Warning, "flood", "four"), up("shop"))
		r.pass(time.Minute)
		r.wantTitles("#flood", "[warning] flood: four")
		if want := "[resolved fired 2000-01-01 00:00:00Z, resolved 00:17:00Z after 17m]"; fmt.Sprint(edits) != want {
			t.Errorf("edits of the message that was there: %q, want %s", edits, want)
		}
		if letters, err := r.engine.DeadLetters(); err != nil || len(letters) != 1 {
			t.Errorf("%d dead letters, %v", len(letters), err)
		}
		if s := r.stats(); s.Outbox != 0 || s.StateErrors != 0 || len(s.Parked) != 0 || s.Position != 17 {
			t.Errorf("stats %+v", s)
		}
		// All of them are forgotten in their time.
		r.pass(8 * 24 * time.Hour)
		r.source.Add(ev(event.Debug, "shop", "time goes by"))
		r.pass(time.Minute)
		if n := r.records("alerting/incident"); n != 0 {
			t.Errorf("%d incidents are kept for ever", n)
		}
	})
}

// Records of a format 1 that cannot be read are no reason not to start.
func TestDamagedStateOfFormat1(t *testing.T) {
	inBubble(t, func(r *rig) {
		openOld(r)
		err := r.db.Update(func(tx *bbolt.Tx) error {
			for bucket, key := range map[string]string{"alerting/incident": "errors|m1:5902ac392b05f645", "alerting/outbox": "errors|m1:b2fbdb2c0f7d429c|8|fired"} {
				b := tx.Bucket([]byte(bucket))
				if b.Get([]byte(key)) == nil {
					return fmt.Errorf("%s has no %s", bucket, key)
				}
				if err := b.Put([]byte(key), []byte("\x01{")); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		r.run()
		r.pass(time.Minute)
		r.wantTitles("#errors", "rule errors matched at 2000-01-01 00:01:00Z", "lookout: alerts for #gone cannot be delivered")
		if letters, err := r.engine.DeadLetters(); err != nil || len(letters) != 2 || !strings.HasPrefix(letters[0].Key, "errors|m1:b2fbdb2c0f7d429c") {
			t.Errorf("dead letters %+v, %v", letters, err)
		}
	})
}
