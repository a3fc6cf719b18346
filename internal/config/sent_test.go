package config

import (
	"strings"
	"testing"
)

// A configuration that is sent to be tried holds no secret, and reads no file where it arrives.
func TestHide(t *testing.T) {
	const text = `# ours
slack:
  token: xoxb-canary-1 # do not tell
  channel: "#logs"
pushover: {token_file: /etc/canary-2, user: canary-3}
write_token: canary-4
ways:
  pd: {template: pagerduty, token_file: /etc/canary-5}
  own: {template: custom, url: "https://canary-6.example/x", headers: {Authorization: Bearer canary-7, Content-Type: text/plain}, body: "{{.Title}}"}
  ntfy: {template: ntfy, url_file: canary-8, params: {topic: logs}}
rules:
  - name: slow
    query: duration>1s
    channel: "#slow"
`
	sent, err := Hide([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(sent), "canary") {
		t.Errorf("a secret is sent:\n%s", sent)
	}
	c, warnings, err := Parse(sent, func(string) (string, bool) { return "", false })
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%v, %v", warnings, err)
	}
	if c.Slack.Token != hidden || !c.Pushover.On() || len(c.Ways) != 3 || len(c.Rules) == 0 || c.Rules[0].Name != "slow" {
		t.Errorf("what arrives: %+v", c.Rules)
	}
	if c, _, err := Parse([]byte("slack: {token_file: /etc/hostname, channel: '#x'}"), func(string) (string, bool) { return "", false }); err != nil || c.Slack.Token != hidden {
		t.Errorf("a file was read: %q, %v", c.Slack.Token, err)
	}
	if empty, err := Hide(nil); err != nil || len(empty) > 0 {
		t.Errorf("%q, %v", empty, err)
	}
	if _, err := Hide([]byte("a: [")); err == nil {
		t.Error("what is no YAML is taken")
	}
}
