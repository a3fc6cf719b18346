package gelf

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// MaxSize is the longest message, decompressed and put together from its chunks, in bytes.
const MaxSize = 4 << 20

// Reasons why a message is dropped; errors of [Decoder.Decode] wrap one of them.
var (
	ErrTooLarge    = errors.New("longer than 4 MiB")
	ErrBomb        = errors.New("decompresses to more than 4 MiB")
	ErrCompression = errors.New("cannot be decompressed")
	ErrJSON        = errors.New("broken JSON")
	ErrNotObject   = errors.New("not a JSON object")
)

// inflater decompresses messages. Decompressors are made at their first use and used again.
type inflater struct {
	src  bytes.Reader
	gzip gzip.Reader
	zlib io.ReadCloser
	zstd *zstd.Decoder
	out  []byte
}

// inflate returns p decompressed; p itself when it is not compressed. The first bytes tell: 1f 8b is gzip, a valid header
// (78 and one of four checks, as a rule) is zlib, 28 b5 2f fd is zstd. No JSON text begins with one of these. The result
// is valid until the next call.
func (d *inflater) inflate(p []byte) ([]byte, error) {
	switch {
	case len(p) >= 2 && p[0] == 0x1f && p[1] == 0x8b:
		d.src.Reset(p)
		if err := d.gzip.Reset(&d.src); err != nil {
			return nil, fmt.Errorf("%w: gzip: %w", ErrCompression, err)
		}
		return d.read(&d.gzip, "gzip")
	case len(p) >= 2 && p[0]&0x0f == 8 && p[0] <= 0x78 && (int(p[0])<<8|int(p[1]))%31 == 0:
		d.src.Reset(p)
		var err error
		if d.zlib == nil {
			d.zlib, err = zlib.NewReader(&d.src)
		} else {
			err = d.zlib.(zlib.Resetter).Reset(&d.src, nil)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: zlib: %w", ErrCompression, err)
		}
		return d.read(d.zlib, "zlib")
	case len(p) >= 4 && p[0] == 0x28 && p[1] == 0xb5 && p[2] == 0x2f && p[3] == 0xfd:
		return d.unzstd(p)
	}
	return p, nil
}

// maxWindow is the largest window a zstd frame may ask for, what zstd --long asks for. It costs no memory here: the whole
// output is at hand.
const maxWindow = 128 << 20

func (d *inflater) unzstd(p []byte) ([]byte, error) {
	if d.zstd == nil {
		var err error
		// The memory's limit is the window's, too: it must be larger than that of the output, which is its capacity.
		d.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxWindow), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			return nil, fmt.Errorf("%w: zstd: %w", ErrCompression, err)
		}
	}
	d.grow(firstOutput)
	out, err := d.zstd.DecodeAll(p, d.out[:0])
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) && cap(d.out) < MaxSize {
		d.grow(MaxSize)
		out, err = d.zstd.DecodeAll(p, d.out[:0])
	}
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded) || len(out) > MaxSize:
		return nil, ErrBomb
	case err != nil:
		return nil, fmt.Errorf("%w: zstd: %w", ErrCompression, err)
	}
	return out, nil
}

// firstOutput is the output's first size; nearly all messages are shorter.
const firstOutput = 32 << 10

func (d *inflater) grow(size int) {
	if cap(d.out) < size {
		d.out = make([]byte, 0, size)
	}
}

func (d *inflater) read(r io.Reader, name string) ([]byte, error) {
	d.grow(firstOutput)
	d.out = d.out[:0]
	for {
		n, err := r.Read(d.out[len(d.out):min(cap(d.out), MaxSize+1)])
		d.out = d.out[:len(d.out)+n]
		switch {
		case len(d.out) > MaxSize:
			return nil, ErrBomb
		case err == io.EOF:
			return d.out, nil
		case err != nil:
			return nil, fmt.Errorf("%w: %s: %w", ErrCompression, name, err)
		case len(d.out) == cap(d.out):
			d.out = append(d.out, 0)[:len(d.out)]
		}
	}
}
