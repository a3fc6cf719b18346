package sdk

import (
	"errors"
	"net/url"
	"strings"
	"testing"
)

func TestQueryPages(t *testing.T) {
	row := func(id string) string {
		return `{"event":{"id":"` + id + `","time":"2026-11-21T11:20:00Z","received":"2026-11-21T11:20:00Z","message":"m"}}` + "\n"
	}
	end := func(next string) string {
		return `{"summary":{"complete":true,"matched":2,"next":"` + next + `"}}` + "\n"
	}
	for _, c := range []struct {
		limit int
		want  string // ids
		asked string // limit and cursor of each request
	}{
		{0, "1 2 3 4 5", "2: 2:A 2:B"},
		{3, "1 2 3 4", "2: 1:A"}, // the server here gives two
		{2, "1 2", "2:"},
	} {
		client, seen := script(t, row("1")+row("2")+end("A"), row("3")+row("4")+end("B"), row("5")+end(""))
		var ids, asked []string
		for row, err := range client.QueryPages(t.Context(), QueryRequest{Query: "x", Limit: c.limit}, 2) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, row.ID)
		}
		for _, r := range *seen {
			buf := make([]byte, 1000)
			n, _ := r.Body.Read(buf)
			sent, _ := url.ParseQuery(string(buf[:n]))
			asked = append(asked, sent.Get("limit")+":"+sent.Get("cursor"))
		}
		if got := strings.Join(ids, " "); got != c.want || strings.Join(asked, " ") != c.asked {
			t.Errorf("limit %d: %s, asked %q", c.limit, got, asked)
		}
	}
	client, _ := script(t, row("1")+row("2")+end("A"), `{"summary":{"complete":false,"reasons":["r"],"next":"B"}}`+"\n")
	var last error
	for _, err := range client.QueryPages(t.Context(), QueryRequest{}, 2) {
		last = err
	}
	if incomplete := (*IncompleteError)(nil); !errors.As(last, &incomplete) {
		t.Errorf("%v: a page was not complete", last)
	}
}
