package probe

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// check does one real check of a target on this machine.
func check(t *testing.T, o Options, in Target) (*target, *result) {
	t.Helper()
	if in.Name == "" {
		in.Name = "sales"
	}
	if in.Timeout == 0 {
		in.Timeout = 2 * time.Minute // on a slow machine too
	}
	tg, err := prepare(&in, "config")
	if err != nil {
		t.Fatal(err)
	}
	return tg, newChecker(o).check(t.Context(), tg)
}

func local(url string) Target { return Target{URL: url, AllowLoopback: true} }

func server(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func mustQuery(t *testing.T, text string) Matcher {
	t.Helper()
	q, err := query.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestHTTP(t *testing.T) {
	var conns sync.Map
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		user, password, _ := r.BasicAuth()
		fmt.Fprintf(w, "%s %s %s %s|%s|%s|%s:%s|%s%v", r.Method, r.URL, r.Host, r.UserAgent(), r.Header.Get("X-Key"), body, user, password, r.Header.Get("Accept-Encoding"), r.Close)
	}))
	srv.Config.ConnState = func(c net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Store(c.RemoteAddr().String(), true)
		}
	}
	srv.Start()
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")
	in := local("http://u:secret@" + host + "/status?a=b")
	_, r := check(t, Options{Version: "1.2"}, in)
	if want := "GET /status?a=b " + host + " lookout/1.2|||u:secret|true"; !r.ok || string(r.body) != want || r.status != 200 || r.size != int64(len(want)) || r.err != "" {
		t.Errorf("%+v: %s", r, r.body)
	}
	for p, want := range [phases]bool{connecting: true, processing: true, transfer: true} {
		if r.had[p] != want || r.phase[p] < 0 || r.phase[p] > r.took {
			t.Errorf("phase %s: %v %v of %v", phaseFields[p], r.had[p], r.phase[p], r.took)
		}
	}
	in.Method, in.Body = "POST", "ping"
	in.Headers = map[string]string{"x-key": "k", "host": "shop.test", "user-agent": "me"}
	tg, r := check(t, Options{}, in)
	if want := "POST /status?a=b shop.test me|k|ping|u:secret|true"; string(r.body) != want {
		t.Errorf("%s", r.body)
	}
	n := 0
	conns.Range(func(any, any) bool { n++; return true })
	if n != 2 {
		t.Errorf("%d connections for 2 checks", n)
	}
	// What is stored of it has no password.
	e := resultEvent("here", tg, begin, &state{status: up}, r)
	if text := string(event.AppendEvent(nil, &e)); strings.Contains(text, "secret") || !strings.Contains(field(&e, "url"), "u:xxxxx@") {
		t.Errorf("%q", text)
	}
}

// No proxy of the environment: it would resolve names where the dialer sees nothing.
func TestNoProxy(t *testing.T) {
	if u, err := http.ProxyFromEnvironment(httptest.NewRequest("GET", "http://shop.test/", nil)); u == nil {
		t.Fatalf("the test has no proxy to avoid: %v", err)
	}
	_, r := check(t, Options{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, fmt.Errorf("no name server here")
	}}}, Target{URL: "http://shop.test/"})
	if !strings.Contains(r.err, "no name server here") {
		t.Errorf("%s", r.err)
	}
}

func TestStatus(t *testing.T) {
	srv := server(t, func(w http.ResponseWriter, r *http.Request) {
		var code int
		fmt.Sscanf(r.URL.Path, "/%d", &code)
		w.WriteHeader(code)
	})
	for _, c := range []struct {
		status int
		expect string // empty: none
		want   string // the error, empty when it is well
	}{
		{200, "", ""}, {204, "", ""}, {299, "", ""},
		{199 + 101, "", "status 300, expected status:200..299"}, {404, "", "status 404, expected status:200..299"}, {503, "", "status 503, expected status:200..299"},
		{404, "status:404", ""}, {200, "status:404", "status 200, expected status:404"},
		{304, "status:(200, 304)", ""}, {302, "status:302", ""}, // without Location
	} {
		in := local(fmt.Sprintf("%s/%d", srv.URL, c.status))
		if c.expect != "" {
			in.Expect = mustQuery(t, c.expect)
		}
		_, r := check(t, Options{}, in)
		if r.ok != (c.want == "") || r.err != c.want || r.status != c.status {
			t.Errorf("%d with %q: %v %q", c.status, c.expect, r.ok, r.err)
		}
	}
}

func TestConditions(t *testing.T) {
	const body = `{"db":"up","queue":{"length":3,"slow":false},"parts":["a","b"],"note":"line\none"}`
	for _, c := range []struct {
		body, expect, want string // the error, empty when it is well
	}{
		{body, `json.db:up json.queue.length<10 json.queue.slow:false`, ""},
		{body, `json.parts:b`, ""},
		{body, `json.parts:c`, `json.parts a, json.parts b, expected json.parts:c`},
		{body, `status:200..299 json.db="down"`, `status 200, json.db up, expected status:200..299 json.db=down`},
		{body, `json.queue.length>=10`, `json.queue.length 3, expected json.queue.length>=10`},
		{body, `json.note:x`, `json.note line one, expected json.note:x`},
		{body, `body~"queue.*slow"`, ""},
		{body, `duration<1h duration_ms<3600000 phase.connect_ms<3600000 size_bytes<1kB`, ""},
		{body, `size_bytes>1000`, `size_bytes 82, expected size_bytes>1000`},
		{body, `header.content-type:application/json header.x-twice:b`, ""},
		{body, `header.x-twice:c`, `header.x-twice a, header.x-twice b, expected header.x-twice:c`},
		{body, `body~nothing`, `status 200 in X, expected body~"nothing"`},
		{body, `nothing:*`, `status 200 in X, expected nothing:*`},
		{body, `"all is well"`, `status 200 in X, expected "all is well"`},
		{body, `sales`, `status 200 in X, expected sales`},         // the name is not in it,
		{body, `127.0.0.1`, `status 200 in X, expected 127.0.0.1`}, // nor the URL
		{"OK", `OK`, ""},
		{"OK", `json.db:up`, `status 200 in X, expected json.db:up (the body is not a JSON object: at byte 0: expected '{', found OK)`},
		{`{"db":"up"`, `json.db:up`, `status 200 in X, expected json.db:up (the body is not a JSON object: at byte 10: expected ',' or '}' after a value, found the end)`},
		{`{"db":"up"} trailing`, `json.db:up`, `status 200 in X, expected json.db:up (the body is not a JSON object: something follows it: "trailing")`},
		{"\ufeff {\"db\":\"up\"}\n", `json.db:up`, ""},
		{`{"db":NaN}`, `status:200`, ""},
		{"", `size_bytes=0`, ""},
		{"\xff\xfe\x00", `body:*`, ""},
	} {
		srv := server(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header()["X-Twice"] = []string{"a", "b"}
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, c.body)
		})
		in := local(srv.URL)
		in.Expect = mustQuery(t, c.expect)
		_, r := check(t, Options{}, in)
		want := strings.ReplaceAll(c.want, " in X", " in "+short(r.took))
		if r.ok != (want == "") || r.err != want {
			t.Errorf("%s of %.20q:\ngot  %s\nwant %s", c.expect, c.body, r.err, want)
		}
	}
}

func TestRedirects(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]http.Header{} // by host
	h := func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen[r.Host] = r.Header.Clone()
		mu.Unlock()
		if to := r.URL.Query().Get("to"); to != "" {
			http.Redirect(w, r, to, http.StatusFound)
			return
		}
		var n int
		fmt.Sscanf(r.URL.Path, "/%d", &n)
		if n > 0 {
			http.Redirect(w, r, fmt.Sprintf("/%d", n-1), http.StatusTemporaryRedirect)
			return
		}
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "there %s %s", r.Method, body)
	}
	a, b := server(t, h), server(t, h)
	to := func(target string) string { return a.URL + "/?to=" + url.QueryEscape(target) }
	post := Target{URL: a.URL + "/10", AllowLoopback: true, Method: "POST", Body: "ping"}
	if _, r := check(t, Options{}, post); !r.ok || string(r.body) != "there POST ping" {
		t.Errorf("10 redirects: %+v %s", r, r.body)
	} else {
		var sum time.Duration
		for p := range phases {
			sum += r.phase[p]
		}
		if sum > r.took {
			t.Errorf("phases of %v in %v: they overlap", sum, r.took)
		}
	}
	for _, c := range []struct{ url, want string }{
		{a.URL + "/11", "more than 10 redirects"},
		{to("ftp://h/x"), `unsupported protocol scheme "ftp"`},
		{to("http://169.254.169.254/latest/meta-data/"), "refusing to connect to 169.254.169.254: link-local addresses serve cloud metadata; allow it with probe_allow"},
		{to("http://[::ffff:a9fe:a9fe]/"), "refusing to connect to 169.254.169.254: link-local"},
		{to(to("http://0.0.0.0/")), "refusing to connect to 0.0.0.0"},
		{to("http://h:port/"), "failed to parse Location header"},
	} {
		_, r := check(t, Options{}, local(c.url))
		if r.ok || !strings.Contains(r.err, c.want) || r.status != 0 {
			t.Errorf("%s: %+v", c.url, r)
		}
		if strings.Contains(r.err, "/?to=") {
			t.Errorf("the URL is in %s", r.err)
		}
	}
	// What a target sends to its host is for nobody else.
	in := local(to(b.URL + "/0"))
	in.Headers = map[string]string{"X-Key": "k", "Authorization": "Bearer k", "User-Agent": "me"}
	if _, r := check(t, Options{}, in); !r.ok {
		t.Errorf("%+v", r)
	}
	hostOf := func(s *httptest.Server) string { return strings.TrimPrefix(s.URL, "http://") }
	mu.Lock()
	defer mu.Unlock()
	if first, other := seen[hostOf(a)], seen[hostOf(b)]; first.Get("X-Key") != "k" || other.Get("X-Key")+other.Get("Authorization")+other.Get("Referer") != "" || other.Get("User-Agent") != "me" {
		t.Errorf("%v\n%v", first, other)
	}
}

func TestRefusedAddresses(t *testing.T) {
	srv := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "http://127.0.0.2:1/", http.StatusFound)
		}
	})
	port := srv.URL[strings.LastIndexByte(srv.URL, ':'):]
	allow := Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
	for _, c := range []struct {
		o    Options
		url  string
		want string // empty: well
	}{
		{Options{}, srv.URL, "refusing to connect to 127.0.0.1: loopback is lookout's own machine; allow it with probe_allow"},
		{Options{}, "tcp://127.0.0.1" + port, "refusing to connect to 127.0.0.1: loopback"},
		{Options{}, "tcp://169.254.169.254:80", "refusing to connect to 169.254.169.254: link-local"},
		{Options{}, "http://[fd00:ec2::254]/", "refusing to connect to fd00:ec2::254: it serves cloud metadata"},
		{allow, srv.URL, ""},
		{allow, "tcp://127.0.0.1" + port, ""},
		{allow, srv.URL + "/away", "refusing to connect to 127.0.0.2: loopback"},
	} {
		_, r := check(t, c.o, Target{URL: c.url})
		if r.ok != (c.want == "") || !strings.HasPrefix(r.err, c.want) {
			t.Errorf("%s: %v %q", c.url, r.ok, r.err)
		}
	}
}

// listen answers each connection with f.
func listen(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn // a lookup outlives its check by seconds
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() { defer c.Close(); f(c) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return ln.Addr().String()
}

func readRequest(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) }

// untilClosed waits for the other side's end.
func untilClosed(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// refusing returns an address of this machine that refuses connections: a connection has its port, so that nobody else gets it.
func refusing(t *testing.T) string {
	c, err := net.Dial("tcp", listen(t, untilClosed))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.LocalAddr().String()
}

// checkFailed compares what a check without success has found, and its event.
func checkFailed(t *testing.T, tg *target, r *result, want string, status int) {
	t.Helper()
	if r.ok || !strings.Contains(r.err, want) || r.status != status {
		t.Errorf("%s: %+v, want %q", tg.URL, r, want)
	}
	e := resultEvent("here", tg, begin, &state{status: up}, r)
	if want := "sales failed: " + r.err; string(e.Message) != want || e.Level != event.Notice || field(&e, "error") != r.err || field(&e, "ok") != "false" {
		t.Errorf("%s", e.Message)
	}
}

func TestBrokenServers(t *testing.T) {
	closed := refusing(t)
	says := func(answer string, then func(net.Conn)) string {
		return listen(t, func(c net.Conn) {
			readRequest(c)
			io.WriteString(c, answer)
			then(c)
		})
	}
	end := func(net.Conn) {}
	reset := func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }
	for _, c := range []struct {
		url    string
		want   string
		status int
	}{
		{"http://" + closed, "connection refused", 0},
		{"tcp://" + closed, "connection refused", 0},
		{"http://" + says("", reset), "connection reset by peer", 0},
		{"http://" + says("", end), "EOF", 0},
		{"http://" + says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", end), "reading the answer's body: unexpected EOF", 200},
		{"http://" + says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz", end), "reading the answer's body: ", 200},
		{"http://" + says("SSH-2.0-OpenSSH_9.2\r\n", end), "malformed HTTP response", 0},
		{"http://" + says("HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 2*maxHeader)+"\r\n\r\n", untilClosed), "server response headers exceeded", 0},
		{"https://" + says("HTTP/1.1 400 Bad Request\r\n\r\n", end), "server gave HTTP response to HTTPS client", 0},
	} {
		tg, r := check(t, Options{}, local(c.url))
		checkFailed(t, tg, r, c.want, c.status)
	}
}

// What a check was waiting for when its time was over. The connections are in memory: the time is the bubble's.
func TestNoAnswer(t *testing.T) {
	const timeout = 300 * time.Millisecond
	for _, c := range []struct {
		url, answer string // empty: none
		want        string
		status      int
	}{
		{"http://sales/", "", "waiting for the answer", 0},
		{"https://sales/", "", "in the TLS handshake", 0},
		{"http://sales/", "HTTP/1.1 200 OK\r\n", "reading the answer's body", 0},
		{"http://sales/", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "reading the answer's body", 200},
	} {
		synctest.Test(t, func(t *testing.T) {
			tg, err := prepare(&Target{Name: "sales", URL: c.url, Timeout: timeout}, "config")
			if err != nil {
				t.Fatal(err)
			}
			checker := newChecker(Options{})
			checker.dial = func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				go func() {
					defer theirs.Close()
					readRequest(theirs)
					io.WriteString(theirs, c.answer)
					untilClosed(theirs)
				}()
				return ours, nil
			}
			r := checker.check(t.Context(), tg)
			checkFailed(t, tg, r, "no answer within 300ms: still "+c.want, c.status)
			if r.took != timeout {
				t.Errorf("%s: it took %v", c.url, r.took)
			}
		})
	}
}

// A name server that says nothing. The lookup is package net's own, with the clock's time: the check must have begun it by then, and
// a resolv.conf may have it given up after a second.
func TestNoNameServer(t *testing.T) {
	silent := listen(t, untilClosed)
	mute := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", silent)
	}}
	in := local("http://nowhere.test/")
	in.Timeout = 900 * time.Millisecond
	tg, r := check(t, Options{Resolver: mute}, in)
	checkFailed(t, tg, r, "no answer within 900ms: still resolving the name", 0)
}

func TestTCP(t *testing.T) {
	addr := listen(t, untilClosed)
	tg, r := check(t, Options{}, local("tcp://"+addr))
	if !r.ok || r.status != 0 || !r.had[connecting] || r.had[processing] {
		t.Errorf("%+v", r)
	}
	e := resultEvent("here", tg, begin, &state{status: up}, r)
	if !strings.HasPrefix(string(e.Message), "sales ok: connected in ") || e.Field("status") != nil || field(&e, "duration") == "" {
		t.Errorf("%s", e.Message)
	}
	in := local("tcp://" + addr)
	in.Expect = mustQuery(t, "duration<1h")
	if _, r := check(t, Options{}, in); !r.ok {
		t.Errorf("%+v", r)
	}
	in.Expect = mustQuery(t, "duration>1h")
	if _, r := check(t, Options{}, in); r.ok || r.err != "duration "+short(r.took)+", expected duration>1h" {
		t.Errorf("%+v", r)
	}
}

// A body without end is read for a while, and judged by its beginning.
func TestHugeBody(t *testing.T) {
	srv := server(t, func(w http.ResponseWriter, r *http.Request) {
		line := []byte("ready " + strings.Repeat("x", 4090))
		for {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
	})
	in := local(srv.URL)
	in.Expect = mustQuery(t, "status:200 body~ready")
	if _, r := check(t, Options{}, in); !r.ok || r.size != maxRead || len(r.body) != maxBody {
		t.Errorf("%v %s: %d bytes, %d kept", r.ok, r.err, r.size, len(r.body))
	}
}

// certificate makes one for 127.0.0.1 and a pool that trusts it.
func certificate(t *testing.T, from, to time.Time, host string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "shop"}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	if ip := net.ParseIP(host); ip != nil {
		c.IPAddresses = []net.IP{ip}
	} else {
		c.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestCertificates(t *testing.T) {
	now := time.Now()
	day := 24 * time.Hour
	for _, c := range []struct {
		what    string
		to      time.Time
		host    string
		trusted bool
		expect  string
		want    string // empty: well
		days    string
	}{
		{"good", now.Add(20*day + time.Hour), "127.0.0.1", true, "", "", "20"},
		{"long enough", now.Add(20*day + time.Hour), "127.0.0.1", true, "cert_days>14", "", "20"},
		{"ends soon", now.Add(13*day + time.Hour), "127.0.0.1", true, "status:200..299 cert_days>14", "status 200, cert_days 13, expected status:200..299 cert_days>14", "13"},
		{"expired", now.Add(-time.Hour), "127.0.0.1", true, "", "certificate has expired or is not yet valid", "-1"},
		{"self-signed", now.Add(20*day + time.Hour), "127.0.0.1", false, "", "certificate signed by unknown authority", "20"},
		{"another's", now.Add(20*day + time.Hour), "shop.test", true, "", "doesn't contain any IP SANs", "20"},
	} {
		cert, pool := certificate(t, now.Add(-100*day), c.to, c.host)
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		srv.StartTLS()
		o := Options{Roots: x509.NewCertPool()}
		if c.trusted {
			o.Roots = pool
		}
		in := local(srv.URL)
		if c.expect != "" {
			in.Expect = mustQuery(t, c.expect)
		}
		tg, r := check(t, o, in)
		if r.ok != (c.want == "") || !strings.Contains(r.err, c.want) || !r.had[handshake] {
			t.Errorf("%s: %+v", c.what, r)
		}
		e := resultEvent("here", tg, begin, &state{status: up}, r)
		if got := field(&e, "cert_days"); got != c.days || field(&e, "cert_expires") != fmt.Sprint(c.to.Unix()) || field(&e, "phase.tls_ms") == "" {
			t.Errorf("%s: cert_days %s, cert_expires %s", c.what, got, field(&e, "cert_expires"))
		}
		// Of all hops the one that ends first counts.
		front := server(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, srv.URL, http.StatusFound) })
		if _, again := check(t, o, local(front.URL)); !again.ends.Equal(r.ends) {
			t.Errorf("%s: behind a redirect %v", c.what, again.ends)
		}
		srv.Close()
	}
}

func TestTrace(t *testing.T) {
	for _, days := range [][]int{{3, 2, 4}, {2, 3}, {3, 2}, {2}} {
		var tr trace
		for _, d := range days {
			tr.certificates([]*x509.Certificate{{NotAfter: begin.AddDate(0, 0, d)}})
		}
		if want := begin.AddDate(0, 0, 2); !tr.ends.Equal(want) {
			t.Errorf("of %v: %v", days, tr.ends)
		}
	}
	var tr trace
	tr.begun[connecting] = begin
	tr.begin(connecting) // the second address
	if !tr.begun[connecting].Equal(begin) {
		t.Error("the time for the first address is lost")
	}
	var r result
	if running := tr.copy(&r); running != connecting || r.had[connecting] {
		t.Errorf("%v %+v", running, r)
	}
	tr.end(connecting)
	if running := tr.copy(&r); running != phases || !r.had[connecting] || r.phase[connecting] == 0 {
		t.Errorf("%v %+v", running, r)
	}
}

// A check that is taken away ends at once.
func TestCheckIsCancelled(t *testing.T) {
	reached := make(chan struct{})
	addr := listen(t, func(c net.Conn) { close(reached); untilClosed(c) })
	ctx, cancel := context.WithCancel(t.Context())
	tg, err := prepare(&Target{Name: "x", URL: "http://" + addr, AllowLoopback: true, Timeout: time.Hour}, "config")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan *result)
	go func() { done <- newChecker(Options{}).check(ctx, tg) }()
	<-reached
	cancel()
	if r := <-done; r.ok {
		t.Error("it is well")
	}
}

func TestEvents(t *testing.T) {
	tg, err := prepare(&Target{Name: "sales", Service: "shop", Env: "prod", Container: "shop-1", URL: "http://sales:8080/status", Page: true}, "config")
	if err != nil {
		t.Fatal(err)
	}
	r := &result{ok: true, took: 12345 * time.Microsecond, status: 200, size: 2, body: []byte("OK"), ends: time.Now().Add(49 * time.Hour)}
	r.had[processing], r.phase[processing] = true, 1500*time.Microsecond
	text := func(e event.Event) string {
		var b strings.Builder
		fmt.Fprintf(&b, "%s %s/%s/%s/%s/%s %s |", e.Level, e.Service, e.Env, e.Host, e.Container, e.Stream, e.Message)
		for _, f := range e.Fields {
			fmt.Fprintf(&b, " %s=%s:%d", f.Name, f.Value, f.Kind)
		}
		return b.String()
	}
	ending := func(d time.Duration) *result { return &result{ok: true, took: time.Second, ends: time.Now().Add(d)} }
	bad := &result{took: 12345 * time.Microsecond, status: 503, body: []byte("no\xff" + strings.Repeat("é", 1000)), err: "status 503,\nexpected status:200..299"}
	was := &state{status: up, failing: begin.Add(2*time.Minute + 11*time.Second), good: begin.Add(6*time.Minute + 23*time.Second)}
	for _, c := range []struct {
		e    event.Event
		want string
	}{
		{resultEvent("vm", tg, begin, &state{status: up}, r), "warning probe/prod/vm/shop-1/probe sales has a certificate that ends in 2 days, at " + r.ends.UTC().Format(time.DateTime) + " UTC; ok: 200 in 12.3ms | probe=sales:0 target=shop:0 url=http://sales:8080/status:0 ok=true:2 state=up:0" +
			" page=true:2 fingerprint=probe:sales:0 duration=12.3ms:0 duration_ms=12.345:1 status=200:1 size_bytes=2:1 phase.processing_ms=1.5:1 cert_days=2:1 cert_expires=" + fmt.Sprint(r.ends.Unix()) + ":1"},
		{resultEvent("vm", tg, begin, &state{status: up}, ending(25*time.Hour)), "warning probe/prod/vm/shop-1/probe sales has a certificate that ends in 1 day, at "},
		{resultEvent("vm", tg, begin, &state{status: up}, ending(-time.Hour)), "warning probe/prod/vm/shop-1/probe sales has a certificate that ended at "},
		{resultEvent("vm", tg, begin, &state{status: up}, ending((CertDays*24+1)*time.Hour)), "debug probe/prod/vm/shop-1/probe sales ok: connected in 1s |"},
		{resultEvent("vm", tg, begin, &state{status: down, since: time.Date(2026, 11, 21, 14, 2, 11, 5, time.UTC)}, bad), "notice probe/prod/vm/shop-1/probe sales failed: status 503, expected status:200..299 | probe=sales:0 target=shop:0 url=http://sales:8080/status:0" +
			" ok=false:2 state=down:0 page=true:2 fingerprint=probe:sales:0 since=2026-11-21T14:02:11.000000005Z:0 duration=12.3ms:0 duration_ms=12.345:1 status=503:1 size_bytes=0:1 error=status 503, expected status:200..299:0 body=no\uFFFD" + strings.Repeat("é", 508) + "…:0"},
		{changeEvent("vm", tg, wentDown, begin, was, bad), "error shop/prod/vm/shop-1/probe sales is down: status 503, expected status:200..299 (GET http://sales:8080/status), failing since 14:02:11 UTC |" +
			" change=down:0 probe=sales:0 url=http://sales:8080/status:0 page=true:2 fingerprint=probe:sales:0 status=503:1 duration_ms=12.345:1 error=status 503, expected status:200..299:0"},
		{changeEvent("vm", tg, cameUp, begin, was, r), "info shop/prod/vm/shop-1/probe sales is up again after 4m12s |" +
			" change=up:0 probe=sales:0 url=http://sales:8080/status:0 page=true:2 fingerprint=probe:sales:0 down_seconds=252:1 status=200:1 duration_ms=12.345:1"},
		{changeEvent("vm", tg, wentGone, begin, was, nil), "info shop/prod/vm/shop-1/probe sales is not probed any more; it was down since 2026-11-21 14:02:11 UTC |" +
			" change=gone:0 probe=sales:0 url=http://sales:8080/status:0 page=true:2 fingerprint=probe:sales:0"},
	} {
		if got := text(c.e); got != c.want && (!strings.HasSuffix(c.want, "at ") && !strings.Contains(c.want, " in 1s") || !strings.HasPrefix(got, c.want)) {
			t.Errorf("\ngot  %s\nwant %s", got, c.want)
		}
		if c.e.Time != begin.UnixNano() {
			t.Errorf("time %d", c.e.Time)
		}
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		text, name string
		want       bool
	}{
		{"status:200..299", "status", true}, {"json.status:200", "status", false}, {"status_code:200", "status", false}, {"duration_ms<5", "duration", false},
		{"duration_ms<5 duration<5ms", "duration", true}, {"(status:1 OR size_bytes>2)", "size_bytes", true}, {"json.db:up", "json.", true}, {"xjson.db:up", "json.", false},
		{"-status:5", "status", false}, {"!status:5", "status", true}, {"", "status", false},
	} {
		if got := names(c.text, c.name); got != c.want {
			t.Errorf("%s in %s: %v", c.name, c.text, got)
		}
	}
}

func FuzzCut(f *testing.F) {
	f.Add("héllo", 4)
	f.Add("é\xff\n", 3)
	f.Fuzz(func(t *testing.T, s string, n int) {
		n = 3 + (n&0xff)%100
		p := printable(s)
		c := cut(p, n)
		if len(c) > n || strings.ToValidUTF8(c, "") != c || len(p) <= n && c != p || strings.ContainsAny(c, "\r\n\x00") {
			t.Fatalf("%q to %d: %q", s, n, c)
		}
	})
}
