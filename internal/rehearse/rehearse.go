// Package rehearse tries rules before they ring: what they would have told about the events of a store ([Backtest]), or about
// lines of a file ([Lines]). It has no rules of its own: the engine of package alerting is run with a clock that follows the events.
//
// # Use
//
//	sum, err := rehearse.Backtest(ctx, rehearse.Options{Source: store, Dir: data, Since: since, Until: now, Rules: engine}, list)
//
// # What it guarantees
//
// Nobody is told anything: the notifier of the options is only asked which channels have threads. Memory does not grow with the
// events: what is beyond [MaxListed] messages is counted, not listed.
package rehearse

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/collector/parse"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// MaxListed is how many messages are listed of one set of rules; the further ones are counted.
const MaxListed = 10_000

// Notification is one message that would have been sent.
type Notification struct {
	// Change is "+" for what only the rules to try send, "-" for what only those in force do, empty where nothing is compared.
	Change   string    `json:"change,omitempty"`
	At       time.Time `json:"at"`
	Channel  string    `json:"channel"`
	Kind     string    `json:"kind"` // message, reply, edit, note
	Severity string    `json:"severity"`
	State    string    `json:"state,omitempty"`
	Incident string    `json:"incident,omitempty"` // the same in all messages of one
	Title    string    `json:"title"`              // with the state in front
	Lines    []string  `json:"lines,omitempty"`
	Facts    []string  `json:"facts,omitempty"`
	Notes    []string  `json:"notes,omitempty"`
	Link     string    `json:"link,omitempty"`
}

func of(n alerting.Notification) Notification {
	m := &n.Message
	return Notification{
		At: n.At.UTC(), Channel: n.Channel, Kind: string(n.Kind), Severity: string(m.Severity), State: string(m.State), Incident: m.Incident,
		Title: m.Heading(), Lines: m.Lines, Facts: m.Facts, Notes: m.Notes, Link: m.Link,
	}
}

// Day counts a channel's messages of a day, UTC.
type Day struct {
	Day      string `json:"day"`
	Channel  string `json:"channel"`
	Messages int64  `json:"messages"`
	Before   *int64 `json:"before,omitempty"` // by the rules in force, where they are compared
}

// Rule counts a rule's matches.
type Rule struct {
	Rule    string  `json:"rule"`
	Matched uint64  `json:"matched"`
	Before  *uint64 `json:"before,omitempty"` // by the rule in force, where they are compared
}

// Summary counts what would have been sent. Messages are what people notice: new messages and replies.
type Summary struct {
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until"`
	Events int64     `json:"events"`         // held against the rules
	Gaps   int       `json:"gaps,omitempty"` // ranges of events that could not be read
	TookMS float64   `json:"took_ms"`

	Messages int64 `json:"messages"`
	Edits    int64 `json:"edits"`         // edits, and notes in threads
	Held     int64 `json:"held"`          // counted in an overview in the place of a message
	Cut      int64 `json:"cut,omitempty"` // messages that are counted and not listed

	Compared bool  `json:"compared"` // with the rules in force; then:
	Added    int64 `json:"added"`
	Removed  int64 `json:"removed"`
	Same     int64 `json:"same"`

	Days  []Day  `json:"days"`
	Rules []Rule `json:"rules"`
}

// Options say what is held against what.
type Options struct {
	Source       alerting.Source
	Dir          string           // where the state is while it runs
	Since, Until time.Time        // when the events were received
	Rules        alerting.Options // Source, DB and Clock are not used
	// InForce are compared with Rules, nil for no comparison.
	InForce  *alerting.Options
	Edits    bool // list edits and notes, too
	Progress func(done, total int64)
}

// side gathers what one set of rules sends.
type side struct {
	edits    bool
	list     []Notification
	messages int64
	changes  int64 // edits and notes
	cut      int64
	days     map[[2]string]int64 // by day and channel
}

func (s *side) take(n alerting.Notification) {
	quiet := n.Kind == alerting.Edited || n.Kind == alerting.Noted
	if quiet {
		s.changes++
		if !s.edits {
			return
		}
	} else {
		s.messages++
		s.days[[2]string{n.At.UTC().Format(time.DateOnly), n.Channel}]++
	}
	if len(s.list) == MaxListed {
		s.cut++
		return
	}
	s.list = append(s.list, of(n))
}

// Backtest holds the events of a store against rules, and then calls list for what would have been sent, in order of time; where rules
// are compared, for what differs. It ends with ctx, and with an error of list.
func Backtest(ctx context.Context, o Options, list func(Notification) error) (*Summary, error) {
	start := time.Now()
	engines := []alerting.Options{o.Rules}
	if o.InForce != nil {
		engines = append(engines, *o.InForce)
	}
	sides := make([]*side, len(engines))
	for i := range sides {
		sides[i] = &side{edits: o.Edits, days: map[[2]string]int64{}}
	}
	test := alerting.Backtest{
		Source: o.Source, Dir: o.Dir, Since: o.Since, Until: o.Until, Engines: engines, Progress: o.Progress,
		Take: func(i int, n alerting.Notification) { sides[i].take(n) },
	}
	result, err := test.Run(ctx)
	if err != nil {
		return nil, err
	}
	now := sides[0]
	sum := &Summary{
		Since: o.Since.UTC(), Until: o.Until.UTC(), Events: result.Events, Gaps: result.Gaps,
		Messages: now.messages, Edits: now.changes, Held: int64(result.Engines[0].Held), Cut: now.cut, Days: []Day{}, Rules: []Rule{},
	}
	all := now.list
	before := map[[2]string]int64(nil)
	if o.InForce != nil {
		before = sides[1].days
		sum.Compared = true
		all = sum.compare(sides[1].list, now.list)
		sum.Cut += sides[1].cut
	}
	sum.count(now.days, before)
	sum.countRules(engines, result.Engines)
	for _, n := range all {
		if err := list(n); err != nil {
			return nil, err
		}
	}
	sum.TookMS = float64(time.Since(start).Microseconds()) / 1000
	return sum, nil
}

// compare returns what differs, in order of time. Two messages are the same when channel, kind and title are, whenever they came: the
// third of a title on one side is held against the third on the other.
func (s *Summary) compare(before, now []Notification) []Notification {
	type key struct{ channel, kind, title string }
	of := func(n *Notification) key { return key{n.Channel, n.Kind, n.Title} }
	was := map[key]int{}
	for i := range before {
		was[of(&before[i])]++
	}
	var all []Notification
	both := map[key]int{}
	for _, n := range now {
		if k := of(&n); was[k] > 0 {
			was[k]--
			both[k]++
			s.Same++
			continue
		}
		n.Change = "+"
		all = append(all, n)
		s.Added++
	}
	for _, n := range before {
		if k := of(&n); both[k] > 0 {
			both[k]--
			continue
		}
		n.Change = "-"
		all = append(all, n)
		s.Removed++
	}
	slices.SortStableFunc(all, func(a, b Notification) int { return a.At.Compare(b.At) })
	return all
}

func (s *Summary) count(now, before map[[2]string]int64) {
	days := map[[2]string]bool{}
	for _, m := range []map[[2]string]int64{now, before} {
		for k := range m {
			days[k] = true
		}
	}
	for k := range days {
		d := Day{Day: k[0], Channel: k[1], Messages: now[k]}
		if before != nil {
			n := before[k]
			d.Before = &n
		}
		s.Days = append(s.Days, d)
	}
	slices.SortFunc(s.Days, func(a, b Day) int { return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Channel, b.Channel)) })
}

// countRules lists the rules of all sides, those to try first.
func (s *Summary) countRules(engines []alerting.Options, stats []alerting.Stats) {
	seen := map[string]bool{}
	for i, o := range engines {
		for _, r := range o.Rules {
			if seen[r.Name] {
				continue
			}
			seen[r.Name] = true
			one := Rule{Rule: r.Name}
			if i == 0 {
				one.Matched = stats[0].Matched[r.Name]
			}
			if len(engines) > 1 {
				n := stats[1].Matched[r.Name]
				one.Before = &n
			}
			s.Rules = append(s.Rules, one)
		}
	}
}

// RuleOf makes a rule of a query that is to be tried.
func RuleOf(q *query.Query) alerting.Rule {
	return alerting.Rule{Name: "query", Query: q, Channels: []string{"#test"}}
}

const (
	// maxLine is the longest line, in bytes; longer ones are cut, as inputs do.
	maxLine = event.MaxMessage
	// atOnce is how many lines are read at once.
	atOnce = 512
	// settle is for how long the clock goes on behind the last line.
	settle = 10 * time.Minute
)

// Lines holds lines against rules, each read as an input would read it (JSON, logfmt, level, time), and calls list for what would be
// sent, in order. An event counts as received when it happened; one without a time right behind the one before. Lines that name no
// service are of the one given.
func Lines(ctx context.Context, r io.Reader, service string, rules alerting.Options, list func(Notification) error) (*Summary, error) {
	start := time.Now()
	dir, err := os.MkdirTemp("", "lookout-rules-")
	if err != nil {
		return nil, fmt.Errorf("a folder for the state of the rules: %w", err)
	}
	defer os.RemoveAll(dir)
	db, err := bbolt.Open(filepath.Join(dir, "state.db"), 0o600, &bbolt.Options{NoSync: true, NoGrowSync: true, NoFreelistSync: true})
	if err != nil {
		return nil, fmt.Errorf("a file for the state of the rules: %w", err)
	}
	defer db.Close()
	rules.DB = db
	side := &side{days: map[[2]string]int64{}}
	replay, err := alerting.NewReplay(rules, side.take)
	if err != nil {
		return nil, err
	}

	const century = 100 * 365 * 24 * time.Hour // old logs are what this is for
	stage := parse.New(parse.Options{Past: century, Future: century})
	lines := bufio.NewReaderSize(r, 64<<10)
	sum := &Summary{Days: []Day{}, Rules: []Rule{}}
	var batch event.Batch
	var last int64
	for end := false; !end; {
		batch.Reset()
		for size := 0; len(batch.Events) < atOnce && size < maxLine && !end; {
			line, err := readLine(lines)
			if end = err != nil; end && !errors.Is(err, io.EOF) {
				return nil, fmt.Errorf("reading lines: %w", err)
			}
			if len(line) > 0 {
				batch.Add().Message = batch.Copy(line)
				size += len(line)
			}
		}
		stage.Process(&batch)
		for i := range batch.Events {
			e := &batch.Events[i]
			sum.Events++
			if len(e.Service) == 0 {
				e.Service = []byte(service)
			}
			if e.Time == 0 {
				e.Time = max(last, 1)
				if last == 0 {
					e.Time = start.UnixNano()
				}
			}
			last = max(last, e.Time)
			e.Seq, e.Received = uint64(sum.Events), last
			if sum.Events == 1 {
				sum.Since = time.Unix(0, last).UTC()
			}
		}
		if err := replay.Feed(ctx, batch.Events); err != nil {
			return nil, err
		}
	}
	if last != 0 {
		if err := replay.Until(ctx, time.Unix(0, last).Add(settle)); err != nil {
			return nil, err
		}
		sum.Until = time.Unix(0, last).UTC()
	}
	stats, err := replay.Stats()
	if err != nil {
		return nil, err
	}
	sum.Messages, sum.Edits, sum.Held, sum.Cut = side.messages, side.changes, int64(stats.Held), side.cut
	sum.count(side.days, nil)
	sum.countRules([]alerting.Options{rules}, []alerting.Stats{stats})
	for _, n := range side.list {
		if err := list(n); err != nil {
			return nil, err
		}
	}
	sum.TookMS = float64(time.Since(start).Microseconds()) / 1000
	return sum, nil
}

// readLine returns the next line without its end; of one that is too long the beginning. It is valid until the next call.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		long := bytes.Clone(line)
		for errors.Is(err, bufio.ErrBufferFull) {
			if line, err = r.ReadSlice('\n'); len(long) < maxLine {
				long = append(long, line...)
			}
		}
		line = long[:min(len(long), maxLine)]
	}
	return bytes.TrimRight(line, "\r\n"), err
}
