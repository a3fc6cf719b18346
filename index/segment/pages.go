package segment

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"sync"

	"github.com/lookoutlog/lookout/index/block"
)

// A footer is a stream of bytes cut into pages, each with its own checksum, so that a search that needs a few bytes of a
// filter reads and verifies 4 KiB.
const (
	pageLen     = 4096
	pagePayload = pageLen - 4
)

func pageCRC(no int64, payload []byte) uint32 {
	var n [4]byte
	binary.LittleEndian.PutUint32(n[:], uint32(no))
	return crc32.Update(crc32.Checksum(n[:], castagnoli), castagnoli, payload)
}

// pagesLen returns how many bytes a stream takes in pages.
func pagesLen(stream int64) int64 {
	return stream + (stream+pagePayload-1)/pagePayload*4
}

// pageWriter cuts a stream into pages. Its first error sticks.
type pageWriter struct {
	dst io.Writer
	buf []byte // whole pages and the payload of the next
	at  int    // where the next page begins in buf
	no  int64  // of the next page
	n   int64  // bytes of the stream so far
	err error
}

func (w *pageWriter) write(p []byte) {
	w.n += int64(len(p))
	for len(p) > 0 && w.err == nil {
		k := min(pagePayload-(len(w.buf)-w.at), len(p))
		w.buf = append(w.buf, p[:k]...)
		if p = p[k:]; len(w.buf)-w.at == pagePayload {
			w.seal()
		}
		if len(w.buf) >= 64*pageLen {
			w.flush()
		}
	}
}

func (w *pageWriter) seal() {
	w.buf = binary.LittleEndian.AppendUint32(w.buf, pageCRC(w.no, w.buf[w.at:]))
	w.at = len(w.buf)
	w.no++
}

func (w *pageWriter) flush() {
	if w.err == nil {
		_, w.err = w.dst.Write(w.buf[:w.at])
	}
	w.buf = append(w.buf[:0], w.buf[w.at:]...)
	w.at = 0
}

// close writes the last page.
func (w *pageWriter) close() error {
	if len(w.buf) > w.at {
		w.seal()
	}
	w.flush()
	return w.err
}

// pageReader reads ranges of a stream. It keeps the pages it read last, as the probes of a small filter meet in them. It is
// not safe for concurrent use.
type pageReader struct {
	src    io.ReaderAt
	start  int64 // of the first page in src
	length int64 // of the stream
	slots  [8]page
}

// pageReaders are used again: their pages are most of what a look at the filters needs of memory.
var pageReaders = sync.Pool{New: func() any { return new(pageReader) }}

// reset makes r read another footer.
func (r *pageReader) reset(src io.ReaderAt, start, length int64) {
	r.src, r.start, r.length = src, start, length
	for i := range r.slots {
		r.slots[i].no = 0
	}
}

type page struct {
	no   int64 // plus 1
	data []byte
}

// page returns the payload of a page; it is valid until the next call.
func (r *pageReader) page(no int64) ([]byte, error) {
	p := &r.slots[no%int64(len(r.slots))]
	if p.no == no+1 {
		return p.data, nil
	}
	p.no = 0
	n := min(r.length-no*pagePayload, pagePayload)
	if no < 0 || n <= 0 {
		return nil, fmt.Errorf("%w: page %d is beyond the footer", block.ErrCorrupt, no)
	}
	if p.data = p.data[:0]; cap(p.data) < pageLen {
		p.data = make([]byte, pageLen)
	}
	p.data = p.data[:n+4]
	if _, err := r.src.ReadAt(p.data, r.start+no*pageLen); err != nil {
		return nil, fmt.Errorf("%w: page %d: %w", block.ErrCorrupt, no, err)
	}
	if p.data = p.data[:n]; pageCRC(no, p.data) != binary.LittleEndian.Uint32(p.data[n:n+4]) {
		return nil, fmt.Errorf("%w: checksum of page %d", block.ErrCorrupt, no)
	}
	p.no = no + 1
	return p.data, nil
}

// and takes from dst the bits that are not set in the stream from off on.
func (r *pageReader) and(dst []byte, off int64) error {
	for len(dst) > 0 {
		data, err := r.page(off / pagePayload)
		if err != nil {
			return err
		}
		data = data[min(off%pagePayload, int64(len(data))):]
		n := min(len(data), len(dst))
		if n == 0 {
			return fmt.Errorf("%w: byte %d is beyond the footer", block.ErrCorrupt, off)
		}
		for i, b := range data[:n] {
			dst[i] &= b
		}
		dst, off = dst[n:], off+int64(n)
	}
	return nil
}

// read appends a range of the stream to dst. It reads all of its pages at once.
func (r *pageReader) read(dst []byte, off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || off > r.length-n || n > math.MaxInt32 {
		return dst, fmt.Errorf("%w: bytes %d to %d are beyond the footer", block.ErrCorrupt, off, off+n)
	}
	if n == 0 {
		return dst, nil
	}
	first, last := off/pagePayload, (off+n-1)/pagePayload
	buf := make([]byte, pagesLen(min(r.length, (last+1)*pagePayload))-first*pageLen)
	if _, err := r.src.ReadAt(buf, r.start+first*pageLen); err != nil {
		return dst, fmt.Errorf("%w: pages %d to %d: %w", block.ErrCorrupt, first, last, err)
	}
	skip := off % pagePayload
	for no := first; no <= last; no++ {
		data := buf[:min(pageLen, len(buf))]
		buf = buf[len(data):]
		payload := data[:len(data)-4]
		if pageCRC(no, payload) != binary.LittleEndian.Uint32(data[len(data)-4:]) {
			return dst, fmt.Errorf("%w: checksum of page %d", block.ErrCorrupt, no)
		}
		payload = payload[skip:]
		k := min(int64(len(payload)), n)
		dst = append(dst, payload[:k]...)
		n -= k
		skip = 0
	}
	return dst, nil
}
