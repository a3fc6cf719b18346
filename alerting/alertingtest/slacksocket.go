package alertingtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

const (
	// ackWithin is how long Slack waits for an envelope's acknowledgement before it tells the user that the app failed.
	ackWithin = 3 * time.Second
	// pingEvery is how often Slack pings a connection.
	pingEvery = 5 * time.Second
)

// SlackUser is who presses a button.
type SlackUser struct{ ID, Name string }

// Ephemeral is a message that only one user sees.
type Ephemeral struct {
	Channel string // its id
	User    string
	Text    string
}

// socket is a Socket Mode connection.
type socket struct {
	conn    *websocket.Conn
	writing sync.Mutex
	gone    chan struct{}
	frozen  atomic.Bool

	mu   sync.Mutex
	acks map[string]chan struct{} // by envelope
}

func (s *socket) send(v any) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.conn.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	return s.conn.WriteJSON(v)
}

// RequireApp makes every other app-level token invalid_auth. Without it any passes that begins with xapp-.
func (f *FakeSlack) RequireApp(token string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.appToken = token
}

// open answers apps.connections.open. The address holds a ticket, which is good once.
func (f *FakeSlack) open(token string) map[string]any {
	switch {
	case token == "":
		return refuse("not_authed")
	case !strings.HasPrefix(token, "xapp-"):
		return refuse("not_allowed_token_type")
	case f.appToken != "" && token != f.appToken:
		return refuse("invalid_auth")
	}
	f.tickets++
	ticket := fmt.Sprintf("ticket-%d-of-the-fake", f.tickets)
	f.valid[ticket] = true
	host := "slack.test"
	if f.listener != nil {
		host = f.listener.Addr().String()
	}
	return map[string]any{"ok": true, "url": "ws://" + host + "/link/?ticket=" + ticket + "&app_id=A1"}
}

// Dial connects to the fake without a network: for [FakeSlack]s without a port, inside a synctest bubble.
func (f *FakeSlack) Dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	l := &pipeListener{conn: make(chan net.Conn, 1), done: make(chan struct{})}
	l.conn <- server
	s := &http.Server{Handler: f, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(l) }() // ends behind the only connection
	return client, nil
}

// pipeListener hands out one connection.
type pipeListener struct {
	conn chan net.Conn
	done chan struct{}
	once sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		l.once.Do(func() { close(l.done) })
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// link is a Socket Mode connection, from its handshake to its end.
func (f *FakeSlack) link(w http.ResponseWriter, r *http.Request) {
	ticket := r.URL.Query().Get("ticket")
	f.mu.Lock()
	ok := f.valid[ticket]
	delete(f.valid, ticket)
	f.mu.Unlock()
	if !ok {
		http.Error(w, "no such ticket", http.StatusForbidden)
		return
	}
	up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	conn, err := up.Upgrade(w, r, nil)
	if err != nil {
		return // it has answered
	}
	s := &socket{conn: conn, gone: make(chan struct{}), acks: map[string]chan struct{}{}}
	defer conn.Close()
	f.mu.Lock()
	f.sockets = append(f.sockets, s)
	n := len(f.sockets)
	f.mu.Unlock()
	defer f.forget(s)
	hello := map[string]any{
		"type": "hello", "num_connections": n, "connection_info": map[string]any{"app_id": "A1"},
		"debug_info": map[string]any{"host": "applink-fake", "build_number": 1, "approximate_connection_time": 18060},
	}
	if s.send(hello) != nil {
		return
	}
	f.mu.Lock()
	f.helloed++
	f.wake()
	f.mu.Unlock()
	go s.ping(f.stop)
	for {
		var answer struct {
			EnvelopeID string `json:"envelope_id"`
		}
		if conn.ReadJSON(&answer) != nil {
			return
		}
		s.mu.Lock()
		if acked := s.acks[answer.EnvelopeID]; acked != nil {
			delete(s.acks, answer.EnvelopeID)
			close(acked)
		}
		s.mu.Unlock()
	}
}

func (f *FakeSlack) forget(s *socket) {
	close(s.gone)
	f.drop(s)
}

// drop takes a connection off the list, if it is there.
func (f *FakeSlack) drop(s *socket) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, other := range f.sockets {
		if other == s {
			f.sockets = append(f.sockets[:i:i], f.sockets[i+1:]...)
			break
		}
	}
	f.wake()
}

// ping does as Slack does until the connection ends.
func (s *socket) ping(stop <-chan struct{}) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.gone:
			return
		case <-stop:
			s.conn.Close()
			return
		case <-tick.C:
			if s.frozen.Load() {
				continue
			}
			_ = s.conn.WriteControl(websocket.PingMessage, []byte("Ping from applink-fake"), time.Now().Add(time.Minute))
		}
	}
}

// Connections is how many Socket Mode connections are up, and Connected how many there have been.
func (f *FakeSlack) Connections() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.sockets)
}

// Connected is how many Socket Mode connections there have been.
func (f *FakeSlack) Connected() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.helloed
}

// WaitConnected waits until there have been n Socket Mode connections, and one is up.
func (f *FakeSlack) WaitConnected(ctx context.Context, n int) error {
	_, err := f.Wait(ctx, func([]SlackMessage) bool { return f.Connected() >= n && f.Connections() > 0 })
	return err
}

// Disconnect asks every connection to be made anew, as Slack does each few hours ("warning", "refresh_requested") or when
// Socket Mode is turned off ("link_disabled"), and closes it a little later.
func (f *FakeSlack) Disconnect(reason string) {
	for _, s := range f.connections() {
		_ = s.send(map[string]any{"type": "disconnect", "reason": reason, "debug_info": map[string]any{"host": "applink-fake"}})
		go func() {
			select {
			case <-s.gone:
			case <-time.After(10 * time.Second):
				s.conn.Close()
			}
		}()
	}
}

// Drop cuts every connection without a word.
func (f *FakeSlack) Drop() {
	for _, s := range f.connections() {
		s.conn.Close()
	}
}

// Freeze keeps every connection open and says no more on it: no pings, no envelopes.
func (f *FakeSlack) Freeze() {
	for _, s := range f.connections() {
		s.frozen.Store(true)
		f.drop(s)
	}
}

// Tell sends v to every connection as it stands, a string as its bytes: what Slack might send that nobody expects.
func (f *FakeSlack) Tell(v any) error {
	var errs []error
	for _, s := range f.connections() {
		if text, ok := v.(string); ok {
			s.writing.Lock()
			errs = append(errs, s.conn.WriteMessage(websocket.TextMessage, []byte(text)))
			s.writing.Unlock()
			continue
		}
		errs = append(errs, s.send(v))
	}
	return errors.Join(errs...)
}

func (f *FakeSlack) connections() []*socket {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*socket(nil), f.sockets...)
}

// Ephemerals returns the messages that only one user sees, in order of arrival.
func (f *FakeSlack) Ephemerals() []Ephemeral {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Ephemeral(nil), f.ephemerals...)
}

// Press is a press of a button: what Slack sends about it, and may send again.
type Press struct {
	payload map[string]any
}

// ErrNotAcknowledged is what a user sees as a warning sign beside the button: it was not acknowledged within 3 s, or no app was
// connected for so long.
var ErrNotAcknowledged = errors.New("the app has not acknowledged the press")

// Buttons returns the texts of a message's buttons.
func (m SlackMessage) Buttons() []string {
	var names []string
	for _, b := range m.buttons() {
		names = append(names, b.name())
	}
	return names
}

type button struct {
	Type     string `json:"type"`
	ActionID string `json:"action_id"`
	Value    string `json:"value"`
	URL      string `json:"url"`
	Text     struct {
		Text string `json:"text"`
	} `json:"text"`
	block string
}

func (b *button) name() string { return unescape.Replace(b.Text.Text) }

func (m SlackMessage) buttons() []button {
	type actions struct {
		Type     string   `json:"type"`
		BlockID  string   `json:"block_id"`
		Elements []button `json:"elements"`
	}
	var blocks []actions
	_ = json.Unmarshal(m.Blocks, &blocks)
	var attachments []struct {
		Blocks []actions `json:"blocks"`
	}
	_ = json.Unmarshal(m.Attachments, &attachments)
	for _, a := range attachments {
		blocks = append(blocks, a.Blocks...)
	}
	var all []button
	for _, block := range blocks {
		for _, b := range block.Elements {
			if block.Type == "actions" && b.Type == "button" {
				b.block = block.BlockID
				all = append(all, b)
			}
		}
	}
	return all
}

// Press presses the button of that text below a message, as it stands now, and waits until the app has acknowledged it. The
// Press that it returns can be sent again by [FakeSlack.Deliver].
func (f *FakeSlack) Press(ctx context.Context, m SlackMessage, text string, by SlackUser) (Press, error) {
	f.mu.Lock()
	var found *SlackMessage
	for i := range f.messages {
		if f.messages[i].ID == m.ID && f.messages[i].TS == m.TS {
			found = &f.messages[i]
		}
	}
	if found == nil {
		f.mu.Unlock()
		return Press{}, fmt.Errorf("there is no message %s in %s", m.TS, m.Channel)
	}
	m = *found
	var pressed *button
	for _, b := range m.buttons() {
		if b.name() == text {
			pressed = &b
		}
	}
	if pressed == nil {
		f.mu.Unlock()
		return Press{}, fmt.Errorf("the message %q has no button %q, only %q", m.Text, text, m.Buttons())
	}
	f.presses++
	payload := map[string]any{
		"type": "block_actions", "team": map[string]any{"id": "T1", "domain": "fake"}, "enterprise": nil, "is_enterprise_install": false,
		"user":       map[string]any{"id": by.ID, "username": by.Name, "name": by.Name, "team_id": "T1"},
		"api_app_id": "A1", "token": "verification-token-of-the-fake", "trigger_id": "1.2.fake",
		"container": map[string]any{
			"type": "message_attachment", "message_ts": m.TS, "attachment_id": 1, "channel_id": m.ID, "is_ephemeral": false, "is_app_unfurl": false,
		},
		"channel": map[string]any{"id": m.ID, "name": strings.TrimPrefix(m.Channel, "#")},
		"message": map[string]any{
			"type": "message", "subtype": "bot_message", "text": m.Text, "ts": m.TS, "bot_id": "B1", "app_id": "A1", "attachments": m.Attachments,
		},
		"state": map[string]any{"values": map[string]any{}}, "response_url": "https://fake.slack.test/actions/T1/1/secret-of-the-fake",
		"actions": []any{map[string]any{
			"action_id": pressed.ActionID, "block_id": pressed.block, "value": pressed.Value, "type": "button", "style": "primary",
			"text":      map[string]any{"type": "plain_text", "text": pressed.Text.Text, "emoji": true},
			"action_ts": fmt.Sprintf("%d.%06d", time.Now().Unix(), f.presses),
		}},
	}
	f.mu.Unlock()
	p := Press{payload}
	return p, f.Deliver(ctx, p)
}

// Deliver sends a press to one of the app's connections and waits until it is acknowledged. What was pressed once and is
// delivered again is a redelivery.
func (f *FakeSlack) Deliver(ctx context.Context, p Press) error {
	f.mu.Lock()
	if len(f.sockets) == 0 {
		f.mu.Unlock()
		return fmt.Errorf("%w: it is not connected", ErrNotAcknowledged)
	}
	s := f.sockets[len(f.sockets)-1]
	f.envelopes++
	id := fmt.Sprintf("envelope-%d", f.envelopes)
	f.mu.Unlock()
	acked := make(chan struct{})
	s.mu.Lock()
	s.acks[id] = acked
	s.mu.Unlock()
	envelope := map[string]any{"type": "interactive", "envelope_id": id, "payload": p.payload, "accepts_response_payload": false}
	if err := s.send(envelope); err != nil {
		return err
	}
	limit := time.NewTimer(ackWithin)
	defer limit.Stop()
	select {
	case <-acked:
		return nil
	case <-s.gone:
		return fmt.Errorf("%w: the connection has ended", ErrNotAcknowledged)
	case <-limit.C:
		return fmt.Errorf("%w within %v", ErrNotAcknowledged, ackWithin)
	case <-ctx.Done():
		return ctx.Err()
	}
}
