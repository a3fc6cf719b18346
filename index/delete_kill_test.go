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
	"time"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

const killDeletesDir = "LOOKOUT_TEST_KILL_DELETES_DIR"

func killOptions(dir string) Options {
	return Options{Dir: dir, Free: plenty, HeadBytes: 128 << 10, logSegment: 32 << 10, CompactShare: 1, SegmentBytes: 1 << 20}
}

// TestKilledDeletingChild is the process that TestKilledWhileItDeletes kills: it appends for ever to a store that seals, merges
// and deletes all the time, and says what was acknowledged and how many deletions have ended.
func TestKilledDeletingChild(t *testing.T) {
	dir := os.Getenv(killDeletesDir)
	if dir == "" {
		t.Skip("only for TestKilledWhileItDeletes")
	}
	s, err := Open(killOptions(dir))
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
			line(&b, []string{"a", "b", "c"}[(acked+i)%3], fmt.Sprintf("event %d.", acked+i), int64(acked+i))
		}
		if s.Append(context.Background(), &b) != nil {
			continue // under pressure
		}
		acked += 50
		list := s.Deletes()
		ended := 0
		for _, d := range list {
			if d.State.Ended() {
				ended++
			}
		}
		if len(list) < 90 && len(list)-ended < 2 {
			q, err := query.Parse(fmt.Sprintf("message:*%02d.", 10+len(list))) // some of the first batch, whenever it is asked for
			if err == nil {
				_, err = s.Delete(context.Background(), query.DeleteRequest{DeleteScope: query.DeleteScope{Query: q}, KeepQuery: true})
			}
			if err != nil {
				fmt.Println("broken:", err)
				os.Exit(1)
			}
		}
		fmt.Println(acked, ended, s.Stats().Damaged)
	}
}

// A process that deletes all the time is killed again and again, at any moment: no kept event is lost or doubled, every job ends,
// and nothing that was deleted comes back.
func TestKilledWhileItDeletes(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(3, 4))
	acked := uint64(1)
	for range 12 {
		child := exec.Command(os.Args[0], "-test.run=^TestKilledDeletingChild$")
		child.Env = append(os.Environ(), killDeletesDir+"="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 1 + rng.IntN(300); n > 0 && lines.Scan(); n-- {
			f := strings.Fields(lines.Text())
			if len(f) != 3 || f[2] != "0" {
				t.Fatalf("the store says %q", lines.Text())
			}
			if acked, err = strconv.ParseUint(f[0], 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait() // killed
	}
	o := killOptions(dir)
	o.byHand = true
	s := open(t, o)
	interrupted := 0
	for _, d := range s.Deletes() {
		if d.State == query.DeleteRunning {
			interrupted++
		}
	}
	if err := deleteByHand(s); err != nil {
		t.Fatal(err)
	}
	jobs := s.Deletes()
	gone := func(n uint64) bool {
		for _, d := range jobs {
			if n <= d.MaxSeq && strings.HasSuffix(fmt.Sprintf("event %d.", n), d.Query[len(d.Query)-3:]) {
				return true
			}
		}
		return false
	}
	next, deleted := uint64(1), 0
	pass := func(to uint64) error {
		for ; next < to; next++ {
			if !gone(next) {
				return fmt.Errorf("event %d is lost", next)
			}
			deleted++
		}
		return nil
	}
	start := time.Now()
	sum, err := s.Search(t.Context(), query.Request{}, func(r query.Row) error {
		if err := pass(r.Event.Seq); err != nil {
			return err
		}
		if r.Event.Seq != next || string(r.Event.Message) != fmt.Sprintf("event %d.", next) || gone(next) {
			return fmt.Errorf("event %d %q where %d belongs, deleted %v", r.Event.Seq, r.Event.Message, next, gone(next))
		}
		next++
		return nil
	})
	if err == nil && next < acked {
		err = pass(acked)
	}
	if err != nil || !sum.Complete {
		t.Fatalf("%d events, %d were acknowledged: %+v, %v", next-1, acked-1, sum, err)
	}
	if deleted == 0 || len(jobs) < 2 { // some 40 on an idle machine; but the first two are asked for with the first two batches
		t.Errorf("%d deleted by %d jobs: the test did nothing", deleted, len(jobs))
	}
	t.Logf("%d events, %d deleted by %d jobs, 12 kills, %d jobs interrupted last, read in %v", next-1, deleted, len(jobs), interrupted, time.Since(start))
}
