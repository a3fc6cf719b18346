package query

import (
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/lookoutlog/lookout/internal/event"
)

// Kind is a kind of lines: the events of one service and level whose messages have one pattern (package mask).
type Kind struct {
	Hash     uint64 // what its fingerprint says
	Service  string
	Level    event.Level
	Template string // the pattern: a line with # for what differs
	// First and Last are the times of the first and the last event, in ns since the Unix epoch; of which events, the context tells.
	First, Last int64
}

// KindsRequest asks how often each kind of lines occurs among the events that match. The store answers it with [Kinds].
type KindsRequest struct {
	// Query selects events; nil selects all.
	Query *Query
	// Since and Until bound the events' time as in [Request].
	Since, Until int64
	// Steps is into how many steps of equal length the time from Since to Until is parted, for [KindCount.Steps]; 0 does not.
	// It needs both, and is [MaxKindSteps] at most.
	Steps int
	// Only are the hashes of the kinds that are asked for; nil for all.
	Only map[uint64]bool
	// MaxBytes is as in [Request]. MaxMemory bounds what is known of the kinds, in bytes; 0 is [DefaultMemory]. The events of
	// kinds beyond it are counted as one, as those beyond [MaxKinds] are.
	MaxBytes, MaxMemory int64
}

// StepLen returns the length of the steps, in ns, rounded up so that the last one is in range; 0 without steps.
func (r *KindsRequest) StepLen() int64 {
	if r.Steps == 0 || r.Since == 0 || r.Until <= r.Since {
		return 0
	}
	return int64((uint64(r.Until)-uint64(r.Since)-1)/uint64(r.Steps) + 1)
}

// Limits of a request for kinds.
const (
	MaxKinds     = 20_000 // kinds that are told apart in an answer; the events of further ones are counted as one
	MaxKindSteps = 200
)

// KindCount is one kind in an answer. Its First and Last are those of the events that matched.
type KindCount struct {
	Kind
	Events int64
	Steps  []int64 // events by step of time, nil without
	Sample []byte  // the message of one of the events
}

// Kinds is the answer to a [KindsRequest].
type Kinds struct {
	List []KindCount // in no order
	// Other are the events of the kinds beyond [MaxKinds].
	Other   int64
	Summary Summary
}

// KindSearch is one search for kinds of lines by their words. The catalogue answers it with [KindAnswer].
type KindSearch struct {
	// Text says which words their templates have: all of those given. refund is the word, "card refund" a phrase, ref* the
	// beginning of a word, refnud~ the word with a slip (~2: with two), -test leaves out. A name such as RefundFailed is found
	// by its parts as well. Empty is any text.
	Text string
	// Service is a service's name, with * and ? for some and for one character; empty for all.
	Service string
	// Levels are those that are wanted; none for all.
	Levels []event.Level
	// Limit is how many kinds are returned, the best first; [MaxFoundKinds] at most.
	Limit int
	// Order is the order of an answer to a request without a text.
	Order KindOrder
	// Facets asks for how many kinds of each service and level there are.
	Facets bool
}

// KindOrder is an order of kinds, and which of them are left out beyond a limit.
type KindOrder uint8

// The orders.
const (
	ByDiscovery KindOrder = iota // as the ledger has found them
	ByFirst                      // those that were first seen last
	ByLast                       // those that were last seen last
)

// ServiceGlob compiles a name of services, with * and ? for some characters and for one. The error is a *[KindTextError].
func ServiceGlob(text string) (matches func(service string) bool, err error) {
	if !strings.ContainsAny(text, "*?") {
		return func(s string) bool { return s == text }, nil
	}
	rx, err := regexp.Compile("(?s)" + globRegex(text))
	if err != nil {
		return nil, &KindTextError{"the service's name cannot be read", "write UTF-8, with * and ? for any characters"}
	}
	return rx.MatchString, nil
}

// MaxFoundKinds is how many kinds a search returns at most.
const MaxFoundKinds = 1000

// KindFacet is how many of the kinds found are of a service or level.
type KindFacet struct {
	Name  string
	Kinds int
}

// KindAnswer is the answer to a [KindSearch].
type KindAnswer struct {
	Kinds []Kind // with when they were first and last seen, ever
	Total int    // that were found, whether returned or not
	// Services and Levels are the facets, the most frequent first; of services the first hundred.
	Services, Levels []KindFacet
}

// KindTextError says what is wrong with the text or the service of a [KindSearch].
type KindTextError struct{ Message, Mend string }

func (e *KindTextError) Error() string { return e.Message + "; " + e.Mend }

// ErrCatalogBuilding says that kinds cannot be searched: their index is being built.
var ErrCatalogBuilding = errors.New("the catalogue of patterns is being built")

// KindTimes is when a kind was first and last seen, ever, in ns since the Unix epoch.
type KindTimes struct{ First, Last int64 }

// CatalogStatus is what is known of the ledger of kinds and of their index.
type CatalogStatus struct {
	Kinds    int    // in the ledger
	Services int    // that have some
	Position uint64 // segments were read up to this sequence
	Bytes    int64  // of the ledger's file and the index's folder
	Indexed  int    // kinds in the index that answers
	Ready    bool   // there is an index
	Building bool   // one is being built
	Done     int64  // kinds in the one that is being built
	Total    int64  // kinds that it will have
	Beyond   []KindsBeyond
}

// KindsBeyond is a service with too many kinds: what is beyond the limit as one.
type KindsBeyond struct {
	Service string
	KindTimes
}

// FieldsRequest asks which extra fields the events that match have. The store answers it with [Fields].
type FieldsRequest struct {
	// Query selects events; nil selects all.
	Query *Query
	// Since and Until bound the events' time as in [Request].
	Since, Until int64
	// MaxBytes is as in [Request]. MaxMemory bounds what is held of the values, in bytes; 0 is [DefaultMemory]. Beyond it the
	// number of different values is a lower bound.
	MaxBytes, MaxMemory int64
}

// MaxFields is how many fields are told apart in an answer; the answer says when there are more.
const MaxFields = 5000

// FieldInfo is what is known of one extra field.
type FieldInfo struct {
	Name   string
	Events int64                 // that have it
	Values [event.JSON + 1]int64 // by kind of value; an event may have several
	// Distinct is the number of different values among those that were looked at, as texts; beyond [MaxExactDistinct] with a
	// standard error of 0.8 %. AtLeast says that there may be more: not all were looked at.
	Distinct float64
	AtLeast  bool
}

// Fields is the answer to a [FieldsRequest].
type Fields struct {
	List    []FieldInfo // by name
	More    bool        // there are more than [MaxFields]
	Summary Summary
}

// maxFieldValues is how many values of a field a tally looks at to tell how many are different.
const maxFieldValues = 500_000

// FieldTally gathers what is known of fields. Each worker has one of its own; they are merged at the end. It is not safe
// for concurrent use.
type FieldTally struct {
	fields map[string]*fieldTally
	mem    allowance
	more   bool
	seen   map[string]bool
	events int64
}

type fieldTally struct {
	info      FieldInfo
	different different
	looked    int
}

// NewFieldTally returns an empty tally that takes its memory from a budget.
func NewFieldTally(memory *Budget) *FieldTally {
	return &FieldTally{fields: map[string]*fieldTally{}, mem: allowance{from: memory}, seen: map[string]bool{}}
}

func (t *FieldTally) field(name string) *fieldTally {
	f := t.fields[name]
	if f == nil {
		if len(t.fields) >= MaxFields {
			t.more = true
			return nil
		}
		f = &fieldTally{info: FieldInfo{Name: name}}
		t.fields[name] = f
	}
	return f
}

// Matched counts events, whatever fields they have.
func (t *FieldTally) Matched(events int) { t.events += int64(events) }

// Count counts events that have a field, and its values by kind.
func (t *FieldTally) Count(name string, events int, values [event.JSON + 1]int64) {
	if f := t.field(name); f != nil {
		f.info.Events += int64(events)
		for k, n := range values {
			f.info.Values[k] += n
		}
	}
}

// Wants tells whether values of the field are still looked at; when not, the answer says so.
func (t *FieldTally) Wants(name string) bool {
	f := t.field(name)
	if f == nil {
		return false
	}
	if f.looked >= maxFieldValues || t.mem.over {
		f.info.AtLeast = true
		return false
	}
	return true
}

// Value looks at one value of a field.
func (t *FieldTally) Value(name string, v []byte) {
	if f := t.field(name); f != nil {
		f.looked++
		f.different.add(v, &t.mem)
	}
}

// Add counts an event.
func (t *FieldTally) Add(e *event.Event) {
	t.Matched(1)
	clear(t.seen)
	for i := range e.Fields {
		name := string(e.Fields[i].Name)
		events := 0
		if !t.seen[name] {
			t.seen[name] = true
			events = 1
		}
		var values [event.JSON + 1]int64
		values[e.Fields[i].Kind] = 1
		t.Count(name, events, values)
		if t.Wants(name) {
			t.Value(name, e.Fields[i].Value)
		}
	}
}

// Merge takes over what another tally has; that one must not be used any more.
func (t *FieldTally) Merge(o *FieldTally) {
	t.events += o.events
	t.more = t.more || o.more
	for name, f := range o.fields {
		mine := t.field(name)
		if mine == nil {
			continue
		}
		mine.info.Events += f.info.Events
		for k, n := range f.info.Values {
			mine.info.Values[k] += n
		}
		mine.info.AtLeast = mine.info.AtLeast || f.info.AtLeast
		mine.different.merge(&f.different, &t.mem)
	}
}

// Fields returns the answer, but for its summary's other parts.
func (t *FieldTally) Fields() *Fields {
	out := &Fields{More: t.more, Summary: Summary{Matched: t.events}}
	for _, name := range slices.Sorted(maps.Keys(t.fields)) {
		f := t.fields[name]
		f.info.Distinct = f.different.count()
		out.List = append(out.List, f.info)
	}
	return out
}
