package gelf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// sender is one of several: two ports of two addresses, in both of their forms.
func sender(n int) netip.AddrPort {
	return []netip.AddrPort{
		netip.MustParseAddrPort("127.0.0.1:1000"),
		netip.MustParseAddrPort("127.0.0.1:1001"),
		netip.MustParseAddrPort("10.0.0.2:1000"),
		netip.MustParseAddrPort("[fe80::1%eth0]:1000"),
		netip.MustParseAddrPort("[fe80::1%eth1]:1000"),
	}[n]
}

func chunk(id uint64, index, count int, data string) []byte {
	p := []byte{0x1e, 0x0f}
	p = binary.LittleEndian.AppendUint64(p, id)
	return append(append(p, byte(index), byte(count)), data...)
}

func ms(n int) int64 { return int64(n) * int64(time.Millisecond) }

func TestChunks(t *testing.T) {
	type step struct {
		at   int // ms
		from int
		p    []byte
		want string // a message, or the error's text
		n    int
	}
	const wait = ""
	for _, c := range []struct {
		name                   string
		steps                  []step
		held, expired, evicted int64
	}{
		{"one of one", []step{{0, 0, chunk(1, 0, 1, "a"), "a", 1}}, 0, 0, 0},
		{"one of one, empty", []step{{0, 0, chunk(1, 0, 1, ""), wait, 1}}, 0, 0, 0},
		{"in order", []step{{0, 0, chunk(1, 0, 3, "a"), wait, 0}, {1, 0, chunk(1, 1, 3, "b"), wait, 0}, {2, 0, chunk(1, 2, 3, "c"), "abc", 3}}, 0, 0, 0},
		{"backwards", []step{{0, 0, chunk(1, 2, 3, "c"), wait, 0}, {1, 0, chunk(1, 1, 3, "bb"), wait, 0}, {2, 0, chunk(1, 0, 3, "a"), "abbc", 3}}, 0, 0, 0},
		{"empty last", []step{{0, 0, chunk(1, 0, 2, "a"), wait, 0}, {0, 0, chunk(1, 1, 2, ""), "a", 2}}, 0, 0, 0},
		{"empty last comes first", []step{{0, 0, chunk(1, 2, 3, ""), wait, 0}, {0, 0, chunk(1, 0, 3, "a"), wait, 0}, {0, 0, chunk(1, 1, 3, "b"), "ab", 3}}, 0, 0, 0},
		{"all empty", []step{{0, 0, chunk(1, 0, 2, ""), wait, 0}, {0, 0, chunk(1, 1, 2, ""), wait, 2}}, 0, 0, 0},
		{"duplicate", []step{{0, 0, chunk(1, 0, 2, "a"), wait, 0}, {0, 0, chunk(1, 0, 2, "X"), "a chunk that came before", 1}, {0, 0, chunk(1, 1, 2, "b"), "ab", 2}}, 0, 0, 0},
		{"duplicate of an empty one", []step{{0, 0, chunk(1, 1, 2, ""), wait, 0}, {0, 0, chunk(1, 1, 2, "X"), "a chunk that came before", 1}, {0, 0, chunk(1, 0, 2, "b"), "b", 2}}, 0, 0, 0},
		{"the same id again", []step{{0, 0, chunk(1, 0, 2, "a"), wait, 0}, {0, 0, chunk(1, 1, 2, "b"), "ab", 2}, {0, 0, chunk(1, 0, 2, "c"), wait, 0}, {0, 0, chunk(1, 1, 2, "d"), "cd", 2}}, 0, 0, 0},
		{"two ids", []step{{0, 0, chunk(1, 0, 2, "a"), wait, 0}, {0, 0, chunk(2, 0, 2, "x"), wait, 0}, {0, 0, chunk(1, 1, 2, "b"), "ab", 2}, {0, 0, chunk(2, 1, 2, "y"), "xy", 2}}, 0, 0, 0},
		{"two ports", []step{{0, 0, chunk(1, 0, 2, "a"), wait, 0}, {0, 1, chunk(1, 1, 2, "y"), wait, 0}, {0, 0, chunk(1, 1, 2, "b"), "ab", 2}, {0, 1, chunk(1, 0, 2, "x"), "xy", 2}}, 0, 0, 0},
		{"two addresses", []step{{0, 0, chunk(1, 0, 2, "a"), wait, 0}, {0, 2, chunk(1, 1, 2, "y"), wait, 0}}, 2, 0, 0},
		{"two zones", []step{{0, 3, chunk(1, 0, 2, "a"), wait, 0}, {0, 4, chunk(1, 1, 2, "y"), wait, 0}}, 2, 0, 0},
		{"the memory of sets is used again", []step{
			{0, 0, chunk(1, 0, 2, "a"), wait, 0}, {0, 0, chunk(2, 0, 2, "x"), wait, 0}, {0, 0, chunk(1, 1, 2, "b"), "ab", 2},
			{0, 0, chunk(3, 0, 2, "c"), wait, 0}, {0, 0, chunk(3, 1, 2, "d"), "cd", 2},
			{0, 0, chunk(4, 0, 2, "y"), wait, 0}, {5001, 0, chunk(5, 0, 2, "z"), wait, 0}}, 1, 2, 0},
		{"no header", []step{{0, 0, chunk(1, 0, 1, "")[:11], "impossible chunk: 11 bytes, shorter than its header", 1}, {0, 0, []byte{0x1e, 0x0f}, "impossible chunk: 2 bytes, shorter than its header", 1}}, 0, 0, 0},
		{"count 0", []step{{0, 0, chunk(1, 0, 0, "a"), "impossible chunk: number 0 of 0", 1}}, 0, 0, 0},
		{"count 128", []step{{0, 0, chunk(1, 127, 128, "a"), wait, 0}}, 1, 0, 0},
		{"count 129", []step{{0, 0, chunk(1, 0, 129, "a"), "impossible chunk: number 0 of 129", 1}}, 0, 0, 0},
		{"count 255", []step{{0, 0, chunk(1, 200, 255, "a"), "impossible chunk: number 200 of 255", 1}}, 0, 0, 0},
		{"number = count", []step{{0, 0, chunk(1, 2, 2, "a"), "impossible chunk: number 2 of 2", 1}, {0, 0, chunk(1, 1, 1, "a"), "impossible chunk: number 1 of 1", 1}}, 0, 0, 0},
		{"another count", []step{{0, 0, chunk(1, 0, 2, "a"), wait, 0}, {0, 0, chunk(1, 1, 3, "x"), "impossible chunk: number 1 of 3 in a set of 2", 1}, {0, 0, chunk(1, 1, 2, "b"), "ab", 2}}, 0, 0, 0},
		{"at 5 s", []step{{0, 0, chunk(1, 0, 2, "a"), wait, 0}, {5000, 0, chunk(1, 1, 2, "b"), "ab", 2}}, 0, 0, 0},
		{"1 ms past 5 s", []step{{0, 0, chunk(1, 0, 2, "a"), wait, 0}, {5001, 0, chunk(1, 1, 2, "b"), wait, 0}}, 1, 1, 0},
		{"5 s of the first", []step{{0, 0, chunk(1, 0, 3, "a"), wait, 0}, {4000, 0, chunk(1, 1, 3, "b"), wait, 0}, {6000, 0, chunk(2, 0, 2, "x"), wait, 0}}, 1, 2, 0},
		{"the clock set back", []step{{3_600_000, 0, chunk(1, 0, 2, "a"), wait, 0}, {0, 0, chunk(2, 0, 2, "x"), wait, 0}, {5001, 0, chunk(3, 0, 2, "x"), wait, 0}}, 1, 2, 0},
		{"the clock set back a little", []step{{1000, 0, chunk(1, 0, 2, "a"), wait, 0}, {0, 0, chunk(1, 1, 2, "b"), "ab", 2}}, 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var a chunks
			for i, s := range c.steps {
				message, n, err := a.add(s.p, sender(s.from), ms(s.at))
				got := string(message)
				if err != nil {
					got = err.Error()
				}
				if got != s.want || n != s.n {
					t.Errorf("step %d: %q, %d; want %q, %d", i, got, n, s.want, s.n)
				}
			}
			if int64(a.held) != c.held || a.expired != c.expired || a.evicted != c.evicted {
				t.Errorf("held %d, expired %d, evicted %d; want %d, %d, %d", a.held, a.expired, a.evicted, c.held, c.expired, c.evicted)
			}
			a.end()
			if a.held != 0 || a.bytes != 0 || len(a.sets) != 0 || a.oldest != nil || a.newest != nil || a.expired != c.expired+c.held {
				t.Errorf("after the end: %d held, %d bytes, %d sets, %d expired", a.held, a.bytes, len(a.sets), a.expired)
			}
		})
	}
}

// A million first chunks with an id each.
func TestChunksManySets(t *testing.T) {
	var a chunks
	const n = 1_000_000
	p := chunk(0, 0, 2, "some of a message")
	for i := range uint64(n) {
		binary.LittleEndian.PutUint64(p[2:], i)
		if _, _, err := a.add(p, sender(0), 0); err != nil {
			t.Fatal(err)
		}
		if len(a.sets) > maxSets || a.bytes > maxPending {
			t.Fatalf("%d sets, %d bytes", len(a.sets), a.bytes)
		}
	}
	if len(a.sets) != maxSets || a.evicted != n-maxSets || a.held != maxSets {
		t.Errorf("%d sets, %d evicted, %d held", len(a.sets), a.evicted, a.held)
	}
	// The youngest ones are there still.
	for i := uint64(n - maxSets); i < n; i++ {
		if message, _, err := a.add(chunk(i, 1, 2, "!"), sender(0), 0); string(message) != "some of a message!" {
			t.Fatalf("%d: %q, %v", i, message, err)
		}
	}
	if a.bytes != 0 {
		t.Errorf("%d bytes are left", a.bytes)
	}
}

func TestChunksMemory(t *testing.T) {
	var a chunks
	data := string(make([]byte, 60_000))
	sent := 0
	for i := range 20 { // 20 times 3.6 MB
		for k := range 60 {
			if _, _, err := a.add(chunk(uint64(i), k, 128, data), sender(0), 0); err != nil {
				t.Fatal(err)
			}
			sent++
			total := 0
			for s := a.oldest; s != nil; s = s.next {
				total += cap(s.data) + setOverhead
			}
			if total > maxPending || total != a.bytes {
				t.Fatalf("%d bytes, %d counted", total, a.bytes)
			}
		}
	}
	if a.evicted == 0 || int(a.evicted)+a.held != sent {
		t.Errorf("%d evicted, %d held of %d", a.evicted, a.held, sent)
	}

	// A set that grows too large is given up alone.
	a = chunks{}
	a.add(chunk(7, 0, 2, "x"), sender(0), 0)
	for k := range 128 {
		_, n, err := a.add(chunk(1, k, 128, data), sender(0), 0)
		if err != nil {
			if want := MaxSize/len(data) + 1; !errors.Is(err, ErrTooLarge) || n != want {
				t.Errorf("%d chunks, %v; want %d", n, err, want)
			}
			break
		}
		if k == 127 {
			t.Error("no end to the set")
		}
	}
	if message, _, _ := a.add(chunk(7, 1, 2, "y"), sender(0), 0); string(message) != "xy" || a.bytes != 0 {
		t.Errorf("%q, %d bytes", message, a.bytes)
	}
}

// Any order of arrival gives the message, whatever sets were there before.
func TestChunksAnyOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var a chunks
	for i := range 2000 {
		count := 2 + r.IntN(127)
		var want []byte
		var parts [][]byte
		for k := range count {
			data := bytes.Repeat([]byte{byte(k)}, r.IntN(30))
			want = append(want, data...)
			parts = append(parts, chunk(uint64(i), k, count, string(data)))
		}
		if i%3 > 0 {
			r.Shuffle(count, func(x, y int) { parts[x], parts[y] = parts[y], parts[x] })
		}
		for k, p := range parts {
			message, n, err := a.add(p, sender(0), 0)
			if err != nil || (n != 0) != (k == count-1) || n != 0 && !bytes.Equal(message, want) {
				t.Fatalf("message %d, chunk %d: %d, %v", i, k, n, err)
			}
		}
	}
}

// FuzzChunks plays a script against a naive model: the sets as maps of maps, nothing reused.
func FuzzChunks(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x02a\x00\x00\x01\x02b"))
	f.Add([]byte("\x00\x00\x01\x02a\x11\x00\x00\x02b\x21\x00\x01\x03b\xf0\x00\x00\x02c"))
	f.Add([]byte("\x00\x01\x00\x81a\x00\x01\x02\x02b\x00\x01\x00\x00b\x00\x01\x00\x01b"))
	f.Fuzz(func(t *testing.T, script []byte) {
		type modelKey struct{ from, id int }
		type modelSet struct {
			first int64
			count int
			parts map[int]string
		}
		var a chunks
		model := map[modelKey]*modelSet{}
		now := int64(0)
		var added, done, failed, expired int
		for len(script) >= 5 {
			op := script[:5]
			script = script[5:]
			from, id, index, count := int(op[0]&3), int(op[1]&3), int(op[2]), int(op[3])
			now += ms(int(op[0]>>2) * 50)
			data := string(bytes.Repeat(op[4:5], int(op[4]%8)))
			message, n, err := a.add(chunk(uint64(id), index, count, data), sender(from), now)
			message = slices.Clone(message)
			added++

			for k, s := range model {
				if now-s.first > int64(5*time.Second) {
					expired += len(s.parts)
					delete(model, k)
				}
			}
			want, wantErr := "", error(nil)
			k := modelKey{from, id}
			s := model[k]
			wantN := 1
			switch {
			case count == 0 || count > 128 || index >= count:
				wantErr = errBadChunk
			case count == 1:
				want = data
			case s != nil && s.count != count:
				wantErr = errBadChunk
			default:
				if s == nil {
					s = &modelSet{now, count, map[int]string{}}
					model[k] = s
				}
				if _, ok := s.parts[index]; ok {
					wantErr = errDuplicate
					break
				}
				s.parts[index] = data
				wantN = 0
				if len(s.parts) == count {
					for i := range count {
						want += s.parts[i]
					}
					wantN = count
					delete(model, k)
				}
			}
			if string(message) != want || n != wantN || !errors.Is(err, wantErr) {
				t.Fatalf("%q, %d, %v; want %q, %d, %v", message, n, err, want, wantN, wantErr)
			}
			if err != nil {
				failed += n
			} else {
				done += n
			}
			held := 0
			for _, s := range model {
				held += len(s.parts)
			}
			if a.held != held || a.expired != int64(expired) || added != done+failed+expired+held {
				t.Fatalf("held %d, expired %d; want %d, %d (added %d, done %d, failed %d)", a.held, a.expired, held, expired, added, done, failed)
			}
		}
	})
}

func BenchmarkChunks(b *testing.B) {
	for _, count := range []int{2, 7} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			var a chunks
			data := string(make([]byte, 1408))
			var parts [][]byte
			for k := range count {
				parts = append(parts, chunk(0, k, count, data))
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				for _, p := range parts {
					binary.LittleEndian.PutUint64(p[2:], uint64(i))
					a.add(p, sender(0), 0)
				}
			}
		})
	}
}
