package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/lookoutlog/lookout/internal/outbound"
)

const (
	maxRedirects = 10
	maxBody      = 64 << 10 // of an answer, for the condition
	// maxRead is how much of an answer is read for its size and the time of its transfer.
	maxRead   = 1 << 20
	maxHeader = 64 << 10
)

// phase is a part of a check; the names are blackbox_exporter's.
type phase uint8

const (
	resolving phase = iota
	connecting
	handshake
	processing
	transfer
	phases
)

var (
	phaseFields = [phases]string{"phase.resolve_ms", "phase.connect_ms", "phase.tls_ms", "phase.processing_ms", "phase.transfer_ms"}
	phaseWords  = [phases]string{"resolving the name", "connecting", "in the TLS handshake", "waiting for the answer", "reading the answer's body"}
)

// result is what one check has found.
type result struct {
	ok    bool
	err   string // why not
	took  time.Duration
	phase [phases]time.Duration
	had   [phases]bool // the phases that ended
	ends  time.Time    // when the first of the certificates ends; zero without TLS

	status int // 0 without an answer
	size   int64
	body   []byte // its beginning
	header http.Header
}

// checker does checks. It is safe for concurrent use.
type checker struct {
	o    Options
	dial func(ctx context.Context, network, address string) (net.Conn, error) // for HTTP, in place of the dialer's; tests set it
}

func newChecker(o Options) *checker { return &checker{o: o} }

// check asks the target once. ctx ends it early; its result means nothing then.
func (c *checker) check(ctx context.Context, t *target) *result {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	tr := &trace{}
	ctx = httptrace.WithClientTrace(ctx, tr.hooks())
	dialer := outbound.Policy{Allow: c.o.Allow, Loopback: t.AllowLoopback, Setting: "probe_allow"}.Dialer()
	dialer.Timeout = t.Timeout // also of a connect that outlives its request inside http.Transport
	dialer.Resolver = c.o.Resolver

	r := &result{}
	var err error
	if t.url.Scheme == "tcp" {
		err = connect(ctx, dialer, t)
	} else {
		err = c.request(ctx, dialer, t, tr, r)
	}
	r.took = time.Since(begin)
	running := tr.copy(r)
	if err != nil {
		r.err = explain(err, t, r.took, running)
		return r
	}
	r.judge(t)
	return r
}

func connect(ctx context.Context, dialer *net.Dialer, t *target) error {
	conn, err := dialer.DialContext(ctx, "tcp", t.url.Host)
	if err != nil {
		return err
	}
	return conn.Close()
}

func newRequest(ctx context.Context, t *target) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, t.Method, t.url.String(), strings.NewReader(t.Body))
	if err != nil {
		return nil, err
	}
	for name, value := range t.Headers {
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r) }) {
			return nil, fmt.Errorf("header name %q is not one of HTTP", name)
		}
		if strings.ContainsFunc(value, unicode.IsControl) {
			return nil, fmt.Errorf("the value of header %s has control characters", name)
		}
		if strings.EqualFold(name, "Host") {
			req.Host = value
		} else {
			req.Header.Set(name, value)
		}
	}
	return req, nil
}

func (c *checker) request(ctx context.Context, dialer *net.Dialer, t *target, tr *trace, r *result) error {
	req, err := newRequest(ctx, t)
	if err != nil {
		return err
	}
	if req.Header.Get("User-Agent") == "" {
		agent := "lookout"
		if c.o.Version != "" {
			agent += "/" + c.o.Version
		}
		req.Header.Set("User-Agent", agent)
	}
	// A transport of its own, without kept connections: connecting is part of what is measured. Without Proxy: one would
	// resolve the names out of reach of the dialer.
	transport := &http.Transport{
		DialContext: dialer.DialContext, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxHeader,
		TLSClientConfig: &tls.Config{RootCAs: c.o.Roots},
	}
	if c.dial != nil {
		transport.DialContext = c.dial
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return fmt.Errorf("more than %d redirects", maxRedirects)
		}
		next.Header.Del("Referer") // the URL may have a secret in its query
		if first := via[0].URL; next.URL.Host != first.Host || next.URL.Scheme != first.Scheme {
			for name := range t.Headers { // net/http knows only of Authorization and Cookie that they are secret
				if !strings.EqualFold(name, "User-Agent") {
					next.Header.Del(name)
				}
			}
		}
		return nil
	}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	r.status, r.header = resp.StatusCode, resp.Header
	r.body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody))
	r.size = int64(len(r.body))
	if err == nil {
		var more int64
		more, err = io.Copy(io.Discard, io.LimitReader(resp.Body, maxRead-maxBody))
		r.size += more
	}
	if err != nil {
		return fmt.Errorf("reading the answer's body: %w", err)
	}
	tr.end(transfer)
	return nil
}

// explain words why a check got no answer. running is the phase it was in, phases when there is none.
func explain(err error, t *target, took time.Duration, running phase) string {
	var refused *outbound.Refused
	if errors.As(err, &refused) {
		return refused.Error()
	}
	if took >= t.Timeout { // not ctx.Err(): a socket's deadline may be noticed before that of the context
		s := fmt.Sprintf("no answer within %v", t.Timeout)
		if running < phases {
			s += ": still " + phaseWords[running]
		}
		return s
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // without method and URL, which may have a secret in its query
	}
	return err.Error()
}

// trace measures the phases of a check. Its hooks may be called from several goroutines, and after the check.
type trace struct {
	mu    sync.Mutex
	begun [phases]time.Time // zero when the phase is not running
	took  [phases]time.Duration
	had   [phases]bool
	ends  time.Time
}

func (t *trace) begin(p phase) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.begun[p].IsZero() { // connecting to several addresses is one phase
		t.begun[p] = time.Now()
	}
}

func (t *trace) end(p phase) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.begun[p].IsZero() {
		return
	}
	t.took[p] += time.Since(t.begun[p])
	t.begun[p], t.had[p] = time.Time{}, true
}

func (t *trace) hooks() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		// What failed does not end its phase: the error may be that the time is over, and then it says where.
		DNSStart: func(httptrace.DNSStartInfo) { t.begin(resolving) },
		DNSDone: func(d httptrace.DNSDoneInfo) {
			if d.Err == nil {
				t.end(resolving)
			}
		},
		ConnectStart: func(string, string) { t.begin(connecting) },
		ConnectDone: func(_, _ string, err error) {
			if err == nil {
				t.end(connecting)
			}
		},
		TLSHandshakeStart: func() { t.begin(handshake) },
		TLSHandshakeDone: func(cs tls.ConnectionState, err error) {
			t.certificates(cs.PeerCertificates)
			var bad *tls.CertificateVerificationError
			if errors.As(err, &bad) {
				t.certificates(bad.UnverifiedCertificates)
			}
			if err == nil || bad != nil {
				t.end(handshake)
			}
		},
		GotConn: func(httptrace.GotConnInfo) { t.begin(processing) },
		GotFirstResponseByte: func() {
			// A redirect's answer has a body too; it ends with the next request.
			t.end(processing)
			t.begin(transfer)
		},
		GetConn: func(string) { t.end(transfer) },
	}
}

func (t *trace) certificates(list []*x509.Certificate) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range list {
		if t.ends.IsZero() || c.NotAfter.Before(t.ends) {
			t.ends = c.NotAfter
		}
	}
}

// copy puts what was measured into r. running is the phase that has not ended, phases when there is none.
func (t *trace) copy(r *result) (running phase) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r.phase, r.had, r.ends = t.took, t.had, t.ends
	running = phases
	for p := range phases {
		if !t.begun[p].IsZero() {
			running = p
		}
	}
	return running
}
