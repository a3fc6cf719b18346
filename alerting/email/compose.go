package email

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html"
	"mime/quotedprintable"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lookoutlog/lookout/alerting"
)

const (
	maxSubject = 150
	maxBody    = 20_000 // of log text, in alerting.Weight
)

// threadID is the Message-ID of an incident's first mail, and a new one for all else.
func (n *Notifier) threadID(m alerting.Message) string {
	if m.Incident == "" {
		return n.newID()
	}
	return "<incident." + m.Incident + "@" + n.domain() + ">"
}

func (n *Notifier) newID() string {
	var random [12]byte
	_, _ = rand.Read(random[:]) // it never fails
	return "<" + hex.EncodeToString(random[:]) + ".lookout@" + n.domain() + ">"
}

func (n *Notifier) domain() string {
	return n.from.Address[strings.LastIndexByte(n.from.Address, '@')+1:]
}

// compose writes a mail (RFC 5322, MIME): headers, and plain text and HTML as quoted-printable. A Plain message has no HTML.
func (n *Notifier) compose(m alerting.Message, id, inReplyTo string) []byte {
	lines := make([]string, len(m.Lines))
	room := maxBody
	if m.Plain {
		room = 2000
	}
	for i, l := range m.Lines {
		lines[i] = alerting.Cut(l, max(room, 1))
		room -= alerting.Weight(lines[i])
	}
	m.Lines = lines

	var b bytes.Buffer
	header := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) }
	header("Date", n.o.Clock().UTC().Format(time.RFC1123Z))
	header("From", n.from.String())
	to := make([]string, len(n.to))
	for i, a := range n.to {
		to[i] = a.String()
	}
	header("To", strings.Join(to, ",\r\n "))
	subject := oneLine(m.Heading())
	if inReplyTo != "" {
		subject = "Re: " + subject
	}
	header("Subject", encoded(alerting.Cut(subject, maxSubject)))
	header("Message-ID", id)
	if inReplyTo != "" {
		header("In-Reply-To", inReplyTo)
		header("References", inReplyTo)
	}
	// RFC 3834: nobody's absence notice answers it.
	header("Auto-Submitted", "auto-generated")
	if m.Severity == alerting.Critical && m.State == alerting.Firing {
		header("Importance", "high")
	}
	header("MIME-Version", "1.0")
	if m.Plain {
		header("Content-Type", "text/plain; charset=utf-8")
		header("Content-Transfer-Encoding", "quoted-printable")
		b.WriteString("\r\n")
		quoted(&b, m.Text())
		return b.Bytes()
	}
	var random [15]byte
	_, _ = rand.Read(random[:])
	boundary := hex.EncodeToString(random[:])
	header("Content-Type", `multipart/alternative; boundary="`+boundary+`"`)
	for _, part := range [...]struct{ kind, text string }{{"text/plain", m.Text()}, {"text/html", page(m)}} {
		fmt.Fprintf(&b, "\r\n--%s\r\n", boundary)
		header("Content-Type", part.kind+"; charset=utf-8")
		header("Content-Transfer-Encoding", "quoted-printable")
		b.WriteString("\r\n")
		quoted(&b, part.text)
	}
	fmt.Fprintf(&b, "\r\n--%s--\r\n", boundary)
	return b.Bytes()
}

// oneLine makes a text fit for a header.
func oneLine(s string) string {
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))), " ")
}

// encoded is a header's text in words of RFC 2047, a line each.
func encoded(s string) string {
	if s == "" {
		return "alert"
	}
	plain := func(r rune) bool { return r >= ' ' && r <= '~' }
	if len(s) <= 60 && !strings.Contains(s, "=?") && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	var words []string
	for s != "" {
		n := min(len(s), 42) // 68 characters encoded, of the 75 that a word may have
		for n < len(s) && !utf8.RuneStart(s[n]) {
			n--
		}
		words = append(words, "=?utf-8?b?"+base64.StdEncoding.EncodeToString([]byte(s[:n]))+"?=")
		s = s[n:]
	}
	return strings.Join(words, "\r\n ")
}

// lineEnds are those of mail; a carriage return alone, which a reader may take for one, is shown.
var lineEnds = strings.NewReplacer("\r\n", "\r\n", "\n", "\r\n", "\r", "\u240d")

func quoted(b *bytes.Buffer, text string) {
	w := quotedprintable.NewWriter(b)
	_, _ = w.Write([]byte(lineEnds.Replace(strings.ToValidUTF8(text, "\ufffd")))) // b takes everything
	_ = w.Close()
	b.WriteString("\r\n")
}

var colours = map[alerting.Severity]string{alerting.Critical: "#8b0000", alerting.Error: "#d9372c", alerting.Warning: "#e8a317", alerting.Info: "#3b7dd8"}

// page is the message as HTML, without anything that is fetched.
func page(m alerting.Message) string {
	colour := colours[m.Severity]
	switch m.State {
	case alerting.Resolved:
		colour = "#2eb67d"
	case alerting.Acknowledged:
		colour = "#6b7a90"
	}
	if colour == "" {
		colour = colours[alerting.Info]
	}
	var b strings.Builder
	fmt.Fprintf(&b, "<!doctype html>\n<html><body style=\"font-family:sans-serif\">\n<div style=\"border-left:4px solid %s;padding-left:10px\">\n<h3 style=\"margin:0 0 8px\">%s</h3>\n", colour, html.EscapeString(m.Heading()))
	if len(m.Lines) > 0 {
		fmt.Fprintf(&b, "<pre style=\"background:#f4f4f4;padding:8px;white-space:pre-wrap\">%s</pre>\n", html.EscapeString(strings.Join(m.Lines, "\n")))
	}
	for _, list := range [...][]string{m.Facts, m.Notes} {
		if len(list) > 0 {
			fmt.Fprintf(&b, "<p style=\"color:#555\">%s</p>\n", html.EscapeString(strings.Join(list, " · ")))
		}
	}
	if strings.HasPrefix(m.Link, "http://") || strings.HasPrefix(m.Link, "https://") {
		fmt.Fprintf(&b, "<p><a href=\"%s\">Open in lookout</a></p>\n", html.EscapeString(m.Link))
	}
	b.WriteString("</div>\n</body></html>\n")
	return b.String()
}
