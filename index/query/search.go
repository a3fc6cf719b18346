package query

import (
	"context"

	"github.com/lookoutlog/lookout/internal/event"
)

// Request is one search over the stored events. The store answers it; the API, the alert rules and the SDK's server side
// only need these words for it, not the store.
type Request struct {
	// Query selects events; nil selects all.
	Query *Query
	// Since and Until bound the events' time, in ns since the Unix epoch: since inclusive, until exclusive; 0 leaves
	// that side open.
	Since, Until int64
	// Limit ends the search after so many matches, 0 for no limit. With Newest the newest ones are found.
	Limit int
	// Newest delivers newest first; otherwise oldest first, by (time, sequence).
	Newest bool
	// CountOnly delivers no rows, only the summary.
	CountOnly bool
	// Before and After ask for so many events around each match; rows then come in groups. Which events are neighbours is
	// ContextBy's matter; those that do not match Beside, when it is not nil, are passed over (matches are to match it too). Neighbours lie within Since, Until,
	// MinSeq and MaxSeq as well.
	Before, After int
	ContextBy     ContextBy
	Beside        *Query
	// MinSeq and MaxSeq leave out events that arrived before and after these sequences; MaxSeq 0 is the newest at the start
	// of the search. The same in both is one event, which is found at the price of one segment.
	MinSeq, MaxSeq uint64
	// Behind leaves out everything up to this place in the search's order: the search goes on behind another one that ended there. nil
	// begins at the beginning.
	Behind *Place
	// MaxBytes ends the search when it has looked at so many bytes of events, uncompressed; 0 is no limit. What has been
	// delivered is then complete as far as it goes, and the summary says from which time on nothing was looked at.
	MaxBytes int64
	// MaxMemory bounds the rows that are held for context, in bytes; 0 is [DefaultMemory]. Beyond it the search ends, and the
	// summary says so.
	MaxMemory int64
}

// DefaultMemory is what a request may hold unless it says otherwise, in bytes: groups, values, kinds of lines, or rows around
// matches. While what several cores have gathered is put together it may be twice as much.
const DefaultMemory = 128 << 20

// Memory is what a request may hold, in bytes: asked, or [DefaultMemory] when that is 0.
func Memory(asked int64) int64 {
	if asked == 0 {
		return DefaultMemory
	}
	return asked
}

// Place is where an event stands in the order of an answer: by its time, in ns since the Unix epoch, and of equal times by its sequence.
type Place struct {
	Time int64
	Seq  uint64
}

// Less tells whether p comes before o when the oldest come first.
func (p Place) Less(o Place) bool { return p.Time < o.Time || p.Time == o.Time && p.Seq < o.Seq }

// Row is one event of an answer, valid until the function it was given to returns.
type Row struct {
	Event *event.Event
	// Context is true for an event that stands beside a match and does not match itself.
	Context bool
	// Group counts the groups of an answer with context, from 1, by their first match: the events of one group are neighbours.
	// Groups come in order, each at once, as long as no more than ten thousand rows wait for one that begins before them; then
	// groups come in parts.
	Group int
}

// Summary says what a search looked at and found.
type Summary struct {
	Matched int64 // matches delivered, or counted
	Events  int64 // events looked at: judged in their columns, decoded, or ruled out by their bytes
	Bytes   int64 // bytes of these events, uncompressed
	Blocks  int   // blocks read
	Pruned  int   // blocks that were answered or ruled out without being read
	Scan    Scan

	// Complete is false when part of the store could not be read, or the search had a limit of bytes or memory and reached it;
	// Reasons says which.
	Complete bool
	Reasons  []string
	// Budget is the limit that was reached, [BudgetScan] or [BudgetMemory]; empty for none.
	Budget string
	// Cut is where rows that were asked for begin to be left out because of [Request.MaxBytes], in ns since the Unix epoch: with
	// oldest first every event before it was delivered, with newest first every event behind it. It is set with BudgetScan of a
	// search that delivers rows, and 0 otherwise.
	Cut int64
	// Sequence is the newest event the search could see: following goes on behind it.
	Sequence uint64
	// Services counts the matches by service.
	Services map[string]int64
	// UnknownFields are the fields the query names that no event in range has, as [Query.Fields] names them.
	UnknownFields []string
}

// The limits that [Summary.Budget] names.
const (
	BudgetScan   = "scan"
	BudgetMemory = "memory"
)

// Scan says how a search dealt with the blocks of the segments. Range, Filter, Forms, Counted and Opened add up to Blocks
// unless the search ended early: what it never came to is in none of them.
type Scan struct {
	Segments int // segments that hold the blocks
	Blocks   int // blocks there were
	Range    int // ruled out by time, sequence or service
	Filter   int // ruled out by a filter of tokens and values
	Forms    int // ruled out because no form of text, level or field in them can match
	Counted  int // answered without being read
	Opened   int // read
}

// Add adds o's counts.
func (s *Scan) Add(o Scan) {
	s.Segments += o.Segments
	s.Blocks += o.Blocks
	s.Range += o.Range
	s.Filter += o.Filter
	s.Forms += o.Forms
	s.Counted += o.Counted
	s.Opened += o.Opened
}

// ServiceInfo is what the store knows of one service.
type ServiceInfo struct {
	Name                string
	Hosts               []string
	Events, Bytes       int64
	FirstSeen, LastSeen int64 // event time, ns since the Unix epoch
	Levels              [event.Debug + 1]int64
}

// Follower delivers the store's events in order of sequence, from a position on, without end.
type Follower interface {
	// Next returns at least one event behind the position, in order of sequence, Seq and Received set; it waits for
	// one until ctx ends. The events are valid until the next call. A part of the store that cannot be read is a
	// *GapError; the call after it goes on behind the gap.
	Next(ctx context.Context) ([]event.Event, error)
	// Position is the sequence of the last event returned, or the last position that was skipped.
	Position() uint64
	Close()
}

// GapError says that a follower could not read a range of sequences, both ends included.
type GapError struct {
	From, To uint64
	Err      error
}

func (e *GapError) Error() string { return "events cannot be read: " + e.Err.Error() }

func (e *GapError) Unwrap() error { return e.Err }
