// Package email sends alerts by SMTP.
//
// # Use
//
//	n, err := email.New(email.Options{Name: "mail", Server: "smtp.example:587", From: "lookout@example.com", To: []string{"ops@example.com"}, User: "lookout", Password: "…"})
//
// # What it guarantees
//
// Each incident is a thread: what happens later (it fires again, somebody sees to it, it is resolved) is a reply to its first
// mail. The first mail's Message-ID is the incident's, so one that may be a repeat is the same mail to whoever compares ids.
// Every mail is plain text and HTML, of 7-bit lines; no log text can become a header or markup.
//
// The password goes over TLS only, unless TLS is none, and then to this machine alone. Each failure becomes an
// [alerting.DeliveryError]: 4yz [alerting.Transient], 5yz about the mail [alerting.Fault], about sender, recipients, login
// and TLS [alerting.Broken]. Neither user nor password is in one.
package email

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/mail"
	"net/netip"
	"net/smtp"
	"net/textproto"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/internal/outbound"
)

// The ways to reach a server.
const (
	StartTLS = "starttls" // the connection becomes TLS before anything is said; the default
	TLS      = "tls"      // TLS from the beginning: port 465
	None     = "none"     // no TLS
)

// timeout bounds a mail whose context does not.
const timeout = time.Minute

// Options are what a notifier needs. Name, Server, From and To are required.
type Options struct {
	Name     string // the way's, for errors
	Server   string // host:port; without a port that of TLS: 465, else 587
	TLS      string // [StartTLS], [TLS] or [None]; empty: StartTLS, or TLS with port 465
	User     string // empty: no login
	Password string
	From     string   // an address, with a name or without
	To       []string // addresses; each gets the mail
	// Allow are prefixes that are refused otherwise: link-local and metadata addresses.
	Allow []netip.Prefix
	Roots *x509.CertPool // nil: the system's
	Clock func() time.Time
	Log   *slog.Logger // nil: none
}

// Notifier sends by one server. It is safe for concurrent use.
type Notifier struct {
	o      Options
	host   string
	from   *mail.Address
	to     []*mail.Address
	hello  string
	dialer *net.Dialer
}

// New returns a notifier; it does not connect. Its errors begin with the setting that is wrong.
func New(o Options) (*Notifier, error) {
	n := &Notifier{o: o}
	if o.Log == nil {
		n.o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		n.o.Clock = time.Now
	}
	if o.Server == "" {
		return nil, errors.New("server: there is none: set it to the mail server's host:port")
	}
	host, port, err := net.SplitHostPort(o.Server)
	if err != nil {
		if host, port = o.Server, "587"; o.TLS == TLS {
			port = "465"
		}
	}
	if host == "" || strings.ContainsAny(host, " /@[]") {
		return nil, errors.New("server: it is not host:port: write it as smtp.example.com:587")
	}
	if n.host, n.o.Server = host, net.JoinHostPort(host, port); o.TLS == "" {
		n.o.TLS = StartTLS
		if port == "465" {
			n.o.TLS = TLS
		}
	}
	if n.from, err = mail.ParseAddress(o.From); err != nil || !plain(n.from) {
		return nil, errors.New("from: it is not a mail address: write it as lookout@example.com")
	}
	if len(o.To) == 0 {
		return nil, errors.New("to: there is nobody: set it to the addresses that get the mail")
	}
	for _, text := range o.To {
		a, err := mail.ParseAddress(text)
		if err != nil || !plain(a) {
			return nil, fmt.Errorf("to: %q is not a mail address: write it as ops@example.com", text)
		}
		n.to = append(n.to, a)
	}
	if (o.User == "") != (o.Password == "") {
		return nil, errors.New("user: user and password_file belong together: set both, or none")
	}
	if o.User != "" && n.o.TLS == None && !local(host) {
		return nil, errors.New("tls: a password does not go over a network without TLS: set tls to starttls or tls")
	}
	n.hello = "localhost"
	if name, err := os.Hostname(); err == nil && name != "" && !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
		n.hello = name
	}
	n.dialer = outbound.Policy{Allow: o.Allow, Loopback: true, Setting: "ways." + o.Name + ".allow"}.Dialer()
	return n, nil
}

// plain tells whether an address can be part of an SMTP command as it is.
func plain(a *mail.Address) bool {
	return len(a.Address) <= 254 && !strings.ContainsFunc(a.Address, func(r rune) bool { return r <= ' ' || r > '~' || r == '<' || r == '>' })
}

func local(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Send mails a new message: the first of an incident's thread, or one that stands alone.
func (n *Notifier) Send(ctx context.Context, channel string, m alerting.Message) (alerting.Receipt, error) {
	id := n.threadID(m)
	if err := n.deliver(ctx, m, id, ""); err != nil {
		return alerting.Receipt{}, err
	}
	return alerting.Receipt{Channel: channel, ID: id + "|" + string(m.State)}, nil
}

// Edit answers the message with how the incident stands, once for each state; what a mail says cannot be changed.
func (n *Notifier) Edit(ctx context.Context, r alerting.Receipt, m alerting.Message) (alerting.Receipt, error) {
	id, told, _ := strings.Cut(r.ID, "|")
	if m.State != alerting.Acknowledged && m.State != alerting.Resolved || string(m.State) == told {
		return r, nil
	}
	if err := n.deliver(ctx, m, n.newID(), id); err != nil {
		return alerting.Receipt{}, err
	}
	r.ID = id + "|" + string(m.State)
	return r, nil
}

// Reply answers the message: it fires again.
func (n *Notifier) Reply(ctx context.Context, r alerting.Receipt, m alerting.Message) error {
	id, _, _ := strings.Cut(r.ID, "|")
	m.Title = m.Again() + m.Title
	return n.deliver(ctx, m, n.newID(), id)
}

// deliver sends one mail to all recipients.
func (n *Notifier) deliver(ctx context.Context, m alerting.Message, id, inReplyTo string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	s := &session{n: n, step: "connecting"}
	if err := s.run(ctx, n.compose(m, id, inReplyTo)); err != nil {
		return s.failure(err, m.Plain)
	}
	return nil
}

// Check greets the server, with TLS and login as they are set, and sends nothing.
func (n *Notifier) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	s := &session{n: n, step: "connecting"}
	c, end, err := s.open(ctx)
	if err != nil {
		return s.failure(err, false)
	}
	_ = c.Quit()
	end()
	return nil
}

// failure classifies an error and keeps secrets out of its text.
func (s *session) failure(err error, isPlain bool) *alerting.DeliveryError {
	n := s.n
	d := s.classify(err, isPlain)
	text := d.Err.Error()
	for _, secret := range [...]string{
		n.o.Password, base64.StdEncoding.EncodeToString([]byte("\x00" + n.o.User + "\x00" + n.o.Password)), base64.StdEncoding.EncodeToString([]byte(n.o.Password)), n.o.User,
	} { // as they are, and as they are sent
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "[secret]")
		}
	}
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	d.Err = fmt.Errorf("%s: %s: %s", n.o.Name, s.step, alerting.Cut(text, 300))
	return d
}

// session is one mail's conversation with the server.
type session struct {
	n    *Notifier
	step string // what it does now
	// about the mail is true while a refusal is about this mail, not about the way.
	mail bool
	// sent is true when the whole mail is on its way, and only the answer is missing.
	sent bool
}

// errNoTLS is why nothing is sent in the clear.
var errNoTLS = errors.New("the server offers no STARTTLS: set tls to tls for port 465, or to none for one that needs none")

// open connects, greets and logs in. end closes the connection.
func (s *session) open(ctx context.Context) (c *smtp.Client, end func(), err error) {
	n := s.n
	conn, err := n.dialer.DialContext(ctx, "tcp", n.o.Server)
	if err != nil {
		return nil, nil, err
	}
	// A context that ends earlier, by a stop, cuts the conversation.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	end = func() {
		stop()
		conn.Close()
	}
	if c, err = s.greet(ctx, conn); err != nil {
		end()
		return nil, nil, err
	}
	return c, end, nil
}

func (s *session) greet(ctx context.Context, conn net.Conn) (*smtp.Client, error) {
	n := s.n
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	config := &tls.Config{ServerName: n.host, RootCAs: n.o.Roots, MinVersion: tls.VersionTLS12}
	if n.o.TLS == TLS {
		s.step = "TLS"
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		conn = secure
	}
	s.step = "greeting"
	c, err := smtp.NewClient(conn, n.host)
	if err != nil {
		return nil, err
	}
	if err := c.Hello(n.hello); err != nil {
		return nil, err
	}
	if n.o.TLS == StartTLS {
		s.step = "STARTTLS"
		if ok, _ := c.Extension("STARTTLS"); !ok {
			return nil, errNoTLS
		}
		if err := c.StartTLS(config); err != nil {
			return nil, err
		}
	}
	if n.o.User != "" {
		s.step = "logging in"
		if err := c.Auth(&login{n.o.User, n.o.Password, n.host, ""}); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (s *session) run(ctx context.Context, text []byte) error {
	n := s.n
	c, end, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer end()
	s.step = "sender"
	if err := c.Mail(n.from.Address); err != nil {
		return err
	}
	accepted := 0
	var refused error
	for _, to := range n.to {
		s.step = "recipient " + to.Address
		err := c.Rcpt(to.Address)
		switch code := (*textproto.Error)(nil); {
		case err == nil:
			accepted++
		case errors.As(err, &code) && code.Code >= 500:
			// The others get it: a mailbox that is gone must not keep it from them.
			refused = err
			n.o.Log.Warn("a mail server refuses a recipient", "way", n.o.Name, "recipient", to.Address, "code", code.Code)
		default:
			return err // nobody gets it now, so that nobody gets it twice later
		}
	}
	if accepted == 0 {
		s.step = "recipients"
		return refused
	}
	s.step, s.mail = "mail", true
	w, err := c.Data()
	if err != nil {
		return err
	}
	s.sent = true // from here the server may have all of it
	if _, err := w.Write(text); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_ = c.Quit() // it is accepted, whatever the farewell is
	return nil
}

// classify says what an error asks for: RFC 5321, 4.2.1: 4yz may go better later, 5yz will not.
func (s *session) classify(err error, plain bool) *alerting.DeliveryError {
	d := &alerting.DeliveryError{Class: alerting.Transient, Unsent: !s.sent, Err: err}
	var code *textproto.Error
	var refused *outbound.Refused
	var certificate *tls.CertificateVerificationError
	var wrongTLS tls.RecordHeaderError
	switch {
	case errors.As(err, &code) && code.Code >= 500 && s.mail && !plain:
		d.Class = alerting.Fault
	case errors.As(err, &code) && code.Code >= 500:
		d.Class = alerting.Broken
	case errors.As(err, &code):
		d.Unsent = true // it has refused
	case errors.Is(err, errNoTLS), errors.Is(err, errNoLogin), errors.As(err, &refused), errors.As(err, &certificate), errors.As(err, &wrongTLS):
		d.Class = alerting.Broken
	}
	if code != nil {
		d.Err, d.Code = fmt.Errorf("%d %s", code.Code, code.Msg), strconv.Itoa(code.Code)
	}
	return d
}

// login is AUTH PLAIN, or LOGIN where the server has only that (Microsoft's). It is used over TLS, or on this machine.
type login struct {
	user, password, host, how string
}

var errNoLogin = errors.New("the server offers neither AUTH PLAIN nor LOGIN")

// Start picks the way.
func (l *login) Start(s *smtp.ServerInfo) (string, []byte, error) {
	if !s.TLS && !local(l.host) {
		return "", nil, errors.New("a password does not go over a network without TLS")
	}
	for _, offered := range s.Auth {
		switch l.how = strings.ToUpper(offered); l.how {
		case "PLAIN":
			return l.how, []byte("\x00" + l.user + "\x00" + l.password), nil
		case "LOGIN":
			return l.how, nil, nil
		}
	}
	return "", nil, errNoLogin
}

// Next answers LOGIN's two questions.
func (l *login) Next(question []byte, more bool) ([]byte, error) {
	if !more {
		return nil, nil
	}
	if l.how == "LOGIN" {
		switch q := strings.ToLower(string(question)); {
		case strings.HasPrefix(q, "user"):
			return []byte(l.user), nil
		case strings.HasPrefix(q, "pass"):
			return []byte(l.password), nil
		}
	}
	return nil, errNoLogin // another question is none for a password
}
