package sdk

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestDelete(t *testing.T) {
	var asked, answer string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked = r.Method + " " + r.URL.Path + " " + string(body)
		_, _ = io.WriteString(w, answer)
	}))
	defer server.Close()
	c, err := New(Options{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	r := DeleteRequest{Query: "a b", Since: time.Unix(1, 5), Everything: true, Confirm: 7, KeepQuery: true}
	answer = `{"dry_run":{"events":2,"bytes":10,"services":{"x":2},"samples":[{"id":"1","time":"2026-11-21T11:22:33Z","service":"x","message":"m"}],"confirm":"9","complete":true}}`
	d, err := c.PreviewDelete(ctx, r)
	if err != nil || d.Events != 2 || d.Confirm != 9 || !d.Complete || d.Services["x"] != 2 || len(d.Samples) != 1 || d.Samples[0].Message != "m" || !d.Since.IsZero() {
		t.Errorf("%+v, %v", d, err)
	}
	if want := "POST /api/v1/deletes confirm=7&dry_run=true&everything=true&keep_query=true&q=a+b&since=1970-01-01T00%3A00%3A01.000000005Z"; asked != want {
		t.Errorf("asked %s, want %s", asked, want)
	}
	answer = `{"id":"3","state":"running","max_sequence":"9","deleted":4,"segments":5,"looked":1}`
	for _, call := range []struct {
		do   func() (*Deletion, error)
		want string
	}{
		{func() (*Deletion, error) { return c.Delete(ctx, DeleteRequest{Query: "x"}) }, "POST /api/v1/deletes q=x"},
		{func() (*Deletion, error) { return c.Deletion(ctx, 3) }, "GET /api/v1/deletes/3 "},
		{func() (*Deletion, error) { return c.CancelDelete(ctx, 3) }, "DELETE /api/v1/deletes/3 "},
	} {
		if got, err := call.do(); err != nil || asked != call.want || got.ID != 3 || got.MaxSeq != 9 || got.Deleted != 4 || got.Over() {
			t.Errorf("%s: %+v, %v; want %s", asked, got, err, call.want)
		}
	}
	answer = `{"deletes":[{"id":"3","state":"done"}]}`
	if list, err := c.Deletions(ctx); err != nil || len(list) != 1 || !list[0].Over() {
		t.Errorf("%+v, %v", list, err)
	}
	answer = `{}`
	if _, err := c.Deletions(ctx); err == nil {
		t.Error("an answer of somebody else was taken")
	}
	if _, err := c.PreviewDelete(ctx, r); err == nil {
		t.Error("an answer of somebody else was taken")
	}
	if _, err := c.Delete(ctx, r); err == nil {
		t.Error("an answer of somebody else was taken")
	}
}
