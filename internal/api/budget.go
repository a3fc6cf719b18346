package api

import (
	"context"

	"github.com/lookoutlog/lookout/index/query"
)

// budgeted is a store whose searches keep to the limits of bytes and memory, and that counts those that reach them.
type budgeted struct {
	Store
	scan, memory int64 // in bytes; scan 0 is no limit
	reached      func(cause string)
}

func (b *budgeted) limit(maxBytes, maxMemory *int64) {
	if *maxBytes == 0 || b.scan > 0 && b.scan < *maxBytes {
		*maxBytes = b.scan
	}
	if *maxMemory == 0 || b.memory < *maxMemory {
		*maxMemory = b.memory
	}
}

func (b *budgeted) tell(s *query.Summary) {
	if s.Budget != "" {
		b.reached(s.Budget)
	}
}

func (b *budgeted) Search(ctx context.Context, r query.Request, fn func(query.Row) error) (query.Summary, error) {
	b.limit(&r.MaxBytes, &r.MaxMemory)
	s, err := b.Store.Search(ctx, r, fn)
	b.tell(&s)
	return s, err
}

func (b *budgeted) Aggregate(ctx context.Context, r query.StatsRequest) (*query.Stats, error) {
	b.limit(&r.MaxBytes, &r.MaxMemory)
	s, err := b.Store.Aggregate(ctx, r)
	if s != nil {
		b.tell(&s.Summary)
	}
	return s, err
}

func (b *budgeted) Kinds(ctx context.Context, r query.KindsRequest) (*query.Kinds, error) {
	b.limit(&r.MaxBytes, &r.MaxMemory)
	k, err := b.Store.Kinds(ctx, r)
	if k != nil {
		b.tell(&k.Summary)
	}
	return k, err
}

func (b *budgeted) Fields(ctx context.Context, r query.FieldsRequest) (*query.Fields, error) {
	b.limit(&r.MaxBytes, &r.MaxMemory)
	f, err := b.Store.Fields(ctx, r)
	if f != nil {
		b.tell(&f.Summary)
	}
	return f, err
}
