package app

import (
	"context"
	"path/filepath"

	"github.com/lookoutlog/lookout/collector/forward"
)

// queueDir is where an agent keeps what is not forwarded yet, in its data folder.
const queueDir = "forward"

// openQueue is what an agent has in place of a store.
func (a *App) openQueue() error {
	c := a.o.Config
	queue, err := forward.Open(forward.Options{
		Dir: filepath.Join(c.Data, queueDir), URL: string(c.Forward.URL), Token: string(c.Forward.Token), Name: c.Forward.Name,
		MaxBytes: int64(c.Forward.MaxBytes), Log: a.log,
	})
	if err != nil {
		return err
	}
	a.queue, a.sink = queue, queue
	a.onStop("queue", func(context.Context) error { return queue.Close() })
	return nil
}
