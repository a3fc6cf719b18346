package alerting

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"
)

// tallyKind is why people were not told of something, or not at once.
type tallyKind string

const (
	tallyHeld   tallyKind = "held"   // by a channel's budget
	tallyDamped tallyKind = "damped" // it came back too soon after it rang
	tallyQuiet  tallyKind = "quiet"  // it was resolved since nothing came any more
	tallyWaited tallyKind = "waited" // for the end of quiet hours
)

// tallyWords say it, in the order of the digest; what is muted follows by the words of its kind.
var tallyWords = []struct {
	kind tallyKind
	text string
}{
	{tallyHeld, "kept from a channel by its budget"},
	{tallyDamped, "came back too soon to ring"},
	{tallyKind(bySilence), "silenced and over before the silence was"},
	{tallyKind(byMaintenance), "over within a maintenance"},
	{tallyKind(byParent), "had a cause that was told"},
	{tallyKind(byHold), "over while they waited for what may have caused them"},
	{tallyWaited, "waited for the end of quiet hours"},
	{tallyQuiet, "resolved by themselves, being quiet"},
}

// maxTallies is how many rules and channels are told apart in a week.
const maxTallies = 500

// tally is what one number of the digest is about.
type tally struct {
	kind          tallyKind
	rule, channel string // channel is empty where it concerns all
}

// tallies are the numbers of a week.
type tallies struct {
	Since int64            `json:"since"` // ns by the clock
	Next  int64            `json:"next"`  // when they are told
	N     map[string]int64 `json:"n,omitempty"`
}

var keyTallies = []byte("tallies")

// addTallies adds to the numbers of the week.
func (e *Engine) addTallies(tx *bbolt.Tx, now int64, add map[tally]int64) error {
	if len(add) == 0 || !e.tellsDigest {
		return nil
	}
	b := tx.Bucket(bucketDigest)
	var t tallies
	if _, err := get(b, keyTallies, &t); err != nil {
		e.unreadable(err)
		t = tallies{}
	}
	if t.Next == 0 {
		t.Since, t.Next = now, nextDigest(now)
	}
	if t.N == nil {
		t.N = map[string]int64{}
	}
	for k, n := range add {
		key := strings.Join([]string{string(k.kind), k.channel, k.rule}, "|")
		if _, known := t.N[key]; !known && len(t.N) >= maxTallies {
			key = string(k.kind) + "||others"
		}
		t.N[key] += n
	}
	tx.OnCommit(func() { e.digestAt.Store(t.Next) })
	return put(b, keyTallies, t)
}

// nextDigest is the next Monday at 08:00 UTC.
func nextDigest(now int64) int64 {
	t := time.Unix(0, now).UTC()
	day := time.Date(t.Year(), t.Month(), t.Day(), 8, 0, 0, 0, time.UTC)
	day = day.AddDate(0, 0, (int(time.Monday)-int(day.Weekday())+7)%7)
	if !day.After(t) {
		day = day.AddDate(0, 0, 7)
	}
	return day.UnixNano()
}

// digest tells, once a week, what people were not told; nothing when there was nothing. It returns how long it is until then.
func (e *Engine) digest(ctx context.Context) (time.Duration, error) {
	now := e.clock.Now().UnixNano()
	at := e.digestAt.Load()
	switch {
	case !e.tellsDigest:
		return idle, nil
	case at == 0 && e.received == 0:
		return idle, nil // before the first event there is no week to begin
	case at != 0 && now < at:
		return min(time.Duration(at-now), idle), nil
	}
	unused := e.unusedExpectations() // not in the transaction: who adds one holds both locks the other way round
	err := e.change(ctx, "telling what was not told this week", func(a *application) error {
		b := a.tx.Bucket(bucketDigest)
		var t tallies
		if _, err := get(b, keyTallies, &t); err != nil {
			e.unreadable(err)
			t = tallies{}
		}
		if t.Next != 0 && a.now < t.Next {
			return nil
		}
		if lines, fallbacks := t.lines(unused), *e.fallbacks.Load(); t.Next != 0 && len(lines) > 0 && len(fallbacks) > 0 {
			channel := fallbacks[0]
			a.channels[channel] = true
			err := enqueue(a.tx, fmt.Sprintf("%s|digest|%d", Service, t.Next), &entry{
				Kind: kindNotice, Channel: channel, Created: a.now, Rule: Service, Severity: Info,
				Title: "lookout: what you were not told since " + time.Unix(0, t.Since).UTC().Format("Mon 2006-01-02"),
				Text:  strings.Join(lines, "\n"),
			})
			if err != nil {
				return err
			}
		}
		next := nextDigest(a.now)
		a.tx.OnCommit(func() { e.digestAt.Store(next) })
		return put(b, keyTallies, tallies{Since: a.now, Next: next})
	})
	return 0, err
}

// lines say the numbers of a week, a line each kind and channel, and which expectations nothing has needed.
func (t *tallies) lines(unused []string) (lines []string) {
	by := map[tallyKind]map[string]map[string]int64{} // kind, channel, rule
	for key, n := range t.N {
		kind, rest, _ := strings.Cut(key, "|")
		channel, rule, _ := strings.Cut(rest, "|")
		k := tallyKind(kind)
		if by[k] == nil {
			by[k] = map[string]map[string]int64{}
		}
		if by[k][channel] == nil {
			by[k][channel] = map[string]int64{}
		}
		by[k][channel][rule] += n
	}
	for _, w := range tallyWords {
		for _, channel := range slices.Sorted(maps.Keys(by[w.kind])) {
			var total int64
			for _, n := range by[w.kind][channel] {
				total += n
			}
			line := fmt.Sprintf("%d %s: %s", total, w.text, Cut(listed(by[w.kind][channel]), 300))
			lines = append(lines, cmp.Or(channel, "all channels")+": "+line)
		}
	}
	if len(unused) > 0 {
		lines = append(lines, "expected and not seen for 30 days: "+Cut(strings.Join(unused, "; "), 600))
	}
	return lines
}
