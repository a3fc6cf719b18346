package alerting

import (
	"fmt"
	"strings"
	"sync/atomic"
	"text/template"
	"time"

	"github.com/lookoutlog/lookout/internal/tmpl"
)

// Template makes the messages about incidents in its own words. Its first line is the title, the others the text; the link
// and what there is to say about the delivery are added to it.
type Template struct {
	t    *template.Template
	said atomic.Bool // that it fails
}

// TemplateData is what templates see. All text is as it is meant to be read, without control characters.
type TemplateData struct {
	State     State // firing, acknowledged, silenced, resolved
	Severity  Severity
	Rule      string
	Service   string
	Env       string
	Host      string
	Container string
	Level     string
	Title     string   // the title there would be without a template
	Facts     []string // and the remarks: how often, since when, which rule
	Message   string   // the event it fired by
	Fields    string   // that event's other fields, name=value
	Outcome   string   // the message of the event that resolved it
	Count     int64    // events
	Fired     int64    // how often it began to fire
	First     time.Time
	Last      time.Time
	Since     time.Time // it fires, or fired last
	Resolved  time.Time // zero before
	By        string    // who acknowledged it
	Marks     []string  // what was said about the service shortly before and since then, the newest first: deploy v2 by ann, 4 min before
	Late      int64     // of Count those that happened more than an hour before they came
	Labels    Labels
	Link      string // the search behind it; empty without base_url
}

const (
	maxTemplate       = 20_000   // bytes of a template
	maxTemplateOutput = 64 << 10 // bytes of what it writes
)

var templateFuncs = template.FuncMap{
	"upper": strings.ToUpper,
	"lower": strings.ToLower,
	"join":  func(sep string, parts []string) string { return strings.Join(parts, sep) },
	"cut":   func(most int, s string) string { return Cut(s, max(1, most)) },
	"stamp": func(t time.Time) string { return t.UTC().Format(stamp) },
	"span":  func(from, to time.Time) string { return span(to.Sub(from)) },
}

// ParseTemplate reads a text/template and tries it. The error says the line.
func ParseTemplate(name, text string) (*Template, error) {
	if len(text) > maxTemplate {
		return nil, fmt.Errorf("template %s is longer than %d bytes", name, maxTemplate)
	}
	t, err := template.New(name).Option("missingkey=zero").Funcs(tmpl.Functions).Funcs(templateFuncs).Parse(text)
	if err != nil {
		return nil, err
	}
	tmpl.Guard(t)
	parsed := &Template{t: t}
	now := time.Unix(1_700_000_000, 0)
	for _, d := range []TemplateData{
		{Labels: Labels{}},
		{
			State: Resolved, Severity: Error, Rule: "errors", Service: "shop", Env: "prod", Host: "h", Container: "c", Level: "error", Title: "[error] shop: no stock",
			Facts: []string{"rule errors"}, Message: "no stock", Fields: "a=b", Outcome: "stock again", Count: 2, Fired: 1, First: now, Last: now, Since: now, Resolved: now,
			By: "ann", Marks: []string{"deploy v2 by ann, 4 min before"}, Late: 1, Labels: Labels{"service": "shop"}, Link: "https://lookout.example/",
		},
	} {
		if _, _, err := parsed.render(&d); err != nil {
			return nil, err
		}
	}
	return parsed, nil
}

// render returns a message's title and lines, fit to be shown.
func (t *Template) render(d *TemplateData) (title string, lines []string, err error) {
	out, err := tmpl.Execute(t.t, d, maxTemplateOutput)
	if err != nil {
		return "", nil, err
	}
	title, text, _ := strings.Cut(strings.TrimSpace(clean([]byte(out))), "\n")
	if title = oneLine(title); title == "" {
		title = d.Title
	}
	if text = strings.TrimRight(strings.TrimLeft(text, "\n"), " \t\n"); text != "" {
		lines = append(lines, Cut(text, maxSample))
	}
	return Cut(title, maxTitle), lines, nil
}

// templateOf is that of an incident's messages in a channel, nil for none: a rule's own comes before a channel's.
func (e *Engine) templateOf(inc *incident, channel string) *Template {
	if r := e.ruleNamed(inc.Rule); r != nil && r.Template != nil {
		return r.Template
	}
	return e.policy.Load().Templates[channel]
}

// dress puts a message into the words of a template. One that fails leaves it as it is, and is counted.
func (e *Engine) dress(m *Message, inc *incident, channel string) {
	t := e.templateOf(inc, channel)
	if t == nil || inc.Rule == Service {
		return
	}
	s := &inc.Sample
	title, lines, err := t.render(&TemplateData{
		State: m.State, Severity: m.Severity, Rule: inc.Rule, Service: s.Service, Env: s.Env, Host: s.Host, Container: s.Container, Level: s.Level,
		Title: m.Title, Facts: m.Facts, Message: s.Message, Fields: s.Fields, Outcome: inc.Outcome, Count: inc.Count, Fired: inc.Fired,
		First: timeOf(inc.First), Last: timeOf(inc.Last), Since: timeOf(inc.Since), Resolved: timeOf(inc.Resolved), By: inc.By, Labels: inc.labels(), Link: m.Link,
		Marks: inc.shownMarks(), Late: inc.Late,
	})
	if err != nil {
		e.c.templateErrors.Add(1)
		if e.isOwn(inc.Rule) {
			e.c.ownTemplateErrors.Add(1)
		}
		if !t.said.Swap(true) {
			e.log.Error("a template failed; messages for which it does have their usual form, and are counted", "rule", inc.Rule, "channel", channel, "error", err)
		}
		return
	}
	m.Title, m.Lines, m.Facts = title, lines, nil
}
