package auth

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

// CookieName is the cookie with a session's id.
const CookieName = "lookout_session"

// The prefixes of session ids and one-time codes; see [Prefix].
const (
	SessionPrefix = "lks_"
	CodePrefix    = "lkc_"
)

// How long a session lasts: so long after its login, and so long after its last request, which is noted at most once an
// hour. Beyond so many sessions the oldest go, those of the same token first.
const (
	SessionTime = 90 * 24 * time.Hour
	IdleTime    = 30 * 24 * time.Hour
	noteEvery   = time.Hour
	maxSessions = 1000
)

var sessionBucket = []byte("auth/sessions")

// session is one login of one browser.
type session struct {
	record
	key   sessionKey
	ended context.Context // ends when the session is no more
	end   context.CancelFunc
}

// sessionKey is the SHA-256 of a session's id. Looking a session up by it tells nothing about the id by its timing:
// whoever tries cannot choose the hash.
type sessionKey [sha256.Size]byte

// record is what is kept of a session.
type record struct {
	Identity
	created, seen, expires time.Time
	token                  [sha256.Size]byte // hash of the token it was begun with, itself or by a code
}

// recordVersion begins every record in the file. Another one is not read: the session is lost, which costs a login.
const recordVersion = 1

// recordHead is the length of a record without its name.
const recordHead = 2 + 3*8 + sha256.Size

func (r *record) encode() []byte {
	b := append(make([]byte, 0, recordHead+len(r.Name)), recordVersion, byte(r.Role))
	for _, t := range [...]time.Time{r.created, r.seen, r.expires} {
		b = binary.BigEndian.AppendUint64(b, uint64(t.Unix()))
	}
	return append(append(b, r.token[:]...), r.Name...)
}

func decodeRecord(b []byte) (r record, ok bool) {
	if len(b) < recordHead || b[0] != recordVersion {
		return r, false
	}
	r.Role = Role(b[1])
	for i, t := range [...]*time.Time{&r.created, &r.seen, &r.expires} {
		*t = time.Unix(int64(binary.BigEndian.Uint64(b[2+8*i:])), 0)
	}
	copy(r.token[:], b[recordHead-sha256.Size:])
	r.Name = string(b[recordHead:])
	return r, true
}

// over tells whether a session has ended by itself.
func (r *record) over(now time.Time) bool {
	return !now.Before(r.expires) || now.Sub(r.seen) >= IdleTime
}

// sessions are all that are open. They are few and are held in memory; the file is for the next start.
type sessions struct {
	db *bbolt.DB // nil: memory only
	mu sync.Mutex
	m  map[sessionKey]*session
}

// load reads the sessions of an earlier run, and removes those that keep does not want.
func (s *sessions) load(db *bbolt.DB, keep func(record) bool) error {
	s.db = db
	s.m = map[sessionKey]*session{}
	return db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(sessionBucket)
		if err != nil {
			return err
		}
		var gone [][]byte
		err = b.ForEach(func(k, v []byte) error {
			r, ok := decodeRecord(v)
			if !ok || len(k) != len(sessionKey{}) || !keep(r) {
				gone = append(gone, bytes.Clone(k))
				return nil
			}
			s.put(&session{record: r, key: sessionKey(k)})
			return nil
		})
		for _, k := range gone {
			err = errors.Join(err, b.Delete(k))
		}
		return err
	})
}

func (s *sessions) put(n *session) {
	n.ended, n.end = context.WithCancel(context.Background())
	s.m[n.key] = n
}

// begin opens a session and returns its id.
func (s *sessions) begin(r record) (id string, err error) {
	id = SessionPrefix + randomText(32)
	n := &session{record: r, key: sha256.Sum256([]byte(id))}
	s.mu.Lock()
	if s.m == nil {
		s.m = map[sessionKey]*session{}
	}
	gone := s.prune(r.created, r.token)
	s.put(n)
	s.mu.Unlock()
	err = s.update(func(b *bbolt.Bucket) error {
		err := b.Put(n.key[:], r.encode())
		for _, key := range gone {
			err = errors.Join(err, b.Delete(key[:]))
		}
		return err
	})
	if err != nil {
		s.forget(n)
		return "", fmt.Errorf("keeping the session: %w", err)
	}
	return id, nil
}

// prune ends what is over and, when there is no room for one more of the token, the oldest: of this token if it has any, so
// that nobody crowds out those with another. The caller holds the lock.
func (s *sessions) prune(now time.Time, token [sha256.Size]byte) (gone []sessionKey) {
	var oldest *session
	for key, n := range s.m {
		if n.over(now) {
			n.end()
			delete(s.m, key)
			gone = append(gone, key)
			continue
		}
		same := n.token == token
		if oldest == nil || same && oldest.token != token || same == (oldest.token == token) && n.created.Before(oldest.created) {
			oldest = n
		}
	}
	if len(s.m) >= maxSessions {
		oldest.end()
		delete(s.m, oldest.key)
		gone = append(gone, oldest.key)
	}
	return gone
}

// use returns the session with the id and notes that it is used, nil when there is none.
func (s *sessions) use(id string, now time.Time) *session {
	key := sessionKey(sha256.Sum256([]byte(id)))
	s.mu.Lock()
	n := s.m[key]
	if n == nil || n.over(now) {
		s.mu.Unlock()
		return nil
	}
	note := now.Sub(n.seen) >= noteEvery
	if note {
		n.seen = now
	}
	value := n.encode()
	s.mu.Unlock()
	if note {
		// When it cannot be written, the session ends earlier after a restart; the request need not fail for that.
		_ = s.note(key, value)
	}
	return n
}

// note writes a record anew.
func (s *sessions) note(key sessionKey, value []byte) error {
	return s.update(func(b *bbolt.Bucket) error {
		if b.Get(key[:]) == nil { // logged out at this moment
			return nil
		}
		return b.Put(key[:], value)
	})
}

// finish ends a session.
func (s *sessions) finish(n *session) error {
	s.forget(n)
	if err := s.update(func(b *bbolt.Bucket) error { return b.Delete(n.key[:]) }); err != nil {
		return fmt.Errorf("ending the session for good: %w", err)
	}
	return nil
}

// finishAll ends the sessions of a token.
func (s *sessions) finishAll(token [sha256.Size]byte) error {
	var gone []sessionKey
	s.mu.Lock()
	for key, n := range s.m {
		if n.token == token {
			n.end()
			delete(s.m, key)
			gone = append(gone, key)
		}
	}
	s.mu.Unlock()
	if len(gone) == 0 {
		return nil
	}
	return s.update(func(b *bbolt.Bucket) error {
		var err error
		for _, key := range gone {
			err = errors.Join(err, b.Delete(key[:]))
		}
		return err
	})
}

func (s *sessions) forget(n *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n.end()
	delete(s.m, n.key)
}

// count returns the number of open sessions.
func (s *sessions) count(now time.Time) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.m {
		if !one.over(now) {
			n++
		}
	}
	return n
}

func (s *sessions) update(fn func(*bbolt.Bucket) error) error {
	if s.db == nil {
		return nil
	}
	return s.db.Update(func(tx *bbolt.Tx) error { return fn(tx.Bucket(sessionBucket)) })
}

// randomText returns so many random bytes as text.
func randomText(n int) string {
	random := make([]byte, n)
	_, _ = rand.Read(random) // it never fails
	return base64.RawURLEncoding.EncodeToString(random)
}
