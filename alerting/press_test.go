package alerting_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
)

// The button "Silence" silences this kind of incident and no other; pressed again it says how long from now.
func TestSilenceIncident(t *testing.T) {
	inDuo(t, func(r *duo) {
		r.run()
		r.source.Add(down("sales"), down("billing"))
		r.pass(time.Minute)
		ctx := context.Background()
		if err := r.engine.SilenceIncident(ctx, 1, 24*time.Hour, "ann\n<b>"); err != nil {
			t.Fatal(err)
		}
		r.pass(time.Minute)
		if s := r.stats(); s.Open[alerting.Firing] != 2 || s.Muted["silence"] != 1 {
			t.Errorf("stats: %v, muted %v", s.Open, s.Muted)
		}
		sent := r.out.Sent("#errors")
		if facts := strings.Join(sent[0].Message.Facts, " · "); sent[0].Message.State != alerting.Silenced || !strings.Contains(facts, "silenced by ann <b> until 2000-01-02 00:01:00Z") {
			t.Errorf("%s: %s", sent[0].Message.State, facts)
		}
		if sent[1].Message.State != alerting.Firing {
			t.Errorf("the other is %s", sent[1].Message.State)
		}
		// A redelivery after a restart, and another person's hour: there is one silence, which ends as the last one says.
		r.halt()
		r.run()
		for _, d := range []time.Duration{24 * time.Hour, time.Hour} {
			if err := r.engine.SilenceIncident(ctx, 1, d, "bob"); err != nil {
				t.Fatal(err)
			}
		}
		all, err := r.engine.Silences()
		if err != nil || len(all) != 1 || !all[0].Until.Equal(time.Now().Add(time.Hour)) || all[0].By != "bob" {
			t.Errorf("silences %+v, %v", all, err)
		}
		if err := r.engine.SilenceIncident(ctx, 99, time.Hour, "ann"); !errors.Is(err, alerting.ErrNotFound) {
			t.Errorf("an incident there is not: %v", err)
		}
	})
}
