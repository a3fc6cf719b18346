package saved

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

func openDB(t *testing.T, path string) *bbolt.DB {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db := openDB(t, path)
	s, err := Open(db)
	if err != nil {
		t.Fatal(err)
	}
	a := Search{Name: "a", Query: "level>=error", Since: "1h", Services: []string{"web", "pay*"}, Description: "d", By: "admin", Changed: time.Date(2026, 11, 21, 11, 0, 0, 0, time.UTC)}
	b := Search{Name: "b", Query: "x", Changed: a.Changed}
	for _, n := range []Search{b, a} {
		if err := s.Put(n); err != nil {
			t.Fatal(err)
		}
	}
	db.Close()
	if s, err = Open(openDB(t, path)); err != nil {
		t.Fatal(err)
	}
	if list, err := s.List(); err != nil || !cmp.Equal(list, []Search{a, b}) {
		t.Errorf("%v, %v", list, err)
	}
	b.Query = "y"
	if err := s.Put(b); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Get("b"); err != nil || !cmp.Equal(got, &b) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := s.Remove("b"); err != nil || !cmp.Equal(got, &b) {
		t.Errorf("%v, %v", got, err)
	}
	for _, fn := range []func(string) (*Search, error){s.Get, s.Remove} {
		if got, err := fn("b"); err != nil || got != nil {
			t.Errorf("%v, %v", got, err)
		}
	}
}

func TestFull(t *testing.T) {
	s, err := Open(openDB(t, filepath.Join(t.TempDir(), "state.db")))
	if err != nil {
		t.Fatal(err)
	}
	for i := range MaxSearches {
		if err := s.Put(Search{Name: fmt.Sprint("s", i)}); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := s.Put(Search{Name: "one"}); !errors.Is(err, ErrFull) {
		t.Errorf("%v", err)
	}
	if err := s.Put(Search{Name: "s7", Query: "changed"}); err != nil {
		t.Errorf("one that is there: %v", err)
	}
}

func TestLaterVersion(t *testing.T) {
	for text, want := range map[string]string{`{"v":2,"name":"a"}`: "use a later one", `{"v":1,"name":"b"}`: "another name", `{`: "unexpected end"} {
		db := openDB(t, filepath.Join(t.TempDir(), "state.db"))
		if err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucket(bucket)
			if err != nil {
				return err
			}
			return b.Put([]byte("a"), []byte(text))
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(db); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `saved search "a"`) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
