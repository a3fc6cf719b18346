package segment

import (
	"errors"
	"fmt"
	"slices"

	"github.com/lookoutlog/lookout/index/block"
)

// source is what a writer has read of a segment from which it copies blocks. Of the forms, which are most of a footer, it holds
// those of one service: a merge goes from service to service, over many segments at once.
type source struct {
	filters [][]byte // of each block, nil until its class has been read
	classOf []int
	counts  [][]block.Count

	service int                   // whose forms these are, -1 for none yet
	places  map[int][]sourcePlace // by block
}

// sourcePlace is a place of a form of one of the parts.
type sourcePlace struct {
	part  *forms
	group *group
	form  int
	place
}

func openSource(s *Segment) (*source, error) {
	src := &source{filters: make([][]byte, len(s.Blocks)), classOf: make([]int, len(s.Blocks)), service: -1}
	for i := range s.classes {
		for _, b := range s.classes[i].blocks {
			src.classOf[b] = i
		}
	}
	var err error
	src.counts, err = s.blockCounts()
	return src, err
}

// load reads the forms of a service.
func (src *source) load(s *Segment, service int) error {
	if src.service == service {
		return nil
	}
	src.service, src.places = -1, map[int][]sourcePlace{}
	var f Form
	for i := range s.formParts {
		p := &s.formParts[i]
		if p.first > service || p.last < service {
			continue
		}
		part, err := s.readForms(i) // not through the cache, which is the searches'
		if err != nil {
			return err
		}
		for g := range part.groups {
			g := &part.groups[g]
			if g.service != service {
				continue
			}
			for k := g.lo; k < g.hi; k++ {
				part.fill(&f, &s.directory, g, k)
				it := f.iterate()
				for p := it.next(); p != nil; p = it.next() {
					src.places[p.Block] = append(src.places[p.Block], sourcePlace{part, g, k, *p})
				}
			}
		}
	}
	src.service = service
	return nil
}

func (src *source) filter(s *Segment, i int) ([]byte, error) {
	c := &s.classes[src.classOf[i]]
	if c.size > 0 && src.filters[i] == nil {
		filters, err := c.read(s.pages())
		if err != nil {
			return nil, s.damaged(err, "filters")
		}
		for k, b := range c.blocks {
			src.filters[b] = filters[k]
		}
	}
	return src.filters[i], nil
}

// Copy appends another segment's block as it is, with what that segment's footer knows of it. The error wraps [ErrNoFooter]
// when there is no such footer, and a *[CorruptError] when the block or the footer cannot be read; the writer can go on
// after these. The segment stays open until Close or Abort.
func (w *Writer) Copy(e *Entry) error {
	if w.err != nil {
		return w.err
	}
	s := e.seg
	switch {
	case s.version == 1:
		return fmt.Errorf("%w: segment %s is of version 1", ErrNoFooter, s.path)
	case s.directory.blocks == nil:
		return fmt.Errorf("%w: segment %s: %w", ErrNoFooter, s.path, errors.Join(s.Damage...))
	}
	src := w.sources[s]
	if src == nil {
		var err error
		if src, err = openSource(s); err != nil {
			return fmt.Errorf("%w: %w", ErrNoFooter, err)
		}
		w.sources[s] = src
	}
	if err := src.load(s, e.service); err != nil {
		return fmt.Errorf("%w: %w", ErrNoFooter, err)
	}
	w.data = slices.Grow(w.data[:0], int(e.Length))[:e.Length]
	if _, err := s.file.ReadAt(w.data, e.Offset); err != nil {
		return e.Corrupt(fmt.Errorf("%w: %w", block.ErrCorrupt, err))
	}
	filter, err := src.filter(s, e.index)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoFooter, err)
	}
	i := len(w.blocks)
	w.blocks = append(w.blocks, &written{meta: w.ownMeta(&e.Meta), length: e.Length, filter: filter, counts: src.counts[e.index]})
	var f Form
	for _, p := range src.places[e.index] {
		p.part.patterns.Pattern(p.form, &f.Pattern)
		p.part.fill(&f, &s.directory, p.group, p.form)
		at := p.place
		at.Block = i
		w.forms.add(formKey{w.own(f.Service), w.own(f.Name), f.Message, f.Kind, f.unlisted}, &f.Pattern, at)
	}
	w.err = w.append(w.data)
	return w.err
}
