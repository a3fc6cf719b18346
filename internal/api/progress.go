package api

import "time"

// leastProgress is the shortest time that progress may be asked for with.
const leastProgress = 100 * time.Millisecond

// progress is how long an answer of lines may say nothing before it says how far its search has come; 0 for ever.
func (p params) progress() (time.Duration, error) {
	text := p["progress"]
	if text == "" {
		return 0, nil
	}
	d, ok := parseBack(text)
	if !ok || d < leastProgress {
		return 0, badParameter("progress", "is not a time of 100ms or more", "write it as 500ms, 1s or 5s")
	}
	return d, nil
}

// teller says in an answer of lines how far its search has come, a line {"progress":…} each time that there was no line for so long.
// It belongs to the goroutine that the rows are delivered on; a nil one says nothing.
type teller struct {
	out   *stream
	every time.Duration
	rows  int64     // delivered
	seen  int64     // of them, when it was looked last
	quiet time.Time // since when there was no line, as far as it is known
}

// newTeller returns a teller for an answer that begins now, nil when every is 0.
func newTeller(out *stream, every time.Duration) *teller {
	if every == 0 {
		return nil
	}
	return &teller{out: out, every: every, quiet: time.Now()}
}

// row notes that a row was delivered. It is called for each: the time is left to tell.
func (t *teller) row() {
	if t != nil {
		t.rows++
	}
}

// tells returns what a request has as Progress.
func (t *teller) tells() func(done, total int64) {
	if t == nil {
		return nil
	}
	return t.tell
}

func (t *teller) tell(done, total int64) {
	now := time.Now()
	if t.rows != t.seen {
		t.seen, t.quiet = t.rows, now
	}
	if now.Sub(t.quiet) < t.every {
		return
	}
	t.quiet = now
	_ = t.out.line(progressLine(done, total, "events")) // the next row meets the connection's error, or the context ends
	_ = t.out.flushNow()
}

// progressLine is a line about how far something has come.
func progressLine(done, total int64, unit string) []byte {
	return marshal(map[string]any{"progress": map[string]any{"done": done, "total": total, "unit": unit}})
}
