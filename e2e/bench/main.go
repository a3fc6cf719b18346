// Command bench measures the real binary as its users run it: a server of its own on free ports, real HTTP and UDP, CPU time
// and memory of the server's process from /proc. It prints one line a figure; docs/performance.md keeps a run of it.
//
//	go run ./e2e/bench [-n 1000000] [-memory 5000000]
//
// These figures vary with the machine: compare runs by ratio, and CPU time rather than wall time.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lookoutlog/lookout/internal/loadgen"
)

func main() {
	n := flag.Int("n", 1_000_000, "events of the ingest and search figures")
	memory := flag.Int("memory", 5_000_000, "events of the memory figure, of 100 services; 0 leaves it out")
	keep := flag.String("binary", "", "measure this binary instead of building one")
	flag.Parse()
	if err := run(*n, *memory, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(n, memory int, binary string) error {
	dir, err := os.MkdirTemp("", "lookout-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if binary == "" {
		binary = filepath.Join(dir, "lookout")
		cmd := exec.Command("go", "build", "-o", binary, "./cmd/lookout")
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("building lookout: %w", err)
		}
	}
	if err := ingestAndSearch(binary, filepath.Join(dir, "http"), n); err != nil {
		return err
	}
	if err := gelf(binary, filepath.Join(dir, "gelf"), n); err != nil {
		return err
	}
	if memory > 0 {
		return rss(binary, filepath.Join(dir, "memory"), memory)
	}
	return nil
}

func report(name, format string, args ...any) {
	fmt.Printf("%-34s %s\n", name, fmt.Sprintf(format, args...))
}

// runs is how often the ingest figure is taken: a shared machine's CPU time varies much from one to the next.
const runs = 5

// ingestAndSearch: JSON over HTTP, each request answered after fsync, until the last event is found by a search.
func ingestAndSearch(binary, dir string, n int) error {
	bodies, raw := ndjson(loadgen.Options{Seed: 1}, n, 1<<20)
	var s *server
	var cpus, rates, allocs []float64
	for i := range runs {
		if s != nil {
			s.kill()
		}
		dir := filepath.Join(dir, strconv.Itoa(i))
		var err error
		if s, err = start(binary, dir); err != nil {
			return err
		}
		defer s.kill()
		cpu, rate, alloc, err := s.ingest(bodies, n)
		if err != nil {
			return err
		}
		cpus, rates, allocs = append(cpus, cpu), append(rates, rate), append(allocs, alloc)
	}
	for _, list := range [][]float64{cpus, rates, allocs} {
		slices.Sort(list)
	}
	report("json → durable → searchable", "%.2f CPU-s per million events (median of %d, %.2f to %.2f), %.0f events/s, %.2f allocations an event (%d events, %d MB, 4 connections, 1 MiB bodies)",
		cpus[runs/2], runs, cpus[0], cpus[runs-1], rates[runs/2], allocs[runs/2], n, raw/1_000_000)

	// Sealed, so that the search figures are of blocks and not of memory.
	if err := s.restart(); err != nil {
		return err
	}
	size, err := folder(filepath.Join(s.dir, "data", "store", "segments"))
	if err != nil {
		return err
	}
	report("stored", "%.1f bytes an event in segments, %.1f raw", float64(size)/float64(n), float64(raw)/float64(n))
	for _, q := range []struct{ name, q, params string }{
		{"count of a word", "error", "count=true"}, {"count of a word, case-sensitive", "Error", "count=true"},
		{"count of an absent word", "nosuchword", "count=true"}, {"newest 100 of a word", "failed", "order=newest&limit=100"},
		{"needle by field", "request_id:" + needle(bodies), ""}, {"count of all", "*", "count=true"},
		{"regex with a literal", `~"fail(ed|ure)"`, "count=true"}, {"not info", "-level:info", "count=true"},
	} {
		var walls []time.Duration
		var matched int
		cpu := s.cpu()
		const reps = 5
		for range reps {
			begin := time.Now()
			if matched, err = s.search(q.q, q.params); err != nil {
				return err
			}
			walls = append(walls, time.Since(begin))
		}
		used := s.cpu() - cpu
		slices.Sort(walls)
		report("search: "+q.name, "%.1f ms (median of %d), %.0f CPU-ms, %d matched of %d", ms(walls[reps/2]), reps, ms(used)/reps, matched, n)
	}
	begin := time.Now()
	out, err := s.cli("grep", "-c", "--all", "error")
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	report("lookout grep -c --all error", "%.1f ms with the client's start (%d lines of answer)", ms(time.Since(begin)), len(lines))
	begin = time.Now()
	out, err = s.cli("grep", "--all", "error")
	if err != nil {
		return err
	}
	report("lookout grep --all error", "%.1f ms, %d lines", ms(time.Since(begin)), bytes.Count(out, []byte("\n")))
	return nil
}

// ingest sends the bodies and searches for the last of them: CPU-s per million events, events per second of wall time, and
// allocations an event.
func (s *server) ingest(bodies [][]byte, n int) (cpu, rate, allocs float64, err error) {
	before, err := s.metric("go_memstats_mallocs_total")
	if err != nil {
		return 0, 0, 0, err
	}
	used, begin := s.cpu(), time.Now()
	if err := s.post(bodies, 4); err != nil {
		return 0, 0, 0, err
	}
	found, err := s.count("*")
	if err != nil {
		return 0, 0, 0, err
	}
	if found != n {
		return 0, 0, 0, fmt.Errorf("%d events sent and acknowledged, %d found", n, found)
	}
	wall := time.Since(begin)
	used = s.cpu() - used
	after, err := s.metric("go_memstats_mallocs_total")
	return used.Seconds() / float64(n) * 1e6, float64(n) / wall.Seconds(), (after - before) / float64(n), err
}

func needle(bodies [][]byte) string {
	m := regexp.MustCompile(`"request_id":"([0-9a-f]+)"`).FindSubmatch(bodies[len(bodies)/2])
	return string(m[1])
}

// gelf: uncompressed GELF over UDP, one message a datagram.
func gelf(binary, dir string, n int) error {
	s, err := start(binary, dir)
	if err != nil {
		return err
	}
	defer s.kill()
	g := loadgen.New(loadgen.Options{Seed: 2})
	messages := make([][]byte, 0, 50_000)
	for len(messages) < cap(messages) {
		if m := g.GELF(nil); len(m) < 1420 { // longer ones would be chunked
			messages = append(messages, m)
		}
	}
	conn, err := net.Dial("udp", s.gelf)
	if err != nil {
		return err
	}
	defer conn.Close()
	rate, stored, total := 0.0, 0, 0
	for target := 20_000.0; ; target *= 1.25 {
		sent, actual, err := pace(conn, messages, target, 2*time.Second)
		if err != nil {
			return err
		}
		total += sent
		got, err := s.settle()
		if err != nil {
			return err
		}
		lost := sent - (got - stored)
		stored = got
		if lost > 0 || actual < 0.9*target || total > 20*n {
			why := "datagrams were dropped"
			if lost == 0 {
				why = "the sender, on the same cores, could not send faster"
			}
			report("gelf/udp without a drop", "%.0f datagrams/s for 2 s; at %.0f/s %d of %d %s", rate, actual, lost, sent, why)
			break
		}
		rate = actual
	}
	cpu := s.cpu()
	if _, _, err := pace(conn, messages, rate/2, time.Duration(float64(n)/rate*2*float64(time.Second))); err != nil {
		return err
	}
	got, err := s.settle()
	if err != nil {
		return err
	}
	report("gelf/udp uncompressed", "%.2f CPU-s per million datagrams at %.0f/s (%d of them)", (s.cpu()-cpu).Seconds()/float64(got-stored)*1e6, rate/2, got-stored)
	return nil
}

// pace sends for a time at a rate and returns what it reached.
func pace(conn net.Conn, messages [][]byte, rate float64, limit time.Duration) (sent int, actual float64, err error) {
	begin := time.Now()
	for {
		past := time.Since(begin)
		if past >= limit {
			break
		}
		for due := int(rate * past.Seconds()); sent < due; sent++ {
			if _, err := conn.Write(messages[sent%len(messages)]); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
				return sent, 0, err
			}
		}
		time.Sleep(500 * time.Microsecond)
	}
	return sent, float64(sent) / time.Since(begin).Seconds(), nil
}

// settle waits until no more events arrive and returns how many there are.
func (s *server) settle() (int, error) {
	prev, same := -1.0, 0
	for {
		n, err := s.metric("lookout_store_sequence")
		if err != nil {
			return 0, err
		}
		if n == prev {
			if same++; same == 10 {
				return int(n), nil
			}
		} else {
			prev, same = n, 0
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// rss: peak anonymous memory while events of 100 services go in.
func rss(binary, dir string, n int) error {
	s, err := start(binary, dir)
	if err != nil {
		return err
	}
	defer s.kill()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var peak atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			peak.Store(max(peak.Load(), s.rssAnon()))
			time.Sleep(20 * time.Millisecond)
		}
	})
	begin := time.Now()
	const part = 500_000
	for sent := 0; sent < n; sent += part {
		bodies, _ := ndjson(loadgen.Options{Seed: uint64(sent), Services: 100, Start: 1_790_000_000e9 + int64(sent)*1e6}, min(part, n-sent), 1<<20)
		if err := s.post(bodies, 4); err != nil {
			return err
		}
	}
	wall := time.Since(begin)
	found, err := s.count("*")
	if err != nil {
		return err
	}
	if _, err := s.search("error", "count=true"); err != nil {
		return err
	}
	cancel()
	wg.Wait()
	if found != n {
		return fmt.Errorf("%d events sent and acknowledged, %d found", n, found)
	}
	size, err := folder(filepath.Join(dir, "data", "store", "segments"))
	if err != nil {
		return err
	}
	report("memory, 100 services", "RssAnon at most %d MB while %d events went in, in %.0f s with the generator on the same cores; %.1f bytes an event on disk",
		peak.Load()/1_000_000, n, wall.Seconds(), float64(size)/float64(n))
	return nil
}

// ndjson returns n events as request bodies.
func ndjson(o loadgen.Options, n, size int) (bodies [][]byte, raw int) {
	g := loadgen.New(o)
	var b []byte
	for i := range n {
		if b == nil {
			b = make([]byte, 0, size+4096)
		}
		b = g.NDJSON(b)
		if len(b) >= size || i == n-1 {
			bodies = append(bodies, b)
			raw += len(b)
			b = nil
		}
	}
	return bodies, raw
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func folder(dir string) (size int64, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			size += info.Size()
		}
	}
	return size, err
}

// server is a running lookout.
type server struct {
	binary, dir string
	cmd         *exec.Cmd
	http, gelf  string
	token       string
}

func start(binary, dir string) (*server, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &server{binary: binary, dir: dir}
	return s, s.run()
}

func (s *server) env() []string {
	return append(os.Environ(), "LOOKOUT_DATA="+filepath.Join(s.dir, "data"), "LOOKOUT_HTTP=127.0.0.1:0", "LOOKOUT_GELF=127.0.0.1:0", "LOOKOUT_DOCKER=off")
}

func (s *server) run() error {
	s.cmd = exec.Command(s.binary, "serve")
	s.cmd.Dir, s.cmd.Env = s.dir, s.env()
	logs, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer logs.Close()
	s.cmd.Stderr = logs
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.http, s.gelf = "", ""
	lines := bufio.NewScanner(out)
	for (s.http == "" || s.gelf == "") && lines.Scan() {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) >= 2 && f[0] == "HTTP":
			s.http = strings.TrimSuffix(f[1], "/")
		case len(f) >= 2 && f[0] == "GELF":
			s.gelf = strings.TrimPrefix(f[1], "udp://")
		}
	}
	if s.http == "" || s.gelf == "" {
		return fmt.Errorf("lookout printed no addresses; see %s/log", s.dir)
	}
	go io.Copy(io.Discard, out)
	token, err := os.ReadFile(filepath.Join(s.dir, "data", "token"))
	s.token = strings.TrimSpace(string(token))
	return err
}

func (s *server) kill() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	_ = s.cmd.Wait()
}

func (s *server) restart() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := s.cmd.Wait(); err != nil {
		return err
	}
	return s.run()
}

// cpu returns the process's CPU time, in steps of 10 ms.
func (s *server) cpu() time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	u, _ := strconv.Atoi(f[11])
	k, _ := strconv.Atoi(f[12])
	return time.Duration(u+k) * 10 * time.Millisecond
}

func (s *server) rssAnon() int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for l := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(l, "RssAnon:"); ok {
			kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10
		}
	}
	return 0
}

func (s *server) cli(args ...string) ([]byte, error) {
	cmd := exec.Command(s.binary, args...)
	cmd.Dir, cmd.Env = s.dir, append(s.env(), "LOOKOUT_URL="+s.http)
	cmd.Stderr = os.Stderr
	return cmd.Output()
}

func (s *server) do(method, path string, body []byte) (*http.Response, error) {
	r, err := http.NewRequest(method, s.http+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+s.token)
	return http.DefaultClient.Do(r)
}

// post sends the bodies over some connections; what is turned away for a moment is sent again.
func (s *server) post(bodies [][]byte, conns int) error {
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = conns
	var next atomic.Int64
	errs := make(chan error, conns)
	for range conns {
		go func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(bodies) {
					errs <- nil
					return
				}
				for {
					resp, err := s.do("POST", "/api/v1/events", bodies[i])
					if err != nil {
						errs <- err
						return
					}
					answer, _ := io.ReadAll(resp.Body)
					resp.Body.Close()
					if resp.StatusCode == 200 {
						break
					}
					if resp.StatusCode != 429 {
						errs <- fmt.Errorf("%d %s", resp.StatusCode, answer)
						return
					}
					time.Sleep(50 * time.Millisecond)
				}
			}
		}()
	}
	var all []error
	for range conns {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

func (s *server) count(q string) (int, error) { return s.search(q, "count=true") }

// search reads a whole answer and returns how many events matched.
func (s *server) search(q, params string) (int, error) {
	resp, err := s.do("GET", "/api/v1/query?q="+url.QueryEscape(q)+"&"+params, nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var lastLine []byte
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		lastLine = append(lastLine[:0], lines.Bytes()...)
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	var answer struct {
		Summary *struct {
			Matched  int
			Complete bool
		}
	}
	if err := json.Unmarshal(lastLine, &answer); err != nil || answer.Summary == nil || !answer.Summary.Complete {
		return 0, fmt.Errorf("query %s: %d %s %v", q, resp.StatusCode, lastLine, err)
	}
	return answer.Summary.Matched, nil
}

// metric returns a metric's value.
func (s *server) metric(name string) (float64, error) {
	resp, err := s.do("GET", "/metrics", nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(rest, 64)
		}
	}
	return 0, fmt.Errorf("no metric %s", name)
}
