package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"
	"unicode/utf8"

	"github.com/lookoutlog/lookout/sdk"
)

// The output forms, -o.
const (
	formAuto     = "auto"
	formRaw      = "raw"
	formJSON     = "json"
	formLogfmt   = "logfmt"
	formCSV      = "csv"
	formTemplate = "template"
)

var forms = []string{formAuto, formRaw, formJSON, formLogfmt, formCSV, formTemplate}

// look says how rows are shown.
type look struct {
	form     string
	template *template.Template
	// fields names the extra fields to show, ["*"] for all, nil for the form's own choice.
	fields []string
	// color writes colours, escape makes what a terminal would act on visible, align pads the columns.
	color, escape, align bool
	noPrefix, noTime     bool
	// service puts the service before forms that have no prefix.
	service bool
	// only shows nothing of a message but what matched.
	only bool
	// dedup is what makes consecutive rows of a service repeats: message, or a field's name; empty for nothing.
	dedup string
	zone  *time.Location
	// marks finds what matched, or should stand out, in a message; nil when nothing does.
	marks func(message string) [][]int
}

const timeLayout = "2006-01-02 15:04:05.000"

// printer writes rows. It keeps what rows after one another share: the widths of columns, the header of a CSV.
type printer struct {
	look
	out     io.Writer
	buf     []byte
	width   int // of the widest service so far
	headed  bool
	context bool   // groups of matches with their context are parted
	group   int    // of the last row, 0 before the first
	repeats *dedup // nil when each row is printed
	times   int    // how many rows the one that is printed stands for, 0 and 1 for itself
	last    time.Time
}

const (
	maxWidth   = 24                // the service's column grows no wider
	levelWidth = len("notice") + 1 // the level's column, its colon left out
)

// row prints one row, at once or together with those that repeat it.
func (p *printer) row(r *sdk.Row) error {
	if p.repeats != nil {
		return p.repeats.row(r)
	}
	return p.print(r)
}

// flush prints what is held back.
func (p *printer) flush() error {
	if p.repeats != nil {
		return p.repeats.flush()
	}
	return nil
}

func (p *printer) print(r *sdk.Row) error {
	if p.only && r.Context {
		return nil
	}
	p.buf = p.buf[:0]
	if p.context && !p.only && p.separates() {
		if p.group != 0 && r.Group != p.group {
			p.buf = append(p.paint(p.buf, colorSeparator, "--"), '\n')
		}
		p.group = r.Group
	}
	var err error
	switch p.form {
	case formRaw:
		p.raw(r)
	case formJSON:
		err = p.json(r)
	case formLogfmt:
		p.logfmt(r)
	case formCSV:
		err = p.csv(r)
	case formTemplate:
		err = p.execute(r)
	default:
		p.auto(r)
	}
	if err != nil {
		return err
	}
	_, err = p.out.Write(p.buf)
	return err
}

// separates tells whether the form is one for people, in which groups are parted by a line.
func (l *look) separates() bool { return l.form == formAuto || l.form == formRaw }

// auto is the form for people: time, service, level, message, extra fields. A match's prefix ends in a colon, a context
// line's in a dash, as in grep.
func (p *printer) auto(r *sdk.Row) {
	if !p.only {
		p.prefix(r)
		p.message(r, !p.noPrefix)
		p.buf = append(p.paint(p.buf, colorField, p.timesText(r.Time)), '\n')
		return
	}
	for _, m := range p.found(r.Message) {
		p.prefix(r)
		p.marked(r.Message[m[0]:m[1]], !p.noPrefix, [][]int{{0, m[1] - m[0]}})
		p.buf = append(p.buf, '\n')
	}
}

func (p *printer) prefix(r *sdk.Row) {
	if p.noPrefix {
		return
	}
	if !p.noTime {
		p.buf = p.paint(p.buf, colorTime, r.Time.In(p.zone).Format(timeLayout))
		p.buf = append(p.buf, ' ')
	}
	service := p.safe(r.Service)
	if service == "" {
		service = "-"
	}
	p.buf = p.paint(p.buf, serviceColor(r.Service), service)
	end := byte(':')
	if r.Context {
		end = '-'
	}
	level := shortLevel(r.Level)
	if !p.align {
		if level != "" {
			p.buf = append(append(p.buf, ' '), level...)
		}
		p.buf = append(p.buf, end, ' ')
		return
	}
	w := utf8.RuneCountInString(service)
	p.width = min(max(p.width, w), maxWidth)
	if level == "" {
		p.buf = append(p.buf, end)
		p.pad(max(p.width-w, 0) + 1 + levelWidth)
		return
	}
	p.pad(max(p.width-w, 0) + 1)
	p.buf = p.paint(p.buf, levelColor(r.Level), level)
	p.buf = append(p.buf, end)
	p.pad(levelWidth - len(level))
}

func (p *printer) pad(n int) {
	for range n {
		p.buf = append(p.buf, ' ')
	}
}

// message appends the message and the extra fields. Indented, its further lines cannot be taken for events of their own.
func (p *printer) message(r *sdk.Row, indent bool) {
	if r.Message != "" {
		p.marked(r.Message, indent, p.found(r.Message))
	}
	part := byte(' ')
	if strings.Contains(r.Message, "\n") { // behind the last line of a stack trace they would seem to be that line's
		part = '\n'
	}
	p.extras(r, part)
}

// found returns the parts of a message to mark; a printer that shows neither colours nor only them needs not look.
func (p *printer) found(message string) [][]int {
	if p.marks == nil || !p.only && !p.color {
		return nil
	}
	return p.marks(message)
}

// marked appends text with its marks in colour.
func (p *printer) marked(text string, indent bool, marks [][]int) {
	plain := func(s string) {
		if !indent {
			p.buf = p.appendSafe(p.buf, s)
			return
		}
		for {
			line, rest, more := strings.Cut(s, "\n")
			p.buf = p.appendSafe(p.buf, line)
			if !more {
				return
			}
			p.buf = append(p.buf, "\n    "...)
			s = rest
		}
	}
	end := 0
	if p.color {
		for _, m := range marks {
			if m[0] < end || m[0] == m[1] {
				continue
			}
			plain(text[end:m[0]])
			p.buf = append(p.buf, colorMatch...)
			plain(text[m[0]:m[1]])
			p.buf = append(p.buf, colorOff...)
			end = m[1]
		}
	}
	plain(text[end:])
}

// extras appends the extra fields that are to be shown as name=value, parted from the message by part. An event without a
// message shows all it has.
func (p *printer) extras(r *sdk.Row, part byte) {
	all := r.Message == ""
	first := true
	show := func(name string, value any) {
		switch {
		case first && part == '\n':
			p.buf = append(p.buf, "\n    "...)
		case !first || r.Message != "":
			p.buf = append(p.buf, ' ')
		}
		first = false
		p.buf = p.paint(p.buf, colorField, p.safe(logfmtName(name))+"="+p.safe(logfmtValue(value)))
	}
	switch {
	case p.fields == nil || len(p.fields) == 1 && p.fields[0] == "*":
		for _, f := range r.Fields {
			if all || p.fields != nil || !byShipper(f.Name) {
				show(f.Name, f.Value)
			}
		}
	default:
		for _, name := range p.fields {
			if value, ok := lookup(&r.Event, name, p.zone); ok {
				show(name, value)
			}
		}
	}
}

// byShipper tells of the fields that Docker adds to every line: they say the same each time, and are not shown unless
// asked for.
func byShipper(name string) bool {
	switch name {
	case "command", "container_id", "container_name", "created", "image_id", "image_name", "tag", "facility":
		return true
	}
	return strings.HasPrefix(name, "com.docker.")
}

// lookup returns a field by its name in the query language, a built-in one or an extra one.
func lookup(e *sdk.Event, name string, zone *time.Location) (any, bool) {
	text := ""
	switch name {
	case "time":
		return e.Time.In(zone).Format(time.RFC3339Nano), true
	case "received":
		if e.Received.IsZero() {
			return nil, false
		}
		return e.Received.In(zone).Format(time.RFC3339Nano), true
	case "id":
		text = e.ID
	case "level":
		text = e.Level
	case "service":
		text = e.Service
	case "env":
		text = e.Env
	case "host":
		text = e.Host
	case "container":
		text = e.Container
	case "stream":
		text = e.Stream
	case "message":
		text = e.Message
	default:
		return e.Field(name)
	}
	return text, text != ""
}

var builtins = []string{"time", "level", "service", "env", "host", "container", "stream", "message"}

// raw is the message as it came; an event without one shows its extra fields as JSON.
func (p *printer) raw(r *sdk.Row) {
	before := func() {
		if p.service && !p.noPrefix {
			p.buf = p.paint(p.buf, serviceColor(r.Service), p.safe(r.Service))
			if r.Context {
				p.buf = append(p.buf, '-')
			} else {
				p.buf = append(p.buf, ':')
			}
		}
	}
	if p.only {
		for _, m := range p.found(r.Message) {
			before()
			p.marked(r.Message[m[0]:m[1]], false, [][]int{{0, m[1] - m[0]}})
			p.buf = append(p.buf, '\n')
		}
		return
	}
	before()
	if r.Message == "" && len(r.Fields) > 0 {
		p.buf = p.appendSafe(p.buf, string(fieldsJSON(r.Fields)))
	} else {
		p.marked(r.Message, false, p.found(r.Message))
	}
	p.buf = append(p.paint(p.buf, colorField, p.timesText(r.Time)), '\n')
}

// json is the event as the server wrote it, or the fields asked for; a context line says so.
func (p *printer) json(r *sdk.Row) error {
	text := r.JSON
	if p.fields != nil && !slices.Contains(p.fields, "*") {
		var fields []sdk.Field
		for _, name := range p.fields {
			if value, ok := lookup(&r.Event, name, p.zone); ok {
				fields = append(fields, sdk.Field{Name: name, Value: value})
			}
		}
		text = string(fieldsJSON(fields))
	}
	if body, ok := strings.CutSuffix(text, "}"); ok && r.Context {
		if strings.TrimSpace(body) != "{" {
			body += ","
		}
		text = body + `"context":true}`
	}
	p.buf = append(p.appendSafe(p.buf, text), '\n')
	return nil
}

// fieldsJSON writes fields as an object in their order.
func fieldsJSON(fields []sdk.Field) []byte {
	dst := []byte{'{'}
	for i, f := range fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendJSON(dst, f.Name), ':')
		dst = appendJSON(dst, f.Value)
	}
	return append(dst, '}')
}

// appendJSON appends a value that came out of JSON, or a string; nothing else gets here, and so it cannot fail.
func appendJSON(dst []byte, value any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return append(dst, "null"...)
	}
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte{'\n'})...)
}

// valueText is a field's value as text: a string as it is, everything else as its JSON.
func valueText(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return string(appendJSON(nil, value))
}

func (p *printer) logfmt(r *sdk.Row) {
	start := len(p.buf)
	add := func(name string, value any) {
		if len(p.buf) > start {
			p.buf = append(p.buf, ' ')
		}
		p.buf = p.appendSafe(p.buf, logfmtName(name))
		p.buf = append(p.buf, '=')
		p.buf = p.appendSafe(p.buf, logfmtValue(value))
	}
	names := p.fields
	if names == nil || slices.Contains(names, "*") {
		names = builtins
		for _, name := range names {
			if value, ok := lookup(&r.Event, name, p.zone); ok {
				add(name, value)
			}
		}
		for _, f := range r.Fields {
			add(f.Name, f.Value)
		}
	} else {
		for _, name := range names {
			if value, ok := lookup(&r.Event, name, p.zone); ok {
				add(name, value)
			}
		}
	}
	if r.Context {
		add("context", true)
	}
	p.buf = append(p.buf, '\n')
}

// logfmtName makes a field's name one that logfmt can have.
func logfmtName(name string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == '=' || r == '"' || r == utf8.RuneError {
			return '_'
		}
		return r
	}, name)
}

func logfmtValue(value any) string {
	text := valueText(value)
	if text == "" || strings.ContainsAny(text, " \"=\\") || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return strconv.Quote(text)
	}
	return text
}

// csv has a header, and every row the same columns: those asked for, or the built-in ones and all extra fields as JSON.
func (p *printer) csv(r *sdk.Row) error {
	columns := p.fields
	extra := false
	if columns == nil || slices.Contains(columns, "*") {
		columns, extra = builtins, true
	}
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	record := make([]string, 0, len(columns)+1)
	if !p.headed {
		p.headed = true
		record = append(record, columns...)
		if extra {
			record = append(record, "fields")
		}
		if err := w.Write(record); err != nil {
			return err
		}
		record = record[:0]
	}
	for _, name := range columns {
		text := ""
		if value, ok := lookup(&r.Event, name, p.zone); ok {
			text = valueText(value)
		}
		record = append(record, harmless(text))
	}
	if extra {
		text := ""
		if len(r.Fields) > 0 {
			text = string(fieldsJSON(r.Fields))
		}
		record = append(record, text)
	}
	if err := w.Write(record); err != nil {
		return err
	}
	w.Flush()
	p.buf = p.appendSafe(p.buf, b.String())
	return nil
}

// harmless keeps a spreadsheet from taking text of a log for a formula: a quote before = + - @, tab and return. Numbers
// stay numbers.
func harmless(text string) string {
	if text == "" || !strings.ContainsRune("=+-@\t\r\n", rune(text[0])) {
		return text
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return text
	}
	return "'" + text
}

// shown is what a template sees of an event.
type shown struct {
	ID, Level, Service, Env, Host, Container, Stream, Message string
	Time, Received                                            time.Time
	Fields                                                    map[string]any
	Context                                                   bool
}

func (p *printer) execute(r *sdk.Row) error {
	s := shown{
		ID: r.ID, Level: r.Level, Service: r.Service, Env: r.Env, Host: r.Host, Container: r.Container, Stream: r.Stream, Message: r.Message,
		Time: r.Time.In(p.zone), Received: r.Received.In(p.zone), Context: r.Context, Fields: make(map[string]any, len(r.Fields)),
	}
	for _, f := range r.Fields {
		if _, twice := s.Fields[f.Name]; !twice {
			s.Fields[f.Name] = f.Value
		}
	}
	var b strings.Builder
	if err := p.template.Execute(&b, &s); err != nil {
		return fmt.Errorf("--template: %w", err)
	}
	p.buf = append(p.appendSafe(p.buf, b.String()), '\n')
	return nil
}

// parseTemplate reads --template: Go's text/template over an event.
func parseTemplate(text string) (*template.Template, error) {
	t, err := template.New("--template").Option("missingkey=zero").Funcs(template.FuncMap{
		"json": func(v any) string { return string(appendJSON(nil, v)) },
		"time": func(layout string, t time.Time) string { return t.Format(layout) },
	}).Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s; write it like {{.Service}} {{.Message}} {{.Fields.status}}", strings.TrimPrefix(err.Error(), "template: "))
	}
	return t, nil
}

// Colours: what a match, a time and so on are written in.
const (
	colorOff       = "\x1b[m"
	colorMatch     = "\x1b[1;31m"
	colorSeparator = "\x1b[36m"
	colorTime      = "\x1b[2m"
	colorField     = "\x1b[2m"
)

func (p *printer) paint(dst []byte, color, text string) []byte {
	if !p.color || color == "" || text == "" {
		return append(dst, text...)
	}
	return append(append(append(dst, color...), text...), colorOff...)
}

// serviceColor is stable: the same service has the same colour in every terminal. Red is for errors.
func serviceColor(name string) string {
	palette := [...]string{"\x1b[32m", "\x1b[33m", "\x1b[34m", "\x1b[35m", "\x1b[36m", "\x1b[92m", "\x1b[93m", "\x1b[94m", "\x1b[95m", "\x1b[96m"}
	h := fnv.New32a()
	io.WriteString(h, name)
	return palette[h.Sum32()%uint32(len(palette))]
}

// shortLevel is a level's name in at most six letters, as the query language knows it too.
func shortLevel(level string) string {
	switch level {
	case "emergency":
		return "emerg"
	case "critical":
		return "crit"
	case "warning":
		return "warn"
	}
	return level
}

func levelColor(level string) string {
	switch level {
	case "emergency", "alert", "critical", "error":
		return "\x1b[1;31m"
	case "warning":
		return "\x1b[33m"
	case "debug":
		return "\x1b[2m"
	}
	return ""
}

func (p *printer) safe(s string) string {
	if !p.escape {
		return s
	}
	return string(appendEscaped(nil, s))
}

func (p *printer) appendSafe(dst []byte, s string) []byte {
	if !p.escape {
		return append(dst, s...)
	}
	return appendEscaped(dst, s)
}
