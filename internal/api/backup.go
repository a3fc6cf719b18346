package api

import (
	"context"
	"errors"
	"math"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/lookoutlog/lookout/internal/backup"
)

// BackupRequest is what POST /api/v1/backups asks for.
type BackupRequest struct {
	To     string // a folder of the server's machine, or s3://BUCKET/PREFIX
	Tokens bool   // save the admin token, too
	Rate   int64  // bytes a second; 0 for no bound
}

// Saver saves and verifies the server's data folder.
type Saver interface {
	// Verify reads all of the data folder, and returns what it found: a JSON value with a list "problems".
	Verify(ctx context.Context, quick bool, progress func(done, total int64)) (any, error)
	// Backup reports bytes done of all. An error that wraps ErrBackupRuns says that another one runs.
	Backup(ctx context.Context, r BackupRequest, progress func(done, total int64)) (backup.Summary, error)
}

// ErrBackupRuns says that a backup is under way already.
var ErrBackupRuns = errors.New("a backup runs already")

// backups makes a backup.
func (a *API) backups(w http.ResponseWriter, r *http.Request) {
	p, err := readParams(w, r, "to", "tokens", "rate")
	if err != nil {
		writeError(w, err)
		return
	}
	var req BackupRequest
	var rate uint64
	for _, read := range []func() error{
		func() (err error) { req.Tokens, err = p.flag("tokens"); return },
		func() (err error) { rate, err = p.number("rate", math.MaxInt64); return },
	} {
		if err := read(); err != nil {
			writeError(w, err)
			return
		}
	}
	req.To, req.Rate = p["to"], int64(rate)
	switch {
	case req.To == "":
		err = badParameter("to", "is missing", "name a folder of the server's machine, or s3://BUCKET/PREFIX")
	case !strings.Contains(req.To, "://") && !filepath.IsAbs(req.To):
		err = badParameter("to", "is not a whole path", "begin it with a slash: where the server runs is not where you are")
	}
	if err != nil {
		writeError(w, err)
		return
	}
	a.work(w, r, func(ctx context.Context, progress func(done, total int64, unit string)) (any, error) {
		sum, err := a.o.Saver.Backup(ctx, req, func(done, total int64) { progress(done, total, "bytes") })
		switch {
		case errors.Is(err, ErrBackupRuns):
			return nil, &apiError{Status: http.StatusConflict, Code: "busy", Message: err.Error(), Mend: "wait for its end"}
		case err != nil:
			return nil, &apiError{Status: http.StatusInternalServerError, Code: "backup", Message: err.Error(), Mend: "nothing is listed of this backup; the next one goes on with what was sent"}
		}
		return sum, nil
	})
}

// verify reads the data folder.
func (a *API) verify(w http.ResponseWriter, r *http.Request) {
	p, err := readParams(w, r, "quick")
	var quick bool
	if err == nil {
		quick, err = p.flag("quick")
	}
	if err != nil {
		writeError(w, err)
		return
	}
	a.work(w, r, func(ctx context.Context, progress func(done, total int64, unit string)) (any, error) {
		return a.o.Saver.Verify(ctx, quick, func(done, total int64) { progress(done, total, "bytes") })
	})
}
