package alerting

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

const (
	// markStream is the stream of the events that are marks.
	markStream = "mark"

	// marksKept is how many marks of a service are known, the newest, for marksFor; of an incident as many. maxMarked is how many services
	// have some.
	marksKept = 5
	marksFor  = 7 * 24 * time.Hour
	maxMarked = 10_000
	// marksShown is how many of them a message has, the newest.
	marksShown = 3
	// markBefore is how long before an incident a mark may lie to be shown beside it.
	markBefore = time.Hour
	// markAgain is how soon the very same mark counts as the first one that came twice.
	markAgain = time.Minute
	// maxMarkedOpen is how many open incidents of a service have a mark in their history, the newest.
	maxMarkedOpen = 100

	maxVersion  = 200  // bytes
	maxMarkBy   = 100  // bytes
	maxMarkText = 1000 // bytes
)

// MarkKind says what a mark tells.
type MarkKind string

// The kinds of marks.
const (
	MarkDeploy MarkKind = "deploy" // the service starts anew: for a while its silence is no news
	MarkStop   MarkKind = "stop"   // it is stopped on purpose: its silence is no news until it is heard or deployed
	MarkNote   MarkKind = "note"   // something to know
)

// Mark is what somebody says about a service, to be shown beside its incidents: an event of the service with the stream mark.
type Mark struct {
	Kind    MarkKind  `json:"mark"`
	Service string    `json:"service"`
	Env     string    `json:"env,omitempty"`     // the environment it is about, empty for all
	Version string    `json:"version,omitempty"` // what was deployed
	By      string    `json:"by,omitempty"`
	Text    string    `json:"text,omitempty"` // more, in words
	At      time.Time `json:"at"`
}

// MarkError says what is wrong with a mark.
type MarkError struct {
	Field         string // of Mark, as JSON names it
	Message, Mend string
}

func (e *MarkError) Error() string { return e.Field + " " + e.Message + "; " + e.Mend }

// Check returns a [*MarkError] for a mark that cannot be stored.
func (m *Mark) Check() error {
	switch m.Kind {
	case MarkDeploy, MarkStop, MarkNote:
	case "":
		return &MarkError{"mark", "is missing", "say what happens: deploy, stop or note"}
	default:
		return &MarkError{"mark", fmt.Sprintf("is %.40q, which is none", string(m.Kind)), "write deploy, stop or note"}
	}
	for _, f := range [...]struct {
		name, value string
		most        int
	}{{"service", m.Service, event.MaxName}, {"env", m.Env, event.MaxName}, {"version", m.Version, maxVersion}, {"by", m.By, maxMarkBy}, {"text", m.Text, maxMarkText}} {
		switch {
		case len(f.value) > f.most:
			return &MarkError{f.name, fmt.Sprintf("has %d bytes", len(f.value)), fmt.Sprintf("the most is %d", f.most)}
		case !utf8.ValidString(f.value) || strings.ContainsFunc(f.value, func(c rune) bool { return c < ' ' || c == 0x7f }):
			return &MarkError{f.name, "has bytes that are no text, or control characters", "write one line of UTF-8"}
		}
	}
	switch {
	case strings.TrimSpace(m.Service) == "":
		return &MarkError{"service", "is missing", "name the service as its events do; `lookout services` lists them"}
	case m.Kind == MarkDeploy && m.Version == "":
		return &MarkError{"version", "is missing", "say which version is deployed: v2, a commit, a date"}
	case m.Kind == MarkNote && m.Text == "":
		return &MarkError{"text", "is missing", "say what there is to know"}
	}
	return nil
}

// Says is the mark in a line: deploy v2 by ann.
func (m *Mark) Says() string {
	what := string(m.Kind)
	if m.Version != "" {
		what += " " + m.Version
	}
	if what += byWhom(m.By); m.Text != "" {
		what += ": " + m.Text
	}
	return what
}

// AddTo adds the event that the mark is stored as, which has the time At.
func (m *Mark) AddTo(b *event.Batch) {
	e := b.Add()
	e.Service, e.Env, e.Stream, e.Level, e.Time = b.CopyString(m.Service), b.CopyString(m.Env), b.CopyString(markStream), event.Info, m.At.UnixNano()
	e.Message = b.CopyString(m.Says())
	for _, f := range [...][2]string{{"mark", string(m.Kind)}, {"version", m.Version}, {"by", m.By}, {"text", m.Text}} {
		if f[1] != "" {
			b.AddField(e, event.Field{Name: b.CopyString(f[0]), Value: b.CopyString(f[1])})
		}
	}
	b.Clamp(e)
}

// MarkOf reads the mark that an event is; ok is false for an event of another stream. One that does not say its kind, or another one
// than lookout has, is a note, with its message as the text.
func MarkOf(e *event.Event) (m Mark, ok bool) {
	if string(e.Stream) != markStream {
		return m, false
	}
	m = Mark{Service: string(e.Service), Env: string(e.Env), At: time.Unix(0, e.Time).UTC()}
	for _, f := range e.Fields {
		switch string(f.Name) {
		case "mark":
			m.Kind = MarkKind(f.Value)
		case "version":
			m.Version = string(f.Value)
		case "by":
			m.By = string(f.Value)
		case "text":
			m.Text = string(f.Value)
		}
	}
	switch m.Kind {
	case MarkDeploy, MarkStop, MarkNote:
	default:
		m.Kind, m.Text = MarkNote, cmp.Or(m.Text, string(e.Message))
	}
	return m, true
}

// mark is a mark as the state has it: its texts are fit to be shown.
type mark struct {
	Seq  uint64   `json:"seq"`
	At   int64    `json:"at"`             // Received, ns
	Time int64    `json:"time,omitempty"` // the event's, where that is another
	Kind MarkKind `json:"mark"`
	// Env is the environment it is about, empty for all.
	Env     string `json:"env,omitempty"`
	Version string `json:"version,omitempty"`
	By      string `json:"by,omitempty"`
	Text    string `json:"text,omitempty"`
	// Whole says that this is all the event has: lookout made it, and nothing is cut.
	Whole bool `json:"whole,omitempty"`
}

func markOf(e *event.Event) mark {
	said, _ := MarkOf(e)
	m := mark{
		Seq: e.Seq, At: e.Received, Kind: said.Kind, Env: short(e.Env),
		Version: short([]byte(said.Version)), By: short([]byte(said.By)), Text: Cut(oneLine(clean([]byte(said.Text))), 200),
	}
	if e.Time != e.Received {
		m.Time = e.Time
	}
	var again event.Batch
	m.says(string(e.Service)).AddTo(&again)
	a := &again.Events[0]
	m.Whole = short(e.Service) == string(e.Service) && a.SameSource(e) && e.Level == a.Level && bytes.Equal(e.Message, a.Message) &&
		slices.EqualFunc(e.Fields, a.Fields, func(x, y event.Field) bool { return bytes.Equal(x.Name, y.Name) && bytes.Equal(x.Value, y.Value) })
	return m
}

// says is the mark as others see it.
func (m *mark) says(service string) *Mark {
	return &Mark{Kind: m.Kind, Service: service, Env: m.Env, Version: m.Version, By: m.By, Text: m.Text, At: time.Unix(0, m.time()).UTC()}
}

func (m *mark) time() int64 { return cmp.Or(m.Time, m.At) }

// same tells whether two marks say the same.
func (m *mark) same(o *mark) bool {
	return m.Kind == o.Kind && m.Env == o.Env && m.Version == o.Version && m.By == o.By && m.Text == o.Text
}

// about tells whether the mark is about an environment.
func (m *mark) about(env string) bool { return m.Env == "" || env == "" || m.Env == env }

// beside says the mark beside an incident that fires since then: deploy v2 by ann, 4 min before.
func (m *mark) beside(since int64) string {
	text := Cut(m.says("").Says(), 120)
	switch d := time.Duration(since - m.At); {
	case d.Abs() < time.Second:
		return text + ", just then"
	case d < 0:
		return text + ", " + about(-d) + " later"
	default:
		return text + ", " + about(d) + " before"
	}
}

// did says the mark as a line of history: deployed v2 by ann.
func (m *mark) did() string {
	text := m.says("").Says()
	for _, kind := range [...][2]string{{"deploy", "deployed"}, {"stop", "stopped"}} {
		if rest, ok := strings.CutPrefix(text, kind[0]); ok && m.Kind == MarkKind(kind[0]) {
			return kind[1] + rest
		}
	}
	return text
}

// scopeHas tells whether the event of a mark of the service may be one of a scope of deletion.
func (m *mark) scopeHas(scope *query.DeleteScope, service string) bool {
	if m.Seq > scope.MaxSeq || !scope.InRange(m.time()) {
		return false
	}
	if !m.Whole || scope.Query == nil {
		return true
	}
	var again event.Batch
	m.says(service).AddTo(&again)
	e := &again.Events[0]
	e.Seq, e.Received = m.Seq, m.At
	return scope.Match(e)
}

// marksOf returns the marks of a service, oldest first, as this transaction leaves them.
func (a *application) marksOf(service string) []mark {
	list, known := a.marks[service]
	if !known && service != "" {
		if _, err := get(a.tx.Bucket(bucketMark), []byte(service), &list); err != nil {
			a.e.unreadable(err)
			list = nil
		}
		a.marks[service] = list
	}
	return list
}

// mark notes a mark, and tells it in the history of what is open of its service.
func (a *application) mark(ev *event.Event) error {
	service := short(ev.Service)
	if service == "" || a.e.isDeleted(ev) {
		return nil
	}
	m := markOf(ev)
	old := a.marksOf(service)
	if slices.ContainsFunc(old, func(o mark) bool { return o.same(&m) && m.At-o.At < int64(markAgain) }) {
		return nil
	}
	if err := a.keepMark(service, old, m); err != nil {
		return err
	}
	found := map[string]*incident{}
	for _, key := range a.e.book.openOf(service, maxMarkedOpen) {
		found[key] = a.stored([]byte(key))
	}
	maps.Copy(found, a.incidents) // those that this transaction has opened, too
	maps.DeleteFunc(found, func(_ string, inc *incident) bool {
		return inc == nil || inc.State == Resolved || inc.Sample.Service != service || inc.Sample.Seq == m.Seq || !m.about(inc.Sample.Env) || !inc.goesOn(m.At, a.e.resolvable(inc))
	})
	newest := slices.SortedFunc(maps.Keys(found), func(x, y string) int { return cmp.Compare(found[y].ID, found[x].ID) })
	for _, key := range newest[:min(len(newest), maxMarkedOpen)] {
		inc := found[key]
		a.incidents[key] = inc
		inc.marked(m)
		if err := a.queue(inc); err != nil {
			return err
		}
	}
	return nil
}

// keepMark writes a mark behind the others of its service. Of more services than are kept it is not.
func (a *application) keepMark(service string, old []mark, m mark) error {
	b := a.tx.Bucket(bucketMark)
	if b.Get([]byte(service)) == nil {
		if b.Sequence() >= maxMarked {
			return nil
		}
		if _, err := b.NextSequence(); err != nil { // it counts the services
			return fmt.Errorf("counting the services with marks: %w", err)
		}
	}
	list := slices.DeleteFunc(slices.Clone(old), func(o mark) bool { return m.At-o.At > int64(marksFor) })
	list = append(list, m)
	a.marks[service] = list[max(0, len(list)-marksKept):]
	return put(b, []byte(service), a.marks[service])
}

// marked notes a mark that came while the incident is open.
func (inc *incident) marked(m mark) {
	inc.Marks = append(inc.Marks, m)
	inc.Marks = inc.Marks[max(0, len(inc.Marks)-marksKept):]
	inc.log(m.At, m.did())
	inc.Log[len(inc.Log)-1].Mark = m.Seq
}

// recallMarks notes the marks that lie shortly before an incident that begins to fire by an event. A tick is before what is received
// at its very time.
func (a *application) recallMarks(inc *incident, ev *event.Event) {
	inc.Marks = nil
	for _, m := range a.marksOf(short(ev.Service)) {
		before := m.Seq < ev.Seq
		if ev.Seq == 0 {
			before = m.At < ev.Received
		}
		if before && ev.Received-m.At <= int64(markBefore) && m.about(short(ev.Env)) {
			inc.Marks = append(inc.Marks, m)
		}
	}
}

// shownMarks are the newest marks in words, newest first.
func (inc *incident) shownMarks() (texts []string) {
	for i := len(inc.Marks) - 1; i >= max(0, len(inc.Marks)-marksShown); i-- {
		texts = append(texts, inc.Marks[i].beside(inc.Since))
	}
	return texts
}

// forgetMarks drops the marks of services that had none for long, now being an event's Received time.
func forgetMarks(tx *bbolt.Tx, now int64) error {
	b := tx.Bucket(bucketMark)
	var gone [][]byte
	kept := uint64(0)
	err := b.ForEach(func(k, v []byte) error {
		var list []mark
		if decode(k, v, &list) != nil || len(list) == 0 || now-list[len(list)-1].At > int64(marksFor) {
			gone = append(gone, bytes.Clone(k))
		} else {
			kept++
		}
		return nil
	})
	for _, k := range gone {
		err = errors.Join(err, b.Delete(k))
	}
	if len(gone) > 0 {
		err = errors.Join(err, b.SetSequence(kept))
	}
	return err
}

// forgetMarksOf removes the marks of a scope of deletion from what is known of services.
func forgetMarksOf(tx *bbolt.Tx, scope *query.DeleteScope) error {
	b := tx.Bucket(bucketMark)
	if b == nil {
		return nil // a state of before there was one, that no engine has opened since
	}
	changed := map[string][]mark{}
	err := b.ForEach(func(k, v []byte) error {
		var list []mark
		unreadable := decode(k, v, &list) != nil // nobody can say what it holds
		if left := withoutMarks(list, scope, string(k)); unreadable || len(left) < len(list) {
			changed[string(k)] = left
		}
		return nil
	})
	for k, left := range changed {
		err = errors.Join(err, put(b, []byte(k), left)) // an empty one goes with forgetMarks
	}
	return err
}

func withoutMarks(list []mark, scope *query.DeleteScope, service string) []mark {
	return slices.DeleteFunc(slices.Clone(list), func(m mark) bool { return m.scopeHas(scope, service) })
}

// forgetMarks removes the marks of a scope of deletion from an incident, and from its history. It tells whether there were any.
func (inc *incident) forgetMarks(scope *query.DeleteScope) (changed bool) {
	left := withoutMarks(inc.Marks, scope, inc.Sample.Service)
	changed = len(left) < len(inc.Marks)
	for i := range inc.Log {
		l := &inc.Log[i]
		// Of a mark that is not among the newest any more nothing else is known.
		if l.Mark == 0 || l.Mark > scope.MaxSeq || l.Text == forgotten || slices.ContainsFunc(left, func(m mark) bool { return m.Seq == l.Mark }) {
			continue
		}
		l.Text, changed = forgotten, true
	}
	inc.Marks = left
	return changed
}
