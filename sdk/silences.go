package sdk

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Silence is a time in which alerts that match are told to nobody.
type Silence struct {
	ID       string    `json:"id"`
	Matchers string    `json:"matchers"` // in Alertmanager's syntax: service="shop",env=~"prod.*"
	From     time.Time `json:"from"`
	Until    time.Time `json:"until"`
	By       string    `json:"by"`
	Comment  string    `json:"comment"`
	Created  time.Time `json:"created"`
	EndedBy  string    `json:"ended_by,omitempty"` // who ended it before its time
	State    string    `json:"state"`              // pending, active, expired
	// For is for AddSilence: how long it lasts, by the server's clock, in the place of Until.
	For time.Duration `json:"-"`
}

const silencesPath = "/api/v1/silences"

// Silences returns the silences that are to come, active, or over within five days, the newest first.
func (c *Client) Silences(ctx context.Context) ([]Silence, error) {
	var answer struct {
		Silences *[]Silence `json:"silences"`
	}
	if err := c.get(ctx, request{method: http.MethodGet, path: silencesPath, again: true}, &answer); err != nil {
		return nil, err
	}
	if answer.Silences == nil {
		return nil, c.notOurs("an answer without silences")
	}
	return *answer.Silences, nil
}

// AddSilence keeps a silence, which is durable when it returns, and returns it as it is kept. It needs Matchers, and Until or For;
// without From it begins now, and with an ID it takes the place of that one. It needs the admin's token.
func (c *Client) AddSilence(ctx context.Context, s Silence) (kept Silence, err error) {
	form := url.Values{"matchers": {s.Matchers}}
	if s.For > 0 {
		form.Set("for", s.For.String())
	} else {
		form.Set("until", s.Until.UTC().Format(time.RFC3339Nano))
	}
	for name, value := range map[string]string{"id": s.ID, "comment": s.Comment, "by": s.By} {
		if value != "" {
			form.Set(name, value)
		}
	}
	if !s.From.IsZero() {
		form.Set("from", s.From.UTC().Format(time.RFC3339Nano))
	}
	err = c.get(ctx, request{method: http.MethodPost, path: silencesPath, body: []byte(form.Encode()),
		header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}}, &kept)
	return kept, err
}

// EndSilence ends a silence now and returns it; an [*Error] with status 404 says that there is none of the id. by is shown
// beside the token's name, and may be empty. It needs the admin's token.
func (c *Client) EndSilence(ctx context.Context, id, by string) (ended Silence, err error) {
	r := request{method: http.MethodDelete, path: silencesPath + "/" + url.PathEscape(id), again: true}
	if by != "" {
		r.params = url.Values{"by": {by}}
	}
	err = c.get(ctx, r, &ended)
	return ended, err
}
