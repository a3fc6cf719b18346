package gelf

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lookoutlog/lookout/collector"
)

// DefaultReadBuffer is the receive buffer asked of the kernel, in bytes.
const DefaultReadBuffer = 8 << 20

const (
	// drainIdle ends the reading after Run's context has ended: nothing has come for so long.
	drainIdle = 5 * time.Millisecond
	// drainRead bounds that reading, drainAppend the appending behind it.
	drainRead   = time.Second
	drainAppend = 5 * time.Second
	// complainEvery is the least time between two lines of the log about the same kind of bad message.
	complainEvery = time.Minute
)

const (
	// longestRest is the longest the reader rests in a stream; the batcher's pace makes events wait as long. A rest in which
	// fewer than restMin datagrams are to be expected saves nothing.
	longestRest = 5 * time.Millisecond
	restMin     = 4
	// overhead is about what the kernel's buffer takes for a datagram beside its bytes.
	overhead = 1 << 10
)

// maxDatagram is more than the longest datagram, so that none is cut.
const maxDatagram = 1 << 16

// Options is what an [Input] works with.
type Options struct {
	// Addr is the UDP address to listen on: ":12201", "127.0.0.1:0".
	Addr string
	// Allow is who may send; the zero value is [collector.PrivateSources].
	Allow collector.AllowList
	// ReadBuffer is the kernel's receive buffer to ask for, in bytes; 0 is [DefaultReadBuffer].
	ReadBuffer int

	Sink   collector.Sink   // required
	Joiner collector.Joiner // nil: no lines are joined but Docker's fragments
	Stages []collector.Stage

	// MaxEvents and MaxBytes bound what waits for the sink; see [collector.BatcherOptions].
	MaxEvents, MaxBytes int

	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // nil: nothing is logged
}

// Input receives GELF over UDP. It is a [collector.Input].
type Input struct {
	o       Options
	batcher *collector.Batcher
	frags   *fragments
	decoder Decoder // the reader's
	refused error   // what a refused sender is told in our log

	drainRead, drainAppend time.Duration

	// the reader's: the address that was allowed last, and when which cause was in the log
	allowed    netip.Addr
	complained [causes]time.Time

	mu     sync.Mutex
	conn   *net.UDPConn
	socket syscall.Conn // the same, or what Run has made of it
	buffer int          // the kernel's receive buffer, in bytes, as far as is known
	chunks chunks
	kernel kernelDrops

	received, bytes, decoded, events, truncated atomic.Int64
	dropped                                     [causes]atomic.Int64
}

// The causes for which the reader drops datagrams; the other ones are counted where they happen.
const (
	causeRefused = iota
	causeTooLarge
	causeBadChunk
	causeDuplicate
	causeBomb
	causeBadCompression
	causeBadJSON
	causeNotAnObject
	causeOverflow
	causePressure
	causes
)

// Stats counts since the start. All but Events, Truncated and Batcher are datagrams: a message of three chunks counts as
// three.
//
// Received = Decoded + Pending + the drops but Kernel. What was sent to this machine is Received + Kernel.
type Stats struct {
	Received  int64 // taken from the kernel
	Bytes     int64 // in them
	Decoded   int64 // became events
	Pending   int64 // chunks that wait for the others of their message
	Events    int64 // messages decoded
	Truncated int64 // events that were cut to the limits of an event
	Joined    int64 // events that were Docker's fragments and became part of another event

	// Dropped, by cause:
	Refused        int64 // the sender is not on the list
	TooLarge       int64 // chunks of more than 4 MiB
	BadChunk       int64 // no header, count 0 or above 128, number not below the count, another count than the set's
	Duplicate      int64 // a chunk that had come already
	Expired        int64 // chunks whose others did not come within 5 s, or before the end
	Evicted        int64 // chunks given up because too many messages were waiting
	Bomb           int64 // more than 4 MiB decompressed
	BadCompression int64
	BadJSON        int64
	NotAnObject    int64 // does not begin as a JSON object
	Overflow       int64 // no room: the sink was slower than the senders
	Pressure       int64 // no room: the sink had asked to wait
	Kernel         int64 // the kernel's receive buffer was full; 0 where the system does not tell

	// Batcher counts the events behind the decoder. Its Overflow and Pressure are those above, counted in messages.
	Batcher collector.BatcherStats
}

// Drop is one cause of loss.
type Drop struct {
	Cause string
	Count int64
}

// Drops lists all causes of loss, each once, with names that fit a metric's label. "failed" and "shutdown" are events the
// sink did not take.
func (s Stats) Drops() []Drop {
	return []Drop{
		{"refused", s.Refused}, {"too_large", s.TooLarge}, {"bad_chunk", s.BadChunk}, {"duplicate", s.Duplicate},
		{"expired", s.Expired}, {"evicted", s.Evicted}, {"bomb", s.Bomb}, {"bad_compression", s.BadCompression},
		{"bad_json", s.BadJSON}, {"not_an_object", s.NotAnObject}, {"overflow", s.Overflow}, {"pressure", s.Pressure},
		{"kernel", s.Kernel}, {"failed", s.Batcher.Failed}, {"shutdown", s.Batcher.Shutdown},
	}
}

// New returns an input that does not listen yet.
func New(o Options) *Input {
	if o.Allow.IsZero() {
		o.Allow = collector.PrivateSources()
	}
	if o.ReadBuffer <= 0 {
		o.ReadBuffer = DefaultReadBuffer
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	in := &Input{
		o: o, frags: newFragments(), decoder: Decoder{Now: o.Now}, drainRead: drainRead, drainAppend: drainAppend,
		refused: fmt.Errorf("the sender is not among the allowed sources (%s)", o.Allow),
	}
	joiners := []collector.Joiner{in.frags}
	if o.Joiner != nil {
		joiners = append(joiners, o.Joiner)
	}
	in.batcher = collector.NewBatcher(collector.BatcherOptions{
		Sink: o.Sink, Joiners: joiners, Stages: o.Stages,
		MaxEvents: o.MaxEvents, MaxBytes: o.MaxBytes, Name: "gelf", Now: o.Now, Log: o.Log,
	})
	return in
}

// Listen opens the port; datagrams wait in the kernel until [Input.Run]. Run listens when Listen was not called.
func (in *Input) Listen() error {
	pc, err := net.ListenPacket("udp", in.o.Addr)
	if err != nil {
		return fmt.Errorf("gelf: listening on %q: %w", in.o.Addr, err)
	}
	conn := pc.(*net.UDPConn)
	got, err := setReadBuffer(conn, in.o.ReadBuffer)
	switch {
	case err != nil:
		in.o.Log.Warn("gelf: the receive buffer could not be set: bursts may be dropped", "asked", in.o.ReadBuffer, "error", err)
	case got < in.o.ReadBuffer:
		in.o.Log.Warn("gelf: the receive buffer is smaller than asked: bursts may be dropped",
			"asked", in.o.ReadBuffer, "got", got, "mend", readBufferMend(in.o.ReadBuffer))
	}
	in.mu.Lock()
	in.conn, in.socket, in.buffer = conn, conn, got
	in.mu.Unlock()
	return nil
}

// Addr is the address it listens on, nil before [Input.Listen].
func (in *Input) Addr() net.Addr {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.conn == nil {
		return nil
	}
	return in.conn.LocalAddr()
}

// Run receives until ctx ends. Then it reads what the kernel has received already, closes the port, appends what it has
// (for at most 5 s), and returns; messages whose chunks have not all come are counted as expired. An Input runs once.
func (in *Input) Run(ctx context.Context) error {
	if in.Addr() == nil {
		if err := in.Listen(); err != nil {
			return err
		}
	}
	r, err := in.takeSocket()
	if err != nil {
		return err
	}
	appendCtx, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	done := make(chan struct{})
	go func() {
		defer close(done)
		in.batcher.Run(appendCtx)
	}()
	err = in.read(ctx, r)
	in.close(r)
	in.batcher.Close()
	defer time.AfterFunc(in.drainAppend, giveUp).Stop()
	<-done
	return err
}

// takeSocket hands the socket to the reader.
func (in *Input) takeSocket() (*receiver, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	r, err := newReceiver(in.conn)
	if err != nil {
		in.kernel.closed = true
		return nil, fmt.Errorf("gelf: receiving on %s: %w", in.conn.LocalAddr(), err)
	}
	in.socket = r.conn()
	return r, nil
}

// read handles datagrams until ctx ends, and then those that are in the kernel's buffer.
func (in *Input) read(ctx context.Context, r *receiver) error {
	defer context.AfterFunc(ctx, func() {
		r.setDeadline(time.Unix(1, 0))
	})()
	var end time.Time // when draining
	stream := stream{buffer: in.buffer, empty: time.Now()}
	for {
		n, err := r.receive()
		for i := range n {
			p, from := r.datagram(i)
			in.handle(p, from)
			stream.add(len(p))
		}
		switch {
		case err == nil:
			if n < receiveBatch && end.IsZero() {
				time.Sleep(stream.drained(time.Now()))
			}
		case errors.Is(err, os.ErrDeadlineExceeded):
			if end.IsZero() {
				end = time.Now().Add(in.drainRead)
			} else if !readable(r.conn()) { // on a busy machine the time may be over before the read begins
				return nil
			}
		default:
			return fmt.Errorf("gelf: receiving on %s: %w", in.Addr(), err)
		}
		if !end.IsZero() {
			now := time.Now()
			if now.After(end) {
				return nil
			}
			r.setDeadline(now.Add(drainIdle))
		}
	}
}

// stream tells how long the reader may rest: while datagrams come fast it is woken once for dozens instead of once for each,
// which costs more than all else of receiving. What came before a rest is handled already: an event that comes alone is not
// delayed.
type stream struct {
	buffer int       // the kernel's, in bytes
	empty  time.Time // when it was found empty last
	n      int       // datagrams since then
	bytes  int       // what they took in it
}

func (s *stream) add(datagram int) {
	s.n++
	s.bytes += datagram + overhead
}

// drained notes that the kernel's buffer is empty and returns how long to rest: not longer than it takes to fill a quarter of
// the buffer, if datagrams go on to come as since it was empty before.
func (s *stream) drained(now time.Time) time.Duration {
	past, n, bytes := now.Sub(s.empty), s.n, s.bytes
	s.empty, s.n, s.bytes = now, 0, 0
	fill := float64(past) * float64(s.buffer) / 4 / float64(bytes)
	rest := min(longestRest, time.Duration(fill))
	if time.Duration(n)*rest < restMin*past {
		return 0
	}
	return rest
}

// close ends the receiving and settles the counters.
func (in *Input) close(r *receiver) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.kernel.update(in.socket)
	r.close()
	in.kernel.closed = true
	in.chunks.end()
}

// handle takes one datagram; p is the reader's again afterwards.
func (in *Input) handle(p []byte, from netip.AddrPort) {
	in.received.Add(1)
	in.bytes.Add(int64(len(p)))
	if from.Addr() != in.allowed {
		if !in.o.Allow.Allowed(from.Addr()) {
			in.drop(causeRefused, 1, from, in.refused)
			return
		}
		in.allowed = from.Addr()
	}
	if !isChunk(p) {
		in.decode(p, 1, from)
		return
	}
	// The set's memory is valid until the next chunk, which only this goroutine adds: the lock is for Stats.
	in.mu.Lock()
	message, n, err := in.chunks.add(p, from, in.o.Now().UnixNano())
	in.mu.Unlock()
	if err != nil {
		in.drop(chunkCause(err), n, from, err)
	} else if n > 0 {
		in.decode(message, n, from)
	}
}

// decode makes an event of a message that came in n datagrams.
func (in *Input) decode(message []byte, n int, from netip.AddrPort) {
	batch, buffer, ok := in.batcher.Begin()
	if !ok {
		cause := causeOverflow
		if in.batcher.Pressed() {
			cause = causePressure
		}
		in.dropped[cause].Add(int64(n)) // the batcher logs
		return
	}
	text, cut, err := in.decoder.Decode(batch, buffer, message)
	in.batcher.End(text)
	if err != nil {
		in.drop(decodeCause(err), n, from, err)
		return
	}
	in.decoded.Add(int64(n))
	in.events.Add(1)
	if cut {
		in.truncated.Add(1)
	}
}

func chunkCause(err error) int {
	switch {
	case errors.Is(err, errDuplicate):
		return causeDuplicate
	case errors.Is(err, ErrTooLarge):
		return causeTooLarge
	}
	return causeBadChunk
}

func decodeCause(err error) int {
	switch {
	case errors.Is(err, ErrBomb):
		return causeBomb
	case errors.Is(err, ErrCompression):
		return causeBadCompression
	case errors.Is(err, ErrNotObject):
		return causeNotAnObject
	case errors.Is(err, ErrTooLarge):
		return causeTooLarge
	}
	return causeBadJSON
}

// drop counts n datagrams and says so in the log, now and then.
func (in *Input) drop(cause, n int, from netip.AddrPort, err error) {
	total := in.dropped[cause].Add(int64(n))
	if cause == causeDuplicate {
		return // the network's doing, and nothing is lost
	}
	if now := in.o.Now(); now.Sub(in.complained[cause]).Abs() >= complainEvery {
		in.complained[cause] = now
		in.o.Log.Warn("gelf: message dropped", "from", from, "error", err, "dropped_so_far", total)
	}
}

// Stats returns the counters. It may be called at any time, also after Run.
func (in *Input) Stats() Stats {
	in.mu.Lock()
	in.chunks.expire(in.o.Now().UnixNano())
	if in.socket != nil {
		in.kernel.update(in.socket)
	}
	s := Stats{
		Pending: int64(in.chunks.held),
		Expired: in.chunks.expired,
		Evicted: in.chunks.evicted,
		Kernel:  in.kernel.total,
	}
	in.mu.Unlock()
	s.Received, s.Bytes = in.received.Load(), in.bytes.Load()
	s.Decoded, s.Events, s.Truncated = in.decoded.Load(), in.events.Load(), in.truncated.Load()
	s.Joined = in.frags.joined.Load()
	for cause, p := range [causes]*int64{
		causeRefused: &s.Refused, causeTooLarge: &s.TooLarge, causeBadChunk: &s.BadChunk, causeDuplicate: &s.Duplicate,
		causeBomb: &s.Bomb, causeBadCompression: &s.BadCompression, causeBadJSON: &s.BadJSON,
		causeNotAnObject: &s.NotAnObject, causeOverflow: &s.Overflow, causePressure: &s.Pressure,
	} {
		*p = in.dropped[cause].Load()
	}
	s.Batcher = in.batcher.Stats()
	return s
}

// kernelDrops adds up the kernel's counter of datagrams it dropped at a socket, which has 32 bits and ends with it.
type kernelDrops struct {
	last   uint32
	total  int64
	closed bool
}

func (k *kernelDrops) update(conn syscall.Conn) {
	if k.closed {
		return
	}
	if n, ok := socketDrops(conn); ok {
		k.add(n)
	}
}

func (k *kernelDrops) add(n uint32) {
	k.total += int64(n - k.last)
	k.last = n
}
