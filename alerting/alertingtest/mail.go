package alertingtest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
)

// FakeMail is a mail server without TLS that takes a login by AUTH PLAIN, and keeps what it is sent. It answers commands as told by
// [FakeMail.Refuse].
type FakeMail struct {
	l    net.Listener
	done sync.WaitGroup

	mu      sync.Mutex
	answers map[string]string
	mails   []string
	verbs   []string
	grown   chan struct{}
	conns   map[net.Conn]bool // nil when it is closed
}

// NewMail starts a mail server on a free port of the loopback interface. It panics when there is none.
func NewMail() *FakeMail {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	f := &FakeMail{l: l, answers: map[string]string{}, grown: make(chan struct{}), conns: map[net.Conn]bool{}}
	f.done.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			if f.conns != nil {
				f.conns[conn] = true
			} else {
				conn.Close() // accepted while Close closed the others
			}
			f.mu.Unlock()
			f.done.Go(func() { f.serve(conn) })
		}
	})
	return f
}

// Address is host:port, for the setting server.
func (f *FakeMail) Address() string { return f.l.Addr().String() }

// Close ends the server and its connections.
func (f *FakeMail) Close() {
	f.l.Close()
	f.mu.Lock()
	for c := range f.conns {
		c.Close()
	}
	f.conns = nil
	f.mu.Unlock()
	f.done.Wait()
}

// Refuse has a command (MAIL, RCPT, AUTH, DATA) answered by this line, such as "550 no"; empty lets it pass again.
func (f *FakeMail) Refuse(verb, answer string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[verb] = answer
}

// Mails returns what was taken, in order of arrival: headers and bodies as they came.
func (f *FakeMail) Mails() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.mails...)
}

// Verbs returns the commands that were said, without their arguments.
func (f *FakeMail) Verbs() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.verbs...)
}

// Wait waits until there are so many mails, and returns them.
func (f *FakeMail) Wait(ctx context.Context, n int) ([]string, error) {
	for {
		f.mu.Lock()
		grown := f.grown
		f.mu.Unlock()
		if m := f.Mails(); len(m) >= n {
			return m, nil
		}
		select {
		case <-ctx.Done():
			return f.Mails(), fmt.Errorf("waiting for %d mails: %w", n, ctx.Err())
		case <-grown:
		}
	}
}

func (f *FakeMail) serve(conn net.Conn) {
	defer func() {
		conn.Close()
		f.mu.Lock()
		delete(f.conns, conn)
		f.mu.Unlock()
	}()
	r := bufio.NewReader(conn)
	say := func(text string) { _, _ = io.WriteString(conn, text+"\r\n") } // the client may be gone
	say("220 fake ready")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " ")
		f.mu.Lock()
		answer := f.answers[verb]
		f.verbs = append(f.verbs, verb)
		f.mu.Unlock()
		switch {
		case answer != "":
			say(answer)
		case verb == "EHLO":
			say("250-fake\r\n250-AUTH PLAIN\r\n250 8BITMIME")
		case verb == "AUTH":
			say("235 welcome")
		case verb == "DATA":
			say("354 go on")
			var text strings.Builder
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				text.WriteString(line)
			}
			f.mu.Lock()
			f.mails = append(f.mails, text.String())
			close(f.grown)
			f.grown = make(chan struct{})
			f.mu.Unlock()
			say("250 taken")
		case verb == "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}
