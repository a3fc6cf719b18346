//go:build linux

package e2e

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestOneRequest runs the three programs of docs/one-request.md, each with its output piped into lookout send, and finds
// one request among others by its id: every line of it, in order over the services, and nothing else.
func TestOneRequest(t *testing.T) {
	need(t, "nginx", "run make setup as root on Debian or Ubuntu (nginx-light)")
	need(t, "node", "apt-get install nodejs npm, then npm ci in e2e/clients")
	modules, err := filepath.Abs(filepath.Join("clients", "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join("..", "docs", "one-request.md"))
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, t.TempDir())
	dir := t.TempDir()
	ports := freePorts(t, 3)
	snippet := func(language string) string {
		m := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindSubmatch(page)
		if m == nil {
			t.Fatalf("the page has no %s", language)
		}
		text := string(m[1])
		for i, port := range []string{"8080", "8081", "8082"} {
			text = strings.ReplaceAll(text, port, ports[i])
		}
		return text
	}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}

	// Each service's lines go through a pipe of its own.
	run := func(service string, c *exec.Cmd) {
		t.Helper()
		c.Dir = dir
		send := exec.Command(binary, "send", "-q", "--service", service)
		send.Env = append(os.Environ(), "LOOKOUT_URL="+s.http, "LOOKOUT_TOKEN="+s.token())
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		c.Stdout, send.Stdin = w, r
		c.Stderr, send.Stderr = os.Stderr, os.Stderr
		for _, c := range []*exec.Cmd{c, send} {
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = c.Process.Kill()
				_ = c.Wait()
			})
		}
		r.Close()
		w.Close()
	}
	orders := filepath.Join(dir, "orders")
	if out, err := exec.Command("go", "build", "-o", orders, write("orders.go", snippet("go"))).CombinedOutput(); err != nil {
		t.Fatalf("the page's Go: %v\n%s", err, out)
	}
	run("orders", exec.Command(orders))
	customers := exec.Command("node", write("customers.js", snippet("js")))
	customers.Env = append(os.Environ(), "NODE_PATH="+modules)
	run("customers", customers)
	conf := write("nginx.conf", "daemon off;\nmaster_process off;\npid "+dir+"/pid;\nerror_log stderr warn;\nevents {}\nhttp {\nclient_body_temp_path "+dir+"/b;\nproxy_temp_path "+dir+"/p;\nfastcgi_temp_path "+dir+"/f;\nuwsgi_temp_path "+dir+
		"/u;\nscgi_temp_path "+dir+"/s;\n"+snippet("nginx")+"}\n")
	run("nginx", exec.Command("nginx", "-p", dir, "-e", "stderr", "-c", conf))

	ask := func(header ...string) (id string, ok bool) {
		r, err := http.NewRequest(http.MethodGet, "http://127.0.0.1:"+ports[0]+"/orders/17", nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return "", false
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return resp.Header.Get("X-Request-Id"), resp.StatusCode == http.StatusOK
	}
	eventually(t, "the shop answers", time.Minute, func() bool {
		_, ok := ask()
		return ok
	})
	const (
		given = "request-of-mine-1"
		trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	)
	made, _ := ask()
	if len(made) != 32 {
		t.Errorf("nginx's id is %q", made)
	}
	if id, _ := ask("X-Request-Id", given); id != given {
		t.Errorf("the id that was given came back as %q", id)
	}
	traced, _ := ask("traceparent", "00-"+trace+"-00f067aa0ba902b7-01")

	line := regexp.MustCompile(`^\S+ \S+ (\S+?)(?: \w+)?: (.*)$`)
	find := func(id string, n int) (found []string) {
		t.Helper()
		eventually(t, "the request "+id+" is found", time.Minute, func() bool {
			out, _, _ := s.cli("", "grep", id)
			found = nil
			for lines := bufio.NewScanner(strings.NewReader(out)); lines.Scan(); {
				m := line.FindStringSubmatch(lines.Text())
				if m == nil || !strings.Contains(m[2], "request_id="+id) {
					t.Fatalf("a line that is not of the request: %s", lines.Text())
				}
				words := strings.Fields(m[2])
				found = append(found, m[1]+" "+strings.Join(words[:2], " "))
			}
			return len(found) >= n
		})
		return found
	}
	shop := []string{"orders order begins", "customers customer found", "orders order taken"}
	for _, id := range []string{made, given} {
		found := find(id, 4)
		// nginx's clock is cut to milliseconds: its line, the last, may stand before one of the same millisecond.
		i := slices.Index(found, "nginx GET /orders/17")
		if i < 2 || len(found) != 4 || !slices.Equal(slices.Delete(slices.Clone(found), i, i+1), shop) {
			t.Errorf("the request %s is %q", id, found)
		}
	}
	out, _, _ := s.cli("", "grep", made)
	t.Logf("lookout grep %s\n%s", made, out)
	if found := find(trace, 3); !slices.Equal(found, shop) {
		t.Errorf("the trace is %q", found)
	}
	if found := find(traced, 1); len(found) != 1 || found[0] != "nginx GET /orders/17" {
		t.Errorf("nginx's own id of the trace is in %q", found)
	}
}
