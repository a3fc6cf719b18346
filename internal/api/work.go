package api

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// progressEvery is how often an answer says how far the work has come, at most.
const progressEvery = 200 * time.Millisecond

// workFunc does what takes long. It calls progress with what is done of a total, which is 0 when it is not known, in a unit: "bytes", or a
// word such as "events"; from any goroutine. The summary is a JSON value.
type workFunc func(ctx context.Context, progress func(done, total int64, unit string)) (summary any, err error)

// work answers with the progress of something long, a line {"progress":{"done":…,"total":…,"unit":…}} from time to time, and then
// with {"summary":…} or {"error":…}. The work ends with its client, and with the server.
func (a *API) work(w http.ResponseWriter, r *http.Request, do workFunc) {
	a.workLines(w, r, func(ctx context.Context, progress func(done, total int64, unit string), _ func(any) error) (any, error) {
		return do(ctx, progress)
	})
}

// workLines is work for what has lines of its own before the summary: line writes one, a JSON value; its error is the connection's.
func (a *API) workLines(w http.ResponseWriter, r *http.Request, do func(ctx context.Context, progress func(done, total int64, unit string), line func(any) error) (summary any, err error)) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(a.closing, cancel)()
	out := newStream(w)
	defer out.end()
	var mu sync.Mutex
	var said time.Time
	summary, err := do(ctx, func(done, total int64, unit string) {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.Sub(said) >= progressEvery {
			said = now
			_ = out.line(marshal(map[string]any{"progress": map[string]any{"done": done, "total": total, "unit": unit}})) // the context ends as well
		}
	}, func(v any) error { return out.line(marshal(v)) })
	switch {
	case err != nil && a.closing.Err() != nil:
		out.fail(errStopping)
	case err != nil:
		out.fail(err)
	default:
		_ = out.line(marshal(map[string]any{"summary": summary})) // what can fail is the connection
	}
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // values of our own types
	}
	return b
}
