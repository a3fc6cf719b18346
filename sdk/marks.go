package sdk

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Mark is what somebody says about a service; it is shown beside its incidents.
type Mark struct {
	// Kind is deploy (for a while its silence is no news), stop (its silence is no news until it is heard or deployed), or note.
	Kind    string    `json:"mark"`
	Service string    `json:"service"`
	Env     string    `json:"env,omitempty"`     // the environment it is about, empty for all
	Version string    `json:"version,omitempty"` // what is deployed
	By      string    `json:"by,omitempty"`
	Text    string    `json:"text,omitempty"`     // more, in words
	At      time.Time `json:"at"`                 // the server's
	ID      uint64    `json:"id,string,omitzero"` // the event's, in a list
	// Says is the mark beside an alert: deploy v2 by ann, 4 min before.
	Says string `json:"says,omitempty"`
}

// MarksRequest says which marks are listed.
type MarksRequest struct {
	Service string    // a name, or several with * and ?; empty for all
	Since   time.Time // zero for the last seven days
	Limit   int       // 0 for 100
}

const marksPath = "/api/v1/marks"

// AddMark stores a mark and returns it as it is stored; it is durable then. Kind and Service are needed, of a deploy Version, of a note
// Text; without By it is the token's name. A token that may send events may make marks.
func (c *Client) AddMark(ctx context.Context, m Mark) (stored Mark, err error) {
	form := url.Values{}
	for name, value := range map[string]string{"mark": m.Kind, "service": m.Service, "env": m.Env, "version": m.Version, "by": m.By, "text": m.Text} {
		if value != "" {
			form.Set(name, value)
		}
	}
	if err = c.get(ctx, request{method: http.MethodPost, path: marksPath, params: form}, &stored); err == nil && stored.Kind == "" {
		err = c.notOurs("an answer without a mark")
	}
	return stored, err
}

// Marks returns marks, the newest first. With an [*IncompleteError] those come that could be read.
func (c *Client) Marks(ctx context.Context, r MarksRequest) ([]Mark, error) {
	params := url.Values{}
	if r.Service != "" {
		params.Set("service", r.Service)
	}
	if !r.Since.IsZero() {
		params.Set("since", r.Since.UTC().Format(time.RFC3339Nano))
	}
	if r.Limit > 0 {
		params.Set("limit", strconv.Itoa(r.Limit))
	}
	var answer struct {
		Marks    *[]Mark  `json:"marks"`
		Complete bool     `json:"complete"`
		Reasons  []string `json:"reasons"`
	}
	if err := c.get(ctx, request{method: http.MethodGet, path: marksPath, params: params, again: true}, &answer); err != nil {
		return nil, err
	}
	if answer.Marks == nil {
		return nil, c.notOurs("an answer without marks")
	}
	if !answer.Complete {
		return *answer.Marks, &IncompleteError{Reasons: answer.Reasons}
	}
	return *answer.Marks, nil
}
