package wal

import (
	"errors"
	"fmt"
	"io"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/vfs"
)

// Inspected is what a file of the log holds, see [Inspect].
type Inspected struct {
	Base uint64 // the first sequence, as the header says; 0 when it cannot be read
	// PrevBase names the file before this one by its base, and PrevBytes says how many of that one's bytes count; PrevBase is 0 when there
	// is none.
	PrevBase, PrevBytes uint64
	First, Last         uint64 // of the records; 0 when there are none
	Records, Events     int64
	// Torn is where the file's end begins that was never acknowledged, as a crash leaves it; its size when there is none.
	Torn   int64
	Damage []Damage
}

// Damage is a place of a file of the log that cannot be read, or that contradicts another.
type Damage struct {
	Offset int64
	// After and Before are the sequences of the readable events around it; 0 where there are none.
	After, Before uint64
	Err           error
}

// Inspect reads a file of the log, of which size bytes count, and checks every checksum: of the header, the marks and each record;
// with deep set also that the events can be decoded. It changes nothing. A later format is a [*VersionError].
func Inspect(file vfs.File, name string, size int64, deep bool) (Inspected, error) {
	in := Inspected{Torn: size}
	var head [headerLen]byte
	if n, err := file.ReadAt(head[:], 0); n < headerLen && err != nil && !errors.Is(err, io.EOF) {
		return in, fmt.Errorf("the log's file %s: %w", name, err)
	}
	seg := &segment{path: name}
	h, err := parseSegmentHeader(head[:])
	if v := (*VersionError)(nil); errors.As(err, &v) {
		v.File = name
		return in, v
	}
	if err != nil {
		in.Damage = append(in.Damage, Damage{Err: errNoHeader})
		seg.anyID = true
	} else {
		in.Base, in.PrevBase, in.PrevBytes = h.base, h.prevBase, h.prevBytes
		seg.base, seg.id, seg.start = h.base, h.id, headerLen+int64(h.marksLen)
		if _, err := readMarks(file, &h, size); err != nil {
			in.Damage = append(in.Damage, Damage{Offset: headerLen, Err: errMarks})
		}
	}
	sure := int64(0) // all before this was durable once
	passed := len(in.Damage)
	var s scanner
	var buf []byte
	s.open(file, seg, size)
	for {
		r, at, err := s.next()
		if s.damaged >= 0 {
			in.Damage = append(in.Damage, Damage{Offset: s.damaged, After: in.Last, Before: r.first, Err: s.err})
			s.forget()
		}
		if errors.Is(err, io.EOF) {
			break
		}
		sure = max(sure, int64(r.durable))
		if in.First == 0 {
			in.First = r.first
		}
		if r.first <= in.Last {
			in.Damage = append(in.Damage, Damage{Offset: at, After: in.Last, Before: r.first, Err: errors.New("the sequence of an earlier record")})
		}
		in.Records++
		in.Events += int64(r.count)
		if deep {
			data, err := r.data(buf)
			if err == nil && r.encoding != encodingRaw {
				buf = data
			}
			if err == nil {
				err = decodable(data, int(r.count))
			}
			if err != nil {
				in.Damage = append(in.Damage, Damage{Offset: at, After: in.Last, Before: r.last() + 1, Err: err})
			}
		}
		in.Last = max(in.Last, r.last())
	}
	// Behind the last commit that is known to have been durable, damage is what a crash leaves.
	for i := passed; i < len(in.Damage); i++ {
		if d := in.Damage[i]; d.Offset >= sure && in.Records > 0 && (d.Err == errRecordHeader || d.Err == errRecordBody) {
			in.Torn, in.Damage = d.Offset, in.Damage[:i]
			break
		}
	}
	return in, nil
}

// decodable tells whether data is so many encoded events.
func decodable(data []byte, count int) (err error) {
	var e event.Event
	for range count {
		if data, err = event.Decode(data, &e); err != nil {
			return err
		}
	}
	if len(data) > 0 {
		return fmt.Errorf("%d bytes behind the last event", len(data))
	}
	return nil
}
