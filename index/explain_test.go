package index

import (
	"fmt"
	"testing"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

func TestExplain(t *testing.T) {
	s := openByHand(t) // or the end of the day seals as well
	var all []event.Event
	for part := range 3 {
		var b event.Batch
		for i := range 500 {
			line(&b, "pay", fmt.Sprintf("request %d took 5 ms", 70000+500*part+i), int64(1000*part+i))
			line(&b, "web", "all is well", int64(1000*part+i))
		}
		if err := s.Append(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		for i := range b.Events {
			e := b.Events[i].Clone()
			e.Seq = uint64(len(all) + 1)
			all = append(all, e)
		}
		if part < 2 {
			seal(t, s)
		}
	}
	for _, c := range []struct {
		q            string
		since, until int64
		want         query.Reading
	}{
		{"*", 0, 0, query.Reading{Segments: 2, Blocks: 4, Open: 4, Known: 4, Least: 2000, Most: 2000, Memory: 1000}},
		{"*", 0, 1000, query.Reading{Segments: 2, Blocks: 4, Range: 2, Open: 2, Known: 2, Least: 1000, Most: 1000}},
		{"*", 250, 1000, query.Reading{Segments: 2, Blocks: 4, Range: 2, Open: 2, Least: 1000, Most: 1000}},
		{"service:pay", 0, 0, query.Reading{Segments: 2, Blocks: 4, Range: 2, Open: 2, Known: 2, Least: 1000, Most: 1000, Memory: 500}},
		{"well", 0, 0, query.Reading{Segments: 2, Blocks: 4, Forms: 2, Open: 2, Known: 2, Least: 1000, Most: 1000, AlwaysForms: 2, Memory: 1000}},
		// Five digits are a whole value of the hole, so the filter of values tells which block has it; of four it does not.
		{"70123", 0, 0, query.Reading{Segments: 2, Blocks: 4, Forms: 3, Open: 1, Most: 500, MaybeForms: 1, Memory: 1000}},
		{"7012", 0, 0, query.Reading{Segments: 2, Blocks: 4, Forms: 2, Open: 2, Most: 1000, MaybeForms: 2, Memory: 1000}},
		{`~"\b70123\b"`, 0, 0, query.Reading{Segments: 2, Blocks: 4, Filter: 3, Open: 1, Most: 500, MaybeForms: 1, Memory: 1000}},
		{"nosuchword", 0, 0, query.Reading{Segments: 2, Blocks: 4, Forms: 4, Memory: 1000}},
	} {
		got, err := s.Explain(t.Context(), query.Request{Query: parse(t, c.q), Since: c.since, Until: c.until})
		if err != nil {
			t.Fatal(err)
		}
		if c.want.Complete = true; got.Bytes == 0 && got.Open > 0 {
			t.Errorf("%s: no bytes: %+v", c.q, got)
		}
		c.want.Bytes = got.Bytes
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", c.want) {
			t.Errorf("%s from %d to %d:\ngot  %+v\nwant %+v", c.q, c.since, c.until, got, c.want)
		}
	}
}
