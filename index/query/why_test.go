package query

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lookoutlog/lookout/internal/event"
)

func TestWhy(t *testing.T) {
	e := &event.Event{
		Seq: 7, Level: event.Error, Service: []byte("pay"), Message: []byte("connection Timeout"),
		Fields: []event.Field{{Name: []byte("status"), Value: []byte("502"), Kind: event.Number}, {Name: []byte("user"), Value: []byte("anna")}, {Name: []byte("ip"), Value: []byte("10.0.0.1")}, {Name: []byte("ip"), Value: []byte("10.0.0.2")}},
	}
	for _, c := range []struct{ query, want string }{
		{"timeout", "yes|timeout holds: it is in the message"},
		{"anna", "yes|anna holds: it is in the field user"},
		{"absent", "no|absent does not hold"},
		{"*", "yes|* holds"},
		{"timeout absent status>500", "no|absent does not hold"},
		{"status>600 absent", "no|status>600 does not hold: status is 502|absent does not hold"},
		{"absent OR user:anna OR timeout", `yes|user:anna holds: user is "anna"|timeout holds: it is in the message`},
		{"absent OR user:bob", `no|absent does not hold|user:bob does not hold: user is "anna"`},
		{"-service:pay*", `no|service:pay* holds: service is "pay"`},
		{"-absent level:info", "no|level:info does not hold: level is error"},
		{"-absent", "yes|absent does not hold"},
		{"NOT (timeout status:502)", "no|timeout holds: it is in the message|status:502 holds: status is 502"},
		{"NOT (timeout status:200)", "yes|status:200 does not hold: status is 502"},
		{"host:x", "no|host:x does not hold: the event has no host"},
		{"stauts:502", "no|stauts:502 does not hold: the event has no field stauts; it has status, user, ip"},
		{"ip:10.0.0.2", `yes|ip:10.0.0.2 holds: ip is "10.0.0.1", "10.0.0.2"`},
		{"id:7 message:x", `no|message:x does not hold: message is "connection Timeout"`},
		{"id:8", "no|id:8 does not hold: id is 7"},
		{"absent OR absent", "no|absent does not hold"},
	} {
		match, reasons := mustParse(t, c.query).Why().Of(e)
		got := "no"
		if match {
			got = "yes"
		}
		for _, r := range reasons {
			got += "|" + r.String()
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.query, got, c.want)
		}
	}
	if _, r := mustParse(t, "a:b").Why().Of(&event.Event{}); r[0].Found != "the event has no field a, and no other" {
		t.Errorf("%q", r)
	}
}

// The verdict is the query's own, there is always a reason, and what is found fits on a line.
func TestWhyAgrees(t *testing.T) {
	texts := rapid.SampledFrom([]string{"a", "b", "a b", "-a", "x:a", "x>1", "level>=error", "service:s", "*", "x:(1..3, a)", "~\"a|b\"", "message:a"})
	values := rapid.SampledFrom([]string{"a", "b", "1", "2.5", "", "a\nb"})
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(texts, 1, 4).Draw(t, "terms")
		text := parts[0]
		for _, p := range parts[1:] {
			text = rapid.SampledFrom([]string{"(%a) (%b)", "(%a) OR (%b)", "NOT (%a) (%b)"}).Draw(t, "form")
			text = strings.NewReplacer("%a", strings.Join(parts, " "), "%b", p).Replace(text)
		}
		q, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		e := &event.Event{Message: []byte(values.Draw(t, "message")), Service: []byte(rapid.SampledFrom([]string{"", "s"}).Draw(t, "service")), Level: event.Level(rapid.IntRange(0, 8).Draw(t, "level"))}
		if rapid.Bool().Draw(t, "field") {
			e.Fields = []event.Field{{Name: []byte("x"), Value: []byte(values.Draw(t, "value"))}}
		}
		match, reasons := q.Why().Of(e)
		if match != q.Match(e) || len(reasons) == 0 {
			t.Fatalf("%s: %v, %v", text, match, reasons)
		}
		for _, r := range reasons {
			if strings.Contains(r.String(), "\n") {
				t.Fatalf("%q", r)
			}
		}
	})
}
