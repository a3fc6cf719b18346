package alerting

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
)

// testEvery is how often a test message may be sent, to whatever channel.
const testEvery = time.Second

// MaxTestText is the longest text of a test message, in bytes.
const MaxTestText = 1000

// Test is a message that tries a channel.
type Test struct {
	Severity Severity // its colour; empty for [Info]
	Text     string   // shown in it, may be empty
	By       string   // who sends it, shown too
}

// TestResult is what the destination answered.
type TestResult struct {
	Channel string `json:"channel"`
	// Accepted is whether the destination has it, and Receipt what it calls it, where it does.
	Accepted bool    `json:"accepted"`
	Receipt  string  `json:"receipt,omitempty"`
	TookMS   float64 `json:"took_ms"`
	// Class is that of the failure, Code the destination's own word for it, and Mend what helps.
	Class Class  `json:"class,omitempty"`
	Code  string `json:"code,omitempty"`
	Error string `json:"error,omitempty"`
	Mend  string `json:"mend,omitempty"`
	// RetryAfter is how long the destination asked to wait, in seconds, 0 when it did not.
	RetryAfter float64 `json:"retry_after_s,omitempty"`
}

// TooSoonError says that the last test message was sent just before.
type TooSoonError struct{ RetryAfter time.Duration }

func (e *TooSoonError) Error() string {
	return fmt.Sprintf("a test message was sent just before: one each %s is the most", testEvery)
}

// Tester sends test messages by the real ways, without an incident. It is safe for concurrent use.
type Tester struct {
	notifier Notifier
	engine   *Engine // nil when nothing alerts
	clock    Clock
	log      *slog.Logger
	often    limiter
	lanes    *lanes
	timeout  time.Duration
}

// NewTester returns one that goes by these ways, and keeps to the pace of an engine that does as well; without one engine is nil. A nil
// clock is the system's.
func NewTester(n Notifier, engine *Engine, clock Clock, log *slog.Logger) *Tester {
	t := &Tester{notifier: n, engine: engine, clock: clock, log: log, often: limiter{every: testEvery, burst: 1}}
	if t.clock == nil {
		t.clock = systemClock{}
	}
	l := Limits{}
	if t.lanes = new(lanes); engine != nil {
		t.lanes, l = &engine.lanes, engine.limits
	}
	l.fill()
	t.timeout = l.SendTimeout
	return t
}

// Acts tells whether a channel is a hook: it does something instead of telling, and gets no test messages.
func (t *Tester) Acts(channel string) bool {
	n := t.notifier
	if mux, ok := n.(interface{ Of(string) Notifier }); ok {
		n = mux.Of(channel)
	}
	a, ok := n.(interface{ Acts() bool })
	return ok && a.Acts()
}

// Send sends a test message at once: when the channel's pace lets it, and not within a pause that the destination has asked
// for. What it answers is the result; the error is a [*TooSoonError], or that ctx ended before the message went out. A channel that takes
// it and was refusing alerts is tried again with what waits there.
func (t *Tester) Send(ctx context.Context, channel string, test Test) (TestResult, error) {
	if wait := t.often.take(t.clock.Now()); wait > 0 {
		return TestResult{}, &TooSoonError{RetryAfter: wait}
	}
	result := TestResult{Channel: channel}
	lane := t.lanes.of(channel)
	if pause := lane.pause(t.clock.Now()); pause > 0 {
		result.fail(&DeliveryError{Class: Wait, RetryAfter: pause, Err: fmt.Errorf("%s has asked for a pause, which holds up its alerts too", channel)})
		return result, nil
	}
	wait := lane.pace.reserve(t.clock.Now())
	if t.engine != nil {
		wait = max(wait, t.engine.workspace.reserve(t.clock.Now()))
	}
	if wait > 0 {
		select {
		case <-ctx.Done():
			return TestResult{}, ctx.Err()
		case <-t.clock.After(wait):
		}
	}
	if !lane.enter(ctx) {
		return TestResult{}, ctx.Err()
	}
	begin := t.clock.Now()
	calling, cancel := context.WithTimeout(ctx, t.timeout)
	receipt, err := t.notifier.Send(calling, channel, test.message(channel, begin))
	cancel()
	lane.leave()
	result.TookMS = float64(t.clock.Now().Sub(begin).Microseconds()) / 1000
	if failure := failureOf(err); failure != nil {
		if result.fail(failure); failure.Class == Wait {
			lane.ask(t.clock.Now(), cmp.Or(failure.RetryAfter, defaultWait))
		}
		t.log.Warn("a test message could not be delivered", "channel", channel, "by", test.By, "error", failure)
		return result, nil
	}
	result.Accepted, result.Receipt = true, receipt.ID
	t.log.Info("a test message was sent", "channel", channel, "by", test.By)
	if t.engine != nil {
		t.engine.retryParked(channel)
	}
	return result, nil
}

func (r *TestResult) fail(d *DeliveryError) {
	r.Class, r.Code, r.Error, r.RetryAfter = d.Class, d.Code, Cut(oneLine(d.Err.Error()), 500), d.RetryAfter.Seconds()
	switch r.Mend = d.Mend; {
	case r.Mend != "":
	case d.Class == Wait:
		r.Mend = "wait, and try again"
	case d.Class == Transient:
		r.Mend = "try again; alerts are tried without end"
	case d.Class == Broken:
		r.Mend = "mend the channel, the token or the rights there; alerts are kept and tried again"
	default:
		r.Mend = "the destination refuses this message, not the channel: send another text"
	}
}

// message is a test message: it has no state, so that nothing rings until somebody acknowledges it.
func (t *Test) message(channel string, now time.Time) Message {
	m := Message{
		Severity: cmp.Or(t.Severity, Info), Title: "Test message from lookout: nothing has happened",
		Facts: []string{"to " + channel, "severity " + string(cmp.Or(t.Severity, Info)), "sent" + byWhom(oneLine(clean([]byte(t.By)))) + " at " + at(now.UnixNano())},
	}
	if text := strings.TrimSpace(clean([]byte(t.Text))); text != "" {
		m.Lines = []string{Cut(text, MaxTestText)}
	}
	return m
}

// retryParked has what waits for a channel tried at once, if the channel takes nothing.
func (e *Engine) retryParked(channel string) {
	parked, err := e.ParkedChannels()
	if _, ok := parked[channel]; !ok || err != nil {
		return // with an error it is tried in its time
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.senders[channel]; s != nil {
		s.retry()
	}
}

// Parked is since when a channel takes nothing, and why, when it says that it is broken.
type Parked struct {
	Since  time.Time
	Reason string
}

// ParkedChannels returns the channels that take nothing now.
func (e *Engine) ParkedChannels() (map[string]Parked, error) {
	all := map[string]Parked{}
	err := e.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketChannel).ForEach(func(k, v []byte) error {
			var c channelState
			switch err := decode(k, v, &c); {
			case err != nil: // its sender makes it anew
			case c.Parked != nil:
				all[string(k)] = Parked{timeOf(c.Parked.Since), c.Parked.Reason}
			case c.Out != nil:
				all[string(k)] = Parked{Since: timeOf(c.Out.Since)}
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading the channels: %w", err)
	}
	return all, nil
}

// lane keeps the calls for one channel apart, those of its sender and those of test messages.
type lane struct {
	pace    limiter
	calling chan struct{} // has room for one
	until   atomic.Int64  // the destination has asked for a pause until then, ns
}

// enter waits until no other call for the channel is on its way; it is false when ctx ends before.
func (l *lane) enter(ctx context.Context) bool {
	select {
	case l.calling <- struct{}{}: // also when ctx has ended: the call itself says so
		return true
	default:
	}
	select {
	case l.calling <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (l *lane) leave() { <-l.calling }

// ask notes that the destination asks for a pause.
func (l *lane) ask(now time.Time, pause time.Duration) {
	l.until.Store(now.Add(min(pause, maxWait)).UnixNano())
}

// pause is what is left of it. More than may be asked for is a clock that was set back.
func (l *lane) pause(now time.Time) time.Duration {
	left := time.Duration(l.until.Load() - now.UnixNano())
	if left > 2*maxWait {
		return 0
	}
	return max(0, left)
}

// lanes are those of all channels. The zero value has none yet, and makes them with the usual pace.
type lanes struct {
	m     sync.Map // of *lane by channel
	every time.Duration
}

func (l *lanes) of(channel string) *lane {
	made, _ := l.m.LoadOrStore(channel, &lane{pace: limiter{every: cmp.Or(l.every, time.Second), burst: 1}, calling: make(chan struct{}, 1)})
	return made.(*lane)
}
