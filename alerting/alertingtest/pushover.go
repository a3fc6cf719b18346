package alertingtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// FakePushover speaks Pushover's message and receipt API, as documented at pushover.net/api and pushover.net/api/receipts: messages.json,
// receipts/R.json, receipts/R/cancel.json, receipts/cancel_by_tag/T.json, users/validate.json and apps/limits.json. It refuses
// what Pushover refuses, keeps the messages, and fails as told by [FakePushover.Script] and [FakePushover.Behave].
//
// Pushover answers some bad manners (polling too fast, a third connection) by slowing down, some time; the fake answers and
// notes them: a test ends by looking at [FakePushover.Failures].
type FakePushover struct {
	listener net.Listener
	server   *http.Server
	stop     chan struct{}
	stopOnce sync.Once

	mu         sync.Mutex
	token      string
	user       string
	clock      func() time.Time
	pollEvery  time.Duration
	limit      int // messages a month
	used       int
	reset      time.Time
	script     []Reply
	behave     func(PushoverCall) Reply
	messages   []PushoverMessage
	receipts   map[string]*receipt
	calls      []PushoverCall
	requests   int
	failures   []string
	running    int // requests of Transport that are not answered yet
	connection map[*pushoverConn]bool
	grown      chan struct{}
}

// PushoverMessage is a message as it was accepted.
type PushoverMessage struct {
	User, Device    string
	Title, Message  string
	URL, URLTitle   string
	Priority        int
	Retry, Expire   time.Duration // of priority 2
	Timestamp       time.Time     // as sent, zero without one
	Sound, Tags     string
	HTML, Monospace bool
	TTL             time.Duration
	Receipt         string // of priority 2
	At              time.Time
}

// PushoverCall is one request.
type PushoverCall struct {
	// Method is messages, receipts, cancel, cancel_by_tag, validate or limits.
	Method   string
	Receipt  string // the receipt or tag that the path names
	Title    string
	Message  string
	Priority string
	Number   int // from 0, over all calls that send or cancel
}

// receipt is what is known of an emergency.
type receipt struct {
	sent         time.Time
	expires      time.Time
	retry        time.Duration
	tags         []string
	acknowledged time.Time // zero: not yet
	by, device   string
	cancelled    bool
	expired      bool
	polled       time.Time
	cancels      int
}

// PushoverErrors answers as Pushover does to invalid input: the field is said to be invalid, the texts say why.
func PushoverErrors(status int, field string, errors ...string) Reply {
	return Reply{status: status, code: field, body: strings.Join(errors, "\n")}
}

// QuotaUsed answers 429 with the headers that say when the quota is there again.
func QuotaUsed(reset time.Time) Reply {
	return Reply{status: http.StatusTooManyRequests, code: "message", body: "application is over its monthly message limit", reset: reset}
}

// NewPushover starts a fake Pushover on a free port of the loopback interface. It panics when there is none.
func NewPushover() *FakePushover {
	f, err := ListenPushover("127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	return f
}

// ListenPushover starts a fake Pushover on an address; 0.0.0.0:0 is one that containers reach by this machine's address on
// their bridge.
func ListenPushover(addr string) (*FakePushover, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("fake Pushover: %w", err)
	}
	f := NewUnlisteningPushover()
	f.listener = l
	f.server = &http.Server{Handler: f, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = f.server.Serve(pushoverListener{l, f}) }() // ends with Close
	return f, nil
}

// NewUnlisteningPushover returns a fake Pushover without a port, reached by [FakePushover.Transport] alone: for synctest,
// where waiting for a network holds the clock.
func NewUnlisteningPushover() *FakePushover {
	return &FakePushover{
		stop: make(chan struct{}), clock: time.Now, pollEvery: 5 * time.Second, limit: 10_000,
		receipts: map[string]*receipt{}, connection: map[*pushoverConn]bool{},
	}
}

// URL is the address of the API: what LOOKOUT_PUSHOVER_API takes.
func (f *FakePushover) URL() string {
	if f.listener == nil {
		return "http://pushover.test/1/"
	}
	return "http://" + f.listener.Addr().String() + "/1/"
}

// Close stops the server and lets hanging calls go.
func (f *FakePushover) Close() {
	f.stopOnce.Do(func() { close(f.stop) })
	if f.server != nil {
		_ = f.server.Close()
	}
}

// Require makes every other token and user invalid. Without it any of 30 letters and digits pass.
func (f *FakePushover) Require(token, user string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.token, f.user = token, user
}

// Clock gives another time of day than the system's, for when things expire.
func (f *FakePushover) Clock(now func() time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clock = now
}

// PollEvery sets the shortest time between two polls of a receipt; 0 allows any. It is 5 s, as Pushover asks for.
func (f *FakePushover) PollEvery(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pollEvery = d
}

// Quota sets how many messages may still be sent and when the count begins anew; then further ones are answered 429.
func (f *FakePushover) Quota(remaining int, reset time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.used, f.reset = f.limit-remaining, reset
}

// Script answers the next calls that send or cancel by these, one each, in order of arrival.
func (f *FakePushover) Script(replies ...Reply) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.script = append(f.script, replies...)
}

// Behave asks fn for the reply to each call, of any method, that the script says nothing about; nil lets all pass.
func (f *FakePushover) Behave(fn func(PushoverCall) Reply) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.behave = fn
}

// Messages returns the messages in order of arrival; with priorities, only theirs.
func (f *FakePushover) Messages(priorities ...int) []PushoverMessage {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []PushoverMessage
	for _, m := range f.messages {
		if len(priorities) == 0 || slices.Contains(priorities, m.Priority) {
			found = append(found, m)
		}
	}
	return found
}

// Calls returns every request that sends or cancels, answered or not.
func (f *FakePushover) Calls() []PushoverCall {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Requests counts all requests, polls included.
func (f *FakePushover) Requests() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests
}

// Failures says what Pushover would not have liked, in order.
func (f *FakePushover) Failures() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.failures)
}

// Acknowledge is the user's tap on an emergency. It reports whether there was something to acknowledge.
func (f *FakePushover) Acknowledge(receipt string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.receipts[receipt]
	if r == nil || !f.rings(r) {
		return false
	}
	r.acknowledged, r.by, r.device = f.clock(), f.user, "phone"
	if r.by == "" {
		r.by = strings.Repeat("u", keyLength)
	}
	f.wake()
	return true
}

// Expire lets an emergency's time run out.
func (f *FakePushover) Expire(receipt string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r := f.receipts[receipt]; r != nil && f.rings(r) {
		r.expired, r.expires = true, f.clock()
	}
}

// Cancelled tells whether an emergency was cancelled by its receipt or a tag.
func (f *FakePushover) Cancelled(receipt string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.receipts[receipt]
	return r != nil && r.cancelled
}

// Acknowledged tells whether an emergency was acknowledged.
func (f *FakePushover) Acknowledged(receipt string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.receipts[receipt]
	return r != nil && !r.acknowledged.IsZero()
}

// Ringing returns the receipts of the emergencies that are neither acknowledged, cancelled nor expired, sorted.
func (f *FakePushover) Ringing() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []string
	for _, id := range slices.Sorted(maps.Keys(f.receipts)) {
		if f.rings(f.receipts[id]) {
			list = append(list, id)
		}
	}
	return list
}

func (f *FakePushover) rings(r *receipt) bool {
	return r.acknowledged.IsZero() && !r.cancelled && !r.expired && f.clock().Before(r.expires)
}

// Wait waits until the messages satisfy until, and returns them. It looks after each call that
// sends or cancels, answered or not, each message, cancellation and acknowledgement.
func (f *FakePushover) Wait(ctx context.Context, until func([]PushoverMessage) bool) ([]PushoverMessage, error) {
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

func (f *FakePushover) wake() {
	if f.grown != nil {
		close(f.grown)
		f.grown = nil
	}
}

func (f *FakePushover) fail(format string, args ...any) {
	f.failures = append(f.failures, fmt.Sprintf(format, args...))
}

// pushoverAnswer is an answer's status and its JSON.
type pushoverAnswer struct {
	status int
	body   map[string]any
}

func (f *FakePushover) accept(more map[string]any) pushoverAnswer {
	body := map[string]any{"status": 1, "request": f.request()}
	maps.Copy(body, more)
	return pushoverAnswer{http.StatusOK, body}
}

// refuse is an answer to input that Pushover finds invalid.
func (f *FakePushover) refuse(status int, field, what string, errors ...string) pushoverAnswer {
	body := map[string]any{"status": 0, "request": f.request(), "errors": errors}
	if field != "" {
		body[field] = what
	}
	return pushoverAnswer{status, body}
}

func (f *FakePushover) request() string {
	return fmt.Sprintf("00000000-0000-4000-8000-%012d", f.requests)
}

// ServeHTTP answers as Pushover's API.
func (f *FakePushover) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	call := PushoverCall{}
	form, err := pushoverForm(w, r)
	method, id, known := pushoverMethod(r.URL.Path)
	call.Method, call.Receipt = method, id
	call.Title, call.Message, call.Priority = form.Get("title"), form.Get("message"), form.Get("priority")
	reply := f.reply(&call)
	limits := method == "messages"
	switch {
	case reply.hang:
		select {
		case <-r.Context().Done():
		case <-f.stop:
		}
		panic(http.ErrAbortHandler)
	case reply.code != "": // before the plain status: an answer of the API's own
		f.mu.Lock()
		if !reply.reset.IsZero() {
			w.Header().Set("X-Limit-App-Limit", strconv.Itoa(f.limit))
			w.Header().Set("X-Limit-App-Remaining", "0")
			w.Header().Set("X-Limit-App-Reset", strconv.FormatInt(reply.reset.Unix(), 10))
		} else if limits {
			f.limits(w.Header())
		}
		a := f.refuse(reply.status, reply.code, "invalid", strings.Split(reply.body, "\n")...)
		f.mu.Unlock()
		a.write(w)
	case reply.status != 0:
		if reply.retryAfter != "" {
			w.Header().Set("Retry-After", reply.retryAfter)
		}
		w.WriteHeader(reply.status)
		_, _ = io.WriteString(w, reply.body)
	default:
		f.mu.Lock()
		a := f.do(&call, known, r.Method, form, err)
		if limits {
			f.limits(w.Header())
		}
		f.mu.Unlock()
		if reply.lost {
			panic(http.ErrAbortHandler) // net/http cuts the connection
		}
		a.write(w)
	}
}

func (a pushoverAnswer) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(a.status)
	_ = json.NewEncoder(w).Encode(a.body) // the client may be gone
}

// limits writes the headers about the quota.
func (f *FakePushover) limits(h http.Header) {
	h.Set("X-Limit-App-Limit", strconv.Itoa(f.limit))
	h.Set("X-Limit-App-Remaining", strconv.Itoa(max(0, f.limit-f.used)))
	h.Set("X-Limit-App-Reset", strconv.FormatInt(f.resets().Unix(), 10))
}

// resets is the beginning of the next month; Pushover's are Central Time's.
func (f *FakePushover) resets() time.Time {
	if !f.reset.IsZero() {
		return f.reset
	}
	now := f.clock().UTC()
	return time.Date(now.Year(), now.Month()+1, 1, 6, 0, 0, 0, time.UTC)
}

// pushoverForm reads the parameters of the query, and of a form or JSON.
func pushoverForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	r.Body = http.MaxBytesReader(w, r.Body, 8<<20)
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "application/json" {
		err := r.ParseForm()
		return r.Form, err
	}
	values := r.URL.Query()
	var object map[string]any
	dec := json.NewDecoder(r.Body)
	dec.UseNumber()
	err := dec.Decode(&object)
	for k, v := range object {
		values.Set(k, fmt.Sprint(v))
	}
	return values, err
}

func pushoverMethod(path string) (method, id string, ok bool) {
	path, ok = strings.CutPrefix(path, "/1/")
	path, isJSON := strings.CutSuffix(path, ".json")
	parts := strings.Split(path, "/")
	switch {
	case !ok || !isJSON:
	case path == "messages":
		return "messages", "", true
	case path == "users/validate":
		return "validate", "", true
	case path == "apps/limits":
		return "limits", "", true
	case len(parts) == 3 && parts[0] == "receipts" && parts[1] == "cancel_by_tag":
		return "cancel_by_tag", parts[2], true
	case len(parts) == 3 && parts[0] == "receipts" && parts[2] == "cancel":
		return "cancel", parts[1], true
	case len(parts) == 2 && parts[0] == "receipts":
		return "receipts", parts[1], true
	}
	return "", "", false
}

func (f *FakePushover) reply(call *PushoverCall) Reply {
	f.mu.Lock()
	f.requests++
	if call.Method == "messages" || strings.HasPrefix(call.Method, "cancel") {
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

// keyLength is how long tokens, user and group keys, and receipts are.
const keyLength = 30

func isKey(s string) bool {
	return len(s) == keyLength && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
}

func (f *FakePushover) do(call *PushoverCall, known bool, verb string, form url.Values, err error) pushoverAnswer {
	want := http.MethodPost
	if call.Method == "receipts" || call.Method == "limits" {
		want = http.MethodGet
	}
	token := form.Get("token")
	switch {
	case !known:
		return f.refuse(http.StatusNotFound, "", "", "resource not found")
	case verb != want:
		return f.refuse(http.StatusMethodNotAllowed, "", "", "use "+want)
	case err != nil:
		return f.refuse(http.StatusBadRequest, "", "", "parameters cannot be read")
	case !isKey(token) || f.token != "" && token != f.token:
		return f.refuse(http.StatusBadRequest, "token", "invalid", "application token is invalid, see https://pushover.net/api")
	}
	switch call.Method {
	case "messages":
		return f.message(form)
	case "validate":
		if a, ok := f.knows(form.Get("user")); !ok {
			return a
		}
		return f.accept(map[string]any{"devices": []string{"phone"}, "licenses": []string{"Android"}})
	case "limits":
		return f.accept(map[string]any{"limit": f.limit, "remaining": max(0, f.limit-f.used), "reset": f.resets().Unix()})
	case "cancel_by_tag":
		n := 0
		for _, r := range f.receipts {
			if slices.Contains(r.tags, call.Receipt) && f.rings(r) {
				r.cancelled = true
				n++
			}
		}
		f.wake()
		return f.accept(map[string]any{"canceled": n})
	}
	r := f.receipts[call.Receipt]
	if r == nil {
		return f.refuse(http.StatusNotFound, "receipt", "not found", "receipt not found; may be invalid or expired")
	}
	if call.Method == "cancel" {
		r.cancels++
		if f.rings(r) {
			r.cancelled = true
		}
		f.wake()
		return f.accept(nil)
	}
	return f.poll(call.Receipt, r)
}

func (f *FakePushover) poll(id string, r *receipt) pushoverAnswer {
	now := f.clock()
	if since := now.Sub(r.polled); !r.polled.IsZero() && since < f.pollEvery {
		f.fail("receipt %s was polled twice within %v", id, since)
	}
	r.polled = now
	number := func(yes bool) int {
		if yes {
			return 1
		}
		return 0
	}
	at := int64(0)
	if !r.acknowledged.IsZero() {
		at = r.acknowledged.Unix()
	}
	// What Pushover says of a cancelled receipt is not documented; that it will not be sent again is what expired means.
	ended := r.expired || r.cancelled || !now.Before(r.expires)
	last := r.sent
	if f.rings(r) {
		last = last.Add(now.Sub(r.sent) / r.retry * r.retry)
	}
	return f.accept(map[string]any{
		"acknowledged": number(at != 0), "acknowledged_at": at, "acknowledged_by": r.by, "acknowledged_by_device": r.device,
		"last_delivered_at": last.Unix(), "expired": number(ended), "expires_at": r.expires.Unix(), "called_back": 0, "called_back_at": 0,
	})
}

// knows refuses users that are not there.
func (f *FakePushover) knows(user string) (pushoverAnswer, bool) {
	for one := range strings.SplitSeq(user, ",") {
		if !isKey(one) || f.user != "" && one != f.user {
			return f.refuse(http.StatusBadRequest, "user", "invalid",
				"user identifier is not a valid user, group, or subscribed user key, see https://pushover.net/api#identifiers"), false
		}
	}
	return pushoverAnswer{}, true
}

// message holds a message to Pushover's limits.
func (f *FakePushover) message(form url.Values) pushoverAnswer {
	bad := func(field, what string) pushoverAnswer {
		return f.refuse(http.StatusBadRequest, field, what, field+" "+what)
	}
	if a, ok := f.knows(form.Get("user")); !ok {
		return a
	}
	for _, l := range [...]struct {
		field string
		most  int
	}{{"message", 1024}, {"title", 250}, {"url", 512}, {"url_title", 100}} {
		s := form.Get(l.field)
		if n := utf8.RuneCountInString(s); n > l.most {
			return bad(l.field, fmt.Sprintf("is too long: %d characters, at most %d are allowed", n, l.most))
		}
		if !utf8.ValidString(s) {
			return bad(l.field, "is not valid UTF-8")
		}
	}
	m := PushoverMessage{
		User: form.Get("user"), Device: form.Get("device"), Title: form.Get("title"), Message: form.Get("message"),
		URL: form.Get("url"), URLTitle: form.Get("url_title"), Sound: form.Get("sound"), Tags: form.Get("tags"),
		HTML: form.Get("html") == "1", Monospace: form.Get("monospace") == "1", At: f.clock(),
	}
	if strings.TrimSpace(m.Message) == "" {
		return bad("message", "cannot be blank")
	}
	if m.HTML && m.Monospace {
		return bad("monospace", "cannot be used with html")
	}
	number := func(field string) (n int64, given, ok bool) {
		s := form.Get(field)
		if s == "" {
			return 0, false, true
		}
		n, err := strconv.ParseInt(s, 10, 64)
		return n, true, err == nil
	}
	priority, _, ok := number("priority")
	if !ok || priority < -2 || priority > 2 {
		return bad("priority", "is invalid, can only be -2, -1, 0, 1, or 2")
	}
	m.Priority = int(priority)
	stamp, given, ok := number("timestamp")
	if !ok || given && stamp <= 0 {
		return bad("timestamp", "is invalid")
	}
	if given {
		m.Timestamp = time.Unix(stamp, 0)
	}
	ttl, given, ok := number("ttl")
	if !ok || given && ttl <= 0 {
		return bad("ttl", "must be a positive number of seconds")
	}
	m.TTL = time.Duration(ttl) * time.Second
	if m.Priority == 2 {
		retry, given, ok := number("retry")
		switch {
		case !given:
			return bad("retry", "must be supplied with priority=2")
		case !ok || retry < 30:
			return bad("retry", "must be at least 30 seconds")
		}
		expire, given, ok := number("expire")
		switch {
		case !given:
			return bad("expire", "must be supplied with priority=2")
		case !ok || expire <= 0 || expire > 10_800:
			return bad("expire", "must be at most 10800 seconds")
		}
		m.Retry, m.Expire = time.Duration(retry)*time.Second, time.Duration(expire)*time.Second
	}
	if f.used >= f.limit {
		return f.refuse(http.StatusTooManyRequests, "message", "cannot be sent", "application is over its monthly message limit")
	}
	f.used++
	more := map[string]any{}
	if m.Priority == 2 {
		m.Receipt = fmt.Sprintf("r%0*d", keyLength-1, len(f.receipts)+1)
		r := &receipt{sent: m.At, expires: m.At.Add(m.Expire), retry: m.Retry}
		if m.Tags != "" {
			r.tags = strings.Split(m.Tags, ",")
		}
		f.receipts[m.Receipt] = r
		more["receipt"] = m.Receipt
	}
	f.messages = append(f.messages, m)
	f.wake()
	return f.accept(more)
}

// Transport reaches the fake without a network.
func (f *FakePushover) Transport() http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		f.mu.Lock()
		if f.running++; f.running > maxPushover {
			f.fail("%d requests at once", f.running)
		}
		f.mu.Unlock()
		defer func() {
			f.mu.Lock()
			f.running--
			f.mu.Unlock()
		}()
		return serve(f, r)
	})
}

// maxPushover is how many connections Pushover allows a client.
const maxPushover = 2

// pushoverListener counts the connections that clients hold.
type pushoverListener struct {
	net.Listener
	f *FakePushover
}

func (l pushoverListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	conn := &pushoverConn{c, l.f}
	l.f.mu.Lock()
	defer l.f.mu.Unlock()
	open := 1
	for other := range l.f.connection {
		// The server may not have seen yet that a client has gone.
		if !hungUp(other.Conn) {
			open++
		}
	}
	if open > maxPushover {
		l.f.fail("%d connections at once", open)
	}
	l.f.connection[conn] = true
	return conn, nil
}

type pushoverConn struct {
	net.Conn
	f *FakePushover
}

func (c *pushoverConn) Close() error {
	c.f.mu.Lock()
	delete(c.f.connection, c)
	c.f.mu.Unlock()
	return c.Conn.Close()
}
