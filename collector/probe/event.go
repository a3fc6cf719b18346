package probe

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/flatjson"
)

const (
	// What of an answer goes into an event, in bytes.
	keptBody  = 1 << 10
	keptError = 1 << 10
	keptSeen  = 64 // of one value that a condition names
	maxLeaves = 10_000
)

func str(name, value string) event.Field {
	return event.Field{Name: []byte(name), Value: []byte(value)}
}

func num(name string, v float64) event.Field {
	return event.Field{Name: []byte(name), Value: strconv.AppendFloat(nil, v, 'f', -1, 64), Kind: event.Number}
}

func boolean(name string, v bool) event.Field {
	return event.Field{Name: []byte(name), Value: strconv.AppendBool(nil, v), Kind: event.Bool}
}

// ms is a duration in milliseconds, to the microsecond.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// short is a duration as a person reads it: 12.3ms, 4m12s.
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	case d < time.Minute:
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// measured are the fields that a condition sees and the result's event has.
func (r *result) measured() []event.Field {
	f := []event.Field{str("duration", short(r.took)), num("duration_ms", ms(r.took))}
	if r.status != 0 {
		f = append(f, num("status", float64(r.status)), num("size_bytes", float64(r.size)))
	}
	for p, had := range r.had {
		if had {
			f = append(f, num(phaseFields[p], ms(r.phase[p])))
		}
	}
	if !r.ends.IsZero() {
		f = append(f, num("cert_days", float64(r.certDays())), num("cert_expires", float64(r.ends.Unix())))
	}
	return f
}

// certDays is how many whole days the certificate is good for yet; negative when it has ended.
func (r *result) certDays() int { return int(math.Floor(time.Until(r.ends).Hours() / 24)) }

// CertDays is from how many days before its end on a certificate is worth a word in each result, which is a warning then.
const CertDays = 14

// judge decides a check that got an answer.
func (r *result) judge(t *target) {
	if t.Expect == nil {
		r.ok = r.status == 0 || r.status >= 200 && r.status <= 299
		if !r.ok {
			r.err = fmt.Sprintf("status %d, expected status:200..299", r.status)
		}
		return
	}
	e := event.Event{Time: time.Now().UnixNano(), Service: []byte("probe"), Stream: []byte("probe"), Fields: r.measured()}
	var broken error
	if r.status != 0 {
		broken = r.answer(&e)
	}
	if r.ok = t.Expect.Match(&e); r.ok {
		return
	}
	expect := t.Expect.String()
	r.err = seen(&e, expect, r) + ", expected " + expect
	if broken != nil && names(expect, "json.") {
		r.err += " (the body is not a JSON object: " + broken.Error() + ")"
	}
}

// answer adds what an HTTP answer said. The error says why the body has no fields.
func (r *result) answer(e *event.Event) error {
	e.Fields = append(e.Fields, event.Field{Name: []byte("body"), Value: r.body})
	headers := make([]string, 0, len(r.header))
	for name := range r.header {
		headers = append(headers, name)
	}
	slices.Sort(headers)
	for _, name := range headers {
		for _, v := range r.header[name] {
			e.Fields = append(e.Fields, str("header."+strings.ToLower(name), v))
		}
	}
	d := flatjson.Decoder{MaxFields: maxLeaves}
	leaves, rest, err := d.Object(r.body)
	if err != nil {
		return err
	}
	if rest = bytes.TrimSpace(rest); len(rest) > 0 {
		return fmt.Errorf("something follows it: %.20q", rest)
	}
	for _, f := range leaves {
		f.Name = append([]byte("json."), f.Name...)
		e.Fields = append(e.Fields, f)
	}
	return nil
}

// seen words the values of the fields that a condition names.
func seen(e *event.Event, expect string, r *result) string {
	var parts []string
	for _, f := range e.Fields {
		if name := string(f.Name); name != "body" && names(expect, name) && len(parts) < 8 {
			parts = append(parts, name+" "+cut(printable(string(f.Value)), keptSeen))
		}
	}
	switch {
	case len(parts) > 0:
		return strings.Join(parts, ", ")
	case r.status != 0:
		return fmt.Sprintf("status %d in %s", r.status, short(r.took))
	}
	return "connected in " + short(r.took)
}

// names tells whether a query's text has the name as a word of its own, or as its beginning when it ends with a dot.
func names(text, name string) bool {
	part := func(c byte) bool {
		return c == '_' || c == '-' || c == '.' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= utf8.RuneSelf
	}
	for i := 0; ; {
		k := strings.Index(text[i:], name)
		if k < 0 {
			return false
		}
		i += k
		end := i + len(name)
		if (i == 0 || !part(text[i-1])) && (end == len(text) || !part(text[end]) || strings.HasSuffix(name, ".")) {
			return true
		}
		i = end
	}
}

// printable makes one line of what somebody else has sent.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// cut shortens valid UTF-8 to at most n bytes, and marks that.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	n -= len("…")
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// about returns the event's text about what a check found.
func (r *result) about() string { return cut(printable(r.err), keptError) }

// resultEvent is the event of one check.
func resultEvent(host string, t *target, begin time.Time, s *state, r *result) event.Event {
	e := event.Event{
		Time: begin.UnixNano(), Level: event.Debug, Service: []byte("probe"), Env: []byte(t.Env), Host: []byte(host), Container: []byte(t.Container),
		Stream: []byte("probe"),
		Fields: []event.Field{
			str("probe", t.Name), str("target", t.Service), str("url", t.shown), boolean("ok", r.ok), str("state", s.status.String()), boolean("page", t.Page),
			str("fingerprint", "probe:"+t.Name),
		},
	}
	if !s.since.IsZero() { // each result says it, so that the newest one alone tells how things stand
		e.Fields = append(e.Fields, str("since", s.since.UTC().Format(time.RFC3339Nano)))
	}
	e.Fields = append(e.Fields, r.measured()...)
	switch {
	case !r.ok:
		e.Level = event.Notice
		e.Message = []byte(t.Name + " failed: " + r.about())
		e.Fields = append(e.Fields, str("error", r.about()))
		if len(r.body) > 0 {
			e.Fields = append(e.Fields, str("body", cut(strings.ToValidUTF8(string(r.body), "\uFFFD"), keptBody)))
		}
	case r.status != 0:
		e.Message = fmt.Appendf(nil, "%s ok: %d in %s", t.Name, r.status, short(r.took))
	default:
		e.Message = fmt.Appendf(nil, "%s ok: connected in %s", t.Name, short(r.took))
	}
	if r.ok && !r.ends.IsZero() && r.certDays() < CertDays {
		e.Level = event.Warning
		ends := r.ends.UTC().Format(time.DateTime)
		about := string(e.Message[len(t.Name)+1:])
		switch days := r.certDays(); {
		case days < 0:
			e.Message = fmt.Appendf(nil, "%s has a certificate that ended at %s UTC; %s", t.Name, ends, about)
		case days == 1:
			e.Message = fmt.Appendf(nil, "%s has a certificate that ends in 1 day, at %s UTC; %s", t.Name, ends, about)
		default:
			e.Message = fmt.Appendf(nil, "%s has a certificate that ends in %d days, at %s UTC; %s", t.Name, days, ends, about)
		}
	}
	return e
}

// changeEvent is the event of a change of state; was is the state that decided it. r is the deciding result, nil for gone.
func changeEvent(host string, t *target, c change, at time.Time, was *state, r *result) event.Event {
	e := event.Event{
		Time: at.UnixNano(), Level: event.Info, Service: []byte(t.Service), Env: []byte(t.Env), Host: []byte(host), Container: []byte(t.Container),
		Stream: []byte("probe"),
		Fields: []event.Field{
			str("change", c.String()), str("probe", t.Name), str("url", t.shown), boolean("page", t.Page), str("fingerprint", "probe:"+t.Name),
		},
	}
	switch c {
	case wentDown:
		e.Level = event.Error
		what := t.shown
		if t.Method != "" {
			what = t.Method + " " + t.shown
		}
		e.Message = fmt.Appendf(nil, "%s is down: %s (%s), failing since %s UTC", t.Name, r.about(), what, was.failing.UTC().Format(time.TimeOnly))
	case cameUp:
		outage := was.good.Sub(was.failing)
		e.Message = fmt.Appendf(nil, "%s is up again after %s", t.Name, outage.Round(time.Second))
		e.Fields = append(e.Fields, num("down_seconds", outage.Round(time.Millisecond).Seconds()))
	case wentGone:
		e.Message = fmt.Appendf(nil, "%s is not probed any more; it was down since %s UTC", t.Name, was.failing.UTC().Format(time.DateTime))
	}
	if r == nil {
		return e
	}
	if r.status != 0 {
		e.Fields = append(e.Fields, num("status", float64(r.status)))
	}
	e.Fields = append(e.Fields, num("duration_ms", ms(r.took)))
	if r.err != "" {
		e.Fields = append(e.Fields, str("error", r.about()))
	}
	return e
}
