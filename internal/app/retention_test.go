package app

import (
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lookoutlog/lookout/index"
	"github.com/lookoutlog/lookout/internal/config"
	"github.com/lookoutlog/lookout/internal/event"
)

func retentionConfig(t *testing.T, text string) *config.Retention {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lookout.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, warnings, err := config.Load(path, func(string) (string, bool) { return "", false })
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	return &c.Retention
}

func TestRetentionOfTheConfiguration(t *testing.T) {
	const day = 24 * time.Hour
	got := retention(retentionConfig(t, `
retention:
  max_bytes: 200GB
  classes: { audit: 1y }
  class_bytes: { audit: 50GB, default: 10GB, rollup: 1GB }
`))
	want := index.Retention{Age: 30 * day, MaxBytes: 200e9, Classes: map[string]index.ClassRetention{
		"audit": {Age: 365 * day, MaxBytes: 50e9}, "default": {Age: 30 * day, MaxBytes: 10e9}, "rollup": {Age: 400 * day, MaxBytes: 1e9},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(index.Retention{Age: 30 * day, Classes: map[string]index.ClassRetention{}}, retention(retentionConfig(t, ""))); diff != "" {
		t.Error(diff)
	}
}

func TestClassify(t *testing.T) {
	if classify(retentionConfig(t, "retention: {classes: {audit: 1y}}")) != nil {
		t.Error("events are looked at where all are of one class")
	}
	fn := classify(retentionConfig(t, `
retention:
  classes: { audit: 1y, debug: 3d, short: 1d }
  services: { "pay*": audit, "pay-test*": short, pay-test-2: default, "*/x": rollup }
  rules:
    - { query: 'level:debug service:pay*', class: debug }
    - { query: 'service:all-*', class: short }
    - { query: 'action:login', class: audit }
`))
	for _, c := range []struct {
		service, message, action string
		level                    event.Level
		want                     string
		alone                    bool // the service decides
	}{
		{service: "shop", want: "default"},
		{service: "shop", action: "login", want: "audit"},
		{service: "pay", want: "audit"},
		{service: "pay-test-1", want: "short"},
		{service: "pay-test-2", want: "default"},
		{service: "pay-test-2", level: event.Debug, want: "debug"},
		{service: "pay-test-2", level: event.Debug, action: "login", want: "debug"},
		{service: "shop", level: event.Debug, want: "default"},
		{service: "team/x", want: "rollup"},
		{service: "team/y", want: "default"},
		{service: "all-1", action: "login", want: "short", alone: true},
	} {
		class, each := fn(c.service)
		if c.alone != (each == nil) {
			t.Errorf("%s: decided by its name: %v", c.service, each == nil)
		}
		if each != nil {
			e := event.Event{Service: []byte(c.service), Message: []byte(c.message), Level: c.level}
			if c.action != "" {
				e.Fields = []event.Field{{Name: []byte("action"), Value: []byte(c.action)}}
			}
			class = each(&e)
		}
		if class != c.want {
			t.Errorf("%+v: %s", c, class)
		}
	}
	names := classify(retentionConfig(t, `retention: {classes: {audit: 1y}, services: {"pay*": audit}}`))
	for service, want := range map[string]string{"pay": "audit", "shop": "default"} {
		if class, each := names(service); class != want || each != nil {
			t.Errorf("%s: %s", service, class)
		}
	}
}

func TestReloadOfRetention(t *testing.T) {
	a := start(t, options(t, map[string]string{"LOOKOUT_SLACK_TOKEN": "xoxb-test", "LOOKOUT_SLACK_CHANNEL": "#x", "LOOKOUT_SLACK_API": "http://127.0.0.1:1/"}))
	c := *a.o.Config
	c.Retention = *retentionConfig(t, "retention: {default: 3d, max_bytes: 5GB, classes: {audit: 1y}}")
	if err := a.Reload(&c); err != nil {
		t.Fatal(err)
	}
	const want = "3 days, at most 5 GB; lookout retention says more"
	if got := a.Kept(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	// Rules that cannot be put in force leave all as it was.
	c.Retention = *retentionConfig(t, "retention: {default: 1d}")
	c.Rules = append(c.Rules, c.Rules[0])
	if err := a.Reload(&c); err == nil {
		t.Error("two rules of one name are taken")
	}
	if got := a.Kept(); got != want {
		t.Errorf("after a refused configuration: %s, want %s", got, want)
	}
	agent := start(t, options(t, map[string]string{"LOOKOUT_FORWARD_URL": "http://127.0.0.1:1", "LOOKOUT_FORWARD_TOKEN": "w-1", "LOOKOUT_GELF": ""}))
	if err := agent.Reload(&c); err != nil || agent.Kept() != "" {
		t.Errorf("an agent keeps %q: %v", agent.Kept(), err)
	}
}

// Retention waits for the rules, where there are any, and for nobody before that is known.
func TestPassed(t *testing.T) {
	if got := new(App).passed(); got != 0 {
		t.Errorf("before anything is open: %d", got)
	}
	a := start(t, options(t, nil))
	if got := a.passed(); got != math.MaxUint64 {
		t.Errorf("without rules: %d", got)
	}
	if got := a.Kept(); !strings.HasPrefix(got, "30 days") {
		t.Error(got)
	}
	code, body := get(t, a, "/api/v1/retention", true)
	if code != http.StatusOK || !strings.Contains(body, `"kept_for_seconds":2592000`) {
		t.Errorf("%d %s", code, body)
	}
	a = start(t, options(t, map[string]string{"LOOKOUT_SLACK_TOKEN": "xoxb-test", "LOOKOUT_SLACK_CHANNEL": "#x", "LOOKOUT_SLACK_API": "http://127.0.0.1:1/"}))
	if got := a.passed(); got != a.engine.Position() || got > 10 {
		t.Errorf("with rules: %d", got)
	}
}
