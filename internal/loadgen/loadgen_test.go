package loadgen

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestEqualOptionsGiveEqualValidEvents(t *testing.T) {
	a, b, other := New(Options{Seed: 1, Services: 100}), New(Options{Seed: 1, Services: 100}), New(Options{Seed: 2, Services: 100})
	services := map[string]bool{}
	differ := false
	for i := range 20000 {
		x, y := a.NDJSON(nil), b.NDJSON(nil)
		if !bytes.Equal(x, y) {
			t.Fatalf("event %d differs:\n%s%s", i, x, y)
		}
		differ = differ || !bytes.Equal(x, other.NDJSON(nil))
		var e struct{ Service, Message string }
		if err := json.Unmarshal(x, &e); err != nil || e.Message == "" {
			t.Fatalf("event %d: %v: %s", i, err, x)
		}
		services[e.Service] = true
		if g := a.GELF(nil); !json.Valid(g) {
			t.Fatalf("event %d: not JSON: %s", i, g)
		}
		b.GELF(nil)
	}
	if len(services) < 95 {
		t.Errorf("only %d of 100 services appear", len(services))
	}
	if !differ {
		t.Error("another seed gives the same events")
	}
}
