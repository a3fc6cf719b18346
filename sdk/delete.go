package sdk

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// DeleteRequest says which events are to be deleted for good.
type DeleteRequest struct {
	// Query, Since and Until are as in [QueryRequest].
	Query        string
	Since, Until time.Time
	// Everything has to be set for a query that matches every event.
	Everything bool
	// Confirm is a dry run's: what arrived later is not deleted. 0 is the newest event.
	Confirm uint64
	// KeepQuery keeps the query's text in the job when it has ended, and in its audit.
	KeepQuery bool
}

// DeletePreview is what a [DeleteRequest] would delete.
type DeletePreview struct {
	Events   int64            `json:"events"`
	Bytes    int64            `json:"bytes"` // about, uncompressed
	Services map[string]int64 `json:"services"`
	Since    time.Time        `json:"since"` // the range as the server understood it
	Until    time.Time        `json:"until"`
	Samples  []Event          `json:"-"` // the newest
	Confirm  uint64           `json:"confirm,string"`
	Complete bool             `json:"complete"`
	Reasons  []string         `json:"reasons"` // what of the store could not be read
}

// Deletion is a job that deletes events.
type Deletion struct {
	ID        uint64    `json:"id,string"`
	State     string    `json:"state"` // waiting, running, done, incomplete, cancelled, failed
	Step      string    `json:"step"`
	Query     string    `json:"query"` // while it goes on, or when it is kept
	QueryHash string    `json:"query_hash"`
	Fields    []string  `json:"fields"` // that the query asks for
	Since     time.Time `json:"since"`
	Until     time.Time `json:"until"`
	MaxSeq    uint64    `json:"max_sequence,string"`
	By        string    `json:"by"`
	Created   time.Time `json:"created"`
	Ended     time.Time `json:"ended"`
	Deleted   int64     `json:"deleted"`  // events, so far
	Segments  int       `json:"segments"` // files that may hold some, of which Looked have been dealt with
	Looked    int       `json:"looked"`
	Skipped   []string  `json:"skipped"` // what cannot be read and was left as it is
	Error     string    `json:"error"`   // of the last try
}

// Over tells whether the job has ended.
func (d *Deletion) Over() bool { return d.State != "waiting" && d.State != "running" }

func (r *DeleteRequest) params() url.Values {
	v := url.Values{"q": {r.Query}}
	set := func(name string, at time.Time) {
		if !at.IsZero() {
			v.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	set("since", r.Since)
	set("until", r.Until)
	if r.Everything {
		v.Set("everything", "true")
	}
	if r.Confirm > 0 {
		v.Set("confirm", strconv.FormatUint(r.Confirm, 10))
	}
	if r.KeepQuery {
		v.Set("keep_query", "true")
	}
	return v
}

const deletesPath = "/api/v1/deletes"

// PreviewDelete says what the request would delete, and deletes nothing.
func (c *Client) PreviewDelete(ctx context.Context, r DeleteRequest) (*DeletePreview, error) {
	params := r.params()
	params.Set("dry_run", "true")
	var answer struct {
		DryRun *struct {
			DeletePreview
			Samples []json.RawMessage `json:"samples"`
		} `json:"dry_run"`
	}
	if err := c.get(ctx, request{method: http.MethodPost, path: deletesPath, params: params, again: true}, &answer); err != nil {
		return nil, err
	}
	if answer.DryRun == nil {
		return nil, c.notOurs("an answer without a dry run")
	}
	preview := &answer.DryRun.DeletePreview
	for _, text := range answer.DryRun.Samples {
		var e Event
		if err := parseEvent(&scanner{s: string(text)}, &e); err != nil {
			return nil, c.notOurs("a sample that is no event")
		}
		preview.Samples = append(preview.Samples, e)
	}
	return preview, nil
}

// Delete begins to delete. It needs the admin token.
func (c *Client) Delete(ctx context.Context, r DeleteRequest) (*Deletion, error) {
	return c.deletion(ctx, request{method: http.MethodPost, path: deletesPath, params: r.params()})
}

// Deletion returns a job.
func (c *Client) Deletion(ctx context.Context, id uint64) (*Deletion, error) {
	return c.deletion(ctx, request{method: http.MethodGet, path: deletesPath + "/" + strconv.FormatUint(id, 10), again: true})
}

// CancelDelete ends a job. What it has deleted until then is gone.
func (c *Client) CancelDelete(ctx context.Context, id uint64) (*Deletion, error) {
	return c.deletion(ctx, request{method: http.MethodDelete, path: deletesPath + "/" + strconv.FormatUint(id, 10), again: true})
}

func (c *Client) deletion(ctx context.Context, r request) (*Deletion, error) {
	var d Deletion
	if err := c.get(ctx, r, &d); err != nil {
		return nil, err
	}
	if d.ID == 0 {
		return nil, c.notOurs("an answer without a deletion")
	}
	return &d, nil
}

// Deletions lists the jobs, the newest first: those that go on, and the last that have ended.
func (c *Client) Deletions(ctx context.Context) ([]Deletion, error) {
	var answer struct {
		Deletes *[]Deletion `json:"deletes"`
	}
	if err := c.get(ctx, request{method: http.MethodGet, path: deletesPath, again: true}, &answer); err != nil {
		return nil, err
	}
	if answer.Deletes == nil {
		return nil, c.notOurs("an answer without deletions")
	}
	return *answer.Deletes, nil
}
