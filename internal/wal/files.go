package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/lookoutlog/lookout/internal/vfs"
)

// HeldFile is a file of the log as it was at one moment: open, so that trimming cannot take it away.
type HeldFile struct {
	vfs.File
	Name   string // in the log's folder
	Length int64  // bytes that count; what the file has behind them is newer, or was never acknowledged
}

// Files returns the log's files as they were at one moment, at which last was the last durable sequence. Together they are a log: one
// opened in a copy of them has the same events and marks. The caller closes the files.
func (l *Log) Files() (files []HeldFile, last uint64, err error) {
	for {
		files, last, err = l.files()
		if !errors.Is(err, fs.ErrNotExist) { // trimmed in between
			return files, last, err
		}
	}
}

func (l *Log) files() (files []HeldFile, last uint64, err error) {
	l.mu.Lock()
	last = l.last
	ends, closed := map[string]int64{}, l.closed
	for _, seg := range l.segs {
		ends[seg.path] = seg.end
	}
	l.mu.Unlock()
	if closed {
		return nil, 0, ErrClosed
	}
	defer func() {
		if err != nil {
			closeAll(files)
			files = nil
		}
	}()
	for path, end := range ends {
		f, err := l.openRead(path)
		if err != nil {
			return files, 0, fmt.Errorf("opening the log's file %s: %w", path, err)
		}
		files = append(files, HeldFile{f, filepath.Base(path), end})
	}
	return files, last, nil
}

// OpenFiles is [Log.Files] for the log in a folder that nobody has open; there are none without the folder.
func OpenFiles(fsys vfs.FS, dir string) (files []HeldFile, err error) {
	names, err := fsys.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the log's folder: %w", err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, suffix) {
			continue
		}
		f, err := fsys.OpenFile(filepath.Join(dir, name), 0, 0)
		if err != nil {
			closeAll(files)
			return nil, fmt.Errorf("opening the log's file: %w", err)
		}
		held := HeldFile{f, name, 0}
		files = append(files, held)
		if files[len(files)-1].Length, err = f.Size(); err != nil {
			closeAll(files)
			return nil, fmt.Errorf("the log's file %s: %w", name, err)
		}
	}
	return files, nil
}

func closeAll(files []HeldFile) {
	for _, f := range files {
		f.Close()
	}
}
