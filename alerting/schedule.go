package alerting

import (
	"fmt"
	"strings"
	"time"
)

// Schedule is a time that comes again: on some days, from one time of day to another, in a time zone. One that ends
// before it begins goes on over midnight, and its day is the one it begins on. The same begin and end is a whole day.
type Schedule struct {
	Days     []time.Weekday // none: every day
	From, To time.Duration  // since midnight, in whole minutes, at most 24 h
	Zone     *time.Location // nil: UTC
}

// ParseSchedule reads a schedule as people write it: days such as "mon-fri" or "sat, sun", or empty for every day; times
// such as 22:00 and 7:30; a zone such as Europe/Berlin, or empty for UTC.
func ParseSchedule(days, from, to, zone string) (Schedule, error) {
	var s Schedule
	var err error
	if s.Days, err = parseDays(days); err != nil {
		return Schedule{}, err
	}
	if s.From, err = parseTimeOfDay("from", from); err != nil {
		return Schedule{}, err
	}
	if s.To, err = parseTimeOfDay("to", to); err != nil {
		return Schedule{}, err
	}
	if zone == "" {
		zone = "UTC"
	}
	if s.Zone, err = time.LoadLocation(zone); err != nil || zone == "Local" {
		return Schedule{}, fmt.Errorf("zone %q is not known: write it as Europe/Berlin or UTC", zone)
	}
	return s, nil
}

func parseDays(text string) ([]time.Weekday, error) {
	day := func(word string) (time.Weekday, error) {
		word = strings.ToLower(strings.TrimSpace(word))
		for d := time.Sunday; d <= time.Saturday; d++ {
			if name := strings.ToLower(d.String()); len(word) >= 3 && strings.HasPrefix(name, word) {
				return d, nil
			}
		}
		return 0, fmt.Errorf("%q is not a day: write days as mon-fri or sat, sun", word)
	}
	var days []time.Weekday
	for part := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		first, last, isRange := strings.Cut(part, "-")
		from, err := day(first)
		if err != nil {
			return nil, err
		}
		to := from
		if isRange {
			if to, err = day(last); err != nil {
				return nil, err
			}
		}
		for d := from; ; d = (d + 1) % 7 {
			days = append(days, d)
			if d == to {
				break
			}
		}
	}
	return days, nil
}

func parseTimeOfDay(what, text string) (time.Duration, error) {
	if text == "24:00" {
		return 24 * time.Hour, nil
	}
	t, err := time.Parse("15:04", text)
	if err != nil {
		return 0, fmt.Errorf("%s %q is not a time of day: write it as 22:00", what, text)
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, nil
}

// on returns the time that begins on a day; it is false when there is none. A time of day that a change of clocks leaves
// out is the one an hour later.
func (s *Schedule) on(year int, month time.Month, day int) (from, to time.Time, ok bool) {
	zone := s.Zone
	if zone == nil {
		zone = time.UTC
	}
	at := func(day int, d time.Duration) time.Time {
		return time.Date(year, month, day, int(d/time.Hour), int(d%time.Hour/time.Minute), 0, 0, zone)
	}
	ok = len(s.Days) == 0
	for _, d := range s.Days {
		ok = ok || d == time.Date(year, month, day, 12, 0, 0, 0, zone).Weekday()
	}
	from, to = at(day, s.From), at(day, s.To)
	if s.To <= s.From {
		to = at(day+1, s.To)
	}
	return from, to, ok
}

// during tells whether t lies within the schedule, and until when that goes on, times that meet taken together.
func (s *Schedule) during(t time.Time) (until time.Time, ok bool) {
	until = t
	local := t
	if s.Zone != nil {
		local = t.In(s.Zone)
	} else {
		local = t.UTC()
	}
	year, month, day := local.Date()
	for d := day - 1; d <= day+7; d++ {
		from, to, on := s.on(year, month, d)
		if on && !from.After(until) && to.After(until) {
			until = to
		}
	}
	return until, until.After(t)
}

// next returns when the schedule next begins or ends after t; zero when it never does.
func (s *Schedule) next(t time.Time) time.Time {
	if until, ok := s.during(t); ok {
		return until
	}
	zone := s.Zone
	if zone == nil {
		zone = time.UTC
	}
	year, month, day := t.In(zone).Date()
	for d := day; d <= day+8; d++ {
		if from, _, on := s.on(year, month, d); on && from.After(t) {
			return from
		}
	}
	return time.Time{}
}
