package auth

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/internal/vfs"
)

// FileName is the admin token's file in the data folder.
const FileName = "token"

// Prefix begins every token that lookout makes, so that a scanner of leaked secrets knows it.
const Prefix = "lkt_"

// shortest and longest are the lengths of a token that a person may put into the file.
const shortest, longest = 20, 512

// Opened says what [Open] did with the token's file.
type Opened struct {
	Path string
	// Made is true when there was no file: the first start.
	Made bool
	// Repaired is true when others could read or write the file, which is no longer so. Whoever did has the token.
	Repaired bool
}

// Open returns an authenticator that knows the admin token of the data folder. Without a token it makes folder and token,
// durable before it returns. A file that others can read is given mode 0600. One process at a time may open a folder.
//
// Tokens that are made later are kept in db, in the bucket auth/tokens, as hashes. Sessions are kept in auth/sessions, so that a restart logs nobody out; db stays the caller's to close.
// Sessions that were begun with another token than today's are removed.
//
// More are tokens that the configuration names; one with an empty secret is nobody's.
func Open(dir string, db *bbolt.DB, more ...Token) (*Authenticator, Opened, error) {
	return open(dir, db, time.Now, more...)
}

func open(dir string, db *bbolt.DB, now func() time.Time, more ...Token) (*Authenticator, Opened, error) {
	o := Opened{Path: filepath.Join(dir, FileName)}
	info, err := os.Stat(o.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := makeToken(dir, o.Path); err != nil {
			return nil, o, fmt.Errorf("making the admin token: %w", err)
		}
		o.Made = true
	case err != nil:
		return nil, o, fmt.Errorf("the admin token: %w", err)
	case runtime.GOOS != "windows" && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0:
		if err := os.Chmod(o.Path, 0o600); err != nil {
			return nil, o, fmt.Errorf("others can use the admin token, and that cannot be changed: %w; make it a file of lookout's user with mode 0600", err)
		}
		o.Repaired = true
	}
	secret, err := ReadToken(dir)
	if err != nil {
		return nil, o, err
	}
	a := New(append([]Token{{Identity{Name: "admin", Role: Admin}, secret}}, more...)...)
	a.now = now
	if err := a.made.load(db); err != nil {
		return nil, o, fmt.Errorf("the tokens that were made here: %w", err)
	}
	err = a.sessions.load(db, func(r record) bool {
		return !r.over(now()) && a.knows(known{r.Identity, r.token})
	})
	if err != nil {
		return nil, o, fmt.Errorf("the sessions of earlier logins: %w", err)
	}
	return a, o, nil
}

// ReadToken returns the admin token of a data folder.
func ReadToken(dir string) (string, error) {
	path := filepath.Join(dir, FileName)
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "", fmt.Errorf("reading the admin token: %w; run as the user that lookout runs as, or set LOOKOUT_TOKEN", err)
	case err != nil:
		return "", fmt.Errorf("reading the admin token: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", fmt.Errorf("the admin token %s is not a plain file; remove it, lookout makes another at its next start", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, longest+3))
	if err != nil {
		return "", fmt.Errorf("reading the admin token: %w", err)
	}
	secret := strings.TrimSpace(string(data))
	if len(secret) < shortest || len(secret) > longest || strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%s holds no token: one is %d to %d characters of ASCII without spaces; remove the file, lookout makes another at its next start",
			path, shortest, longest)
	}
	return secret, nil
}

func makeToken(dir, path string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	text := Prefix + randomText(32) + "\n"

	// The name appears when the content is complete: a crash leaves no half token behind.
	draft := path + ".new"
	if err := os.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(draft, path)
	}
	if err != nil {
		return err
	}
	return vfs.OS.SyncDir(dir)
}
