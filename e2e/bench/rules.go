package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/e2e/internal/peer"
	"github.com/lookoutlog/lookout/internal/loadgen"
)

const (
	// rulesTurns is how often each of the two servers is measured, in turn.
	rulesTurns = 2
	// rulesWarm is for how long events come in before the measured time.
	rulesWarm = 5 * time.Second
	// rulesDrained is how long the rules may take for the last events.
	rulesDrained = time.Minute
)

// loadServices are the services of the load, see package loadgen: those in front talk much more than those behind.
var loadServices = []string{
	"accesslog", "android", "apache", "bgl", "hadoop", "hdfs", "healthapp", "hpc", "linux", "mac", "openssh", "openstack", "proxifier", "spark", "thunderbird", "windows", "zookeeper",
}

// ruleConfig are a rule's settings as a file has them.
type ruleConfig map[string]any

// realRules are n rules as a team has them, of all modes and all kinds of conditions: a hundred, and then these again under other names.
// A sixth of the load's events match some of them, so that counts go up all the time.
func realRules(n int) []ruleConfig {
	words := []string{
		`"out of memory"`, `"connection refused"`, `"no space left on device"`, `panic`, `Traceback`, `segfault`, `deadlock`, `"permission denied"`, `"Failed password"`, `timeout`,
		`"parity error"`, `~"(?i)certificate .*expire"`, `~"HTTP/1\.[01]\" 50[0-9]"`, `~"user=root$"`, `"Invalid user" -admin`, `"too many open files"`,
	}
	fields := []ruleConfig{
		{"query": "status>=500 duration_ms>400", "severity": "warning"}, {"query": "status:401 user:u1", "severity": "info"},
		{"query": "status:503", "mode": "rate", "above": 1000, "by": []string{"service", "host"}}, {"query": "status>=400", "mode": "spike", "by": []string{"service"}},
		{"query": "duration_ms>250", "mode": "rate", "above": 500, "window": "1m"}, {"query": "status:(200, 201, 204)", "mode": "rate", "below": 10, "window": "1m", "by": []string{"service"}},
		{"query": "status:*", "mode": "absent", "after": "5m", "by": []string{"host"}}, {"query": "level>=critical", "severity": "critical"},
	}
	var all []ruleConfig
	for i, service := range loadServices {
		of := func(text string) string { return "service:" + service + " " + text }
		all = append(all,
			ruleConfig{"query": of("level>=error")},
			ruleConfig{"query": of("level>=warning"), "mode": "new"},
			ruleConfig{"query": of("level>=error"), "mode": "rate", "above": 2000, "window": "1m", "by": []string{"host"}, "severity": "critical"},
		)
		if i < len(words) {
			all = append(all, ruleConfig{"query": words[i], "severity": []string{"critical", "error", "warning"}[i%3]})
		}
		if i < len(fields) {
			all = append(all, fields[i])
		}
		switch {
		case i%2 == 0:
			all = append(all, ruleConfig{"query": of("level>=warning"), "mode": "spike", "by": []string{"host", "level"}})
		default:
			all = append(all, ruleConfig{"query": of("level>=warning"), "mode": "unexpected", "expect": []any{
				"authentication", `"connection closed"`, "interrupted", `~"(?i)worker ?env"`, "temperature", ruleConfig{"query": "renew lease", "author": "ann", "reason": "known"},
			}})
		}
		if i < 8 {
			all = append(all, ruleConfig{"query": of(""), "mode": "absent", "after": "2m"})
		}
	}
	var list []ruleConfig
	for i := range n {
		rule := maps.Clone(all[i%len(all)])
		rule["name"], rule["channel"] = fmt.Sprintf("rule-%d", i), fmt.Sprintf("#team-%d", i%20)
		list = append(list, rule)
	}
	return list
}

// rulesRun is what was measured of one server.
type rulesRun struct {
	cores   float64 // CPU time in wall time
	perM    float64 // CPU-s per million events
	rate    float64 // events a second
	rss     int64   // RssAnon at most
	matched float64 // by all rules
	calls   int     // at Slack
}

// rules: what so many rules cost, in alternating runs without and with, by CPU time at the same rate.
func (b *bench) rules(dir string, n int, span time.Duration, rate int) error {
	var sums [2]rulesRun // without, with
	for turn := range rulesTurns {
		for which := range sums {
			got, err := b.rulesRun(filepath.Join(dir, fmt.Sprintf("rules-%d-%d", turn, which)), which*n, span, rate)
			if err != nil {
				return err
			}
			sums[which].cores += got.cores / rulesTurns
			sums[which].perM += got.perM / rulesTurns
		}
	}
	b.lines.Line("Rules/more", 1, "cores", sums[1].cores-sums[0].cores)
	b.report("rules: more", "%.3f cores more with %d rules than without at %d events/s (goal 0.5); %.2f CPU-s per million events (means of %d turns)",
		sums[1].cores-sums[0].cores, n, rate, sums[1].perM-sums[0].perM, rulesTurns)
	return nil
}

// rulesRun sends events to a server of its own with n rules, all of which are in force, and a Slack that answers.
func (b *bench) rulesRun(dir string, n int, span time.Duration, rate int) (r rulesRun, err error) {
	slack := alertingtest.New()
	defer slack.Close()
	if n > 0 {
		config, err := json.Marshal(map[string]any{"slack": map[string]any{"api": slack.URL(), "token": "xoxb-bench"}, "rules": realRules(n)}) // which is YAML too
		if err != nil {
			return r, err
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return r, err
		}
		if err := os.WriteFile(filepath.Join(dir, "lookout.yaml"), config, 0o600); err != nil {
			return r, err
		}
	}
	s, err := peer.StartLookout(b.ctx, b.binary, dir)
	if err != nil {
		return r, err
	}
	defer s.Stop()
	// What happened over an hour ago counts for no rate: these happen now.
	events := newFeed(loadgen.Options{Seed: 3, Start: time.Now().UnixNano(), Step: int64(time.Second) / int64(rate)})
	events.rate = rate
	if err := s.InsertFrom(b.ctx, events.until(int(rulesWarm.Seconds()*float64(rate))), 4); err != nil {
		return r, err
	}
	before, err := s.Metrics(b.ctx)
	if err != nil {
		return r, err
	}
	if n > 0 && before["lookout_alerting_rules"] < float64(n) {
		return r, fmt.Errorf("%d rules were configured, %.0f are in force", n, before["lookout_alerting_rules"])
	}
	peak := s.Peak()
	defer peak()
	others := otherPrograms(s)
	made, used, begin := events.made.Load(), s.CPU(), time.Now()
	if err := s.InsertFrom(b.ctx, events.until(int(made)+int(span.Seconds()*float64(rate))), 4); err != nil {
		return r, err
	}
	// What the rules are behind with is work of this time too.
	after := before
	for ended := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if after, err = s.Metrics(b.ctx); err != nil {
			return r, err
		}
		if after["lookout_alerting_lag_events"] == 0 {
			break
		}
		if time.Since(ended) > rulesDrained {
			return r, fmt.Errorf("the rules are %.0f events behind after %v", after["lookout_alerting_lag_events"], rulesDrained)
		}
	}
	wall, sent := time.Since(begin).Seconds(), float64(events.made.Load()-made)
	cpu := (s.CPU() - used).Seconds()
	for name, v := range after {
		if strings.HasPrefix(name, "lookout_alerting_matched_total{") {
			r.matched += v - before[name]
		}
	}
	r.cores, r.perM, r.rate, r.rss, r.calls = cpu/wall, cpu/sent*1e6, sent/wall, peak(), len(slack.Calls())
	if n > 0 && (r.matched == 0 || r.calls == 0) {
		return r, fmt.Errorf("the rules matched %.0f events, and made %d calls: they did nothing", r.matched, r.calls)
	}
	b.lines.Line(fmt.Sprintf("Rules/rules=%d", n), int(sent), "cpu-ns/op", r.perM*1e3, "cores", r.cores, "peak-anon-B", float64(r.rss))
	b.report(fmt.Sprintf("rules: %d", n), "%.3f cores, %.2f CPU-s per million, at %.0f events/s for %.0f s; RssAnon at most %d MB; %.0f matches of %.0f events, %d calls at Slack; other programs took %.0f %% of the machine",
		r.cores, r.perM, r.rate, wall, r.rss/1_000_000, r.matched, sent, r.calls, others())
	return r, nil
}
