package alerting

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/mask"
)

const (
	// newDay is how long a service's kinds of lines are gathered, from its first event under the rule on, whether that matches or not.
	newDay = 24 * time.Hour
	// newShown is how many of them the digest shows.
	newShown = 10
	// newForgotten is when a kind that was not seen again is forgotten, in days: later it is new once more.
	newForgotten = 30
	// maxKinds is how many kinds a rule remembers in all.
	maxKinds = 200_000
)

// sight is what is known of a kind of line.
type sight struct {
	day    int32 // when it was last seen, in days since the Unix epoch
	series *series
}

// kindOf is the key of an event's kind in seen.
func (s *ruleState) kindOf(ev *event.Event) uint64 {
	h, print := kindOf(ev, &s.mark)
	if print == exceptionPrint {
		h = ^h // apart from a pattern of the same words
	}
	return h
}

// meet tells an event of a kind that was never seen before.
func (s *ruleState) meet(ev *event.Event) {
	h := s.kindOf(ev)
	today := int32(s.m.Now / int64(day))
	if old, known := s.seen[h]; known {
		if old.day != today {
			s.seen[h] = sight{today, old.series}
			s.sighted[h] = true
			old.series.Last, old.series.changed = s.m.Now, true
		}
		return
	}
	x := s.of(ev)
	if x == nil {
		return
	}
	if first, known := s.m.services[string(ev.Service)]; known && x.Kinds == 0 && !x.Told {
		x.Began = max(first, s.Since) // what it said before it said something new counts
		x.Told = s.m.Now-x.Began >= int64(newDay)
	}
	if x.Exploded {
		s.leaveOut()
		return
	}
	if x.Kinds >= s.m.e.limits.Patterns || len(s.seen) >= maxKinds {
		x.Exploded = true
		text := fmt.Sprintf("pattern explosion in %s: it has more than %d kinds of lines, so no more of them are told as new", short(ev.Service), x.Kinds)
		s.m.matches = append(s.m.matches, match{rule: s.rule, event: s.event(x, s.m.Now, s.m.Now, text), fp: explosionPrint + strconv.FormatUint(x.hash(), 16)})
		return
	}
	x.Kinds++
	s.seen[h] = sight{today, x}
	s.sighted[h] = true
	if !x.Told {
		x.Firsts++
		line := Cut(oneLine(clean(mask.Pattern(nil, []byte(said(string(mask.FirstLine(ev.Message))))))), 200)
		if len(x.First) < newShown && !slices.Contains(x.First, line) { // kinds may differ in the day of the week alone
			x.First = append(x.First, line)
		}
		return
	}
	s.m.matches = append(s.m.matches, match{rule: s.rule, event: ev, what: "new"})
}

func (s *ruleState) tickNew(at int64) {
	for _, x := range s.series {
		if !x.Told && at-x.Began >= int64(newDay) {
			s.digest(x, at)
		}
	}
	if today := at / int64(day); today != s.Pruned {
		s.Pruned, s.dirty = today, true
		s.prune(today)
	}
}

// digest tells of a service's first day.
func (s *ruleState) digest(x *series, at int64) {
	x.Told, x.changed = true, true
	var b strings.Builder
	fmt.Fprintf(&b, "first day: %s; from now on new ones are told one by one", count(int64(x.Firsts), "kind")+" of lines")
	for _, line := range x.First {
		b.WriteString("\n" + line)
	}
	if more := x.Firsts - len(x.First); more > 0 {
		fmt.Fprintf(&b, "\n… and %d more", more)
	}
	ev := s.event(x, at, x.Began, b.String())
	ev.Level = event.Info
	s.m.matches = append(s.m.matches, match{rule: s.rule, event: ev, fp: digestPrint + strconv.FormatUint(x.hash(), 16), severity: Info})
	x.First, x.Firsts = nil, 0
}

// prune forgets what was not seen for long.
func (s *ruleState) prune(today int64) {
	for h, k := range s.seen {
		if int64(k.day) < today-newForgotten {
			k.series.Kinds--
			delete(s.seen, h)
			s.sighted[h] = true
		}
	}
	for _, x := range s.series {
		switch {
		case x.Kinds == 0 && x.Last/int64(day) < today-newForgotten:
			s.forget(x)
		case x.Exploded && x.Kinds < s.m.e.limits.Patterns/10*9:
			x.Exploded, x.changed = false, true
		}
	}
}

func (s *ruleState) writeSeen(b *bbolt.Bucket) error {
	prefix := append([]byte(s.rule.Name), '|')
	for h := range s.sighted {
		key := binary.BigEndian.AppendUint64(slices.Clone(prefix), h)
		k, known := s.seen[h]
		if !known {
			if err := b.Delete(key); err != nil {
				return err
			}
			continue
		}
		v := binary.BigEndian.AppendUint32([]byte{recordVersion}, uint32(k.day))
		if err := b.Put(key, binary.BigEndian.AppendUint64(v, k.series.hash())); err != nil {
			return err
		}
	}
	return nil
}

// forgetFirsts drops the lines that are kept until the digest of a service's first day. The caller has locked the modes.
func (m *modes) forgetFirsts(tx *bbolt.Tx) error {
	for _, s := range m.states {
		if s != nil {
			for _, x := range s.series {
				x.First = nil
			}
		}
	}
	b := tx.Bucket(bucketSeries)
	if b == nil {
		return nil // a state of before there was one, that no engine has opened since
	}
	changed := map[string]*series{}
	err := b.ForEach(func(k, v []byte) error {
		x := new(series)
		if decode(k, v, x) == nil && x.First != nil {
			x.First = nil
			changed[string(k)] = x
		}
		return nil
	})
	for k, x := range changed {
		err = errors.Join(err, put(b, []byte(k), x))
	}
	return err
}
