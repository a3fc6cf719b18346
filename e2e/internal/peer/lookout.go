package peer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Lookout is a running lookout.
type Lookout struct {
	*Process
	client
	Dir  string // holds the folder data, and its log
	GELF string // HOST:PORT, UDP

	binary string
	env    []string
}

// BuildLookout builds ./cmd/lookout of the working folder's module into a file; flags are more of go build's.
func BuildLookout(ctx context.Context, file string, flags ...string) error {
	cmd := exec.CommandContext(ctx, "go", slices.Concat([]string{"build", "-o", file}, flags, []string{"./cmd/lookout"})...)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("building lookout: %w", err)
	}
	return nil
}

// StartLookout starts a lookout with its data below a folder, which may have some. Settings are of its environment, NAME=VALUE.
func StartLookout(ctx context.Context, binary, dir string, settings ...string) (*Lookout, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if binary, err = filepath.Abs(binary); err != nil { // it runs in its folder
		return nil, err
	}
	s := &Lookout{Dir: dir, binary: binary}
	s.env = append(os.Environ(), "LOOKOUT_DATA="+filepath.Join(dir, "data"), "LOOKOUT_HTTP=127.0.0.1:0", "LOOKOUT_GELF=127.0.0.1:0", "LOOKOUT_SYSLOG=off", "LOOKOUT_DOCKER=off")
	s.env = append(s.env, settings...)
	return s, s.run(ctx)
}

func (s *Lookout) run(ctx context.Context) error {
	cmd := exec.Command(s.binary, "serve") // not of the context: it ends by SIGTERM, and is waited for
	cmd.Dir, cmd.Env = s.Dir, s.env
	logs, err := os.OpenFile(filepath.Join(s.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer logs.Close()
	cmd.Stderr = logs
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if s.Process, err = begin(cmd); err != nil {
		return fmt.Errorf("starting lookout: %w", err)
	}
	base := ""
	s.GELF = ""
	stop := context.AfterFunc(ctx, func() { _, _ = s.Stop() }) // so that the lines below end
	lines := bufio.NewScanner(out)
	for (base == "" || s.GELF == "") && lines.Scan() {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) >= 2 && f[0] == "HTTP":
			base = strings.TrimSuffix(f[1], "/")
		case len(f) >= 2 && f[0] == "GELF":
			s.GELF = strings.TrimPrefix(f[1], "udp://")
		}
	}
	stop()
	if base == "" || s.GELF == "" {
		_, err := s.Stop()
		return errors.Join(fmt.Errorf("lookout printed no addresses; see %s", logs.Name()), err)
	}
	go io.Copy(io.Discard, out)
	token, err := os.ReadFile(filepath.Join(s.Dir, "data", "token"))
	if err != nil {
		_, _ = s.Stop()
		return err
	}
	s.client = newClient(base, http.Header{"Authorization": {"Bearer " + strings.TrimSpace(string(token))}})
	return nil
}

// Restart ends the server, which seals what it has in memory, and starts it again.
func (s *Lookout) Restart(ctx context.Context) error {
	if _, err := s.Stop(); err != nil {
		return err
	}
	return s.run(ctx)
}

// Crash ends the server with SIGKILL, and starts it again.
func (s *Lookout) Crash(ctx context.Context) error {
	s.Process.Kill()
	return s.run(ctx)
}

// URL is the server's address, and Token its administrator's.
func (s *Lookout) URL() string   { return s.base }
func (s *Lookout) Token() string { return strings.TrimPrefix(s.header.Get("Authorization"), "Bearer ") }

// Idle waits until the server has done next to nothing for three seconds in a row, and has merged what it wants to merge.
func (s *Lookout) Idle(ctx context.Context) error {
	for {
		if err := s.Process.Idle(ctx); err != nil {
			return err
		}
		waiting, err := s.Metric(ctx, "lookout_store_compaction_waiting_segments")
		if err != nil || waiting == 0 {
			return err
		}
	}
}

// Stop ends the process of the moment, as [Process.Stop] does: a deferred one must not be that of before a Restart.
func (s *Lookout) Stop() (cpu time.Duration, err error) { return s.Process.Stop() }

// Insert sends NDJSON over some connections and returns when all of it is answered, which is after fsync.
func (s *Lookout) Insert(ctx context.Context, bodies [][]byte, conns int) error {
	return s.InsertFrom(ctx, each(bodies), conns)
}

// InsertFrom is Insert of bodies that are made as they are sent: next returns one a call, and nil after the last.
func (s *Lookout) InsertFrom(ctx context.Context, next func() []byte, conns int) error {
	return s.post(ctx, "/api/v1/events", next, conns)
}

// CLI runs lookout's command line against the server and returns what it prints.
func (s *Lookout) CLI(ctx context.Context, args ...string) ([]byte, error) {
	cmd := s.Command(ctx, args...)
	cmd.Stderr = os.Stderr
	return cmd.Output()
}

// Command is a command of the same binary that asks this server; it has not been started.
func (s *Lookout) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.binary, args...)
	cmd.Dir, cmd.Env = s.Dir, append(s.env, "LOOKOUT_URL="+s.base)
	return cmd
}

// Summary reads how many events matched from the last line of a search's answer.
func Summary(line []byte) (matched int, err error) {
	var answer struct {
		Summary *struct {
			Matched  int
			Complete bool
		}
	}
	if err := json.Unmarshal(line, &answer); err != nil || answer.Summary == nil || !answer.Summary.Complete {
		return 0, fmt.Errorf("the answer is not complete, its last line is %.300q", line)
	}
	return answer.Summary.Matched, nil
}

// Search reads a whole answer and returns how many events matched; params are more parameters of the address.
func (s *Lookout) Search(ctx context.Context, q, params string) (int, error) {
	resp, err := s.Do(ctx, "GET", "/api/v1/query?q="+url.QueryEscape(q)+"&"+params, nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var last []byte
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		last = append(last[:0], lines.Bytes()...)
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	matched, err := Summary(last)
	if err != nil {
		return 0, fmt.Errorf("query %s: %s: %w", q, resp.Status, err)
	}
	return matched, nil
}

// Metric returns a metric's value.
func (s *Lookout) Metric(ctx context.Context, name string) (float64, error) {
	all, err := s.Metrics(ctx)
	if err != nil {
		return 0, err
	}
	v, ok := all[name]
	if !ok {
		return 0, fmt.Errorf("no metric %s", name)
	}
	return v, nil
}

// Metrics returns the metrics that have no labels.
func (s *Lookout) Metrics(ctx context.Context) (map[string]float64, error) {
	resp, err := s.Do(ctx, "GET", "/metrics", nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	all := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			all[name] = v
		}
	}
	return all, lines.Err()
}
