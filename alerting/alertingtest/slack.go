package alertingtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// FakeSlack speaks as much of Slack's Web API as lookout uses: chat.postMessage, .update and .postEphemeral, auth.test,
// apps.connections.open, conversations.list, .info, .join and .open. It is as strict as Slack about what a message may be, keeps the messages,
// and fails as told by [FakeSlack.Script] and [FakeSlack.Behave]. In Socket Mode it delivers presses of the messages' buttons.
type FakeSlack struct {
	listener net.Listener
	server   *http.Server
	stop     chan struct{}
	stopOnce sync.Once

	mu       sync.Mutex
	token    string
	script   []Reply
	behave   func(Call) Reply
	messages []SlackMessage
	calls    []Call
	channels []string // the index is the number of the id
	kinds    map[string]ChannelKind
	scopes   []string // nil: Slack does not say
	grown    chan struct{}
	rates    *rates // nil: none

	// Socket Mode, see slacksocket.go.
	appToken                             string
	valid                                map[string]bool // tickets
	tickets, helloed, presses, envelopes int
	sockets                              []*socket
	ephemerals                           []Ephemeral
}

// SlackMessage is a message as a channel shows it.
type SlackMessage struct {
	Channel     string // as the sender named it
	ID          string // the channel's id
	TS          string
	ThreadTS    string
	Broadcast   bool            // a reply that the channel shows too
	Text        string          // the top-level text, as it was sent
	Attachments json.RawMessage // nil when there are none
	Blocks      json.RawMessage
	Edits       int
	At          time.Time
}

// Content is all that can be read in the message, unescaped: the text, and every text of attachments and blocks, a line each.
func (m SlackMessage) Content() string {
	parts := []string{m.Text}
	for _, raw := range []json.RawMessage{m.Blocks, m.Attachments} {
		var v any
		if json.Unmarshal(raw, &v) == nil {
			parts = texts(parts, v)
		}
	}
	return unescape.Replace(strings.Join(parts, "\n"))
}

var unescape = strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&")

func texts(parts []string, v any) []string {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			parts = texts(parts, x)
		}
	case map[string]any:
		if s, ok := v["text"].(string); ok {
			parts = append(parts, s)
		}
		for _, name := range []string{"blocks", "text", "elements", "fields"} {
			if x, ok := v[name]; ok {
				parts = texts(parts, x)
			}
		}
	}
	return parts
}

// Call is one request.
type Call struct {
	Method  string // chat.postMessage
	Channel string // as it was named, empty for calls without one
	Text    string
	Number  int // from 0, over all calls
}

// Reply is how a call is answered. The zero value lets it pass.
type Reply struct {
	status     int
	code       string // ok:false with this error
	body       string
	retryAfter string
	reset      time.Time // Pushover's quota is used up until then
	hang       bool
	lost       bool
}

// OK lets the call pass.
func OK() Reply { return Reply{} }

// SlackError answers ok:false with a code such as not_in_channel.
func SlackError(code string) Reply { return Reply{code: code} }

// Status answers with an HTTP status and a page that is not JSON.
func Status(status int) Reply {
	return Reply{status: status, body: "<html>" + http.StatusText(status) + "</html>"}
}

// RateLimited answers 429; after is the Retry-After header in whole seconds, left out when negative.
func RateLimited(after time.Duration) Reply {
	r := Reply{status: http.StatusTooManyRequests, body: `{"ok":false,"error":"ratelimited"}`}
	if after >= 0 {
		r.retryAfter = strconv.Itoa(int(after / time.Second))
	}
	return r
}

// Body answers 200 with this body instead of Slack's.
func Body(body string) Reply { return Reply{status: http.StatusOK, body: body} }

// WithHeader is the reply with a Retry-After header as it stands here.
func (r Reply) WithHeader(retryAfter string) Reply {
	r.retryAfter = retryAfter
	return r
}

// Hang takes nothing and does not answer until the client goes away.
func Hang() Reply { return Reply{hang: true} }

// Lost accepts the call and cuts the connection instead of answering.
func Lost() Reply { return Reply{lost: true} }

// New starts a fake Slack on a free port of the loopback interface. It panics when there is none.
func New() *FakeSlack {
	f, err := Listen("127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	return f
}

// Listen starts a fake Slack on an address.
func Listen(addr string) (*FakeSlack, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("fake Slack: %w", err)
	}
	f := NewUnlistening()
	f.listener = l
	f.server = &http.Server{Handler: f, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = f.server.Serve(l) }() // ends with Close
	return f, nil
}

// NewUnlistening returns a fake Slack without a port, reached by [FakeSlack.Transport] alone: for synctest, where waiting
// for a network holds the clock.
func NewUnlistening() *FakeSlack {
	return &FakeSlack{stop: make(chan struct{}), valid: map[string]bool{}}
}

// URL is the address of the API: what LOOKOUT_SLACK_API takes.
func (f *FakeSlack) URL() string {
	if f.listener == nil {
		return "http://slack.test/api/"
	}
	return "http://" + f.listener.Addr().String() + "/api/"
}

// Close stops the server and lets hanging calls go.
func (f *FakeSlack) Close() {
	f.stopOnce.Do(func() { close(f.stop) })
	if f.server != nil {
		_ = f.server.Close()
	}
}

// Require makes every other token invalid_auth. Without it any token passes, but not a missing one.
func (f *FakeSlack) Require(token string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.token = token
}

// Grant has answers name these scopes of the token, and refuses what needs others.
func (f *FakeSlack) Grant(scopes ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.scopes = scopes
}

// ChannelKind is what a channel is, beside public and one that lookout is in.
type ChannelKind struct{ Private, Archived, Strange bool } // Strange: lookout is not in it

// Channel makes a channel.
func (f *FakeSlack) Channel(name string, kind ChannelKind) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.number(name)
	if f.kinds == nil {
		f.kinds = map[string]ChannelKind{}
	}
	f.kinds[name] = kind
}

// needs are the scopes that methods need, one of each.
var needs = map[string][]string{"chat.postMessage": {"chat:write"}, "chat.update": {"chat:write"}, "conversations.list": {"channels:read", "groups:read"}}

// may tells whether the token has a scope. The caller holds the lock.
func (f *FakeSlack) may(scopes ...string) bool {
	return f.scopes == nil || len(scopes) == 0 || slices.ContainsFunc(scopes, func(s string) bool { return slices.Contains(f.scopes, s) })
}

// rates are Slack's limits: a message a second in a channel with short bursts, and 50 edits a minute in all.
type rates struct {
	posts   map[string][]time.Time // by channel
	updates []time.Time
	refused int
}

// LimitRates has the fake answer 429 to what is faster than Slack allows.
func (f *FakeSlack) LimitRates() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rates = &rates{posts: map[string][]time.Time{}}
}

// Limited is how many calls were faster than Slack allows.
func (f *FakeSlack) Limited() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rates.refused
}

// limited tells how long a call has to wait, 0 when it may pass.
func (f *FakeSlack) limited(c *Call) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rates == nil {
		return 0
	}
	now := time.Now()
	check := func(times []time.Time, n int, window time.Duration) ([]time.Time, time.Duration) {
		for len(times) > 0 && now.Sub(times[0]) >= window {
			times = times[1:]
		}
		if len(times) >= n {
			f.rates.refused++
			return times, window - now.Sub(times[0])
		}
		return append(times, now), 0
	}
	var wait time.Duration
	switch c.Method {
	case "chat.postMessage":
		f.rates.posts[c.Channel], wait = check(f.rates.posts[c.Channel], 5, 4*time.Second)
	case "chat.update":
		f.rates.updates, wait = check(f.rates.updates, 50, time.Minute)
	}
	return wait
}

// Script answers the next calls of chat.postMessage and chat.update by these, one each, in order of arrival.
func (f *FakeSlack) Script(replies ...Reply) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.script = append(f.script, replies...)
}

// Behave asks fn for the reply to each call, of any method, that the script says nothing about; nil lets all pass.
func (f *FakeSlack) Behave(fn func(Call) Reply) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.behave = fn
}

// Messages returns the messages in order of arrival, as they stand after edits; with channels, only theirs.
func (f *FakeSlack) Messages(channels ...string) []SlackMessage {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []SlackMessage
	for _, m := range f.messages {
		wanted := len(channels) == 0
		for _, c := range channels {
			wanted = wanted || c == m.Channel
		}
		if wanted {
			found = append(found, m)
		}
	}
	return found
}

// Calls returns every request of chat.postMessage and chat.update, answered or not.
func (f *FakeSlack) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Call(nil), f.calls...)
}

// Wait waits until the messages satisfy until, and returns them. It looks after each call, answered or not, and each message.
func (f *FakeSlack) Wait(ctx context.Context, until func([]SlackMessage) bool) ([]SlackMessage, error) {
	for {
		f.mu.Lock()
		if f.grown == nil {
			f.grown = make(chan struct{})
		}
		grown := f.grown
		f.mu.Unlock()
		if m := f.Messages(); until(m) {
			return m, nil
		}
		select {
		case <-ctx.Done():
			m := f.Messages()
			return m, fmt.Errorf("waiting for messages, %d are there: %w", len(m), ctx.Err())
		case <-grown:
		}
	}
}

// ServeHTTP answers as Slack's Web API.
func (f *FakeSlack) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	method := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	if strings.HasPrefix(r.URL.Path, "/link/") {
		f.link(w, r)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 4<<20)
	if err := r.ParseForm(); err != nil {
		answer(w, refuse("invalid_form_data"))
		return
	}
	call := Call{Method: method, Channel: r.Form.Get("channel"), Text: r.Form.Get("text")}
	reply := f.reply(&call)
	switch {
	case reply.hang:
		select {
		case <-r.Context().Done():
		case <-f.stop:
		}
		panic(http.ErrAbortHandler)
	case reply.code != "":
		answer(w, refuse(reply.code))
	case reply.status != 0:
		if reply.retryAfter != "" {
			w.Header().Set("Retry-After", reply.retryAfter)
		}
		w.WriteHeader(reply.status)
		_, _ = io.WriteString(w, reply.body)
	default:
		if wait := f.limited(&call); wait > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, `{"ok":false,"error":"ratelimited"}`)
			return
		}
		result := f.do(method, r)
		f.mu.Lock()
		if f.scopes != nil {
			w.Header().Set("X-OAuth-Scopes", strings.Join(f.scopes, ","))
		}
		f.mu.Unlock()
		if reply.lost {
			panic(http.ErrAbortHandler) // net/http cuts the connection
		}
		answer(w, result)
	}
}

func (f *FakeSlack) reply(call *Call) Reply {
	f.mu.Lock()
	chat := strings.HasPrefix(call.Method, "chat.")
	if chat {
		call.Number = len(f.calls)
		f.calls = append(f.calls, *call)
		f.wake()
		if len(f.script) > 0 {
			reply := f.script[0]
			f.script = f.script[1:]
			f.mu.Unlock()
			return reply
		}
	}
	behave := f.behave
	f.mu.Unlock()
	if behave == nil {
		return OK()
	}
	return behave(*call)
}

func refuse(code string) map[string]any { return map[string]any{"ok": false, "error": code} }

func answer(w http.ResponseWriter, v map[string]any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}

func (f *FakeSlack) do(method string, r *http.Request) map[string]any {
	token := r.Form.Get("token")
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		token = bearer
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if method == "apps.connections.open" {
		return f.open(token)
	}
	switch {
	case token == "":
		return refuse("not_authed")
	case f.token != "" && token != f.token:
		return refuse("invalid_auth")
	}
	if !f.may(needs[method]...) {
		return map[string]any{"ok": false, "error": "missing_scope", "needed": strings.Join(needs[method], ",")}
	}
	switch method {
	case "auth.test":
		return map[string]any{"ok": true, "url": "https://fake.slack.test/", "team": "Fake", "user": "lookout", "team_id": "T1", "user_id": "U1", "bot_id": "B1"}
	case "conversations.list":
		list := []any{}
		for i, name := range f.channels {
			kind := "public_channel"
			if f.kinds[name].Private {
				kind = "private_channel"
			}
			if types := r.Form.Get("types"); types == "" || slices.Contains(strings.Split(types, ","), kind) {
				list = append(list, f.channel(i, name))
			}
		}
		return map[string]any{"ok": true, "channels": list, "response_metadata": map[string]any{"next_cursor": ""}}
	case "conversations.info", "conversations.join", "conversations.open":
		name := r.Form.Get("channel")
		if name == "" {
			name = "@" + r.Form.Get("users")
		}
		i := f.number(name)
		return map[string]any{"ok": true, "channel": f.channel(i, f.channels[i])}
	case "chat.postMessage":
		return f.post(r)
	case "chat.update":
		return f.update(r)
	case "chat.postEphemeral":
		name := r.Form.Get("channel")
		f.ephemerals = append(f.ephemerals, Ephemeral{Channel: name, User: r.Form.Get("user"), Text: unescape.Replace(r.Form.Get("text"))})
		f.wake()
		return map[string]any{"ok": true, "message_ts": "1.1"}
	}
	return refuse("unknown_method")
}

func (f *FakeSlack) channel(i int, name string) map[string]any {
	return map[string]any{"id": channelID(i), "name": strings.TrimPrefix(name, "#"), "is_channel": true, "is_member": !f.kinds[name].Strange,
		"is_archived": f.kinds[name].Archived, "is_private": f.kinds[name].Private}
}

func channelID(i int) string { return fmt.Sprintf("C%04d", i+1) }

// number finds a channel by name or id, and makes it when it is new.
func (f *FakeSlack) number(name string) int {
	for i, known := range f.channels {
		if known == name || channelID(i) == name {
			return i
		}
	}
	f.channels = append(f.channels, name)
	return len(f.channels) - 1
}

func (f *FakeSlack) post(r *http.Request) map[string]any {
	name := r.Form.Get("channel")
	if name == "" {
		return refuse("channel_not_found")
	}
	m, code := parse(r)
	if code != "" {
		return refuse(code)
	}
	i := f.number(name)
	m.Channel, m.ID = f.channels[i], channelID(i)
	m.At = time.Now()
	m.TS = fmt.Sprintf("%d.%06d", m.At.Unix(), len(f.messages))
	// A reply to what is not there becomes a message of its own, without a word.
	for _, root := range f.messages {
		if root.ID == m.ID && root.TS == r.Form.Get("thread_ts") {
			m.ThreadTS, m.Broadcast = root.TS, r.Form.Get("reply_broadcast") == "true"
		}
	}
	f.messages = append(f.messages, m)
	f.wake()
	return map[string]any{"ok": true, "channel": m.ID, "ts": m.TS, "message": map[string]any{"text": m.Text, "ts": m.TS}}
}

func (f *FakeSlack) update(r *http.Request) map[string]any {
	m, code := parse(r)
	if code != "" {
		return refuse(code)
	}
	for i := range f.messages {
		old := &f.messages[i]
		if old.ID == r.Form.Get("channel") && old.TS == r.Form.Get("ts") {
			old.Text, old.Attachments, old.Blocks = m.Text, m.Attachments, m.Blocks
			old.Edits++
			f.wake()
			return map[string]any{"ok": true, "channel": old.ID, "ts": old.TS, "text": m.Text}
		}
	}
	return refuse("message_not_found")
}

func (f *FakeSlack) wake() {
	if f.grown != nil {
		close(f.grown)
		f.grown = nil
	}
}

// parse holds a message to Slack's limits.
func parse(r *http.Request) (m SlackMessage, code string) {
	m.Text = r.Form.Get("text")
	var attachments []struct {
		Blocks []block `json:"blocks"`
	}
	var blocks []block
	if s := r.Form.Get("attachments"); s != "" {
		if json.Unmarshal([]byte(s), &attachments) != nil {
			return m, "invalid_attachments"
		}
		m.Attachments = json.RawMessage(s)
	}
	if s := r.Form.Get("blocks"); s != "" {
		if json.Unmarshal([]byte(s), &blocks) != nil {
			return m, "invalid_blocks_format"
		}
		m.Blocks = json.RawMessage(s)
	}
	switch {
	case utf8.RuneCountInString(m.Text) > 40_000:
		return m, "msg_too_long"
	case len(attachments) > 100:
		return m, "too_many_attachments"
	case m.Text == "" && len(blocks) == 0 && len(attachments) == 0:
		return m, "no_text"
	}
	for _, a := range attachments {
		blocks = append(blocks, a.Blocks...)
	}
	if len(blocks) > 50 {
		return m, "invalid_blocks"
	}
	total := 0
	for _, b := range blocks {
		if b.Type == "" {
			return m, "invalid_blocks_format"
		}
		elements := []text{b.Text}
		if b.Type == "actions" {
			if code := strictButtons(b.Elements); code != "" {
				return m, code
			}
		} else {
			var texts []text
			if len(b.Elements) > 0 && json.Unmarshal(b.Elements, &texts) != nil {
				return m, "invalid_blocks_format"
			}
			if len(texts) > 10 {
				return m, "invalid_blocks"
			}
			elements = append(elements, texts...)
		}
		for _, t := range elements {
			n := utf8.RuneCountInString(t.Text)
			if n > 3000 {
				return m, "invalid_blocks"
			}
			total += n
		}
	}
	if total > 13_200 {
		return m, "msg_blocks_too_long"
	}
	return m, ""
}

type block struct {
	Type     string          `json:"type"`
	Text     text            `json:"text"`
	Elements json.RawMessage `json:"elements"`
}

// strictButtons holds the elements of an actions block to Slack's limits.
func strictButtons(raw json.RawMessage) (code string) {
	var buttons []button
	if json.Unmarshal(raw, &buttons) != nil {
		return "invalid_blocks_format"
	}
	if len(buttons) == 0 || len(buttons) > 25 {
		return "invalid_blocks"
	}
	seen := map[string]bool{}
	for _, b := range buttons {
		n := utf8.RuneCountInString(b.Text.Text)
		if b.Type != "button" || n == 0 || n > 75 || len(b.Value) > 2000 || len(b.URL) > 3000 || len(b.ActionID) > 255 || seen[b.ActionID] {
			return "invalid_blocks"
		}
		seen[b.ActionID] = true
	}
	return ""
}

type text struct {
	Text string `json:"text"`
}

// Transport reaches the fake without a network.
func (f *FakeSlack) Transport() http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) { return serve(f, r) })
}

type roundTripper func(*http.Request) (*http.Response, error)

func (t roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// serve has a handler answer a request as if there were a network between.
func serve(h http.Handler, r *http.Request) (resp *http.Response, err error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	defer func() {
		if p := recover(); p == http.ErrAbortHandler {
			resp, err = nil, io.ErrUnexpectedEOF
			if r.Context().Err() != nil {
				err = r.Context().Err()
			}
		} else if p != nil {
			panic(p)
		}
	}()
	if r.Body == nil {
		r.Body = http.NoBody // as a server gives it
	}
	w := &recorder{header: http.Header{}, status: http.StatusOK}
	h.ServeHTTP(w, r)
	return &http.Response{
		Status: fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)), StatusCode: w.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: w.header,
		Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: r,
	}, nil
}

type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header         { return w.header }
func (w *recorder) WriteHeader(status int)      { w.status = status }
func (w *recorder) Write(p []byte) (int, error) { return w.body.Write(p) }
