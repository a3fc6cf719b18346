package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/index"
	"github.com/lookoutlog/lookout/internal/backup"
	"github.com/lookoutlog/lookout/internal/vfs"
)

// Report says what was verified of a data folder, and what is wrong with it.
type Report struct {
	Data string `json:"data"` // the folder
	index.Verified
	Databases int `json:"databases"`
}

// Verify reads the server's data folder while it runs: with quick set it compares checksums alone. Its value is a *[Report].
func (a *App) Verify(ctx context.Context, quick bool, progress func(done, total int64)) (any, error) {
	v, err := a.store.Verify(ctx, !quick, progress)
	if err != nil {
		return nil, err
	}
	return report(ctx, a.o.Config.Data, a.databases, v)
}

// VerifyFolder is [App.Verify] for a data folder that no server has open, and that stays untouched.
func VerifyFolder(ctx context.Context, dir string, quick bool, progress func(done, total int64)) (r *Report, err error) {
	if err := backup.Unfinished(dir); err != nil {
		return nil, err
	}
	dbs, lockErr := lockFolder(dir)
	if errors.Is(lockErr, ErrInUse) || errors.Is(lockErr, os.ErrNotExist) || errors.Is(lockErr, os.ErrPermission) || errors.Is(lockErr, errAgent) {
		return nil, lockErr
	}
	defer func() {
		for _, d := range dbs {
			err = errors.Join(err, d.db.Close())
		}
	}()
	v, err := index.Verify(ctx, vfs.OS, filepath.Join(dir, "store"), !quick, progress)
	if err != nil {
		return nil, err
	}
	if lockErr != nil { // a database that cannot even be opened
		v.Problems = append(v.Problems, databaseProblem(stateFile+", "+ledgerFile, lockErr.Error()))
	}
	return report(ctx, dir, dbs, v)
}

func report(ctx context.Context, dir string, dbs []database, v *index.Verified) (*Report, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	r := &Report{Data: abs, Verified: *v}
	for _, d := range dbs {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		r.Databases++
		if info, err := os.Stat(filepath.Join(dir, d.name)); err == nil {
			r.Bytes += info.Size()
		}
		for _, what := range checkDB(d.db) {
			r.Problems = append(r.Problems, databaseProblem(d.name, what))
		}
	}
	return r, nil
}

func databaseProblem(file, what string) index.Problem {
	p := index.Problem{File: file, What: what, Cost: "open incidents, messages that are not sent yet and sessions may be lost",
		Mend: "with the server stopped, take the file from a backup, or remove it: a new one is made"}
	if file == ledgerFile {
		p.Cost = "what is known of patterns beyond retention may be lost"
	}
	return p
}

// checkDB has bbolt look at all pages of a database. It panics over some damage.
func checkDB(db boltDB) (problems []string) {
	const most = 10
	defer func() {
		if p := recover(); p != nil {
			problems = append(problems, fmt.Sprint(p))
		}
	}()
	err := db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			if len(problems) < most {
				problems = append(problems, err.Error())
			}
		}
		return nil
	})
	if err != nil {
		problems = append(problems, err.Error())
	}
	return problems
}
