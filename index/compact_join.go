package index

import (
	"cmp"
	"errors"
	"slices"

	"github.com/lookoutlog/lookout/index/block"
)

// join puts the waiting blocks together column by column, without taking rows apart again; false when that cannot be done, and
// must be tried row by row: that also finds out which block is damaged.
func (m *merging) join(blocks []mergeBlock) (joined bool, err error) {
	tables, opened := make([]*block.Table, len(blocks)), make([]*block.Block, len(blocks))
	for i, e := range blocks {
		if !e.Columnar() {
			return false, nil
		}
		b, err := e.Open()
		if err == nil {
			tables[i], err = b.Table()
		}
		if errors.Is(err, block.ErrCorrupt) {
			return false, nil
		} else if err != nil {
			return false, err
		}
		opened[i] = b
	}
	received, err := joinedRuns(opened, tables)
	if err != nil {
		return false, nil
	}
	b := m.c.builder
	data, info, ok, err := b.Join(b.buf[:0], tables, received, uint64(strayGap))
	switch {
	case errors.Is(err, block.ErrCorrupt), err == nil && !ok:
		return false, nil
	case err != nil:
		return false, err
	}
	b.buf = data
	m.built += int64(info.Rows)
	return true, m.w.Add(data, info)
}

// joinedRuns returns when the rows of some blocks were received.
func joinedRuns(blocks []*block.Block, tables []*block.Table) ([]block.ReceivedRun, error) {
	order := slices.Clone(blocks)
	slices.SortFunc(order, func(a, b *block.Block) int { return cmp.Compare(a.MinSeq, b.MinSeq) })
	for i := 1; i < len(order); i++ {
		if order[i].MinSeq <= order[i-1].MaxSeq {
			// What stands between two runs of one may be another's: each row's own time is looked up.
			var l loaded
			for i, b := range blocks {
				seqs, err := tables[i].Seqs()
				if err != nil {
					return nil, err
				}
				l.receive(b, seqs)
			}
			return l.received(), nil
		}
	}
	var runs []block.ReceivedRun
	for _, b := range order {
		runs = b.AppendReceived(runs)
	}
	return runs, nil
}
