// Package vfs is the seam between storage and the file system: the few calls that durability depends on, so that tests
// can take the power away between any two of them.
//
// [OS] is the real one. [Crash] is a model in memory that loses what POSIX allows to be lost.
package vfs

import (
	"io"
	"io/fs"
	"os"
)

// FS is what storage asks of a file system. Paths are as for package os.
type FS interface {
	// OpenFile opens name as os.OpenFile does; a file it creates is durable only after SyncDir of its folder.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Rename replaces to with from, atomically; durable after SyncDir.
	Rename(from, to string) error
	// Remove deletes a file; durable after SyncDir.
	Remove(name string) error
	// MkdirAll creates a folder and its parents; durable after SyncDir of each parent.
	MkdirAll(name string, perm fs.FileMode) error
	// ReadDir lists the names in a folder, sorted.
	ReadDir(name string) ([]string, error)
	// SyncDir makes a folder's entries durable.
	SyncDir(name string) error
}

// File is an open file. Write appends at the file's position, as for os.File.
type File interface {
	io.Writer
	io.ReaderAt
	io.Closer
	// Sync makes data and size durable. After an error the file must not be trusted with more data: the kernel may
	// have dropped the dirty pages.
	Sync() error
	Truncate(size int64) error
	Size() (int64, error)
}

// OS is the operating system's file system.
var OS FS = osFS{}

type osFS struct{}

type osFile struct{ *os.File }

func (osFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) Rename(from, to string) error                 { return os.Rename(from, to) }
func (osFS) Remove(name string) error                     { return os.Remove(name) }
func (osFS) MkdirAll(name string, perm fs.FileMode) error { return os.MkdirAll(name, perm) }

func (osFS) ReadDir(name string) ([]string, error) {
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (osFS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
