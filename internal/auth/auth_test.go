package auth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

const admin, reader, writer = "lkt_canary-admin-0123456789", "lkt_canary-reader-0123456789", "lkt_canary-writer-0123456789"

func three() *Authenticator {
	return New(Token{Identity{"admin", Admin}, admin}, Token{Identity{"reader", Read}, reader}, Token{Identity{"writer", Write}, writer}, Token{Identity{"nobody", Admin}, ""})
}

func TestMiddleware(t *testing.T) {
	for _, c := range []struct {
		method, target string
		header         string // lines of a header
		role           Role
		status         int
		code           string
	}{
		{"GET", "/", "Authorization: Bearer " + admin, Admin, 200, ""},
		{"GET", "/", "Authorization: Bearer " + admin, Read, 200, ""},
		{"GET", "/", "Authorization: Bearer " + admin, Write, 200, ""},
		{"GET", "/", "Authorization: bearer   " + admin, Read, 200, ""},
		{"GET", "/", "Authorization: Bearer " + reader, Read, 200, ""},
		{"GET", "/", "Authorization: Bearer " + reader, Write, 403, "forbidden"},
		{"GET", "/", "Authorization: Bearer " + reader, Admin, 403, "forbidden"},
		{"GET", "/", "Authorization: Bearer " + writer, Write, 200, ""},
		{"GET", "/", "Authorization: Bearer " + writer, Read, 403, "forbidden"},
		{"GET", "/", "", Read, 401, "unauthorized"},
		{"GET", "/", "Authorization: Bearer", Read, 401, "unauthorized"},
		{"GET", "/", "Authorization: Bearer ", Read, 401, "unauthorized"},
		{"GET", "/", "Authorization: " + admin, Read, 401, "unauthorized"},
		{"GET", "/", "Authorization: Basic " + admin, Read, 401, "unauthorized"},
		{"GET", "/", "Authorization: Bearer " + admin + "x", Read, 401, "unauthorized"},
		{"GET", "/", "Authorization: Bearer " + admin[:len(admin)-1], Read, 401, "unauthorized"},
		{"GET", "/", "Authorization: Bearer " + strings.ToUpper(admin), Read, 401, "unauthorized"},
		{"GET", "/", "Authorization: Bearer " + admin + "\nAuthorization: Bearer x", Read, 401, "unauthorized"},
		{"GET", "/", "Authorization: Bearer x\nAuthorization: Bearer " + admin, Read, 401, "unauthorized"},
		{"GET", "/?token=" + admin, "", Read, 401, "token_in_url"},
		{"GET", "/?q=a&Access_Token=" + admin, "Authorization: Bearer " + admin, Read, 401, "token_in_url"},
		{"GET", "/?%74oken=x", "Authorization: Bearer " + admin, Read, 401, "token_in_url"},
		{"GET", "/?q=token", "Authorization: Bearer " + admin, Read, 200, ""},
		{"GET", "http://user:" + admin + "@example.com/", "Authorization: Bearer " + admin, Read, 401, "token_in_url"},
		// Another site's page.
		{"POST", "/", "Authorization: Bearer " + admin + "\nSec-Fetch-Site: cross-site", Read, 403, "cross_site"},
		{"POST", "/", "Sec-Fetch-Site: cross-site", Read, 403, "cross_site"},
		{"POST", "/", "Authorization: Bearer " + admin + "\nSec-Fetch-Site: same-site", Read, 403, "cross_site"},
		{"POST", "/", "Authorization: Bearer " + admin + "\nSec-Fetch-Site: same-origin", Read, 200, ""},
		{"POST", "/", "Authorization: Bearer " + admin + "\nOrigin: https://evil.example", Read, 403, "cross_site"},
		{"POST", "/", "Authorization: Bearer " + admin + "\nOrigin: http://example.com", Read, 200, ""},
		{"POST", "/", "Authorization: Bearer " + admin, Read, 200, ""},
		{"GET", "/", "Authorization: Bearer " + admin + "\nSec-Fetch-Site: cross-site", Read, 200, ""},
	} {
		r := httptest.NewRequest(c.method, c.target, nil)
		for line := range strings.SplitSeq(c.header, "\n") {
			if name, value, ok := strings.Cut(line, ": "); ok {
				r.Header.Add(name, value)
			}
		}
		if u, err := url.Parse(c.target); err == nil {
			r.URL.User = u.User
		}
		w := httptest.NewRecorder()
		passed := false
		three().Middleware(c.role)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			passed = true
			if who := From(r.Context()); !who.May(c.role) || who.Name == "" {
				t.Errorf("%+v: %+v came through", c, who)
			}
		})).ServeHTTP(w, r)
		if w.Code != c.status || passed != (c.status == 200) {
			t.Errorf("%+v: %d, passed %v", c, w.Code, passed)
		}
		if passed {
			continue
		}
		var answer struct {
			Error struct{ Code, Message, Mend string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.Error.Code != c.code || answer.Error.Message == "" || answer.Error.Mend == "" {
			t.Errorf("%+v: %s", c, w.Body)
		}
		if got := w.Header().Get("WWW-Authenticate"); (got != "") != (c.status == 401) || got != "" && !strings.HasPrefix(got, "Bearer") {
			t.Errorf("%+v: WWW-Authenticate %q", c, got)
		}
		if all := fmt.Sprint(w.Header(), w.Body); strings.Contains(all, "canary") {
			t.Errorf("%+v: the token is in the answer: %s", c, all)
		}
	}
}

func TestNobody(t *testing.T) {
	if (From(t.Context()) != Identity{}) || (Identity{}).May(Read) || (Identity{}).May(0) || (Identity{Role: Read}).May(0) {
		t.Error("nobody may do something")
	}
	// An authenticator without tokens lets nobody in, not even with an empty one.
	for _, header := range []string{"", "Bearer", "Bearer ", "Bearer x"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", header)
		if who, err := New().Check(r); err == nil {
			t.Errorf("%q is %+v", header, who)
		}
	}
	if s := fmt.Sprintf("%v %+v %#v", three(), three(), three()); strings.Contains(s, "canary") {
		t.Errorf("the authenticator prints its tokens: %s", s)
	}
}

// state opens a state file.
func state(t testing.TB, path string) *bbolt.DB {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestOpen(t *testing.T) {
	db := state(t, filepath.Join(t.TempDir(), "state.db"))
	dir := filepath.Join(t.TempDir(), "new", "data")
	a, o, err := Open(dir, db)
	if err != nil || !o.Made || o.Repaired || o.Path != filepath.Join(dir, "token") {
		t.Fatal(o, err)
	}
	info, err := os.Stat(o.Path)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	if info, err = os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("folder %v, %v", info.Mode(), err)
	}
	secret, err := ReadToken(dir)
	if err != nil || !regexp.MustCompile(`^lkt_[A-Za-z0-9_-]{43}$`).MatchString(secret) {
		t.Fatalf("%q, %v", secret, err)
	}
	knows := func(a *Authenticator, secret string) bool {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+secret)
		who, err := a.Check(r)
		return err == nil && who == Identity{"admin", Admin}
	}
	if !knows(a, secret) {
		t.Error("the token made is not known")
	}

	for _, mode := range []fs.FileMode{0o644, 0o620, 0o602} {
		if err := os.Chmod(o.Path, mode); err != nil {
			t.Fatal(err)
		}
		a, o, err = Open(dir, db)
		if err != nil || o.Made || !o.Repaired || !knows(a, secret) {
			t.Fatal(mode, o, err)
		}
		if info, err := os.Stat(o.Path); err != nil || info.Mode() != 0o600 {
			t.Errorf("mode %v after a repair of %v", info.Mode(), mode)
		}
	}
	if a, o, err = Open(dir, db); err != nil || o.Made || o.Repaired || !knows(a, secret) {
		t.Error(o, err)
	}

	// Tokens of the configuration are known beside it, and may no more than they say.
	a, _, err = Open(dir, db, Token{Identity{"write token", Write}, "canary-write"}, Token{Identity{"none", Read}, ""})
	if err != nil || !knows(a, secret) || knows(a, "canary-write") {
		t.Error("the admin token beside a token of the configuration:", err)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer canary-write")
	if who, err := a.Check(r); err != nil || who.May(Read) || !who.May(Write) {
		t.Errorf("the write token is %+v, %v", who, err)
	}

	// What a crash left behind is no obstacle, and another folder has another token.
	dir2 := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir2, "token.new"), []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(dir2, db); err != nil {
		t.Fatal(err)
	}
	if second, err := ReadToken(dir2); err != nil || second == secret {
		t.Errorf("%v, the same token twice: %v", err, second == secret)
	}
	if names, err := os.ReadDir(dir2); err != nil || len(names) != 1 {
		t.Errorf("%v left in the folder, %v", names, err)
	}
}

func TestTokenFile(t *testing.T) {
	db := state(t, filepath.Join(t.TempDir(), "state.db"))
	for _, c := range []struct {
		content string
		want    string // the token, or a part of the error after !
	}{
		{"a-token-of-my-own-012345\n", "a-token-of-my-own-012345"},
		{"  a-token-of-my-own-012345 \r\n", "a-token-of-my-own-012345"},
		{strings.Repeat("x", 20), strings.Repeat("x", 20)},
		{strings.Repeat("x", 512) + "\n", strings.Repeat("x", 512)},
		{strings.Repeat("x", 19), "!holds no token"},
		{strings.Repeat("x", 513), "!holds no token"},
		{strings.Repeat("x", 5000), "!holds no token"},
		{"", "!holds no token"},
		{"\n", "!holds no token"},
		{"canary canary canary canary", "!holds no token"},
		{"canary-canary-canary-\x00canary", "!holds no token"},
		{"canary-canary-canary-ä", "!holds no token"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, FileName), []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := ReadToken(dir)
		if part, fails := strings.CutPrefix(c.want, "!"); fails {
			_, _, openErr := Open(dir, db)
			if err == nil || !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "canary") || openErr == nil {
				t.Errorf("%.30q: %v, %v", c.content, err, openErr)
			}
			if kept, _ := os.ReadFile(filepath.Join(dir, FileName)); !bytes.Equal(kept, []byte(c.content)) {
				t.Errorf("%.30q: the file was changed", c.content)
			}
		} else if err != nil || got != c.want {
			t.Errorf("%.30q: %q, %v", c.content, got, err)
		}
	}
	dir := t.TempDir()
	if _, err := ReadToken(dir); err == nil {
		t.Error("a token out of nothing")
	}
	if err := os.Mkdir(filepath.Join(dir, FileName), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(dir, db); err == nil || !strings.Contains(err.Error(), "not a plain file") {
		t.Error(err)
	}
}

func TestRoleNames(t *testing.T) {
	for role, want := range map[Role]string{Write: "write", Read: "read", Admin: "admin", Anyone: "anyone", 0: "no role"} {
		if role.String() != want {
			t.Errorf("%d is %s", role, role)
		}
	}
}
