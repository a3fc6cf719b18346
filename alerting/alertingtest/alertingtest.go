// Package alertingtest has the stand-ins with which alerting is tested: a Slack and a Pushover that answer as told
// ([FakeSlack], [FakePushover]), notifiers that record ([Recorder], [Threads], [Pager]), a store in memory ([Source]), a
// clock that jumps ([Clock]), and a check that no secret leaks ([Secret]).
//
// It does not import testing, so that programs can use it too: e2e keeps the fakes while it kills lookout.
package alertingtest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// Clock is the system's clock, or that of a synctest bubble, put forward or back. The zero value is ready.
type Clock struct{ offset atomic.Int64 }

// Now is the time with all jumps.
func (c *Clock) Now() time.Time { return time.Now().Add(time.Duration(c.offset.Load())) }

// After is [time.After]: a jump of the clock ends no pause.
func (c *Clock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Jump sets the clock forward, or back when d is negative.
func (c *Clock) Jump(d time.Duration) { c.offset.Add(int64(d)) }

// Source is a store in memory. The zero value is empty and ready.
type Source struct {
	mu     sync.Mutex
	events []event.Event
	gaps   map[uint64]*query.GapError // by first sequence
	broken error
	grown  chan struct{}
	// Batch is the most events a follower returns at once, 0 for all. Set it before use.
	Batch int
}

// Add appends events, gives them the next sequences, and the time of now as Received and Time where they have none.
// It returns the last sequence.
func (s *Source) Add(events ...event.Event) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now().UnixNano()
	for _, e := range events {
		e = e.Clone()
		e.Seq = uint64(len(s.events)) + 1
		if e.Received == 0 {
			e.Received = now
		}
		if e.Time == 0 {
			e.Time = e.Received
		}
		s.events = append(s.events, e)
	}
	s.wake()
	return uint64(len(s.events))
}

// Gap makes the events from to to unreadable. They count as present.
func (s *Source) Gap(from, to uint64, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gaps == nil {
		s.gaps = map[uint64]*query.GapError{}
	}
	for uint64(len(s.events)) < to {
		s.events = append(s.events, event.Event{Seq: uint64(len(s.events)) + 1})
	}
	s.gaps[from] = &query.GapError{From: from, To: to, Err: why}
	s.wake()
}

// Break makes every read fail with err until it is called with nil.
func (s *Source) Break(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = err
	s.wake()
}

// Truncate puts the store back to its first n events.
func (s *Source) Truncate(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = s.events[:n]
}

func (s *Source) wake() {
	if s.grown != nil {
		close(s.grown)
		s.grown = nil
	}
}

// LastSeq is the newest event's sequence.
func (s *Source) LastSeq() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return uint64(len(s.events))
}

// Follow delivers the events behind after.
func (s *Source) Follow(after uint64) query.Follower { return &follower{s: s, position: after} }

type follower struct {
	s        *Source
	position uint64
	returned []event.Event
}

func (f *follower) Next(ctx context.Context) ([]event.Event, error) {
	// Who keeps events longer than they are valid sees that.
	for i := range f.returned {
		f.returned[i] = event.Event{Message: []byte("not valid any more")}
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		events, grown, err := f.read()
		if err != nil || len(events) > 0 {
			f.returned = events
			return events, err
		}
		select {
		case <-ctx.Done():
		case <-grown:
		}
	}
}

func (f *follower) read() ([]event.Event, <-chan struct{}, error) {
	s := f.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return nil, nil, s.broken
	}
	if g := s.gaps[f.position+1]; g != nil {
		f.position = g.To
		return nil, nil, g
	}
	var events []event.Event
	for f.position < uint64(len(s.events)) && (s.Batch == 0 || len(events) < s.Batch) && s.gaps[f.position+1] == nil {
		e := s.events[f.position].Clone()
		events = append(events, e)
		f.position = e.Seq
	}
	if s.grown == nil {
		s.grown = make(chan struct{})
	}
	return events, s.grown, nil
}

func (f *follower) Position() uint64 { return f.position }

func (f *follower) Close() {}

// Recorder is a notifier that keeps what it was given. The zero value accepts everything.
type Recorder struct {
	// Answer, when set, is asked before a message is taken: an error refuses it. Edits and replies have a receipt.
	Answer func(ctx context.Context, channel string, m alerting.Message, to alerting.Receipt) error

	mu   sync.Mutex
	sent []Sent
}

// Sent is a message as it stands, after all edits.
type Sent struct {
	Channel string
	Message alerting.Message
	Receipt alerting.Receipt // of a reply: that of the message it is below
	Reply   bool
	Edits   int
	At      time.Time
}

// Send takes a message.
func (r *Recorder) Send(ctx context.Context, channel string, m alerting.Message) (alerting.Receipt, error) {
	if err := r.answer(ctx, channel, m, alerting.Receipt{}); err != nil {
		return alerting.Receipt{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	receipt := alerting.Receipt{Channel: channel, ID: fmt.Sprint(len(r.sent))}
	r.sent = append(r.sent, Sent{Channel: channel, Message: m, Receipt: receipt, At: time.Now()})
	return receipt, nil
}

// Edit replaces a message.
func (r *Recorder) Edit(ctx context.Context, to alerting.Receipt, m alerting.Message) (alerting.Receipt, error) {
	if err := r.answer(ctx, to.Channel, m, to); err != nil {
		return alerting.Receipt{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.sent {
		if s := &r.sent[i]; s.Receipt.ID == to.ID && !s.Reply {
			s.Message = m
			s.Edits++
			return to, nil
		}
	}
	return to, &alerting.DeliveryError{Class: alerting.EditRefused, Err: fmt.Errorf("there is no message %q", to.ID)}
}

func (r *Recorder) answer(ctx context.Context, channel string, m alerting.Message, to alerting.Receipt) error {
	if r.Answer == nil {
		return nil
	}
	return r.Answer(ctx, channel, m, to)
}

// Sent returns the messages in order of arrival; with channels, only theirs.
func (r *Recorder) Sent(channels ...string) []Sent {
	r.mu.Lock()
	defer r.mu.Unlock()
	var sent []Sent
	for _, s := range r.sent {
		if len(channels) == 0 || slices.Contains(channels, s.Channel) {
			sent = append(sent, s)
		}
	}
	return sent
}

// Threads is a [Recorder] that can reply.
type Threads struct{ *Recorder }

// Historian is a [Recorder] that can reply and keeps history in threads: the lines of Notes, by the message's receipt.
type Historian struct {
	Threads
	mu    sync.Mutex
	lines map[string][]string
}

// NewHistorian returns one that records in r.
func NewHistorian(r *Recorder) *Historian {
	return &Historian{Threads: Threads{r}, lines: map[string][]string{}}
}

// Send takes a message that has a thread.
func (h *Historian) Send(ctx context.Context, channel string, m alerting.Message) (alerting.Receipt, error) {
	r, err := h.Recorder.Send(ctx, channel, m)
	if err == nil {
		r.Thread = true
	}
	return r, err
}

// Note takes lines of history.
func (h *Historian) Note(ctx context.Context, to alerting.Receipt, m alerting.Message) error {
	if err := h.answer(ctx, to.Channel, m, to); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines[to.ID] = append(append(h.lines[to.ID], m.Lines...), m.Notes...)
	return nil
}

// History returns the lines of a message's thread, notes about repeats included.
func (h *Historian) History(to alerting.Receipt) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.lines[to.ID])
}

// Reply takes a reply.
func (t Threads) Reply(ctx context.Context, to alerting.Receipt, m alerting.Message) error {
	if err := t.answer(ctx, to.Channel, m, to); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent = append(t.sent, Sent{Channel: to.Channel, Message: m, Receipt: to, Reply: true, At: time.Now()})
	return nil
}

// Pager is a [Recorder] whose messages ring until they are acknowledged, or no more when they are edited. Like Pushover it
// cannot change what a message says.
type Pager struct {
	*Recorder

	mu     sync.Mutex
	acks   map[string]alerting.Ack
	asked  map[string][]time.Time
	refuse error
}

// NewPager returns a pager that records in r.
func NewPager(r *Recorder) *Pager {
	return &Pager{Recorder: r, acks: map[string]alerting.Ack{}, asked: map[string][]time.Time{}}
}

// Send takes a message, which rings when it fires.
func (p *Pager) Send(ctx context.Context, channel string, m alerting.Message) (alerting.Receipt, error) {
	r, err := p.Recorder.Send(ctx, channel, m)
	r.Rings = err == nil && m.State == alerting.Firing
	return r, err
}

// Edit ends the ringing.
func (p *Pager) Edit(ctx context.Context, r alerting.Receipt, m alerting.Message) (alerting.Receipt, error) {
	if m.State == alerting.Firing {
		return r, &alerting.DeliveryError{Class: alerting.EditRefused, Err: errors.New("what was sent cannot be changed")}
	}
	return p.Recorder.Edit(ctx, r, m)
}

// Acknowledgement tells what became of a message.
func (p *Pager) Acknowledgement(_ context.Context, r alerting.Receipt) (alerting.Ack, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked[r.ID] = append(p.asked[r.ID], time.Now())
	return p.acks[r.ID], p.refuse
}

// Tell makes a the answer about a message.
func (p *Pager) Tell(r alerting.Receipt, a alerting.Ack) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.acks[r.ID] = a
}

// Refuse makes questions fail with err until it is called with nil.
func (p *Pager) Refuse(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = err
}

// Asked is when it was asked about a message.
func (p *Pager) Asked(r alerting.Receipt) []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked[r.ID])
}

// Secret is a token that must not be seen.
type Secret string

// Leak returns where in the text the secret stands, in what form; empty when it does not.
func (s Secret) Leak(text string) string {
	for _, form := range [...]struct{ name, text string }{
		{"as it is", string(s)},
		{"escaped for a URL", url.QueryEscape(string(s))},
		{"in base64", base64.StdEncoding.EncodeToString([]byte(s))},
		{"quoted", strings.Trim(fmt.Sprintf("%q", string(s)), `"`)},
	} {
		if i := strings.Index(text, form.text); i >= 0 {
			return fmt.Sprintf("the secret is in the text %s, behind %q", form.name, text[max(0, i-40):i])
		}
	}
	return ""
}
