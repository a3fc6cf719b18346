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
	"github.com/lookoutlog/lookout/internal/event"
)

const killDir = "LOOKOUT_TEST_KILL_DIR"

// TestKilledChild is the process that TestKilledWhileItSealsAndMerges kills: it appends for ever to a store that seals and
// merges all the time, and says what was acknowledged.
func TestKilledChild(t *testing.T) {
	dir := os.Getenv(killDir)
	if dir == "" {
		t.Skip("only for TestKilledWhileItSealsAndMerges")
	}
	s, err := Open(Options{Dir: dir, HeadBytes: 128 << 10, logSegment: 32 << 10, CompactShare: 1, SegmentBytes: 1 << 20})
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
		fmt.Println(acked, st.Seals, st.Compactions, st.Damaged)
	}
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
			if last = strings.Fields(lines.Text()); len(last) != 4 || last[3] != "0" {
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
		if len(last) == 4 {
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
