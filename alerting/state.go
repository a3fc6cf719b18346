package alerting

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"
)

// format is the version of the buckets' layout as a whole; a state of another version is refused untouched.
//
//	1  the first: an incident has one channel, its entry the key rule | fingerprint | incident | "fired"
//	2  an incident has a state and several destinations, each with its entry
const format = 2

// StateVersion is the version of the state that is written; the first one is read, and brought to it.
const StateVersion = format

// recordVersion is the first byte of every value; the rest is JSON, in which a later version may add names.
const recordVersion = 1

var (
	bucketMeta     = []byte("alerting/meta")     // "format", "position" → 8 bytes, big endian, behind the version byte
	bucketIncident = []byte("alerting/incident") // rule | fingerprint → incident
	bucketOutbox   = []byte("alerting/outbox")   // rule | fingerprint | channel, or each | channel | sequence → entry
	bucketQueue    = []byte("alerting/queue")    // channel 0 lane order → key in outbox
	bucketChannel  = []byte("alerting/channel")  // channel → channelState
	bucketDead     = []byte("alerting/dead")     // order → DeadLetter
	bucketSilence  = []byte("alerting/silence")  // ID, 8 bytes → Silence
	bucketPast     = []byte("alerting/past")     // rule | fingerprint → past
	bucketMark     = []byte("alerting/mark")     // service → its newest marks; the bucket's sequence is how many services there are
	bucketDigest   = []byte("alerting/digest")   // "tallies" → tallies
	bucketMode     = []byte("alerting/mode")     // "clock" → clockRecord, "pauses" → []Pause, "services" → when each was first seen, "rules" → inForce by rule, "rule|" rule → ruleRecord
	bucketSeries   = []byte("alerting/series")   // rule | fingerprint → series
	bucketSeen     = []byte("alerting/seen")     // rule | hash (8 bytes) → day, series' hash (4 and 8 bytes, behind the version byte)
	bucketExpected = []byte("alerting/expected") // rule | hash of the query (16 hex digits) → expected

	buckets = [][]byte{bucketMeta, bucketIncident, bucketOutbox, bucketQueue, bucketChannel, bucketDead, bucketSilence, bucketPast, bucketMode, bucketSeries, bucketSeen, bucketExpected, bucketDigest, bucketJournal, bucketMark}

	keyFormat   = []byte("format")
	keyPosition = []byte("position")
	keyClock    = []byte("clock")
	keyPauses   = []byte("pauses")
	keyServices = []byte("services")
	keyRules    = []byte("rules")
)

// kind is what an entry of the outbox is about.
type kind string

const (
	kindIncident kind = "incident" // rendered from the incident's record
	kindEach     kind = "each"     // gathered events
	kindNotice   kind = "notice"   // alerting's own words
	kindQuiet    kind = "quiet"    // what waited for the end of quiet hours
)

// entry is a message that is to be delivered.
type entry struct {
	Kind     kind     `json:"kind"`
	Channel  string   `json:"channel"`
	Order    uint64   `json:"order"`   // its place in the queue
	Created  int64    `json:"created"` // ns, by the clock
	Rule     string   `json:"rule,omitempty"`
	Severity Severity `json:"severity,omitempty"`

	// Sending is set before each try and reset when the destination certainly has not taken the message. An entry that
	// is tried again with Sending set may be a repeat, and so may all later tries of it.
	Sending   bool `json:"sending,omitempty"`
	MayRepeat bool `json:"may_repeat,omitempty"`
	Plain     bool `json:"plain,omitempty"` // the decorated form was refused

	Fingerprint string `json:"fingerprint,omitempty"` // kindIncident
	Update      bool   `json:"update,omitempty"`      // kindIncident: its message only has to be edited

	Lines  []line `json:"lines,omitempty"` // kindEach, in order of sequence
	Weight int    `json:"weight,omitempty"`

	Keys []string `json:"keys,omitempty"` // kindQuiet: of the incidents
	// NotBefore is when it is due at the earliest, ns: kindEach in quiet hours.
	NotBefore int64 `json:"not_before,omitempty"`

	Title string `json:"title,omitempty"` // kindNotice
	Text  string `json:"text,omitempty"`
}

// begun tells whether it has been tried: then it is finished before others.
func (e *entry) begun() bool { return e.Sending || e.MayRepeat || e.Plain }

// line is one event of an entry of [Each].
type line struct {
	Seq   uint64 `json:"seq"`
	Time  int64  `json:"time"`
	Rule  string `json:"rule"`
	Text  string `json:"text"`
	Query string `json:"query,omitempty"`
	Whole bool   `json:"whole,omitempty"` // nothing of the event's message and fields is left out; not known of older records
}

// channelState is what is known of a channel beside its queue.
type channelState struct {
	budget
	// Critical is the budget of what is critical, budget that of all else.
	Critical budget  `json:"critical,omitzero"`
	LastEach int64   `json:"last_each,omitempty"` // when gathered events were last shown
	Parked   *parked `json:"parked,omitempty"`
	// Out is set while nothing is delivered; OutTold are the times, ns, at which others were told that within the last hour.
	Out     *outage `json:"out,omitempty"`
	OutTold []int64 `json:"out_told,omitempty"`
}

// budget is what bounds a channel's new messages.
type budget struct {
	// Posts are the times of the new messages of the last window, ns, oldest first.
	Posts    []int64   `json:"posts,omitempty"`
	Overview *overview `json:"overview,omitempty"`
}

// of returns the budget that messages of a severity have.
func (c *channelState) of(s Severity) *budget {
	if s == Critical {
		return &c.Critical
	}
	return &c.budget
}

func (c *channelState) overviewOf(critical bool) *overview {
	if critical {
		return c.Critical.Overview
	}
	return c.Overview
}

// parked says since when and why a destination refuses everything.
type parked struct {
	Since  int64  `json:"since"`
	Reason string `json:"reason"`
}

// overview is the message that counts what the budget held.
type overview struct {
	First   int64            `json:"first"` // when it began and when something was last held, ns
	Last    int64            `json:"last"`
	Held    map[string]int64 `json:"held"`            // by rule
	Shown   int64            `json:"shown,omitempty"` // how many the message on the screen says
	ShownAt int64            `json:"shown_at,omitempty"`
	Receipt Receipt          `json:"receipt,omitzero"`

	Sending   bool `json:"sending,omitempty"` // as an entry's
	MayRepeat bool `json:"may_repeat,omitempty"`
	Plain     bool `json:"plain,omitempty"`
}

func (o *overview) total() int64 {
	var n int64
	for _, held := range o.Held {
		n += held
	}
	return n
}

// DeadLetter is a message that its destination refused in its decorated and in its plain form.
type DeadLetter struct {
	Time    int64  `json:"time"` // ns
	Key     string `json:"key"`
	Channel string `json:"channel"`
	Title   string `json:"title"`
	Error   string `json:"error"`
	Text    string `json:"text"` // what was refused
}

// maxDead is how many dead letters are kept, the newest.
const maxDead = 1000

func put(b *bbolt.Bucket, key []byte, record any) error {
	text, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("writing %q: %w", key, err)
	}
	return b.Put(key, append([]byte{recordVersion}, text...))
}

// get reads a record; it is false without an error when there is none.
func get(b *bbolt.Bucket, key []byte, record any) (bool, error) {
	v := b.Get(key)
	if v == nil {
		return false, nil
	}
	return true, decode(key, v, record)
}

func decode(key, v []byte, record any) error {
	if len(v) == 0 || v[0] != recordVersion {
		return fmt.Errorf("state record %q: unknown version: it was written by another lookout", key)
	}
	if err := json.Unmarshal(v[1:], record); err != nil {
		return fmt.Errorf("state record %q: %w", key, err)
	}
	return nil
}

func putNumber(b *bbolt.Bucket, key []byte, n uint64) error {
	return b.Put(key, binary.BigEndian.AppendUint64([]byte{recordVersion}, n))
}

func getNumber(b *bbolt.Bucket, key []byte) (n uint64, ok bool, err error) {
	v := b.Get(key)
	if v == nil {
		return 0, false, nil
	}
	if len(v) != 9 || v[0] != recordVersion {
		return 0, false, fmt.Errorf("state record %q: unknown version or wrong length: it was written by another lookout", key)
	}
	return binary.BigEndian.Uint64(v[1:]), true, nil
}

// prepare makes the buckets, brings them to the format of today and returns the position, that of the store when the
// state is new.
func prepare(db *bbolt.DB, last uint64) (position uint64, err error) {
	err = db.Update(func(tx *bbolt.Tx) error {
		was := uint64(format)
		if meta := tx.Bucket(bucketMeta); meta != nil {
			if was, _, err = getNumber(meta, keyFormat); err != nil {
				return err
			}
			if was < 1 || was > format {
				return fmt.Errorf("the state has format %d, this lookout knows 1 to %d: start the lookout that wrote it, or give alerting a new state file", was, format)
			}
		}
		for _, name := range buckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return fmt.Errorf("making bucket %q: %w", name, err)
			}
		}
		if was == 1 {
			if err := migrate(tx); err != nil {
				return fmt.Errorf("bringing the state from format 1 to %d: %w", format, err)
			}
		}
		meta := tx.Bucket(bucketMeta)
		var ok bool
		if position, ok, err = getNumber(meta, keyPosition); err != nil {
			return err
		}
		if ok {
			return nil
		}
		// Old history does not alert.
		position = last
		return errors.Join(putNumber(meta, keyFormat, format), putNumber(meta, keyPosition, position), put(tx.Bucket(bucketMode), keyRules, map[string]inForce{}))
	})
	return position, err
}

// The lanes of a channel's queue.
const (
	laneAlert  byte = 'a'
	laneEach   byte = 'e'
	laneUpdate byte = 'u'
)

func (e *entry) lane() byte {
	switch {
	case e.Kind == kindEach:
		return laneEach
	case e.Update:
		return laneUpdate
	}
	return laneAlert
}

func lanePrefix(channel string, lane byte) []byte {
	return append([]byte(channel), 0, lane)
}

// rankShift is where an entry's order has the rank of its severity: a lane is in order of rank, then of time.
const rankShift = 56

// rank orders severities, worst first.
func rank(s Severity) int {
	switch s {
	case Critical:
		return 0
	case Error:
		return 1
	case Warning:
		return 2
	}
	return 3
}

func queueKey(channel string, lane byte, order uint64) []byte {
	return binary.BigEndian.AppendUint64(lanePrefix(channel, lane), order)
}

// orderKey is a number as a key that sorts by it.
func orderKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// channelOf returns the channel of a queue's key.
func channelOf(key []byte) string { return string(key[:max(0, len(key)-10)]) }

// entryKey is the key of what a channel is still to be told of an incident.
func entryKey(rule, fingerprint, channel string) []byte {
	return []byte(rule + "|" + fingerprint + "|" + channel)
}

// enqueue puts an entry behind the others of its lane and severity. A key that is there already stays as it is, but an update
// that has become an alert goes where alerts wait, and what has become worse before what is not as bad.
func enqueue(tx *bbolt.Tx, key string, e *entry) error {
	outbox, queue := tx.Bucket(bucketOutbox), tx.Bucket(bucketQueue)
	var there entry
	if ok, err := get(outbox, []byte(key), &there); err != nil {
		return nil // the sender buries what cannot be read
	} else if ok {
		worse := e.Update == there.Update && !there.begun() && rank(e.Severity) < rank(there.Severity)
		switch {
		case worse:
			e.Created = there.Created
		case e.Update || !there.Update:
			return nil
		}
		if err := dequeue(tx, key, &there); err != nil {
			return err
		}
	}
	var err error
	if e.Order, err = queue.NextSequence(); err != nil {
		return fmt.Errorf("queueing %q: %w", key, err)
	}
	if e.lane() != laneEach { // which is in order of time
		e.Order |= uint64(rank(e.Severity)) << rankShift
	}
	if err := put(outbox, []byte(key), e); err != nil {
		return err
	}
	return queue.Put(queueKey(e.Channel, e.lane(), e.Order), []byte(key))
}

// dequeue forgets an entry that is delivered, held or dead.
func dequeue(tx *bbolt.Tx, key string, e *entry) error {
	return errors.Join(
		tx.Bucket(bucketOutbox).Delete([]byte(key)),
		tx.Bucket(bucketQueue).Delete(queueKey(e.Channel, e.lane(), e.Order)))
}

// queued is an entry with its key.
type queued struct {
	key string
	entry
}

// head returns the worst entry of a lane, of several the oldest, nil when it is empty. With an error the entry has only its place in the queue.
func head(tx *bbolt.Tx, channel string, lane byte) (*queued, error) {
	prefix := lanePrefix(channel, lane)
	k, v := tx.Bucket(bucketQueue).Cursor().Seek(prefix)
	return load(tx, prefix, k, v)
}

// tail returns the newest entry of a lane, nil when it is empty.
func tail(tx *bbolt.Tx, channel string, lane byte) (*queued, error) {
	prefix := lanePrefix(channel, lane)
	c := tx.Bucket(bucketQueue).Cursor()
	if k, _ := c.Seek(lanePrefix(channel, lane+1)); k == nil {
		k, v := c.Last()
		return load(tx, prefix, k, v)
	}
	k, v := c.Prev()
	return load(tx, prefix, k, v)
}

func load(tx *bbolt.Tx, prefix, k, key []byte) (*queued, error) {
	if len(k) < len(prefix) || !slices.Equal(k[:len(prefix)], prefix) {
		return nil, nil
	}
	q := &queued{key: string(key)}
	ok, err := get(tx.Bucket(bucketOutbox), key, &q.entry)
	place := entry{Channel: channelOf(k), Order: binary.BigEndian.Uint64(k[len(k)-8:])}
	switch k[len(k)-9] {
	case laneEach:
		place.Kind = kindEach
	case laneUpdate:
		place.Update = true
	}
	switch {
	case err != nil:
	case !ok:
		err = fmt.Errorf("state record %q is queued but missing", key)
	case q.Channel != place.Channel || q.Order != place.Order || q.lane() != place.lane() || q.Kind == kindEach && len(q.Lines) == 0:
		err = fmt.Errorf("state record %q is not what was queued", key)
	default:
		return q, nil
	}
	q.entry = place // enough to take it out
	return q, err
}

// length counts a lane's entries, at most up to limit.
func length(tx *bbolt.Tx, channel string, lane byte, limit int) int {
	prefix := lanePrefix(channel, lane)
	c := tx.Bucket(bucketQueue).Cursor()
	n := 0
	for k, _ := c.Seek(prefix); n < limit && len(k) >= len(prefix) && slices.Equal(k[:len(prefix)], prefix); k, _ = c.Next() {
		n++
	}
	return n
}
