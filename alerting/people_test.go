package alerting_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
)

// ids are the incidents' numbers by service.
func (r *rig) ids() map[string]uint64 {
	r.t.Helper()
	infos, err := r.engine.Incidents()
	if err != nil {
		r.t.Fatal(err)
	}
	ids := map[string]uint64{}
	for _, i := range infos {
		ids[i.Service] = i.ID
	}
	return ids
}

func TestByHand(t *testing.T) {
	inDuo(t, func(r *duo) {
		ctx := context.Background()
		r.run()
		r.source.Add(down("sales"))
		r.pass(2 * time.Minute)
		id := r.ids()["sales"]
		if m := r.out.Sent()[0].Message; m.ID != id || id == 0 {
			t.Errorf("the message is of incident %d, the list has %d", m.ID, id)
		}
		for range 2 { // the second changes nothing
			if err := r.engine.Acknowledge(ctx, id, "anna"); err != nil {
				t.Fatal(err)
			}
		}
		r.halt() // durable
		r.run()
		r.pass(time.Minute)
		acked := "acknowledged fired 00:00:00Z, acknowledged 00:02:00Z by anna"
		r.want([]string{acked + " (1)"}, []string{acked + " (1)"})
		asked := r.stats().Asked
		r.pass(time.Hour)
		if now := r.stats().Asked; now != asked {
			t.Errorf("%d questions after it was acknowledged", now-asked)
		}
		for range 2 {
			if err := r.engine.Resolve(ctx, id, "bert"); err != nil {
				t.Fatal(err)
			}
		}
		r.pass(time.Minute)
		over := "resolved fired 00:00:00Z, acknowledged 00:02:00Z by anna, resolved 01:03:00Z after 1h3m by bert"
		r.want([]string{over + " (2)"}, []string{over + " (2)"})
		if err := r.engine.Acknowledge(ctx, id, "late"); err != nil {
			t.Errorf("acknowledging what is over: %v", err)
		}
		info, err := r.engine.Incident(id)
		if err != nil || info.State != alerting.Resolved || info.By != "anna" || info.ResolvedBy != "bert" {
			t.Errorf("%+v, %v", info, err)
		}
		for _, err := range []error{r.engine.Acknowledge(ctx, 99, ""), r.engine.Resolve(ctx, 99, ""), func() error { _, err := r.engine.Incident(99); return err }()} {
			if !errors.Is(err, alerting.ErrNotFound) {
				t.Errorf("of an id that there is not: %v", err)
			}
		}
		// It fires again, and nobody has acknowledged that.
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		if info, err := r.engine.Incident(id); err != nil || info.State != alerting.Firing || info.By != "" || info.ResolvedBy != "" {
			t.Errorf("%+v, %v", info, err)
		}
	})
}
