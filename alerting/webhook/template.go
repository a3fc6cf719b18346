package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/internal/tmpl"
)

// Data is what templates see. All text is as it is meant to be read; what a template writes is escaped for where it stands
// unless it comes from the function json.
type Data struct {
	State    string // firing, acknowledged, resolved; empty for gathered events, overviews and notices
	Severity string // critical, error, warning, info
	Title    string // one line: what happened, and where
	Heading  string // Title with the state in front
	Text     string // the whole message as plain text
	Lines    []string
	Facts    []string // how often, since when, which rule
	Notes    []string // may be a repeat, late
	Link     string   // the search behind it; empty without base_url
	Incident string   // the same in all messages of an incident, 16 hex digits; empty where State is
	Labels   alerting.Labels
	Since    string // when it fired, RFC 3339; empty where State is
	Ended    string // when it was resolved; empty before
	Until    string // Ended, or five minutes from now: when it counts as over unless it is told again
	Plain    bool   // the service has refused it as it was: write less
	Token    string // the setting token
	Params   map[string]string
	Receipt  string // the message's id at the service, for edits
}

const (
	maxTitle = 250
	maxLine  = 2000
	maxLines = 8000 // all log text of a message, in alerting.Weight
	maxText  = 8000
	maxNote  = 500

	maxRequest = 1 << 20 // bytes of what a template writes
)

func dataOf(m alerting.Message, o *Options, receipt string) Data {
	d := Data{
		State: string(m.State), Severity: string(m.Severity), Title: alerting.Cut(m.Title, maxTitle), Heading: alerting.Cut(m.Heading(), maxTitle),
		Link: m.Link, Incident: m.Incident, Labels: m.Labels, Since: stamp(m.Since), Ended: stamp(m.Ended),
		Plain: m.Plain, Token: o.Token, Params: o.Params, Receipt: receipt,
	}
	if d.Until = d.Ended; d.Until == "" {
		d.Until = stamp(o.Clock().Add(untilAgain))
	}
	if d.Severity == "" {
		d.Severity = string(alerting.Info)
	}
	if d.Title == "" {
		d.Title = "alert"
	}
	if d.Heading == "" {
		d.Heading = d.Title
	}
	room := maxLines
	if m.Plain {
		room = maxLine
	}
	for _, l := range m.Lines {
		if room <= 0 {
			break
		}
		l = alerting.Cut(l, min(maxLine, room))
		room -= alerting.Weight(l) + 1
		d.Lines = append(d.Lines, l)
	}
	for _, f := range m.Facts {
		d.Facts = append(d.Facts, alerting.Cut(f, maxNote))
	}
	for _, n := range m.Notes {
		d.Notes = append(d.Notes, alerting.Cut(n, maxNote))
	}
	m.Lines, m.Facts, m.Notes = d.Lines, d.Facts, d.Notes
	d.Text = alerting.Cut(m.Text(), maxText)
	return d
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// Colour is the severity's, or the state's, as 0xRRGGBB.
func (d Data) Colour() int {
	switch {
	case d.State == string(alerting.Resolved):
		return 0x2eb67d
	case d.State == string(alerting.Acknowledged), d.State == string(alerting.Silenced):
		return 0x6b7a90
	case d.Severity == string(alerting.Critical):
		return 0x8b0000
	case d.Severity == string(alerting.Error):
		return 0xd9372c
	case d.Severity == string(alerting.Warning):
		return 0xe8a317
	}
	return 0x3b7dd8
}

// Rank is 5 for critical, 4, 3, and 2 for info; what does not fire, or is no incident, has 2.
func (d Data) Rank() int {
	if d.State == string(alerting.Firing) || d.State == "" {
		switch alerting.Severity(d.Severity) {
		case alerting.Critical:
			return 5
		case alerting.Error:
			return 4
		case alerting.Warning:
			return 3
		}
	}
	return 2
}

// raw is text that is not escaped any more.
type raw string

// functions are what templates have beside those of text/template.
var functions = template.FuncMap{
	// json writes a value whole: a text with its quotes, a list, labels.
	"json": func(v any) (raw, error) {
		b, err := json.Marshal(v)
		if err != nil {
			return "", err
		}
		if string(b) == "null" && v != nil { // lists and maps that are empty
			b = []byte("[]")
			if reflect.TypeOf(v).Kind() == reflect.Map {
				b = []byte("{}")
			}
		}
		return tmpl.Short(raw(b))
	},
	// cut shortens a text from the middle.
	"cut": func(n int, s string) string { return alerting.Cut(s, n) },
	// join makes one text of a list.
	"join": func(sep string, list []string) string { return strings.Join(list, sep) },
	// rows are the lines of a list of texts, so many at most.
	"rows": func(n int, list []string) []string {
		rows := strings.Split(strings.Join(list, "\n"), "\n")
		if len(rows) > n {
			rows = append(rows[:n-1:n-1], fmt.Sprintf("… %d lines more", len(rows)-n+1))
		}
		return rows
	},
	// fence keeps three backticks from ending a code block.
	"fence": func(s string) string {
		for strings.Contains(s, "``") {
			s = strings.ReplaceAll(s, "``", "`\u200b`")
		}
		return s
	},
	// names are labels with names as Prometheus has them.
	"names": func(labels alerting.Labels) map[string]string {
		named := map[string]string{}
		for _, name := range slices.Sorted(maps.Keys(labels)) {
			if value := alerting.Cut(strings.ToValidUTF8(labels[name], "\ufffd"), maxNote); value != "" {
				named[promName(name)] = value
			}
		}
		return named
	},
	"lower": strings.ToLower,
	"upper": strings.ToUpper,
}

// promName is a label's name of letters, digits and _.
func promName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, name)
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		name = "_" + name
	}
	return name
}

// escapers by what they escape for.
var escapers = map[string]func(any) (string, error){
	"_json": func(v any) (string, error) {
		if s, ok := v.(raw); ok {
			return string(s), nil
		}
		b, err := json.Marshal(fmt.Sprint(v))
		if err != nil {
			return "", err
		}
		return string(b[1 : len(b)-1]), nil
	},
	// In a path and in a query: all but what RFC 3986 calls unreserved.
	"_url": func(v any) (string, error) {
		return strings.ReplaceAll(url.QueryEscape(fmt.Sprint(v)), "+", "%20"), nil
	},
	"_html": func(v any) (string, error) { return html.EscapeString(fmt.Sprint(v)), nil },
	"_text": func(v any) (string, error) { return fmt.Sprint(v), nil },
	// A header's value is one line.
	"_header": func(v any) (string, error) {
		return strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f {
				return ' '
			}
			return r
		}, fmt.Sprint(v)), nil
	},
}

// escaperFor is the escaper of a body.
func escaperFor(contentType string) string {
	kind, _, _ := mime.ParseMediaType(contentType)
	switch {
	case kind == "application/json" || strings.HasSuffix(kind, "+json"):
		return "_json"
	case kind == "application/x-www-form-urlencoded":
		return "_url"
	case strings.HasSuffix(kind, "/xml"), strings.HasSuffix(kind, "+xml"), kind == "text/html":
		return "_html"
	}
	return "_text"
}

// compile parses a template and makes every action in it escape what it writes.
func compile(name, text, escaper string) (*template.Template, error) {
	t := template.New(name).Option("missingkey=zero").Funcs(tmpl.Functions).Funcs(functions)
	for name, fn := range escapers {
		t.Funcs(template.FuncMap{name: fn})
	}
	t, err := t.Parse(text)
	if err != nil {
		return nil, err
	}
	for _, each := range t.Templates() {
		if each.Tree != nil {
			escape(each.Root, escaper)
		}
	}
	tmpl.Guard(t)
	return t, nil
}

// escape appends the escaper to each pipeline that writes something.
func escape(n parse.Node, escaper string) {
	branch := func(b *parse.BranchNode) {
		escape(b.List, escaper)
		if b.ElseList != nil {
			escape(b.ElseList, escaper)
		}
	}
	switch n := n.(type) {
	case *parse.ListNode:
		for _, child := range n.Nodes {
			escape(child, escaper)
		}
	case *parse.ActionNode:
		if len(n.Pipe.Decl) == 0 { // an assignment writes nothing
			id := parse.NewIdentifier(escaper).SetPos(n.Pos)
			n.Pipe.Cmds = append(n.Pipe.Cmds, &parse.CommandNode{NodeType: parse.NodeCommand, Pos: n.Pos, Args: []parse.Node{id}})
		}
	case *parse.IfNode:
		branch(&n.BranchNode)
	case *parse.RangeNode:
		branch(&n.BranchNode)
	case *parse.WithNode:
		branch(&n.BranchNode)
	}
}

// request is an action made ready.
type request struct {
	method string
	path   *template.Template // behind the way's URL
	query  *template.Template
	body   *template.Template
	json   bool
}

// errJSON is why a body is refused before it is sent.
var errJSON = errors.New(`body: the text is not valid JSON: put texts into quotes ("{{.Title}}") and write lists with {{json .Lines}}`)

func run(t *template.Template, d Data) (string, error) { return tmpl.Execute(t, d, maxRequest) }

// build makes the request for one message.
func (n *Notifier) build(a *request, d Data) (*http.Request, error) {
	base, err := run(n.url, d)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	u, err := url.Parse(strings.TrimSpace(base))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("url: it is not an http or https address") // it may be a secret
	}
	path, err := run(a.path, d)
	if err != nil {
		return nil, err
	}
	if path != "" {
		u = u.JoinPath(path)
	}
	query, err := run(a.query, d)
	if err != nil {
		return nil, err
	}
	if query != "" {
		u.RawQuery = strings.TrimPrefix(u.RawQuery+"&"+query, "&")
	}
	body, err := run(a.body, d)
	if err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	if a.json && body != "" && !json.Valid([]byte(body)) {
		return nil, errJSON
	}
	r, err := http.NewRequest(a.method, u.String(), strings.NewReader(body))
	if err != nil {
		return nil, errors.New("the request cannot be made of method and url")
	}
	if body != "" {
		r.Header.Set("Content-Type", n.contentType)
	}
	r.Header.Set("User-Agent", "lookout")
	for _, name := range slices.Sorted(maps.Keys(n.headers)) {
		value, err := run(n.headers[name], d)
		if err != nil {
			return nil, fmt.Errorf("headers.%s: %w", name, err)
		}
		if value = strings.TrimSpace(value); value != "" {
			r.Header.Set(name, value)
		}
	}
	return r, nil
}

// samples are messages that a template must stand before it is used: in every state, with and without what may be missing,
// and with text that breaks quotes, markup and headers.
func samples() []alerting.Message {
	nasty := "\"}],\\ \\\\ ' < > & {{.Token}} ${jndi:x} %s ``` \t\n\u2028\u2029\x00\x1b[31m\xff\ufffd \U0001f4a5 \r\nX-Forged: 1"
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	full := alerting.Message{
		Severity: alerting.Critical, State: alerting.Firing, Incident: "0123456789abcdef", ID: 7, Title: "[error] shop: " + nasty, Lines: []string{nasty, "", strings.Repeat("long ", 4000)},
		Facts: []string{"3 times", nasty}, Notes: []string{"may be a repeat", nasty}, Link: "http://lookout.example:7171/?q=a%22b&since=x", Since: at,
		Labels: map[string]string{"service": nasty, "rule": "errors", nasty: nasty},
	}
	list := []alerting.Message{full, {}, {Title: "5 more held", Severity: alerting.Warning}}
	for _, change := range []func(*alerting.Message){
		func(m *alerting.Message) { m.State, m.Ended = alerting.Resolved, at.Add(time.Hour) },
		func(m *alerting.Message) { m.State = alerting.Acknowledged },
		func(m *alerting.Message) { m.Plain = true },
		func(m *alerting.Message) { m.Lines, m.Facts, m.Notes, m.Labels, m.Link = nil, nil, nil, nil, "" },
		func(m *alerting.Message) { m.State, m.Incident, m.Severity = "", "", alerting.Info },
	} {
		m := full
		change(&m)
		list = append(list, m)
	}
	return list
}
