package docker

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
)

func TestDetails(t *testing.T) {
	// As 20.10 answers, shortened.
	const answer = `{"Id":"` + `IDIDID` + `","Name":"/shop-sales-2","RestartCount":4,"Image":"sha256:00",
		"State":{"Status":"running","Running":true,"OOMKilled":false,"ExitCode":0,"StartedAt":"2026-11-21T04:46:03.5Z","FinishedAt":"0001-01-01T00:00:00Z","Health":{"Status":"starting"}},
		"HostConfig":{"LogConfig":{"Type":"json-file","Config":{"max-size":"10k","max-file":"3"}},"NetworkMode":"shop_default","AutoRemove":true,"RestartPolicy":{"Name":"always"}},
		"Config":{"Image":"sales:7","Tty":true,"StopSignal":"SIGQUIT","Labels":{"a":"b"},"Env":["PASSWORD=canary"]},
		"NetworkSettings":{"Networks":{"z":{"IPAddress":"10.0.0.9"},"b":{"IPAddress":"10.0.0.2"},"a":{"IPAddress":""}}}}`
	var c container.InspectResponse
	if err := json.Unmarshal([]byte(answer), &c); err != nil {
		t.Fatal(err)
	}
	got := detailsOf(&c)
	want := details{
		id: "IDIDID", name: "shop-sales-2", image: "sales:7", labels: map[string]string{"a": "b"}, tty: true, stopSignal: "SIGQUIT",
		driver: "json-file", rotated: 10 << 10, state: "running", started: time.Date(2026, 11, 21, 4, 46, 3, 5e8, time.UTC).UnixNano(),
		restarts: 4, policy: true, autoRemove: true, health: "starting", address: "10.0.0.2",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if empty := detailsOf(&container.InspectResponse{}); empty.running() || empty.started != 0 {
		t.Errorf("of nothing: %+v", empty)
	}
}

func TestRotationSize(t *testing.T) {
	for _, c := range []struct {
		driver, option string
		want           int64
	}{
		{"json-file", "", 0}, {"json-file", "-1", 0}, {"json-file", "10k", 10 << 10}, {"json-file", "10K", 10 << 10}, {"json-file", "10kb", 10 << 10},
		{"json-file", "1.5m", 3 << 19}, {"json-file", "2g", 2 << 30}, {"json-file", "1MiB", 1 << 20}, {"json-file", "500", 500}, {"json-file", "500b", 500},
		{"json-file", "x", 0}, {"json-file", "k", 0}, {"local", "", 20 << 20}, {"local", "100k", 100 << 10}, {"journald", "", 0}, {"journald", "10k", 0}, {"gelf", "", 0},
	} {
		if got := rotationSize(c.driver, c.option); got != c.want {
			t.Errorf("%s %q: %d", c.driver, c.option, got)
		}
	}
}

func TestSample(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     sample
	}{
		{"cgroup 1", `{"cpu_stats":{"cpu_usage":{"total_usage":1500000000}},"memory_stats":{"usage":1000,"limit":5000,"stats":{"inactive_file":7,"total_inactive_file":100}},
			"networks":{"eth0":{"rx_bytes":1,"tx_bytes":2},"eth1":{"rx_bytes":10,"tx_bytes":20}}}`,
			sample{cpu: 1500 * time.Millisecond, memory: 900, limit: 5000, received: 11, sent: 22, hasCPU: true, hasMemory: true, hasNetworks: true}},
		{"cgroup 2, no network", `{"cpu_stats":{"cpu_usage":{"total_usage":1}},"memory_stats":{"usage":1000,"limit":5000,"stats":{"inactive_file":100}}}`,
			sample{cpu: 1, memory: 900, limit: 5000, hasCPU: true, hasMemory: true}},
		{"more inactive than used", `{"memory_stats":{"usage":10,"stats":{"inactive_file":100}}}`, sample{hasMemory: true}},
		{"it has just ended", `{}`, sample{}},
	} {
		var s container.StatsResponse
		if err := json.Unmarshal([]byte(c.in), &s); err != nil {
			t.Fatal(err)
		}
		if got := sampleOf(&s); got != c.want {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func TestTargetOf(t *testing.T) {
	probe := func(url string) map[string]string {
		return map[string]string{"lookout.probe": url, "lookout.probe.every": "5s", "lookout.probe.page": "true", "lookout.probex": "no", "com.docker.compose.project": "shop"}
	}
	for _, c := range []struct {
		name string
		d    details
		url  string
		ok   bool
	}{
		{"its own address", details{labels: probe("http://:8080/status"), address: "10.0.0.2"}, "http://10.0.0.2:8080/status", true},
		{"no port", details{labels: probe("http:///status?a=b"), address: "10.0.0.2"}, "http://10.0.0.2/status?a=b", true},
		{"version 6", details{labels: probe("http://:80/"), address: "fd00::2"}, "http://[fd00::2]:80/", true},
		{"version 6 without a port", details{labels: probe("http:///"), address: "fd00::2"}, "http://[fd00::2]/", true},
		{"the host's network", details{labels: probe("http://:8080/"), hostNetwork: true}, "http://127.0.0.1:8080/", true},
		{"a host of its own", details{labels: probe("https://example.com/x"), address: "10.0.0.2"}, "https://example.com/x", true},
		{"TCP", details{labels: probe("tcp://:5432"), address: "10.0.0.2"}, "tcp://10.0.0.2:5432", true},
		{"no address now", details{labels: probe("http://:8080/")}, "http://shop-1:8080/", false},
		{"no URL", details{labels: probe("://"), address: "10.0.0.2"}, "://", true},
	} {
		c.d.name = "shop-1"
		got, ok := targetOf(&c.d)
		want := Target{Name: "shop-1", Service: "shop-1", Env: "shop", Container: "shop-1", URL: c.url, HostNetwork: c.d.hostNetwork, Labels: map[string]string{"every": "5s", "page": "true"}}
		if ok != c.ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", c.name, got, ok)
		}
	}
	if _, ok := targetOf(&details{address: "10.0.0.2"}); ok {
		t.Error("a container without the label is a target")
	}
}

func TestRetarget(t *testing.T) {
	labels := map[string]string{"lookout.probe": "http://:80/"}
	last := &Target{URL: "http://10.0.0.1:80/"}
	for _, c := range []struct {
		name string
		w    *watched
		want string
	}{
		{"running", &watched{details: details{state: "running", address: "10.0.0.2"}}, "http://10.0.0.2:80/"},
		{"paused", &watched{details: details{state: "paused", address: "10.0.0.2"}}, "http://10.0.0.2:80/"},
		{"running without an address", &watched{details: details{state: "running"}, target: last}, "http://10.0.0.1:80/"},
		{"died", &watched{details: details{state: "exited", exitCode: 1}, target: last}, "http://10.0.0.1:80/"},
		{"ended well, unasked", &watched{details: details{state: "exited"}, target: last}, "http://10.0.0.1:80/"},
		{"restarting", &watched{details: details{state: "restarting"}, target: last}, "http://10.0.0.1:80/"},
		{"asked to stop", &watched{details: details{state: "exited", exitCode: 137}, target: last, asked: true}, ""},
		{"found dead", &watched{details: details{state: "exited", exitCode: 1}}, "http://n:80/"},
		{"found restarting", &watched{details: details{state: "restarting"}}, "http://n:80/"},
		{"found stopped", &watched{details: details{state: "exited", exitCode: 143}}, ""},
		{"found ended", &watched{details: details{state: "exited"}}, ""},
		{"created", &watched{details: details{state: "created"}}, ""},
		{"left out", &watched{details: details{state: "running", address: "10.0.0.2"}, off: "lookout.enable=false", target: last}, ""},
	} {
		c.w.name, c.w.details.labels = "n", labels
		c.w.retarget()
		got := ""
		if c.w.target != nil {
			got = c.w.target.URL
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestMoment(t *testing.T) {
	now := time.Unix(1_800_000_007, 0)
	seen := map[time.Duration]bool{}
	for _, id := range []string{"a", "b", "c", "d", "e", "f"} {
		next := nextMeasure(id, now)
		wait := next.Sub(now)
		if wait < measureEvery/10 || wait > 2*measureEvery {
			t.Errorf("%s is measured after %v", id, wait)
		}
		if again := nextMeasure(id, next); again.Sub(next) != measureEvery {
			t.Errorf("%s is measured after %v more", id, again.Sub(next))
		}
		seen[wait] = true
	}
	if len(seen) < 5 {
		t.Errorf("the moments are not spread: %v", seen)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, o := range []Options{{Address: "unix:///x"}, {Sink: &ledger{}}, {Sink: &ledger{}, Address: "/var/run/docker.sock"}, {Sink: &ledger{}, Address: "ssh://x"}} {
		if _, err := New(o); err == nil || !strings.HasPrefix(err.Error(), "docker: ") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
