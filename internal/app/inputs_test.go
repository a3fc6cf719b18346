package app

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lookoutlog/lookout/collector/docker"
	"github.com/lookoutlog/lookout/collector/probe"
	"github.com/lookoutlog/lookout/internal/event"
)

func TestProbesByLabel(t *testing.T) {
	show := func(p probe.Target) string {
		expect := "-"
		if p.Expect != nil {
			expect = p.Expect.String()
		}
		return fmt.Sprint(p.Name, p.Service, p.Env, p.Container, p.URL, " ", p.Every, p.Timeout, p.Confirm, p.Recover, p.Page, p.AllowLoopback, " ", expect)
	}
	for _, c := range []struct{ labels, want string }{
		{"", "n s e c u 0s 0s 10s 30s false true -"},
		{"every=5s timeout=1s confirm=0s recover=1m page=true expect=status:204", "n s e c u 5s 1s 0s 1m0s true true status:204"},
		{"page=false", "n s e c u 0s 0s 10s 30s false true -"},
		{"every=often", `label lookout.probe.every: "often" is not a length of time; write it as 30s`},
		{"confirm=-1s", `label lookout.probe.confirm: "-1s" is not a length of time; write it as 30s`},
		{"page=maybe", `label lookout.probe.page: "maybe" is neither true nor false`},
		{"expect=a|", "label lookout.probe.expect: "},
	} {
		labels := map[string]string{}
		for _, l := range strings.Fields(c.labels) {
			name, value, _ := strings.Cut(l, "=")
			labels[name] = value
		}
		p, err := labelled(docker.Target{Name: "n", Service: " s", Env: " e", Container: " c", URL: " u", HostNetwork: true, Labels: labels})
		got := strings.NewReplacer("  ", " ").Replace(show(p))
		if err != nil {
			got = err.Error()
		}
		if got != c.want && !(strings.HasSuffix(c.want, ": ") && strings.HasPrefix(got, c.want)) {
			t.Errorf("%s: %s, want %s", c.labels, got, c.want)
		}
	}
}

// Every setting of a probe reaches the prober: what the two call the same has the same value.
func TestConfiguredProbes(t *testing.T) {
	c := options(t, map[string]string{"LOOKOUT_PROBES": `[{name: a, url: "https://x/", every: 7s, timeout: 3s, method: POST, headers: {K: v}, body: b, expect: "status:204", confirm: 2s, recover: 4s, service: s, env: e, page: true}, {name: b, url: "tcp://x:1"}]`}).Config
	got := configured(c)
	if got[0].Expect.String() != "status:204" || got[1].Expect != nil {
		t.Errorf("conditions %v, %v", got[0].Expect, got[1].Expect)
	}
	got[0].Expect = nil
	want := []probe.Target{
		{Name: "a", Service: "s", Env: "e", URL: "https://x/", Method: "POST", Headers: map[string]string{"K": "v"}, Body: "b", Every: 7 * time.Second, Timeout: 3 * time.Second,
			Confirm: 2 * time.Second, Recover: 4 * time.Second, Page: true, AllowLoopback: true},
		{Name: "b", URL: "tcp://x:1", Method: "GET", Every: 30 * time.Second, Confirm: 10 * time.Second, Recover: 30 * time.Second, AllowLoopback: true},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// Whom the rules tell depends on which ways out there are.
func TestRuleChannels(t *testing.T) {
	slack := []string{"LOOKOUT_SLACK_TOKEN", "xoxb-1", "LOOKOUT_SLACK_CHANNEL", "#o"}
	pager := []string{"LOOKOUT_PUSHOVER_TOKEN", "t", "LOOKOUT_PUSHOVER_USER", "u"}
	own := []string{"LOOKOUT_RULES", `[{name: mine, query: x, page: true, channel: "#m"}]`}
	for _, c := range []struct {
		env       []string
		want      string
		fallbacks string
	}{
		{nil, "", ""},
		{slack, "errors>#o new>#o problems>#o silent>#o containers>#o alertmanager>#o probes>#o certificates>#o", "#o"},
		{pager, "pages>pushover", "pushover"},
		{append(slack, pager...), "errors>#o new>#o problems>#o silent>#o containers>#o alertmanager>#o pages>#o,pushover probes>#o certificates>#o", "#o pushover"},
		{append(append(slack, pager...), own...), "mine>#m,pushover silent>#o containers>#o alertmanager>#o pages>#o,pushover probes>#o certificates>#o", "#o pushover #m"},
		{append(append(slack, pager...), "LOOKOUT_RULES", `[{name: mine, query: x, page: true, channel: ["#m", pushover, "#n"]}]`), "mine>#m,pushover,#n silent>#o containers>#o alertmanager>#o pages>#o,pushover probes>#o certificates>#o", "#o pushover #m #n"},
		{append(slack, own...), "mine>#m silent>#o containers>#o alertmanager>#o probes>#o certificates>#o", "#o #m"},
		{append(pager, own...), "mine>pushover pages>pushover", "pushover"},
	} {
		env := map[string]string{}
		for i := 0; i < len(c.env); i += 2 {
			env[c.env[i]] = c.env[i+1]
		}
		conf := options(t, env).Config
		var got []string
		for _, r := range rules(conf) {
			got = append(got, r.Name+">"+strings.Join(r.Channels, ","))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%v: %s, want %s", c.env, s, c.want)
		}
		if s := strings.Join(fallbacks(conf), " "); s != c.fallbacks {
			t.Errorf("%v: fallbacks %s, want %s", c.env, s, c.fallbacks)
		}
	}
	var resolves int
	for _, r := range rules(options(t, map[string]string{slack[0]: slack[1], slack[2]: slack[3]}).Config) {
		if r.Resolve != nil {
			resolves++
		}
	}
	if resolves != 4 {
		t.Errorf("%d rules know when it is over, want containers, alertmanager, probes and certificates", resolves)
	}
}

// What was reported shortly before a restart is known right after it.
func TestFleetOverARestart(t *testing.T) {
	o := options(t, nil)
	a := start(t, o)
	var b event.Batch
	e := b.Add()
	e.Time, e.Service, e.Stream = time.Now().UnixNano(), []byte("probe"), []byte("probe")
	for name, value := range map[string]string{"probe": "sales", "state": "up", "ok": "true"} {
		b.AddField(e, event.Field{Name: []byte(name), Value: []byte(value)})
	}
	if err := a.sink.Append(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	if err := a.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	a = start(t, o)
	if _, text := get(t, a, "/api/v1/probes", true); !strings.Contains(text, `"name":"sales"`) || !strings.Contains(text, `"state":"up"`) {
		t.Error(text)
	}
}
