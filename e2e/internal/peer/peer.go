// Package peer runs the servers that e2e/bench and e2e/compare measure, lookout and VictoriaLogs, each as its users run it: a
// process of its own on free ports of 127.0.0.1 with a folder of its own, spoken to over real HTTP.
//
//	s, err := peer.StartLookout(ctx, binary, dir)
//	defer s.Stop()
//	err = s.Insert(ctx, peer.Split(ndjson, 1<<20), 4)
//	err = s.Idle(ctx)
//
// CPU time and memory are the kernel's figures of the server's process alone: what the client uses on the same cores is not in
// them, except that it takes the cores from the server, which wall times show.
package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// FreePorts returns ports of 127.0.0.1 that nobody uses, TCP nor UDP. They lie below those that systems give out by themselves: nobody is
// given one before its server listens, or while that is started again.
func FreePorts(n int) (ports []string, err error) {
	const from, to = 20_000, 32_000
	for range 10_000 {
		if len(ports) == n {
			return ports, nil
		}
		port := strconv.Itoa(from + rand.IntN(to-from))
		if slices.Contains(ports, port) {
			continue
		}
		var l net.Listener
		if l, err = net.Listen("tcp", "127.0.0.1:"+port); err != nil {
			continue
		}
		l.Close()
		var u net.PacketConn
		if u, err = net.ListenPacket("udp", "127.0.0.1:"+port); err != nil {
			continue
		}
		u.Close()
		ports = append(ports, port)
	}
	return nil, fmt.Errorf("looking for a free port from %d to %d: %w", from, to, err)
}

// Process is a server's process.
type Process struct {
	cmd  *exec.Cmd
	stop func() (time.Duration, error)
}

// begin starts a command. Its Stop may be called any number of times.
func begin(cmd *exec.Cmd) (*Process, error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd}
	p.stop = sync.OnceValues(func() (time.Duration, error) {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		err := cmd.Wait()
		return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), err
	})
	return p, nil
}

// Stop ends the process with SIGTERM, waits until it has ended, and returns the CPU time of its whole life, that of ending
// included.
func (p *Process) Stop() (cpu time.Duration, err error) { return p.stop() }

// Kill ends the process with SIGKILL.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	_, _ = p.stop()
}

// CPU returns the CPU time that all threads of the process have used, those that have ended too, in nanoseconds.
func (p *Process) CPU() time.Duration { return processCPU(p.cmd.Process.Pid) }

// RSSAnon returns the anonymous memory that the process holds, in bytes: its heaps and stacks, and no pages of files, which
// the kernel takes back when it needs them (VmRSS and VmHWM count those of mapped files too).
func (p *Process) RSSAnon() int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
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

// Peak looks at the anonymous memory every 20 ms until the returned function is called, which returns the most that was seen,
// in bytes.
func (p *Process) Peak() (stop func() int64) {
	done := make(chan struct{})
	var peak int64
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			peak = max(peak, p.RSSAnon())
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	return sync.OnceValue(func() int64 {
		close(done)
		wg.Wait()
		return peak
	})
}

// idleShare is the share of one core below which a process counts as idle: servers do small work on timers for ever.
const idleShare = 0.02

// Idle waits until the process has done next to nothing for three seconds in a row: what it does behind its answers, such as
// merging, has ended then.
func (p *Process) Idle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	used, at, quiet := p.CPU(), time.Now(), 0
	for quiet < 3 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s is idle: %w", filepath.Base(p.cmd.Path), ctx.Err())
		}
		now := p.CPU()
		if share := float64(now-used) / float64(time.Since(at)); share < idleShare {
			quiet++
		} else {
			quiet = 0
		}
		used, at = now, time.Now()
	}
	return nil
}

// Size returns the bytes of all files below a folder, as long as they are and not as the file system allots them.
func Size(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}

// Split parts NDJSON into bodies of whole lines, each at least so many bytes long but for the last. They alias data.
func Split(data []byte, size int) (bodies [][]byte) {
	for len(data) > 0 {
		end := len(data)
		if size < len(data) {
			if i := bytes.IndexByte(data[size:], '\n'); i >= 0 {
				end = size + i + 1
			}
		}
		bodies = append(bodies, data[:end:end])
		data = data[end:]
	}
	return bodies
}

// client is how a server is spoken to.
type client struct {
	base   string // http://127.0.0.1:PORT
	header http.Header
	http   *http.Client
}

func newClient(base string, header http.Header) client {
	// Both servers compress their answers for whoever accepts it: that would measure gzip.
	return client{base, header, &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16, DisableCompression: true, WriteBufferSize: 256 << 10, ReadBufferSize: 256 << 10}}}
}

// Do sends a request; the caller closes the answer's body.
func (c *client) Do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header = c.header.Clone()
	return c.http.Do(r)
}

// post sends what next returns, until it is nil, over some connections, each when the one before it was answered; what is turned
// away for a moment is sent again. next need not be safe for concurrent use.
func (c *client) post(ctx context.Context, path string, next func() []byte, conns int) error {
	var mu sync.Mutex
	failed := false
	body := func(err error) []byte {
		mu.Lock()
		defer mu.Unlock()
		if failed = failed || err != nil; failed {
			return nil
		}
		return next()
	}
	errs := make([]error, conns)
	var wg sync.WaitGroup
	for w := range conns {
		wg.Go(func() {
			for b := body(nil); b != nil; b = body(errs[w]) {
				errs[w] = c.postOne(ctx, path, b)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// each returns the bodies one by one, and nil after the last.
func each(bodies [][]byte) (next func() []byte) {
	return func() (b []byte) {
		if len(bodies) > 0 {
			b, bodies = bodies[0], bodies[1:]
		}
		return b
	}
}

func (c *client) postOne(ctx context.Context, path string, body []byte) error {
	for {
		resp, err := c.Do(ctx, "POST", path, body)
		if err != nil {
			return err
		}
		answer, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		switch {
		case err != nil:
			return err
		case resp.StatusCode == http.StatusOK:
			return nil
		case resp.StatusCode != http.StatusTooManyRequests:
			return fmt.Errorf("POST %s: %s: %s", path, resp.Status, answer)
		}
		select { // the server said that it is full for a moment
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
