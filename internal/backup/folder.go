package backup

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lookoutlog/lookout/internal/vfs"
)

// tmpSuffix ends the names of what is being written.
const tmpSuffix = ".tmp"

// Folder is a [Target] on this machine.
type Folder struct{ Dir string }

func (f *Folder) String() string { return f.Dir }

func (f *Folder) path(name string) string { return filepath.Join(f.Dir, filepath.FromSlash(name)) }

// Put is [Target]'s: it writes a temporary file, fsyncs it, and renames it.
func (f *Folder) Put(ctx context.Context, name string, size int64, sum [sha256.Size]byte, open func() (io.ReadCloser, error)) error {
	content, err := open()
	if err != nil {
		return err
	}
	defer content.Close()
	path := f.path(name)
	if err := makeDir(filepath.Dir(path)); err != nil {
		return err
	}
	return writeWhole(ctx, path, path+"."+rand.Text()[:8]+tmpSuffix, content, size, sum)
}

// makeDir makes a folder and its parents, durably.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := makeDir(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// syncDir makes a folder's names durable. A parent that one may not read was not changed by us.
func syncDir(dir string) error {
	if err := vfs.OS.SyncDir(dir); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// writeWhole writes content to tmp, and gives it its name when it is whole, right and durable.
func writeWhole(ctx context.Context, path, tmp string, content io.Reader, size int64, sum [sha256.Size]byte) (err error) {
	file, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			file.Close()
			_ = os.Remove(tmp) // what stays of it is never read
		}
	}()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(file, h), &ctxReader{ctx, content})
	switch {
	case err != nil:
		return err
	case n != size:
		return fmt.Errorf("%d bytes came where %d belong", n, size)
	case [sha256.Size]byte(h.Sum(nil)) != sum:
		return errors.New("the content is damaged: its SHA-256 is not the one that belongs")
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return vfs.OS.SyncDir(filepath.Dir(path))
}

type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// Get is [Target]'s.
func (f *Folder) Get(_ context.Context, name string) (io.ReadCloser, error) {
	return os.Open(f.path(name))
}

// List is [Target]'s. A folder that is not there is empty.
func (f *Folder) List(_ context.Context, dir string) ([]Object, error) {
	entries, err := os.ReadDir(f.path(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []Object
	for _, e := range entries {
		if e.IsDir() || strings.HasSuffix(e.Name(), tmpSuffix) {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, Object{dir + e.Name(), info.Size()})
	}
	return list, nil
}

// Delete is [Target]'s.
func (f *Folder) Delete(_ context.Context, name string) error {
	err := os.Remove(f.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return vfs.OS.SyncDir(filepath.Dir(f.path(name)))
}

// sweep removes what killed backups left unfinished, once nobody can be writing it any more.
func (f *Folder) sweep(now time.Time) error {
	for _, dir := range []string{objectDir, manifestDir, runningDir} {
		entries, err := os.ReadDir(f.path(dir))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range entries {
			if info, err := e.Info(); err == nil && strings.HasSuffix(e.Name(), tmpSuffix) && now.Sub(info.ModTime()) > runningFor {
				if err := os.Remove(f.path(dir + e.Name())); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
