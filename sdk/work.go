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
	var answer struct {
		Summary json.RawMessage `json:"summary"`
	}
	if err := c.watch(ctx, request{method: http.MethodPost, path: path, params: params}, progress, &answer); err != nil {
		return err
	}
	switch {
	case answer.Summary == nil:
		return c.notOurs("an answer that is not the API's")
	case json.Unmarshal(answer.Summary, summary) != nil:
		return c.notOurs("a summary that is not the API's")
	}
	return nil
}

// watch makes a request that is answered by lines of progress and then one line more, which it decodes into to, or an error.
func (c *Client) watch(ctx context.Context, r request, progress func(Progress), to any) error {
	resp, err := c.do(ctx, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for d := json.NewDecoder(resp.Body); ; {
		var text json.RawMessage
		err := d.Decode(&text)
		var bad *json.SyntaxError
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &bad):
			return c.notOurs("an answer that is not the API's")
		default:
			if err == io.EOF {
				err = errors.New("it ended without a summary")
			}
			return &Error{Code: CodeBroken, Message: fmt.Sprintf("the answer of %s broke off: %v", c.base, err), Mend: "run the command again", Err: err}
		}
		var line struct {
			Progress *Progress  `json:"progress"`
			Error    *wireError `json:"error"`
		}
		switch err := json.Unmarshal(text, &line); {
		case err == nil && line.Error != nil:
			return line.Error.error(0)
		case err == nil && line.Progress != nil:
			if progress != nil {
				progress(*line.Progress)
			}
		case err != nil || json.Unmarshal(text, to) != nil:
			return c.notOurs("an answer that is not the API's")
		default:
			return nil
		}
	}
}
