package email_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/http/httptest"
	"net/mail"
	"net/textproto"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/alerting/email"
	"github.com/lookoutlog/lookout/internal/leak"
)

func TestMain(m *testing.M) { leak.VerifyTestMain(m) }

const (
	user     = "lookout-user-canary"
	password = "p4ss-4711-canary"
)

// server is a small SMTP server: it takes mail, or answers a command as it is told.
type server struct {
	t        testing.TB
	l        net.Listener
	config   *tls.Config // nil: no TLS is offered
	implicit bool
	auth     string            // mechanisms it offers
	answers  map[string]string // by the command's beginning; "cut" ends the connection, "DATA." is the answer to the whole mail
	done     sync.WaitGroup

	mu    sync.Mutex
	said  []string // commands
	mails []mailed
}

type mailed struct {
	from string
	to   []string
	text string
	tls  bool
}

func newServer(t testing.TB, answers map[string]string) (*server, *x509.CertPool) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewTLSServer(nil) // for its certificate, which is for 127.0.0.1
	pool := x509.NewCertPool()
	pool.AddCert(web.Certificate())
	s := &server{t: t, l: l, config: &tls.Config{Certificates: web.TLS.Certificates}, auth: "PLAIN LOGIN", answers: answers}
	web.Close()
	t.Cleanup(func() {
		l.Close()
		s.done.Wait()
	})
	return s, pool
}

func (s *server) start() *server {
	s.done.Go(func() {
		for {
			conn, err := s.l.Accept()
			if err != nil {
				return
			}
			s.done.Go(func() { s.serve(conn) })
		}
	})
	return s
}

func (s *server) serve(conn net.Conn) {
	defer func() { conn.Close() }()
	secure := s.implicit
	if secure {
		conn = tls.Server(conn, s.config)
	}
	r := bufio.NewReader(conn)
	say := func(text string) { _, _ = io.WriteString(conn, text+"\r\n") }
	var m mailed
	if a, ok := s.answers["greet"]; ok {
		if a == "cut" {
			return
		}
		say(a)
	} else {
		say("220 test ready")
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		s.mu.Lock()
		s.said = append(s.said, line)
		s.mu.Unlock()
		for begin, a := range s.answers {
			if strings.HasPrefix(line, begin) {
				if a == "cut" {
					return
				}
				say(a)
				verb = ""
			}
		}
		switch verb {
		case "":
		case "EHLO":
			say("250-test")
			if s.config != nil && !secure {
				say("250-STARTTLS")
			}
			if s.auth != "" {
				say("250-AUTH " + s.auth)
			}
			say("250 8BITMIME")
		case "STARTTLS":
			say("220 go")
			secureConn := tls.Server(conn, s.config)
			conn, r, secure = secureConn, bufio.NewReader(secureConn), true
		case "AUTH":
			fields := strings.Fields(line)
			ask := func(q string) string {
				say("334 " + base64.StdEncoding.EncodeToString([]byte(q)))
				a, _ := r.ReadString('\n')
				text, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(a))
				return string(text)
			}
			got := ""
			if fields[1] == "LOGIN" {
				got = "\x00" + ask("Username:") + "\x00" + ask("Password:")
			} else if len(fields) > 2 {
				text, _ := base64.StdEncoding.DecodeString(fields[2])
				got = string(text)
			}
			if got == "\x00"+user+"\x00"+password {
				say("235 welcome")
			} else {
				say("535 who? " + got)
			}
		case "MAIL":
			m = mailed{from: line, tls: secure}
			say("250 ok")
		case "RCPT":
			m.to = append(m.to, line)
			say("250 ok")
		case "DATA":
			say("354 go on")
			text, err := io.ReadAll(textproto.NewReader(r).DotReader())
			if err != nil {
				return
			}
			if a, ok := s.answers["."]; ok {
				if a == "cut" {
					return
				}
				say(a)
				continue
			}
			m.text = string(text)
			s.mu.Lock()
			s.mails = append(s.mails, m)
			s.mu.Unlock()
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("502 what?")
		}
	}
}

func (s *server) got() []mailed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]mailed(nil), s.mails...)
}

func notifier(t testing.TB, s *server, roots *x509.CertPool, change func(*email.Options)) *email.Notifier {
	t.Helper()
	o := email.Options{Name: "mail", Server: s.l.Addr().String(), From: "lookout <lookout@example.com>", To: []string{"ops@example.com", "Bo <bo@example.com>"}, User: user, Password: password, Roots: roots}
	if change != nil {
		change(&o)
	}
	n, err := email.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func message(s alerting.State) alerting.Message {
	return alerting.Message{
		Severity: alerting.Critical, State: s, Incident: "0123456789abcdef", Title: "[error] shop: kein Lager für 7", Lines: []string{"a <b>\n.\nQUIT", strings.Repeat("x", 3000)},
		Facts: []string{"3 times", "rule errors"}, Notes: []string{"delivered late"}, Link: "http://l/?q=a&since=x",
	}
}

// parts returns a mail's headers, and its text and HTML.
func parts(t testing.TB, text string) (mail.Header, string, string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if len(line) > 998 || strings.ContainsFunc(line, func(r rune) bool { return r > '~' }) {
			t.Errorf("a line that not every server takes: %.80q", line)
		}
	}
	m, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	read := func(r io.Reader) string {
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(strings.TrimRight(string(b), "\r\n"), "\r\n", "\n")
	}
	if kind == "text/plain" {
		return m.Header, read(quotedprintable.NewReader(m.Body)), ""
	}
	var texts []string
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := r.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, read(p))
	}
	if len(texts) != 2 {
		t.Fatalf("%d parts", len(texts))
	}
	return m.Header, texts[0], texts[1]
}

// One incident is one thread, by each kind of TLS and login.
func TestThread(t *testing.T) {
	for _, tt := range []struct{ name, tls, auth string }{{"STARTTLS", "", "PLAIN LOGIN"}, {"implicit", email.TLS, "LOGIN"}, {"none on this machine", email.None, "PLAIN"}} {
		t.Run(tt.name, func(t *testing.T) {
			s, roots := newServer(t, nil)
			s.auth, s.implicit = tt.auth, tt.tls == email.TLS
			s.start()
			n := notifier(t, s, roots, func(o *email.Options) { o.TLS = tt.tls })
			r, err := n.Send(t.Context(), "mail", message(alerting.Firing))
			if err != nil {
				t.Fatal(err)
			}
			if err := n.Reply(t.Context(), r, message(alerting.Firing)); err != nil {
				t.Fatal(err)
			}
			for _, state := range []alerting.State{alerting.Firing, alerting.Acknowledged, alerting.Acknowledged, alerting.Resolved, alerting.Resolved} {
				if r, err = n.Edit(t.Context(), r, message(state)); err != nil {
					t.Fatal(err)
				}
			}
			mails := s.got()
			if len(mails) != 4 {
				t.Fatalf("%d mails, want: fires, again, acknowledged, resolved", len(mails))
			}
			var first string
			for i, m := range mails {
				if m.tls != (tt.tls != email.None) || !strings.HasPrefix(m.from, "MAIL FROM:<lookout@example.com>") || len(m.to) != 2 || m.to[1] != "RCPT TO:<bo@example.com>" {
					t.Errorf("envelope %+v", m)
				}
				h, text, page := parts(t, m.text)
				subject, err := new(mime.WordDecoder).DecodeHeader(h.Get("Subject"))
				want := []string{"[error] shop: kein Lager für 7", "Re: Again: [error] shop: kein Lager für 7", "Re: Acknowledged: [error] shop: kein Lager für 7", "Re: Resolved: [error] shop: kein Lager für 7"}[i]
				if err != nil || subject != want {
					t.Errorf("subject %q, %v; want %q", subject, err, want)
				}
				if i == 0 {
					first = h.Get("Message-Id")
				} else if h.Get("In-Reply-To") != first || h.Get("References") != first || h.Get("Message-Id") == first {
					t.Errorf("mail %d is not in the thread of %s: %v", i, first, h)
				}
				if !strings.Contains(text, "a <b>\n.\nQUIT\n"+strings.Repeat("x", 3000)+"\n3 times · rule errors\ndelivered late\nhttp://l/?q=a&since=x") {
					t.Errorf("text %q", text)
				}
				if !strings.Contains(page, "a &lt;b&gt;") || strings.Contains(page, "<b>") || !strings.Contains(page, `href="http://l/?q=a&amp;since=x"`) {
					t.Errorf("page %q", page)
				}
			}
			again := message(alerting.Firing)
			again.MayRepeat = true
			if _, err := n.Send(t.Context(), "mail", again); err != nil {
				t.Fatal(err)
			}
			if h, _, _ := parts(t, s.got()[4].text); h.Get("Message-Id") != first {
				t.Error("what may be a repeat has another Message-ID")
			}
		})
	}
}

// No text forges a header or another mail, and all of it arrives.
func TestForgesNothing(t *testing.T) {
	s, roots := newServer(t, nil)
	s.start()
	n := notifier(t, s, roots, func(o *email.Options) { o.TLS, o.User, o.Password = email.None, "", "" })
	seen := 0
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.OneOf(rapid.StringN(0, 80, 300), rapid.SampledFrom([]string{"a\r\nBcc: x@y.z", "\r\n.\r\nMAIL FROM:<x@y.z>", "=?utf-8?q?x?=", "<script>", "\x00\xff", strings.Repeat("ü", 200), "--x\n."}))
		m := message(alerting.Firing)
		m.Title, m.Lines = text.Draw(rt, "title"), []string{text.Draw(rt, "line")}
		m.Facts, m.Notes, m.Link, m.Plain = nil, nil, "", rapid.Bool().Draw(rt, "plain")
		if _, err := n.Send(context.Background(), "mail", m); err != nil {
			rt.Fatal(err)
		}
		mails := s.got()
		if seen++; len(mails) != seen {
			rt.Fatalf("%d mails of %d", len(mails), seen)
		}
		h, got, page := parts(t, mails[seen-1].text)
		if len(h["Bcc"]) != 0 || len(h) > 12 || !m.Plain && strings.Contains(page, "<script>") {
			rt.Fatalf("%v %s", h, page)
		}
		subject, err := new(mime.WordDecoder).DecodeHeader(h.Get("Subject"))
		if err != nil || strings.ContainsAny(subject, "\r\n") {
			rt.Fatalf("subject %q: %v", subject, err)
		}
		flat := func(s string) string { return strings.Join(strings.Fields(s), " ") }
		shown := strings.NewReplacer("\r\n", "\n", "\r", "\u240d")
		if want := shown.Replace(strings.ToValidUTF8(m.Title+"\n"+m.Lines[0], "\ufffd")); flat(got) != flat(want) {
			rt.Fatalf("%q came as %q", want, got)
		}
	})
}

func TestClasses(t *testing.T) {
	for _, tt := range []struct {
		name    string
		answers map[string]string
		change  func(*email.Options)
		break_  func(*server)
		plain   bool
		class   alerting.Class
		unsent  bool
		says    string
	}{
		{name: "greets 421", answers: map[string]string{"greet": "421 busy"}, class: alerting.Transient, unsent: true, says: "421 busy"},
		{name: "greets 554", answers: map[string]string{"greet": "554 no"}, class: alerting.Broken, unsent: true},
		{name: "hangs up", answers: map[string]string{"greet": "cut"}, class: alerting.Transient, unsent: true},
		{name: "no STARTTLS", break_: func(s *server) { s.config = nil }, class: alerting.Broken, unsent: true, says: "offers no STARTTLS"},
		{name: "unknown certificate", change: func(o *email.Options) { o.Roots = x509.NewCertPool() }, class: alerting.Broken, unsent: true, says: "certificate"},
		{name: "TLS where there is none", change: func(o *email.Options) { o.TLS = email.TLS }, class: alerting.Broken, unsent: true},
		{name: "wrong password", change: func(o *email.Options) { o.Password = "wrong-" + password }, class: alerting.Broken, unsent: true, says: "logging in: 535"},
		{name: "login fails for now", answers: map[string]string{"AUTH": "454 later"}, class: alerting.Transient, unsent: true},
		{name: "no way to log in", break_: func(s *server) { s.auth = "XOAUTH2" }, class: alerting.Broken, unsent: true, says: "neither AUTH PLAIN nor LOGIN"},
		{name: "sender refused", answers: map[string]string{"MAIL": "550 not you"}, class: alerting.Broken, unsent: true},
		{name: "sender later", answers: map[string]string{"MAIL": "452 full"}, class: alerting.Transient, unsent: true},
		{name: "a recipient is greylisted", answers: map[string]string{"RCPT TO:<bo": "451 later"}, class: alerting.Transient, unsent: true},
		{name: "no recipient is there", answers: map[string]string{"RCPT": "550 who"}, class: alerting.Broken, unsent: true},
		{name: "mail too big", answers: map[string]string{".": "552 too big"}, class: alerting.Fault},
		{name: "spam", answers: map[string]string{".": "554 spam"}, class: alerting.Fault},
		{name: "plain spam", answers: map[string]string{".": "554 spam"}, plain: true, class: alerting.Broken},
		{name: "mail later", answers: map[string]string{".": "451 later"}, class: alerting.Transient, unsent: true},
		{name: "no answer to the mail", answers: map[string]string{".": "cut"}, class: alerting.Transient},
		{name: "DATA refused", answers: map[string]string{"DATA": "554 no"}, class: alerting.Fault},
		{name: "an answer that is none", answers: map[string]string{"MAIL": "<html>"}, class: alerting.Transient, unsent: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, roots := newServer(t, tt.answers)
			if tt.break_ != nil {
				tt.break_(s)
			}
			s.start()
			n := notifier(t, s, roots, tt.change)
			m := message(alerting.Firing)
			m.Plain = tt.plain
			_, err := n.Send(t.Context(), "mail", m)
			var d *alerting.DeliveryError
			if !errors.As(err, &d) || d.Class != tt.class || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("%v", err)
			}
			if d.Class == alerting.Transient && d.Unsent != tt.unsent {
				t.Errorf("unsent is %v: %v", d.Unsent, err)
			}
			if len(s.got()) != 0 {
				t.Error("there is a mail")
			}
			for _, text := range []string{err.Error(), fmt.Sprintf("%#v %+v", d, d.Err)} {
				for _, secret := range []alertingtest.Secret{user, password} {
					if leak := secret.Leak(text); leak != "" {
						t.Error(leak)
					}
				}
			}
		})
	}
	t.Run("one of two recipients is gone", func(t *testing.T) {
		s, roots := newServer(t, map[string]string{"RCPT TO:<bo": "550 gone"})
		s.start()
		if _, err := notifier(t, s, roots, nil).Send(t.Context(), "mail", message(alerting.Firing)); err != nil || len(s.got()) != 1 {
			t.Errorf("%v, %d mails", err, len(s.got()))
		}
	})
	t.Run("metadata address", func(t *testing.T) {
		n, err := email.New(email.Options{Name: "mail", Server: "169.254.169.254:25", From: "a@b.c", To: []string{"a@b.c"}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = n.Send(t.Context(), "mail", message(alerting.Firing))
		var d *alerting.DeliveryError
		if !errors.As(err, &d) || d.Class != alerting.Broken || !strings.Contains(err.Error(), "ways.mail.allow") {
			t.Error(err)
		}
	})
}

// A password is not sent in the clear, nor to a server that asks for something else.
func TestPasswordStays(t *testing.T) {
	s, roots := newServer(t, nil)
	s.config = nil
	s.start()
	if _, err := notifier(t, s, roots, nil).Send(t.Context(), "mail", message(alerting.Firing)); err == nil {
		t.Error("it was sent without TLS")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range s.said {
		if strings.HasPrefix(line, "AUTH") {
			t.Error("it logged in without TLS")
		}
	}
}

// A check greets and logs in, and says neither sender nor recipient; what is wrong is said with its step and without secrets.
func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name, tls string
		answers   map[string]string
		untrusted bool
		want      string
	}{
		{"STARTTLS", "", nil, false, ""},
		{"implicit", email.TLS, nil, false, ""},
		{"none", email.None, nil, false, ""},
		{"wrong password", "", map[string]string{"AUTH": "535 " + password + " is wrong"}, false, "mail: logging in: 535 [secret] is wrong"},
		{"a certificate that nobody knows", "", nil, true, "mail: STARTTLS: tls: failed to verify certificate"},
		{"a server that ends it", "", map[string]string{"greet": "cut"}, false, "mail: greeting: EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, roots := newServer(t, tt.answers)
			s.implicit = tt.tls == email.TLS
			s.start()
			if tt.untrusted {
				roots = x509.NewCertPool()
			}
			n := notifier(t, s, roots, func(o *email.Options) { o.TLS = tt.tls })
			err := n.Check(t.Context())
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, line := range s.said {
				if strings.HasPrefix(line, "MAIL") || strings.HasPrefix(line, "RCPT") {
					t.Errorf("it has said %s", line)
				}
			}
		})
	}
}

func TestWrongOptions(t *testing.T) {
	good := email.Options{Name: "m", Server: "smtp.example:587", From: "a@b.c", To: []string{"x@y.z"}}
	for want, change := range map[string]func(*email.Options){
		"server: there is none":                  func(o *email.Options) { o.Server = "" },
		"server: it is not host:port":            func(o *email.Options) { o.Server = "smtp://x:25" },
		"from: it is not a mail address":         func(o *email.Options) { o.From = "lookout" },
		"to: there is nobody":                    func(o *email.Options) { o.To = nil },
		`to: "x@y.z>\r\nRCPT TO:<w" is not a`:    func(o *email.Options) { o.To = []string{"x@y.z>\r\nRCPT TO:<w"} },
		"user: user and password_file belong":    func(o *email.Options) { o.User = "u" },
		"tls: a password does not go over a net": func(o *email.Options) { o.User, o.Password, o.TLS = "u", "p", email.None },
	} {
		o := good
		change(&o)
		if _, err := email.New(o); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
