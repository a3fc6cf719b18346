package alerting

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
)

// ErrNotFound says that there is nothing of the id that was given, or not any more.
var ErrNotFound = errors.New("there is no such thing")

// Acknowledge notes that somebody sees to an incident; it is durable when it returns. Its messages are edited and none of
// them rings any more. by is shown to people; it may be empty. What is acknowledged or resolved already stays as it is.
// The error wraps [ErrNotFound] when no incident has the id, or it was resolved more than a day ago.
func (e *Engine) Acknowledge(ctx context.Context, id uint64, by string) error {
	return e.byHand(ctx, "noting an acknowledgement", id, func(a *application, inc *incident) error {
		if inc.State != Firing {
			return nil
		}
		inc.acknowledge(a.now, short([]byte(by)), "")
		a.acknowledged++
		return a.queue(inc)
	})
}

// Resolve ends an incident by hand; it is durable when it returns. Its messages are edited and none of them rings any more.
// It fires again by the next event that matches. by and the error are as [Engine.Acknowledge]'s; what is resolved already
// stays as it is.
func (e *Engine) Resolve(ctx context.Context, id uint64, by string) error {
	return e.byHand(ctx, "resolving an incident", id, func(a *application, inc *incident) error {
		if inc.State == Resolved {
			return nil
		}
		inc.resolve(a.now, "", short([]byte(by)))
		return a.queue(inc)
	})
}

// byHand changes the incident of an id in one transaction.
func (e *Engine) byHand(ctx context.Context, what string, id uint64, change func(*application, *incident) error) error {
	key, ok := e.book.find(id)
	if !ok {
		return fmt.Errorf("incident %d: %w", id, ErrNotFound)
	}
	return e.change(ctx, what, func(a *application) error {
		inc := a.incident([]byte(key))
		if inc == nil || inc.ID != id { // it has opened anew meanwhile
			return fmt.Errorf("incident %d: %w", id, ErrNotFound)
		}
		return change(a, inc)
	})
}

// Incident returns an incident that is open, or was resolved within a day. The error wraps [ErrNotFound] when there is none
// of the id.
func (e *Engine) Incident(id uint64) (IncidentInfo, error) {
	inc, err := e.numbered(id)
	if err != nil {
		return IncidentInfo{}, err
	}
	return e.info(inc), nil
}

// numbered returns the record of an incident that is listed.
func (e *Engine) numbered(id uint64) (inc *incident, err error) {
	if key, ok := e.book.find(id); ok {
		err = e.db.View(func(tx *bbolt.Tx) error {
			inc = e.incident(tx, []byte(key))
			return nil
		})
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading incident %d: %w", id, err)
	case inc == nil || inc.ID != id:
		return nil, fmt.Errorf("incident %d: %w", id, ErrNotFound)
	}
	return inc, nil
}
