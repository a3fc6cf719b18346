package app

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/index"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/mask"
)

// reach is what a deletion goes on with beside the store. Jobs go on as soon as the store is open: they wait for the rest.
func (a *App) reach(db *bbolt.DB) []index.Reach {
	return []index.Reach{
		{Name: "alerting", Forget: func(ctx context.Context, scope *query.DeleteScope, _ []byte) error {
			if err := a.awaitWired(ctx); err != nil {
				return err
			}
			if a.engine == nil { // what it left when there were rules
				return alerting.Forget(ctx, db, scope)
			}
			return a.engine.Forget(ctx, scope)
		}},
		{Name: "catalogue", Look: a.lookAtKinds, Forget: a.forgetKinds},
	}
}

// awaitWired waits until New has come to its end.
func (a *App) awaitWired(ctx context.Context) error {
	select {
	case <-a.wired:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// kindName is what the ledger knows a kind of lines by.
type kindName struct {
	Service  string `json:"s"`
	Template string `json:"t"`
}

// lookAtKinds lists the kinds of lines of which some are to be deleted.
func (a *App) lookAtKinds(ctx context.Context, scope *query.DeleteScope) ([]byte, error) {
	if err := a.awaitWired(ctx); err != nil {
		return nil, err
	}
	kinds, err := a.store.Kinds(ctx, query.KindsRequest{Query: scope.Query, Since: scope.Since, Until: scope.Until})
	if err != nil {
		return nil, err
	}
	return noteKinds(kinds, func(left int64) {
		a.log.Warn("a deletion touches too many kinds of lines: of the further ones the ledger keeps its own", "events", left)
	})
}

// noteKinds writes the kinds down, as many as there is room for. beyond is told of how many events the others are.
func noteKinds(kinds *query.Kinds, beyond func(events int64)) ([]byte, error) {
	names, size, left := []kindName{}, 0, kinds.Other
	for _, k := range kinds.List {
		name := kindName{k.Service, k.Template}
		text, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		if size += len(text) + len(","); size+len("[]") > index.MaxLooked {
			left += k.Events
			continue
		}
		names = append(names, name)
	}
	if left > 0 {
		beyond(left)
	}
	return json.Marshal(names)
}

// forgetKinds takes those of the kinds out of the ledger that have no events any more.
func (a *App) forgetKinds(ctx context.Context, _ *query.DeleteScope, looked []byte) error {
	if err := a.awaitWired(ctx); err != nil {
		return err
	}
	var names []kindName
	if err := json.Unmarshal(looked, &names); err != nil {
		return fmt.Errorf("reading which kinds of lines were touched: %w", err)
	}
	gone, hashes := map[kindName]bool{}, map[uint64]bool{}
	var scratch []byte
	for _, n := range names {
		gone[n] = true
		for level := range event.Debug + 1 {
			hashes[mask.Hash(n.Service, level, []byte(n.Template), &scratch)] = true
		}
	}
	if len(gone) == 0 {
		return nil
	}
	left, err := a.store.Kinds(ctx, query.KindsRequest{Only: hashes})
	if err != nil {
		return err
	}
	for _, k := range left.List {
		delete(gone, kindName{k.Service, k.Template})
	}
	n, err := a.catalog.Forget(ctx, func(service, template string) bool { return gone[kindName{service, template}] })
	if err == nil && n > 0 {
		a.log.Info("kinds of lines without any event left were taken out of the ledger", "kinds", n)
	}
	return err
}

// auditDeletion stores an event that says who deletes what.
func (a *App) auditDeletion(ctx context.Context, d query.Deletion) error {
	if err := a.awaitWired(ctx); err != nil {
		return err
	}
	var b event.Batch
	deletionEvent(&b, &d, time.Now())
	return a.sink.Append(ctx, &b)
}

// deletionEvent makes the event. It has the query's text only when the job keeps it: what must go may be in it.
func deletionEvent(b *event.Batch, d *query.Deletion, now time.Time) {
	e := b.Add()
	e.Service, e.Stream, e.Level, e.Time = b.CopyString(alerting.Service), b.CopyString("audit"), event.Warning, now.UnixNano()
	by := d.By
	if by == "" {
		by = "somebody"
	}
	gone := fmt.Sprintf("%d events are gone", d.Deleted)
	if d.Deleted == 1 {
		gone = "1 event is gone"
	}
	text := ""
	switch d.State {
	case query.DeleteRunning:
		text = fmt.Sprintf("deletion %d, asked for by %s, begins", d.ID, by)
	case query.DeleteDone:
		text = fmt.Sprintf("deletion %d, asked for by %s, is done: %s", d.ID, by, gone)
	default:
		text = fmt.Sprintf("deletion %d, asked for by %s, ended %s: %s", d.ID, by, d.State, gone)
	}
	e.Message = b.CopyString(text)
	add := func(name, value string, kind event.Kind) {
		if value != "" {
			b.AddField(e, event.Field{Name: b.CopyString(name), Value: b.CopyString(value), Kind: kind})
		}
	}
	at := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.Format(time.RFC3339Nano)
	}
	add("deletion", strconv.FormatUint(d.ID, 10), event.Number)
	add("state", string(d.State), event.String)
	add("by", d.By, event.String)
	add("query", d.Query, event.String)
	add("query_hash", d.Hash, event.String)
	add("query_fields", strings.Join(d.Fields, ","), event.String)
	add("since", at(d.Since), event.String)
	add("until", at(d.Until), event.String)
	add("max_sequence", strconv.FormatUint(d.MaxSeq, 10), event.Number)
	add("deleted", strconv.FormatInt(d.Deleted, 10), event.Number)
	add("skipped", strings.Join(d.Skipped, "; "), event.String)
	add("error", d.Error, event.String)
	b.Clamp(e)
}
