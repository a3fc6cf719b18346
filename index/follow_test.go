package index

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/internal/event"
)

// A follower of segments delivers small pieces and keeps little between them, however many events it has gathered at once,
// and however long they are.
func TestFollowKeepsLittle(t *testing.T) {
	s := open(t, Options{byHand: true, NoSync: true, logSegment: 64 << 10})
	const total = 20_000
	var b event.Batch
	for n := 0; n < total; b.Reset() {
		for range 1000 {
			e := b.Add()
			e.Time, e.Service, e.Message = int64(n), b.CopyString([]string{"web", "pay", "shop"}[n%3]), fmt.Appendf(nil, "event %d %s", n, strings.Repeat("text ", 40))
			if n%1000 == 500 {
				e.Message = []byte(strings.Repeat(fmt.Sprint(n, " "), 200_000/8))
			}
			n++
		}
		if err := s.Append(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
	}
	if err := sealByHand(s); err != nil {
		t.Fatal(err)
	}
	if s.log.Oldest() < total/2 {
		t.Fatalf("the log begins at %d: it has not been trimmed", s.log.Oldest())
	}
	f := s.Follow(0).(*follower)
	defer f.Close()
	next, most := uint64(1), 0
	for next <= total {
		events, err := f.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		size := 0
		for i := range events {
			if events[i].Seq != next {
				t.Fatalf("event %d, want %d", events[i].Seq, next)
			}
			next++
			size += event.EncodedSize(&events[i])
		}
		if f.Position() != next-1 {
			t.Fatalf("position %d behind event %d", f.Position(), next-1)
		}
		if f.window.empty() && f.reader != nil {
			break // the log has the rest
		}
		if size > 4*pieceBytes {
			t.Errorf("%d bytes of events at once", size)
		}
		most = max(most, cap(f.window.packed)+cap(f.buf))
	}
	if next < total/2 || most > 2<<20 {
		t.Errorf("%d events came from segments; %d bytes are kept at most", next-1, most)
	}
}

// Followers that wait for the memory to gather events end with their context.
func TestFollowWaitsForItsTurn(t *testing.T) {
	s := open(t, Options{byHand: true, NoSync: true, logSegment: 1 << 10})
	var b event.Batch
	for range 100 {
		b.Reset()
		b.Add().Message = []byte(strings.Repeat("x", 100))
		if err := s.Append(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
	}
	if err := sealByHand(s); err != nil {
		t.Fatal(err)
	}
	for range gatherings {
		s.gathers <- struct{}{}
	}
	f := s.Follow(0)
	defer f.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if events, err := f.Next(ctx); err != context.Canceled {
		t.Errorf("%d events, %v", len(events), err)
	}
	<-s.gathers
	if events, err := f.Next(t.Context()); err != nil || events[0].Seq != 1 {
		t.Errorf("%d events, %v", len(events), err)
	}
}

// BenchmarkFollowSegments reads a generation of 17 services from its segment.
func BenchmarkFollowSegments(b *testing.B) {
	s := open(b, Options{byHand: true, NoSync: true, logSegment: 64 << 10, HeadBytes: 1 << 30})
	const total = 100_000
	var batch event.Batch
	for n := 0; n < total; batch.Reset() {
		for range 1000 {
			e := batch.Add()
			e.Time, e.Service = int64(n)*1e6, fmt.Appendf(nil, "service-%d", n%17)
			e.Message = fmt.Appendf(nil, "request %d of customer %d took %d ms, upstream /api/orders/%x answered", n, n*7919%100_000, n*31%900, n*2654435761)
			n++
		}
		if err := s.Append(b.Context(), &batch); err != nil {
			b.Fatal(err)
		}
	}
	if err := sealByHand(s); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		f := s.Follow(0)
		for f.Position() < total-1000 {
			if _, err := f.Next(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		f.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/total, "ns/event")
}
