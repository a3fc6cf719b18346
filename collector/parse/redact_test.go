package parse

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/internal/event"
)

func TestShippedRedactions(t *testing.T) {
	r, err := NewRedactor(ShippedRedactions(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ in, want string }{
		{"mail from max.muster+x@mail.example.org failed", "mail from [email] failed"},
		{"<a@b.de>,c@d.example.com", "<[email]>,[email]"},
		{"user@localhost and 3@4 stay", "user@localhost and 3@4 stay"},
		{"paid with 4111 1111 1111 1111.", "paid with [card]."},
		{"card=5500-0000-0000-0004", "card=[card]"},
		{"378282246310005 is Amex", "[card] is Amex"},
		{"order 4111111111111112 has no check digit", "order 4111111111111112 has no check digit"},
		{"at 1800000000000000000 ns", "at 1800000000000000000 ns"},
		{"Authorization: Bearer abc.def-123_456=", "Authorization: Bearer [bearer]"},
		{"authorization: basic dXNlcjpwYXNzd29yZA==", "authorization: basic [bearer]"},
		{"the bearer of news", "the bearer of news"},
		{"token eyJhbGciOi.eyJzdWIiOi.sig-na_ture", "token [jwt]"},
		{"AKIAIOSFODNN7EXAMPLE", "[aws_key]"},
		{"connect postgres://app:s3cr3t@db:5432/x", "connect postgres://app:[url_password]@db:5432/x"},
		{"http://host:80/path@x", "http://host:80/path@x"},
		{`login password=hunter2&user=x`, `login password=[password]&user=x`},
		{`{"password": "a\"b c", "n":1`, `{"password": "[password]", "n":1`},
		{"API-KEY: 'q q'; pwd = x", "API-KEY: '[password]'; pwd = [password]"},
		{`{"inner":"{\"secret\":\"a b\",\"n\":1}"}`, `{"inner":"{\"secret\":\"[password]\",\"n\":1}"}`},
		{"passwd=a[b]c&x", "passwd=[password]&x"},
		{"no password given", "no password given"},
	} {
		b := batch(c.in)
		for range 2 { // what is appended again is redacted again
			r.Process(b)
			if got := string(b.Events[0].Message); got != c.want {
				t.Errorf("%q: got %q, want %q", c.in, got, c.want)
			}
		}
	}
	if hits := r.Hits(); hits["email"] != 2 || hits["card"] != 3 || hits["password"] != 5 {
		t.Errorf("%v", hits)
	}
}

func batch(message string) *event.Batch {
	b := &event.Batch{}
	b.Events = append(b.Events, event.Event{Message: []byte(message)})
	return b
}

// A rule reaches every text of an event, and a field's rule its values whatever they are.
func TestRedactEverywhere(t *testing.T) {
	r, err := NewRedactor([]string{"password"}, []RedactRule{{Name: "customer", Regex: `cust-(\d)\d+`, Replace: "cust-$1…"}, {Name: "ssn", Field: "*.SSN"}, {Name: "x", Regex: `(?i)geheim`}})
	if err != nil {
		t.Fatal(err)
	}
	b := batch("cust-123 geheim cust-456")
	e := &b.Events[0]
	e.Service, e.Env, e.Host, e.Container, e.Stream = []byte("geheim"), []byte("a-geheim"), []byte("GEHEIM-b"), []byte("geheim"), []byte("geheim")
	for _, f := range []event.Field{
		{Name: []byte("user.ssn"), Value: []byte("12345"), Kind: event.Number}, {Name: []byte("geheim"), Value: []byte("1"), Kind: event.Number},
		{Name: []byte("db.password"), Value: []byte("hunter2")}, {Name: []byte("n"), Value: []byte("17"), Kind: event.Number}, {Name: []byte("list"), Value: []byte("cust-789")},
	} {
		b.AddField(e, f)
	}
	r.Process(b)
	got := fmt.Sprintf("%s|%s|%s|%s|%s|%s", e.Message, e.Service, e.Env, e.Host, e.Container, e.Stream)
	if want := "cust-1… [x] cust-4…|[x]|a-[x]|[x]-b|[x]|[x]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	var fields []string
	for _, f := range e.Fields {
		fields = append(fields, fmt.Sprintf("%s=%s:%d", f.Name, f.Value, f.Kind))
	}
	want := []string{fmt.Sprintf("user.ssn=[ssn]:%d", event.String), fmt.Sprintf("[x]=1:%d", event.Number), fmt.Sprintf("db.password=[password]:%d", event.String), fmt.Sprintf("n=17:%d", event.Number),
		fmt.Sprintf("list=cust-7…:%d", event.String)}
	if !slices.Equal(fields, want) {
		t.Errorf("got %q, want %q", fields, want)
	}
}

// A replacement that is longer than what it stands for does not make an event too long.
func TestRedactedEventsFit(t *testing.T) {
	r, err := NewRedactor(nil, []RedactRule{{Name: "x", Regex: "y", Replace: strings.Repeat("z", 60)}})
	if err != nil {
		t.Fatal(err)
	}
	b := batch(strings.Repeat("y", event.MaxMessage))
	b.Events[0].Service = []byte(strings.Repeat("y", event.MaxName))
	r.Process(b)
	if e := &b.Events[0]; len(e.Message) > event.MaxMessage || len(e.Service) > event.MaxName || strings.Contains(strings.TrimSuffix(string(e.Message), event.TruncationMark), "y") {
		t.Errorf("%d bytes of message, %d of service", len(e.Message), len(e.Service))
	}
}

func TestBadRedactRules(t *testing.T) {
	for want, rule := range map[string]RedactRule{
		"either a regex or a field":             {Name: "a"},
		"give either a regex or a field":        {Name: "a", Regex: "x", Field: "y"},
		"not a regular expression":              {Name: "a", Regex: "("},
		"the most is 1000":                      {Name: "a", Regex: strings.Repeat("x", 1001)},
		"the replacement has 65 bytes":          {Name: "a", Regex: "x", Replace: strings.Repeat("y", 65)},
		"matches nothing at all":                {Name: "a", Regex: "x*"},
		"matches a part of its own replacement": {Name: "a", Regex: "a", Replace: "[aa]"},
	} {
		if _, err := NewRedactor(nil, []RedactRule{rule}); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `rule "a"`) {
			t.Errorf("%+v: %v", rule, err)
		}
	}
	if _, err := NewRedactor([]string{"mail"}, nil); err == nil || !strings.Contains(err.Error(), "these are there: email, card, bearer") {
		t.Error(err)
	}
}

func BenchmarkRedact(b *testing.B) {
	for _, name := range append(ShippedRedactions(), "all") {
		b.Run(name, func(b *testing.B) {
			named := []string{name}
			if name == "all" {
				named = ShippedRedactions()
			}
			r, err := NewRedactor(named, nil)
			if err != nil {
				b.Fatal(err)
			}
			events := batch(`GET /api/v1/orders/4711 failed: connection refused after 3 tries, upstream 10.1.2.3:8080 took 1234 ms`)
			b.ReportAllocs()
			for b.Loop() {
				r.Process(events)
			}
		})
	}
}
