package segment

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/internal/vfs"
)

// ErrNoFooter is wrapped by [Writer.Copy]'s error for a block of a segment that has no footer to copy from: one of version
// 1, or one whose footer is damaged.
var ErrNoFooter = errors.New("no footer to copy a block's facts from")

// Writer writes one segment. It keeps the footer's facts in memory, about 2 MB a million events and at most 24 MiB of
// forms; blocks go to the file as they come. It is not safe for concurrent use.
type Writer struct {
	// GiveWay is called between the parts of the footer, and may wait. Nil for none.
	GiveWay func()

	fsys       vfs.FS
	dir        string
	tmp, final string
	lo         uint64
	file       vfs.File
	at         int64
	err        error // the first of Add or Copy
	done       bool

	blocks  []*written
	names   map[string]string // every text once
	lists   map[string][]string
	key     []byte
	forms   formSet
	enc     *zstd.Encoder
	sources map[*Segment]*source
	data    []byte // of a block that is copied
}

// written is a block of the segment as far as the footer will tell of it.
type written struct {
	meta   block.Meta
	length int64
	filter []byte
	counts []block.Count
}

// NewWriter creates the temporary file of the segment for a class's sequences above lo up to hi. The caller ends with Close or
// Abort.
func NewWriter(fsys vfs.FS, dir string, lo, hi uint64, class string) (*Writer, error) {
	w := &Writer{fsys: fsys, dir: dir, lo: lo, final: filepath.Join(dir, Name(lo, hi, class)), names: map[string]string{}, lists: map[string][]string{}, sources: map[*Segment]*source{}}
	w.tmp = strings.TrimSuffix(w.final, suffix) + tmpSuffix
	var err error
	if w.enc, err = newEncoder(); err != nil {
		return nil, err
	}
	if w.file, err = fsys.OpenFile(w.tmp, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600); err != nil {
		return nil, fmt.Errorf("creating segment: %w", err)
	}
	w.err = w.append([]byte(magic))
	return w, nil
}

func (w *Writer) append(data []byte) error {
	if _, err := w.file.Write(data); err != nil {
		return fmt.Errorf("writing segment %s: %w", w.tmp, err)
	}
	w.at += int64(len(data))
	return nil
}

// Add appends a block of patterns and columns. It keeps nothing of data and info. After an error the segment is lost: the
// caller aborts.
func (w *Writer) Add(data []byte, info *block.Info) error {
	if w.err != nil {
		return w.err
	}
	i := len(w.blocks)
	b := &written{meta: w.ownMeta(&info.Meta), length: int64(len(data)), filter: buildFilter(info.Keys), counts: slices.Clone(info.Counts)}
	w.blocks = append(w.blocks, b)
	var key formKey
	column := -1
	for k := range info.Texts {
		t := &info.Texts[k]
		if t.Column != column || t.Kind != key.kind { // thousands of one column follow one another
			column = t.Column
			key = formKey{b.meta.Service, w.own(t.Name), t.Column == 0 && t.Kind != block.Rest, t.Kind, false}
		}
		w.forms.add(key, &t.Pattern,
			place{Place: Place{Block: i, Column: t.Column, Local: localOf(t), Rows: t.Rows, Values: t.Values}, lo: t.Lo, hi: t.Hi})
	}
	w.err = w.append(data)
	return w.err
}

func localOf(t *block.Text) int {
	if t.Kind != block.Patterned {
		return -1
	}
	return t.Local
}

// own returns the writer's copy of a text.
func (w *Writer) own(s string) string {
	if o, ok := w.names[s]; ok {
		return o
	}
	s = strings.Clone(s)
	w.names[s] = s
	return s
}

// ownMeta copies a meta; equal lists share memory.
func (w *Writer) ownMeta(m *block.Meta) block.Meta {
	own := *m
	own.Service = w.own(m.Service)
	own.Hosts, own.Fields = w.ownList(m.Hosts), w.ownList(m.Fields)
	return own
}

func (w *Writer) ownList(list []string) []string {
	w.key = w.key[:0]
	for _, s := range list {
		w.key = appendText(w.key, s)
	}
	own, ok := w.lists[string(w.key)]
	if !ok {
		own = make([]string, len(list))
		for i, s := range list {
			own[i] = w.own(s)
		}
		w.lists[string(w.key)] = own
	}
	return own
}

// Size returns how many bytes the segment's file has so far, without the footer.
func (w *Writer) Size() int64 { return w.at }

// Close writes the footer. When it returns nil the segment is whole and durable under its name; else nothing is left but
// perhaps a temporary file.
func (w *Writer) Close() error {
	if w.done {
		return nil
	}
	if err := w.finish(); err != nil {
		w.Abort()
		return fmt.Errorf("writing segment %s: %w", w.tmp, err)
	}
	w.done = true
	return nil
}

// Abort gives the segment up: it closes and removes the temporary file. After Close it does nothing.
func (w *Writer) Abort() {
	if w.done {
		return
	}
	w.done = true
	w.file.Close()
	_ = w.fsys.Remove(w.tmp) // it is ignored, and removed at the next start
}

// Replace is Close for a segment whose name another one has, which it takes the place of. Before it does, check gets it open;
// when that refuses, or anything else fails, the other one is still there, or, when only the folder could not be synced, either of
// the two. The segment is returned open.
func (w *Writer) Replace(check func(*Segment) error) (*Segment, error) {
	seg, err := w.replace(check)
	if err != nil {
		if seg != nil {
			seg.Close()
		}
		w.Abort()
		return nil, fmt.Errorf("writing segment %s: %w", w.tmp, err)
	}
	w.done = true
	return seg, nil
}

func (w *Writer) replace(check func(*Segment) error) (*Segment, error) {
	if err := w.settle(); err != nil {
		return nil, err
	}
	seg, err := openAs(w.fsys, w.tmp, w.dir, filepath.Base(w.final))
	if err != nil {
		return nil, err
	}
	if err := check(seg); err != nil {
		return seg, err
	}
	return seg, w.publish()
}

func (w *Writer) finish() error {
	if err := w.settle(); err != nil {
		return err
	}
	return w.publish()
}

// settle makes the temporary file whole and its contents durable.
func (w *Writer) settle() error {
	if w.err != nil {
		return w.err
	}
	if err := w.writeFooter(); err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		return err
	}
	return w.file.Close()
}

// publish gives the file its name, durably.
func (w *Writer) publish() error {
	if err := w.fsys.Rename(w.tmp, w.final); err != nil {
		return err
	}
	return w.fsys.SyncDir(w.dir)
}

func (w *Writer) writeFooter() error {
	p := &pageWriter{dst: w.file}
	var sections [3]int64
	classes := w.writeFilters(p)
	sections[0] = p.n
	t, services, names := w.tables()
	formParts := w.forms.write(p, w.enc, t, w.giveWay)
	sections[1] = p.n - sections[0]
	counts := w.writeCounts(p)
	sections[2] = p.n - sections[0] - sections[1]
	directory := p.n

	var d []byte
	for _, n := range sections {
		d = binary.AppendUvarint(d, uint64(n))
	}
	for _, list := range [][]string{services, names} {
		d = binary.AppendUvarint(d, uint64(len(list)))
		for _, s := range list {
			d = appendText(d, s)
		}
	}
	blocks := t.appendBlocks(nil, w.lo, w.blocks)
	d = binary.AppendUvarint(d, uint64(len(t.lists)))
	d = append(d, t.listed...)
	d = append(d, blocks...)
	d = appendClasses(d, classes)
	d = appendFormParts(d, formParts)
	d = appendCountParts(d, counts)
	p.write(d)
	if err := p.close(); err != nil {
		return err
	}
	trailer := binary.LittleEndian.AppendUint64(nil, uint64(w.at))
	trailer = binary.LittleEndian.AppendUint64(trailer, uint64(p.n))
	trailer = binary.LittleEndian.AppendUint64(trailer, uint64(directory))
	trailer = binary.LittleEndian.AppendUint32(trailer, crc32.Checksum(trailer, castagnoli))
	_, err := w.file.Write(append(trailer, magic...))
	return err
}

// tables numbers the texts of the segment in their order, so that what stands beside each other in it is alike.
func (w *Writer) tables() (t *tables, services, names []string) {
	t = &tables{services: map[string]int{}, names: map[string]int{}, lists: map[string]int{}}
	for _, b := range w.blocks {
		t.services[b.meta.Service] = 0
	}
	for _, list := range w.lists {
		for _, s := range list {
			t.names[s] = 0
		}
	}
	for k := range w.forms.names {
		t.names[k] = 0
	}
	number := func(m map[string]int) []string {
		list := slices.Sorted(maps.Keys(m))
		for i, s := range list {
			m[s] = i
		}
		return list
	}
	return t, number(t.services), number(t.names)
}

// writeFilters writes the filters class by class.
func (w *Writer) writeFilters(p *pageWriter) []class {
	bySize := map[int64][]int{}
	for i, b := range w.blocks {
		bySize[int64(len(b.filter))] = append(bySize[int64(len(b.filter))], i)
	}
	var classes []class
	for size, blocks := range bySize {
		classes = append(classes, class{size: size, blocks: blocks})
	}
	slices.SortFunc(classes, func(a, b class) int { return cmp.Compare(a.size, b.size) })
	for _, c := range classes {
		w.giveWay()
		filters := make([][]byte, len(c.blocks))
		for i, b := range c.blocks {
			filters[i] = w.blocks[b].filter
		}
		c.write(p, filters)
	}
	return classes
}

func (w *Writer) giveWay() {
	if w.GiveWay != nil {
		w.GiveWay()
	}
}

// partWriter compresses runs of bytes and writes them as parts.
type partWriter struct {
	dst   *pageWriter
	enc   *zstd.Encoder
	parts []part
	buf   []byte
}

func (w *partWriter) write(raw []byte, first, last int) {
	w.buf = w.enc.EncodeAll(raw, w.buf[:0])
	w.parts = append(w.parts, part{size: int64(len(w.buf)), raw: int64(len(raw)), first: first, last: last})
	w.dst.write(w.buf)
}
