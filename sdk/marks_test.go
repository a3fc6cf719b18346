package sdk

import (
	"errors"
	"io"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMarks(t *testing.T) {
	const one = `"mark":"deploy","service":"shop","env":"prod","version":"v2","by":"ann","text":"t","at":"2026-11-21T11:00:00Z"}`
	at := time.Date(2026, 11, 21, 11, 0, 0, 0, time.UTC)
	want := Mark{Kind: "deploy", Service: "shop", Env: "prod", Version: "v2", By: "ann", Text: "t", At: at}
	c, seen := script(t, "{"+one, `{}`, `403 {"error":{"code":"forbidden","message":"m"}}`, `{"marks":[{"id":"17",`+one+`],"complete":true}`, `{"marks":[],"complete":false,"reasons":["block 3 is corrupt"]}`, `{}`)
	if got, err := c.AddMark(t.Context(), want); err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	var e *Error
	if _, err := c.AddMark(t.Context(), Mark{Kind: "stop", Service: "shop"}); !errors.As(err, &e) || e.Code != CodeNotLookout {
		t.Error(err)
	}
	if _, err := c.AddMark(t.Context(), Mark{}); !errors.As(err, &e) || e.Status != 403 {
		t.Error(err)
	}
	want.ID = 17
	if got, err := c.Marks(t.Context(), MarksRequest{Service: "shop", Since: at, Limit: 7}); err != nil || !cmp.Equal(got, []Mark{want}) {
		t.Errorf("%v, %v", got, err)
	}
	var incomplete *IncompleteError
	if got, err := c.Marks(t.Context(), MarksRequest{}); len(got) != 0 || !errors.As(err, &incomplete) || !cmp.Equal(incomplete.Reasons, []string{"block 3 is corrupt"}) {
		t.Error(got, err)
	}
	if _, err := c.Marks(t.Context(), MarksRequest{}); !errors.As(err, &e) || e.Code != CodeNotLookout {
		t.Error(err)
	}
	var asked []string
	for _, r := range *seen {
		asked = append(asked, r.Method+" "+r.URL.RequestURI())
	}
	if diff := cmp.Diff([]string{"POST /api/v1/marks", "POST /api/v1/marks", "POST /api/v1/marks", "GET /api/v1/marks?limit=7&service=shop&since=2026-11-21T11%3A00%3A00Z", "GET /api/v1/marks", "GET /api/v1/marks"}, asked); diff != "" {
		t.Error(diff)
	}
	body, _ := io.ReadAll((*seen)[0].Body)
	sent, _ := url.ParseQuery(string(body))
	if diff := cmp.Diff(url.Values{"mark": {"deploy"}, "service": {"shop"}, "env": {"prod"}, "version": {"v2"}, "by": {"ann"}, "text": {"t"}}, sent); diff != "" {
		t.Error(diff)
	}
}
