package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/lookoutlog/lookout/index"
	"github.com/lookoutlog/lookout/internal/api"
	"github.com/lookoutlog/lookout/internal/auth"
	"github.com/lookoutlog/lookout/internal/backup"
	"github.com/lookoutlog/lookout/internal/config"
	"github.com/lookoutlog/lookout/internal/vfs"
)

// The databases of a data folder: what is no event. The ledger is that of the catalogue, which is derived and not saved.
const (
	stateFile  = "state.db"
	ledgerFile = "ledger.db"
	// backupTmp is a folder in the data folder for copies of the databases while a backup runs.
	backupTmp = "backup.tmp"
)

// BackupOptions say what is saved, and to where.
type BackupOptions struct {
	To      string // a folder, or s3://BUCKET/PREFIX
	S3      backup.S3Options
	Tokens  bool  // the admin token, too
	Rate    int64 // bytes a second; 0 for no bound
	Version string
}

// S3 is how the configuration and the environment say that S3 is reached.
func S3(c *config.Backup, getenv func(name string) string) backup.S3Options {
	o := backup.S3Options{Endpoint: string(c.S3Endpoint), Region: c.S3Region, AccessKey: string(c.S3AccessKey), SecretKey: string(c.S3SecretKey)}
	return o.S3FromEnv(getenv)
}

// database is a bbolt file of the data folder.
type database struct {
	name string
	db   boltDB
}

// boltDB is a *bbolt.DB, or the catalogue, which may exchange its own.
type boltDB interface {
	View(fn func(tx *bbolt.Tx) error) error
	Close() error
}

// Backup saves the server's data folder while it runs. One backup runs at a time.
func (a *App) Backup(ctx context.Context, r api.BackupRequest, progress func(done, total int64)) (backup.Summary, error) {
	if !a.backing.TryLock() {
		return backup.Summary{}, api.ErrBackupRuns
	}
	defer a.backing.Unlock()
	o := BackupOptions{To: r.To, S3: S3(&a.o.Config.Backup, os.Getenv), Tokens: r.Tokens, Rate: r.Rate, Version: a.o.Version}
	sum, err := saveFolder(ctx, a.o.Config.Data, a.databases, a.store.Snapshot, o, progress)
	if err != nil {
		a.log.Error("a backup failed", "error", err)
		return sum, err
	}
	a.log.Info("backed up", "id", sum.ID, "files", sum.Files, "bytes", sum.Bytes, "sent", sum.SentBytes)
	return sum, nil
}

// ErrInUse is wrapped by the errors for a data folder that another process has open.
var ErrInUse = errors.New("it is in use by a running lookout")

// errAgent is wrapped by the errors for the folder of an agent.
var errAgent = errors.New("name the server's folder")

// BackupFolder saves a data folder that no server has open.
func BackupFolder(ctx context.Context, dir string, o BackupOptions, progress func(done, total int64)) (sum backup.Summary, err error) {
	dbs, err := lockFolder(dir)
	if err != nil {
		return sum, err
	}
	defer func() {
		for _, d := range dbs {
			err = errors.Join(err, d.db.Close())
		}
	}()
	snapshot := func() (*index.Snapshot, error) { return index.OpenSnapshot(vfs.OS, filepath.Join(dir, "store")) }
	return saveFolder(ctx, dir, dbs, snapshot, o, progress)
}

// lockFolder opens the databases of a data folder, which locks it.
func lockFolder(dir string) (dbs []database, err error) {
	if err := backup.Unfinished(dir); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, stateFile)); err != nil {
		return nil, fmt.Errorf("%s is no data folder of lookout: %w", dir, err)
	}
	if _, err := os.Stat(filepath.Join(dir, queueDir)); err == nil {
		if _, err := os.Stat(filepath.Join(dir, "store")); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s is an agent's: it holds only what is not forwarded yet; the events are at its server: %w", dir, errAgent)
		}
	}
	for _, name := range []string{stateFile, ledgerFile} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); name == ledgerFile && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		// Not read-only: two commands, or one and a server that starts, would share the lock.
		db, err := openDB(path)
		if err != nil {
			for _, d := range dbs {
				d.db.Close()
			}
			return nil, err
		}
		dbs = append(dbs, database{name, db})
	}
	return dbs, nil
}

// openDB opens a database that exists. bbolt panics over some damage.
func openDB(path string) (db *bbolt.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			db, err = nil, fmt.Errorf("%s is damaged: %v", path, p)
		}
	}()
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%s: %w", filepath.Dir(path), ErrInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return db, nil
}

func saveFolder(ctx context.Context, dir string, dbs []database, snapshot func() (*index.Snapshot, error), o BackupOptions, progress func(done, total int64)) (sum backup.Summary, err error) {
	to, err := backup.Open(o.To, o.S3)
	if err != nil {
		return sum, err
	}
	if f, ok := to.(*backup.Folder); ok {
		if err := outside(f.Dir, dir); err != nil {
			return sum, err
		}
	}
	tmp := filepath.Join(dir, backupTmp)
	if err := os.RemoveAll(tmp); err != nil { // a backup that was killed left it
		return sum, err
	}
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	host, _ := os.Hostname() // without a name the folder's alone
	abs, err := filepath.Abs(dir)
	if err != nil {
		return sum, err
	}
	b := backup.Options{By: host + ":" + abs, Lookout: o.Version, Tokens: o.Tokens, Rate: o.Rate, Progress: progress}
	// The databases before the events: what the rules and the ledger have seen is then among the events, and what they have not they see
	// after a restore.
	for _, d := range dbs {
		path := filepath.Join(tmp, d.name)
		if err := d.db.View(func(tx *bbolt.Tx) error { return tx.CopyFile(path, 0o600) }); err != nil {
			return sum, fmt.Errorf("copying %s: %w", d.name, err)
		}
		f, err := plainFile(d.name, path)
		if err != nil {
			return sum, err
		}
		b.Files = append(b.Files, f)
	}
	if o.Tokens {
		f, err := plainFile(auth.FileName, filepath.Join(dir, auth.FileName))
		if err != nil {
			return sum, err
		}
		b.Files = append(b.Files, f)
	}
	snap, err := snapshot()
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, snap.Close()) }()
	b.Sequence = snap.Sequence
	for i := range snap.Files {
		f := &snap.Files[i]
		b.Files = append(b.Files, backup.File{
			Path: "store/" + f.Path, Size: f.Size, ModTime: f.ModTime,
			Open: func() (io.ReadCloser, error) { return f.Open(), nil },
		})
	}
	return backup.Run(ctx, to, b)
}

// plainFile is a small file that does not change.
func plainFile(name, path string) (backup.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return backup.File{}, err
	}
	return backup.File{Path: name, Size: info.Size(), Open: func() (io.ReadCloser, error) { return os.Open(path) }}, nil
}

// outside is an error when a folder for backups is the data folder or in it: what destroys the one would destroy the other.
func outside(to, data string) error {
	absTo, err := filepath.Abs(to)
	if err != nil {
		return err
	}
	absData, err := filepath.Abs(data)
	if err != nil {
		return err
	}
	if rel, err := filepath.Rel(absData, absTo); err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return fmt.Errorf("%s is in the data folder: name a folder on another disk", to)
	}
	return nil
}
