package segment

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/internal/vfs"
)

// Create writes a segment for the sequences above lo up to hi. next appends one block to a buffer and returns it, nil
// after the last. The segment is durable when Create returns nil; after an error nothing is left but perhaps a temporary
// file.
func Create(fsys vfs.FS, dir string, lo, hi uint64, next func(dst []byte) ([]byte, *block.Meta, error)) (err error) {
	final := filepath.Join(dir, Name(lo, hi))
	tmp := strings.TrimSuffix(final, suffix) + tmpSuffix
	f, err := fsys.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("creating segment: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
			_ = fsys.Remove(tmp) // it is ignored, and removed at the next start
			err = fmt.Errorf("writing segment %s: %w", tmp, err)
		}
	}()
	buf := []byte(magicV1)
	var entries []byte
	at, n := int64(0), uint64(0)
	for {
		start := len(buf)
		out, m, err := next(buf)
		if err != nil {
			return err
		}
		if m == nil {
			break
		}
		buf = out
		entries = binary.AppendUvarint(entries, uint64(at+int64(start)))
		entries = binary.AppendUvarint(entries, uint64(len(buf)-start))
		entries = block.AppendMeta(entries, m)
		n++
		if _, err := f.Write(buf); err != nil {
			return err
		}
		at += int64(len(buf))
		buf = buf[:0]
	}
	footer := append(binary.AppendUvarint(nil, n), entries...)
	buf = append(buf, footer...)
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(footer)))
	buf = binary.LittleEndian.AppendUint32(buf, crc32.Checksum(footer, castagnoli))
	buf = append(buf, magicV1...)
	if _, err := f.Write(buf); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := fsys.Rename(tmp, final); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}
