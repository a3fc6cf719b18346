package alerting

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/mask"
)

// SilenceIncident silences an incident for d from now, and what comes of the same kind: the same rule, service and
// fingerprint. A silence of it that is active already ends then instead, sooner or later. It is durable when it returns. by and
// the error are as [Engine.Acknowledge]'s.
func (e *Engine) SilenceIncident(ctx context.Context, id uint64, d time.Duration, by string) error {
	inc, err := e.numbered(id)
	if err != nil {
		return err
	}
	s := Silence{By: Cut(oneLine(clean([]byte(by))), maxBy), Until: e.clock.Now().Add(d)}
	labels := inc.labels()
	for _, name := range [...]string{"rule", "service", "fingerprint"} {
		m, err := NewMatcher(name, MatchEqual, labels[name])
		if err != nil {
			return err
		}
		s.Matchers = append(s.Matchers, m)
	}
	for _, o := range *e.silences.Load() {
		if o.State(e.clock.Now()) == SilenceActive && o.Matchers.String() == s.Matchers.String() {
			s.ID, s.From = o.ID, o.From
		}
	}
	_, err = e.AddSilence(ctx, s)
	return err
}

// ExpectIncident adds what is like an incident to the expect list of its rule, which has [ModeUnexpected], and resolves it: the
// same service and the same kind of line is no news any more. It is durable when it returns. by and the error are as
// [Engine.Acknowledge]'s.
func (e *Engine) ExpectIncident(ctx context.Context, id uint64, by string) error {
	inc, err := e.numbered(id)
	if err != nil {
		return err
	}
	q, err := like(inc)
	if err != nil {
		return fmt.Errorf("expecting incident %d: %w", id, err)
	}
	by = Cut(oneLine(clean([]byte(by))), maxBy)
	if err := e.Expect(ctx, inc.Rule, Expectation{Query: q, Author: by, Reason: fmt.Sprintf("a button, of incident %d", id)}); err != nil {
		return err
	}
	return e.Resolve(ctx, id, by)
}

// maskedWhole is how long a headline may be, in bytes, to be masked to its end.
const maskedWhole = 512

// writtenOut is how clean writes marks of the reading direction.
var writtenOut = regexp.MustCompile(`\\u[0-9a-f]{4}`)

// like is the query of what is like an incident's sample: the same service, and a line that differs only in what every line
// of the kind has its own of.
func like(inc *incident) (*query.Query, error) {
	headline := mask.Headline(writtenOut.ReplaceAll([]byte(inc.Sample.Message), []byte("\ufffd")))
	line, _ := undated(mask.Append(nil, headline))
	var b strings.Builder
	b.WriteString("^\\s*")
	last, known := ' ', false
	for _, r := range string(line) {
		switch {
		case r == '#' && strings.ContainsRune("\"'`", last), r >= '\u2400' && r <= '\u2426', r == utf8.RuneError:
			b.WriteString("[^\\n]*") // what differs, and what clean has replaced
		case r == '#':
			b.WriteString("[^\\n\\t ]*")
		case r == ' ':
			b.WriteString("\\s+")
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
			known = known || unicode.IsLetter(r)
		}
		last = r
	}
	if !known {
		return nil, errors.New("its line has nothing to know others by")
	}
	if len(headline) < maskedWhole { // else its end is not known
		b.WriteString("\\s*$")
	}
	text := "message" + query.QuoteRegex(b.String())
	if s := inc.Sample.Service; s != "" {
		text += " service=" + query.Quote(s)
	}
	return query.Parse(text)
}
