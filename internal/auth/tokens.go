package auth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

// MaxTokens is how many tokens there may be beside those of data folder and configuration. Each request is compared with all.
const MaxTokens = 1000

var tokenBucket = []byte("auth/tokens")

// tokenName is what a token may be called: it stands in logs and in addresses.
var tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

// The refusals of making and revoking tokens, beside one of the name that says why.
var (
	ErrNoToken   = &Error{Status: http.StatusNotFound, Code: "no_such_token", Message: "there is no token of this name", Mend: "`lookout token list` has the names"}
	ErrTokenName = &Error{Status: http.StatusBadRequest, Code: "bad_parameter", Message: "this is no name for a token", Mend: "use letters, digits, . _ @ and -, at most 64"}
	ErrTokenRole = &Error{Status: http.StatusBadRequest, Code: "bad_parameter", Message: "there is no such role", Mend: "use read, write or admin"}
	ErrTokenMany = &Error{Status: http.StatusConflict, Code: "too_many_tokens", Message: fmt.Sprintf("there are %d tokens, which is the most", MaxTokens), Mend: "revoke one"}
	ErrTokenUsed = &Error{Status: http.StatusConflict, Code: "name_taken", Message: "there is a token of this name already", Mend: "choose another name, or revoke that one first"}
	ErrRevoked   = &Error{Status: http.StatusUnauthorized, Code: "token_revoked", Message: "the token has been revoked", Mend: "ask for a new one"}
)

// ParseRole reads a role's name: read, write or admin, also reader and writer.
func ParseRole(name string) (Role, error) {
	switch name {
	case "read", "reader":
		return Read, nil
	case "write", "writer":
		return Write, nil
	case "admin":
		return Admin, nil
	}
	return 0, ErrTokenRole
}

// TokenInfo is what may be known of a token.
type TokenInfo struct {
	Identity
	// From says what knows it: "data folder", "configuration", or "server" for those that [Authenticator.NewToken] made.
	From string
	// Created and By are when and by whose token it was made; zero for the others.
	Created time.Time
	By      string
	// Used is about when it was used last, to an hour; zero if it never was, or is not noted.
	Used time.Time
}

// known is a token that requests may show.
type known struct {
	Identity
	hash [sha256.Size]byte
}

// madeToken is one that was made here, and can be revoked.
type madeToken struct {
	known
	created, used time.Time
	by            string
	ended         context.Context // ends when it is revoked
	end           context.CancelFunc
}

// tokenRecord is what is kept of a token, under its name.
type tokenRecord struct {
	Role    string    `json:"role"`
	Hash    []byte    `json:"hash"` // SHA-256
	Created time.Time `json:"created"`
	By      string    `json:"by"`
	Used    time.Time `json:"used,omitzero"`
}

func (t *madeToken) record() ([]byte, error) {
	return json.Marshal(tokenRecord{t.Role.String(), t.hash[:], t.created, t.by, t.used})
}

// madeTokens are the tokens that were made here. They are few and held in memory; the file is for the next start.
type madeTokens struct {
	db   *bbolt.DB // nil: memory only
	mu   sync.Mutex
	list []*madeToken // in order of names
	// changing is held while one is made or revoked, so that memory and file go through the same changes.
	changing sync.Mutex
}

// load reads the tokens of earlier runs.
func (m *madeTokens) load(db *bbolt.DB) error {
	m.db = db
	return db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(tokenBucket)
		if err != nil {
			return err
		}
		return b.ForEach(func(name, value []byte) error {
			var r tokenRecord
			if err := json.Unmarshal(value, &r); err != nil {
				return fmt.Errorf("the token %q: %w", name, err)
			}
			role, err := ParseRole(r.Role)
			if err != nil || len(r.Hash) != sha256.Size {
				return fmt.Errorf("the token %q is not one of this version", name)
			}
			t := &madeToken{known: known{Identity{string(name), role}, [sha256.Size]byte(r.Hash)}, created: r.Created, by: r.By, used: r.Used}
			t.ended, t.end = context.WithCancel(context.Background())
			m.list = append(m.list, t)
			return nil
		})
	})
}

// all returns the tokens as they are now; the caller must not change the slice.
func (m *madeTokens) all() []*madeToken {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.list
}

func (m *madeTokens) find(name string) *madeToken {
	for _, t := range m.all() {
		if t.Name == name {
			return t
		}
	}
	return nil
}

func (m *madeTokens) put(name string, value []byte) error {
	if m.db == nil {
		return nil
	}
	return m.db.Update(func(tx *bbolt.Tx) error {
		if b := tx.Bucket(tokenBucket); value != nil {
			return b.Put([]byte(name), value)
		} else {
			return b.Delete([]byte(name))
		}
	})
}

// note notes that a token is used, at most once an hour.
func (m *madeTokens) note(t *madeToken, now time.Time) {
	m.mu.Lock()
	due := now.Sub(t.used) >= noteEvery
	if due {
		t.used = now.Truncate(time.Second)
	}
	m.mu.Unlock()
	if !due {
		return
	}
	m.changing.Lock()
	defer m.changing.Unlock()
	if t.ended.Err() != nil {
		return
	}
	m.mu.Lock()
	value, err := t.record()
	m.mu.Unlock()
	if err == nil {
		// When it cannot be written, a list shows an older time after a restart; the request need not fail for that.
		_ = m.put(t.Name, value)
	}
}

// NewToken makes a token, durable before it returns, and returns its secret, which is kept nowhere. By is who asks. Its error is
// an [*Error], or one of the file that tokens are kept in.
func (a *Authenticator) NewToken(name string, role Role, by Identity) (secret string, err error) {
	switch {
	case !tokenName.MatchString(name):
		return "", ErrTokenName
	case role != Read && role != Write && role != Admin:
		return "", ErrTokenRole
	}
	a.made.changing.Lock()
	defer a.made.changing.Unlock()
	list := a.made.all()
	taken := slices.ContainsFunc(a.tokens, func(t known) bool { return t.Name == name })
	if taken || a.made.find(name) != nil {
		return "", ErrTokenUsed
	}
	if len(list) >= MaxTokens {
		return "", ErrTokenMany
	}
	secret = Prefix + randomText(32)
	t := &madeToken{known: known{Identity{name, role}, sha256.Sum256([]byte(secret))}, created: a.now().UTC().Truncate(time.Second), by: by.Name}
	t.ended, t.end = context.WithCancel(context.Background())
	value, err := t.record()
	if err == nil {
		err = a.made.put(name, value)
	}
	if err != nil {
		return "", fmt.Errorf("keeping the token: %w", err)
	}
	list = append(slices.Clone(list), t) // others read the old one
	slices.SortFunc(list, func(a, b *madeToken) int { return cmp.Compare(a.Name, b.Name) })
	a.made.mu.Lock()
	a.made.list = list
	a.made.mu.Unlock()
	return secret, nil
}

// Revoke ends a token that [Authenticator.NewToken] made, and its sessions, durable before it returns, and with them all that they
// still read: the contexts of such requests end with the cause [ErrRevoked]. Its error is an [*Error], or one of the file
// that tokens are kept in: then it has ended until the next start.
func (a *Authenticator) Revoke(name string) error {
	a.made.changing.Lock()
	defer a.made.changing.Unlock()
	t := a.made.find(name)
	if t == nil {
		for _, k := range a.tokens {
			if k.Name == name {
				return fixed(k)
			}
		}
		return ErrNoToken
	}
	err := a.made.put(name, nil)
	a.made.mu.Lock()
	a.made.list = slices.DeleteFunc(slices.Clone(a.made.list), func(k *madeToken) bool { return k == t })
	a.made.mu.Unlock()
	t.end()
	err = errors.Join(err, a.sessions.finishAll(t.hash))
	if err != nil {
		return fmt.Errorf("the token is refused from now on, but not after a restart: %w", err)
	}
	return nil
}

// fixed words why a token that is not kept here cannot be revoked.
func fixed(k known) *Error {
	e := &Error{Status: http.StatusConflict, Code: "fixed_token", Message: "this token is one of the server's configuration", Mend: "take it out of LOOKOUT_WRITE_TOKEN and restart the server"}
	if k.Role == Admin {
		e.Message, e.Mend = "this token is the file `token` of the server's data folder", "remove the file and restart the server, which makes another"
	}
	return e
}

// Tokens lists what is known of the tokens, those of data folder and configuration first, then by name.
func (a *Authenticator) Tokens() []TokenInfo {
	var list []TokenInfo
	for _, t := range a.tokens {
		from := "configuration"
		if t.Role == Admin {
			from = "data folder"
		}
		if t.hash != sha256.Sum256(nil) { // nobody's
			list = append(list, TokenInfo{Identity: t.Identity, From: from})
		}
	}
	a.made.mu.Lock()
	defer a.made.mu.Unlock()
	for _, t := range a.made.list {
		list = append(list, TokenInfo{Identity: t.Identity, From: "server", Created: t.created, By: t.by, Used: t.used})
	}
	return list
}
