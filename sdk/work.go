package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// Progress says how far long work on the server has come.
type Progress struct {
	Done  int64  `json:"done"`
	Total int64  `json:"total"` // 0 when it is not known
	Unit  string `json:"unit"`  // "bytes", or what is counted, such as "events"
}

// Work has the server do something that takes long, such as POST /api/v1/backups: it calls progress, unless that is nil, as the server
// tells how far it has come, and decodes what it says at the end into summary. The work ends with ctx. The parameters are the
// request's body.
func (c *Client) Work(ctx context.Context, path string, params url.Values, progress func(Progress), summary any) error {
	return c.workLines(ctx, path, params, progress, summary, func(json.RawMessage) error { return c.notOurs("an answer that is not the API's") })
}

// workLines is Work for an answer that has lines of its own before the summary.
func (c *Client) workLines(ctx context.Context, path string, params url.Values, progress func(Progress), summary any, other func(json.RawMessage) error) error {
	resp, err := c.do(ctx, request{method: http.MethodPost, path: path, params: params})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := newLineReader(resp.Body)
	for {
		text, err := lines.next()
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err == io.EOF {
				err = errors.New("it ended without a summary")
			}
			return &Error{Code: CodeBroken, Message: fmt.Sprintf("the answer of %s broke off: %v", c.base, err), Mend: "run the command again", Err: err}
		}
		var line struct {
			Progress *Progress       `json:"progress"`
			Summary  json.RawMessage `json:"summary"`
			Error    *wireError      `json:"error"`
		}
		switch err := json.Unmarshal([]byte(text), &line); {
		case err != nil:
			return c.notOurs("an answer that is not the API's")
		case line.Error != nil:
			return line.Error.error(0)
		case line.Summary != nil:
			if json.Unmarshal(line.Summary, summary) != nil {
				return c.notOurs("a summary that is not the API's")
			}
			return nil
		case line.Progress != nil:
			if progress != nil {
				progress(*line.Progress)
			}
		default:
			if err := other(json.RawMessage(text)); err != nil {
				return err
			}
		}
	}
}
