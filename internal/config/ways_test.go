package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWays(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "discord")
	if err := os.WriteFile(file, []byte("https://discord.example/api/webhooks/1/"+canary+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, err := load(t, `
ways:
  chat: {template: discord, url_file: `+file+`}
  phones: {template: ntfy, token: `+canary+`, params: {topic: ops}, when: resolved}
  restarts:
    template: restart
    url: http://docker:2375/containers/{{ .Labels.container }}/restart
    headers: {X-Key: Basic `+canary+`}
    allow: [169.254.7.0/24]
  mail: {type: email, server: smtp.example, from: lookout@example.com, to: "a@example.com, b@example.com", user: u, password_file: `+file+`}
channels: {errors: chat, warnings: phones}
rules:
- {name: down, query: "stream:docker", channel: restarts}
- {name: paged, query: x, channel: pushover}
pushover: {token: p, user: u}
`)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(c.Ways["chat"].URL); got != "https://discord.example/api/webhooks/1/"+canary {
		t.Errorf("the file's address came as %q", got)
	}
	if o := c.Ways["restarts"].Webhook("restarts"); o.Headers["X-Key"] != "Basic "+canary || len(o.Allow) != 1 || !strings.Contains(o.URL, "{{ .Labels.container }}") {
		t.Errorf("%+v", o)
	}
	if o := c.Ways["phones"].Webhook("phones"); o.Params["topic"] != "ops" || len(o.When) != 1 || o.Token != canary {
		t.Errorf("%+v", o)
	}
	if o := c.Ways["mail"].Email("mail"); len(o.To) != 2 || o.To[1] != "b@example.com" || !strings.Contains(o.Password, canary) {
		t.Errorf("%+v", o)
	}
	for _, to := range []Channel{"chat", "phones", "restarts", "mail", "pushover"} {
		if !c.Tells(to) {
			t.Errorf("%s tells nobody", to)
		}
	}
	if c.Tells("#x") || c.Tells("") || c.Tells("elsewhere") {
		t.Error("a channel tells somebody without a way out")
	}
	if text := fmt.Sprintf("%v %+v %#v", c.Ways, c.Ways, c.Ways); strings.Contains(text, canary) {
		t.Error("a secret is printed")
	}
	// The variable takes the place of all of the file's.
	c, _, err = load(t, "ways: {a: {url_file: "+file+"}, b: {url: 'http://b.example'}}", "LOOKOUT_WAYS", "{c: {url_file: "+file+"}}")
	if err != nil || len(c.Ways) != 1 || c.Ways["c"].URL == "" {
		t.Errorf("%v, %v", c, err)
	}
}

func TestWrongWays(t *testing.T) {
	for text, want := range map[string]string{
		"ways: {a: {}}": "lookout.yaml:1: ways.a.url: template generic needs an address: set url, or url_file; docs/ways.md has examples",
		"ways: {a: {template: teamz, url: 'http://x.example'}}":                                                           `lookout.yaml:1: ways.a.template: "teamz": is not one of its values; did you mean teams?`,
		"ways:\n  a:\n    template: custom\n    url: http://x.example\n    body: '{\"a\": {{.Title}}}'":                   "lookout.yaml:5: ways.a.body: ",
		"ways:\n  a:\n    template: custom\n    url: http://x.example\n    boddy: x":                                      "lookout.yaml:5: ways.a.boddy: there is no such setting; did you mean body?",
		"ways: {m: {type: email, server: smtp.example, from: a@b.c, to: x}}":                                              "lookout.yaml:1: ways.m.to: \"x\" is not a mail address: write it as ops@example.com",
		"ways: {m: {type: email, server: smtp.example, from: a@b.c, to: x@y.z, url: 'http://x'}}":                         "ways.m.url: is a webhook's, and this is type: email: take it out",
		"ways: {m: {url: 'http://x.example', to: x@y.z}}":                                                                 "ways.m.to: is email's, and this is a webhook: add type: email, or take it out",
		"ways: {'#a': {url: 'http://x.example'}}":                                                                         "is not a way's name",
		"ways: {pushover: {url: 'http://x.example'}}":                                                                     "the name means a channel of Slack or Pushover; use another",
		"ways: {C12: {url: 'http://x.example'}}":                                                                          "the name means a channel of Slack or Pushover; use another",
		"ways: {a: {url: 'http://x.example " + canary + "'}}":                                                             "ways.a.url: is not one word",
		"ways: {phones: {template: ntfy, params: {topic: x}}}\nchannels: {errors: phone}":                                 `lookout.yaml:2: channels.errors: "phone": there is no way out of this name; did you mean phones?`,
		"rules: [{name: a, query: x, channel: ops}]":                                                                      `lookout.yaml:1: rules[0].channel: "ops": there is no way out of this name; write a channel of Slack as "#ops", or add ways.ops`,
		"ways: {a: {template: restart, url: 'http://x.example'}}\nrules: [{name: a, query: x, channel: a, notify: each}]": "it acts once an incident, and notify: each makes none",
	} {
		_, _, err := load(t, text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("a secret is told: %v", err)
		}
	}
}
