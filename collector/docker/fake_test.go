package docker

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeEngine is a Docker engine over connections in memory, so that its time is the bubble's (testing/synctest). It answers
// what the Input asks, as 20.10 does.
type fakeEngine struct {
	mu         sync.Mutex
	changed    chan struct{} // closed when anything below changes
	up         bool
	conns      map[net.Conn]bool
	containers map[string]*fakeContainer
	events     []map[string]any
	last       int64 // time of the last row or event
	requests   map[string]int
	attachLate bool // attaching is not answered yet
}

type fakeContainer struct {
	id, name, image, driver string
	labels                  map[string]string
	tty, autoRemove         bool
	config                  map[string]string // of its log
	policy                  string
	rows                    []row
	state                   string
	started, finished       time.Time
	exit, restarts          int
	health                  string
	oom                     bool
	address                 string
	hostNetwork             bool
	unreadable              bool   // its log gives 500
	broken                  int    // how many times reading its log ends with the daemon's error behind the first row
	cut                     int    // its log gives only so many rows, 0: all
	missed                  [2]int // rows that who follows does not get, as with a log that is rotated: from, to
	attached                []net.Conn
}

func newFakeEngine() *fakeEngine {
	return &fakeEngine{
		changed: make(chan struct{}), up: true, last: time.Now().UnixNano() + 1, conns: map[net.Conn]bool{}, containers: map[string]*fakeContainer{}, requests: map[string]int{},
	}
}

// dial connects to the engine.
func (e *fakeEngine) dial(context.Context, string, string) (net.Conn, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.up {
		return nil, fmt.Errorf("connection refused")
	}
	ours, theirs := newPipe()
	e.conns[theirs] = true
	listener := &oneConn{conn: theirs, done: make(chan struct{})}
	server := &http.Server{Handler: e, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), ConnState: func(c net.Conn, s http.ConnState) {
		if s == http.StateClosed || s == http.StateHijacked {
			listener.close()
		}
	}}
	go func() { _ = server.Serve(listener) }()
	return ours, nil
}

// pipe is one end of a connection in memory that has buffers, as a socket has.
type pipe struct {
	in, out *half
}

type half struct {
	mu       sync.Mutex
	cond     sync.Cond
	buf      []byte
	closed   bool
	deadline bool // reading is to end
}

func newPipe() (a, b net.Conn) {
	x, y := &half{}, &half{}
	x.cond.L, y.cond.L = &x.mu, &y.mu
	return &pipe{x, y}, &pipe{y, x}
}

func (p *pipe) Read(b []byte) (int, error) {
	h := p.in
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.buf) == 0 {
		switch {
		case h.deadline:
			return 0, os.ErrDeadlineExceeded
		case h.closed:
			return 0, io.EOF
		}
		h.cond.Wait()
	}
	n := copy(b, h.buf)
	h.buf = h.buf[n:]
	h.cond.Broadcast()
	return n, nil
}

func (p *pipe) Write(b []byte) (n int, err error) {
	h := p.out
	h.mu.Lock()
	defer h.mu.Unlock()
	for n < len(b) {
		for len(h.buf) >= 200<<10 && !h.closed {
			h.cond.Wait()
		}
		if h.closed {
			return n, net.ErrClosed
		}
		k := min(len(b)-n, 200<<10-len(h.buf))
		h.buf = append(h.buf, b[n:n+k]...)
		n += k
		h.cond.Broadcast()
	}
	return n, nil
}

func (p *pipe) Close() error {
	for _, h := range []*half{p.in, p.out} {
		h.mu.Lock()
		h.closed = true
		h.cond.Broadcast()
		h.mu.Unlock()
	}
	return nil
}

// SetReadDeadline knows only the past and never: nothing here has timeouts of its own.
func (p *pipe) SetReadDeadline(t time.Time) error {
	p.in.mu.Lock()
	p.in.deadline = !t.IsZero() && t.Before(time.Now())
	p.in.cond.Broadcast()
	p.in.mu.Unlock()
	return nil
}
func (p *pipe) SetDeadline(t time.Time) error      { return p.SetReadDeadline(t) }
func (p *pipe) SetWriteDeadline(t time.Time) error { return nil }
func (p *pipe) LocalAddr() net.Addr                { return &net.UnixAddr{Name: "/fake.sock", Net: "unix"} }
func (p *pipe) RemoteAddr() net.Addr               { return &net.UnixAddr{Name: "@", Net: "unix"} }

// oneConn is a listener that has one connection.
type oneConn struct {
	conn net.Conn
	once sync.Once
	end  sync.Once
	done chan struct{}
}

func (l *oneConn) Accept() (conn net.Conn, err error) {
	l.once.Do(func() { conn = l.conn })
	if conn != nil {
		return conn, nil
	}
	<-l.done
	return nil, net.ErrClosed
}
func (l *oneConn) close()         { l.end.Do(func() { close(l.done) }) }
func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "/fake.sock", Net: "unix"} }

// change lets waiting requests see what has changed. mu is held.
func (e *fakeEngine) change() {
	close(e.changed)
	e.changed = make(chan struct{})
}

// tick returns a time later than all before. mu is held.
func (e *fakeEngine) tick() int64 {
	e.last = max(e.last+1, time.Now().UnixNano())
	return e.last
}

// emit sends an event. mu is held.
func (e *fakeEngine) emit(c *fakeContainer, action string, attributes ...string) {
	a := maps.Clone(c.labels)
	if a == nil {
		a = map[string]string{}
	}
	a["name"], a["image"] = c.name, c.image
	for i := 0; i+1 < len(attributes); i += 2 {
		a[attributes[i]] = attributes[i+1]
	}
	at := e.tick()
	e.events = append(e.events, map[string]any{
		"status": action, "id": c.id, "Type": "container", "Action": action, "Actor": map[string]any{"ID": c.id, "Attributes": a},
		"scope": "local", "time": at / 1e9, "timeNano": at,
	})
	e.change()
}

// do changes the engine; waiting requests see it.
func (e *fakeEngine) do(fn func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	fn()
	e.change()
}

func idOf(name string) string { return fmt.Sprintf("%064x", "id"+name)[:64] }

// create makes a container. set may be nil.
func (e *fakeEngine) create(name string, set func(c *fakeContainer)) *fakeContainer {
	c := &fakeContainer{
		id: idOf(name), name: name, image: "shop:7", driver: "json-file", state: "created", address: "10.0.0.2",
	}
	if set != nil {
		set(c)
	}
	e.do(func() {
		e.containers[c.id] = c
		e.emit(c, "create")
	})
	return c
}

func (e *fakeEngine) start(c *fakeContainer) {
	e.do(func() {
		c.state, c.started, c.exit = "running", time.Unix(0, e.tick()), 0
		e.emit(c, "start")
	})
}

// run creates a container and starts it, some time later, as docker run does.
func (e *fakeEngine) run(name string, set func(c *fakeContainer)) *fakeContainer {
	c := e.create(name, set)
	synctest.Wait()
	e.start(c)
	return c
}

// write makes the container write lines, which begin with "!" for stderr.
func (e *fakeEngine) write(c *fakeContainer, lines ...string) {
	e.do(func() {
		for _, l := range lines {
			text, isErr := strings.CutPrefix(l, "!")
			s := stdout
			if isErr {
				s = stderr
			}
			at := e.tick()
			for _, conn := range c.attached {
				p := []byte(text + "\n")
				if c.tty {
					p = []byte(text + "\r\n")
				} else {
					p = append(binary.BigEndian.AppendUint32([]byte{byte(s) + 1, 0, 0, 0}, uint32(len(p))), p...)
				}
				_, _ = conn.Write(p)
			}
			for len(text) >= fragmentSize {
				c.rows = append(c.rows, row{stream: s, time: at, text: []byte(text[:fragmentSize])})
				text = text[fragmentSize:]
			}
			if c.tty {
				text += "\r"
			}
			c.rows = append(c.rows, row{stream: s, time: at, text: []byte(text), ended: true})
		}
	})
}

func (e *fakeEngine) die(c *fakeContainer, exit int) {
	e.do(func() {
		c.state, c.finished, c.exit = "exited", time.Unix(0, e.tick()), exit
		for _, conn := range c.attached {
			conn.Close()
		}
		c.attached = nil
		e.emit(c, "die", "exitCode", strconv.Itoa(exit))
		if c.autoRemove {
			e.remove(c)
		}
	})
}

// remove removes a container. mu is held.
func (e *fakeEngine) remove(c *fakeContainer) {
	delete(e.containers, c.id)
	e.emit(c, "destroy")
}

// stop makes the engine unreachable; it forgets its events.
func (e *fakeEngine) stop() {
	e.do(func() {
		e.up, e.events = false, nil
		for c := range e.conns {
			c.Close()
		}
		clear(e.conns)
	})
}

var version = regexp.MustCompile(`^/v[0-9.]+/`)

func (e *fakeEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/_ping" {
		w.Header().Set("Api-Version", "1.41")
		w.Header().Set("Ostype", "linux")
		return
	}
	if !strings.HasPrefix(r.URL.Path, "/v1.41/") {
		fail(w, http.StatusBadRequest, "client version is too new")
		return
	}
	path := strings.Split(version.ReplaceAllString(r.URL.Path, ""), "/")
	q := r.URL.Query()
	e.mu.Lock()
	e.requests[path[len(path)-1]]++
	e.mu.Unlock()
	switch {
	case path[0] == "info":
		answer(w, map[string]any{"ID": "ENGINE", "Name": "vm", "SystemTime": time.Now().Format(time.RFC3339Nano), "LoggingDriver": "json-file"})
	case path[0] == "events":
		e.serveEvents(w, r, q.Get("since"), q.Get("until"))
	case path[0] != "containers":
		fail(w, http.StatusNotFound, "page not found")
	case path[1] == "json":
		e.mu.Lock()
		list := []map[string]any{}
		for _, id := range slices.Sorted(maps.Keys(e.containers)) {
			list = append(list, map[string]any{"Id": id, "Names": []string{"/" + e.containers[id].name}})
		}
		e.mu.Unlock()
		answer(w, list)
	default:
		e.mu.Lock()
		c := e.containers[path[1]]
		e.mu.Unlock()
		if c == nil {
			fail(w, http.StatusNotFound, "No such container: "+path[1])
			return
		}
		switch path[2] {
		case "json":
			e.inspect(w, c)
		case "logs":
			e.serveLogs(w, r, c)
		case "stats":
			answer(w, map[string]any{
				"read": time.Now().Format(time.RFC3339Nano), "cpu_stats": map[string]any{"cpu_usage": map[string]any{"total_usage": uint64(3e8 * time.Since(c.started).Seconds())}},
				"memory_stats": map[string]any{"usage": 23 << 20, "limit": 1 << 30, "stats": map[string]any{"inactive_file": 1 << 20}},
				"networks":     map[string]any{"eth0": map[string]any{"rx_bytes": 5, "tx_bytes": 6}},
			})
		case "attach":
			e.attach(w, c)
		}
	}
}

func answer(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }

func fail(w http.ResponseWriter, code int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	answer(w, map[string]string{"message": message})
}

func (e *fakeEngine) inspect(w http.ResponseWriter, c *fakeContainer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	state := map[string]any{
		"Status": c.state, "ExitCode": c.exit, "OOMKilled": c.oom, "StartedAt": c.started.UTC().Format(time.RFC3339Nano),
		"FinishedAt": c.finished.UTC().Format(time.RFC3339Nano),
	}
	if c.health != "" {
		state["Health"] = map[string]any{"Status": c.health}
	}
	address := ""
	if c.state == "running" {
		address = c.address
	}
	network := "default"
	if c.hostNetwork {
		network = "host"
	}
	answer(w, map[string]any{
		"Id": c.id, "Name": "/" + c.name, "RestartCount": c.restarts, "State": state,
		"HostConfig": map[string]any{
			"LogConfig": map[string]any{"Type": c.driver, "Config": c.config}, "AutoRemove": c.autoRemove,
			"RestartPolicy": map[string]any{"Name": c.policy}, "NetworkMode": network,
		},
		"Config":          map[string]any{"Image": c.image, "Labels": c.labels, "Tty": c.tty, "Env": []string{"PASSWORD=canary-secret"}},
		"NetworkSettings": map[string]any{"Networks": map[string]any{"bridge": map[string]any{"IPAddress": address}}},
	})
}

func parseAPITime(s string) int64 {
	if s == "" {
		return 0
	}
	sec, frac, _ := strings.Cut(s, ".")
	a, _ := strconv.ParseInt(sec, 10, 64)
	b, _ := strconv.ParseInt((frac + "000000000")[:9], 10, 64)
	return a*1e9 + b
}

// serveEvents sends the events in [since, until], and from then on each new one.
func (e *fakeEngine) serveEvents(w http.ResponseWriter, r *http.Request, since, until string) {
	from, to := parseAPITime(since), parseAPITime(until)
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	for sent := 0; ; {
		e.mu.Lock()
		list, changed := e.events[min(sent, len(e.events)):], e.changed
		sent = len(e.events)
		e.mu.Unlock()
		for _, m := range list {
			if at := m["timeNano"].(int64); at >= from && (to == 0 || at <= to) {
				answer(w, m)
			}
		}
		w.(http.Flusher).Flush()
		if to != 0 {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

// serveLogs sends rows as the daemon does: framed unless the container has a terminal, the time in front.
func (e *fakeEngine) serveLogs(w http.ResponseWriter, r *http.Request, c *fakeContainer) {
	q := r.URL.Query()
	since, follow := parseAPITime(q.Get("since")), q.Get("follow") == "1"
	e.mu.Lock()
	switch {
	case c.driver == "none":
		e.mu.Unlock()
		fail(w, http.StatusNotImplemented, "configured logging driver does not support reading")
		return
	case c.unreadable:
		e.mu.Unlock()
		fail(w, http.StatusInternalServerError, "open x-json.log: no such file or directory")
		return
	}
	next := 0
	if n, err := strconv.Atoi(q.Get("tail")); err == nil {
		next = max(len(c.rows)-n, 0)
	}
	if c.driver == "local" && since != 0 {
		since += int64(time.Hour) // it leaves out the file in which that lies
	}
	opened := len(c.rows)
	broken := c.broken > 0
	if broken {
		c.broken--
	}
	e.mu.Unlock()
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	for sent := 0; ; {
		e.mu.Lock()
		rows, changed, running := c.rows[min(next, len(c.rows)):], e.changed, c.state == "running"
		first := next
		next = len(c.rows)
		missed := c.missed
		e.mu.Unlock()
		for i, r := range rows {
			if i += first; follow && i >= opened && i >= missed[0] && i < missed[1] {
				continue
			}
			if r.time < since || c.cut > 0 && sent >= c.cut {
				continue
			}
			p := stamp(r.time) + string(r.text)
			if r.ended {
				p += "\n"
			}
			if c.tty {
				_, _ = io.WriteString(w, p)
			} else {
				_, _ = w.Write(frame(byte(r.stream)+1, p))
			}
			w.(http.Flusher).Flush()
			if sent++; broken {
				_, _ = w.Write(frame(3, "Error grabbing logs: no such file or directory\n"))
				return
			}
		}
		if !follow || !running {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func (e *fakeEngine) attach(w http.ResponseWriter, c *fakeContainer) {
	for {
		e.mu.Lock()
		late, changed := e.attachLate, e.changed
		e.mu.Unlock()
		if !late {
			break
		}
		<-changed
	}
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	_, _ = io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
	e.do(func() {
		if c.state == "exited" {
			conn.Close()
			return
		}
		c.attached = append(c.attached, conn)
	})
}

// bubble runs fn with an engine in a bubble of its own time.
func bubble(t *testing.T, fn func(t *testing.T, e *fakeEngine)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		e := newFakeEngine()
		fn(t, e)
		e.stop()
		synctest.Wait()
	})
}

// started is an Input that runs.
type startedInput struct {
	*Input
	sink *process
	stop func()
}

// begin runs an Input against the engine until stop; set may change its options.
func begin(t *testing.T, e *fakeEngine, store *ledger, set func(o *Options)) *startedInput {
	t.Helper()
	p := &process{ledger: store}
	o := Options{Address: "unix:///fake.sock", Sink: p, dial: e.dial}
	if set != nil {
		set(&o)
	}
	in, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	in.self = self{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	synctest.Wait()
	return &startedInput{in, p, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}}
}

// pass lets time go by until all is done that is due.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
