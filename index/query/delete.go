package query

import (
	"errors"
	"time"

	"github.com/lookoutlog/lookout/internal/event"
)

// DeleteRequest asks for events to be deleted for good.
type DeleteRequest struct {
	DeleteScope
	// By is who asks, for the audit.
	By string
	// KeepQuery keeps the query's text in the job when it has ended. The text may be what has to go: it is forgotten otherwise.
	KeepQuery bool
}

// DeleteScope says which events are to be deleted.
type DeleteScope struct {
	// Query selects events; nil selects all.
	Query *Query
	// Since and Until bound the events' time, as in [Request].
	Since, Until int64
	// MaxSeq leaves out what arrived later; 0 is the newest event there is when the job is made.
	MaxSeq uint64
}

// Match tells whether the event is to be deleted.
func (s *DeleteScope) Match(e *event.Event) bool {
	return s.InRange(e.Time) && e.Seq <= s.MaxSeq && (s.Query == nil || s.Query.Match(e))
}

// InRange tells whether an event of the time, in ns since the Unix epoch, may be deleted.
func (s *DeleteScope) InRange(at int64) bool {
	return (s.Since == 0 || at >= s.Since) && (s.Until == 0 || at < s.Until)
}

// ErrNoDeletion is wrapped by the error for a job that is not there.
var ErrNoDeletion = errors.New("there is no such deletion")

// DeleteState is how far a job of deletion is.
type DeleteState string

// The states. The last four are the end: nothing changes any more.
const (
	DeleteWaiting    DeleteState = "waiting" // for its turn: one job runs at a time
	DeleteRunning    DeleteState = "running"
	DeleteDone       DeleteState = "done"
	DeleteIncomplete DeleteState = "incomplete" // done, but for what Skipped lists
	DeleteCancelled  DeleteState = "cancelled"  // what was deleted until then is gone
	DeleteFailed     DeleteState = "failed"     // it cannot be gone on with; Error says why
)

// Ended tells whether nothing changes any more.
func (s DeleteState) Ended() bool { return s != DeleteWaiting && s != DeleteRunning }

// Deletion is a job of deletion as people see it.
type Deletion struct {
	ID    uint64      `json:"id,string"`
	State DeleteState `json:"state"`
	// Step is what a running job does: what is beside the store looks at the events ("look"); it moves what is in memory into segments and lets go of the log ("log"), rewrites
	// segments ("segments"), waits for whoever still reads files that merges have replaced ("readers"), and goes on with what keeps events beside the store, by its name.
	Step string `json:"step,omitempty"`
	// Query is the text of the query while the job goes on, and afterwards when it is kept; Hash tells two apart; Fields are what it asks for.
	Query    string    `json:"query,omitempty"`
	Hash     string    `json:"query_hash"`
	Fields   []string  `json:"fields,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	Until    time.Time `json:"until,omitzero"`
	MaxSeq   uint64    `json:"max_sequence,string"`
	By       string    `json:"by,omitempty"`
	Created  time.Time `json:"created"`
	Ended    time.Time `json:"ended,omitzero"`
	Deleted  int64     `json:"deleted"`  // events, so far
	Segments int       `json:"segments"` // that hold sequences of the job, of which Looked have been dealt with
	Looked   int       `json:"looked"`
	Skipped  []string  `json:"skipped,omitempty"` // parts of the store that cannot be read, and so were left as they are
	Error    string    `json:"error,omitempty"`   // of the last try, which is repeated; or why it failed
}
