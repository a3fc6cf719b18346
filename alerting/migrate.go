package alerting

import (
	"bytes"
	"errors"
	"strings"

	"go.etcd.io/bbolt"
)

// migrate brings a state of format 1 to format 2. What cannot be read stays as it is: it is dealt with when it is met.
func migrate(tx *bbolt.Tx) error {
	return errors.Join(migrateIncidents(tx), migrateEntries(tx), putNumber(tx.Bucket(bucketMeta), keyFormat, format))
}

// migrateIncidents makes the one channel of an incident its only destination.
func migrateIncidents(tx *bbolt.Tx) error {
	type incident1 struct {
		incident
		Channel string  `json:"channel"`
		Told    int64   `json:"told"`
		Receipt Receipt `json:"receipt"`
		Held    int64   `json:"held"`
	}
	return rewrite(tx.Bucket(bucketIncident), func(b *bbolt.Bucket, k, v []byte) error {
		var old incident1
		if decode(k, v, &old) != nil || old.Channel == "" {
			return nil
		}
		inc := old.incident
		inc.State, inc.Since, inc.Fired, inc.Rev = Firing, inc.First, 1, 1
		d := destination{Channel: old.Channel, Told: old.Told, Receipt: old.Receipt, Held: old.Held, Shown: 1}
		if d.Told == 0 && d.Held == 0 {
			d.Shown, d.Ring = 0, 1
		}
		inc.To = []destination{d}
		return put(b, k, &inc)
	})
}

// migrateEntries names the entries of incidents by their channels.
func migrateEntries(tx *bbolt.Tx) error {
	queue := tx.Bucket(bucketQueue)
	return rewrite(tx.Bucket(bucketOutbox), func(b *bbolt.Bucket, k, v []byte) error {
		var e entry
		if decode(k, v, &e) != nil || e.Kind != kindIncident || !strings.HasSuffix(string(k), "|fired") {
			return nil
		}
		key := entryKey(e.Rule, e.Fingerprint, e.Channel)
		if b.Get(key) != nil {
			return dequeue(tx, string(k), &e)
		}
		return errors.Join(b.Delete(k), put(b, key, &e), queue.Put(queueKey(e.Channel, e.lane(), e.Order), key))
	})
}

// rewrite calls change for every record there is now.
func rewrite(b *bbolt.Bucket, change func(b *bbolt.Bucket, k, v []byte) error) error {
	type record struct{ k, v []byte }
	var records []record
	err := b.ForEach(func(k, v []byte) error {
		records = append(records, record{bytes.Clone(k), bytes.Clone(v)})
		return nil
	})
	for _, r := range records {
		err = errors.Join(err, change(b, r.k, r.v))
	}
	return err
}
