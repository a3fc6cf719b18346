package index

import (
	"context"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/bitset"
	"github.com/lookoutlog/lookout/internal/event"
)

// visitor takes what a scan finds. Its methods are called by several goroutines at once; w, below scanWorkers(), is the
// same for no two of them, so that a visitor keeps one state for each and adds them up at the end.
type visitor interface {
	// segment is asked before anything else about a segment that may have rows in range: true when the visitor has taken what it
	// wants of it from the footer.
	segment(w int, p *plan, seg *segment.Segment) (done bool, err error)
	// piece is asked before a block is opened: true when what is known of it is enough.
	piece(w int, p *piece) (done bool)
	// head is asked about rows in memory that all are asked for: true when their number is enough.
	head(w int, service string, rows int) (done bool)
	// rows gets the matches in a pattern block, at least one. Table and rows are valid during the call. An error is the block's.
	rows(w int, p *piece, t *block.Table, rows bitset.Set) error
	// event gets a match in a block of plain rows, or in memory. It is valid during the call.
	event(w int, e *event.Event)
}

// scanWorkers returns the number of goroutines that call a visitor at once, at most.
func scanWorkers() int { return cores }

// scan lets v see all that may hold matches of a request, in no order. The summary's Matched and Services are the visitor's
// matter, and it has nothing to do with the request's limit and context; the order says only which side of [query.Request.Behind] is asked for.
func (s *Store) scan(ctx context.Context, r query.Request, v visitor) (query.Summary, error) {
	r.Limit, r.Before, r.After = 0, 0, 0
	return s.search(ctx, r, v, func(q *search) error {
		for q.ctx.Err() == nil {
			if q.dispatch(); len(q.running) == 0 {
				return q.ended()
			}
			q.await()
		}
		return nil
	})
}

// counter counts matches by service.
type counter []tallyByService

// tallyByService is one worker's counts. What comes in a row is nearly always of one service.
type tallyByService struct {
	services map[string]int64
	last     string
	n        int64
	_        [64]byte // workers write to neighbours
}

func (t *tallyByService) add(service string, n int) {
	if service != t.last {
		t.flush()
		t.last = service
	}
	t.n += int64(n)
}

func (t *tallyByService) flush() {
	if t.n == 0 {
		return
	}
	if t.services == nil {
		t.services = map[string]int64{}
	}
	t.services[t.last] += t.n
	t.n = 0
}

func (c counter) segment(int, *plan, *segment.Segment) (bool, error) { return false, nil }

func (c counter) piece(w int, p *piece) bool {
	if p.counted() {
		c[w].add(p.entry.Service, p.least)
	}
	return p.counted()
}

func (c counter) head(w int, service string, rows int) bool {
	c[w].add(service, rows)
	return true
}

func (c counter) rows(w int, p *piece, _ *block.Table, rows bitset.Set) error {
	c[w].add(p.entry.Service, rows.Count())
	return nil
}

func (c counter) event(w int, e *event.Event) {
	if t := &c[w]; string(e.Service) == t.last {
		t.n++
	} else {
		t.add(string(e.Service), 1)
	}
}
