package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting/alertingtest"
)

// What the README promises: a line goes in by `lookout send`, by HTTP and by real GELF clients, and comes out by `lookout
// grep`, and its error in Slack. No configuration but two variables.
func TestFirstLine(t *testing.T) {
	need(t, "node", "apt-get install nodejs npm, then npm ci in e2e/clients")
	slack := alertingtest.New()
	defer slack.Close()
	slack.Require("xoxb-first-line")
	s := serve(t, t.TempDir(), "LOOKOUT_SLACK_TOKEN=xoxb-first-line", "LOOKOUT_SLACK_CHANNEL=#ops", "LOOKOUT_SLACK_API="+slack.URL())

	if _, stderr, code := s.cli("", "send", "--service", "shop", "order shipped 17"); code != 0 {
		t.Fatalf("send: %d %s", code, stderr)
	}
	out, stderr, code := s.cli("", "grep", "shipped")
	if code != 0 || !strings.Contains(out, "shop") || !strings.Contains(out, "order shipped 17") {
		t.Errorf("grep: %d %q %s", code, out, stderr)
	}
	if out, _, code := s.cli("", "grep", "nothing like this"); code != 1 || out != "" {
		t.Errorf("grep without a match: %d %q", code, out)
	}

	long := "ERROR a long line " + strings.Repeat("0123456789 ", 2000)
	trace := "ERROR it broke\njava.lang.IllegalStateException: no\n\tat shop.Cart.pay(Cart.java:42)"
	for _, compression := range []string{"none", "gzip", "zlib"} {
		cmd := exec.Command("go", "run", ".", s.gelf, compression, "WARN from go-gelf "+compression, long+compression, trace)
		cmd.Dir = filepath.Join("clients", "gogelf")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go-gelf: %v\n%s", err, out)
		}
	}
	if out, err := exec.Command("node", filepath.Join("clients", "gelfpro.js"), s.gelf, "payment refused", long+"pro").CombinedOutput(); err != nil {
		t.Fatalf("gelf-pro: %v\n%s", err, out)
	}
	var rows []row
	eventually(t, "11 GELF messages", 20*time.Second, func() bool {
		rows = s.query("service:(gogelf, gelfpro)")
		return len(rows) >= 11
	})
	found := map[string]int{}
	for _, r := range rows {
		found[r.Event.Message]++
		switch {
		case r.Event.Message == "payment refused":
			if r.Event.Level != "error" || r.Event.Service != "gelfpro" || fmt.Sprint(r.Event.Fields["order_id"]) != "17" {
				t.Errorf("gelf-pro's: %+v", r.Event)
			}
		case strings.HasPrefix(r.Event.Message, "WARN") && r.Event.Service != "gogelf":
			t.Errorf("go-gelf's: %+v", r.Event)
		}
	}
	if len(rows) != 11 || found[trace] != 3 || found["payment refused"] != 1 || found[long+"none"] != 1 || found[long+"gzip"] != 1 || found[long+"zlib"] != 1 || found[long+"pro"] != 1 || found["WARN from go-gelf gzip"] != 1 {
		for m, n := range found {
			t.Logf("%d × %.100q", n, m)
		}
		t.Errorf("%d events", len(rows))
	}
	eventually(t, "the error in Slack", 20*time.Second, func() bool {
		for _, m := range slack.Messages("#ops") {
			if strings.Contains(m.Content(), "payment refused") {
				return true
			}
		}
		return false
	})
	if strings.Contains(s.log.String(), "xoxb-first-line") || strings.Contains(s.log.String(), s.token()) {
		t.Error("a secret is in the log")
	}
	if code, took := s.stop(); code != 0 || took > patience*10*time.Second {
		t.Errorf("SIGTERM: exit %d after %v", code, took)
	}
}

// A second lookout on the same data is refused with the mend, and does not harm the first.
func TestOneProcessAFolder(t *testing.T) {
	s := serve(t, t.TempDir())
	cmd := exec.Command(binary, "serve")
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "LOOKOUT_DATA="+filepath.Join(s.dir, "data"), "LOOKOUT_HTTP=127.0.0.1:0", "LOOKOUT_GELF=127.0.0.1:0")
	out, err := cmd.CombinedOutput()
	if err == nil || !regexp.MustCompile(`in use by another lookout.*LOOKOUT_DATA`).Match(out) {
		t.Errorf("%v: %s", err, out)
	}
	if _, stderr, code := s.cli("", "send", "still here"); code != 0 {
		t.Errorf("send: %d %s", code, stderr)
	}
}

// SIGHUP puts new rules in force, and a wrong configuration leaves the old ones.
func TestReload(t *testing.T) {
	slack := alertingtest.New()
	defer slack.Close()
	dir := t.TempDir()
	write := func(rule string) {
		t.Helper()
		text := "slack: { api: \"" + slack.URL() + "\", token: xoxb-test, channel: \"#x\" }\nrules: [ " + rule + " ]\n"
		if err := os.WriteFile(filepath.Join(dir, "lookout.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{ name: first, query: alpha, notify: each }`)
	s := serve(t, dir)
	told := func(word string) {
		t.Helper()
		if _, stderr, code := s.cli("", "send", word); code != 0 {
			t.Fatalf("send: %d %s", code, stderr)
		}
		eventually(t, word+" in Slack", 20*time.Second, func() bool {
			for _, m := range slack.Messages() {
				if strings.Contains(m.Content(), word) {
					return true
				}
			}
			return false
		})
	}
	told("alpha")
	write(`{ name: second, query: "beta", notify: each }`)
	reload := func(said string) {
		t.Helper()
		if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, said, 10*time.Second, func() bool { return strings.Contains(s.log.String(), said) })
	}
	reload("the configuration is read again")
	told("beta")
	write(`{ name: third, qerry: "gamma" }`)
	reload("the configuration stays as it was")
	told("beta again")
}

// SIGHUP puts routes and ways out in force. A configuration with something wrong in it is refused, which the log, the metrics and
// `lookout check` say, and the one before goes on.
func TestReloadOfRoutes(t *testing.T) {
	slack := alertingtest.New()
	defer slack.Close()
	hooked := make(chan string, 100)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		hooked <- r.URL.Path + " " + string(body)
	}))
	defer hook.Close()
	dir := t.TempDir()
	s := (*server)(nil)
	reloads := 0
	put := func(rest, said string) {
		t.Helper()
		text := "slack: { api: \"" + slack.URL() + "\", token: xoxb-test, channel: \"#all\" }\nrules: [ { name: errors, query: \"level:error\" } ]\n" + rest
		if err := os.WriteFile(filepath.Join(dir, "lookout.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if s == nil {
			return
		}
		reloads++
		before := len(s.log.String())
		if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, said, time.Minute, func() bool {
			m := s.metrics()
			return int(m[`lookout_config_reloads_total{outcome="applied"}`]+m[`lookout_config_reloads_total{outcome="refused"}`]) == reloads &&
				strings.Contains(s.log.String()[before:], said)
		})
	}
	happens := func(service, what string) {
		t.Helper()
		if code, c, text := s.post(strings.NewReader(`{"service":"` + service + `","level":"error","message":"` + what + `"}`)); code != http.StatusOK || c.Accepted != 1 {
			t.Fatalf("%d %s", code, text)
		}
	}
	// told waits for a message, and sees that it is in no other channel.
	told := func(channel, what string) {
		t.Helper()
		eventually(t, what+" in "+channel, time.Minute, func() bool {
			return slices.ContainsFunc(slack.Messages(channel), func(m alertingtest.SlackMessage) bool { return strings.Contains(m.Text, what) })
		})
		for _, m := range slack.Messages() {
			if strings.Contains(m.Text, what) && m.Channel != channel {
				t.Errorf("%s is told in %s", what, m.Channel)
			}
		}
	}
	called := func(path, what string) {
		t.Helper()
		select {
		case got := <-hooked:
			if !strings.HasPrefix(got, path+" ") || !strings.Contains(got, what) {
				t.Errorf("the hook was told %s, want %s of %s", got, what, path)
			}
		case <-time.After(patience * time.Minute):
			t.Fatalf("the hook was not told %s", what)
		}
	}

	put("", "")
	s = serve(t, dir)
	happens("shop", "alpha broke")
	told("#all", "alpha broke")
	put("routes: [ { match: service=shop, channel: \"#shop\" } ]\n", "the configuration is read again")
	happens("shop", "beta broke")
	told("#shop", "beta broke")
	happens("pay", "gamma broke")
	told("#all", "gamma broke")

	// A way that was not there at the start, then with another address.
	const toHook = "routes: [ { match: service=shop, channel: hook } ]\n"
	put(toHook+"ways: { hook: { url: \""+hook.URL+"/one\" } }\n", "the configuration is read again")
	happens("shop", "delta broke")
	called("/one", "delta broke")
	put(toHook+"ways: { hook: { url: \""+hook.URL+"/two\" } }\n", "the configuration is read again")
	happens("shop", "epsilon broke")
	called("/two", "epsilon broke")

	put(toHook, "the configuration stays as it was") // the way is gone, and is named
	if m := s.metrics(); m["lookout_config_refused"] != 1 || m[`lookout_config_reloads_total{outcome="refused"}`] != 1 {
		t.Error("the metrics do not say that a configuration was refused")
	}
	const why = `routes[0].channel: \"hook\": there is no way out of this name`
	if !strings.Contains(s.log.String(), why) {
		t.Errorf("the log does not say %s", why)
	}
	if _, stderr, code := s.cli("", "check"); code != 2 || !strings.Contains(stderr, strings.ReplaceAll(why, `\`, "")) {
		t.Errorf("check: %d %s", code, stderr)
	}
	happens("shop", "zeta broke")
	called("/two", "zeta broke")

	put("heartbeat: { every: 2m }\n", "some settings that have changed are read at the start only: restart to have them\" settings=heartbeat.every")
	if m := s.metrics(); m["lookout_config_refused"] != 0 {
		t.Error("the metrics still say that a configuration was refused")
	}
	happens("shop", "theta broke")
	told("#all", "theta broke")
	select {
	case got := <-hooked:
		t.Errorf("the hook was told %s", got)
	default:
	}
}
