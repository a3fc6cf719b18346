package native

import (
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/internal/event"
)

// louder is a stage that changes every message.
type louder struct{}

func (louder) Process(b *event.Batch) {
	for i := range b.Events {
		b.Events[i].Message = b.Copy([]byte(strings.ToUpper(string(b.Events[i].Message))))
	}
}

// What a lookout had stored comes in as it was: no other names, no stages.
func TestExact(t *testing.T) {
	line := `{"time":"2026-11-20T10:00:00.5Z","level":"error","service":"web","severity":"odd","msg":"m","hostname":"x","ts":"t","id":"mine","message":"hello"}`
	for _, c := range []struct {
		header, want string
	}{
		{"true", "hello web error | severity=odd msg=m hostname=x ts=t id=mine"},
		{"false", "HELLO web error x | severity=odd msg=m ts=t id_=mine"},
	} {
		h, s := handler(Options{Stages: func() []collector.Stage { return []collector.Stage{louder{}} }})
		if a := post(t, h, strings.NewReader(line), "Lookout-Exact", c.header); a.Status != 200 || a.Accepted != 1 {
			t.Fatalf("%+v", a)
		}
		e := s.events[0]
		got := string(e.Message) + " " + string(e.Service) + " " + e.Level.String()
		if len(e.Host) > 0 {
			got += " " + string(e.Host)
		}
		got += " |"
		for _, f := range e.Fields {
			got += " " + string(f.Name) + "=" + string(f.Value)
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.header, got, c.want)
		}
	}
	h, _ := handler(Options{})
	if a := post(t, h, strings.NewReader(line), "Lookout-Exact", "yes"); a.Status != 400 || a.Error.Code != "bad_header" {
		t.Errorf("%+v", a)
	}
}
