package forward

import (
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lookoutlog/lookout/internal/vfs"
)

// The file `state`, version 1, is one line of text: who counts the log's events, and how far the server has confirmed them.
//
//	lookout-forward 1 PRODUCER POSITION CRC
//
// CRC is CRC-32C of what stands before it and its space, in hex. The file is replaced as a whole, durably. A position that is older than
// the real one costs sending again what the server then drops.
const (
	stateFile    = "state"
	stateMagic   = "lookout-forward"
	stateVersion = 1
	maxState     = 4 << 10
)

type state struct {
	producer string
	position uint64 // the last sequence that the server has confirmed
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (s state) encode() string {
	text := fmt.Sprintf("%s %d %s %d", stateMagic, stateVersion, s.producer, s.position)
	return fmt.Sprintf("%s %08x\n", text, crc32.Checksum([]byte(text), castagnoli))
}

var (
	errState   = errors.New("the file is damaged")
	errVersion = errors.New("it was written by another version of lookout: use that one, or let its queue run empty and remove the folder")
)

func parseState(text string) (s state, err error) {
	head, sum, _ := cutLast(strings.TrimSuffix(text, "\n"), " ")
	if fmt.Sprintf("%08x", crc32.Checksum([]byte(head), castagnoli)) != sum {
		return s, errState
	}
	var magic string
	var version int
	n, _ := fmt.Sscanf(head, "%s %d %s %d", &magic, &version, &s.producer, &s.position)
	switch {
	case n < 2 || magic != stateMagic:
		return s, errState
	case version != stateVersion:
		return s, errVersion
	case n < 4:
		return s, errState
	}
	return s, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// readState returns the state of a folder; ok is false when there is none. The error is errState when it cannot be believed.
func readState(fsys vfs.FS, dir string) (s state, ok bool, err error) {
	f, err := fsys.OpenFile(filepath.Join(dir, stateFile), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return s, false, nil
	}
	if err != nil {
		return s, false, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, 0, maxState))
	if err != nil {
		return s, false, err
	}
	s, err = parseState(string(text))
	return s, err == nil, err
}

// writeState replaces the state, durably.
func writeState(fsys vfs.FS, dir string, s state) error {
	name := filepath.Join(dir, stateFile)
	tmp := name + ".new"
	f, err := fsys.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, s.encode())
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(tmp, name); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}

// newProducer names a new count of events: no two queues, and no queue that was lost and made again, may share one, for the server drops
// what it takes for repeats.
func newProducer(name string) string { return name + "-" + strings.ToLower(rand.Text()) }
