//go:build unix

package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/sdk"
)

// searchesRunning asks the server's metrics until so many searches run.
func (s *session) searchesRunning(want string) {
	s.t.Helper()
	metric := regexp.MustCompile(`(?m)^lookout_searches_running (\d+)$`)
	got := ""
	for begin := time.Now(); time.Since(begin) < 5*time.Minute; time.Sleep(10 * time.Millisecond) { // what the server does is not told otherwise
		r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.env["LOOKOUT_URL"]+"/metrics", nil)
		if err != nil {
			s.t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+s.env["LOOKOUT_TOKEN"])
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			s.t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			s.t.Fatal(err)
		}
		m := metric.FindSubmatch(body)
		if m == nil {
			s.t.Fatalf("no lookout_searches_running in\n%s", body)
		}
		if got = string(m[1]); got == want {
			return
		}
	}
	s.t.Fatalf("%s searches run, want %s", got, want)
}

// Ctrl-C and a closed pipe end the search on the server as well: with more rows than all buffers on the way take, it runs as long as
// nobody reads them.
func TestTheServerStopsToo(t *testing.T) {
	s := withServer(t)
	c, err := sdk.New(sdk.Options{URL: s.env["LOOKOUT_URL"], Token: s.env["LOOKOUT_TOKEN"]})
	if err != nil {
		t.Fatal(err)
	}
	var events []sdk.Event
	for i := range 400 {
		events = append(events, sdk.Event{Service: "web", Message: fmt.Sprint(i, strings.Repeat(" long", 50_000))})
		if len(events) == 20 {
			if _, err := c.Send(t.Context(), events, sdk.SendOptions{}); err != nil {
				t.Fatal(err)
			}
			events = events[:0]
		}
	}
	for _, args := range [][]string{{"grep", "long", "-o", "raw"}, {"grep", "long", "-C", "3"}, {"export", "long", "--out", "-"}} {
		for name, end := range map[string]func(cmd *exec.Cmd, stdout io.Closer) error{
			"Ctrl-C":      func(cmd *exec.Cmd, _ io.Closer) error { return cmd.Process.Signal(os.Interrupt) },
			"closed pipe": func(_ *exec.Cmd, stdout io.Closer) error { return stdout.Close() },
		} {
			t.Run(strings.Join(args, " ")+" "+name, func(t *testing.T) {
				cmd, stdout, stderr := s.process(args...)
				if _, err := io.ReadFull(stdout, make([]byte, 1000)); err != nil {
					t.Fatal(err, stderr)
				}
				s.searchesRunning("1")
				if err := end(cmd, stdout); err != nil {
					t.Fatal(err)
				}
				s.searchesRunning("0")
				_ = cmd.Wait() // the code says it
				want := exitOK
				if name == "Ctrl-C" {
					want = exitInterrupted
				}
				if code := cmd.ProcessState.ExitCode(); code != want || stderr.String() != "" {
					t.Errorf("%v %s", cmd.ProcessState, stderr)
				}
			})
		}
	}
}
