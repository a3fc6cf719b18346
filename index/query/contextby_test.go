package query

import (
	"testing"

	"github.com/lookoutlog/lookout/internal/event"
)

func TestParseContextBy(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "source"}, {"source", "source"}, {"service", "service"}, {"host", "host"}, {"all", "all"}, {"user.id", "user.id"},
		{`"source"`, `"source"`}, {`'all'`, `"all"`}, {`"host"`, "host"}, {`"a,b"`, `"a,b"`}, {`'a"b'`, `'a"b'`}, {"odd field", "odd field"},
	} {
		by, err := ParseContextBy(c.text)
		if err != nil || by.String() != c.want {
			t.Errorf("%s: %v, %v, want %s", c.text, by, err, c.want)
		}
		if again, err := ParseContextBy(by.String()); err != nil || again != by {
			t.Errorf("%s: %v becomes %v, %v", c.text, by, again, err)
		}
	}
	for text, want := range map[string]string{
		"time":    "time differs from event to event; give source, service, host, all or a field",
		`"id"`:    "id differs from event to event; give source, service, host, all or a field",
		"message": "message differs from event to event; give source, service, host, all or a field",
		`""`:      "an empty name is no field; give source, service, host, all or a field",
		"a,b":     `"a,b" is several fields; give one, or quote a name that has a comma`,
	} {
		if _, err := ParseContextBy(text); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// Events with the same key match the query of either, and when it is exact no others do.
func TestContextByQuery(t *testing.T) {
	var b event.Batch
	for _, host := range []string{"", "a", "A", "a b", `"`, "\xff", "*", "5", "5.0"} {
		for _, value := range []string{"", "5", "5.0", "x", "\xff\x00"} {
			for level := range event.Level(2) {
				e := b.Add()
				e.Service, e.Host, e.Level = []byte("s"), []byte(host), level
				if value != "" {
					b.AddField(e, event.Field{Name: []byte("f"), Value: []byte(value), Kind: event.Kind(level)})
					b.AddField(e, event.Field{Name: []byte("f"), Value: []byte("x")})
				}
			}
		}
	}
	for _, name := range []string{"source", "service", "host", "level", "f", "all"} {
		by, err := ParseContextBy(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b.Events {
			e := &b.Events[i]
			key, ok := by.AppendKey(nil, e)
			if !ok {
				if name != "f" || len(e.Fields) > 0 {
					t.Fatalf("%s: event %d has no key", name, i)
				}
				continue
			}
			q, exact := by.Query(e)
			for k := range b.Events {
				o := &b.Events[k]
				other, ok := by.AppendKey(nil, o)
				same := ok && string(other) == string(key)
				if matches := q == nil || q.Match(o); same && !matches || exact && !same && matches {
					t.Fatalf("%s: %s (exact: %v) of event %d on %d: %v, with the same key: %v", name, q, exact, i, k, matches, same)
				}
			}
		}
	}
}
