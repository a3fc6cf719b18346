package segment

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/lookoutlog/lookout/index/block"
)

// directory is what is known of a segment once it is open.
type directory struct {
	services  []string
	names     []string // of hosts and fields
	blocks    []*Entry
	classes   []class
	formParts []part
	counts    []part
}

// tables are the texts and lists of a directory, each once.
type tables struct {
	services, names map[string]int
	lists           map[string]int // by the encoded list
	listed          []byte         // the encoded lists, one behind the other
}

func (t *tables) appendList(dst []byte, list []string) []byte {
	enc := binary.AppendUvarint(nil, uint64(len(list)))
	for _, s := range list {
		enc = binary.AppendUvarint(enc, uint64(t.names[s]))
	}
	i, ok := t.lists[string(enc)]
	if !ok {
		i = len(t.lists)
		t.lists[string(enc)] = i
		t.listed = append(t.listed, enc...)
	}
	return binary.AppendUvarint(dst, uint64(i))
}

// appendBlocks appends the entries of the directory's blocks.
func (t *tables) appendBlocks(dst []byte, lo uint64, blocks []*written) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(blocks)))
	prev := block.Meta{MinSeq: lo}
	for _, b := range blocks {
		m := &b.meta
		dst = binary.AppendUvarint(dst, uint64(b.length))
		dst = binary.AppendUvarint(dst, uint64(t.services[m.Service]))
		dst = binary.AppendUvarint(dst, uint64(m.Rows))
		dst = binary.AppendUvarint(dst, uint64(m.Bytes))
		dst = binary.AppendVarint(dst, m.MinTime-prev.MinTime)
		dst = binary.AppendUvarint(dst, uint64(m.MaxTime)-uint64(m.MinTime))
		dst = binary.AppendVarint(dst, int64(m.MinSeq-prev.MinSeq))
		dst = binary.AppendUvarint(dst, m.MaxSeq-m.MinSeq)
		mask, at := uint16(0), len(dst)
		dst = append(dst, 0, 0)
		for l, n := range m.Levels {
			if n != 0 {
				mask |= 1 << l
				dst = binary.AppendUvarint(dst, uint64(n))
			}
		}
		binary.LittleEndian.PutUint16(dst[at:], mask)
		dst = t.appendList(dst, m.Hosts)
		dst = t.appendList(dst, m.Fields)
		prev = *m
	}
	return dst
}

func appendClasses(dst []byte, classes []class) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(classes)))
	for _, c := range classes {
		dst = binary.AppendUvarint(dst, uint64(c.size))
		dst = binary.AppendUvarint(dst, uint64(len(c.blocks)))
		prev := 0
		for _, b := range c.blocks {
			dst = binary.AppendUvarint(dst, uint64(b-prev))
			prev = b
		}
	}
	return dst
}

func appendFormParts(dst []byte, parts []part) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(parts)))
	for _, p := range parts {
		dst = binary.AppendUvarint(dst, uint64(p.size))
		dst = binary.AppendUvarint(dst, uint64(p.raw))
		dst = binary.AppendUvarint(dst, uint64(p.first))
		dst = binary.AppendUvarint(dst, uint64(p.last-p.first))
	}
	return dst
}

func appendCountParts(dst []byte, parts []part) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(parts)))
	for _, p := range parts {
		dst = binary.AppendUvarint(dst, uint64(p.size))
		dst = binary.AppendUvarint(dst, uint64(p.raw))
		dst = binary.AppendUvarint(dst, uint64(p.last-p.first))
	}
	return dst
}

// limits are what a directory must agree with.
type limits struct {
	lo     uint64 // of the segment's name
	blocks int64  // where the blocks end in the file
	stream int64  // where the directory begins in the stream
}

// decodeDirectory is the reverse of the append functions. Every byte of the file and of the stream is in the place of one
// block or one section.
func decodeDirectory(data []byte, l limits) (*directory, error) {
	r := &reader{data: data}
	d := &directory{}
	var sections [3]int64
	end := int64(0)
	for i := range sections {
		sections[i] = int64(r.count(int(min(l.stream-end, math.MaxInt))))
		end += sections[i]
	}
	if end != l.stream {
		r.fail()
	}
	d.services, d.names = r.texts(), r.texts()
	lists := make([][]string, r.count(len(r.data)))
	for i := range lists {
		if n := r.count(len(r.data)); n > 0 {
			lists[i] = make([]string, n)
		}
		for k := range lists[i] {
			if at := r.index(len(d.names)); !r.bad {
				lists[i][k] = d.names[at]
			}
		}
	}
	entries := make([]Entry, r.count(len(r.data)/8)) // a block takes more
	d.blocks = make([]*Entry, len(entries))
	at := int64(len(magic))
	prev := block.Meta{MinSeq: l.lo}
	for i := range entries {
		e := &entries[i]
		d.blocks[i] = e
		e.Offset, e.Length = at, int64(r.count(int(max(l.blocks-at, 0))))
		at += e.Length
		e.service = r.index(len(d.services))
		e.Rows = r.count(math.MaxInt32)
		e.Bytes = int64(r.count(math.MaxInt64))
		e.MinTime = prev.MinTime + r.varint()
		e.MaxTime = int64(uint64(e.MinTime) + r.uvarint())
		e.MinSeq = prev.MinSeq + uint64(r.varint())
		e.MaxSeq = e.MinSeq + r.uvarint()
		mask := r.uint16()
		for level := range e.Levels {
			if mask&(1<<level) != 0 {
				e.Levels[level] = int64(r.count(e.Rows))
			}
		}
		hosts, fields := r.index(len(lists)), r.index(len(lists))
		if r.bad || mask>>len(e.Levels) != 0 || e.MaxTime < e.MinTime || e.MaxSeq < e.MinSeq {
			r.fail()
			break
		}
		e.Service, e.Hosts, e.Fields = d.services[e.service], lists[hosts], lists[fields]
		prev = e.Meta
	}
	if at != l.blocks {
		r.fail()
	}
	d.readClasses(r, sections[0])
	d.formParts = r.parts(sections[0], sections[1], func(p *part, _ int) {
		p.first = r.index(len(d.services))
		p.last = p.first + r.count(len(d.services)-1-p.first)
	})
	d.counts = r.parts(sections[0]+sections[1], sections[2], func(p *part, last int) {
		p.first = last
		p.last = last + r.count(len(d.blocks)-last)
	})
	if n := len(d.counts); n > 0 && d.counts[n-1].last != len(d.blocks) || n == 0 && len(d.blocks) > 0 {
		r.fail()
	}
	if r.bad || len(r.data) != 0 {
		return nil, fmt.Errorf("%w: directory", block.ErrCorrupt)
	}
	return d, nil
}

// readClasses reads the classes of filters; each block is in one of them.
func (d *directory) readClasses(r *reader, section int64) {
	d.classes = make([]class, r.count(len(r.data)/2))
	seen, at := 0, int64(0)
	inClass := make([]bool, len(d.blocks))
	for i := range d.classes {
		c := &d.classes[i]
		c.at, c.size = at, int64(r.count(int(min(section-at, math.MaxInt32))))
		c.blocks = make([]int, r.count(min(len(r.data), len(d.blocks)-seen)))
		b := 0
		for k := range c.blocks {
			b += r.count(len(d.blocks))
			if r.bad || b >= len(d.blocks) || inClass[b] {
				r.fail()
				return
			}
			inClass[b] = true
			c.blocks[k] = b
		}
		seen += len(c.blocks)
		if c.size > 0 && int64(len(c.blocks)) > (section-at)/c.size {
			r.fail()
			return
		}
		at += c.size * int64(len(c.blocks))
	}
	if at != section || seen != len(d.blocks) {
		r.fail()
	}
}

func (r *reader) texts() []string {
	out := make([]string, r.count(len(r.data)))
	for i := range out {
		out[i] = r.text()
	}
	return out
}

// parts reads the parts of a section, which fill it.
func (r *reader) parts(at, size int64, more func(p *part, last int)) []part {
	out := make([]part, r.count(len(r.data)/3))
	last := 0
	for i := range out {
		p := &out[i]
		p.at, p.size = at, int64(r.count(int(size)))
		p.raw = int64(r.count(maxPart))
		more(p, last)
		at, size, last = at+p.size, size-p.size, p.last
	}
	if size != 0 {
		r.fail()
	}
	return out
}
