// Package saved keeps searches that people have given a name, in the state file: what is written is on disk when [Store.Put] and
// [Store.Remove] return. A [Store] is safe for concurrent use.
package saved

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
)

// Version is that of a search's record: JSON, with its version. 1 is the first.
const Version = 1

// Bounds of a search, in bytes but for the numbers of searches and services.
const (
	MaxSearches    = 1000
	MaxName        = 64
	MaxQuery       = 8 << 10
	MaxServices    = 100
	MaxService     = 256
	MaxTime        = 64
	MaxDescription = 1 << 10
)

// ErrFull says that there are as many searches as may be.
var ErrFull = fmt.Errorf("there are %d saved searches, which is the most", MaxSearches)

// Search is a search with a name.
type Search struct {
	Name  string `json:"name"`
	Query string `json:"query"`
	// Since and Until are the range, as a request has them: times, or durations back from the moment of the search. Empty leaves that side to
	// whoever searches.
	Since string `json:"since,omitempty"`
	Until string `json:"until,omitempty"`
	// Services are names and globs; none means all.
	Services    []string  `json:"services,omitempty"`
	Description string    `json:"description,omitempty"`
	By          string    `json:"by"` // who saved it last
	Changed     time.Time `json:"changed"`
}

type record struct {
	Version int `json:"v"`
	Search
}

// Store is the searches of a state file, in the bucket "saved/searches".
type Store struct{ db *bbolt.DB }

var bucket = []byte("saved/searches")

// Open returns the searches of a state file, which stays open as long as they are used.
func Open(db *bbolt.DB) (*Store, error) {
	s := &Store{db}
	if err := db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	}); err != nil {
		return nil, fmt.Errorf("saved searches: %w", err)
	}
	_, err := s.List() // one of a later version is met here
	return s, err
}

// List returns the searches in order of their names.
func (s *Store) List() ([]Search, error) {
	list := []Search{}
	err := s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(name, text []byte) error {
			found, err := parse(name, text)
			list = append(list, found)
			return err
		})
	})
	return list, err
}

func parse(name, text []byte) (Search, error) {
	var r record
	err := json.Unmarshal(text, &r)
	if err == nil && r.Version > Version {
		err = fmt.Errorf("it is of version %d, and this lookout reads %d: use a later one", r.Version, Version)
	}
	if err == nil && r.Name != string(name) {
		err = errors.New("it has another name")
	}
	if err != nil {
		return Search{}, fmt.Errorf("saved search %q: %w", name, err)
	}
	return r.Search, nil
}

// Get returns the search of a name, nil when there is none.
func (s *Store) Get(name string) (found *Search, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		found, err = read(tx, name)
		return err
	})
	return found, err
}

func read(tx *bbolt.Tx, name string) (*Search, error) {
	text := tx.Bucket(bucket).Get([]byte(name))
	if text == nil {
		return nil, nil
	}
	found, err := parse([]byte(name), text)
	return &found, err
}

// Put keeps a search, in the place of one of its name. The error may be [ErrFull].
func (s *Store) Put(n Search) error {
	text, err := json.Marshal(record{Version, n})
	if err != nil {
		return err
	}
	return s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		if b.Get([]byte(n.Name)) == nil && b.Stats().KeyN >= MaxSearches {
			return ErrFull
		}
		return b.Put([]byte(n.Name), text)
	})
}

// Remove removes the search of a name and returns it; nil when there is none.
func (s *Store) Remove(name string) (found *Search, err error) {
	err = s.db.Update(func(tx *bbolt.Tx) error {
		if found, err = read(tx, name); err != nil || found == nil {
			return err
		}
		return tx.Bucket(bucket).Delete([]byte(name))
	})
	return found, err
}
