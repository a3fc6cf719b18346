// Package forward is the sink of an agent: it keeps events in a queue on disk and ships them to a lookout server.
//
// # Use
//
//	q, err := forward.Open(forward.Options{Dir: dir, URL: "https://lookout:7171", Token: token})
//	…
//	go q.Run(ctx)          // ships until ctx ends
//	err = q.Append(ctx, b) // nil: durable here, and it will arrive
//	…
//	err = q.Close()        // after the inputs and Run have ended
//
// A [Queue] is a [collector.Counted]: inputs that can read their source again (Docker) find their cursors in it, as in the
// server's own store.
//
// # How it ships
//
// The queue's log counts its events. [Queue.Run] reads them in that order and POSTs them to URL/api/v1/events as NDJSON, zstd
// encoded, one request at a time, with the count in Lookout-First-Sequence and the queue's own name in Lookout-Producer. Under
// load a request holds up to 2 MiB of lines; when little comes there are at most ten requests a second. What the server has
// confirmed is trimmed from the log.
//
// # What it guarantees
//
//   - An event whose Append returned nil arrives exactly once, over kills, power cuts and restarts of agent and server: what may have
//     arrived is sent again with the same count, and the server drops what it has.
//   - No answer, and no lack of one, makes it drop events: it waits and tries again for as long as it takes. Two things are dropped, each with an
//     error in the log and a count: a line that the server cannot read ([Stats].Rejected), and a single event that it refuses as too
//     large (there too).
//   - The queue takes at most [Options.MaxBytes] of disk. Beyond, Append answers a [collector.Pressure], so that inputs stop
//     reading and the lines stay where they come from.
//   - The token is sent to URL alone: redirects are not followed. It is in no error and no line of the log.
//
// # What an event is after the way
//
// The same, byte for byte: time in ns, level, all parts, fields with their order, kinds and repeated names, bytes that are no UTF-8. The server
// then runs its parse stage on it as on any other. The exceptions, none of which an input of lookout makes for events of its own:
//
//   - a time before 1980 or after 2199: the time of Append, and the original as field time_text;
//   - a field with a built-in's name (time, level, message, service, env, host, container, stream, id): gets a trailing _;
//   - a field with another name of a built-in that is empty (msg for the message, severity for the level, hostname, environment): becomes
//     that built-in;
//   - a value that is not what its kind says (a number NaN): a string;
//   - newlines inside a value of kind JSON: spaces, or escaped in a string;
//   - an event whose line would be longer than 4 MiB, or that has more than 65,527 fields: loses its last fields, which is counted ([Stats].Cut).
//
// # Forwarding to itself
//
// A URL that leads back to this queue's own process is found with the first request: Append refuses its own events, and Run returns
// [ErrLoop]. A circle of several lookouts is not found.
package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/vfs"
	"github.com/lookoutlog/lookout/internal/wal"
)

// DefaultMaxBytes is the disk that a queue may take unless told otherwise.
const DefaultMaxBytes = 1 << 30

const (
	maxName      = 200     // bytes of a queue's name
	segmentBytes = 8 << 20 // what is trimmed at a time, and so what may be sent again at most after a kill
	maxPooled    = 8 << 20 // a larger buffer is not kept
	retryFull    = time.Second
)

// ErrLoop ends [Queue.Run], and is the answer to Append, when a queue forwards to itself.
var ErrLoop = errors.New("the URL to forward to leads back to this lookout itself; name another server")

// Options configure a queue. Dir, URL and Token are needed.
type Options struct {
	// Dir is the queue's folder; it is created. The caller sees to it that no other process uses it.
	Dir string
	// URL is the server's address, http or https, such as https://lookout.example.com:7171; a path before /api is kept.
	URL string
	// Token is what the server wants to see; one that may write is enough.
	Token string
	// Name is put before the random part of the producer's name, for people who look at the server: printable ASCII, at most 200
	// bytes. It counts when the folder is new; by default it is "agent".
	Name string
	// MaxBytes bounds the log on disk, compressed, in bytes; what is being written may come on top. Default [DefaultMaxBytes].
	MaxBytes int64
	// FS is the file system, vfs.OS unless set.
	FS vfs.FS
	// Log takes what an operator should know; silent unless set.
	Log *slog.Logger

	// For tests: another way to the server, no fsync, smaller parts.
	transport            http.RoundTripper
	noSync               bool
	segment              int64
	batchBytes, batchMax int
}

// Stats says what a queue has done since it was opened, and what it holds.
type Stats struct {
	Appended     int64 // events made durable here, without repeats
	Requests     int64 // answered or not
	Sent         int64 // events in requests, again each time
	SentBytes    int64 // bytes of their bodies, compressed
	Acknowledged int64 // events that the server has confirmed, the rejected ones included
	Rejected     int64 // events that the server could not read, or refused as too large; they are lost
	Lost         int64 // events that could not be read from the disk
	Cut          int64 // events that were too large for a line and lost their last fields
	Refused      int64 // calls of Append that found the queue full

	QueuedEvents uint64        // durable here and not yet confirmed
	QueuedBytes  int64         // the log on disk; up to a segment (8 MiB) of it is confirmed already
	MaxBytes     int64         // the bound of QueuedBytes
	Oldest       time.Duration // how long ago the oldest queued event was appended; 0 when none is queued

	// Retries counts requests that must be made again, by cause: network, unauthorized, busy, full, server, too_large, unexpected.
	Retries map[string]int64
}

// Queue is an agent's sink. It is safe for concurrent use.
type Queue struct {
	o        Options
	producer string
	endpoint string
	client   *http.Client
	packer   *zstd.Encoder
	log      *wal.Log
	buffers  sync.Pool
	looped   atomic.Bool
	flying   atomic.Int64 // encoded bytes of appends on their way to the disk

	appended, requests, sent, sentBytes, acknowledged, rejected, lost, cut, refused atomic.Int64

	mu       sync.Mutex
	position uint64 // the last sequence that the server has confirmed, or that is lost
	oldest   int64  // when the first event behind position was received, ns; meaningless when there is none
	saved    state  // what the file holds
	savedAt  time.Time
	retries  map[string]int64
	said     map[string]time.Time // when each trouble was last logged
}

var _ collector.Counted = (*Queue)(nil)

// Open opens the queue in o.Dir, or makes it.
func Open(o Options) (*Queue, error) {
	if err := o.fill(); err != nil {
		return nil, fmt.Errorf("forward: %w", err)
	}
	endpoint, err := endpointOf(o.URL)
	if err != nil {
		return nil, fmt.Errorf("forward: %w", err)
	}
	q := &Queue{o: o, endpoint: endpoint, client: newClient(o.transport), retries: map[string]int64{}, said: map[string]time.Time{}}
	for _, cause := range causes {
		q.retries[cause] = 0
	}
	q.buffers.New = func() any { return new(appendBuffer) }
	if err := q.open(); err != nil {
		return nil, fmt.Errorf("opening the queue to forward in %s: %w", o.Dir, err)
	}
	return q, nil
}

func (o *Options) fill() error {
	if o.Dir == "" {
		return errors.New("no folder for the queue")
	}
	if o.Token == "" {
		return errors.New("no token: the server takes events only with one that may write")
	}
	if o.Name == "" {
		o.Name = "agent"
	}
	if len(o.Name) > maxName {
		return fmt.Errorf("a name of %d bytes; %d are possible", len(o.Name), maxName)
	}
	for _, s := range [...]struct{ what, text string }{{"name", o.Name}, {"token", o.Token}} {
		for _, c := range []byte(s.text) {
			if c <= ' ' || c >= 0x7F {
				return fmt.Errorf("the %s may only have printable ASCII characters and no space", s.what)
			}
		}
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.MaxBytes < 0 {
		return fmt.Errorf("%d bytes for the queue", o.MaxBytes)
	}
	if o.segment == 0 {
		o.segment = segmentBytes
	}
	if o.batchBytes == 0 {
		o.batchBytes = batchBytes
	}
	if o.batchMax == 0 {
		o.batchMax = batchEvents
	}
	if o.FS == nil {
		o.FS = vfs.OS
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// endpointOf returns where events are posted to. No error quotes an address that may hold a password.
func endpointOf(address string) (string, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.User != nil:
		return "", errors.New("the URL to forward to must be like http://lookout:7171, without a name or password in it; the token has a setting of its own")
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.RawQuery != "", u.Fragment != "":
		return "", fmt.Errorf("%q is not a server's address; write it like http://lookout:7171", address)
	}
	return u.JoinPath("api/v1/events").String(), nil
}

func (q *Queue) open() (err error) {
	o := &q.o
	if err := o.FS.MkdirAll(o.Dir, 0o700); err != nil {
		return err
	}
	for _, made := range []string{o.Dir, filepath.Dir(o.Dir)} {
		if err := o.FS.SyncDir(made); err != nil {
			return err
		}
	}
	known, ok, err := readState(o.FS, o.Dir)
	if err != nil && !errors.Is(err, errState) {
		return fmt.Errorf("reading %s: %w", stateFile, err)
	}
	if errors.Is(err, errState) {
		o.Log.Error("how far the queue was sent cannot be read; what is left in it is sent again, some of it perhaps for the second time",
			"file", filepath.Join(o.Dir, stateFile), "error", err)
	}
	if q.packer, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithLowerEncoderMem(true)); err != nil {
		return err
	}
	q.log, err = wal.Open(wal.Options{
		Dir: filepath.Join(o.Dir, "wal"), Compress: true, FS: o.FS, NoSync: o.noSync, SegmentBytes: o.segment, Start: known.position, OnCommit: q.commit, Log: o.Log,
	})
	if err != nil {
		return err
	}
	first := q.log.Oldest()
	if ok && known.position+1 < first {
		// The log is trimmed up to the position, unless the position could not be written.
		o.Log.Error("events are gone from the queue; the server may have them", "dir", o.Dir, "from", known.position+1, "to", first-1)
	}
	known.position = max(known.position, first-1)
	// An empty log has never been used, or its files are gone: then some of its numbers may be used again, and the server would
	// take new events for old ones.
	if !ok || first > q.log.Last() {
		known.producer = newProducer(o.Name)
		if err := writeState(o.FS, o.Dir, known); err != nil {
			return errors.Join(fmt.Errorf("writing %s: %w", stateFile, err), q.log.Close())
		}
	}
	q.producer, q.position, q.saved = known.producer, known.position, known
	q.peek()
	return nil
}

// peek finds out how old the first queued event is.
func (q *Queue) peek() {
	r := q.log.Reader(q.position)
	defer r.Close()
	if e, ok, err := r.TryNext(); ok && err == nil { // otherwise Run says what is wrong
		q.oldest = e.Received
	}
}

// commit is called with each durable batch.
func (q *Queue) commit(e *wal.Entry) {
	q.appended.Add(int64(e.Count))
	q.mu.Lock()
	if q.position+1 >= e.First && q.position < e.Last() {
		q.oldest = e.Received
	}
	q.mu.Unlock()
}

// pressure is the answer to an append that the queue has no room for. It implements collector.Pressure.
type pressure struct{ max int64 }

func (p *pressure) Error() string {
	return fmt.Sprintf("the queue to the server has its %d MiB full; it goes on when the server takes events again", max(p.max>>20, 1))
}
func (p *pressure) RetryAfter() time.Duration { return retryFull }
func (p *pressure) Full() bool                { return true }

type appendBuffer struct {
	data  []byte
	entry wal.Entry
}

// Append makes the events of a batch durable; when it returns nil they will be shipped. It copies what it keeps. An error that has a
// [collector.Pressure] in its chain says that nothing was taken and that the same call may succeed later. After ctx
// ended the batch may or may not become durable; a producer that counts sends it again without harm.
func (q *Queue) Append(ctx context.Context, b *event.Batch) error {
	if len(b.Events) == 0 {
		return nil
	}
	if b.Producer == q.producer {
		q.looped.Store(true)
		return ErrLoop
	}
	buf := q.buffers.Get().(*appendBuffer)
	buf.data = buf.data[:0]
	for i := range b.Events {
		e := &b.Events[i]
		if len(e.Message) > event.MaxMessage || event.EncodedSize(e) > event.MaxEncoded { // a stage has made it longer than its input had
			b.Clamp(e)
		}
		buf.data = event.AppendEvent(buf.data, e)
	}
	// What is on its way counts as it is: how small it will be is not known yet.
	n := int64(len(buf.data))
	defer q.flying.Add(-n)
	if q.flying.Add(n)+q.log.Stats().Bytes > q.o.MaxBytes && q.queued() > 0 {
		q.refused.Add(1)
		q.buffers.Put(buf)
		return &pressure{q.o.MaxBytes}
	}
	buf.entry = wal.Entry{Count: len(b.Events), Producer: b.Producer, ProducerSeq: b.FirstSeq, Cursor: b.Cursor, Data: buf.data}
	if _, _, err := q.log.Append(ctx, &buf.entry); err != nil {
		return err // the log may still hold the buffer: it is not used again
	}
	if cap(buf.data) <= maxPooled {
		q.buffers.Put(buf)
	}
	return nil
}

// Producer returns where a producer goes on: the count of its next event and the cursor behind its last durable one.
func (q *Queue) Producer(name string) (next uint64, cursor []byte, ok bool) {
	return q.log.Producer(name)
}

// Name is the producer's name that the server knows this queue by.
func (q *Queue) Name() string { return q.producer }

// queued counts the events that are not confirmed.
func (q *Queue) queued() uint64 {
	last := q.log.Last()
	q.mu.Lock()
	defer q.mu.Unlock()
	return last - min(last, q.position)
}

// saveEvery is how often the position is written at most. What was confirmed after that is sent again after a kill.
const saveEvery = time.Second

// confirm notes that the server has everything up to a sequence. received is when the last of it came.
func (q *Queue) confirm(to uint64, received int64) {
	q.mu.Lock()
	if to > q.position {
		q.position, q.oldest = to, received
	}
	q.mu.Unlock()
}

// settle writes the position when it is time, and gives back the space of what lies before it. It returns when to come again; the
// zero time when there is nothing to write.
func (q *Queue) settle(now time.Time) (next time.Time) {
	q.mu.Lock()
	to, same := q.position, q.position == q.saved.position
	next = q.savedAt.Add(saveEvery)
	q.mu.Unlock()
	if same {
		return time.Time{}
	}
	if now.Before(next) {
		return next
	}
	// A full disk may be what keeps the position from being written: the log is trimmed all the same.
	if err := errors.Join(q.save(now), q.log.Trim(to)); err != nil {
		q.complain(causeDisk, "the queue cannot be tidied up; it goes on, and tries again", err)
		return now.Add(saveEvery)
	}
	return time.Time{}
}

// save writes the position.
func (q *Queue) save(now time.Time) error {
	q.mu.Lock()
	s, same := state{q.producer, q.position}, q.position == q.saved.position
	q.savedAt = now
	q.mu.Unlock()
	if same {
		return nil
	}
	if err := writeState(q.o.FS, q.o.Dir, s); err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Join(q.o.Dir, stateFile), err)
	}
	q.mu.Lock()
	q.saved = s
	q.mu.Unlock()
	return nil
}

// Close writes how far the queue was sent and closes it. Appends that come later fail. It is called after Run has returned.
func (q *Queue) Close() error {
	err := q.save(time.Now())
	q.client.CloseIdleConnections()
	return errors.Join(err, q.log.Close(), q.packer.Close())
}

// Stats returns the current counts.
func (q *Queue) Stats() Stats {
	w := q.log.Stats()
	last := q.log.Last()
	s := Stats{
		Appended: q.appended.Load(), Requests: q.requests.Load(), Sent: q.sent.Load(), SentBytes: q.sentBytes.Load(),
		Acknowledged: q.acknowledged.Load(), Rejected: q.rejected.Load(), Lost: q.lost.Load(), Cut: q.cut.Load(), Refused: q.refused.Load(),
		QueuedBytes: w.Bytes, MaxBytes: q.o.MaxBytes, Retries: map[string]int64{},
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if s.QueuedEvents = last - min(last, q.position); s.QueuedEvents > 0 {
		s.Oldest = max(time.Since(time.Unix(0, q.oldest)), 0)
	}
	for cause, n := range q.retries {
		s.Retries[cause] = n
	}
	return s
}

// retry counts a request that must be made again.
func (q *Queue) retry(cause string) {
	q.mu.Lock()
	q.retries[cause]++
	q.mu.Unlock()
}

// complain logs trouble, each cause at most once a minute, and reports whether it did.
func (q *Queue) complain(cause, what string, err error) bool {
	now := time.Now()
	q.mu.Lock()
	last, before := q.said[cause]
	due := !before || now.Sub(last) >= sayEvery
	if due {
		q.said[cause] = now
	}
	q.mu.Unlock()
	if due {
		q.o.Log.Warn(what, "error", q.redact(err), "queued", q.queued())
	}
	return due
}

// redact is an error's text without the token, which a server may have repeated.
func (q *Queue) redact(err error) string {
	return strings.ReplaceAll(err.Error(), q.o.Token, "[token]")
}
