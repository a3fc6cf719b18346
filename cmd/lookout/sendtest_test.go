package main

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/sdk"
)

// withSlack is a server that tells a Slack of ours.
func withSlack(t *testing.T, settings ...string) (*session, *alertingtest.FakeSlack) {
	t.Helper()
	slack := alertingtest.New()
	t.Cleanup(slack.Close)
	settings = append([]string{"LOOKOUT_SLACK_TOKEN", "xoxb-secret-token-1", "LOOKOUT_SLACK_CHANNEL", "#ops", "LOOKOUT_SLACK_API", slack.URL()}, settings...)
	url, token, stop, err := startServer(filepath.Join(t.TempDir(), "data"), settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return newSession(t, url, token), slack
}

func TestAlertsSendTest(t *testing.T) {
	s, slack := withSlack(t, "LOOKOUT_CHANNELS_WARNINGS", "#gone", "LOOKOUT_WAYS", "{again: {template: restart, url: 'http://127.0.0.1:1/'}}")
	slack.Behave(func(c alertingtest.Call) alertingtest.Reply {
		if c.Channel == "#gone" {
			return alertingtest.SlackError("not_in_channel")
		}
		return alertingtest.OK()
	})
	for _, c := range []struct {
		args           string
		code           int
		stdout, stderr string // regular expressions
	}{
		{"alerts send-test", 0, `^CHANNEL +WAY +STATE +WHAT\n#ops +slack +ok +-\n#gone +slack +ok +-\nagain +again +hook +gets no test messages`, `^$`},
		{"alert send-test --json", 0, `^{"channel":"#ops","way":"slack"}\n{"channel":"#gone"`, `^$`},
		{"alert send-test #ops --severity critical --text loud --by ann", 0, `^#ops: accepted, in [0-9.]+[µm]?s, receipt \d+\.\d+\n$`, `^$`},
		{"alerts send-test #gone", 2, `^#gone: destination broken, slack: not_in_channel\n  invite the app: write /invite @lookout in the channel\n$`, `1 channel of 1 did not take the test message`},
		{"alerts send-test #gone -o json", 2, `^{"channel":"#gone","accepted":false,"took_ms":[0-9.]+,"class":"destination broken","code":"not_in_channel",`, ``},
		{"alerts send-test --all --color always", 2, "(?s)^#ops: \x1b\\[32maccepted\x1b\\[m, .*#gone: \x1b\\[1;31mdestination broken", `again is a hook, which a test would set off: left out\n.*1 channel of 2 did not`},
		{"alerts send-test again", 2, `^$`, `channel is a hook, which a test would set off`},
		{"alerts send-test #nowhere", 2, `^$`, `channel is not configured; there are #ops, #gone, again`},
		{"alerts send-test #ops --all", 2, `^$`, `channels or --all, not both`},
		{"alerts send-test #ops --severity loud", 2, `^$`, `severity is none; use critical, error, warning or info`},
		{"__complete alerts send-test #", 0, "#ops\tslack\n#gone\tslack\n:4", ``},
	} {
		s.env["LOOKOUT_COMPLETION_TIMEOUT"] = "5m"
		code, stdout, stderr := s.run("", strings.Fields(c.args)...)
		if code != c.code || !regexp.MustCompile(c.stdout).MatchString(stdout) || !regexp.MustCompile(c.stderr).MatchString(stderr) {
			t.Errorf("%s: %d\n%s\n%s", c.args, code, stdout, stderr)
		}
		if strings.Contains(stdout+stderr, "secret") {
			t.Errorf("%s tells a secret: %s%s", c.args, stdout, stderr)
		}
	}
	sent := slack.Messages("#ops")
	if len(sent) != 2 {
		t.Fatalf("%d messages", len(sent))
	}
	for _, want := range []string{"Test message from lookout: nothing has happened", "loud", "to #ops · severity critical · sent by ann (admin) at "} {
		if !strings.Contains(sent[0].Content(), want) {
			t.Errorf("there is no %q in %s", want, sent[0].Content())
		}
	}
	none := withServer(t)
	if code, _, stderr := none.run("", "alerts", "send-test"); code != 1 || !strings.Contains(stderr, "no channel is configured") {
		t.Errorf("%d %s", code, stderr)
	}
	if code, _, stderr := none.run("", "alerts", "send-test", "#ops"); code != 2 || !strings.Contains(stderr, "channel is not configured, and no other is; set slack.token") {
		t.Errorf("%d %s", code, stderr)
	}
}

func TestAlertsExplain(t *testing.T) {
	s, _ := withSlack(t)
	if code, _, stderr := s.run(`{"service":"shop","level":"error","message":"no stock \u001b[31m"}`+"\n"+`{"service":"shop","level":"info","message":"works"}`+"\n", "send", "-q", "--ndjson", "-"); code != 0 {
		t.Fatal(stderr)
	}
	find := func(text string) string {
		t.Helper()
		code, line, stderr := s.run("", "grep", "-m", "1", "-o", "json", text)
		if code != 0 {
			t.Fatal(stderr)
		}
		return strings.TrimSpace(line)
	}
	id := find("stock")
	for begin := time.Now(); ; { // it is told in a moment
		code, stdout, stderr := s.run("", "alert", "explain", id)
		if code != 0 {
			t.Fatalf("%d %s %s", code, stdout, stderr)
		}
		if strings.Contains(stdout, "errors: told") {
			want := regexp.MustCompile(`(?s)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ shop error: no stock \x1b?\S*\[31m\n` +
				`.*\nerrors: told\n  it opened incident 1: #ops was told\n  query        level>=error .*\n  term         level>=error holds: level is error\n.*` +
				`  fingerprint  p1:[0-9a-f]+\n  incident     1 firing, fires since .*Z, 1 event: \[error\] shop: no stock.*\n  #ops         told at .*Z \(\d+\.\d+\)\n` +
				`.*\nsilent: counted\n.*  series       service shop: silent for .*\n.*\nit is not for the other \d rules; --all says why\n$`)
			if !want.MatchString(stdout) {
				t.Errorf("%q", stdout)
			}
			break
		}
		if time.Since(begin) > 5*time.Minute {
			t.Fatalf("nobody was told: %s", stdout)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if code, stdout, _ := s.run("", "alerts", "explain", "--all", id, "--color", "always"); code != 0 || !strings.Contains(stdout, "\nerrors: \x1b[32mtold\x1b[m\n") || !strings.Contains(stdout, "\nprobes: \x1b[2mno match\x1b[m, stream:probe does not hold: the event has no stream") {
		t.Errorf("%d %q", code, stdout)
	}
	code, stdout, _ := s.run("", "alerts", "explain", "--json", id)
	var x struct {
		Event struct{ Message string }
		Rules []sdk.Verdict
	}
	if err := json.Unmarshal([]byte(stdout), &x); err != nil || code != 0 || x.Event.Message != "no stock \x1b[31m" || len(x.Rules) < 4 || strings.Count(stdout, "\n") != 1 {
		t.Errorf("%d %v %s", code, err, stdout)
	}
	for _, c := range []struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		{[]string{find("works")}, 0, "silent: counted", ""},
		{[]string{"999999"}, 2, "", "there is no event 999999; give the id that a search shows with each event"},
		{[]string{"no"}, 2, "", `"no" is not an event's id`},
		{nil, 2, "", "explain which event?"},
	} {
		code, stdout, stderr := s.run("", append([]string{"alerts", "explain"}, c.args...)...)
		if code != c.code || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%v: %d %s %s", c.args, code, stdout, stderr)
		}
	}
	none := withServer(t)
	none.send("one")
	if code, stdout, _ := none.run("", "alerts", "explain", "1"); code != 1 || !strings.Contains(stdout, "\nno rule is in force\n") {
		t.Errorf("%d %s", code, stdout)
	}
}

// All that an explanation can have is shown, in columns.
func TestExplanationText(t *testing.T) {
	day := time.Date(2026, 11, 21, 14, 0, 0, 0, time.UTC)
	var out strings.Builder
	p := at(day)
	p.stdout = &out
	x := &sdk.Explanation{
		Event: sdk.Event{Time: day, Message: "one\ntwo"}, FirstSeen: day, LastSeen: day.Add(time.Hour), Matched: 2,
		Rules: []sdk.Verdict{
			{Rule: "a", Match: true, Mode: "unexpected", Outcome: string(alerting.FindingExpected), Why: "why", Query: "q", Expected: []sdk.Expectation{{Query: "cron", Author: "ann", Reason: "logins"}}},
			{Rule: "b", Match: true, Mode: "match", Outcome: string(alerting.FindingQuiet), Why: "why\tnot", Query: "q", Fingerprint: "p1:1",
				Incident: &sdk.Alert{ID: 7, State: "acknowledged", By: "ann", Since: day, Count: 1234, Title: "[error] x"},
				Quiet:    []sdk.Quieting{{Kind: "silence", Name: "3", Why: "silenced by ann"}, {Kind: "maintenance", Name: "backup", Past: true, Why: "maintenance"}},
				Channels: []sdk.Standing{{Channel: "#ops", Route: 2, Match: `severity="critical"`, Why: "told", Receipt: "1.2"}, {Channel: "pushover", Why: "waits"}}},
			{Rule: "c", Outcome: string(alerting.FindingNone), Why: "its query does not match", Terms: []string{"level:info does not hold", "x does not hold"}},
			{Rule: "d", Outcome: string(alerting.FindingOwn), Why: "it is lookout's own", Terms: []string{"* holds"}},
		},
	}
	if err := p.explanation(false, true, x); err != nil {
		t.Fatal(err)
	}
	want := `2026-11-21 14:00:00Z -: one
lines of its kind came from 2026-11-21 14:00:00Z to 2026-11-21 15:00:00Z

a: expected
  why
  query     q
  mode      unexpected
  expected  cron, by ann: logins

b: quiet
  why not
  query        q
  fingerprint  p1:1
  incident     7 acknowledged by ann, fires since 2026-11-21 14:00:00Z, 1,234 events: [error] x
  quiet        silence 3: silenced by ann
  quiet        maintenance backup (over): maintenance
  #ops         told (1.2), by route 2 severity="critical"
  pushover     waits

c: no match, level:info does not hold; x does not hold
d: own event, it is lookout's own
`
	if out.String() != want {
		t.Errorf("%s\nwant\n%s", out.String(), want)
	}
}
