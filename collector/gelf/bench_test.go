package gelf

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/internal/event"
)

// nothing is the sink that is never slow.
type nothing struct{}

func (nothing) Append(context.Context, *event.Batch) error { return nil }

// docker returns a message as Docker's driver sends it, about 450 bytes.
func docker(i int) []byte {
	return fmt.Appendf(nil, `{"version":"1.1","host":"vm","short_message":"GET /api/v1/orders/%d 200 in %d ms \"curl\"","timestamp":1795235795.055,"level":6,"_command":"/bin/emit","_container_id":"00ff9c79ea8d55069ca3ea3001f37c5073631049622cf6d26e44ac48a1cbed8d","_container_name":"shop-orders-1","_created":"2026-11-21T04:36:34.556262726Z","_image_id":"sha256:d44d45ae656cc01a602ef90034a17d2dfa7ec46b2d3835ec2e322725bb3a4f32","_image_name":"shop:1","_tag":"00ff9c79ea8d"}`, i, i%97)
}

func BenchmarkDecode(b *testing.B) {
	for _, kind := range []string{"plain", "gzip", "zlib", "zstd"} {
		b.Run(kind, func(b *testing.B) {
			message := docker(4711)
			if kind != "plain" {
				message = compress(b, kind, message)
			}
			var d Decoder
			var batch event.Batch
			b.ReportAllocs()
			for b.Loop() {
				if len(batch.Events) == 10_000 {
					batch.Reset()
				}
				if _, _, err := d.Decode(&batch, 0, message); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkHandle is everything behind the socket with a sink that takes no time.
func BenchmarkHandle(b *testing.B) {
	in := New(Options{Sink: nothing{}})
	go in.batcher.Run(b.Context())
	p := docker(4711)
	from := netip.MustParseAddrPort("127.0.0.1:4711")
	b.ReportAllocs()
	for b.Loop() {
		in.handle(p, from)
	}
	in.batcher.Close()
}

// BenchmarkUDP sends as fast as one plain sender can on the same machine and reports what arrived: events/s is what the
// input took in, lost is the part that was dropped, all of it counted.
func BenchmarkUDP(b *testing.B) {
	for _, rate := range []int{50_000, 100_000, 150_000, 200_000, 0} {
		name := fmt.Sprintf("%dk", rate/1000)
		if rate == 0 {
			name = "max"
		}
		b.Run(name, func(b *testing.B) {
			in := New(Options{Addr: "127.0.0.1:0", Sink: nothing{}})
			if err := in.Listen(); err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error)
			go func() { done <- in.Run(ctx) }()
			conn, err := net.Dial("udp", in.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			p := docker(4711)
			start := time.Now()
			sent := 0
			for b.Loop() {
				conn.Write(p)
				if sent++; rate > 0 && sent%64 == 0 {
					due := start.Add(time.Duration(sent) * time.Second / time.Duration(rate))
					for time.Now().Before(due) {
					}
				}
			}
			took := time.Since(start)
			cancel()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
			s := in.Stats()
			if s.Received+s.Kernel != int64(sent) {
				b.Errorf("sent %d, %+v", sent, s)
			}
			b.ReportMetric(float64(s.Events)/took.Seconds(), "events/s")
			b.ReportMetric(float64(s.Kernel)/float64(sent)*100, "%kernel")
			b.ReportMetric(float64(s.Overflow)/float64(sent)*100, "%overflow")
		})
	}
}
