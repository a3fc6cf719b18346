package index

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/event"
)

const (
	killDir    = "LOOKOUT_TEST_KILL_DIR"
	killRemove = "LOOKOUT_TEST_KILL_REMOVE" // when set, the child's default class has few bytes
)

// TestKilledChild is the process that TestKilledWhileItSealsAndMerges and TestKilledWhileItRemoves kill: it appends for ever to a
// store that seals and merges all the time, and says what was acknowledged and what has been removed.
func TestKilledChild(t *testing.T) {
	dir := os.Getenv(killDir)
	if dir == "" {
		t.Skip("only for the tests that kill it")
	}
	o := Options{Dir: dir, Free: plenty, HeadBytes: 128 << 10, logSegment: 32 << 10, CompactShare: 1, SegmentBytes: 1 << 20}
	if os.Getenv(killRemove) != "" {
		o = removing(o)
	}
	s, err := Open(o)
	if err != nil {
		fmt.Println("broken:", err)
		os.Exit(1)
	}
	next, _, _ := s.Producer("p")
	var b event.Batch
	for acked := max(next, 1); ; {
		b.Reset()
		b.Producer, b.FirstSeq = "p", acked
		for i := range uint64(50) {
			line(&b, []string{"a", "b", "c"}[(acked+i)%3], fmt.Sprint("event ", acked+i), int64(acked+i))
		}
		if s.Append(context.Background(), &b) != nil {
			continue // under pressure
		}
		acked += 50
		st := s.Stats()
		s.mu.RLock()
		removed := s.state.Expired[segment.DefaultClass]
		s.mu.RUnlock()
		fmt.Println(acked, st.Seals, st.Compactions, st.Damaged, removed)
	}
}

// removing has a store keep few events of the default class, and all of another.
func removing(o Options) Options {
	o.Classify = func(service string) (string, func(*event.Event) string) {
		return map[string]string{"c": "audit"}[service], nil
	}
	o.Retention = Retention{Age: 30 * days, MaxBytes: -1, Classes: map[string]ClassRetention{segment.DefaultClass: {MaxBytes: 40_000}, "audit": {}}}
	return o
}

// A process that seals, merges and removes all the time is killed again and again: what is kept is there once, and what it has
// said to be removed is not there.
func TestKilledWhileItRemoves(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(3, 4))
	var said [5]uint64
	for range 8 {
		child := exec.Command(os.Args[0], "-test.run=^TestKilledChild$")
		child.Env = append(os.Environ(), killDir+"="+dir, killRemove+"=1")
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 100 + rng.IntN(400); n > 0 && lines.Scan(); n-- {
			if _, err := fmt.Sscan(lines.Text(), &said[0], &said[1], &said[2], &said[3], &said[4]); err != nil || said[3] != 0 {
				t.Fatalf("the store says %q: %v", lines.Text(), err)
			}
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait() // killed
		acked, removed := said[0], said[4]
		s, err := Open(removing(Options{Dir: dir, Free: plenty, byHand: true, logSegment: 32 << 10}))
		if err != nil {
			t.Fatal(err)
		}
		floor := s.state.Expired[segment.DefaultClass]
		if floor < removed {
			t.Fatalf("removed up to %d, %d was said", floor, removed)
		}
		there := map[uint64]bool{}
		sum, err := s.Search(t.Context(), query.Request{}, func(r query.Row) error {
			seq := r.Event.Seq
			if there[seq] || string(r.Event.Message) != fmt.Sprint("event ", seq) || seq <= floor && string(r.Event.Service) != "c" {
				return fmt.Errorf("event %d %q of %s is there, removed up to %d", seq, r.Event.Message, r.Event.Service, floor)
			}
			there[seq] = true
			return nil
		})
		if err != nil || !sum.Complete {
			t.Fatalf("%+v, %v", sum, err)
		}
		for seq := uint64(1); seq < acked; seq++ {
			if kept := seq > floor || seq%3 == 2; kept && !there[seq] {
				t.Fatalf("event %d of %d is lost, removed up to %d", seq, acked, floor)
			}
		}
		stopped, cancel := context.WithCancel(context.Background())
		cancel()
		if err := s.Close(stopped); err != nil {
			t.Fatal(err)
		}
	}
	if said[4] == 0 {
		t.Error("nothing was removed: the test did nothing")
	}
	t.Logf("%d events, 8 kills, removed up to %d", said[0]-1, said[4])
}

// A process that seals and merges all the time is killed again and again, at any moment: nothing acknowledged is lost or
// doubled, and the segments are contiguous.
func TestKilledWhileItSealsAndMerges(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(1, 2))
	acked, seals, merges := uint64(1), 0, 0
	for range 12 {
		child := exec.Command(os.Args[0], "-test.run=^TestKilledChild$")
		child.Env = append(os.Environ(), killDir+"="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		var last []string
		for n := 1 + rng.IntN(600); n > 0 && lines.Scan(); n-- {
			if last = strings.Fields(lines.Text()); len(last) != 5 || last[3] != "0" {
				t.Fatalf("the store says %q", lines.Text())
			}
			if acked, err = strconv.ParseUint(last[0], 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait() // killed
		if len(last) == 5 {
			a, _ := strconv.Atoi(last[1])
			b, _ := strconv.Atoi(last[2])
			seals, merges = seals+a, merges+b
		}
	}
	s := open(t, Options{Dir: dir, byHand: true})
	next := uint64(1)
	sum, err := s.Search(t.Context(), query.Request{}, func(r query.Row) error {
		if r.Event.Seq != next || string(r.Event.Message) != fmt.Sprint("event ", next) {
			return fmt.Errorf("event %d %q where %d belongs", r.Event.Seq, r.Event.Message, next)
		}
		next++
		return nil
	})
	if err != nil || !sum.Complete || next < acked {
		t.Fatalf("%d events, %d were acknowledged: %+v, %v", next-1, acked-1, sum, err)
	}
	lo := uint64(0)
	for _, seg := range s.segments {
		if seg.Lo != lo {
			t.Errorf("a segment begins behind %d, the one before ends with %d", seg.Lo, lo)
		}
		lo = seg.Hi
	}
	if seals == 0 || merges == 0 {
		t.Errorf("%d seals, %d merges: the test did nothing", seals, merges)
	}
	t.Logf("%d events, 12 kills, %d seals, %d merges, %d segments", next-1, seals, merges, len(s.segments))
}
