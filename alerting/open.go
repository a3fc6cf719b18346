package alerting

import (
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/bbolt"
)

// Open returns the messages of the incidents that a channel was told of and that are not resolved, as they stand now, oldest
// first: for services that have to be told again.
func (e *Engine) Open(channel string) ([]Message, error) {
	var messages []Message
	err := e.db.View(func(tx *bbolt.Tx) error {
		for key := range e.book.at(e.clock.Now().UnixNano(), e.resolves) {
			inc := e.incident(tx, []byte(key))
			if inc == nil || inc.State == Resolved {
				continue
			}
			if d := inc.to(channel); d != nil && d.Receipt != (Receipt{}) {
				m := e.messageOf(inc)
				e.dress(&m, inc, channel)
				messages = append(messages, m)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading incidents: %w", err)
	}
	slices.SortFunc(messages, func(a, b Message) int {
		if c := a.Since.Compare(b.Since); c != 0 {
			return c
		}
		return strings.Compare(a.Incident, b.Incident)
	})
	return messages, nil
}
