package alerting_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/internal/event"
)

// diary keeps what the engine writes down, unless it is told to fail.
type diary struct {
	mu     sync.Mutex
	broken bool
	lines  []string
}

func (d *diary) write(_ context.Context, list []alerting.Record) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range list {
		d.lines = append(d.lines, strings.Join(strings.Fields(fmt.Sprintf("%d: incident %d %s %s %s %s %s", r.ID, r.Incident, r.Rule, r.Service, r.State, r.Channel, r.Outcome)), " "))
	}
	if d.broken {
		return errors.New("told to fail")
	}
	return nil
}

func (d *diary) wrote() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := slices.Clone(d.lines)
	d.lines = nil
	return list
}

// What happens to incidents and messages is written down, once it is durable and at least once, over a restart too; a rule that asks
// for what is written down is not.
func TestJournal(t *testing.T) {
	inBubble(t, func(r *rig) {
		d := &diary{}
		r.opts.Journal = d.write
		r.opts.Rules = append(r.opts.Rules, rule(t, "own", "service:lookout", "#own"), each(rule(t, "own each", "service:lookout", "#own")))
		want := func(want ...string) {
			t.Helper()
			if got := d.wrote(); !slices.Equal(got, want) {
				t.Errorf("written down:\n  %s\nnot\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
			}
		}
		r.run()
		r.source.Add(ev(event.Error, "shop", "no stock"), ev(event.Info, "shop", "order shipped"))
		r.pass(time.Minute)
		want("1: incident 1 errors shop firing", "2: incident 1 errors shop firing #errors delivered", "3: incident 0 shipped #shop delivered")

		// Its own events are told, and not written down again.
		r.source.Add(ev(event.Info, "lookout", "incident 1 fires"))
		r.pass(time.Minute)
		want()
		if n := len(r.out.Sent("#own")); n != 2 {
			t.Errorf("%d messages about lookout's own event, not 2", n)
		}

		d.broken = true
		r.source.Add(ev(event.Error, "pay", "no money"))
		r.pass(time.Minute)
		r.halt()
		if tries := d.wrote(); len(tries) < 2 || !strings.HasPrefix(tries[0], "4: ") {
			t.Errorf("while it cannot be written: %q", tries)
		}
		d.broken = false
		r.run()
		r.pass(time.Second)
		want("4: incident 3 errors pay firing", "5: incident 3 errors pay firing #errors delivered")
	})
}
