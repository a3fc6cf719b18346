package index

import (
	"context"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/bitset"
	"github.com/lookoutlog/lookout/internal/event"
)

// Explain says what a search of the request's query and range would read. It reads footers, and looks at what is in memory.
func (s *Store) Explain(ctx context.Context, r query.Request) (query.Reading, error) {
	x := make(explanation, scanWorkers())
	sum, err := s.scan(ctx, query.Request{Query: r.Query, Since: r.Since, Until: r.Until, MinSeq: r.MinSeq, MaxSeq: r.MaxSeq}, x)
	if err != nil {
		return query.Reading{}, err
	}
	total := query.Reading{
		Segments: sum.Scan.Segments, Blocks: sum.Scan.Blocks, Range: sum.Scan.Range, Filter: sum.Scan.Filter, Forms: sum.Scan.Forms,
		Memory: sum.Events, Complete: sum.Complete, Reasons: sum.Reasons, UnknownFields: sum.UnknownFields,
	}
	for i := range x {
		p := &x[i].Reading
		total.Open += p.Open
		total.Known += p.Known
		total.Plain += p.Plain
		total.Bytes += p.Bytes
		total.Least += p.Least
		total.Most += p.Most
		total.MaybeForms += p.MaybeForms
		total.AlwaysForms += p.AlwaysForms
		total.Memory += p.Memory
	}
	return total, nil
}

// explanation is the visitor of a scan that opens no block.
type explanation []struct {
	query.Reading
	_ [64]byte // workers write to neighbours
}

func (x explanation) segment(int, *plan, *segment.Segment) (bool, error) { return false, nil }

func (x explanation) piece(w int, p *piece) bool {
	r := &x[w]
	r.Open++
	r.Bytes += p.entry.Bytes
	r.Least += int64(p.least)
	r.Most += int64(p.most)
	if p.counted() {
		r.Known++
	}
	if !p.entry.Columnar() {
		r.Plain++
	}
	type form struct{ column, local int }
	seen := map[form]query.Verdict{}
	for _, forms := range p.forms {
		for _, f := range forms {
			at := form{f.Column, f.Local}
			seen[at] = max(seen[at], f.Verdict)
		}
	}
	for _, v := range seen {
		if v == query.Always {
			r.AlwaysForms++
		} else {
			r.MaybeForms++
		}
	}
	return true
}

func (x explanation) head(w int, _ string, rows int) bool {
	x[w].Memory += int64(rows)
	return true
}

func (x explanation) rows(int, *piece, *block.Table, bitset.Set) error { return nil }

func (x explanation) event(int, *event.Event) {}
