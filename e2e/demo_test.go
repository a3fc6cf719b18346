//go:build linux

package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/internal/fleet"
)

// demo is compose/ on the tests' own engine.
type demo struct {
	t       *testing.T
	e       *engine
	command []string // docker-compose, or docker compose
	env     []string
	shop    string // http://127.0.0.1:PORT
}

// newDemo has the images and the settings that compose/compose.yaml asks for; it starts nothing.
func newDemo(t *testing.T, settings ...string) *demo {
	t.Helper()
	d := &demo{t: t, e: docker(t), command: []string{"docker-compose"}}
	if _, err := exec.LookPath("docker-compose"); err != nil && exec.Command("docker", "compose", "version").Run() == nil {
		d.command = []string{"docker", "compose"}
	} else {
		need(t, "docker-compose", "run make setup as root on Debian or Ubuntu (docker-compose)")
	}
	need(t, "nginx", "run make setup as root on Debian or Ubuntu (nginx-light)")
	d.importNginx()
	ports := freePorts(t, 3)
	d.shop = "http://127.0.0.1:" + ports[2]
	d.env = append(slices.Clone(d.e.command(t.Context()).Env), "DOCKER_SOCKET="+strings.TrimPrefix(d.e.socket, "unix://"), "DOCKER_BUILDKIT=0",
		"LOOKOUT_PORT="+ports[0], "LOOKOUT_GELF_PORT="+ports[1], "SHOP_PORT="+ports[2])
	d.env = append(d.env, settings...)
	d.run("sh", "../compose/build.sh")
	t.Cleanup(func() {
		if t.Failed() {
			if logs, err := d.cmd("compose", "logs", "--no-color").CombinedOutput(); err == nil {
				t.Logf("what the containers say:\n%s", last(string(logs), 16000))
			}
		}
		if out, err := d.cmd("compose", "down", "-v", "-t", "2").CombinedOutput(); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
	})
	return d
}

// cmd is a command on this engine; one named compose is docker-compose in compose/.
func (d *demo) cmd(name string, args ...string) *exec.Cmd {
	if name == "compose" {
		name, args = d.command[0], append(append(slices.Clone(d.command[1:]), "-f", "../compose/compose.yaml"), args...)
	}
	c := exec.Command(name, args...)
	c.Env = d.env
	return c
}

func (d *demo) run(name string, args ...string) string {
	d.t.Helper()
	out, err := d.cmd(name, args...).CombinedOutput()
	if err != nil {
		d.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// lookout runs a command of the server's own binary, in its container, and returns what it prints.
func (d *demo) lookout(args ...string) string {
	d.t.Helper()
	c := d.e.command(d.t.Context(), append([]string{"exec", d.container("lookout"), "/lookout"}, args...)...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil && c.ProcessState.ExitCode() != 1 { // nothing was found
		d.t.Fatalf("lookout %s: %v\n%s", strings.Join(args, " "), err, &errs)
	}
	return out.String()
}

// container is the id of a service's first container.
func (d *demo) container(service string) string {
	d.t.Helper()
	ids := strings.Fields(d.e.docker(d.t, "ps", "-aq", "--filter", "label=com.docker.compose.project=shop", "--filter", "label=com.docker.compose.service="+service))
	if len(ids) == 0 {
		d.t.Fatalf("there is no container of %s", service)
	}
	return ids[len(ids)-1]
}

// importNginx makes the image of nginx that compose.yaml names out of this machine's nginx and the libraries it needs.
func (d *demo) importNginx() {
	d.t.Helper()
	path, err := exec.LookPath("nginx")
	if err != nil {
		d.t.Fatal(err)
	}
	libraries, err := exec.Command("ldd", path).Output()
	if err != nil {
		d.t.Fatalf("ldd %s: %v", path, err)
	}
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	put := func(h tar.Header, b []byte) {
		h.Name, h.Size = strings.TrimPrefix(h.Name, "/"), int64(len(b))
		if err := w.WriteHeader(&h); err != nil {
			d.t.Fatal(err)
		}
		if _, err := w.Write(b); err != nil {
			d.t.Fatal(err)
		}
	}
	file := func(name, from string, mode int64) {
		b, err := os.ReadFile(from)
		if err != nil {
			d.t.Fatal(err)
		}
		put(tar.Header{Name: name, Mode: mode}, b)
	}
	put(tar.Header{Name: "tmp/", Mode: 0o1777, Typeflag: tar.TypeDir}, nil)
	put(tar.Header{Name: "var/log/nginx/", Mode: 0o755, Typeflag: tar.TypeDir}, nil)
	put(tar.Header{Name: "etc/passwd", Mode: 0o644}, []byte("root:x:0:0::/:\nwww-data:x:33:33::/:\nnobody:x:65534:65534::/:\n"))
	put(tar.Header{Name: "etc/group", Mode: 0o644}, []byte("root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n"))
	file("usr/sbin/nginx", path, 0o755)
	for _, library := range regexp.MustCompile(`/\S+`).FindAllString(string(libraries), -1) {
		file(library, library, 0o755)
	}
	if err := w.Close(); err != nil {
		d.t.Fatal(err)
	}
	text, err := os.ReadFile("../compose/compose.yaml")
	if err != nil {
		d.t.Fatal(err)
	}
	name := regexp.MustCompile(`image: (nginx:\S+)`).FindSubmatch(text)
	if name == nil {
		d.t.Fatal("compose.yaml has no image of nginx")
	}
	c := d.e.command(context.Background(), "import", "--change", `CMD ["/usr/sbin/nginx", "-g", "daemon off;"]`, "-", string(name[1]))
	c.Stdin = &content
	if out, err := c.CombinedOutput(); err != nil {
		d.t.Fatalf("docker import: %v\n%s", err, out)
	}
}

// order asks the shop for something and returns the request's id.
func (d *demo) order(path string, status int) (id string) {
	d.t.Helper()
	resp, err := http.Get(d.shop + path)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != status {
		d.t.Fatalf("GET %s: %s", path, resp.Status)
	}
	return resp.Header.Get("X-Request-Id")
}

// list decodes what a command prints as JSON.
func list[T any](d *demo, args ...string) (all []T) {
	d.t.Helper()
	text := d.lookout(append(args, "-o", "json")...)
	for dec := json.NewDecoder(strings.NewReader(text)); dec.More(); {
		var one T
		if err := dec.Decode(&one); err != nil {
			d.t.Fatalf("%v in %s", err, text)
		}
		all = append(all, one)
	}
	return all
}

// address is this machine's on the engine's bridge: what containers reach.
func (e *engine) address(t *testing.T) string {
	t.Helper()
	bridge, err := net.InterfaceByName(e.bridge)
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := bridge.Addrs()
	if err != nil || len(addrs) == 0 {
		t.Fatalf("%s has no address: %v", e.bridge, err)
	}
	ip, _, err := net.ParseCIDR(addrs[0].String())
	if err != nil {
		t.Fatal(err)
	}
	return ip.String()
}

// TestDemo plays what compose/compose.yaml says one can do: the shop comes up and is found; sales is scaled to three; one request is
// found in nginx, sales and customers by its id; an error is in Slack; a container that is killed is in Slack and rings at
// Pushover; that is acknowledged on the phone; and when the container is back, it is over in both.
func TestDemo(t *testing.T) {
	const limit = 90 * time.Second
	e := docker(t)
	slack, err := alertingtest.Listen(e.address(t) + ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer slack.Close()
	slack.Require("xoxb-demo")
	phone, err := alertingtest.ListenPushover(e.address(t) + ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer phone.Close()
	phone.Require(pushoverToken, pushoverUser)
	d := newDemo(t, "LOOKOUT_SLACK_TOKEN=xoxb-demo", "LOOKOUT_SLACK_CHANNEL=#shop", "LOOKOUT_SLACK_API="+slack.URL(),
		"LOOKOUT_PUSHOVER_TOKEN="+pushoverToken, "LOOKOUT_PUSHOVER_USER="+pushoverUser, "LOOKOUT_PUSHOVER_API="+phone.URL())

	d.run("compose", "up", "-d")
	d.run("compose", "up", "-d", "--scale", "sales=3")
	eventually(t, "three containers of sales are followed, and checked, and so is who stands before and behind them", limit, func() bool {
		followed, up := 0, map[string]int{}
		for _, c := range list[fleet.Container](d, "containers") {
			if c.Service == "sales" && c.State == "running" && c.Logs == "followed" && c.Env == "shop" {
				followed++
			}
		}
		for _, p := range list[fleet.Probe](d, "probes") {
			if p.State == "up" {
				up[p.Target]++
			}
		}
		return followed == 3 && up["sales"] == 3 && up["nginx"] == 1 && up["customers"] == 1
	})
	how := map[string]string{}
	for _, c := range list[fleet.Container](d, "containers") {
		how[c.Service] = c.Logs
	}
	if how["nginx"] != "sent by its driver (gelf)" || !strings.HasPrefix(how["agent"], "off") || how["customers"] != "followed" {
		t.Errorf("how lines come: %v", how)
	}

	// One request, in three services, by two ways.
	id := d.order("/orders/17", http.StatusOK)
	if len(id) != 32 {
		t.Fatalf("the request's id is %q", id)
	}
	type found struct {
		Service string
		Env     string
		Message string
		Fields  map[string]any
	}
	var rows []found
	eventually(t, "the request is found by its id", limit, func() bool {
		rows = list[found](d, "grep", id)
		return len(rows) >= 3
	})
	// Customers answers before sales does. nginx is the last, but its time is the GELF driver's, cut to milliseconds: it may stand before them.
	order := map[string]int{}
	for i, r := range rows {
		order[r.Service] = i
	}
	for service, message := range map[string]string{"customers": "customer found", "sales": "order taken", "nginx": "GET /orders/17 HTTP/1.1"} {
		if r := rows[order[service]]; r.Service != service || r.Message != message || r.Fields["request_id"] != id || len(rows) != 3 {
			t.Errorf("the row of %s of %d is %+v, want %q", service, len(rows), r, message)
		}
	}
	if order["customers"] > order["sales"] {
		t.Errorf("sales stands before customers: %+v", rows)
	}

	// An error of a service.
	in := func(parts ...string) func([]alertingtest.SlackMessage) bool {
		return func(all []alertingtest.SlackMessage) bool {
			return slices.ContainsFunc(all, func(m alertingtest.SlackMessage) bool {
				return m.Channel == "#shop" && !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(m.Content(), part) })
			})
		}
	}
	said := func(parts ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience*limit)
		defer cancel()
		if all, err := slack.Wait(ctx, in(parts...)); err != nil {
			t.Fatalf("Slack has nothing with %q: %v\n%s", parts, err, contents(all))
		}
	}
	d.order("/orders/0", http.StatusBadGateway)
	said("order failed", "sales", "customers answers 500")

	// A container that is killed: an event of its own, and a probe that fails.
	var victim string
	for _, c := range list[fleet.Container](d, "containers", "sales") {
		victim = c.Name
	}
	e.docker(t, "kill", victim)
	said("container " + victim + " died with exit code 137")
	ringing := func() []string { return phone.Ringing() }
	eventually(t, "the phone rings", limit, func() bool { return len(ringing()) > 0 })
	if n := len(ringing()); n != 1 {
		t.Errorf("%d emergencies", n)
	}
	receipt := ringing()[0]
	said(victim + " is down")

	// Somebody takes it.
	if !phone.Acknowledge(receipt) {
		t.Error("there was nothing to acknowledge")
	}
	said(victim+" is down", "acknowledged")

	// And mends it.
	e.docker(t, "start", victim)
	said(victim+" is down", "resolved")
	said("container "+victim+" died", "resolved")
	eventually(t, "the phone hears that it is over", limit, func() bool {
		return slices.ContainsFunc(phone.Messages(), func(m alertingtest.PushoverMessage) bool {
			return m.Priority < 2 && strings.Contains(strings.ToLower(m.Title+m.Message), "resolved")
		})
	})
	if n := len(phone.Messages(2)); n != 1 {
		t.Errorf("%d emergencies in all", n)
	}
	if f := phone.Failures(); len(f) > 0 {
		t.Errorf("Pushover would not have liked: %q", f)
	}
	for _, p := range list[fleet.Probe](d, "probes") {
		if p.State != "up" {
			t.Errorf("%s is %s", p.Name, p.State)
		}
	}
	t.Logf("Slack:\n%s", contents(slack.Messages()))
	for _, m := range phone.Messages() {
		t.Logf("Pushover: priority %d: %s\n%s", m.Priority, m.Title, m.Message)
	}

	// What the images promise: nobody is root who need not be, and only the agent has the socket.
	for name, want := range map[string]string{"lookout": "65532:65532", "sales": "65532:65532"} {
		container := d.container(name)
		if user := e.docker(t, "inspect", "-f", "{{.Config.User}}", container); user != want {
			t.Errorf("%s runs as %q", name, user)
		}
		if mounts := e.docker(t, "inspect", "-f", "{{range .Mounts}}{{.Destination}} {{end}}", container); strings.Contains(mounts, "docker.sock") {
			t.Errorf("%s has %s", name, mounts)
		}
	}
	if ports := e.docker(t, "inspect", "-f", "{{len .NetworkSettings.Ports}} {{.HostConfig.PortBindings}}", d.container("agent")); !strings.HasSuffix(ports, "map[]") {
		t.Errorf("the agent's ports: %s", ports)
	}
}

func contents(all []alertingtest.SlackMessage) string {
	var b strings.Builder
	for _, m := range all {
		fmt.Fprintf(&b, "--- %s, edited %d times\n%s\n", m.Channel, m.Edits, m.Content())
	}
	return b.String()
}
