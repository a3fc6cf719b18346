package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/internal/config"
)

// check prints no secret, whether the configuration is good or every setting is wrong in some way: a canary is in each that has a file
// of its own (NAME_file), which only secrets have.
func TestCheckTellsNoSecret(t *testing.T) {
	files := map[string]bool{}
	for _, s := range config.Settings() {
		files[s.Name] = true
	}
	env := map[string]string{"LOOKOUT_SLACK_CHANNEL": "#x"}
	var canaries []string
	for i, s := range config.Settings() {
		if s.Env == "" || s.Name == "" || !files[s.Name+"_file"] {
			continue
		}
		canary := fmt.Sprintf("canary%02dQx7Jm2Vt9LpZk4WdA1B2C3", i)
		canaries = append(canaries, canary)
		switch env[s.Env] = canary; s.Name {
		case "slack.app_token":
			env[s.Env] = "xapp-" + canary
		case "heartbeat.url":
			env[s.Env] = "https://hc.example/" + canary
		}
	}
	if len(canaries) < 9 {
		t.Fatalf("%d secrets: the settings are not what they were", len(canaries))
	}
	const way, header, password = "canaryWayQx7Jm2Vt9Lp", "canaryHeaderQx7Jm2Vt9Lp", "canaryPasswordQx7Jm2Vt9Lp"
	canaries = append(canaries, way, header, password)
	file := filepath.Join(t.TempDir(), "lookout.yaml")
	write := func(url, more string) {
		t.Helper()
		text := "ways:\n  hook: {url: '" + url + "', token: " + way + ", headers: {X-Key: Basic " + header + "}}\n" +
			"  mail: {type: email, server: smtp.example, from: a@b.c, to: a@b.c, user: u, password: " + password + "}\n" +
			"probes: [{name: shop, url: 'https://shop.example/', headers: {Authorization: Bearer " + header + "}}]\n" + more
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := &session{t: t, env: env}
	told := func(want int, args ...string) {
		t.Helper()
		code, stdout, stderr := s.run("", args...)
		if code != want {
			t.Errorf("%q: exit %d: %s", args, code, stderr)
		}
		for _, canary := range canaries {
			if strings.Contains(stdout+stderr, canary[:14]) {
				t.Errorf("%q tells %.12s…: %s%s", args, canary, stdout, stderr)
			}
		}
	}
	write("https://hook.example/"+way, "")
	told(0, "check", file)
	told(0, "check", "--config", file, "--route", "severity=critical")
	write("https://hook.example/{{."+way, "rules: [{name: a, query: '(', channel: nowhere}]\n")
	told(2, "check", file)
	write(way, "data: [1]\nnothing: 1\n")
	for name, value := range env {
		if name != "LOOKOUT_SLACK_CHANNEL" {
			env[name] = value + " \x00 x"
		}
	}
	told(2, "check", file)
}
