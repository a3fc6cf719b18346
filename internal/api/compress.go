package api

import (
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// minCompressed is the shortest answer that is compressed, in bytes. What is flushed before its end, an answer of lines, is compressed
// however short: nobody knows yet how long it gets.
const minCompressed = 1400 // a packet

// codings are what an answer can be compressed with, the one with fewer bytes first; they cost about the same. A live tail holds on to one,
// some 0.7 MB.
var codings = [...]struct {
	name string
	pool sync.Pool
}{
	{name: "zstd", pool: sync.Pool{New: func() any {
		w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(128<<10), zstd.WithLowerEncoderMem(true))
		if err != nil {
			panic(err) // the options are ours
		}
		return compressor(w)
	}}},
	{name: "gzip", pool: sync.Pool{New: func() any {
		w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
		if err != nil {
			panic(err) // the level is ours
		}
		return compressor(w)
	}}},
}

const noCoding = -1

type compressor interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

// accepted returns the coding to answer with, the one of highest weight in Accept-Encoding, or noCoding.
func accepted(h http.Header) int {
	best, most := noCoding, 0.0
	any, identity := -1.0, -1.0
	weights := [len(codings)]float64{}
	for i := range weights {
		weights[i] = -1
	}
	for part := range strings.SplitSeq(strings.Join(h.Values("Accept-Encoding"), ","), ",") {
		name, parameters, _ := strings.Cut(part, ";")
		weight := 1.0
		if _, q, ok := strings.Cut(strings.ToLower(parameters), "q="); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(q), 64)
			if err != nil || !(n >= 0 && n <= 1) {
				continue
			}
			weight = n
		}
		switch name = strings.ToLower(strings.TrimSpace(name)); name {
		case "*":
			any = weight
		case "identity":
			identity = weight
		}
		for i := range codings {
			if name == codings[i].name {
				weights[i] = weight
			}
		}
	}
	for i, weight := range weights {
		if weight < 0 {
			weight = any
		}
		if weight > most {
			best, most = i, weight
		}
	}
	if identity > most {
		return noCoding
	}
	return best
}

// packer compresses an answer when its client takes that, its kind may be, and it is long enough. Until that is settled the status and the
// first bytes wait; they never do once the answer is flushed.
type packer struct {
	coding  int    // what the client takes, noCoding when nothing is to be compressed
	waiting bool   // the status was given, and is not out yet
	first   []byte // what was written of an answer that is short so far
	comp    compressor
}

// mayPack tells whether an answer with this status and header may be compressed, if it is long enough.
func mayPack(status int, h http.Header) bool {
	if status == http.StatusNoContent || status == http.StatusNotModified || status < 200 || h.Get("Content-Encoding") != "" || h.Get("Etag") != "" {
		return false
	}
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	switch {
	case err != nil:
		return false
	case kind == "application/json", kind == "application/x-ndjson", kind == "text/csv", kind == "text/plain":
		return true
	}
	return false
}

// begin sends the status, and compresses what follows if packed.
func (w *response) begin(packed bool) error {
	w.pack.waiting = false
	first := w.pack.first
	w.pack.first = nil
	if packed {
		h := w.Header()
		h.Set("Content-Encoding", codings[w.pack.coding].name)
		h.Del("Content-Length")
		w.pack.comp = codings[w.pack.coding].pool.Get().(compressor)
		w.pack.comp.Reset(plain{w})
	}
	w.ResponseWriter.WriteHeader(w.status)
	if len(first) == 0 {
		return nil
	}
	_, err := w.writeOut(first)
	return err
}

// writeOut writes behind the status.
func (w *response) writeOut(p []byte) (int, error) {
	if w.pack.comp != nil {
		return w.pack.comp.Write(p)
	}
	return plain{w}.Write(p)
}

// plain writes to the connection, and gives each write its time.
type plain struct{ w *response }

func (p plain) Write(b []byte) (int, error) {
	p.w.deadline.extend()
	n, err := p.w.ResponseWriter.Write(b)
	p.w.bytes += int64(n)
	return n, err
}

// FlushError sends what was written to the client.
func (w *response) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.pack.waiting {
		if err := w.begin(true); err != nil {
			return err
		}
	}
	if w.pack.comp != nil {
		if err := w.pack.comp.Flush(); err != nil {
			return err
		}
	}
	return w.control.Flush()
}

// finish ends an answer that is whole. What can fail is the connection.
func (w *response) finish() {
	if w.pack.waiting {
		_ = w.begin(false)
	}
	if c := w.pack.comp; c != nil {
		w.pack.comp = nil
		_ = c.Close()
		c.Reset(nil)
		codings[w.pack.coding].pool.Put(c)
	}
}
