package native

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

const (
	// A zstd frame says how much of the text before it wants remembered; RFC 8878 asks for 8 MiB at least.
	maxWindow = 8 << 20
	// How long a request waits for one of the zstd decoders.
	zstdWait = 100 * time.Millisecond
)

// newZstds returns the places for zstd decoders. They are few, for each holds up to its window; one is made when its place
// is first taken.
func newZstds() chan *zstd.Decoder {
	n := max(4, runtime.GOMAXPROCS(0))
	c := make(chan *zstd.Decoder, n)
	for range n {
		c <- nil
	}
	return c
}

var gzips, zlibs sync.Pool // of *gzip.Reader and io.ReadCloser

// body is a request's body, decoded.
type body struct {
	io.Reader
	encoding string
	err      error  // the decoder could not even begin
	done     func() // gives the decoder back
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	return b.Reader.Read(p)
}

// body opens r's body. The caller calls done.
func (h *Handler) body(rw http.ResponseWriter, r *http.Request) (*body, *failure) {
	if r.ContentLength > h.o.MaxBody {
		return nil, h.tooMuch()
	}
	// What is compressed is limited too: empty blocks decode to nothing and never reach the limit of what is decoded.
	raw := http.MaxBytesReader(rw, r.Body, h.o.MaxBody)
	b := &body{Reader: raw, encoding: encodingOf(r), done: func() {}}
	if r.ContentLength == 0 { // no bytes are no events in any encoding
		return b, nil
	}
	switch b.encoding {
	case "":
	case "gzip", "x-gzip":
		z, _ := gzips.Get().(*gzip.Reader)
		if z == nil {
			z = new(gzip.Reader)
		}
		b.err = z.Reset(raw)
		b.Reader, b.done = z, func() { gzips.Put(z) }
	case "deflate":
		z, _ := zlibs.Get().(io.ReadCloser)
		if z == nil {
			z, b.err = zlib.NewReader(raw)
		} else {
			b.err = z.(zlib.Resetter).Reset(raw, nil)
		}
		if z != nil {
			b.Reader, b.done = z, func() { zlibs.Put(z) }
		}
	case "zstd":
		var z *zstd.Decoder
		select {
		case z = <-h.zstds:
		default:
			select {
			case z = <-h.zstds:
			case <-time.After(zstdWait):
				return nil, busy(time.Second)
			case <-r.Context().Done():
				return nil, busy(time.Second)
			}
		}
		if z == nil {
			z, b.err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
				zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(uint64(max(h.o.MaxBody, maxWindow))))
		}
		if b.err == nil {
			b.err = z.Reset(raw)
		}
		b.Reader, b.done = z, func() {
			if z != nil {
				_ = z.Reset(nil) // lets go of the body; that cannot fail
			}
			h.zstds <- z
		}
	default:
		return nil, &failure{status: http.StatusUnsupportedMediaType, code: "unsupported_encoding",
			message: fmt.Sprintf("Content-Encoding %.40q is not understood", b.encoding),
			mend:    "use gzip, zstd or deflate, or send the events as they are"}
	}
	return b, nil
}

func (h *Handler) tooMuch() *failure {
	return &failure{status: http.StatusRequestEntityTooLarge, code: "too_large",
		message: fmt.Sprintf("the body has more than %d bytes", h.o.MaxBody), mend: "send the events in several requests"}
}

// unreadable returns what an error of reading b means to the client. at is how much had been read, decoded.
func (h *Handler) unreadable(b *body, at int64, err error) *failure {
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return h.tooMuch()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &failure{status: http.StatusRequestTimeout, code: "too_slow", message: fmt.Sprintf("the body stopped after %d bytes", at),
			mend: "send the rest again, in smaller requests if the connection is slow"}
	}
	f := &failure{status: http.StatusBadRequest, code: "bad_body", message: fmt.Sprintf("reading the body behind byte %d: %v", at, err),
		mend: "send the rest again, whole"}
	switch {
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrWindowSizeTooSmall):
		f.mend = fmt.Sprintf("compress with a window of at most %d MiB", maxWindow>>20)
	case b.encoding != "":
		f.mend = "send a body that is " + b.encoding + ", as Content-Encoding says"
	}
	return f
}
