package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// CodeTime is how long a one-time code works.
const CodeTime = 15 * time.Minute

// maxCodes bounds the codes that wait to be used; beyond it the oldest go.
const maxCodes = 100

// codes are the one-time codes that have not been used. The first is the oldest.
type codes struct {
	mu   sync.Mutex
	list []code
}

type code struct {
	hash    [sha256.Size]byte
	expires time.Time
	token   known // whose session it begins
}

// NewCode returns a one-time code, with which a browser can log in once until it expires. It is kept in memory: after a
// restart it does not work. Who must be the identity of a token known here, or else the code is worth nothing.
func (a *Authenticator) NewCode(who Identity) (text string, expires time.Time) {
	text, expires = CodePrefix+randomText(20), a.now().Add(CodeTime)
	tokens := slices.Clone(a.tokens)
	for _, t := range a.made.all() {
		tokens = append(tokens, t.known)
	}
	for _, t := range tokens {
		if t.Identity == who {
			a.codes.add(code{hash: sha256.Sum256([]byte(text)), expires: expires, token: t})
			break
		}
	}
	return text, expires
}

func (c *codes) add(n code) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.list = append(c.list, n); len(c.list) > maxCodes {
		c.list = append(c.list[:0], c.list[1:]...)
	}
}

// take returns whose code it is, nil when it is none, and takes it out: of two who show the same one, one gets it.
func (c *codes) take(text string, now time.Time) *known {
	hash := sha256.Sum256([]byte(text))
	c.mu.Lock()
	defer c.mu.Unlock()
	var found *known
	rest := c.list[:0]
	for _, one := range c.list {
		switch same := subtle.ConstantTimeCompare(hash[:], one.hash[:]) == 1; {
		case !now.Before(one.expires):
		case same:
			found = &one.token
		default:
			rest = append(rest, one)
		}
	}
	c.list = rest
	return found
}

// Login begins a session with a one-time code or, when that is empty, with a token, which must be one for reading at least.
// It returns the cookie to set. Its error is an [*Error], one of 429 after too many wrong tries, or else one of the file that sessions are kept in.
func (a *Authenticator) Login(r *http.Request, code, token string) (*http.Cookie, error) {
	if a.cross.Check(r) != nil {
		return nil, ErrCrossSite
	}
	if secretInURL(r) {
		return nil, ErrInURL
	}
	now := a.now()
	right, wait := a.wrong.try(clientOf(r), now)
	if wait > 0 {
		return nil, &Error{Status: http.StatusTooManyRequests, Code: "too_many_tries", Message: "too many logins have failed",
			Mend: "wait before you try again; programs with a right token are not held up", RetryAfter: wait}
	}
	var t *known
	wrong := ErrWrongCode
	if code != "" {
		t = a.codes.take(code, now)
	} else {
		t, _ = a.token(token)
		wrong = ErrWrong
	}
	if t == nil || !a.knows(*t) {
		return nil, wrong
	}
	right()
	if !t.May(Read) { // the page is for reading
		return nil, ErrRole
	}
	id, err := a.sessions.begin(record{Identity: t.Identity, created: now, seen: now, expires: now.Add(SessionTime), token: t.hash})
	if err != nil {
		return nil, err
	}
	if !a.knows(*t) { // revoked at this moment, and its sessions may have been ended before this one was there
		return nil, errors.Join(wrong, a.sessions.finishAll(t.hash))
	}
	c := cookie(r, id)
	c.MaxAge = int(SessionTime / time.Second)
	return c, nil
}

// Logout ends the session of a request that passed [Authenticator.Middleware], and all that it still reads. It returns the
// cookie to set, which removes the browser's. [ErrNoSession] for a request with a token; another error is one of the file
// that sessions are kept in: then the session has ended until the next start.
func (a *Authenticator) Logout(r *http.Request) (*http.Cookie, error) {
	who, _ := r.Context().Value(contextKey{}).(admitted)
	if who.session == nil {
		return nil, ErrNoSession
	}
	if err := a.sessions.finish(who.session); err != nil {
		return nil, err
	}
	c := cookie(r, "")
	c.MaxAge = -1
	return c, nil
}

// Sessions returns the number of open sessions.
func (a *Authenticator) Sessions() int { return a.sessions.count(a.now()) }

// cookie returns the session's cookie for the browser that sent r. What a proxy says about TLS can only add Secure.
func cookie(r *http.Request, value string) *http.Cookie {
	return &http.Cookie{
		Name: CookieName, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https"),
	}
}

// clientOf returns the network that wrong tries are counted for: the address, of IPv6 the /64 that one client has. What a
// proxy says about its clients is not believed, or else a client could be anybody.
func clientOf(r *http.Request) netip.Prefix {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{}
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}
	}
	bits := 64
	if ip = ip.Unmap(); ip.Is4() {
		bits = 32
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// How many logins may fail at once, for one client and for all together, and how long it takes until one more may.
const (
	clientTries, clientEvery = 10, 30 * time.Second
	allTries, allEvery       = 100, time.Second
)

// limiter counts wrong tries. Each drains away after a time; who has too many left is to wait.
type limiter struct {
	mu      sync.Mutex
	clients map[netip.Prefix]bucket
	all     bucket
}

// bucket is empty at a time; each try moves that on.
type bucket struct{ empty time.Time }

// wait returns how long it takes until one more try has room.
func (b bucket) wait(now time.Time, tries int, every time.Duration) time.Duration {
	if b.empty.Before(now) {
		return 0
	}
	return b.empty.Sub(now) - time.Duration(tries-1)*every
}

func (b bucket) add(now time.Time, every time.Duration) bucket {
	if b.empty.Before(now) {
		b.empty = now
	}
	return bucket{b.empty.Add(every)}
}

// try counts a try as wrong until right is called, or returns how long the client has to wait for it.
func (l *limiter) try(client netip.Prefix, now time.Time) (right func(), wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// Tries that all have no room for are not counted, so that there are never more than some hundred clients.
	for c, b := range l.clients {
		if !now.Before(b.empty) {
			delete(l.clients, c)
		}
	}
	if wait = max(l.clients[client].wait(now, clientTries, clientEvery), l.all.wait(now, allTries, allEvery)); wait > 0 {
		return nil, wait
	}
	if l.clients == nil {
		l.clients = map[netip.Prefix]bucket{}
	}
	l.clients[client] = l.clients[client].add(now, clientEvery)
	l.all = l.all.add(now, allEvery)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		b := l.clients[client]
		l.clients[client] = bucket{b.empty.Add(-clientEvery)}
		l.all.empty = l.all.empty.Add(-allEvery)
	}, 0
}
