package docker

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/moby/moby/api/types/events"
)

func happened(at int64, id string, action events.Action) *events.Message {
	return &events.Message{TimeNano: at, Action: action, Actor: events.Actor{ID: id}}
}

// Events that come out of order are each told once, also when some come again after a break or a restart.
func TestRecent(t *testing.T) {
	second := int64(time.Second)
	now := time.Unix(1_790_000_000, 0)
	start := now.UnixNano()
	var all []*events.Message
	for i := range 5000 {
		all = append(all, happened(start+1+int64(i)*second/1000, fmt.Sprintf("%012x", i/3), events.ActionStart))
	}
	rng := rand.New(rand.NewPCG(1, 2))
	m := &lifecycle{taken: recentAt(now)}
	told := map[*events.Message]int{}
	for i := 0; i < len(all); {
		if rng.IntN(500) == 0 { // what is behind the floor comes again
			decoded, err := decodeLifecycle(m.encode())
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(decoded.taken, m.taken) {
				t.Fatalf("%+v became %+v", m.taken, decoded.taken)
			}
			m = decoded
			for i > 0 && all[i-1].TimeNano > m.taken.floor {
				i--
			}
		}
		// Up to 100 ms early or late: within as many of a hundred events.
		n := min(1+rng.IntN(100), len(all)-i)
		for _, k := range rng.Perm(n) {
			msg := all[i+k]
			if msg.TimeNano > m.taken.floor && !m.taken.has(msg) {
				m.taken.add(msg)
				told[msg]++
			}
		}
		i += n
	}
	for i, msg := range all {
		if told[msg] != 1 {
			t.Fatalf("event %d was taken %d times", i, told[msg])
		}
	}
	if n := len(m.taken.marks); n > maxMarks || m.taken.last != all[len(all)-1].TimeNano {
		t.Errorf("%d marks, last %d", n, m.taken.last)
	}
}

// A cursor stays short however many events come at once.
func TestRecentBound(t *testing.T) {
	r := recentAt(time.Unix(0, 0))
	for i := range 3 * maxMarks {
		r.add(happened(int64(1+i), "a", events.ActionStart))
		if len(r.marks) > maxMarks {
			t.Fatalf("%d marks", len(r.marks))
		}
	}
	if r.floor < maxMarks || r.has(happened(r.floor, "a", events.ActionStart)) || !r.has(happened(r.last, "a", events.ActionStart)) {
		t.Errorf("floor %d, last %d", r.floor, r.last)
	}
}
