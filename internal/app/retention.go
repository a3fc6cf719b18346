package app

import (
	"cmp"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/lookoutlog/lookout/index"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/config"
	"github.com/lookoutlog/lookout/internal/event"
)

// retention is what the configuration says of how long events are kept.
func retention(c *config.Retention) index.Retention {
	r := index.Retention{Age: time.Duration(c.Default), MaxBytes: int64(c.MaxBytes), Classes: map[string]index.ClassRetention{}}
	for name, age := range c.Classes {
		r.Classes[name] = index.ClassRetention{Age: time.Duration(age)}
	}
	for name, most := range c.ClassBytes {
		rules := r.Class(name)
		rules.MaxBytes = int64(most)
		r.Classes[name] = rules
	}
	return r
}

// classify returns what tells the class of an event: the first rule that matches, else the service's name, else the longest glob that
// it matches. It is nil when all events are of the default class.
func classify(c *config.Retention) func(service string) (string, func(*event.Event) string) {
	if len(c.Services) == 0 && len(c.Rules) == 0 {
		return nil
	}
	type named struct{ glob, class string }
	var globs []named
	for glob, class := range c.Services {
		globs = append(globs, named{glob, class})
	}
	slices.SortFunc(globs, func(a, b named) int { return cmp.Or(len(b.glob)-len(a.glob), cmp.Compare(a.glob, b.glob)) })
	byName := func(service string) string {
		if class, ok := c.Services[service]; ok {
			return class
		}
		for _, n := range globs {
			// A slash is nothing special in a service's name.
			if ok, err := path.Match(strings.ReplaceAll(n.glob, "/", "\x00"), strings.ReplaceAll(service, "/", "\x00")); ok && err == nil {
				return n.class
			}
		}
		return segment.DefaultClass
	}
	return func(service string) (string, func(*event.Event) string) {
		rest := byName(service)
		var rules []config.RetentionRule // that may match an event of the service
		for _, r := range c.Rules {
			if r.Query.MatchesAllOf([]byte(service)) {
				rest = r.Class
				break
			}
			if r.Query.MayMatchService([]byte(service)) {
				rules = append(rules, r)
			}
		}
		if len(rules) == 0 {
			return rest, nil
		}
		return "", func(e *event.Event) string {
			for _, r := range rules {
				if r.Query.Match(e) {
					return r.Class
				}
			}
			return rest
		}
	}
}

// passed returns the sequence up to which every event has been read by whoever must read all of them: the rules. Until it is known
// whether there are any, that is none.
func (a *App) passed() uint64 {
	if fn := a.readers.Load(); fn != nil {
		return (*fn)()
	}
	return 0
}

// readersAreKnown is called when all that reads the store has been opened.
func (a *App) readersAreKnown() {
	fn := func() uint64 { return math.MaxUint64 }
	if a.engine != nil {
		fn = a.engine.Position
	}
	a.readers.Store(&fn)
}

// Kept says in words how long events are kept; nothing in an agent.
func (a *App) Kept() string {
	if a.store == nil {
		return ""
	}
	info := a.store.Retention()
	text := "for ever"
	if age := info.Classes[0].Age; age > 0 { // the default class comes first
		text = fmt.Sprintf("%.4g days", age.Hours()/24)
	}
	if info.MaxBytes > 0 {
		text += fmt.Sprintf(", at most %.3g GB", float64(info.MaxBytes)/1e9)
	}
	return text + "; lookout retention says more"
}
