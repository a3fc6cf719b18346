package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting/alertingtest"
)

// TestAmtool is Alertmanager's own command line against lookout: an alert that is added is told in Slack, listed, silenced
// and resolved.
func TestAmtool(t *testing.T) {
	need(t, "amtool", "install prometheus-alertmanager, or run e2e/setup.sh as root")
	slack := alertingtest.New()
	defer slack.Close()
	dir := t.TempDir()
	s := serve(t, dir, "LOOKOUT_SLACK_TOKEN=xoxb-test", "LOOKOUT_SLACK_CHANNEL=#ops", "LOOKOUT_SLACK_API="+slack.URL())
	login := filepath.Join(dir, "http.yml")
	if err := os.WriteFile(login, []byte("authorization:\n  credentials: "+s.token()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	amtool := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("amtool", append([]string{"--alertmanager.url=" + s.http, "--http.config.file=" + login}, args...)...)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("amtool %q: %v %s%s", args, err, out, stderr.String())
		}
		return string(out)
	}
	told := func(part string) func() bool {
		return func() bool {
			for _, m := range slack.Messages("#ops") {
				if strings.Contains(m.Content(), part) {
					return true
				}
			}
			return false
		}
	}
	amtool("alert", "add", "alertname=DiskFull", "service=db", "severity=warning", "--annotation=summary=disk is full")
	eventually(t, "the alert is in Slack", time.Minute, told("[warning] db: DiskFull: disk is full"))
	if out := amtool("alert", "query", "service=db"); !strings.Contains(out, "DiskFull") || !strings.Contains(out, "active") {
		t.Errorf("alert query: %s", out)
	}
	if out := amtool("alert", "query", "service=other"); strings.Contains(out, "DiskFull") {
		t.Errorf("alert query of another service: %s", out)
	}
	id := strings.TrimSpace(amtool("silence", "add", "alertname=DiskFull", "service=~d.", "--duration=1h", "--author=me", "--comment=known"))
	if out := amtool("silence", "query"); !strings.Contains(out, `alertname="DiskFull"`) || !strings.Contains(out, "known") {
		t.Errorf("silence query: %s", out)
	}
	if out := amtool("alert", "query", "--silenced"); !strings.Contains(out, "suppressed") {
		t.Errorf("alert query --silenced: %s", out)
	}
	// The engine silences what it made of the alert, too.
	eventually(t, "the incident is silenced", time.Minute, told("Silenced: [warning] db: DiskFull"))
	amtool("silence", "expire", id)
	if out := amtool("silence", "query", "--expired"); !strings.Contains(out, "known") {
		t.Errorf("silence query --expired: %s", out)
	}
	if out := amtool("silence", "query"); strings.Contains(out, "known") {
		t.Errorf("it is not expired: %s", out)
	}
	amtool("alert", "add", "alertname=DiskFull", "service=db", "severity=warning", "--start=2020-01-01T00:00:00Z", "--end=2020-01-01T00:00:01Z")
	eventually(t, "the incident is resolved", time.Minute, told("Resolved: [warning] db: DiskFull"))
	if out := amtool("alert", "query"); strings.Contains(out, "DiskFull") {
		t.Errorf("a resolved alert is listed: %s", out)
	}
	amtool("config", "show")
}
