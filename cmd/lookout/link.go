package main

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// link returns the address of the page with this search: the query as one text, the range as it was given, relative or not.
func (s *search) link(address string, since, until string, all bool) string {
	var parts []string
	add := func(name, value string) {
		value = url.QueryEscape(value)
		for _, plain := range []string{":", ","} { // as the page writes it
			value = strings.ReplaceAll(value, url.QueryEscape(plain), plain)
		}
		parts = append(parts, name+"="+value)
	}
	if text := s.query.String(); text != "*" {
		add("q", text)
	}
	switch {
	case all:
		add("since", "all")
	case since != "":
		add("since", linkTime(since, s.request.Since))
	case until != "": // an hour before it
		if ago, ok := linkAgo(until); ok {
			add("since", agoText(ago+defaultRange))
		} else {
			add("since", linkTime("", s.request.Since))
		}
	}
	if until != "" {
		add("until", linkTime(until, s.request.Until))
	}
	if s.follow {
		add("live", "1")
	}
	if !s.request.NoReports {
		add("reports", "1")
	}
	address = strings.TrimSuffix(address, "/") + "/"
	if len(parts) == 0 {
		return address
	}
	return address + "?" + strings.Join(parts, "&")
}

// linkTime is one end of a range for the page: a duration back, or a point in time.
func linkTime(text string, at time.Time) string {
	if ago, ok := linkAgo(text); ok {
		return agoText(ago)
	}
	return at.UTC().Format(time.RFC3339Nano)
}

// linkAgo reads a duration back that the page can take.
func linkAgo(text string) (time.Duration, bool) {
	ago, ok := parseAgo(strings.ToLower(strings.Join(strings.Fields(text), " ")))
	return ago, ok && ago > 0 && ago%time.Millisecond == 0
}

// agoText is a duration in the units that the page knows.
func agoText(ago time.Duration) string {
	var b strings.Builder
	for _, u := range []struct {
		name string
		unit time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}} {
		if u.name == "d" && ago%u.unit != 0 {
			continue // 36h, not 1d12h
		}
		if n := ago / u.unit; n > 0 {
			b.WriteString(strconv.FormatInt(int64(n), 10) + u.name)
			ago -= n * u.unit
		}
	}
	return b.String()
}

// printLink prints the address of the page.
func (p *program) printLink(s *search, f *grepFlags) error {
	to, err := p.connect()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.stdout, s.link(to.address, f.since, f.until, f.all))
	return err
}
