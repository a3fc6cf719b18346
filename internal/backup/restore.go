package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lookoutlog/lookout/internal/vfs"
)

// restoreFile is in a folder while a backup is being restored into it: what else is there is not complete.
const restoreFile = "restore.json"

const (
	restoreFormat   = "lookout restore"
	restoreVersion  = 1
	restoringSuffix = ".restoring"
)

// RestoreVersion is the version of the mark of an unfinished restore.
const RestoreVersion = restoreVersion

// restoring is the content of restoreFile.
type restoring struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	From    string `json:"from"`
	ID      string `json:"id"`
}

// Unfinished is an error when a restore into the folder was begun and not finished, which says how to go on.
func Unfinished(dir string) error {
	r, err := readRestoring(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("in %s a restore was begun and not finished, and %s, which says which one, cannot be read: %w; restore into an empty folder", dir, restoreFile, err)
	}
	return fmt.Errorf("the restore of backup %s into %s is not finished: run `lookout restore %s %s --data %s` again, which goes on where it was", r.ID, dir, r.From, r.ID, dir)
}

func readRestoring(dir string) (restoring, error) {
	var r restoring
	data, err := os.ReadFile(filepath.Join(dir, restoreFile))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil || r.Format != restoreFormat {
		return r, errors.New("it is damaged")
	}
	if r.Version != restoreVersion {
		return r, fmt.Errorf("%w: version %d of it, this one reads %d", ErrVersion, r.Version, restoreVersion)
	}
	return r, nil
}

// Restored says what [Restore] did.
type Restored struct {
	ID       string
	Sequence uint64
	Tokens   bool
	Files    int
	Bytes    int64
	Kept     int // files that an earlier, unfinished restore had written already
}

// Restore brings a backup's files into a folder that is empty or not there, or in which the same restore was not finished. An empty
// id is that of the newest backup. progress may be nil.
func Restore(ctx context.Context, from Target, id, dir string, progress func(done, total int64)) (Restored, error) {
	r, err := restore(ctx, from, id, dir, progress)
	if err != nil {
		return r, fmt.Errorf("restoring from %s: %w", from, err)
	}
	return r, nil
}

func restore(ctx context.Context, from Target, id, dir string, progress func(done, total int64)) (Restored, error) {
	var done Restored
	begun, err := readRestoring(dir)
	switch {
	case err == nil && id == "":
		id = begun.ID
	case err == nil && id != begun.ID:
		return done, fmt.Errorf("in %s the restore of backup %s was begun: finish that one, or name an empty folder", dir, begun.ID)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return done, fmt.Errorf("%s: %w; name an empty folder", filepath.Join(dir, restoreFile), err)
	}
	fresh := err != nil
	if fresh {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return done, err
		}
		// A restore that was killed before it began leaves its mark unfinished.
		if len(entries) > 0 && (len(entries) > 1 || entries[0].Name() != restoreFile+restoringSuffix) {
			return done, fmt.Errorf("%s is not empty (it has %s): name an empty folder, nothing is overwritten", dir, entries[0].Name())
		}
	}
	m, err := find(ctx, from, id)
	if err != nil {
		return done, err
	}
	if fresh {
		if err := begin(ctx, dir, restoring{restoreFormat, restoreVersion, from.String(), m.ID}); err != nil {
			return done, err
		}
	}
	total, at := m.Bytes(), int64(0)
	for i := range m.Files {
		e := &m.Files[i]
		kept, err := restoreEntry(ctx, from, dir, e, func(n int64) {
			if progress != nil {
				progress(at+n, total)
			}
		})
		if err != nil {
			return done, fmt.Errorf("%s: %w; `lookout backup verify %s` tells whether another backup is whole", e.Path, err, from)
		}
		if kept {
			done.Kept++
		}
		at += e.Size
	}
	// All is durable: now the folder is whole.
	if err := os.Remove(filepath.Join(dir, restoreFile)); err != nil {
		return done, err
	}
	if err := vfs.OS.SyncDir(dir); err != nil {
		return done, err
	}
	done.ID, done.Sequence, done.Tokens, done.Files, done.Bytes = m.ID, m.Sequence, m.Tokens, len(m.Files), total
	return done, nil
}

func begin(ctx context.Context, dir string, r restoring) error {
	if err := makeDir(dir); err != nil {
		return err
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, restoreFile)
	return writeWhole(ctx, path, path+restoringSuffix, strings.NewReader(string(data)), int64(len(data)), sha256.Sum256(data))
}

// restoreEntry writes a file, unless it is there already.
func restoreEntry(ctx context.Context, from Target, dir string, e *Entry, progress func(n int64)) (kept bool, err error) {
	sum, err := hex.DecodeString(e.SHA256)
	if err != nil {
		return false, err
	}
	path := filepath.Join(dir, filepath.FromSlash(e.Path))
	if err := makeDir(filepath.Dir(path)); err != nil {
		return false, err
	}
	if same(ctx, path, e.Size, [sha256.Size]byte(sum)) {
		progress(e.Size)
		return true, nil
	}
	r, err := from.Get(ctx, objectDir+e.SHA256)
	if errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("its object %s%s is missing", objectDir, e.SHA256)
	}
	if err != nil {
		return false, err
	}
	defer r.Close()
	err = writeWhole(ctx, path, path+restoringSuffix, &countingReader{r, 0, progress}, e.Size, [sha256.Size]byte(sum))
	if err != nil {
		return false, fmt.Errorf("object %s%s: %w", objectDir, e.SHA256, err)
	}
	return false, nil
}

type countingReader struct {
	r    io.Reader
	n    int64
	read func(n int64)
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.n += int64(n)
	r.read(r.n)
	return n, err
}

// same tells whether a file is there with the content.
func same(ctx context.Context, path string, size int64, sum [sha256.Size]byte) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() != size || !info.Mode().IsRegular() {
		return false
	}
	h := sha256.New()
	_, err = io.Copy(h, &ctxReader{ctx, f})
	return err == nil && [sha256.Size]byte(h.Sum(nil)) == sum
}
