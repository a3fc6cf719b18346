package wal

import (
	"context"
	"fmt"
	"testing"

	"github.com/lookoutlog/lookout/internal/event"
)

func TestSmoke(t *testing.T) {
	dir := t.TempDir()
	for round := range 3 {
		l, err := Open(Options{Dir: dir + "/wal", SegmentBytes: 4096})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			e := &Entry{Count: 1, Producer: "p", ProducerSeq: uint64(i), Data: event.AppendEvent(nil, &event.Event{Message: []byte(fmt.Sprint("hello ", i))})}
			first, kept, err := l.Append(context.Background(), e)
			if err != nil || (round == 0) != (kept == 1) {
				t.Fatal(first, kept, err)
			}
		}
		r := l.Reader(0)
		n := 0
		for {
			e, ok, err := r.TryNext()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			n += e.Count
		}
		r.Close()
		if n != 50 {
			t.Fatal(n)
		}
		t.Log(l.Stats())
		l.Close()
	}
}
