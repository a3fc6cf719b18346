package alerting_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/internal/event"
)

func parseTemplate(t testing.TB, text string) *alerting.Template {
	t.Helper()
	parsed, err := alerting.ParseTemplate("t", text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestTemplates(t *testing.T) {
	inBubble(t, func(r *rig) {
		own := rule(t, "own", "level=error service:own", "#errors")
		own.Template = parseTemplate(t, "{{.Severity | printf \"%s\" | upper}} in {{.Service}}: {{.Message}}\n{{.Count}}× since {{stamp .Since}}, team {{.Labels.team}}\n{{join \", \" .Facts}}")
		own.Labels = map[string]string{"team": "a"}
		failing := rule(t, "failing", "level=error service:failing", "#errors")
		failing.Template = parseTemplate(t, "{{if eq .Service \"failing\"}}{{index .Facts 7}}{{end}}")
		plain := rule(t, "plain", "level=error service:plain", "#errors")
		hostile := rule(t, "hostile", "level=error service:hostile", "#dressed")
		r.opts.Rules = []alerting.Rule{own, failing, plain, hostile}
		r.opts.Policy.Templates = map[string]*alerting.Template{"#dressed": parseTemplate(t, "\n\x1b[31m{{.Message}}\xff\n\n{{.Message}}\r\nend")}
		r.run()
		r.source.Add(ev(event.Error, "own", "no stock"), ev(event.Error, "failing", "no stock"), ev(event.Error, "plain", "no stock"), ev(event.Error, "hostile", strings.Repeat("long & <wide> ", 2000)))
		r.pass(time.Minute)
		sent := map[string]alerting.Message{}
		for _, s := range r.out.Sent() {
			sent[s.Message.Labels["rule"]] = s.Message
		}
		m := sent["own"]
		if m.Title != "ERROR in own: no stock" || strings.Join(m.Lines, "|") != "1× since 2000-01-01 00:00:00Z, team a\n2000-01-01 00:00:00Z, rule own" || len(m.Facts) != 0 {
			t.Errorf("own: %q %q %q", m.Title, m.Lines, m.Facts)
		}
		// One that fails is no silence.
		if m := sent["failing"]; m.Title != "[error] failing: no stock" || len(m.Facts) == 0 {
			t.Errorf("failing: %q %q", m.Title, m.Facts)
		}
		if got := r.stats().TemplateErrors; got != 1 {
			t.Errorf("%d errors of templates, want 1", got)
		}
		if m := sent["plain"]; m.Title != "[error] plain: no stock" {
			t.Errorf("plain: %q", m.Title)
		}
		m = sent["hostile"]
		all := m.Title + strings.Join(m.Lines, "")
		if !utf8.ValidString(all) || strings.ContainsAny(all, "\x1b\r") || !strings.HasPrefix(m.Title, "␛[31mlong &") || alerting.Weight(m.Title) > 200 || alerting.Weight(strings.Join(m.Lines, "")) > 4000 || !strings.HasSuffix(all, "end") {
			t.Errorf("hostile: %q (%d lines)", m.Title, len(m.Lines))
		}
	})
}

func TestTemplatesThatAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"a\n{{.Nothing}}":    "t:2:",
		"{{if}}":             "t:1: missing value for if",
		"{{nothing .Title}}": `function "nothing" not defined`,
		"{{range 3000}}{{.}} more and more and more{{end}}": "it writes too much",
		"{{range 100000}}{{end}}":                           "it takes more than 10000 steps",
		strings.Repeat("x", 20_001):                         "longer than 20000 bytes",
	} {
		if _, err := alerting.ParseTemplate("t", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

// A template that fails again and again is said once, and counted each time.
func TestAFailingTemplateIsSaidOnce(t *testing.T) {
	inBubble(t, func(r *rig) {
		failing := rule(t, "failing", "level=error", "#errors")
		failing.Template = parseTemplate(t, "{{if eq .Service \"loops\"}}{{range 1000000}}{{end}}{{end}}")
		r.opts.Rules = []alerting.Rule{failing}
		r.run()
		r.source.Add(ev(event.Error, "loops", "no stock"), ev(event.Error, "loops", "no money"), ev(event.Error, "pay", "refused"))
		r.pass(time.Minute)
		if got := r.stats().TemplateErrors; got != 2 {
			t.Errorf("%d errors of templates, want 2", got)
		}
		if got := len(r.out.Sent("#errors")); got != 3 {
			t.Errorf("%d messages, want 3", got)
		}
		r.halt()
		if n := strings.Count(r.log.String(), "a template failed"); n != 1 || !strings.Contains(r.log.String(), "it takes more than 10000 steps") {
			t.Errorf("said %d times: %s", n, r.log.String())
		}
	})
}
