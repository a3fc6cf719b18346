package index

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// What gives way waits for short searches to their end, goes on at once then, and comes on beside searches without end.
func TestGivingWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var searches underway
		hurried := false
		p := &polite{searches: &searches, done: t.Context().Done(), most: wayMost, hurry: func() bool { return hurried }, since: time.Now()}
		waits := func() time.Duration {
			begin := time.Now()
			p.giveWay()
			return time.Since(begin)
		}
		if d := waits(); d != 0 {
			t.Errorf("waited %v for no search", d)
		}
		time.Sleep(time.Second) // of work
		first, second := searches.begin(), searches.begin()
		time.AfterFunc(3*time.Millisecond, first)
		time.AfterFunc(7*time.Millisecond, second)
		if d := waits(); d != 7*time.Millisecond {
			t.Errorf("waited %v for two searches, the longer of 7ms", d)
		}
		if d := waits(); d != 0 {
			t.Errorf("waited %v when both had ended", d)
		}

		time.Sleep(time.Second)
		end := searches.begin()
		hurried = true
		if d := waits(); d != 0 {
			t.Errorf("waited %v in a hurry", d)
		}
		if hurried = false; waits() != wayMost {
			t.Errorf("waited %v for a search that does not end, not %v", p.waited, wayMost)
		}
		if d := waits(); d != 0 {
			t.Errorf("waited %v more without having worked", d)
		}
		for range 20 { // its time is up now, and it is no longer given way to
			time.Sleep(5 * time.Millisecond)
			p.giveWay()
		}
		time.Sleep(wayMost)
		if d := waits(); d != 0 {
			t.Errorf("waited %v for a search of more than %v", d, wayTime)
		}
		end()
		if n := searches.n.Load(); n != 0 {
			t.Errorf("%d searches are under way when all have ended", n)
		}

		// One search after another, without a pause: half of the time is work.
		searches.n.Add(1)
		begin, worked := time.Now(), time.Duration(0)
		for time.Since(begin) < 10*time.Second {
			time.Sleep(300 * time.Microsecond)
			worked += 300 * time.Microsecond
			p.giveWay()
		}
		if all := time.Since(begin); worked < (all-wayMost)/2 {
			t.Errorf("worked %v of %v beside searches without end", worked, all)
		} else if all-worked < all/3 {
			t.Errorf("waited only %v of %v for searches without end", all-worked, all)
		}
		searches.leave()

		ctx, cancel := context.WithCancel(t.Context())
		p.done = ctx.Done()
		time.Sleep(time.Second)
		defer searches.begin()()
		time.AfterFunc(time.Millisecond, cancel)
		if d := waits(); d != time.Millisecond {
			t.Errorf("waited %v when nothing was to be waited for after 1ms", d)
		}
	})
}

// Inputs wait for a search all together, and beside searches without end for half of the time, however many they are.
func TestInputsGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Store{ctx: t.Context()}
		s.inputs = s.newInputs()
		waits := func() (longest time.Duration) {
			times := make(chan time.Duration)
			for range 3 {
				go func() {
					begin := time.Now()
					s.GiveWay()
					times <- time.Since(begin)
				}()
			}
			return max(<-times, <-times, <-times)
		}
		if d := waits(); d != 0 {
			t.Errorf("waited %v for no search", d)
		}
		time.AfterFunc(3*time.Millisecond, s.searches.begin())
		if d := waits(); d != 3*time.Millisecond {
			t.Errorf("waited %v for a search of 3ms", d)
		}
		s.searches.n.Add(1) // as if one began whenever one ends
		defer s.searches.leave()
		time.Sleep(time.Second)
		if d := waits(); d != wayInputs {
			t.Errorf("waited %v for a search that does not end, not %v", d, wayInputs)
		}

		const span = 10 * time.Second
		worked := make(chan time.Duration)
		for range 3 {
			go func() {
				begin, work := time.Now(), time.Duration(0)
				for time.Since(begin) < span {
					time.Sleep(300 * time.Microsecond)
					work += 300 * time.Microsecond
					s.GiveWay()
				}
				worked <- work
			}()
		}
		for range 3 {
			if work := <-worked; work < (span-wayInputs)/2 {
				t.Errorf("worked %v of %v beside searches without end", work, span)
			} else if work > span/3*2 {
				t.Errorf("waited only for %v of %v for searches without end", span-work, span)
			}
		}
	})
}

// Searches without end keep neither sealing nor merging from coming on, nor the store from closing.
func TestSealingBesideEndlessSearches(t *testing.T) {
	s := open(t, Options{CompactShare: 1})
	s.searches.n.Add(1) // as if one began whenever one ends
	defer s.searches.leave()
	var b event.Batch
	line(&b, "a", "line 0", 1)
	if err := s.Append(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	begun, ended := make(chan struct{}), make(chan error, 1)
	go func() { // and one that is really under way until the store is closed
		_, err := s.Search(context.Background(), query.Request{}, func(query.Row) error {
			close(begun)
			<-s.ctx.Done()
			return nil
		})
		ended <- err
	}()
	<-begun
	patience := time.NewTimer(time.Minute)
	defer patience.Stop()
	for i := 1; s.Stats().Compactions == 0; i++ {
		sealActive(t, s)
		b.Reset()
		line(&b, "a", fmt.Sprint("line ", i), int64(1+i))
		if err := s.Append(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		select {
		case <-patience.C:
			t.Fatalf("%d generations were sealed and nothing was merged", i)
		default:
		}
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil && !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// Sealing waits for searches while there is room for more events, and no longer when there is little.
func TestPressedForMemory(t *testing.T) {
	s := open(t, Options{byHand: true, HeadBytes: 64 << 10})
	var b event.Batch
	for room := true; room; {
		used := s.Stats().HeadBytes
		if room = used < s.o.HeadBytes/4*3; s.pressed() == room {
			t.Fatalf("pressed at %d bytes of %d is %t", used, s.o.HeadBytes, room)
		}
		b.Reset()
		line(&b, "a", strings.Repeat("x", 1000), 1)
		if err := s.Append(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
	}
}
