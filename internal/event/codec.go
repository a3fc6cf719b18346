package event

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The encoded event, version 1 (the container that holds it carries the version: WAL segment, plain block):
//
//	u32 LE  length of what follows
//	i64 LE  time, ns
//	u8      level
//	service, env, host, container, stream, message: uvarint length, bytes
//	uvarint number of fields
//	each:   u8 kind, name, value: uvarint length, bytes
//
// The texts stand in it as they are, so that a search may look for a literal before it decodes. Sequence and received
// time are not in it: they belong to the batch.
const headerSize = 4 + 8 + 1

// ErrCorrupt is wrapped by every error of [Decode].
var ErrCorrupt = errors.New("corrupt event")

func uvarintLen(n int) int {
	k := 1
	for n >= 0x80 {
		n >>= 7
		k++
	}
	return k
}

// EncodedSize returns the bytes [AppendEvent] appends for e.
func EncodedSize(e *Event) int {
	n := headerSize + uvarintLen(len(e.Fields))
	for _, l := range [...]int{len(e.Service), len(e.Env), len(e.Host), len(e.Container), len(e.Stream), len(e.Message)} {
		n += uvarintLen(l) + l
	}
	for i := range e.Fields {
		f := &e.Fields[i]
		n += 1 + uvarintLen(len(f.Name)) + len(f.Name) + uvarintLen(len(f.Value)) + len(f.Value)
	}
	return n
}

// AppendText appends a text as it stands in an encoded event.
func AppendText(dst, p []byte) []byte {
	if len(p) < 0x80 {
		dst = append(dst, byte(len(p)))
	} else {
		dst = binary.AppendUvarint(dst, uint64(len(p)))
	}
	return append(dst, p...)
}

// BeginText begins a text of which the bytes follow; [EndText] ends it.
func BeginText(dst []byte) (dst2 []byte, start int) { return append(dst, 0), len(dst) }

// EndText gives a text that began at start the length that it has by now.
func EndText(dst []byte, start int) []byte {
	n := len(dst) - start - 1
	if n < 0x80 {
		dst[start] = byte(n)
		return dst
	}
	var room [binary.MaxVarintLen64]byte
	k := binary.PutUvarint(room[:], uint64(n))
	dst = append(dst, room[:k-1]...)
	copy(dst[start+k:], dst[start+1:start+1+n])
	copy(dst[start:], room[:k])
	return dst
}

// BeginEvent begins an encoded event; its texts and fields follow, and [EndEvent].
func BeginEvent(dst []byte, time int64, level Level) (dst2 []byte, start int) {
	start = len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(time))
	return append(dst, byte(level)), start
}

// EndEvent ends the event that began at start.
func EndEvent(dst []byte, start int) []byte {
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst
}

// AppendEvent appends e's binary form to dst. Seq and Received are not part of it.
func AppendEvent(dst []byte, e *Event) []byte {
	dst, start := BeginEvent(dst, e.Time, e.Level)
	dst = AppendText(dst, e.Service)
	dst = AppendText(dst, e.Env)
	dst = AppendText(dst, e.Host)
	dst = AppendText(dst, e.Container)
	dst = AppendText(dst, e.Stream)
	dst = AppendText(dst, e.Message)
	dst = binary.AppendUvarint(dst, uint64(len(e.Fields)))
	for i := range e.Fields {
		f := &e.Fields[i]
		dst = AppendText(append(dst, byte(f.Kind)), f.Name)
		dst = AppendText(dst, f.Value)
	}
	return EndEvent(dst, start)
}

// Size returns the length of the encoded event at data's start, its length field included.
func Size(data []byte) (int, error) {
	if len(data) < headerSize {
		return 0, fmt.Errorf("%w: %d bytes where a header of %d belongs", ErrCorrupt, len(data), headerSize)
	}
	n := binary.LittleEndian.Uint32(data)
	if n < headerSize-4 || n > MaxEncoded || int(n)+4 > len(data) {
		return 0, fmt.Errorf("%w: length %d with %d bytes left", ErrCorrupt, n, len(data)-4)
	}
	return int(n) + 4, nil
}

// Peek returns what a head needs to file the encoded event at data's start: its size, time and service.
func Peek(data []byte) (size int, time int64, service []byte, err error) {
	if size, err = Size(data); err != nil {
		return 0, 0, nil, err
	}
	d := decoder{data[headerSize:size]}
	service, ok := d.text()
	if !ok {
		return 0, 0, nil, fmt.Errorf("%w: service", ErrCorrupt)
	}
	return size, int64(binary.LittleEndian.Uint64(data[4:])), service, nil
}

type decoder struct{ data []byte }

func (d *decoder) text() ([]byte, bool) {
	if len(d.data) > 0 && d.data[0] < 0x80 { // nearly every length
		n := int(d.data[0]) + 1
		if n > len(d.data) {
			return nil, false
		}
		p := d.data[1:n:n]
		d.data = d.data[n:]
		return p, true
	}
	n, k := binary.Uvarint(d.data)
	if k <= 0 || n > uint64(len(d.data)-k) {
		return nil, false
	}
	end := k + int(n)
	p := d.data[k:end:end]
	d.data = d.data[end:]
	return p, true
}

// Decode reads the encoded event at data's start into e and returns what follows it. e's slices point into data; the
// memory of e.Fields is used again. Seq and Received are left alone. The error wraps [ErrCorrupt].
func Decode(data []byte, e *Event) (rest []byte, err error) {
	size, err := Size(data)
	if err != nil {
		return nil, err
	}
	e.Time = int64(binary.LittleEndian.Uint64(data[4:]))
	e.Level = Level(data[12])
	if e.Level > Debug {
		return nil, fmt.Errorf("%w: level %d", ErrCorrupt, data[12])
	}
	d := decoder{data[headerSize:size]}
	for _, p := range [...]*[]byte{&e.Service, &e.Env, &e.Host, &e.Container, &e.Stream, &e.Message} {
		var ok bool
		if *p, ok = d.text(); !ok {
			return nil, fmt.Errorf("%w: a text runs past the end", ErrCorrupt)
		}
	}
	n, k := binary.Uvarint(d.data)
	if k <= 0 || n > uint64(len(d.data)) {
		return nil, fmt.Errorf("%w: number of fields", ErrCorrupt)
	}
	d.data = d.data[k:]
	e.Fields = e.Fields[:0]
	for range n {
		if len(d.data) == 0 || Kind(d.data[0]) > JSON {
			return nil, fmt.Errorf("%w: kind of a field", ErrCorrupt)
		}
		f := Field{Kind: Kind(d.data[0])}
		d.data = d.data[1:]
		var ok, ok2 bool
		f.Name, ok = d.text()
		f.Value, ok2 = d.text()
		if !ok || !ok2 {
			return nil, fmt.Errorf("%w: a field runs past the end", ErrCorrupt)
		}
		e.Fields = append(e.Fields, f)
	}
	if len(d.data) != 0 {
		return nil, fmt.Errorf("%w: %d bytes behind the last field", ErrCorrupt, len(d.data))
	}
	return data[size:], nil
}
