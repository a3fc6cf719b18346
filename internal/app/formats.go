package app

import (
	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/index"
	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/catalog"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/backup"
	"github.com/lookoutlog/lookout/internal/saved"
	"github.com/lookoutlog/lookout/internal/wal"
)

// Format is a kind of file that lookout keeps. A file of a later version is refused and left as it is.
type Format struct {
	Name, File     string
	Writes, Oldest int // the version that is written, and the oldest that is read
	Note           string
}

// Formats lists every format on disk.
func Formats() []Format {
	return []Format{
		{"segment", "store/segments/*.seg", segment.Version, segment.OldestVersion, "merges bring version 1 to 2"},
		{"block", "in segments", block.Version, block.Version, "kinds 1 (rows, only read) and 2 (patterns and columns)"},
		{"log", "store/wal/*.wal, an agent's queue", wal.Version, wal.Version, ""},
		{"store's state", "store/state.json", index.StateVersion, index.StateVersion, ""},
		{"job of deletion", "store/deletes/*.json", index.JobVersion, index.JobVersion, ""},
		{"alerting's state", "state.db", alerting.StateVersion, 1, "the first start brings version 1 to 2"},
		{"saved searches", "state.db", saved.Version, saved.Version, ""},
		{"ledger", "ledger.db", catalog.LedgerVersion, catalog.LedgerVersion, ""},
		{"catalogue", "catalog/", catalog.IndexVersion, catalog.IndexVersion, "derived: another version is built anew"},
		{"backup", "backups/*.json", backup.FormatVersion, backup.FormatVersion, ""},
		{"restore", "restore.json", backup.RestoreVersion, backup.RestoreVersion, "only until it is finished"},
	}
}
