package alerting

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"time"

	"go.etcd.io/bbolt"
)

const (
	// rememberFor is how long it is known of an incident that was forgotten that there was one, and maxPast of how many, the
	// latest: an incident of that kind has regressed.
	rememberFor = 90 * 24 * time.Hour
	maxPast     = 100_000
)

// past is what is left of an incident that was forgotten. It has no log text.
type past struct {
	Last  int64  `json:"last"` // ns
	Count int64  `json:"count"`
	End   string `json:"end,omitempty"` // how it ended, in words
}

// remember keeps what is left of an incident.
func remember(tx *bbolt.Tx, key []byte, inc *incident) error {
	return put(tx.Bucket(bucketPast), key, past{Last: inc.Last, Count: inc.Count, End: inc.ended()})
}

// recall tells an incident that is new what was before it.
func (a *application) recall(key []byte, inc *incident) {
	var p past
	b := a.tx.Bucket(bucketPast)
	ok, err := get(b, key, &p)
	if err != nil {
		a.e.unreadable(err)
	}
	if ok && err == nil && inc.First-p.Last <= int64(rememberFor) {
		inc.BeforeLast, inc.BeforeCount, inc.BeforeEnd = p.Last, p.Count, p.End
	}
}

// forgetPast drops what is too long ago, and what is too much.
func forgetPast(tx *bbolt.Tx, now int64) error {
	type record struct {
		key  []byte
		last int64
	}
	var kept []record
	var gone [][]byte
	b := tx.Bucket(bucketPast)
	err := b.ForEach(func(k, v []byte) error {
		var p past
		if decode(k, v, &p) != nil || now-p.Last > int64(rememberFor) {
			gone = append(gone, bytes.Clone(k))
		} else {
			kept = append(kept, record{bytes.Clone(k), p.Last})
		}
		return nil
	})
	if over := len(kept) - maxPast; over > 0 {
		slices.SortFunc(kept, func(a, b record) int { return cmp.Compare(a.last, b.last) })
		for _, r := range kept[:over] {
			gone = append(gone, r.key)
		}
	}
	for _, k := range gone {
		err = errors.Join(err, b.Delete(k))
	}
	return err
}
