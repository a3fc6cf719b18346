package index

import (
	"testing"
	"testing/synctest"
	"time"
)

// As many workers of long searches work as there are cores, one less while events come in, and who comes first goes first.
func TestLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lane{cores: 3}
		another := func() *search { return &search{ctx: t.Context(), over: make(chan struct{})} }
		entered := make(chan int, 10)
		come := func(n int, q *search) {
			go func() {
				if l.enter(q) {
					entered <- n
				} else {
					entered <- -n
				}
			}()
			synctest.Wait()
		}
		want := func(want ...int) {
			t.Helper()
			for _, w := range want {
				select {
				case n := <-entered:
					if n != w {
						t.Errorf("worker %d had its turn, not %d", n, w)
					}
				default:
					t.Errorf("worker %d has no turn", w)
				}
			}
			if len(entered) > 0 {
				t.Errorf("worker %d has a turn", <-entered)
			}
		}
		a, b := another(), another()
		l.appended.Store(time.Now().UnixNano())
		for n := 1; n <= 3; n++ {
			come(n, a)
		}
		come(4, b)
		come(5, a)
		want(1, 2) // a core is left to what comes in
		close(b.over)
		synctest.Wait()
		want(-4)
		l.leave()
		synctest.Wait()
		want(3)
		time.Sleep(laneQuiet)
		come(6, a)
		want(5) // nothing comes in any more
		for range 3 {
			l.leave()
		}
		synctest.Wait()
		want(6)
		l.leave()
		if l.working != 0 || len(l.waiting) != 0 {
			t.Errorf("%d work and %d wait in the end", l.working, len(l.waiting))
		}
	})
}
