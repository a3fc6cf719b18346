package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// timeForms is what an error about a time says one may write.
const timeForms = "write 15m, 1h30m, 3d, 2h ago, today, yesterday 14:00, 14:05, 2026-10-01, 2026-10-01 14:05, RFC 3339, or unix seconds"

// parseTime reads a point in time as people write it on a command line. What is not a duration or does not carry an
// offset is in loc.
func parseTime(text string, now time.Time, loc *time.Location) (time.Time, error) {
	now = now.In(loc)
	s := strings.Join(strings.Fields(text), " ")
	day, clock, _ := strings.Cut(strings.ToLower(s), " ")
	switch day {
	case "now":
		if clock == "" {
			return now, nil
		}
	case "today", "yesterday":
		at := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, loc)
		if day == "yesterday" {
			at = at.AddDate(0, 0, -1)
		}
		if clock == "" {
			return at, nil
		}
		if t, ok := onDay(clock, at); ok {
			return t, nil
		}
	}
	if ago, ok := parseAgo(strings.ToLower(s)); ok {
		return now.Add(-ago), nil
	}
	if t, ok := onDay(s, now); ok {
		return t, nil
	}
	if t, ok := parseUnix(s); ok {
		return t.In(loc), nil
	}
	date := strings.Replace(strings.ToUpper(s), "T", " ", 1)
	for _, layout := range [...]string{"2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05 Z07:00", "2006-01-02 15:04:05 -0700", "2006-01-02 15:04Z07:00"} {
		if t, err := time.Parse(layout, date); err == nil {
			return t, nil
		}
	}
	for _, layout := range [...]string{"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, date, loc); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time; %s", text, timeForms)
}

// onDay reads 14:05, 14:05:06 or 14:05:06.789 on the day of at.
func onDay(s string, at time.Time) (time.Time, bool) {
	for _, layout := range [...]string{"15:04", "15:04:05"} {
		if t, err := time.Parse(layout, s); err == nil {
			return time.Date(at.Year(), at.Month(), at.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), at.Location()), true
		}
	}
	return time.Time{}, false
}

// units of a duration, longest spelling first where one begins another.
var units = []struct {
	name string
	unit time.Duration
}{
	{"ns", time.Nanosecond}, {"us", time.Microsecond}, {"µs", time.Microsecond}, {"ms", time.Millisecond},
	{"seconds", time.Second}, {"second", time.Second}, {"sec", time.Second}, {"s", time.Second},
	{"minutes", time.Minute}, {"minute", time.Minute}, {"min", time.Minute}, {"m", time.Minute},
	{"hours", time.Hour}, {"hour", time.Hour}, {"hr", time.Hour}, {"h", time.Hour},
	{"days", 24 * time.Hour}, {"day", 24 * time.Hour}, {"d", 24 * time.Hour},
	{"weeks", 7 * 24 * time.Hour}, {"week", 7 * 24 * time.Hour}, {"w", 7 * 24 * time.Hour},
}

// parseAgo reads a duration back from now: 15m, -15m, 1h30m, 1.5h, 2h ago, 10 minutes ago, 1 hour.
func parseAgo(s string) (time.Duration, bool) {
	s = strings.ReplaceAll(strings.TrimSuffix(s, " ago"), " ", "")
	s = strings.TrimPrefix(s, "-")
	if s == "" {
		return 0, false
	}
	var sum float64
	for s != "" {
		n := 0
		for n < len(s) && (s[n] >= '0' && s[n] <= '9' || s[n] == '.') {
			n++
		}
		value, err := strconv.ParseFloat(s[:n], 64)
		if err != nil {
			return 0, false
		}
		s = s[n:]
		found := false
		for _, u := range units {
			if rest, ok := strings.CutPrefix(s, u.name); ok {
				sum += value * float64(u.unit)
				s, found = rest, true
				break
			}
		}
		if !found || sum > float64(200*365*24*time.Hour) {
			return 0, false
		}
	}
	return time.Duration(sum), true
}

// parseUnix reads seconds, milli-, micro- or nanoseconds since 1970, told apart by their size (seconds from 1973 on, so
// that a forgotten unit, 15 for 15m, is no time).
func parseUnix(s string) (time.Time, bool) {
	whole, fraction, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n < 1e8 {
		return time.Time{}, false
	}
	var ns int64
	for i := range 9 {
		ns *= 10
		if i < len(fraction) {
			if fraction[i] < '0' || fraction[i] > '9' {
				return time.Time{}, false
			}
			ns += int64(fraction[i] - '0')
		}
	}
	switch {
	case n < 1e11:
		return time.Unix(n, ns), true
	case n < 1e14:
		return time.UnixMilli(n).Add(time.Duration(ns / 1e3)), true
	case n < 1e17:
		return time.UnixMicro(n).Add(time.Duration(ns / 1e6)), true
	}
	return time.Unix(0, n), true
}

// timeRange is the part of time a command looks at; a zero time leaves that side open.
type timeRange struct{ since, until time.Time }

// defaultRange is how far back a search looks when nothing else is said.
const defaultRange = time.Hour

// parseRange reads --since and --until; an empty since is an hour before the end, unless all.
func parseRange(since, until string, all bool, now time.Time, loc *time.Location) (r timeRange, err error) {
	end := now
	if until != "" {
		if r.until, err = parseTime(until, now, loc); err != nil {
			return r, fmt.Errorf("--until: %w", err)
		}
		end = r.until
	}
	switch {
	case all && since != "":
		return r, fmt.Errorf("--all and --since do not go together")
	case all:
		return r, nil
	case since == "":
		r.since = end.Add(-defaultRange)
	default:
		if r.since, err = parseTime(since, now, loc); err != nil {
			return r, fmt.Errorf("--since: %w", err)
		}
	}
	if !r.since.Before(end) {
		const layout = "2006-01-02 15:04:05"
		return r, fmt.Errorf("the range is empty: since %s is not before until %s", r.since.In(loc).Format(layout), end.In(loc).Format(layout))
	}
	return r, nil
}

// parseZone returns the zone for reading and printing times: --utc, --tz, or the machine's.
func parseZone(tz string, utc bool) (*time.Location, error) {
	switch {
	case utc && tz != "":
		return nil, fmt.Errorf("--utc and --tz do not go together")
	case utc:
		return time.UTC, nil
	case tz == "":
		return time.Local, nil
	}
	loc, err := time.LoadLocation(tz)
	if err != nil {
		return nil, fmt.Errorf("--tz: %q is not a time zone; write it like Europe/Berlin", tz)
	}
	return loc, nil
}
