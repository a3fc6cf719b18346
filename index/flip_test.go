package index

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/vfs"
)

var allFlips = flag.Bool("flips", false, "flip every bit of a segment, not only some")

// Whichever bit of a segment is flipped: an answer is what it was, or has fewer rows and says so. Never is a row wrong, added
// or missing unsaid.
func TestFlippedBits(t *testing.T) {
	disk := vfs.NewCrash(1)
	o := Options{Dir: "/store", FS: disk, byHand: true, Now: new(ticks).now} // the same bits each time
	s := open(t, o)
	c := corpus{rand.New(rand.NewPCG(1, 2))}
	var b event.Batch
	for range 150 {
		c.event(&b)
	}
	for i := range 100 { // forms with holes, and numbers
		e := b.Add()
		e.Service, e.Time, e.Message = []byte("web"), int64(i)*1e9, b.Copy(fmt.Appendf(nil, "GET /items/%d took %d.%d ms id=%08x", i*7, i, i%10, i*77777))
		b.AddField(e, event.Field{Name: []byte("status"), Value: b.Copy(fmt.Append(nil, 200+i%5*100)), Kind: event.Number})
	}
	if err := s.Append(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	sealByHand(s)
	s.Close(t.Context())
	dir := o.Dir + "/segments"
	files, err := disk.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	file, err := disk.OpenFile(dir+"/"+files[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	size, err := file.Size()
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, size)
	if _, err := file.ReadAt(data, 0); err != nil {
		t.Fatal(err)
	}

	asked := []string{"*", "error", "status:500", "status>=400", `"items 7"`, "GET -error", "user:connection", "0000e3d0", "service:web id", "level>=error"}
	type answer struct {
		rows  []string
		count int64
	}
	ask := func(s *Store, text string) (a answer, complete bool) {
		t.Helper()
		r := query.Request{Query: parse(t, text)}
		sum, err := s.Search(t.Context(), r, func(r query.Row) error {
			a.rows = append(a.rows, show(r.Event))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		r.CountOnly = true
		counted, err := s.Search(t.Context(), r, nil)
		if err != nil {
			t.Fatal(err)
		}
		a.count = counted.Matched
		return a, sum.Complete && counted.Complete
	}
	right := map[string]answer{}
	s = open(t, o)
	for _, text := range asked {
		var complete bool
		if right[text], complete = ask(s, text); !complete {
			t.Fatal(text)
		}
	}
	s.Close(t.Context())

	check := func(bit int) {
		t.Helper()
		bad := append([]byte(nil), data...)
		bad[bit/8] ^= 1 << (bit % 8)
		file, err := disk.OpenFile(dir+"/"+files[0], os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Write(bad); err != nil {
			t.Fatal(err)
		}
		file.Close()
		s, err := Open(o)
		if err != nil {
			return // taken for a later version, which is said
		}
		defer s.Close(t.Context())
		for _, text := range asked {
			want := right[text]
			got, complete := ask(s, text)
			if complete && (len(got.rows) != len(want.rows) || got.count != want.count) {
				t.Fatalf("bit %d of byte %d: %s: %d rows and %d counted instead of %d, and nothing is said", bit%8, bit/8, text, len(got.rows), got.count, len(want.rows))
			}
			if got.count > want.count {
				t.Fatalf("bit %d of byte %d: %s: %d counted, %d are right", bit%8, bit/8, text, got.count, want.count)
			}
			next := 0
			for _, row := range got.rows {
				for next < len(want.rows) && want.rows[next] != row {
					next++
				}
				if next == len(want.rows) {
					t.Fatalf("bit %d of byte %d: %s: a wrong row %s", bit%8, bit/8, text, row)
				}
				next++
			}
		}
	}
	bits := 8 * len(data)
	if *allFlips {
		for bit := range bits {
			check(bit)
		}
		return
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 600 {
		check(rng.IntN(bits))
	}
	for at := max(0, len(data)-64); at < len(data); at++ { // the trailer
		check(8*at + rng.IntN(8))
	}
	t.Logf("%d bits of %d", 600+64, bits)
}
