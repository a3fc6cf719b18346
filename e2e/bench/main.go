// Command bench measures the real binary as its users run it: a server of its own on free ports, real HTTP and UDP, CPU time
// and memory of the server's process from /proc. It prints one line a figure; docs/performance.md keeps a run of it.
//
//	go run ./e2e/bench [-n 1000000] [-memory 5000000]
//	go run ./e2e/bench -soak 50000000 [-rate 100000]
//	go run ./e2e/bench -growth [-growth-from 2000000] [-growth-to 20000000]
//	go run ./e2e/bench -delete 10000000 [-rate 20000]
//	go run ./e2e/bench -backup 10000000 [-rate 20000]
//	go run ./e2e/bench -catalog 4000000
//	go run ./e2e/bench -around 2000000
//	go run ./e2e/bench -start
//	go run ./e2e/bench -tail
//	go run ./e2e/bench -tail-soak 10m
//	go run ./e2e/bench -costly 5000000 [-span 60s] [-searches 8] [-rate 20000]
//	go run ./e2e/bench -first 10000000
//	go run ./e2e/bench -rules 100 [-span 60s] [-rate 50000]
//	go run ./e2e/bench -benchfmt >new.txt; benchstat old.txt new.txt
//
// These figures vary with the machine: compare runs by ratio, and CPU time rather than wall time.
//
// -soak measures what changes while much is stored, and nothing else. A line for each tenth of the events: how fast they were
// acknowledged, the CPU time of the server (merging and the searches meanwhile included; the seconds that finished merges have
// worked stand beside it), the most RssAnon, and what /metrics says of the store when the tenth was answered. The ratios below
// are of the last tenth to the first, and to the second, when merging has begun, above 1 when the last was faster; RssAnon of
// the tenths 6 to 10 to that of 1 to 5. Each question was asked once a second meanwhile, and at the same pace in a pause as long, when
// the server was idle; the ratio is of these two p99. At the end, merged, they are asked once more, without a rest between. The count of all
// needs next to nothing: it tells what waiting for a core costs. The run fails when an acknowledged event is not counted, or when what was
// found once is not found any more. Merging comes in bouts, one for some 32 sealed generations of 0.11 million events each:
// below 40 million events not every tenth has one, and the ratios say little. The generator runs on the same cores and slows
// every tenth alike. With -rate so many events a second are sent: what searches cost beside a load that leaves room for them, the
// ratios of the tenths then only by CPU time. The bodies of a tenth are made before it then (some 250 bytes of memory an event), and
// each tenth has five pauses instead of one, so that the pauses find as much that is not sealed as the load's searches do.
//
// -growth measures what questions cost when ten times as much is stored but no more of it matches, and nothing else: medians
// of turns of 20 ms, sealed, merged and idle, and the first time after the start. Needles are twenty, from all over the first
// events. 100 of these hold two phrases, one of words that nothing else holds, one of words that many others hold, apart. The count
// of a word stands there for comparison: ten times as many events match. Blocks fill with merging: where the
// first events are less than two million, theirs are small and a needle in one is cheap.
//
// -delete measures how long a body of 64 KiB waits for its answer, at a moderate rate over one connection, for half a minute before
// one event of a hundred is deleted, while that goes on, and for half a minute after it. Searches meanwhile, about ten a second, must
// find all that is kept, and never more of what goes than before; they cost what the answers then wait for as well.
//
// -backup measures the same for half a minute before backups, while one is made after the other, each to an empty folder on the same disk, and
// after; and again with the backups throttled so that one takes half a minute. The client that asks for them is a process of its own.
//
// -costly measures what costly searches of so many events take from others: at a fixed rate of ingest, how long a body of 64 KiB waits for
// its answer, and how long after its answer an event is a line of a lookout tail, for a span before, while so many clients search without
// pause (a regex without a literal over everything, groups by a field with as many values as events, an export, in turn), and after. The
// ratios are of that span's p50 and p99 to those of the worse of before and after.
//
// -first measures how long the first byte of an answer takes, over so many stored events, sealed and idle: on the standard output of a
// lookout grep from its start on, and of a request over a new connection, for a word of many events and for one that is in one event, the
// oldest first and the newest first; the median and the longest of twenty.
//
// -tail measures how long after the answer to a request its event is a line of a running `lookout tail`, one request at a time: with nothing
// else to do, and beside 20,000 events a second. A line that is there before the answer counts as 0.
//
// -tail-soak follows with 50 live tails of five queries, by lines and by WebSockets, two of three of which read too slowly, while 20,000 events
// a second come in for so long and the server is stopped once and killed once. The run fails unless each tail got every event that
// matches, once and in order, or was told how many it did not get, and a search of that range finds as many.
//
// -catalog measures what the catalogue of patterns takes of ingest: the CPU time of the server with it and of one that was built
// without its feeder, in turns, until all is answered, and until the server is idle again, everything merged and read. Nearly all patterns
// are new in the first half of the events, and known in the second.
//
// -alerts measures how soon a line that alerts is a call at Slack, on an idle server and beside 20,000 events/s.
//
// -rules measures what so many rules of all modes cost, with a fake Slack that answers: the CPU time of a server without rules and of one
// with, in turns, twice each, for a span at the same rate, until the rules have seen all of it.
//
// -around measures what context costs, 3 events of the same source on each side of 1,000 matches, beside the same search without, and
// nothing else.
package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lookoutlog/lookout/e2e/internal/benchfmt"
	"github.com/lookoutlog/lookout/e2e/internal/peer"
	"github.com/lookoutlog/lookout/internal/loadgen"
)

func main() {
	// Making the load must not keep this program from seeing answers: what waits for the network has a place of its own.
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 8)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	n := flags.Int("n", 1_000_000, "events of the ingest and search figures")
	memory := flags.Int("memory", 5_000_000, "events of the memory figure, of 100 services; 0 leaves it out")
	soak := flags.Int("soak", 0, "measure this many events in tenths, with searches meanwhile, and nothing else")
	rate := flags.Int("rate", 0, "with -soak, -delete, -backup, -costly, -rules and -tail-soak: events a second; 0 for as fast as they are acknowledged")
	del := flags.Int("delete", 0, "delete one of a hundred of this many events while more come in at -rate, 20,000 a second by default, and nothing else")
	backup := flags.Int("backup", 0, "back up this many events while more come in at -rate, 20,000 a second by default, and nothing else")
	catalog := flags.Int("catalog", 0, "measure what the catalogue of patterns takes of ingesting this many events, and nothing else")
	aroundN := flags.Int("around", 0, "measure context around matches in this many events, and nothing else")
	costly := flags.Int("costly", 0, "measure ingest and a tail beside costly searches of this many events, and nothing else")
	span := flags.Duration("span", time.Minute, "how long each part of -costly and of -rules takes")
	searches := flags.Int("searches", 8, "clients of -costly that search")
	first := flags.Int("first", 0, "measure the first byte of answers over this many events, and nothing else")
	start := flags.Bool("start", false, "measure the command line's start, and nothing else")
	growth := flags.Bool("growth", false, "measure searches in few events and in many, and nothing else")
	from := flags.Int("growth-from", 2_000_000, "the few events of -growth")
	to := flags.Int("growth-to", 20_000_000, "the many events of -growth")
	tail := flags.Bool("tail", false, "measure how soon an event is a line of lookout tail, and nothing else")
	alerts := flags.Int("alerts", 0, "measure how soon each of so many lines, at most 200, is at a fake Slack, and nothing else")
	rules := flags.Int("rules", 0, "measure what so many alert rules cost at a fixed rate, 50,000 unless given, and nothing else")
	tailSoak := flags.Duration("tail-soak", 0, "follow with 50 tails, most of them slow, for so long, over a stop and a kill, and nothing else; -rate is 20,000 unless given")
	tails := flags.Int("tails", 50, "live tails of -tail-soak")
	binary := flags.String("binary", "", "measure this binary instead of building one")
	lines := flags.Bool("benchfmt", false, "print Go benchmark lines, for benchstat, and the text to standard error")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if *growth && (*from < marks || *to <= *from) {
		fmt.Fprintf(stderr, "bench: -growth-from is at least %d, -growth-to more than it\n", marks)
		return 2
	}
	b := &bench{ctx: ctx, text: stdout, binary: *binary}
	if *lines {
		b.text, b.lines = stderr, benchfmt.New(stdout, "e2e/bench")
	}
	if *rate == 0 && (*del > 0 || *backup > 0) {
		*rate = 20_000
	}
	err := b.in(func(dir string) error {
		switch {
		case *tail:
			return b.tail(filepath.Join(dir, "tail"))
		case *alerts > 0:
			return b.alerts(filepath.Join(dir, "alerts"), min(*alerts, alertChannels*10))
		case *rules > 0:
			return b.rules(dir, *rules, *span, cmp.Or(*rate, 50_000))
		case *tailSoak > 0:
			return b.tailSoak(dir, *tailSoak, *tails, cmp.Or(*rate, 20_000))
		case *costly > 0:
			return b.costly(filepath.Join(dir, "costly"), *costly, *span, *searches, cmp.Or(*rate, 20_000))
		case *first > 0:
			return b.first(filepath.Join(dir, "first"), *first)
		case *soak > 0:
			return b.soak(dir, *soak, *rate)
		case *del > 0:
			return b.delete(dir, *del, *rate)
		case *backup > 0:
			return b.backup(dir, *backup, *rate)
		case *catalog > 0:
			return b.catalog(dir, *catalog)
		case *aroundN > 0:
			return b.around(dir, *aroundN)
		case *start:
			return b.start(dir)
		case *growth:
			return b.growth(dir, *from, *to)
		}
		return b.all(dir, *n, *memory)
	})
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}

// bench is one run.
type bench struct {
	ctx    context.Context
	text   io.Writer        // one line a figure
	lines  *benchfmt.Writer // the same as benchmark lines; nil for none
	binary string
}

// in calls measure with a folder for the data, and with a binary.
func (b *bench) in(measure func(dir string) error) error {
	dir, err := os.MkdirTemp("", "lookout-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if b.binary == "" {
		b.binary = filepath.Join(dir, "lookout")
		if err := peer.BuildLookout(b.ctx, b.binary); err != nil {
			return err
		}
	}
	return measure(dir)
}

func (b *bench) all(dir string, n, memory int) error {
	if err := b.start(dir); err != nil {
		return err
	}
	if err := b.ingestAndSearch(filepath.Join(dir, "http"), n); err != nil {
		return err
	}
	if err := b.around(filepath.Join(dir, "around"), 2*n); err != nil {
		return err
	}
	if err := b.gelf(filepath.Join(dir, "gelf"), n); err != nil {
		return err
	}
	if memory > 0 {
		return b.rss(filepath.Join(dir, "memory"), memory)
	}
	return nil
}

func (b *bench) report(name, format string, args ...any) {
	fmt.Fprintf(b.text, "%-34s %s\n", name, fmt.Sprintf(format, args...))
}

// runs is how often the ingest figure is taken: a shared machine's CPU time varies much from one to the next.
const runs = 5

// ingestAndSearch: JSON over HTTP, each request answered after fsync, until the last event is found by a search.
func (b *bench) ingestAndSearch(dir string, n int) error {
	bodies, raw := ndjson(loadgen.Options{Seed: 1}, n)
	var s *peer.Lookout
	var cpus, rates, allocs []float64
	for i := range runs {
		if s != nil {
			s.Stop()
		}
		dir := filepath.Join(dir, strconv.Itoa(i))
		var err error
		if s, err = peer.StartLookout(b.ctx, b.binary, dir); err != nil {
			return err
		}
		defer s.Stop()
		cpu, rate, alloc, err := b.ingest(s, bodies, n)
		if err != nil {
			return err
		}
		b.lines.Line("Ingest/json", n, "ns/op", 1e9/rate, "cpu-ns/op", cpu*1e3, "allocs/op", alloc)
		cpus, rates, allocs = append(cpus, cpu), append(rates, rate), append(allocs, alloc)
	}
	for _, list := range [][]float64{cpus, rates, allocs} {
		slices.Sort(list)
	}
	b.report("json → durable → searchable", "%.2f CPU-s per million events (median of %d, %.2f to %.2f), %.0f events/s, %.2f allocations an event (%d events, %d MB, 4 connections, 1 MiB bodies)",
		cpus[runs/2], runs, cpus[0], cpus[runs-1], rates[runs/2], allocs[runs/2], n, raw/1_000_000)

	// Sealed, so that the search figures are of blocks and not of memory.
	if err := s.Restart(b.ctx); err != nil {
		return err
	}
	size, err := peer.Size(filepath.Join(s.Dir, "data", "store", "segments"))
	if err != nil {
		return err
	}
	b.lines.Line("Stored", n, "disk-B/op", float64(size)/float64(n))
	b.report("stored", "%.1f bytes an event in segments, %.1f raw", float64(size)/float64(n), float64(raw)/float64(n))
	for _, q := range []struct{ name, q, params string }{
		{"count of a word", "error", "count=true"}, {"count of a word, case-sensitive", "Error", "count=true"},
		{"count of an absent word", "nosuchword", "count=true"}, {"newest 100 of a word", "failed", "order=newest&limit=100"},
		{"needle by field", "request_id:" + needle(bodies), ""}, {"count of all", "*", "count=true"},
		{"regex with a literal", `~"fail(ed|ure)"`, "count=true"}, {"not info", "-level:info", "count=true"},
	} {
		var walls []time.Duration
		var matched int
		var used time.Duration
		const reps = 5
		for range reps {
			cpu, begin := s.CPU(), time.Now()
			if matched, err = s.Search(b.ctx, q.q, q.params); err != nil {
				return err
			}
			wall := time.Since(begin)
			cpu = s.CPU() - cpu
			walls, used = append(walls, wall), used+cpu
			b.lines.Line("Search/"+q.name, 1, "ns/op", float64(wall), "cpu-ns/op", float64(cpu))
		}
		slices.Sort(walls)
		b.report("search: "+q.name, "%.1f ms (median of %d), %.0f CPU-ms, %d matched of %d", ms(walls[reps/2]), reps, ms(used)/reps, matched, n)
	}
	begin := time.Now()
	out, err := s.CLI(b.ctx, "grep", "-c", "--all", "error")
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	wall := time.Since(begin)
	b.lines.Line("Grep/count", 1, "ns/op", float64(wall))
	b.report("lookout grep -c --all error", "%.1f ms with the client's start (%d lines of answer)", ms(wall), len(lines))
	begin = time.Now()
	out, err = s.CLI(b.ctx, "grep", "--all", "error")
	if err != nil {
		return err
	}
	wall = time.Since(begin)
	b.lines.Line("Grep/lines", 1, "ns/op", float64(wall))
	b.report("lookout grep --all error", "%.1f ms, %d lines", ms(wall), bytes.Count(out, []byte("\n")))
	return nil
}

// ingest sends the bodies and searches for the last of them: CPU-s per million events, events per second of wall time, and
// allocations an event.
func (b *bench) ingest(s *peer.Lookout, bodies [][]byte, n int) (cpu, rate, allocs float64, err error) {
	before, err := s.Metric(b.ctx, "go_memstats_mallocs_total")
	if err != nil {
		return 0, 0, 0, err
	}
	used, begin := s.CPU(), time.Now()
	if err := s.Insert(b.ctx, bodies, 4); err != nil {
		return 0, 0, 0, err
	}
	found, err := s.Search(b.ctx, sent, "count=true")
	if err != nil {
		return 0, 0, 0, err
	}
	if found != n {
		return 0, 0, 0, fmt.Errorf("%d events sent and acknowledged, %d found", n, found)
	}
	wall := time.Since(begin)
	used = s.CPU() - used
	after, err := s.Metric(b.ctx, "go_memstats_mallocs_total")
	return used.Seconds() / float64(n) * 1e6, float64(n) / wall.Seconds(), (after - before) / float64(n), err
}

func needle(bodies [][]byte) string {
	return string(requestID.FindSubmatch(bodies[len(bodies)/2])[1])
}

// gelf: uncompressed GELF over UDP, one message a datagram.
func (b *bench) gelf(dir string, n int) error {
	s, err := peer.StartLookout(b.ctx, b.binary, dir)
	if err != nil {
		return err
	}
	defer s.Stop()
	g := loadgen.New(loadgen.Options{Seed: 2})
	messages := make([][]byte, 0, 50_000)
	for len(messages) < cap(messages) {
		if m := g.GELF(nil); len(m) < 1420 { // longer ones would be chunked
			messages = append(messages, m)
		}
	}
	conn, err := net.Dial("udp", s.GELF)
	if err != nil {
		return err
	}
	defer conn.Close()
	rate, stored, total := 0.0, 0, 0
	for target := 20_000.0; ; target *= 1.25 {
		sent, actual, err := pace(conn, messages, target, 2*time.Second)
		if err != nil {
			return err
		}
		total += sent
		got, err := b.settle(s)
		if err != nil {
			return err
		}
		lost := sent - (got - stored)
		stored = got
		if lost > 0 || actual < 0.9*target || total > 20*n {
			why := "datagrams were dropped"
			if lost == 0 {
				why = "the sender, on the same cores, could not send faster"
			}
			b.lines.Line("Rate/gelf", 1, "datagrams/s", rate)
			b.report("gelf/udp without a drop", "%.0f datagrams/s for 2 s; at %.0f/s %d of %d %s", rate, actual, lost, sent, why)
			break
		}
		rate = actual
	}
	cpu := s.CPU()
	if _, _, err := pace(conn, messages, rate/2, time.Duration(float64(n)/rate*2*float64(time.Second))); err != nil {
		return err
	}
	got, err := b.settle(s)
	if err != nil {
		return err
	}
	perDatagram := float64(s.CPU()-cpu) / float64(got-stored)
	b.lines.Line("Ingest/gelf", got-stored, "cpu-ns/op", perDatagram)
	b.report("gelf/udp uncompressed", "%.2f CPU-s per million datagrams at %.0f/s (%d of them)", perDatagram/1e3, rate/2, got-stored)
	return nil
}

// pace sends for a time at a rate and returns what it reached.
func pace(conn net.Conn, messages [][]byte, rate float64, limit time.Duration) (sent int, actual float64, err error) {
	begin := time.Now()
	for {
		past := time.Since(begin)
		if past >= limit {
			break
		}
		for due := int(rate * past.Seconds()); sent < due; sent++ {
			if _, err := conn.Write(messages[sent%len(messages)]); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
				return sent, 0, err
			}
		}
		time.Sleep(500 * time.Microsecond)
	}
	return sent, float64(sent) / time.Since(begin).Seconds(), nil
}

// settle waits until no more events arrive and returns how many there are.
func (b *bench) settle(s *peer.Lookout) (int, error) {
	prev, same := -1.0, 0
	for {
		n, err := s.Metric(b.ctx, "lookout_store_sequence")
		if err != nil {
			return 0, err
		}
		if n == prev {
			if same++; same == 10 {
				return int(n), nil
			}
		} else {
			prev, same = n, 0
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// rss: peak anonymous memory while events of 100 services go in.
func (b *bench) rss(dir string, n int) error {
	s, err := peer.StartLookout(b.ctx, b.binary, dir)
	if err != nil {
		return err
	}
	defer s.Stop()
	peak := s.Peak()
	defer peak()
	begin := time.Now()
	const part = 500_000
	for sent := 0; sent < n; sent += part {
		bodies, _ := ndjson(loadgen.Options{Seed: uint64(sent), Services: 100, Start: 1_790_000_000e9 + int64(sent)*1e6}, min(part, n-sent))
		if err := s.Insert(b.ctx, bodies, 4); err != nil {
			return err
		}
	}
	wall := time.Since(begin)
	found, err := s.Search(b.ctx, sent, "count=true")
	if err != nil {
		return err
	}
	if _, err := s.Search(b.ctx, "error", "count=true"); err != nil {
		return err
	}
	if found != n {
		return fmt.Errorf("%d events sent and acknowledged, %d found", n, found)
	}
	size, err := peer.Size(filepath.Join(dir, "data", "store", "segments"))
	if err != nil {
		return err
	}
	most := peak()
	b.lines.Line("Memory/services=100", n, "peak-anon-B", float64(most), "disk-B/op", float64(size)/float64(n))
	b.report("memory, 100 services", "RssAnon at most %d MB while %d events went in, in %.0f s with the generator on the same cores; %.1f bytes an event on disk",
		most/1_000_000, n, wall.Seconds(), float64(size)/float64(n))
	return nil
}

// ndjson returns n events as request bodies.
func ndjson(o loadgen.Options, n int) (bodies [][]byte, raw int) {
	next := newFeed(o).until(n)
	for b := next(); b != nil; b = next() {
		bodies, raw = append(bodies, b), raw+len(b)
	}
	return bodies, raw
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
