package alerting

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lookoutlog/lookout/index/query"
)

// Mode is what a rule makes of the events that its query matches.
type Mode string

const (
	// ModeMatch tells each event. It is the default.
	ModeMatch Mode = "match"
	// ModeUnexpected tells each event that no entry of Rule.Expect covers.
	ModeUnexpected Mode = "unexpected"
	// ModeNew tells each kind of line that the rule has not seen before.
	ModeNew Mode = "new"
	// ModeRate tells when more than Above or fewer than Below events came within Window, and when that is over.
	ModeRate Mode = "rate"
	// ModeSpike tells when far more events than usual came in two windows running, and when that is over.
	ModeSpike Mode = "spike"
	// ModeAbsent tells when a series that used to have events is silent, and when it is heard again.
	ModeAbsent Mode = "absent"
)

// timed tells a mode whose rules tell of a state of a series, not of events.
func (m Mode) timed() bool { return m == ModeRate || m == ModeSpike || m == ModeAbsent }

// Expectation is what is no news to a rule of [ModeUnexpected].
type Expectation struct {
	Query   *query.Query
	Author  string
	Reason  string
	Expires time.Time // it counts no more for events received then or later; zero for never
}

// defaultWindow is what ModeRate and ModeSpike count in unless told otherwise.
const defaultWindow = 5 * time.Minute

// window is Window with its default.
func (r *Rule) window() time.Duration {
	if r.Window == 0 {
		return defaultWindow
	}
	return r.Window
}

func (r *Rule) validateMode() error {
	switch r.Mode {
	case "", ModeMatch, ModeUnexpected, ModeNew, ModeRate, ModeSpike, ModeAbsent:
	default:
		return fmt.Errorf("mode is %q: write match, unexpected, new, rate, spike or absent", r.Mode)
	}
	if r.Mode.timed() && r.Notify == Each {
		return fmt.Errorf("mode %s tells of a state, not of events: leave notify: each out", r.Mode)
	}
	if r.Mode.timed() && r.Resolve != nil {
		return fmt.Errorf("mode %s knows by itself when it is over: leave resolve out", r.Mode)
	}
	if r.Mode == ModeRate && (r.Above < 0 || r.Below < 0 || r.Above == 0 && r.Below == 0 || r.Above > 0 && r.Below > r.Above) {
		return fmt.Errorf("above is %d and below is %d: give one of them, or a below that is not more than above", r.Above, r.Below)
	}
	if w := r.window(); w < 10*time.Second || w > 7*24*time.Hour || w%time.Second != 0 {
		return fmt.Errorf("window is %s: give whole seconds, from 10s to 7 days", w)
	}
	if r.After != 0 && r.After < 10*time.Second {
		return fmt.Errorf("after is %s: give at least 10s", r.After)
	}
	for i, x := range r.Expect {
		if x.Query == nil {
			return fmt.Errorf("entry %d of expect has no query: add one, or leave it out", i+1)
		}
	}
	for _, name := range r.By {
		if name == "" || len(name) > 100 || strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			return fmt.Errorf("by has %q: name fields of at most 100 bytes", name)
		}
	}
	if len(r.By) > 8 {
		return errors.New("by has more than 8 fields: name those that tell series apart")
	}
	if slices.Contains(r.By, "id") || slices.Contains(r.By, "message") {
		return errors.New("by has id or message, which tell single events apart: name other fields")
	}
	return nil
}
