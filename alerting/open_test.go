package alerting_test

import (
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/internal/event"
)

// What a channel was told of and is open, with what an outside service knows it by.
func TestOpen(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.opts.Rules = []alerting.Rule{rule(t, "errors", "level>=error", "#a")}
		r.opts.Policy.Templates = map[string]*alerting.Template{"#a": parseTemplate(t, "#a: {{.Message}}")}
		r.run()
		r.source.Add(ev(event.Error, "shop", "no stock"))
		r.pass(time.Second)
		r.source.Add(ev(event.Error, "pay", "no money"))
		r.pass(time.Minute)
		open, err := r.engine.Open("#a")
		if err != nil || len(open) != 2 || open[0].Labels["service"] != "shop" || open[1].Labels["service"] != "pay" || open[0].Since.IsZero() || open[0].ID == 0 || open[0].Incident == "" {
			t.Errorf("%+v, %v", open, err)
		}
		if open[1].Title != "#a: no money" {
			t.Errorf("the title is %q, not in the words of the template", open[1].Title)
		}
		if other, err := r.engine.Open("#b"); err != nil || len(other) != 0 {
			t.Errorf("%+v, %v", other, err)
		}
		if err := r.engine.Resolve(t.Context(), open[0].ID, "me"); err != nil {
			t.Fatal(err)
		}
		r.pass(time.Minute)
		if open, err = r.engine.Open("#a"); err != nil || len(open) != 1 || open[0].Labels["service"] != "pay" {
			t.Errorf("%+v, %v", open, err)
		}
	})
}
